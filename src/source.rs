//! Where records come from: the log, and a member's subscription to it.
//!
//! A source owns reading, group membership and the answer to "how far does the log reach". It knows nothing of tables,
//! and its own stored positions count for nothing: every partition starts where our checkpoint says.

pub mod file;
pub mod kafka;
pub mod memory;
mod verdict;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use readcast_core::{Timestamp, TopicPartition};

pub use self::verdict::{Known, Verdict, added, examine, verify};

/// A log of records in partitioned topics.
#[async_trait]
pub trait Source: Send + Sync {
    /// How far each partition of `topics` reaches at this moment. A partition that is there and can't answer now makes
    /// the whole answer unavailable: it is never left out, for what is left out counts as gone.
    async fn extents(&self, topics: &[&str]) -> Result<Extents, SourceError>;

    /// The id of the cluster that the log is in, where it has one.
    async fn cluster_id(&self) -> Result<Option<String>, SourceError> {
        Ok(None)
    }

    /// The offset of the first record at or after `at` in each partition of `topics`, or the end where there is none.
    /// Refused by a log that keeps no times.
    async fn offsets_at(&self, topics: &[&str], at: Timestamp) -> Result<BTreeMap<TopicPartition, i64>, SourceError>;

    /// As what the records of `topics` are read, where that is judged by the records themselves: a line for an operator of
    /// each topic that has any.
    async fn forms(&self, _topics: &[&str]) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }

    /// Joins the group `group` as one more member reading `topics`.
    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>, SourceError>;

    /// Waits, for a few seconds at most, until every member whose subscription was dropped without
    /// [`Subscription::close`] has left its group. Called before the process ends.
    async fn leave_groups(&self) {}
}

/// One member's share of the partitions, and their records.
#[async_trait]
pub trait Subscription: Send + Sync {
    /// The next thing that happened. May be cancelled without losing anything, and called again after an error.
    async fn next(&mut self) -> Result<SourceEvent, SourceError>;

    /// Begins the delivery of assigned partitions. Those that were taken away since they were assigned are passed over.
    async fn start(&mut self, starts: &[Start]) -> Result<(), SourceError>;

    /// Which partitions are ours at this instant, for whoever holds records of theirs.
    fn assignment(&self) -> Arc<Assignment>;

    /// How long ago whatever fetches records gave its last sign of life, whether or not there were any; zero where
    /// nothing runs between two calls of [`Subscription::next`]. A second or so is normal; much more means that it hangs
    /// in a call that does not return, which nothing else would tell: to wait for records looks the same from outside.
    /// When it has ended, `next` fails.
    fn last_sign(&self) -> Duration {
        Duration::ZERO
    }

    /// Tells the log's own tools how far we are, so that its consoles show our lag. Best effort.
    fn mirror(&mut self, _next_offsets: &[(TopicPartition, i64)]) {}

    /// Leaves the group, within a few seconds.
    async fn close(self: Box<Self>);
}

/// Where the delivery of a partition begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Which partition.
    pub partition: TopicPartition,
    /// The first offset to deliver.
    pub next_offset: i64,
    /// The leader epoch of the record before it, where that is known: a log that was cut off before `next_offset` and
    /// grew again is told by it (Kafka's KIP-320).
    pub leader_epoch: Option<i32>,
}

impl Start {
    /// At `next_offset`, whoever led the partition.
    pub fn at(partition: TopicPartition, next_offset: i64) -> Self {
        Self { partition, next_offset, leader_epoch: None }
    }
}

/// What happened in a subscription, in order.
#[derive(Debug)]
pub enum SourceEvent {
    /// These partitions are ours from now on. Nothing of them is delivered before they are started. A group that has no
    /// partitions for this member answers with an empty list.
    Assigned(Vec<TopicPartition>),
    /// Records of one partition, in order.
    Batch(Batch),
    /// Every record that the partition held when this was noticed has been delivered.
    AtEnd(TopicPartition),
    /// These partitions go to another member, in good order.
    Revoked(Vec<TopicPartition>),
    /// These partitions were taken from us before we knew: another member may already write.
    Lost(Vec<TopicPartition>),
}

