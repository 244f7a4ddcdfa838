//! The dead letter sink of Kafka: a topic.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer};
use readcast_core::TopicPartition;
use tokio_util::sync::CancellationToken;

use super::properties::{self, CachedClient, Properties};
use super::{blocking, classify, refused};
use crate::source::{CopyOutcome, DeadLetterCopy, DeadLetterSink, SourceError};

/// How long the brokers may take to acknowledge the letters of one call.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long one flush may take, until the deadline and `stop` are looked at again.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(100);
const DOING: &str = "copying dead letters";

/// The headers that say where a record came from and what is wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderFormat {
    /// `__connect.errors.*`, numbers as text (Kafka Connect, KIP-298).
    #[default]
    Connect,
    /// `kafka_dlt-*`, numbers as big-endian bytes (Spring Kafka, `KafkaHeaders`).
    Spring,
}

impl From<Result<(), KafkaError>> for CopyOutcome {
    fn from(delivered: Result<(), KafkaError>) -> Self {
        match delivered {
            Ok(()) => Self::Copied,
            Err(error) if is_record_refused(&error) => Self::Refused(error.to_string()),
            Err(error) => Self::NotCopied(classify(DOING, &error)),
        }
    }
}

/// Whether the reason for the error lies in the record. The client checks its size before it asks a broker.
fn is_record_refused(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::MessageSizeTooLarge
                | Code::MessageBatchTooLarge
                | Code::InvalidTimestamp
                | Code::InvalidRecord
                | Code::InvalidMessage
                | Code::InvalidMessageSize
                | Code::PolicyViolation
        )
    )
}

/// The delivery reports of the records that were sent together. Each record has a number that no other has, so that a late
/// report of an earlier send is not taken for one of these.
#[derive(Default)]
struct DeliveryReports(Mutex<Sent>);

#[derive(Default)]
struct Sent {
    /// The number of the first record.
    first: usize,
    reports: Vec<Option<Result<(), KafkaError>>>,
}

impl DeliveryReports {
    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a send of this many records. Returns the number of the first.
    fn begin(&self, records: usize) -> usize {
        let mut sent = self.sent();
        sent.first += sent.reports.len();
        sent.reports = vec![None; records];
        sent.first
    }

    fn record(&self, number: usize, report: Result<(), KafkaError>) {
        let mut sent = self.sent();
        let index = number.checked_sub(sent.first);
        if let Some(held) = index.and_then(|index| sent.reports.get_mut(index)) {
            *held = Some(report);
        }
    }

    /// The report of each record. A record without one timed out.
    fn reports(&self) -> Vec<Result<(), KafkaError>> {
        let timed_out = || Err(KafkaError::MessageProduction(Code::MessageTimedOut));
        self.sent().reports.iter().map(|report| report.clone().unwrap_or_else(timed_out)).collect()
    }
}

impl ClientContext for DeliveryReports {}

impl ProducerContext for DeliveryReports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        self.record(number, result.as_ref().map(drop).map_err(|(error, _)| error.clone()));
    }
}

/// A topic to which dead letters are copied: key, value, headers and time byte for byte, and headers that say what is wrong
/// behind the record's own.
#[derive(Clone)]
pub struct KafkaDeadLetterTopic {
    properties: Properties,
    producer: Arc<CachedClient<ThreadedProducer<DeliveryReports>>>,
    topic: Arc<str>,
    /// The name for operators.
    name: Arc<str>,
    headers: HeaderFormat,
}

impl KafkaDeadLetterTopic {
    /// The topic `topic` of the cluster that librdkafka's `properties` name. It must exist: it is not created.
    ///
    /// # Errors
    /// librdkafka refuses the properties.
    pub fn new(properties: impl Into<Properties>, topic: &str, headers: HeaderFormat) -> Result<Self, SourceError> {
        let name = format!("topic `{topic}`").into();
        let topic =
            Self { properties: properties.into(), producer: Arc::default(), topic: topic.into(), name, headers };
        // The producer is made now, so that wrong properties are an error at the start.
        topic.producer().map(|_| topic)
    }

