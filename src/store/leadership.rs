//! The right to change the generations of a projection, and the steps that require it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use readcast_core::{Definition, TopicPartition};

use super::{
    CheckpointMove, CommitOutcome, Comparison, Generation, GenerationStatus, Load, OperationProgress, OperationState,
    Phase, StoreError, Swap, SwapOutcome,
};
use crate::source::Extents;

/// The duration of a hold that is not released.
pub const HOLD_LIMIT: Duration = Duration::from_secs(30);

/// The right to change the generations of one projection. Every step may be repeated, after an error or by the next
/// leader.
#[async_trait]
pub trait Leadership: Send {
    /// Creates the generation that the open operation `operation` builds, with its tables but without secondary
    /// indexes, or returns the one that an earlier attempt created. `starts` is the extent of every partition of the
    /// log: the checkpoints begin there, so that records which retention removes later show as a gap.
    ///
    /// # Errors
    /// Refused if the projection has no such open operation.
    async fn begin(
        &mut self,
        operation: i64,
        definition: &Definition,
        build: &BuildOptions,
        starts: &Extents,
    ) -> Result<Generation, StoreError>;

    /// Records the phase of a building generation.
    async fn enter(&mut self, generation: Generation, phase: Phase) -> Result<(), StoreError>;

    /// Lets a building generation continue to the current position of the live one, and no further.
    async fn follow(&mut self, generation: Generation) -> Result<(), StoreError>;

    /// Holds the live generation at its position, so that `generation` can reach the same position. In a partition
    /// where `generation` is ahead, both are held at its position. The hold ends with [`Leadership::release_holds`],
    /// [`Leadership::compare`] or [`Leadership::swap`], or after [`HOLD_LIMIT`].
    async fn hold(&mut self, generation: Generation) -> Result<(), StoreError>;

    /// Ends every hold on generations that are not building.
    async fn release_holds(&mut self) -> Result<(), StoreError>;

    /// Replaces the rows of a building generation and moves its checkpoints, in one transaction with the guard of
    /// [`Writer::commit`](super::Writer::commit).
    async fn load(&mut self, load: Load<'_>) -> Result<CommitOutcome, StoreError>;

    /// Creates the missing secondary indexes and gathers statistics.
    async fn index(&mut self, definition: &Definition, generation: Generation) -> Result<(), StoreError>;

    /// Creates the indexes that users added to the tables of `live` on the tables of `next`, under new names. An index
    /// that `next` already has is left out. Returns a sentence for each index that could not be created.
    async fn carry_indexes(
        &mut self,
        live: &GenerationStatus,
        next: &GenerationStatus,
    ) -> Result<Vec<String>, StoreError>;

    /// Compares a generation with the live one in one snapshot, and ends the hold as soon as the snapshot is taken.
    /// `None` without a comparison unless both are at the same position in every partition.
    async fn compare(
        &mut self,
        live: &GenerationStatus,
        other: &GenerationStatus,
    ) -> Result<Option<Comparison>, StoreError>;

    /// Records the comparison of a building generation. The generation is then ready and no longer held. A scratch
    /// generation is retired instead.
    async fn proven(&mut self, generation: Generation, proof: &Comparison) -> Result<(), StoreError>;

    /// Makes readers see another generation instead of the live one, all tables at once, and ends the operation that
    /// requested it.
    ///
    /// # Errors
    /// Refused if one of the generations is not in a state in which a swap is allowed, or the operation is no longer
    /// open.
    async fn swap(&mut self, swap: &Swap<'_>) -> Result<SwapOutcome, StoreError>;

    /// Ends a generation that readers do not see: as `Retired`, or as `Failed` with the reason `failure`. No effect if
    /// it has ended already.
    ///
    /// # Errors
    /// Refused if there is no such generation, or readers see it.
    async fn end(&mut self, generation: Generation, failure: Option<&str>) -> Result<(), StoreError>;

    /// Retires the standbys whose time is over.
    async fn end_overdue(&mut self) -> Result<(), StoreError>;

    /// Drops the tables, checkpoints and notices of a generation that has ended, all or none: see [`DropOutcome`].
    ///
    /// # Errors
    /// Refused if the generation has not ended.
    async fn drop_tables(&mut self, ended: &GenerationStatus) -> Result<DropOutcome, StoreError>;

    /// Moves checkpoints to positions where the log can be read again, and ends the operation, in one transaction. The
    /// owners of the partitions are fenced. If a checkpoint moves back, or into another log, the offsets from the new
    /// position on may hold other records. Therefore the ids of the earlier records at these offsets, and the decisions
    /// about them, are deleted.
    ///
    /// # Errors
    /// Refused if some of those records are parked, because the store has the only copy of them.
    async fn resume_at(&mut self, moves: &[CheckpointMove], operation: i64, outcome: &str) -> Result<(), StoreError>;

    /// Records that an open operation is running, and its progress.
    async fn progress(&mut self, operation: i64, progress: &OperationProgress) -> Result<(), StoreError>;

    /// Ends an operation, if it is still open.
    async fn finish(&mut self, operation: i64, state: OperationState, outcome: &str) -> Result<(), StoreError>;

    /// Releases the right, so that the connection can be reused. A `Leadership` that is dropped instead closes its
    /// connection.
    async fn resign(self: Box<Self>) -> Result<(), StoreError>;
}

/// Periodic work that needs no operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chore {
    /// Retires standbys and drops tables.
    Dropping,
    /// Copies dead letters to their topic.
    Copying,
}

impl Chore {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dropping => "dropping",
            Self::Copying => "copying",
        }
    }
}

/// The outcome of dropping tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropOutcome {
    /// The tables are dropped, by this attempt or an earlier one. These objects read the tables and are broken now.
    Done(Vec<Dependent>),
    /// Nothing changed: these clients, or unknown ones if the list is empty, use the tables. Retry later.
    InUse(Vec<String>),
    /// Nothing changed: these objects depend on the tables, and the database does not drop a table that other objects
    /// depend on.
    Kept(Vec<Dependent>),
}

/// An object of a user that depends on a physical table or reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependent {
    /// The kind and the name of the object.
    pub what: String,
    /// The physical table that the object depends on.
    pub on: String,
    /// The statement that removes the object. `None` if it would also remove rows.
    pub removal: Option<String>,
}

impl fmt::Display for Dependent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, on, removal } = self;
        let removal = removal.as_deref().map(|removal| format!(" (`{removal}`)")).unwrap_or_default();
        write!(
            f,
            "{what} depends on {on}, which is dropped with its generation: recreate it on the stable name{removal}"
        )
    }
}

/// How a generation is begun.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildOptions {
    /// Whether the first phase is [`Phase::Load`] instead of [`Phase::Replay`].
    pub load: bool,
    /// Whether the generation exists only for a comparison with the live one.
    pub scratch: bool,
    /// The offsets at which a copy of the live rows begins to read. A partition that is not listed begins at the live
    /// generation's position. `None` begins with empty tables.
    pub copy_from: Option<Vec<(TopicPartition, i64)>>,
}

impl BuildOptions {
    /// The first phase of the build.
    pub(super) fn first_phase(&self) -> Phase {
        if self.load { Phase::Load } else { Phase::Replay }
    }
}
