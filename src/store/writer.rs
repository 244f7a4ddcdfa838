//! Writes read tables. Except for a load, rows are written only here.

use async_trait::async_trait;
use readcast_core::{Definition, TopicPartition};

use super::{
    Checkpoint, Commit, CommitOutcome, Generation, PartitionState, Settlement, SharedPriority, StoreError, WindowSize,
    Written,
};
use crate::source::Extent;

/// Opens writers of the generations of projections.
#[async_trait]
pub trait CommitStore: Send + Sync {
    /// A writer of one generation of a projection. Writers share the connections of the process: if there are fewer
    /// connections than writers, `priority` decides which writer is served first. It may change at any time.
    async fn writer(
        &self,
        definition: &Definition,
        generation: Generation,
        priority: SharedPriority,
    ) -> Result<Box<dyn Writer>, StoreError>;

    /// Over how many offsets a generation recognises duplicates. One that has no window yet gets one of this `size` for
    /// each of so many `partitions`, and keeps it. A size in offsets replaces the window.
    ///
    /// # Errors
    /// Refused if there is no such generation.
    async fn duplicate_window(
        &self,
        projection: &str,
        generation: Generation,
        size: WindowSize,
        partitions: usize,
    ) -> Result<i64, StoreError>;
}

/// Writes one generation of one projection.
#[async_trait]
pub trait Writer: Send + Sync {
    /// Takes over these partitions: increments the owner epoch of each, so that no earlier owner can commit any more,
    /// and creates a missing checkpoint at the start of its `extent`. Waits for a running transaction of an earlier
    /// owner.
    async fn claim(&mut self, partitions: &[(TopicPartition, Extent)]) -> Result<Vec<Checkpoint>, StoreError>;

    /// The earlier decisions about the records of these partitions: the parked sequences, the decisions of operators,
    /// and the ids of the last `window` offsets before each checkpoint.
    async fn load_state(
        &mut self,
        partitions: &[TopicPartition],
        window: i64,
    ) -> Result<Vec<(TopicPartition, PartitionState)>, StoreError>;

    /// Writes the rows, the dead letters and the ledger, and moves the checkpoints, all in one transaction or not at
    /// all.
    ///
    /// May be repeated with the same commit after any error. If the first attempt succeeded, its checkpoints show that,
    /// and nothing is written again.
    async fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome, StoreError>;

    /// Settles the first records of a parked sequence in one transaction: writes their rows, unparks them, records the
    /// operator's decisions, and increments the parking epoch of the partition in all generations. `None` if the
    /// sequence has changed since it was read: then nothing was written.
    async fn settle(&mut self, settlement: &Settlement) -> Result<Option<Written>, StoreError>;
}