    fn producer(&self) -> Result<Arc<ThreadedProducer<DeliveryReports>>, SourceError> {
        self.producer.client(&self.properties, |properties| {
            let mut config = ClientConfig::new();
            config.set("client.id", "readcast-dead-letters").set("enable.idempotence", "true");
            config.set("message.timeout.ms", "15000");
            let made = properties::over(config, properties).create_with_context(DeliveryReports::default());
            made.map_err(|error| refused("configuring the producer of dead letters", &error))
        })
    }

    fn copy_blocking(
        &self,
        letters: &[DeadLetterCopy],
        stop: &CancellationToken,
    ) -> Result<Vec<CopyOutcome>, SourceError> {
        let producer = self.producer()?;
        let mut outcomes = Vec::with_capacity(letters.len());
        let sent: Vec<&DeadLetterCopy> = letters.iter().collect();
        for (letter, report) in letters.iter().zip(self.send_all(&producer, &sent, stop)) {
            let outcome = match report {
                // Brokers refuse whole batches, and librdkafka then fails all records of one alike. So each is sent alone.
                Err(error) if is_record_refused(&error) => None,
                report => Some(report.into()),
            };
            outcomes.push((letter, outcome));
        }
        let alone = |letter| self.send_all(&producer, &[letter], stop).remove(0).into();
        Ok(outcomes.into_iter().map(|(letter, outcome)| outcome.unwrap_or_else(|| alone(letter))).collect())
    }

    /// Sends records and waits for their delivery reports.
    fn send_all(
        &self,
        producer: &ThreadedProducer<DeliveryReports>,
        letters: &[&DeadLetterCopy],
        stop: &CancellationToken,
    ) -> Vec<Result<(), KafkaError>> {
        let deadline = Instant::now() + ACKNOWLEDGE_TIMEOUT;
        let reports = producer.context();
        let first = reports.begin(letters.len());
        for (number, letter) in (first..).zip(letters) {
            if let Err(error) = self.send(producer, letter, number, deadline) {
                reports.record(number, Err(error));
            }
        }
        let unfinished = || producer.in_flight_count() > 0;
        while unfinished() && Instant::now() < deadline && !stop.is_cancelled() {
            // A flush that timed out leaves records in flight, and the loop goes round again.
            let _ = producer.flush(FLUSH_TIMEOUT);
        }
        if unfinished() {
            // No record of this send may be delivered during the next one.
            producer.purge(PurgeConfig::default().queue().inflight());
            let _ = producer.flush(FLUSH_TIMEOUT);
        }
        reports.reports()
    }

    /// Passes one record to the client, and waits while the client's queue is full.
    fn send(
        &self,
        producer: &ThreadedProducer<DeliveryReports>,
        letter: &DeadLetterCopy,
        number: usize,
        deadline: Instant,
    ) -> Result<(), KafkaError> {
        let headers = self.headers_of(letter);
        let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&self.topic, number).headers(headers);
        record.key = letter.record.key.as_deref();
        record.payload = letter.record.value.as_deref();
        record.timestamp = letter.record.timestamp;
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), refused)) if Instant::now() < deadline => {
                    record = refused;
                    let _ = producer.flush(FLUSH_TIMEOUT);
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    fn headers_of(&self, letter: &DeadLetterCopy) -> OwnedHeaders {
        let of_record = letter.record.headers.iter();
        let headers = of_record.fold(OwnedHeaders::new(), |headers, (name, value)| {
            headers.insert(rdkafka::message::Header { key: name, value: value.as_deref() })
        });
        self.headers.of(letter).into_iter().fold(headers, |headers, (name, value)| {
            headers.insert(rdkafka::message::Header { key: name, value: Some(&value) })
        })
    }
}

#[async_trait]
impl DeadLetterSink for KafkaDeadLetterTopic {
    fn name(&self) -> &str {
        &self.name
    }

