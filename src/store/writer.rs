//! The writing side of a store: the only way in which rows get into read tables, beside a load.

use async_trait::async_trait;
use readcast_core::{Definition, TopicPartition};

use super::{
    Checkpoint, Commit, CommitOutcome, Generation, PartitionState, Settlement, SharedPriority, StoreError, Written,
};
use crate::source::Extent;

/// Opens writers.
#[async_trait]
pub trait CommitStore: Send + Sync {
    /// A writer to one generation of a projection. Writers share the connections of the process: `priority` decides which
    /// of them comes first where there are fewer connections than writers, and may change at any time.
    async fn writer(
        &self,
        definition: &Definition,
        generation: Generation,
        priority: SharedPriority,
    ) -> Result<Box<dyn Writer>, StoreError>;
}

/// Writes to one generation of one projection.
#[async_trait]
pub trait Writer: Send + Sync {
    /// Takes over these partitions: raises each one's owner epoch, so that no earlier owner can commit any more, and
    /// creates the checkpoint of a partition that has none at the start of its `extent`. Waits for an earlier owner's
    /// transaction that is under way.
    async fn claim(&mut self, partitions: &[(TopicPartition, Extent)]) -> Result<Vec<Checkpoint>, StoreError>;

    /// What was decided earlier about the records of these partitions: what is parked, what operators decided, and the
    /// ids of the last `window` offsets before each checkpoint.
    async fn load_state(
        &mut self,
        partitions: &[TopicPartition],
        window: i64,
    ) -> Result<Vec<(TopicPartition, PartitionState)>, StoreError>;

    /// Writes the rows, the dead letters and the ledger, and moves the checkpoints, in one transaction, or nothing.
    ///
    /// May be called again with the same commit after an error, whatever became of the first attempt: a commit that
    /// did happen is recognised by its checkpoints and not repeated.
    async fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome, StoreError>;

    /// Settles the first records of a parked sequence: writes their rows, removes them, remembers what an operator
    /// decided, and raises the parking epoch of the partition in all generations, in one transaction. `None` when what
    /// is parked there has changed since it was read: nothing was written.
    async fn settle(&mut self, settlement: &Settlement) -> Result<Option<Written>, StoreError>;
}
