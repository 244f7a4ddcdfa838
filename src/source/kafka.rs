//! The Kafka source. Nothing outside of this module knows rdkafka.
//!
//! A subscription is one consumer, polled by one thread of its own. The thread serves the group's callbacks and hands
//! records on; it stops taking more while the bytes that nobody has taken yet exceed a bound.

mod dead_letters;
mod log;
mod meaning;
mod native;
mod poll;
mod pool;
mod produce;
mod pulse;
mod rebalance;
mod room;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use readcast_core::{Timestamp, TopicPartition};
use tokio::sync::{mpsc, oneshot};

pub use self::dead_letters::{Copied, Copy, DeadLetterTopic, Dialect};
use self::log::ToTracing;
pub use self::produce::Producer;
use self::pulse::Pulse;
use self::rebalance::Member;
use super::{Assignment, Extent, Extents, Source, SourceError, SourceEvent, Start, Subscription};

/// How long one question to the brokers may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long leaving the group may take before we go without good-bye: closing a consumer can hang (librdkafka #4884).
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A client without a group.
type Client = BaseConsumer<ToTracing>;

/// A Kafka cluster.
#[derive(Clone)]
pub struct KafkaSource {
    properties: Vec<(String, String)>,
    topics: Topics,
    buffer_bytes: usize,
    /// For questions to the brokers.
    client: Arc<OnceLock<Client>>,
}

impl KafkaSource {
    /// The cluster that librdkafka's own `properties` lead to, where every topic's name begins with `topic_prefix`. A
    /// subscription holds at most about `buffer_bytes` of records that nobody has taken yet, and as much again inside
    /// of librdkafka.
    pub fn new(
        properties: impl IntoIterator<Item = (String, String)>,
        topic_prefix: &str,
        buffer_bytes: usize,
    ) -> Self {
        let properties = properties.into_iter().collect();
        Self { properties, topics: Topics { prefix: topic_prefix.into() }, buffer_bytes, client: Arc::default() }
    }

    fn client(&self) -> Result<&Client, SourceError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = self
            .config(&[])
            .create_with_context(ToTracing)
            .map_err(|error| refused("configuring the Kafka client", &error))?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Our choices first, the operator's over them, and last those that are not theirs to make.
    fn config(&self, ours: &[(&str, &str)]) -> ClientConfig {
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
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        for (key, value) in ours {
            config.set(*key, *value);
        }
        config
    }

    fn consumer_config(&self, group: &str) -> ClientConfig {
        let mut config = self.config(&[
            ("group.id", group),
            // Positions of record are ours. A position that the log no longer has is an error, never a jump: the
            // default `latest` and also `earliest` would skip records in silence.
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", "true"),
        ]);
        // The consumer protocol of KIP-848 assigns on the broker and refuses this property.
        if config.get("group.protocol") != Some("consumer") {
            config.set("partition.assignment.strategy", "cooperative-sticky");
        }
        config
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
                topic_extents(client, &source.topics, topic, &mut extents)?;
            }
            Ok(extents)
        })
        .await
    }

    async fn offsets_at(&self, topics: &[&str], at: Timestamp) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
        let extents = self.extents(topics).await?;
        let source = self.clone();
        blocking(ASKING_FOR_A_TIME, move || offsets_at(source.client()?, &source.topics, &extents, at)).await
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>, SourceError> {
        let (sender, events) = mpsc::unbounded_channel();
        let assignment = Arc::new(Assignment::default());
        let member = Member::new(self.topics.clone(), assignment.clone(), sender.clone());
        let consumer: BaseConsumer<Member> = self
            .consumer_config(group)
            .create_with_context(member)
            .map_err(|error| refused("configuring the Kafka consumer", &error))?;
        let names: Vec<String> = topics.iter().map(|topic| self.topics.in_kafka(topic)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        consumer.subscribe(&names).map_err(|error| refused("subscribing", &error))?;
        let consumer = Arc::new(consumer);
        let room = Arc::new(room::Room::new(self.buffer_bytes));
        let (closed, closing) = oneshot::channel();
        let pulse = Arc::new(Pulse::new());
        let poller = poll::Poller::new(
            consumer.clone(),
            self.topics.clone(),
            sender,
            assignment.clone(),
            room.clone(),
            pulse.clone(),
        );
        let thread = std::thread::Builder::new().name(format!("kafka {group}"));
        let spawned = thread.spawn(move || {
            poller.run();
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
            room,
            pulse,
            closing,
            failed: None,
        }))
    }
}