    async fn copy(&self, letters: Vec<DeadLetterCopy>, stop: CancellationToken) -> Vec<CopyOutcome> {
        let (topic, count) = (self.clone(), letters.len());
        let copied = blocking(DOING, move || topic.copy_blocking(&letters, &stop)).await;
        copied.unwrap_or_else(|error| vec![CopyOutcome::NotCopied(error); count])
    }
}

impl HeaderFormat {
    fn of(self, letter: &DeadLetterCopy) -> Vec<(&'static str, Vec<u8>)> {
        let TopicPartition { topic, partition } = &letter.partition;
        let (class, reason) =
            letter.cause.clone().unwrap_or_else(|| ("waiting".into(), "an earlier record of its key is parked".into()));
        let offset = letter.record.offset;
        let text = |text: &str| text.as_bytes().to_vec();
        match self {
            HeaderFormat::Connect => vec![
                ("__connect.errors.topic", text(topic)),
                ("__connect.errors.partition", text(&partition.to_string())),
                ("__connect.errors.offset", text(&offset.to_string())),
                ("__connect.errors.connector.name", text(&letter.projection)),
                ("__connect.errors.exception.class.name", text(&class)),
                ("__connect.errors.exception.message", text(&reason)),
            ],
            HeaderFormat::Spring => vec![
                ("kafka_dlt-original-topic", text(topic)),
                ("kafka_dlt-original-partition", partition.to_be_bytes().to_vec()),
                ("kafka_dlt-original-offset", offset.to_be_bytes().to_vec()),
                ("kafka_dlt-original-timestamp", letter.record.timestamp.unwrap_or(-1).to_be_bytes().to_vec()),
                ("kafka_dlt-original-consumer-group", text(&letter.group)),
                ("kafka_dlt-exception-fqcn", text(&class)),
                ("kafka_dlt-exception-message", text(&reason)),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Record;

    #[test]
    fn a_late_report_of_an_earlier_send_is_ignored() {
        let reports = DeliveryReports::default();
        let timed_out = KafkaError::MessageProduction(Code::MessageTimedOut);
        assert_eq!(reports.begin(2), 0);
        reports.record(0, Ok(()));
        assert_eq!(reports.reports(), [Ok(()), Err(timed_out.clone())]);
        assert_eq!(reports.begin(1), 2);
        reports.record(1, Ok(()));
        assert_eq!(reports.reports(), [Err(timed_out)]);
        reports.record(2, Ok(()));
        assert_eq!(reports.reports(), [Ok(())]);
    }

    #[test]
    fn only_errors_about_the_record_are_refusals() {
        let of = |code| KafkaError::MessageProduction(code);
        for code in [Code::MessageSizeTooLarge, Code::InvalidTimestamp, Code::InvalidRecord, Code::PolicyViolation] {
            assert!(is_record_refused(&of(code)), "{code:?}");
        }
        for code in [Code::MessageTimedOut, Code::AllBrokersDown, Code::TopicAuthorizationFailed, Code::UnknownTopic] {
            assert!(!is_record_refused(&of(code)), "{code:?}");
        }
    }

    #[test]
    fn each_header_format_writes_numbers_in_its_own_way() {
        let letter = DeadLetterCopy {
            projection: "p".into(),
            group: "app.p".into(),
            partition: TopicPartition::new("orders", 3),
            record: Record { offset: 258, ..Record::default() },
            cause: Some(("undecodable".into(), "it is torn".into())),
        };
        let of = |format: HeaderFormat, name: &str| {
            format.of(&letter).into_iter().find(|(other, _)| *other == name).map(|(_, value)| value)
        };
        assert_eq!(of(HeaderFormat::Connect, "__connect.errors.offset"), Some(b"258".to_vec()));
        assert_eq!(of(HeaderFormat::Spring, "kafka_dlt-original-offset"), Some(vec![0, 0, 0, 0, 0, 0, 1, 2]));
        assert_eq!(of(HeaderFormat::Spring, "kafka_dlt-original-partition"), Some(vec![0, 0, 0, 3]));
        assert_eq!(of(HeaderFormat::Connect, "__connect.errors.exception.class.name"), Some(b"undecodable".to_vec()));
    }
}
