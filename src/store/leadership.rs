//! The right to change the generations of a projection, and the steps that it is for.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use readcast_core::{Definition, TopicPartition};

use super::{
    CheckpointMove, CommitOutcome, Comparison, Generation, GenerationStatus, Load, OperationProgress, OperationState,
    Phase, StoreError, Swap, SwapOutcome,
};
use crate::source::Extents;

/// How long a hold lasts that is not released.
pub const HOLD_LIMIT: Duration = Duration::from_secs(30);

/// The right to change the generations of one projection. Every step may be repeated: after an error, or by the instance
/// that leads next.
#[async_trait]
pub trait Leadership: Send {
    /// Begins the generation that the open operation `operation` builds, with its tables but without secondary indexes,
    /// or returns the one that it began earlier. `starts` is the extent of every partition of the log: its checkpoints
    /// begin there, so that what retention removes later shows as a gap.
    ///
    /// # Errors
    /// Refused when the projection has no such open operation.
    async fn begin(
        &mut self,
        operation: i64,
        definition: &Definition,
        build: &BuildOptions,
        starts: &Extents,
    ) -> Result<Generation, StoreError>;

    /// Records what is done with a building generation from now on.
    async fn enter(&mut self, generation: Generation, phase: Phase) -> Result<(), StoreError>;

    /// Lets a building generation go on to where the live one stands now, and no further.
    async fn follow(&mut self, generation: Generation) -> Result<(), StoreError>;

    /// Stops the live generation where it stands, so that `generation` can come to the same place; if that is ahead in
    /// a partition, both go on to the one that is further. Ends with [`Leadership::release_holds`],
    /// [`Leadership::compare`], [`Leadership::swap`] or after [`HOLD_LIMIT`].
    async fn hold(&mut self, generation: Generation) -> Result<(), StoreError>;

    /// Ends every hold on generations that are not building.
    async fn release_holds(&mut self) -> Result<(), StoreError>;

    /// Replaces the rows of a building generation, and moves its checkpoints, in one transaction with the same guard as
    /// that of [`Writer::commit`](super::Writer::commit).
    async fn load(&mut self, load: Load<'_>) -> Result<CommitOutcome, StoreError>;

    /// Creates the secondary indexes that are missing, and gathers statistics.
    async fn index(&mut self, definition: &Definition, generation: Generation) -> Result<(), StoreError>;

    /// Gives the tables of `next` the indexes that users made on those of `live`, under names of their own; those that
    /// `next` has already are left out. A sentence for each that could not be made.
    async fn carry_indexes(
        &mut self,
        live: &GenerationStatus,
        next: &GenerationStatus,
    ) -> Result<Vec<String>, StoreError>;

    /// Compares a generation with the live one in one snapshot of both, and ends the hold as soon as the snapshot is
    /// taken. `None`, and no comparison, unless both stand at the same place in every partition.
    async fn compare(
        &mut self,
        live: &GenerationStatus,
        other: &GenerationStatus,
    ) -> Result<Option<Comparison>, StoreError>;

    /// Records how a building generation compared. It is ready afterwards and no longer held; or, when it was made for this
    /// alone, it is retired.
    async fn proven(&mut self, generation: Generation, proof: &Comparison) -> Result<(), StoreError>;

    /// Lets readers see another generation instead of the live one, all tables at once, and ends the operation that asked
    /// for it.
    ///
    /// # Errors
    /// Refused when one of the generations is not in a state that a swap begins with, or the operation is no longer open.
    async fn swap(&mut self, swap: &Swap<'_>) -> Result<SwapOutcome, StoreError>;

    /// Ends the life of a generation that readers do not see: as `Retired`, or as `Failed` with a reason. Nothing happens
    /// when it has ended already.
    ///
    /// # Errors
    /// Refused when there is no such generation, or when readers see it.
    async fn end(&mut self, generation: Generation, failure: Option<&str>) -> Result<(), StoreError>;

    /// Ends the life of the standbys whose time is over.
    async fn end_overdue(&mut self) -> Result<(), StoreError>;

    /// Drops the tables, checkpoints and notices of a generation whose life has ended. All or nothing: see
    /// [`DropOutcome`].
    ///
    /// # Errors
    /// Refused when its life has not ended.
    async fn drop_tables(&mut self, ended: &GenerationStatus) -> Result<DropOutcome, StoreError>;

    /// Moves checkpoints to where the log can be read again, and ends the operation, in one transaction. The owners of
    /// the partitions are fenced. Where a checkpoint goes back, or into another log, other records come to stand at the
    /// offsets from there on: the ids of the records before them and the decisions about them are forgotten.
    ///
    /// # Errors
    /// Refused while some of those records are parked, for nobody else has them any more.
    async fn resume_at(&mut self, moves: &[CheckpointMove], operation: i64, outcome: &str) -> Result<(), StoreError>;

    /// Records that an open operation is carried out, and how far it is.
    async fn progress(&mut self, operation: i64, progress: &OperationProgress) -> Result<(), StoreError>;

    /// Ends an operation, if it is still open.
    async fn finish(&mut self, operation: i64, state: OperationState, outcome: &str) -> Result<(), StoreError>;

    /// Gives the right back, so that its connection serves others. When a `Leadership` is dropped instead, its connection is
    /// closed.
    async fn resign(self: Box<Self>) -> Result<(), StoreError>;
}

/// What is done periodically, beside the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chore {
    /// Standbys are retired, and tables dropped.
    Dropping,
    /// Dead letters are copied to their topic.
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

/// What became of tables that were to be dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropOutcome {
    /// They are gone, now or since an earlier attempt. These objects read them and are broken now.
    Done(Vec<Dependent>),
    /// They are in use, by these clients as far as is known: nothing changed. Try later.
    InUse(Vec<String>),
    /// These objects depend on them, and the database drops no table that something depends on: nothing changed.
    Kept(Vec<Dependent>),
}

/// An object of a user that depends on a physical table, or reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependent {
    /// Its kind and its name.
    pub what: String,
    /// The table.
    pub on: String,
    /// The statement that removes it; `None` where that would remove rows.
    pub removal: Option<String>,
}

impl fmt::Display for Dependent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, on, removal } = self;
        let removal = removal.as_deref().map(|removal| format!(" (`{removal}`)")).unwrap_or_default();
        write!(f, "{what} depends on {on}, which goes when its generation does: make it of the stable name{removal}")
    }
}

/// How a generation begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildOptions {
    /// Begin with the phase [`Phase::Load`], not with [`Phase::Replay`].
    pub load: bool,
    /// Only to compare the live one with.
    pub scratch: bool,
    /// Begin as a copy of the live rows, at these offsets; partitions that are missing, where the live one stands.
    pub copy_from: Option<Vec<(TopicPartition, i64)>>,
}

impl BuildOptions {
    /// What is done with it first.
    pub(super) fn first_phase(&self) -> Phase {
        if self.load { Phase::Load } else { Phase::Replay }
    }
}
