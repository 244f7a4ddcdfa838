//! Copies of dead letters in a topic, for those whose tools look there. The table stays the record.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use readcast_core::TopicPartition;

use super::produce::Delivery;
use super::properties::{self, Kept, Properties};
use super::{blocking, classify, refused};
use crate::source::{Record, SourceError};

/// How long the brokers may take to acknowledge what is copied at once.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(20);

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
pub struct Copy {
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

/// A topic of dead letters.
#[derive(Clone)]
pub struct DeadLetterTopic {
    properties: Properties,
    producer: Arc<Kept<ThreadedProducer<Delivery>>>,
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

    fn producer(&self) -> Result<Arc<ThreadedProducer<Delivery>>, SourceError> {
        self.producer.client(&self.properties, |properties| {
            let mut config = ClientConfig::new();
            config.set("client.id", "readcast-dead-letters").set("enable.idempotence", "true");
            config.set("message.timeout.ms", "15000");
            let made = properties::over(config, properties).create_with_context(Delivery::default());
            made.map_err(|error| refused("configuring the producer of dead letters", &error))
        })
    }

    /// Copies the records, in order: key, value, headers and time byte for byte, with headers of its own behind theirs.
    /// All of them have been acknowledged when this returns; after an error any of them may be there.
    pub async fn copy(&self, letters: Vec<Copy>) -> Result<(), SourceError> {
        let topic = self.clone();
        blocking("copying dead letters", move || topic.copy_blocking(&letters)).await
    }

    fn copy_blocking(&self, letters: &[Copy]) -> Result<(), SourceError> {
        const DOING: &str = "copying dead letters";
        let producer = self.producer()?;
        for letter in letters {
            let headers = self.headers(letter);
            let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic).headers(headers);
            record.key = letter.record.key.as_deref();
            record.payload = letter.record.value.as_deref();
            record.timestamp = letter.record.timestamp;
            producer.send(record).map_err(|(error, _)| classify(DOING, &error))?;
        }
        producer.flush(ACKNOWLEDGED_WITHIN).map_err(|error| classify(DOING, &error))?;
        producer.context().outcome().map_err(|error| classify(DOING, &error))
    }

    fn headers(&self, letter: &Copy) -> OwnedHeaders {
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
    fn of(self, letter: &Copy) -> Vec<(&'static str, Vec<u8>)> {
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
    fn numbers_are_written_as_each_dialect_writes_them() {
        let letter = Copy {
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
