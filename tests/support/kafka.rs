//! Operations of tests on Kafka: topics, records, offsets and groups.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use tokio::sync::OnceCell;

use super::eventually::{PATIENCE, eventually};
use super::servers;

/// The time limit of one request to the broker. Callers repeat it.
const REQUEST: Duration = Duration::from_secs(1);

/// A broker and an admin client.
pub(crate) struct Kafka {
    bootstrap: String,
    admin: AdminClient<DefaultClientContext>,
    client: BaseConsumer,
}

/// A record to write. Without a partition, the key decides as in Java producers.
#[derive(Default)]
pub(crate) struct NewRecord {
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<Vec<u8>>,
    /// `None` is a tombstone.
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// Milliseconds since 1970. Absent: the time of writing.
    pub(crate) timestamp: Option<i64>,
}

impl<K: Into<Vec<u8>>, V: Into<Vec<u8>>> From<(Option<i32>, K, V)> for NewRecord {
    fn from((partition, key, value): (Option<i32>, K, V)) -> NewRecord {
        NewRecord { partition, key: Some(key.into()), value: Some(value.into()), ..NewRecord::default() }
    }
}

impl Kafka {
    /// The shared broker. Topics and groups need unique names: see [`unique`].
    pub(crate) async fn shared() -> Arc<Kafka> {
        static SHARED: OnceCell<Arc<Kafka>> = OnceCell::const_new();
        SHARED.get_or_init(async || Kafka::at(&servers::kafka().await.address)).await.clone()
    }

    /// A separate broker, which the test may damage.
    pub(crate) fn at(bootstrap: &str) -> Arc<Kafka> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap);
        Arc::new(Kafka {
            bootstrap: bootstrap.to_owned(),
            admin: config.create().expect("a client needs no server to exist"),
            client: config.create().expect("a client needs no server to exist"),
        })
    }

    /// The value for `bootstrap.servers`.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    pub(crate) async fn create_topic(&self, name: &str, partitions: usize) {
        self.create_topic_with(name, partitions, &[]).await;
    }

    /// Creates a topic with properties such as `("cleanup.policy", "compact")`.
    pub(crate) async fn create_topic_with(&self, name: &str, partitions: usize, properties: &[(&str, &str)]) {
        let count = i32::try_from(partitions).expect("a topic has few partitions");
        let topic = NewTopic::new(name, count, TopicReplication::Fixed(1));
        let topic = properties.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let results = self.admin.create_topics([&topic], &options()).await.expect("the broker answers");
        results[0].as_ref().unwrap_or_else(|error| panic!("creating topic {name}: {error:?}"));
        self.await_partitions(name, partitions).await;
    }

    /// Deletes a topic and waits until its name is free again.
    pub(crate) async fn delete_topic(&self, name: &str) {
        let results = self.admin.delete_topics(&[name], &options()).await.expect("the broker answers");
        results[0].as_ref().unwrap_or_else(|error| panic!("deleting topic {name}: {error:?}"));
        self.await_partitions(name, 0).await;
    }

    /// Raises the number of a topic's partitions to `total`.
    pub(crate) async fn add_partitions(&self, topic: &str, total: usize) {
        let partitions = NewPartitions::new(topic, total);
        let results = self.admin.create_partitions([&partitions], &options()).await.expect("the broker answers");
        results[0].as_ref().unwrap_or_else(|error| panic!("adding partitions to {topic}: {error:?}"));
        self.await_partitions(topic, total).await;
    }

    /// Deletes the records of a partition before the offset `before`, as retention does.
    pub(crate) async fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, partition, Offset::Offset(before)).expect("the offset is a plain one");
        let results = self.admin.delete_records(&offsets, &options()).await.expect("the broker answers");
        for result in results.elements() {
            result.error().unwrap_or_else(|error| panic!("deleting records of {topic}/{partition}: {error}"));
        }
    }

    /// Deletes a consumer group, which must have no member left.
    pub(crate) async fn delete_group(&self, group: &str) {
        let results = self.admin.delete_groups(&[group], &options()).await.expect("the broker answers");
        results[0].as_ref().unwrap_or_else(|error| panic!("deleting group {group}: {error:?}"));
    }

    /// Waits until a consumer group is in this state, such as `Stable`.
    pub(crate) async fn group_is(&self, group: &str, wanted: &str) {
        eventually(&format!("group {group} is {wanted}"), PATIENCE, async || {
            let groups = self.client.fetch_group_list(Some(group), REQUEST).map_err(|error| error.to_string())?;
            let state = groups.groups().first().map(|found| found.state().to_owned()).unwrap_or_default();
            if state == wanted { Ok(()) } else { Err(state) }
        })
        .await;
    }

    /// Writes the records in order and returns their number after the broker has acknowledged all. Blocks the thread.
    pub(crate) fn produce<R: Into<NewRecord>>(&self, topic: &str, records: impl IntoIterator<Item = R>) -> u64 {
        produce(&producer(&self.producer_config()), topic, records)
    }

    /// A transactional producer. An open transaction of an earlier producer with the same id is aborted. The broker
    /// aborts a transaction that does not end within `timeout`.
    pub(crate) fn transactions(&self, id: &str, timeout: Duration) -> Transactions {
        let mut config = self.producer_config();
        config.set("transactional.id", id).set("transaction.timeout.ms", timeout.as_millis().to_string());
        let producer = producer(&config);
        producer.init_transactions(PATIENCE).expect("the broker knows transactions");
        Transactions(producer)
    }

    /// The number of records of a partition, without holes.
    pub(crate) fn count_records(&self, topic: &str, partition: i32) -> usize {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", unique("count"))
            .set("enable.partition.eof", "true");
        let reader: BaseConsumer = config.create().expect("a client needs no server to exist");
        let mut place = TopicPartitionList::new();
        place.add_partition_offset(topic, partition, Offset::Beginning).expect("the offset is a plain one");
        reader.assign(&place).expect("it has no group");
        let mut count = 0;
        loop {
            match reader.poll(PATIENCE).expect("the broker answers") {
                Ok(_) => count += 1,
                Err(KafkaError::PartitionEOF(_)) => return count,
                Err(error) => panic!("reading {topic}/{partition}: {error}"),
            }
        }
    }

    /// The offset after the last record of each partition, transaction markers included.
    pub(crate) async fn end_offsets(&self, topic: &str) -> Vec<i64> {
        self.watermarks(topic).await.into_iter().map(|(_, end)| end).collect()
    }

    /// The first offset that each partition still holds.
    pub(crate) async fn start_offsets(&self, topic: &str) -> Vec<i64> {
        self.watermarks(topic).await.into_iter().map(|(start, _)| start).collect()
    }

    async fn watermarks(&self, topic: &str) -> Vec<(i64, i64)> {
        eventually(&format!("the ends of topic {topic} are known"), PATIENCE, async || {
            let watermarks = self.try_watermarks(topic).map_err(|error| error.to_string())?;
            if watermarks.is_empty() { Err("there is no such topic".to_owned()) } else { Ok(watermarks) }
        })
        .await
    }

    /// Waits until the broker serves each of the partitions, which happens shortly after it has acknowledged a change
    /// of the topic.
    async fn await_partitions(&self, topic: &str, expected: usize) {
        eventually(&format!("topic {topic} serves {expected} partitions"), PATIENCE, async || {
            let served = self.try_watermarks(topic).map_err(|error| error.to_string())?.len();
            if served == expected { Ok(()) } else { Err(format!("{served} partitions")) }
        })
        .await;
    }

    /// The start and the end of each partition. Empty for a topic that does not exist.
    fn try_watermarks(&self, topic: &str) -> KafkaResult<Vec<(i64, i64)>> {
        let metadata = self.client.fetch_metadata(Some(topic), REQUEST)?;
        let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        partitions.map(|partition| self.client.fetch_watermarks(topic, partition.id(), REQUEST)).collect()
    }

    fn producer_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        // Keeps the order across retries, and partitions keys as a Java producer does.
        config.set("enable.idempotence", "true").set("partitioner", "murmur2_random");
        // Large batches: some tests write a million records.
        config.set("linger.ms", "20").set("batch.size", "1000000").set("compression.type", "lz4");
        config.set("queue.buffering.max.messages", "200000").set("queue.buffering.max.kbytes", "262144");
        config.set("message.max.bytes", "33554432");
        config
    }
}

