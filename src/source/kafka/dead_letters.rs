//! Copies of dead letters in a topic, for those whose tools look there. The table stays the record.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer};
use readcast_core::TopicPartition;
use tokio_util::sync::CancellationToken;

use super::properties::{self, CachedClient, Properties};
use super::{blocking, classify, refused};
use crate::source::{Record, SourceError};

/// How long the brokers may take to acknowledge what is copied at once.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(20);
/// How long is waited until it is seen whether to go on waiting.
const A_MOMENT: Duration = Duration::from_millis(100);
const DOING: &str = "copying dead letters";

/// Whose headers say where a record came from and what is wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `__connect.errors.*`, numbers as text (Kafka Connect, KIP-298).
    #[default]
    Connect,
    /// `kafka_dlt-*`, numbers as big-endian bytes (Spring Kafka, `KafkaHeaders`).
    Spring,
}

/// One dead letter to be copied.
#[derive(Clone, Debug)]
pub struct LetterCopy {
    /// For which projection it is parked.
    pub projection: String,
    /// The group in which the projection reads.
    pub group: String,
    /// Where it stood, with its offset in the record.
    pub partition: TopicPartition,
    /// The record.
    pub record: Record,
    /// What is wrong with it, by class and in words; nothing when it only waits for an earlier one.
    pub cause: Option<(String, String)>,
}

/// What became of records that were to be copied, each by its place among them.
#[derive(Debug, Default)]
pub struct Copied {
    /// These are in the topic.
    pub copied: Vec<usize>,
    /// These can't be, and why: the reason lies in the record.
    pub refused: Vec<(usize, String)>,
    /// Why the rest was not copied, if there is any: it has nothing to do with the records.
    pub failure: Option<SourceError>,
}

impl Copied {
    fn add(&mut self, index: usize, outcome: Result<(), KafkaError>) {
        match outcome {
            Ok(()) => self.copied.push(index),
            Err(error) if is_of_the_record(&error) => self.refused.push((index, error.to_string())),
            Err(error) => drop(self.failure.get_or_insert_with(|| classify(DOING, &error))),
        }
    }
}