/// Records of one partition, in the order of their offsets.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Where they come from.
    pub partition: TopicPartition,
    /// Under which assignment of the partition they were read.
    pub assignment: AssignmentEpoch,
    /// Where the batch begins: where the one before it ended, or where the partition was started. Not always the
    /// first record's offset, for a log can have holes; what it must never be is beyond the place where we stand.
    pub from: i64,
    /// Where the batch ends, and the next one begins: behind its last record, and behind whatever stands there that is no
    /// record, as far as the log's client tells.
    pub to: i64,
    /// The records; offsets may have holes, where a log was compacted or holds markers of its own.
    pub records: Vec<Record>,
    /// Under which leader of the partition the last of them was written, where the log knows such a thing and the batch
    /// ends there.
    pub leader_epoch: Option<i32>,
}

impl Batch {
    /// What the records take in memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.records.iter().map(Record::bytes).sum()
    }
}

/// One record as the log holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Its offset within its partition.
    pub offset: i64,
    /// Its key, if it has one.
    pub key: Option<Bytes>,
    /// Its value; none for a tombstone.
    pub value: Option<Bytes>,
    /// Its headers, in order; a name may come more than once.
    pub headers: Vec<Header>,
    /// When it was written, in milliseconds since 1970, where the log keeps times.
    pub timestamp: Option<i64>,
    /// What the source found odd about it, which may be why it can't be decoded. Not part of what the log holds.
    pub remark: Option<&'static str>,
}

/// A header of a record: its name, and its value if it has one.
pub type Header = (String, Option<Bytes>);

impl Record {
    /// What the record takes in memory, in bytes.
    pub fn bytes(&self) -> usize {
        let length = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        let header = |(name, value): &Header| size_of::<Header>() + name.len() + length(value);
        size_of::<Self>() + length(&self.key) + length(&self.value) + self.headers.iter().map(header).sum::<usize>()
    }
}

/// How far a partition reaches, and which log it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The offset of the first record that is still there.
    pub start: i64,
    /// One past the last record.
    pub end: i64,
    /// What tells this log from another of the same name, where the source knows such a thing.
    pub log_id: Option<String>,
}

/// How far each partition reaches.
pub type Extents = BTreeMap<TopicPartition, Extent>;

/// Counts the assignments of a subscription: records read under an earlier one are stale.
pub type AssignmentEpoch = u64;

/// Which partitions a subscription owns, readable at any instant from any task.
///
/// Events arrive in order behind records that still wait; this tells of a revocation at once.
#[derive(Debug, Default)]
pub struct Assignment {
    owned: Mutex<Owned>,
}

#[derive(Debug, Default)]
struct Owned {
    epoch: AssignmentEpoch,
    partitions: BTreeMap<TopicPartition, AssignmentEpoch>,
}

impl Assignment {
    /// The partitions are ours from now on, under a new epoch, which is returned.
    pub fn add(&self, partitions: &[TopicPartition]) -> AssignmentEpoch {
        let mut owned = self.lock();
        owned.epoch += 1;
        let epoch = owned.epoch;
        owned.partitions.extend(partitions.iter().map(|partition| (partition.clone(), epoch)));
        epoch
    }

    /// The partitions are no longer ours.
    pub fn remove(&self, partitions: &[TopicPartition]) {
        self.lock().partitions.retain(|partition, _| !partitions.contains(partition));
    }

    /// The epoch under which the partition is ours, if it is.
    pub fn epoch(&self, partition: &TopicPartition) -> Option<AssignmentEpoch> {
        self.lock().partitions.get(partition).copied()
    }

    /// Whether what was read of the partition under `epoch` may still be written.
    pub fn holds(&self, partition: &TopicPartition, epoch: AssignmentEpoch) -> bool {
        self.epoch(partition) == Some(epoch)
    }

    /// The partitions that are ours.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.lock().partitions.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Owned> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the log can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It can't be reached, or does not answer: worth another try.
    #[error("{doing}: {reason}")]
    Unavailable {
        /// What was being done.
        doing: String,
        /// What the log's client said.
        reason: String,
    },
    /// There is no such topic, or not yet: worth another try.
    #[error("topic `{0}` does not exist")]
    NoTopic(String),
    /// The log is there and refuses us: another try gives the same.
    #[error("{doing}: {reason}")]
    Refused {
        /// What was being done.
        doing: String,
        /// What the log's client said.
        reason: String,
    },
    /// The log is not the one that we were reading.
    #[error("{partition}: {verdict}")]
    Verdict {
        /// The partition that it concerns.
        partition: TopicPartition,
        /// What is wrong with it.
        verdict: Verdict,
    },
}
