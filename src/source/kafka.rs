//! The Kafka source. Nothing outside of this module knows rdkafka.
//!
//! A subscription is one consumer, polled by one thread of its own. The thread serves the group's callbacks and hands
//! records on; it stops taking more while the bytes that nobody has taken yet exceed a bound.

mod byte_budget;
mod dead_letters;
mod errors;
mod extents;
mod heartbeat;
mod log;
mod native;
mod poll;
mod pool;
mod produce;
mod properties;
mod rebalance;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use readcast_core::{Timestamp, TopicPartition};
use tokio::sync::{mpsc, oneshot, watch};

pub use self::dead_letters::{Copied, DeadLetterTopic, Dialect, LetterCopy};
use self::heartbeat::Heartbeat;
use self::log::ToTracing;
pub use self::produce::Producer;
use self::properties::Kept;
pub use self::properties::Properties;
use self::rebalance::GroupMember;
use super::{Assignment, Extents, Source, SourceError, SourceEvent, Start, Subscription};

/// How long one question to the brokers may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long leaving the group may take. Closing a consumer can hang (librdkafka #4884): its session times out then.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for all consumers that were dropped, at the end of a process whose drain was cut short.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// A client without a group.
type Client = BaseConsumer<ToTracing>;

/// A Kafka cluster.
#[derive(Clone)]
pub struct KafkaSource {
    properties: Properties,
    topics: Topics,
    buffer_bytes: usize,
    /// For questions to the brokers.
    client: Arc<Kept<Client>>,
    /// How many polling threads run: each is a member of a group.
    members: watch::Sender<usize>,
}

impl KafkaSource {
    /// The cluster that librdkafka's own `properties` lead to, where every topic's name begins with `topic_prefix`. A
    /// subscription holds at most about `buffer_bytes` of records that nobody has taken yet, and as much again inside
    /// of librdkafka.
    pub fn new(properties: impl Into<Properties>, topic_prefix: &str, buffer_bytes: usize) -> Self {
        let topics = Topics { prefix: topic_prefix.into() };
        let (client, members) = (Arc::default(), watch::Sender::default());
        Self { properties: properties.into(), topics, buffer_bytes, client, members }
    }

    fn client(&self) -> Result<Arc<Client>, SourceError> {
        self.client.client(&self.properties, |properties| {
            let made = self.config(properties, &[]).create_with_context(ToTracing);
            made.map_err(|error| refused("configuring the Kafka client", &error))
        })
    }

    /// Our choices first, the operator's `properties` over them, and last those that are not theirs to make.
    fn config(&self, properties: Vec<(String, String)>, ours: &[(&str, &str)]) -> ClientConfig {
        // librdkafka looks at its queue before it asks for more, and one answer may bring as much again; and beside each
        // record it keeps more than many a record is long.
        let fetched_bytes = (self.buffer_bytes / 8).max(1 << 20);
        let queued_kilobytes = (fetched_bytes / 1024).to_string();
        let mut config = ClientConfig::new();
        config
            .set("client.id", "readcast")
            // Off by default in librdkafka: a corrupt batch would be projected.
            .set("check.crcs", "true")
            // New partitions are otherwise noticed after up to five minutes.
            .set("topic.metadata.refresh.interval.ms", "10000")
            .set("queued.max.messages.kbytes", &queued_kilobytes)
            .set("fetch.max.bytes", fetched_bytes.to_string())
            // A full queue otherwise puts the next fetch off by a whole second.
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.wait.max.ms", "100");
        let mut config = properties::over(config, properties);
        for (key, value) in ours {
            config.set(*key, *value);
        }
        config
    }

    fn consumer_config(&self, group: &str) -> Result<ClientConfig, SourceError> {
        let ours = [
            ("group.id", group),
            // Positions of record are ours. A position that the log no longer has is an error, never a jump: the
            // default `latest` and also `earliest` would skip records in silence.
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", "true"),
        ];
        let mut config = self.config(self.properties.current()?, &ours);
        // The consumer protocol of KIP-848 assigns on the broker and refuses this property.
        if config.get("group.protocol") != Some("consumer") {
            config.set("partition.assignment.strategy", "cooperative-sticky");
        }
        Ok(config)
    }
}