/// A transactional producer.
pub(crate) struct Transactions(BaseProducer<Delivery>);

impl Transactions {
    /// Writes the records into a transaction, which stays open. The broker has acknowledged all of them.
    pub(crate) fn begin<R: Into<NewRecord>>(&self, topic: &str, records: impl IntoIterator<Item = R>) {
        self.0.begin_transaction().expect("no transaction is open");
        produce(&self.0, topic, records);
    }

    pub(crate) fn commit(&self) {
        self.0.commit_transaction(PATIENCE).expect("the broker commits");
    }

    pub(crate) fn abort(&self) {
        self.0.abort_transaction(PATIENCE).expect("the broker aborts");
    }
}

/// A name for a topic or a group that no other test and no other run uses.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{:016x}", fastrand::u64(..))
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

fn producer(config: &ClientConfig) -> BaseProducer<Delivery> {
    BaseProducer::from_config_and_context(config, Delivery::default()).expect("a producer needs no server to exist")
}

/// Writes the records in order and returns their number after the broker has acknowledged all.
fn produce<R: Into<NewRecord>>(
    producer: &BaseProducer<Delivery>,
    topic: &str,
    records: impl IntoIterator<Item = R>,
) -> u64 {
    let delivery = producer.context();
    let before = delivery.delivered.load(Ordering::Relaxed);
    let mut sent = 0;
    for record in records {
        send(producer, topic, &record.into());
        sent += 1;
    }
    producer.flush(PATIENCE).expect("the broker takes what was sent");
    if let Some(error) = delivery.failure.lock().expect("no delivery report panics").as_ref() {
        panic!("producing to {topic}: {error}");
    }
    let delivered = delivery.delivered.load(Ordering::Relaxed) - before;
    assert_eq!(delivered, sent, "every record sent to {topic} is delivered");
    sent
}

/// Queues one record. Waits while the queue is full.
fn send(producer: &BaseProducer<Delivery>, topic: &str, record: &NewRecord) {
    let mut next = BaseRecord::<[u8], [u8]>::to(topic);
    (next.partition, next.timestamp) = (record.partition, record.timestamp);
    (next.key, next.payload) = (record.key.as_deref(), record.value.as_deref());
    if !record.headers.is_empty() {
        let header = |headers: OwnedHeaders, (key, value): &(String, Vec<u8>)| {
            headers.insert(Header { key, value: Some(value) })
        };
        next.headers = Some(record.headers.iter().fold(OwnedHeaders::new(), header));
    }
    while let Err((error, back)) = producer.send(next) {
        let full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
        assert!(full, "producing to {topic}: {error}");
        producer.poll(Duration::from_millis(100));
        next = back;
    }
}

/// Counts acknowledged records and keeps the first failure.
#[derive(Default)]
struct Delivery {
    delivered: AtomicU64,
    failure: Mutex<Option<KafkaError>>,
}

impl ClientContext for Delivery {}

impl ProducerContext for Delivery {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.delivered.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => {
                self.failure.lock().expect("no delivery report panics").get_or_insert_with(|| error.clone());
            }
        }
    }
}
