//! The log and a member's subscription to it.
//!
//! A source reads records, takes part in consumer groups, and answers which offsets the log holds. It knows nothing of
//! tables. The positions that a log stores by itself are ignored: every partition starts at the checkpoint of the
//! store.

mod dead_letter_sink;
pub(crate) mod file;
pub(crate) mod kafka;
pub(crate) mod memory;
mod sample;
mod verdict;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
pub use readcast_core::Header;
use readcast_core::{Timestamp, TopicPartition};

pub use self::dead_letter_sink::{CopyOutcome, DeadLetterCopy, DeadLetterSink};
pub use self::sample::{Sampled, first_records, last_records, records_with_key, topics_in};
pub use self::verdict::{ReadPosition, Verdict, new_partitions, verify, verify_all};

/// A log of records in partitioned topics.
#[async_trait]
pub trait Source: Send + Sync {
    /// The offsets that each partition of `topics` holds at this moment.
    ///
    /// # Errors
    /// [`SourceError::NoTopic`] if a topic does not exist. [`SourceError::Unavailable`] if a partition exists but can't
    /// answer now: it must not be left out, because a partition that is left out counts as deleted.
    async fn extents(&self, topics: &[&str]) -> Result<Extents, SourceError>;

    /// The id of the log's cluster, if it has one. A deployment refuses another cluster than the one that it has read.
    async fn cluster_id(&self) -> Result<Option<String>, SourceError> {
        Ok(None)
    }

    /// The offset of the first record of each partition of `topics` that was written at or after `at`, or the
    /// partition's end if there is none.
    ///
    /// # Errors
    /// [`SourceError::Refused`] if the log does not store the times of records.
    async fn offsets_at(&self, topics: &[&str], at: Timestamp) -> Result<BTreeMap<TopicPartition, i64>, SourceError>;

    /// The format in which the records of each topic are read, a line for operators each, if the source infers the
    /// format from the records. Topics without records have no line.
    async fn forms(&self, _topics: &[&str]) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }

    /// Joins the consumer group `group` as a new member that reads `topics`. The first event of the subscription is
    /// [`SourceEvent::Assigned`].
    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>, SourceError>;

    /// Waits, for a few seconds at most, until every member whose subscription was dropped without
    /// [`Subscription::close`] has left its group. Called before the process ends.
    async fn leave_groups(&self) {}
}

/// One member of a consumer group: its partitions and their records.
///
/// The caller takes events with [`next`](Self::next) and answers [`SourceEvent::Assigned`] with [`start`](Self::start),
/// once it has read the checkpoints of these partitions.
#[async_trait]
pub trait Subscription: Send + Sync {
    /// The next event. Cancel safe: a dropped call loses no event. It may be called again after an error.
    ///
    /// # Errors
    /// If the log can't be read, or is not the one that was read before.
    async fn next(&mut self) -> Result<SourceEvent, SourceError>;

    /// Starts the delivery of assigned partitions. Partitions that were revoked in the meantime are ignored.
    ///
    /// # Errors
    /// If a partition does not hold its start, or the log can't be read.
    async fn start(&mut self, starts: &[Start]) -> Result<(), SourceError>;

    /// The partitions that this member owns at any instant. Shared with the tasks that process their records.
    fn assignment(&self) -> Arc<Assignment>;

    /// The time since the last heartbeat of the background task that fetches records. Zero if there is no such task.
    ///
    /// The task beats about once a second, whether or not there are records. A much longer time means that it hangs in
    /// a call, which otherwise looks like waiting for records. After the task has ended, [`next`](Self::next) fails.
    fn heartbeat_age(&self) -> Duration {
        Duration::ZERO
    }

    /// Stores positions in the log's own consumer group, so that the log's tools show the lag. Best effort: nothing
    /// reads these positions.
    fn mirror(&mut self, _next_offsets: &[(TopicPartition, i64)]) {}

    /// Leaves the consumer group. Takes a few seconds at most.
    async fn close(self: Box<Self>);
}

/// The position at which the delivery of a partition starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The partition to start.
    pub partition: TopicPartition,
    /// The first offset to deliver.
    pub next_offset: i64,
    /// The leader epoch of the record before `next_offset`, if known. It reveals a log that was truncated before
    /// `next_offset` and has grown again (Kafka's KIP-320).
    pub leader_epoch: Option<i32>,
}

impl Start {
    /// A start at `next_offset` without a leader epoch.
    pub fn at(partition: TopicPartition, next_offset: i64) -> Self {
        Self { partition, next_offset, leader_epoch: None }
    }
}

/// An event of a subscription. Events are delivered in order.
#[derive(Debug)]
pub enum SourceEvent {
    /// This member owns these partitions from now on. Their records are delivered after [`Subscription::start`]. The list is
    /// empty if the group has no partitions for this member.
    Assigned(Vec<TopicPartition>),
    /// Records of one partition.
    Batch(Batch),
    /// All records of the partition are delivered. Sent once each time that the end is reached.
    AtEnd(TopicPartition),
    /// The group revoked these partitions in a rebalance. Another member may own them by the time that this event is
    /// processed.
    Revoked(Vec<TopicPartition>),
    /// The member lost these partitions without a revocation, for example by a session time-out. Another member may own
    /// and write them already.
    Lost(Vec<TopicPartition>),
}

