//! The logs of the benchmarks.

use readcast::internals::source::file::Appender;
use readcast::source::Batch;
use readcast_core::Registry;
use readcast_projections::sample::{Orders, TOPIC};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::child::read::each_batch;
use crate::child::{self, LogAddress};
use crate::support::kafka::{Kafka, unique};

/// The default number of partitions.
pub(crate) const PARTITIONS: u8 = 6;

/// Events of the example shop in a new topic or folder.
pub(crate) struct Log {
    pub(crate) address: LogAddress,
    events: usize,
    bytes: usize,
    _folder: Option<TempDir>,
}

/// Reads a topic with a consumer group once: the first group on a broker waits seconds until the broker has created its
/// internal topic for groups.
async fn warm_up() {
    let log = Log::create(1, orders(1)).await;
    log.read(&Registry::new()).await;
    log.delete().await;
}

/// The events of the example shop for most measurements.
pub(crate) fn orders(events: usize) -> impl Iterator<Item = (String, String)> {
    Orders::new(1).take(events)
}

impl Log {
    /// Creates the log in a topic of the broker that the test harness provides.
    pub(crate) async fn in_kafka(partitions: u8, events: impl Iterator<Item = (String, String)>) -> Self {
        static WARM: OnceCell<()> = OnceCell::const_new();
        WARM.get_or_init(warm_up).await;
        Self::create(partitions, events).await
    }

    async fn create(partitions: u8, events: impl Iterator<Item = (String, String)>) -> Self {
        let kafka = Kafka::shared().await;
        let prefix = unique("speed") + ".";
        kafka.create_topic(&format!("{prefix}{TOPIC}"), partitions.into()).await;
        let address = LogAddress::Kafka { bootstrap: kafka.bootstrap().to_owned(), prefix };
        let mut log = Self { address, events: 0, bytes: 0, _folder: None };
        log.append(events).await;
        log
    }

    /// Writes further events into a topic.
    pub(crate) async fn append(&mut self, events: impl Iterator<Item = (String, String)>) {
        let kafka = Kafka::shared().await;
        let topic = self.topic();
        let counted = events.inspect(|(_, event)| {
            self.events += 1;
            self.bytes += event.len();
        });
        kafka.produce(&topic, counted.map(|(key, event)| (None, key, event)));
    }

    /// Creates the log in a folder.
    pub(crate) fn in_files(events: impl Iterator<Item = (String, String)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Appender::open(folder.path(), TOPIC, PARTITIONS.into()).unwrap();
        let (mut count, mut bytes) = (0, 0);
        for (key, event) in events {
            files.append(&key, &event).unwrap();
            (count, bytes) = (count + 1, bytes + event.len());
        }
        files.flush().unwrap();
        Self { address: LogAddress::Files(folder.path().to_owned()), events: count, bytes, _folder: Some(folder) }
    }

    /// The number of events.
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// The average size of an event in bytes.
    pub(crate) fn bytes_an_event(&self) -> f64 {
        self.bytes as f64 / self.events as f64
    }

    /// The name of the topic in the cluster.
    pub(crate) fn topic(&self) -> String {
        match &self.address {
            LogAddress::Kafka { prefix, .. } => format!("{prefix}{TOPIC}"),
            LogAddress::Files(folder) => panic!("{} is no topic", folder.display()),
        }
    }

    /// All events, in the batches and the order of the source.
    pub(crate) async fn read(&self, registry: &Registry) -> Vec<Batch> {
        let source = self.address.open(&child::defaults(registry));
        let (mut batches, mut left) = (Vec::new(), self.events);
        each_batch(&*source, |batch| {
            left -= batch.records.len();
            batches.push(batch);
            left > 0
        })
        .await;
        batches
    }

    /// Deletes the topic, to free disk space of the broker.
    pub(crate) async fn delete(self) {
        Kafka::shared().await.delete_topic(&self.topic()).await;
    }
}
