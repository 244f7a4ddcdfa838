//! Checkpoints: how far a generation is in each partition, and for which owner.

use std::collections::BTreeMap;

use readcast_core::TopicPartition;

use super::Generation;

/// The next offset of some partitions.
pub type Positions = BTreeMap<TopicPartition, i64>;

/// How far a projection is in one partition, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which partition.
    pub partition: TopicPartition,
    /// The next offset to read.
    pub next_offset: i64,
    /// Raised by every claim: only the owner with the latest may commit.
    pub owner_epoch: i64,
    /// Raised by every change of what is parked that the owner of the partition does not make.
    pub parking_epoch: i64,
    /// Under which leader of the partition the record before it was written, where that is known.
    pub leader_epoch: Option<i32>,
    /// Which log it points into, where that is known.
    pub log_id: Option<String>,
    /// No commit may move it beyond this offset at the moment.
    pub hold_at: Option<i64>,
}

/// Where a checkpoint goes whose offset the log does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointMove {
    /// Whose checkpoint.
    pub generation: Generation,
    /// Its partition.
    pub partition: TopicPartition,
    /// The offset that it goes to, and the log that this is in; `None` deletes it, where the partition is gone.
    pub to: Option<(i64, Option<String>)>,
}