/// Records of one partition, in the order of their offsets.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The partition of the records.
    pub partition: TopicPartition,
    /// The assignment under which the records were read.
    pub assignment: AssignmentEpoch,
    /// The batch's first offset: the end of the previous batch, or the partition's start. It may be less than the
    /// offset of the first record, because a log can have holes. It is never greater than the position of the reader.
    pub from: i64,
    /// The offset after the batch, at which the next one begins: after the last record and after the offsets without
    /// records that follow it, if the log's client reports them.
    pub to: i64,
    /// The records. Their offsets may have holes: compaction removes records, and transaction markers have offsets.
    pub records: Vec<Record>,
    /// The leader epoch of the last record, if the log has leader epochs and the batch ends with that record.
    pub leader_epoch: Option<i32>,
}

impl Batch {
    /// The memory that the records take, in bytes.
    pub fn bytes(&self) -> usize {
        self.records.iter().map(Record::bytes).sum()
    }
}

/// One record of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The record's offset in its partition.
    pub offset: i64,
    /// The record's key, if it has one.
    pub key: Option<Bytes>,
    /// The record's value. `None` for a tombstone.
    pub value: Option<Bytes>,
    /// The record's headers, in order. A name may occur several times.
    pub headers: Vec<Header>,
    /// When the record was written, in milliseconds since 1970, if the log stores times.
    pub timestamp: Option<i64>,
    /// What is unusual about the record's form. It may explain why the record can't be decoded. Not part of the log.
    pub remark: Option<&'static str>,
}

impl Record {
    /// The value of the header `name`. The last one counts where there are several, as in Kafka's own clients. An empty one
    /// counts as missing.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        readcast_core::header(&self.headers, name)
    }

    /// The memory that the record takes, in bytes.
    pub fn bytes(&self) -> usize {
        let length = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        let header = |(name, value): &Header| size_of::<Header>() + name.len() + length(value);
        size_of::<Self>() + length(&self.key) + length(&self.value) + self.headers.iter().map(header).sum::<usize>()
    }
}

/// The offsets that a partition holds, and the identity of its log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The first offset that the log still holds.
    pub start: i64,
    /// The offset after the last record.
    pub end: i64,
    /// An id that differs for another log of the same name, if the source has such an id.
    pub log_id: Option<String>,
}

/// The extent of each partition.
pub type Extents = BTreeMap<TopicPartition, Extent>;

/// The number of an assignment of a subscription. Records that were read under an earlier assignment are stale.
pub type AssignmentEpoch = u64;

/// The partitions that a subscription owns, readable at any instant from any task.
///
/// Events are queued behind records that wait for processing. This shows a revocation at once.
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
    /// Adds partitions under a new epoch and returns the epoch.
    pub fn add(&self, partitions: &[TopicPartition]) -> AssignmentEpoch {
        let mut owned = self.lock();
        owned.epoch += 1;
        let epoch = owned.epoch;
        owned.partitions.extend(partitions.iter().map(|partition| (partition.clone(), epoch)));
        epoch
    }

    /// Removes partitions that this process no longer owns.
    pub fn remove(&self, partitions: &[TopicPartition]) {
        self.lock().partitions.retain(|partition, _| !partitions.contains(partition));
    }

    /// The epoch under which the partition is owned. `None` if it is not.
    pub fn epoch(&self, partition: &TopicPartition) -> Option<AssignmentEpoch> {
        self.lock().partitions.get(partition).copied()
    }

    /// Whether records of the partition that were read under `epoch` may still be written.
    pub fn holds(&self, partition: &TopicPartition, epoch: AssignmentEpoch) -> bool {
        self.epoch(partition) == Some(epoch)
    }

    /// The partitions that are owned.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.lock().partitions.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Owned> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the log can't be read. A message names what was being done and the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The log can't be reached or does not answer. A later attempt may succeed.
    #[error("{doing}: {reason}")]
    Unavailable {
        /// What was being done.
        doing: String,
        /// The message of the log's client.
        reason: String,
    },
    /// The topic does not exist, or not yet. A later attempt may succeed.
    #[error("topic `{0}` does not exist")]
    NoTopic(String),
    /// The log refuses the request. Another attempt fails in the same way.
    #[error("{doing}: {reason}")]
    Refused {
        /// What was being done.
        doing: String,
        /// The message of the log's client.
        reason: String,
    },
    /// The log is not the one that was read before, or has lost records.
    #[error("{partition}: {verdict}")]
    Verdict {
        /// The partition concerned.
        partition: TopicPartition,
        /// What is wrong with the partition.
        verdict: Verdict,
    },
}
