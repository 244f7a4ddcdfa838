//! Decides which errors of librdkafka end a subscription, and with which error. Pure.
//!
//! librdkafka recovers from nearly all errors by itself; those are ignored. It does not recover from the errors in this
//! file. It reports a corrupt batch only once, for example, and then continues after it.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use readcast_core::TopicPartition;

use super::classify;
use super::native::ClientError;
use crate::source::{SourceError, Verdict};

/// The error that ends the subscription because of `failed`. `None` if librdkafka recovers without losing a record.
///
/// `partition` is the partition concerned. The subscription has delivered its records before `next_offset`.
pub(super) fn end_of_subscription(
    failed: &ClientError,
    partition: Option<TopicPartition>,
    next_offset: Option<i64>,
) -> Option<SourceError> {
    let doing = partition.as_ref().map_or_else(|| "reading from Kafka".into(), |at| format!("reading {at} from Kafka"));
    if let (Some(partition), Some(next_offset), Some(end)) = (partition, next_offset, truncated_to(failed)) {
        // Because of transaction markers, librdkafka's position may be greater than `next_offset`.
        if end < next_offset {
            return Some(SourceError::Verdict { partition, verdict: Verdict::Truncated { next_offset, end } });
        }
    }
    let reason = format!("{} ({:?})", failed.reason, failed.code);
    match failed.code {
        // The partition is not readable at this offset, and librdkafka would deliver the records after it.
        Code::BadMessage
        | Code::BadCompression
        | Code::InvalidMessage
        | Code::InvalidMessageSize
        | Code::MessageSizeTooLarge
        | Code::NotImplemented => Some(SourceError::Refused { doing, reason }),
        // librdkafka retries with the same credentials forever. The next subscription reads the current ones.
        Code::Authentication | Code::SaslAuthenticationFailed => Some(SourceError::Unavailable { doing, reason }),
        // librdkafka reports these once and then delivers nothing more. The next start checks what happened to the log.
        Code::AutoOffsetReset
        | Code::OffsetOutOfRange
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::Fail => Some(SourceError::Unavailable { doing, reason }),
        code => match classify(&doing, &KafkaError::MessageConsumption(code)) {
            SourceError::Refused { doing, .. } => Some(SourceError::Refused { doing, reason }),
            _ => failed.fatal.then_some(SourceError::Unavailable { doing, reason }),
        },
    }
}

/// The offset up to which the log is unchanged, if `failed` reports a truncation. Only the message of librdkafka shows
/// that: its code for every problem with an offset is `AutoOffsetReset`.
fn truncated_to(failed: &ClientError) -> Option<i64> {
    const TRUNCATED: &str = "log truncation detected";
    const END: &str = "broker end offset is ";
    if failed.code != Code::AutoOffsetReset || !failed.reason.contains(TRUNCATED) {
        return None;
    }
    let (_, behind) = failed.reason.split_once(END)?;
    let number = behind.split(|c: char| c != '-' && !c.is_ascii_digit()).next()?;
    // -1: the log holds no record of that leader epoch or an earlier one.
    number.parse().ok().map(|end: i64| end.max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: Code, reason: &str) -> ClientError {
        ClientError {
            code,
            reason: reason.to_owned(),
            fatal: false,
            partition: Some(("orders".to_owned(), 3)),
            offset: -1,
        }
    }

    fn end(failed: &ClientError) -> Option<SourceError> {
        end_of_subscription(failed, Some(TopicPartition::new("orders", 3)), Some(10))
    }

    const DIVERGED: &str = "Partition log truncation detected at offset 12 (leader epoch 4): broker end offset is 7 (offset \
                            leader epoch 4). Reset to INVALID.: Local: Partition log truncation detected (broker 2)";
    const UNKNOWN_EPOCH: &str = "No epoch found less or equal to offset 12 (leader epoch 4): broker end offset is -1 (offset \
                                 leader epoch -1). Reset using configured policy.: Local: Partition log truncation \
                                 detected (broker 2)";

    fn truncated(end: i64) -> Option<SourceError> {
        let verdict = Verdict::Truncated { next_offset: 10, end };
        Some(SourceError::Verdict { partition: TopicPartition::new("orders", 3), verdict })
    }

    #[test]
    fn a_truncated_log_is_a_verdict_with_the_offset_of_the_truncation() {
        assert_eq!(end(&failed(Code::AutoOffsetReset, DIVERGED)), truncated(7));
        assert_eq!(end(&failed(Code::AutoOffsetReset, UNKNOWN_EPOCH)), truncated(0));
    }

    #[test]
    fn a_truncation_after_all_delivered_records_ends_the_subscription() {
        let error = failed(Code::AutoOffsetReset, &DIVERGED.replace("end offset is 7", "end offset is 10"));
        assert!(matches!(end(&error), Some(SourceError::Unavailable { .. })), "{:?}", end(&error));
    }

    #[test]
    fn an_offset_out_of_range_ends_the_subscription() {
        let reason = "fetch failed due to requested offset not available on the broker: Broker: Offset out of range";
        let error = end(&failed(Code::AutoOffsetReset, reason)).unwrap();
        assert!(matches!(error, SourceError::Unavailable { .. }), "{error}");
        assert!(error.to_string().starts_with("reading orders/3 from Kafka: fetch failed"), "{error}");
    }

    #[test]
    fn an_error_that_skips_records_is_refused_with_its_position() {
        let crc = "MessageSet at offset 5 (80 bytes) failed CRC32C check (original 0x1 != calculated 0x2)";
        for code in [Code::BadMessage, Code::BadCompression, Code::NotImplemented, Code::MessageSizeTooLarge] {
            let error = end(&failed(code, crc)).unwrap();
            assert!(matches!(error, SourceError::Refused { .. }), "{error}");
            assert!(error.to_string().contains("orders/3") && error.to_string().contains("offset 5"), "{error}");
        }
    }

    #[test]
    fn a_refused_login_is_temporary() {
        for code in [Code::Authentication, Code::SaslAuthenticationFailed] {
            let error = end(&failed(code, "SASL authentication failed"));
            assert!(matches!(error, Some(SourceError::Unavailable { .. })), "{error:?}");
        }
    }

    #[test]
    fn an_error_that_librdkafka_recovers_from_is_ignored_unless_it_is_fatal() {
        let mut error = failed(Code::BrokerTransportFailure, "broker down");
        assert_eq!(end(&error), None);
        error.fatal = true;
        assert!(matches!(end(&error), Some(SourceError::Unavailable { .. })));
        assert!(matches!(end(&failed(Code::TopicAuthorizationFailed, "")), Some(SourceError::Refused { .. })));
    }
}