#[async_trait]
impl Source for KafkaSource {
    async fn extents(&self, topics: &[&str]) -> Result<Extents, SourceError> {
        let source = self.clone();
        let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        blocking("asking Kafka how far its topics reach", move || {
            let client = source.client()?;
            let mut extents = Extents::new();
            for topic in &topics {
                extents::of_topic(&client, &source.topics, topic, &mut extents)?;
            }
            Ok(extents)
        })
        .await
    }

    async fn cluster_id(&self) -> Result<Option<String>, SourceError> {
        let source = self.clone();
        blocking("asking Kafka for the id of its cluster", move || {
            Ok(source.client()?.client().fetch_cluster_id(ANSWER_TIMEOUT))
        })
        .await
    }

    async fn offsets_at(&self, topics: &[&str], at: Timestamp) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
        let extents = self.extents(topics).await?;
        let source = self.clone();
        blocking(extents::ASKING_FOR_A_TIME, move || {
            let client = source.client()?;
            extents::offsets_at(&client, &source.topics, &extents, at)
        })
        .await
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>, SourceError> {
        let (sender, events) = mpsc::unbounded_channel();
        let assignment = Arc::new(Assignment::default());
        let member = GroupMember::new(self.topics.clone(), assignment.clone(), sender.clone());
        let consumer: BaseConsumer<GroupMember> = self
            .consumer_config(group)?
            .create_with_context(member)
            .map_err(|error| refused("configuring the Kafka consumer", &error))?;
        let names: Vec<String> = topics.iter().map(|topic| self.topics.in_kafka(topic)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        consumer.subscribe(&names).map_err(|error| refused("subscribing", &error))?;
        let consumer = Arc::new(consumer);
        let budget = Arc::new(byte_budget::ByteBudget::new(self.buffer_bytes));
        let (closed, closing) = oneshot::channel();
        let heartbeat = Arc::new(Heartbeat::new());
        let poller = poll::Poller::new(
            consumer.clone(),
            self.topics.clone(),
            sender,
            assignment.clone(),
            budget.clone(),
            heartbeat.clone(),
        );
        let thread = std::thread::Builder::new().name(format!("kafka {group}"));
        let (span, membership) = (tracing::Span::current(), Membership::of(&self.members));
        let spawned = thread.spawn(move || {
            span.in_scope(|| poller.run());
            drop(membership);
            let _ = closed.send(());
        });
        spawned.map_err(|error| SourceError::Unavailable {
            doing: "starting the thread that polls Kafka".into(),
            reason: error.to_string(),
        })?;
        Ok(Box::new(KafkaSubscription {
            consumer: Some(consumer),
            topics: self.topics.clone(),
            events,
            assignment,
            budget,
            heartbeat,
            closing,
            failed: None,
        }))
    }

    async fn leave_groups(&self) {
        let mut members = self.members.subscribe();
        let left = members.wait_for(|count| *count == 0);
        if tokio::time::timeout(LEAVE_TIMEOUT, left).await.is_err() {
            tracing::warn!(
                "a Kafka consumer did not leave its group in time: its partitions are free when its session times out"
            );
        }
    }
}

/// Counts a member of a group for as long as it is one.
struct Membership(watch::Sender<usize>);

impl Membership {
    fn of(members: &watch::Sender<usize>) -> Self {
        members.send_modify(|count| *count += 1);
        Self(members.clone())
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

struct KafkaSubscription {
    /// None once it is being closed.
    consumer: Option<Arc<BaseConsumer<GroupMember>>>,
    topics: Topics,
    events: mpsc::UnboundedReceiver<Result<SourceEvent, SourceError>>,
    assignment: Arc<Assignment>,
    budget: Arc<byte_budget::ByteBudget>,
    heartbeat: Arc<Heartbeat>,
    closing: oneshot::Receiver<()>,
    /// What ended it. Nothing is given out after that: it could be what lies behind something that is missing.
    failed: Option<SourceError>,
}

impl Drop for KafkaSubscription {
    /// The polling thread ends, and with it the consumer, which leaves the group.
    fn drop(&mut self) {
        self.consumer = None;
        self.budget.close();
    }
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn next(&mut self) -> Result<SourceEvent, SourceError> {
        let ended = || SourceError::Unavailable {
            doing: "polling Kafka".into(),
            reason: "the polling thread has ended".into(),
        };
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let event = self.events.recv().await.ok_or_else(ended)?;
        let event = event.inspect_err(|error| self.failed = Some(error.clone()))?;
        if let SourceEvent::Batch(batch) = &event {
            self.budget.give_back(batch.bytes());
        }
        Ok(event)
    }

    async fn start(&mut self, starts: &[Start]) -> Result<(), SourceError> {
        let Some(consumer) = self.consumer.clone() else { return Ok(()) };
        let starts = starts.to_vec();
        blocking("starting partitions", move || {
            let member = consumer.context().clone();
            member.start(&consumer, &starts).map_err(|error| classify("starting partitions", &error))
        })
        .await
    }

    fn assignment(&self) -> Arc<Assignment> {
        self.assignment.clone()
    }

    fn last_sign(&self) -> Duration {
        self.heartbeat.since()
    }

    fn mirror(&mut self, next_offsets: &[(TopicPartition, i64)]) {
        let Some(consumer) = &self.consumer else { return };
        let ours = next_offsets.iter().filter(|(partition, _)| self.assignment.epoch(partition).is_some());
        let list = self.topics.offsets(ours);
        if list.count() == 0 {
            return;
        }
        // The positions of record are in the database: what Kafka says to this matters to its consoles alone.
        if let Err(error) = consumer.commit(&list, CommitMode::Async) {
            tracing::debug!(%error, "positions were not mirrored to Kafka");
        }
    }

    async fn close(mut self: Box<Self>) {
        self.consumer = None;
        self.budget.close();
        if tokio::time::timeout(CLOSE_TIMEOUT, &mut self.closing).await.is_err() {
            tracing::warn!(
                "the Kafka consumer did not leave its group in time: its partitions are free when its session times out"
            );
        }
    }
}

/// How topics are named in this cluster.
#[derive(Clone, Debug)]
struct Topics {
    prefix: Arc<str>,
}

impl Topics {
    fn in_kafka(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// The partition as the rest of us names it.
    fn partition(&self, name_in_kafka: &str, partition: i32) -> TopicPartition {
        TopicPartition::new(name_in_kafka.strip_prefix(&*self.prefix).unwrap_or(name_in_kafka), partition)
    }

    /// Partitions with the offsets and leader epochs at which they start, as librdkafka takes them.
    fn starts<'a>(&self, starts: impl IntoIterator<Item = &'a Start>) -> TopicPartitionList {
        let starts: Vec<_> = starts.into_iter().collect();
        let offsets: Vec<_> = starts.iter().map(|start| (start.partition.clone(), start.next_offset)).collect();
        let mut list = self.offsets(&offsets);
        for Start { partition, leader_epoch, .. } in starts {
            if let Some(epoch) = leader_epoch {
                native::set_leader_epoch(&mut list, &self.in_kafka(&partition.topic), partition.partition, *epoch);
            }
        }
        list
    }

    /// Partitions with offsets, as librdkafka takes them.
    fn offsets<'a>(&self, offsets: impl IntoIterator<Item = &'a (TopicPartition, i64)>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            let name = self.in_kafka(&partition.topic);
            // Fails for negative offsets alone, which no checkpoint has. (`add_partition_offset` looks through the whole list.)
            let _ = list.add_partition(&name, partition.partition).set_offset(Offset::Offset(*offset));
        }
        list
    }
}

/// Runs what may wait for brokers where it holds up no task.
async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let ended =
        |error: tokio::task::JoinError| SourceError::Unavailable { doing: doing.into(), reason: error.to_string() };
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}

fn refused(doing: &str, error: &KafkaError) -> SourceError {
    let hint = if cfg!(any(feature = "kafka-tls", feature = "kafka-tls-vendored")) {
        ""
    } else {
        " (this build has no TLS and no SASL towards Kafka: they come with the feature `kafka-tls`)"
    };
    SourceError::Refused { doing: doing.into(), reason: format!("{error}{hint}") }
}

/// What an error of librdkafka means for us. It reconnects by itself, so most errors are worth another try.
fn classify(doing: &str, error: &KafkaError) -> SourceError {
    use RDKafkaErrorCode as Code;
    let (doing, reason) = (doing.to_owned(), error.to_string());
    match error.rdkafka_error_code() {
        Some(
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnsupportedVersion
            | Code::InvalidTopic
            | Code::InvalidGroupId
            | Code::BadMessage
            | Code::BadCompression
            | Code::InvalidMessage,
        ) => SourceError::Refused { doing, reason },
        _ => SourceError::Unavailable { doing, reason },
    }
}
