//! The Kafka source. Nothing outside of this module knows rdkafka.
//!
//! A subscription is one consumer with its own polling thread. The thread serves the consumer group and sends records
//! to the subscription. It stops taking records while the unprocessed ones exceed a limit in bytes.

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
mod topic_names;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use readcast_core::{Timestamp, TopicPartition, is_topic_pattern};
use tokio::sync::{mpsc, oneshot, watch};

pub use self::dead_letters::{HeaderFormat, KafkaDeadLetterTopic};
use self::heartbeat::Heartbeat;
use self::log::ToTracing;
pub use self::produce::Producer;
use self::properties::CachedClient;
pub use self::properties::Properties;
use self::rebalance::GroupMember;
use self::topic_names::TopicNames;
use super::{Assignment, Extents, Source, SourceError, SourceEvent, Start, Subscription};

/// The time limit of one request to the brokers.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The time limit for leaving the group. Closing a consumer can hang (librdkafka #4884); then its session times out.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for all consumers that were dropped, at the end of a process whose drain was cut short.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The topics of Kafka itself, as a regular expression.
const INTERNAL_TOPICS: &str = "^__";

/// A client that is not a member of a group, for requests to the brokers.
type Client = BaseConsumer<ToTracing>;

/// A Kafka cluster.
#[derive(Clone)]
pub struct KafkaSource {
    properties: Properties,
    topics: TopicNames,
    buffer_bytes: usize,
    /// For requests to the brokers.
    client: Arc<CachedClient<Client>>,
    /// The number of polling threads that run. Each is a member of a group.
    members: watch::Sender<usize>,
}

impl KafkaSource {
    /// The cluster of librdkafka's `properties`. `topic_prefix` is the common prefix of the topics' names in Kafka. A
    /// subscription buffers about `buffer_bytes` bytes of records at most, and librdkafka as much again.
    pub fn new(properties: impl Into<Properties>, topic_prefix: &str, buffer_bytes: usize) -> Self {
        let topics = TopicNames { prefix: topic_prefix.into() };
        let (client, members) = (Arc::default(), watch::Sender::default());
        Self { properties: properties.into(), topics, buffer_bytes, client, members }
    }

    fn client(&self) -> Result<Arc<Client>, SourceError> {
        self.client.client(&self.properties, |properties| {
            let made = self.config(properties, &[]).create_with_context(ToTracing);
            made.map_err(|error| refused("configuring the Kafka client", &error))
        })
    }

    /// The defaults, overridden by the operator's `properties`, overridden by `fixed`.
    fn config(&self, properties: Vec<(String, String)>, fixed: &[(&str, &str)]) -> ClientConfig {
        // librdkafka checks the size of its queue before each fetch, and one response may bring as much again. Beside
        // each record it also keeps metadata, which is larger than many records.
        let fetched_bytes = (self.buffer_bytes / 8).max(1 << 20);
        let queued_kilobytes = (fetched_bytes / 1024).to_string();
        let mut config = ClientConfig::new();
        config
            .set("client.id", "readcast")
            // Disabled by default in librdkafka. Without it, a corrupt batch would be projected.
            .set("check.crcs", "true")
            // With the default, new partitions are detected after up to five minutes.
            .set("topic.metadata.refresh.interval.ms", "10000")
            .set("queued.max.messages.kbytes", &queued_kilobytes)
            .set("fetch.max.bytes", fetched_bytes.to_string())
            // With the default, a full queue delays the next fetch by a second.
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.wait.max.ms", "100");
        let mut config = properties::over(config, properties);
        for (key, value) in fixed {
            config.set(*key, *value);
        }
        config
    }

    fn consumer_config(&self, group: &str, has_patterns: bool) -> Result<ClientConfig, SourceError> {
        let fixed = [
            ("group.id", group),
            // The store keeps the checkpoints. An offset that the log no longer holds must be an error: `latest`, the
            // default, and `earliest` would skip records silently.
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", "true"),
        ];
        let mut config = self.config(self.properties.current()?, &fixed);
        if has_patterns {
            // Kafka's own topics fit many patterns.
            config.set("topic.blacklist", INTERNAL_TOPICS);
            // New topics are found when the client asks for all of them, by default every five minutes.
            if config.get("topic.metadata.refresh.interval.ms").is_none() {
                config.set("topic.metadata.refresh.interval.ms", "10000");
            }
        }
        // With the consumer protocol of KIP-848 the broker assigns the partitions and refuses this property.
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
        blocking("reading the offsets of the topics from Kafka", move || {
            let client = source.client()?;
            let mut extents = Extents::new();
            for topic in &extents::existing(&client, &source.topics, &topics)? {
                extents::of_topic(&client, &source.topics, topic, &mut extents)?;
            }
            Ok(extents)
        })
        .await
    }

    async fn cluster_id(&self) -> Result<Option<String>, SourceError> {
        let source = self.clone();
        blocking("reading the cluster id from Kafka", move || {
            Ok(source.client()?.client().fetch_cluster_id(REQUEST_TIMEOUT))
        })
        .await
    }

    async fn offsets_at(&self, topics: &[&str], at: Timestamp) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
        let extents = self.extents(topics).await?;
        let source = self.clone();
        blocking(extents::READING_OFFSETS_AT, move || {
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
            .consumer_config(group, topics.iter().any(|topic| is_topic_pattern(topic)))?
            .create_with_context(member)
            .map_err(|error| refused("configuring the Kafka consumer", &error))?;
        let names: Vec<String> = topics.iter().map(|topic| self.topics.subscribed(topic)).collect();
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
    /// `None` while the subscription closes.
    consumer: Option<Arc<BaseConsumer<GroupMember>>>,
    topics: TopicNames,
    events: mpsc::UnboundedReceiver<Result<SourceEvent, SourceError>>,
    assignment: Arc<Assignment>,
    budget: Arc<byte_budget::ByteBudget>,
    heartbeat: Arc<Heartbeat>,
    closing: oneshot::Receiver<()>,
    /// The error that ended the subscription. Nothing is delivered after it, because records before it may be missing.
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
            self.budget.release(batch.bytes());
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

    fn heartbeat_age(&self) -> Duration {
        self.heartbeat.age()
    }

    fn mirror(&mut self, next_offsets: &[(TopicPartition, i64)]) {
        let Some(consumer) = &self.consumer else { return };
        let owned = next_offsets.iter().filter(|(partition, _)| self.assignment.epoch(partition).is_some());
        let list = self.topics.offsets(owned);
        if list.count() == 0 {
            return;
        }
        // The checkpoints are in the database. Only the tools of Kafka read these positions.
        if let Err(error) = consumer.commit(&list, CommitMode::Async) {
            tracing::debug!(%error, "could not store the positions in Kafka");
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

/// Runs `work`, which may wait for brokers, on a blocking thread.
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
        " (this build supports neither TLS nor SASL for Kafka: build it with the feature `kafka-tls`)"
    };
    SourceError::Refused { doing: doing.into(), reason: format!("{error}{hint}") }
}

/// The source's error for an error of librdkafka. librdkafka reconnects by itself, so most errors are temporary.
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
