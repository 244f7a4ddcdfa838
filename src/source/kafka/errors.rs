//! What librdkafka's complaints mean for a subscription: which of them end it, and with which error. Pure.
//!
//! librdkafka recovers from nearly everything by itself, and what it recovers from is none of ours. It does not recover
//! from what is here; of a corrupt batch it even says so once and then goes on behind it.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use readcast_core::TopicPartition;

use super::classify;
use super::native::Failed;
use crate::source::{SourceError, Verdict};

/// What `failed` means for a subscription that has handed on what is before `next_offset` of the partition concerned.
/// Nothing, if librdkafka goes on by itself and leaves nothing out.
pub(super) fn end_of_subscription(
    failed: &Failed,
    partition: Option<TopicPartition>,
    next_offset: Option<i64>,
) -> Option<SourceError> {
    let doing = partition.as_ref().map_or_else(|| "reading from Kafka".into(), |at| format!("reading {at} from Kafka"));
    if let (Some(partition), Some(next_offset), Some(end)) = (partition, next_offset, truncated_to(failed)) {
        // What librdkafka was about to read can be further than what it gave us, by the markers of transactions.
        if end < next_offset {
            return Some(SourceError::Verdict { partition, verdict: Verdict::Truncated { next_offset, end } });
        }
    }
    let reason = format!("{} ({:?})", failed.reason, failed.code);
    match failed.code {
        // The partition can't be read on from here, and what comes behind would be delivered.
        Code::BadMessage
        | Code::BadCompression
        | Code::InvalidMessage
        | Code::InvalidMessageSize
        | Code::MessageSizeTooLarge
        | Code::NotImplemented => Some(SourceError::Refused { doing, reason }),
        // librdkafka would try the same credentials for ever: the next start reads those that are there by then.
        Code::Authentication | Code::SaslAuthenticationFailed => Some(SourceError::Unavailable { doing, reason }),
        // Each comes once, and then the partition is silent for good: the next start finds out what happened to the log.
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

/// Up to where the log is still the one that was read, if that is what it is about. librdkafka says so in words alone:
/// "No offset to reset to" is its code for whatever is wrong with an offset.
fn truncated_to(failed: &Failed) -> Option<i64> {
    const TRUNCATED: &str = "log truncation detected";
    const END: &str = "broker end offset is ";
    if failed.code != Code::AutoOffsetReset || !failed.reason.contains(TRUNCATED) {
        return None;
    }
    let (_, behind) = failed.reason.split_once(END)?;
    let number = behind.split(|c: char| c != '-' && !c.is_ascii_digit()).next()?;
    // -1: there is no record in the log that is as old as the last that was read.
    number.parse().ok().map(|end: i64| end.max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: Code, reason: &str) -> Failed {
        Failed { code, reason: reason.to_owned(), fatal: false, partition: Some(("orders".to_owned(), 3)), offset: -1 }
    }

    fn end(failed: &Failed) -> Option<SourceError> {
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
    fn fault_15_a_truncated_log_is_a_verdict_with_the_offset_where_the_logs_part() {
        assert_eq!(end(&failed(Code::AutoOffsetReset, DIVERGED)), truncated(7));
        assert_eq!(end(&failed(Code::AutoOffsetReset, UNKNOWN_EPOCH)), truncated(0));
    }

    #[test]
    fn fault_15_a_truncation_behind_all_that_was_handed_on_is_for_the_next_start_to_judge() {
        let error = failed(Code::AutoOffsetReset, &DIVERGED.replace("end offset is 7", "end offset is 10"));
        assert!(matches!(end(&error), Some(SourceError::Unavailable { .. })), "{:?}", end(&error));
    }

    #[test]
    fn an_offset_that_the_log_does_not_have_is_for_the_next_start_to_judge() {
        let reason = "fetch failed due to requested offset not available on the broker: Broker: Offset out of range";
        let told = end(&failed(Code::AutoOffsetReset, reason)).unwrap();
        assert!(matches!(told, SourceError::Unavailable { .. }), "{told}");
        assert!(told.to_string().starts_with("reading orders/3 from Kafka: fetch failed"), "{told}");
    }

    #[test]
    fn fault_27_what_librdkafka_would_leave_out_is_refused_with_its_place() {
        let crc = "MessageSet at offset 5 (80 bytes) failed CRC32C check (original 0x1 != calculated 0x2)";
        for code in [Code::BadMessage, Code::BadCompression, Code::NotImplemented, Code::MessageSizeTooLarge] {
            let told = end(&failed(code, crc)).unwrap();
            assert!(matches!(told, SourceError::Refused { .. }), "{told}");
            assert!(told.to_string().contains("orders/3") && told.to_string().contains("offset 5"), "{told}");
        }
    }

    #[test]
    fn a_refused_login_is_tried_again_with_the_credentials_of_then() {
        for code in [Code::Authentication, Code::SaslAuthenticationFailed] {
            let told = end(&failed(code, "SASL authentication failed"));
            assert!(matches!(told, Some(SourceError::Unavailable { .. })), "{told:?}");
        }
    }

    #[test]
    fn what_librdkafka_recovers_from_is_none_of_ours_unless_it_is_fatal() {
        let mut error = failed(Code::BrokerTransportFailure, "broker down");
        assert_eq!(end(&error), None);
        error.fatal = true;
        assert!(matches!(end(&error), Some(SourceError::Unavailable { .. })));
        assert!(matches!(end(&failed(Code::TopicAuthorizationFailed, "")), Some(SourceError::Refused { .. })));
    }
}