fn topic_extents(client: &Client, topics: &Topics, topic: &str, extents: &mut Extents) -> Result<(), SourceError> {
    let name = topics.in_kafka(topic);
    let doing = format!("asking Kafka how far topic `{name}` reaches");
    let metadata = client.fetch_metadata(Some(&name), ANSWER_TIMEOUT).map_err(|error| classify(&doing, &error))?;
    let found = metadata.topics().iter().find(|found| found.name() == name);
    let found = found.ok_or_else(|| SourceError::NoTopic(name.clone()))?;
    if let Some(error) = found.error() {
        return Err(of_topic(&name, &doing, &KafkaError::MetadataFetch(error.into())));
    }
    let log_id = native::topic_id(client, &name, ANSWER_TIMEOUT);
    for partition in found.partitions() {
        // Asked for its ends it would not answer, and say nothing.
        if partition.leader() < 0 {
            let reason = format!("partition {} has no leader at the moment", partition.id());
            return Err(SourceError::Unavailable { doing, reason });
        }
        let offsets = client.fetch_watermarks(&name, partition.id(), ANSWER_TIMEOUT);
        let (start, end) = offsets.map_err(|error| of_topic(&name, &doing, &error))?;
        extents.insert(TopicPartition::new(topic, partition.id()), Extent { start, end, log_id: log_id.clone() });
    }
    Ok(())
}

const ASKING_FOR_A_TIME: &str = "asking Kafka for the offsets at a time";

fn offsets_at(
    client: &Client,
    topics: &Topics,
    extents: &Extents,
    at: Timestamp,
) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
    let failed = |error: &KafkaError| classify(ASKING_FOR_A_TIME, error);
    // Kafka's times are milliseconds: a fraction of one belongs to the next.
    let millis = (at.as_micros() + 999).div_euclid(1_000).max(0);
    // The question has the form of its answer: a time where an offset will be.
    let question: Vec<_> = extents.keys().map(|partition| (partition.clone(), millis)).collect();
    let answer = client.offsets_for_times(topics.offsets(&question), ANSWER_TIMEOUT).map_err(|error| failed(&error))?;
    let mut offsets = BTreeMap::new();
    for element in answer.elements() {
        element.error().map_err(|error| failed(&error))?;
        let partition = topics.partition(element.topic(), element.partition());
        let end = extents.get(&partition).map_or(0, |extent| extent.end);
        // Where nothing is as late as that, the answer is "the end" and no number.
        let offset = if let Offset::Offset(offset) = element.offset() { offset } else { end };
        offsets.insert(partition, offset);
    }
    Ok(offsets)
}

struct KafkaSubscription {
    /// None once it is being closed.
    consumer: Option<Arc<BaseConsumer<Member>>>,
    topics: Topics,
    events: mpsc::UnboundedReceiver<Result<SourceEvent, SourceError>>,
    assignment: Arc<Assignment>,
    room: Arc<room::Room>,
    pulse: Arc<Pulse>,
    closing: oneshot::Receiver<()>,
    /// What ended it. Nothing is given out after that: it could be what lies behind something that is missing.
    failed: Option<SourceError>,
}

impl Drop for KafkaSubscription {
    fn drop(&mut self) {
        self.room.close();
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
            self.room.give_back(batch.bytes());
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
        self.pulse.since()
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
        self.room.close();
        if tokio::time::timeout(CLOSE_TIMEOUT, &mut self.closing).await.is_err() {
            tracing::warn!("the Kafka consumer did not close in time: its group will notice by session time-out");
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
            // Fails for negative offsets alone, which no checkpoint has.
            let _ = list.add_partition_offset(&name, partition.partition, Offset::Offset(*offset));
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
            | Code::SaslAuthenticationFailed
            | Code::Authentication
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

/// What an error about this topic means.
fn of_topic(topic: &str, doing: &str, error: &KafkaError) -> SourceError {
    use RDKafkaErrorCode::{UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    match error.rdkafka_error_code() {
        Some(UnknownTopic | UnknownTopicOrPartition | UnknownPartition) => SourceError::NoTopic(topic.to_owned()),
        _ => classify(doing, error),
    }
}
