//! Writes sample events to Kafka. The service itself never writes to the log that it reads.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::{REQUEST_TIMEOUT, classify, refused};
use crate::source::SourceError;

/// Keeps the first failed delivery. The client reports it only to this callback.
#[derive(Default)]
pub(super) struct Delivery(Mutex<Option<KafkaError>>);

impl Delivery {
    /// The first failure since the last call.
    pub(super) fn outcome(&self) -> Result<(), KafkaError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

impl ClientContext for Delivery {}

impl ProducerContext for Delivery {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        if let Err((error, _)) = result {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.clone());
        }
    }
}

/// Writes records to one topic of Kafka.
pub struct Producer {
    producer: BaseProducer<Delivery>,
    topic: String,
}

impl Producer {
    /// A producer for `topic`. Creates the topic with `partitions` partitions if it does not exist.
    ///
    /// # Errors
    /// If the properties are invalid or the topic can't be created.
    pub async fn open(
        properties: impl IntoIterator<Item = (String, String)>,
        topic: String,
        partitions: i32,
    ) -> Result<Self, SourceError> {
        const DOING: &str = "configuring the Kafka producer";
        let mut config = ClientConfig::new();
        config.set("client.id", "readcast-generate").set("enable.idempotence", "true").set("linger.ms", "5");
        for (key, value) in properties {
            config.set(key, value);
        }
        let admin: AdminClient<DefaultClientContext> = config.create().map_err(|error| refused(DOING, &error))?;
        let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(-1));
        let options = AdminOptions::new().operation_timeout(Some(REQUEST_TIMEOUT));
        let created =
            admin.create_topics([&new], &options).await.map_err(|error| classify("creating a topic", &error))?;
        for result in created {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(classify("creating a topic", &KafkaError::AdminOp(code))),
            }
        }
        let producer = config.create_with_context(Delivery::default()).map_err(|error| refused(DOING, &error))?;
        Ok(Self { producer, topic })
    }

    /// Queues one record. Waits while the client's queue is full.
    ///
    /// # Errors
    /// If the client refuses the record. [`flush`](Self::flush) reports failed deliveries.
    pub fn send(&self, key: &str, value: &str) -> Result<(), SourceError> {
        let mut record = BaseRecord::to(&self.topic).key(key).payload(value);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    record = refused;
                    self.producer.poll(Duration::from_millis(50));
                }
                Err((error, _)) => return Err(classify("writing to Kafka", &error)),
            }
        }
    }

    /// Waits until the brokers have acknowledged all queued records, for 60 s at most.
    ///
    /// # Errors
    /// The first failed delivery, or the time-out.
    pub fn flush(&self) -> Result<(), SourceError> {
        let flushed = self.producer.flush(Duration::from_secs(60));
        flushed.and_then(|()| self.producer.context().outcome()).map_err(|error| classify("writing to Kafka", &error))
    }
}
