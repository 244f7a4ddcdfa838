//! The log that all runs read.

use std::sync::Arc;

use readcast::config::Config;
use readcast::source::file::{Appender, FileSource};
use readcast::source::kafka::KafkaSource;
use readcast::source::{Batch, Source, SourceEvent, Start};
use readcast_projections::sample::{Orders, TOPIC};
use tempfile::TempDir;

use crate::support::kafka::{Kafka, unique};

const PARTITIONS: u8 = 6;

/// The events of the example shop.
pub(crate) struct Log {
    pub(crate) source: Arc<dyn Source>,
    events: usize,
    _folder: Option<TempDir>,
}

impl Log {
    /// In a topic of their own, on the broker that the test harness finds.
    pub(crate) async fn in_kafka(events: usize, config: &Config) -> Self {
        let kafka = Kafka::shared().await;
        let prefix = unique("throughput") + ".";
        let topic = format!("{prefix}{TOPIC}");
        kafka.create_topic(&topic, PARTITIONS.into()).await;
        kafka.produce(&topic, Orders::new(1).take(events).map(|(key, event)| (None, key, event)));
        let properties = [("bootstrap.servers".to_owned(), kafka.bootstrap().to_owned())];
        let buffer_bytes = config.projection("order_summary").buffer_bytes;
        Self { source: Arc::new(KafkaSource::new(properties, &prefix, buffer_bytes)), events, _folder: None }
    }

    /// In a folder of their own.
    pub(crate) fn in_files(events: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Appender::open(folder.path(), TOPIC, PARTITIONS.into()).unwrap();
        for (key, event) in Orders::new(1).take(events) {
            files.append(&key, &event).unwrap();
        }
        files.flush().unwrap();
        Self { source: Arc::new(FileSource::new(folder.path())), events, _folder: Some(folder) }
    }

    /// How many there are.
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// All of them, in the batches and in the order in which the source delivers them.
    pub(crate) async fn read(&self) -> Vec<Batch> {
        let mut subscription = self.source.subscribe(&unique("throughput"), &[TOPIC]).await.unwrap();
        let mut batches = Vec::new();
        let mut left = self.events;
        while left > 0 {
            match subscription.next().await.unwrap() {
                SourceEvent::Assigned(partitions) => {
                    let starts: Vec<_> = partitions.into_iter().map(|partition| Start::at(partition, 0)).collect();
                    subscription.start(&starts).await.unwrap();
                }
                SourceEvent::Batch(batch) => {
                    left -= batch.records.len();
                    batches.push(batch);
                }
                SourceEvent::AtEnd(_) | SourceEvent::Revoked(_) | SourceEvent::Lost(_) => {}
            }
        }
        subscription.close().await;
        batches
    }
}
