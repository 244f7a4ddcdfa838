//! Checkpoints: the position of a generation in each partition, and the owner that may move it.

use std::collections::BTreeMap;

use readcast_core::TopicPartition;

use super::Generation;

/// The next offset to read, by partition.
pub type Positions = BTreeMap<TopicPartition, i64>;

/// The position of a generation in one partition, with the epochs that fence commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The partition of the log that the position is in.
    pub partition: TopicPartition,
    /// The next offset to read.
    pub next_offset: i64,
    /// Incremented by every claim. Only the owner with the latest epoch may commit.
    pub owner_epoch: i64,
    /// Incremented by every change of the parked records that the owner of the partition does not make itself.
    pub parking_epoch: i64,
    /// The leader epoch of the record before `next_offset`. `None` if it is unknown.
    pub leader_epoch: Option<i32>,
    /// The identity of the log (the topic's id in Kafka). `None` if it is unknown.
    pub log_id: Option<String>,
    /// A temporary limit: a commit may not move the checkpoint beyond this offset.
    pub hold_at: Option<i64>,
}

/// A move of a checkpoint whose offset the log no longer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointMove {
    /// The generation whose checkpoint moves.
    pub generation: Generation,
    /// The partition whose checkpoint moves.
    pub partition: TopicPartition,
    /// The new offset, and the identity of the log that it is in. `None` deletes the checkpoint, because the partition
    /// no longer exists.
    pub to: Option<(i64, Option<String>)>,
}