/// Whether a record was not delivered for what it is. The client checks its size by itself.
fn is_of_the_record(error: &KafkaError) -> bool {
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

/// What has become of the records of one round. Each has a number of its own, so that what arrives late from an earlier
/// round is not taken for one of these.
#[derive(Default)]
struct Deliveries(Mutex<Round>);

#[derive(Default)]
struct Round {
    first: usize,
    outcomes: Vec<Option<Result<(), KafkaError>>>,
}

impl Deliveries {
    fn round(&self) -> MutexGuard<'_, Round> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a round of so many records. The number of its first.
    fn begin(&self, records: usize) -> usize {
        let mut round = self.round();
        round.first += round.outcomes.len();
        round.outcomes = vec![None; records];
        round.first
    }

    fn ended(&self, number: usize, outcome: Result<(), KafkaError>) {
        let mut round = self.round();
        let index = number.checked_sub(round.first);
        if let Some(held) = index.and_then(|index| round.outcomes.get_mut(index)) {
            *held = Some(outcome);
        }
    }

    /// How each ended. One of which nothing was heard timed out.
    fn outcomes(&self) -> Vec<Result<(), KafkaError>> {
        let timed_out = || Err(KafkaError::MessageProduction(Code::MessageTimedOut));
        self.round().outcomes.iter().map(|outcome| outcome.clone().unwrap_or_else(timed_out)).collect()
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        self.ended(number, result.as_ref().map(drop).map_err(|(error, _)| error.clone()));
    }
}

/// A topic of dead letters.
#[derive(Clone)]
pub struct DeadLetterTopic {
    properties: Properties,
    producer: Arc<CachedClient<ThreadedProducer<Deliveries>>>,
    topic: Arc<str>,
    dialect: Dialect,
}

impl DeadLetterTopic {
    /// The topic `topic` of the cluster that librdkafka's own `properties` lead to. It is not created.
    pub fn new(properties: impl Into<Properties>, topic: &str, dialect: Dialect) -> Result<Self, SourceError> {
        let topic = Self { properties: properties.into(), producer: Arc::default(), topic: topic.into(), dialect };
        // Made now, so that what librdkafka refuses is known at the start.
        topic.producer().map(|_| topic)
    }

    fn producer(&self) -> Result<Arc<ThreadedProducer<Deliveries>>, SourceError> {
        self.producer.client(&self.properties, |properties| {
            let mut config = ClientConfig::new();
            config.set("client.id", "readcast-dead-letters").set("enable.idempotence", "true");
            config.set("message.timeout.ms", "15000");
            let made = properties::over(config, properties).create_with_context(Deliveries::default());
            made.map_err(|error| refused("configuring the producer of dead letters", &error))
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.topic
    }

    /// Copies the records, in order: key, value, headers and time byte for byte, with headers of its own behind theirs.
    /// A record that can't be copied does not keep the others from it. Ends early when `stop` is cancelled.
    pub async fn copy(&self, letters: Vec<LetterCopy>, stop: CancellationToken) -> Copied {
        let topic = self.clone();
        let copied = blocking(DOING, move || Ok(topic.copy_blocking(&letters, &stop))).await;
        copied.unwrap_or_else(|error| Copied { failure: Some(error), ..Copied::default() })
    }

    fn copy_blocking(&self, letters: &[LetterCopy], stop: &CancellationToken) -> Copied {
        let mut copied = Copied::default();
        let producer = match self.producer() {
            Ok(producer) => producer,
            Err(error) => return Copied { failure: Some(error), ..copied },
        };
        let numbered: Vec<(usize, &LetterCopy)> = letters.iter().enumerate().collect();
        let mut suspects = Vec::new();
        for ((index, letter), outcome) in numbered.iter().zip(self.deliver(&producer, &numbered, stop)) {
            match outcome {
                Err(error) if is_of_the_record(&error) => suspects.push((*index, *letter)),
                outcome => copied.add(*index, outcome),
            }
        }
        // The brokers refuse whole batches, and librdkafka fails all records of one alike.
        for suspect in suspects {
            let outcome = self.deliver(&producer, &[suspect], stop).remove(0);
            copied.add(suspect.0, outcome);
        }
        copied
    }

    /// Sends records and waits for what becomes of each.
    fn deliver(
        &self,
        producer: &ThreadedProducer<Deliveries>,
        letters: &[(usize, &LetterCopy)],
        stop: &CancellationToken,
    ) -> Vec<Result<(), KafkaError>> {
        let deadline = Instant::now() + ACKNOWLEDGED_WITHIN;
        let deliveries = producer.context();
        let first = deliveries.begin(letters.len());
        for (number, (_, letter)) in (first..).zip(letters) {
            if let Err(error) = self.send(producer, letter, number, deadline) {
                deliveries.ended(number, Err(error));
            }
        }
        let unfinished = || producer.in_flight_count() > 0;
        while unfinished() && Instant::now() < deadline && !stop.is_cancelled() {
            // Whether that was long enough shows in what is still in flight.
            let _ = producer.flush(A_MOMENT);
        }
        if unfinished() {
            // Nothing of this round may arrive in the next one.
            producer.purge(PurgeConfig::default().queue().inflight());
            let _ = producer.flush(A_MOMENT);
        }
        deliveries.outcomes()
    }

    /// Hands one record to the client, waiting while its queue is full.
    fn send(
        &self,
        producer: &ThreadedProducer<Deliveries>,
        letter: &LetterCopy,
        number: usize,
        deadline: Instant,
    ) -> Result<(), KafkaError> {
        let headers = self.headers(letter);
        let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&self.topic, number).headers(headers);
        record.key = letter.record.key.as_deref();
        record.payload = letter.record.value.as_deref();
        record.timestamp = letter.record.timestamp;
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), refused)) if Instant::now() < deadline => {
                    record = refused;
                    // Until some of them have left it.
                    let _ = producer.flush(A_MOMENT);
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    fn headers(&self, letter: &LetterCopy) -> OwnedHeaders {
        let theirs = letter.record.headers.iter();
        let headers = theirs.fold(OwnedHeaders::new(), |headers, (name, value)| {
            headers.insert(rdkafka::message::Header { key: name, value: value.as_deref() })
        });
        self.dialect.of(letter).into_iter().fold(headers, |headers, (name, value)| {
            headers.insert(rdkafka::message::Header { key: name, value: Some(&value) })
        })
    }
}

impl Dialect {
    fn of(self, letter: &LetterCopy) -> Vec<(&'static str, Vec<u8>)> {
        let TopicPartition { topic, partition } = &letter.partition;
        let (class, reason) =
            letter.cause.clone().unwrap_or_else(|| ("waiting".into(), "an earlier record of its key is parked".into()));
        let offset = letter.record.offset;
        let text = |text: &str| text.as_bytes().to_vec();
        match self {
            Dialect::Connect => vec![
                ("__connect.errors.topic", text(topic)),
                ("__connect.errors.partition", text(&partition.to_string())),
                ("__connect.errors.offset", text(&offset.to_string())),
                ("__connect.errors.connector.name", text(&letter.projection)),
                ("__connect.errors.exception.class.name", text(&class)),
                ("__connect.errors.exception.message", text(&reason)),
            ],
            Dialect::Spring => vec![
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

    #[test]
    fn what_arrives_late_from_an_earlier_round_counts_for_nothing() {
        let deliveries = Deliveries::default();
        let timed_out = KafkaError::MessageProduction(Code::MessageTimedOut);
        assert_eq!(deliveries.begin(2), 0);
        deliveries.ended(0, Ok(()));
        assert_eq!(deliveries.outcomes(), [Ok(()), Err(timed_out.clone())]);
        assert_eq!(deliveries.begin(1), 2);
        deliveries.ended(1, Ok(()));
        assert_eq!(deliveries.outcomes(), [Err(timed_out)]);
        deliveries.ended(2, Ok(()));
        assert_eq!(deliveries.outcomes(), [Ok(())]);
    }

    #[test]
    fn a_record_is_to_blame_for_its_size_and_its_time_and_for_no_broker_that_is_away() {
        let of = |code| KafkaError::MessageProduction(code);
        for code in [Code::MessageSizeTooLarge, Code::InvalidTimestamp, Code::InvalidRecord, Code::PolicyViolation] {
            assert!(is_of_the_record(&of(code)), "{code:?}");
        }
        for code in [Code::MessageTimedOut, Code::AllBrokersDown, Code::TopicAuthorizationFailed, Code::UnknownTopic] {
            assert!(!is_of_the_record(&of(code)), "{code:?}");
        }
    }

    #[test]
    fn numbers_are_written_as_each_dialect_writes_them() {
        let letter = LetterCopy {
            projection: "p".into(),
            group: "app.p".into(),
            partition: TopicPartition::new("orders", 3),
            record: Record { offset: 258, ..Record::default() },
            cause: Some(("undecodable".into(), "it is torn".into())),
        };
        let of = |dialect: Dialect, name: &str| {
            dialect.of(&letter).into_iter().find(|(other, _)| *other == name).map(|(_, value)| value)
        };
        assert_eq!(of(Dialect::Connect, "__connect.errors.offset"), Some(b"258".to_vec()));
        assert_eq!(of(Dialect::Spring, "kafka_dlt-original-offset"), Some(vec![0, 0, 0, 0, 0, 0, 1, 2]));
        assert_eq!(of(Dialect::Spring, "kafka_dlt-original-partition"), Some(vec![0, 0, 0, 3]));
        assert_eq!(of(Dialect::Connect, "__connect.errors.exception.class.name"), Some(b"undecodable".to_vec()));
    }
}
