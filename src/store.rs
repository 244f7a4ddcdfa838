//! Where rows go: the read tables, and beside them our own record of how far they are.
//!
//! Nothing outside of this module knows SQL. Rows are written by [`Writer::commit`] alone, which takes a whole
//! [`Commit`]: rows without their checkpoint can't be expressed.

pub(crate) mod postgres;
pub(crate) mod sqlite;

mod addition;
mod capacity;
mod comparison;
mod dead_letter;
mod deployment;
mod generation;
mod ledger;
mod load;
mod notice;
mod oldest_snapshot;
mod operation;
mod priority;
mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use readcast_core::{ChangeSet, Definition, TableSpec, TopicPartition};

pub use self::addition::{AdditionFate, UserAddition};
pub use self::capacity::ConnectionCapacity;
pub use self::comparison::{ComparedPlace, Comparison, Difference, Sample, TableComparison};
pub use self::dead_letter::{
    Amendment, DeadLetter, ParkedCounts, ParkedIn, ParkedRecord, ParkedSequence, ParkingLimits, PartitionState,
    PoisonCause, PoisonClass, Selection, SequenceId, Settlement, WaitingRecords,
};
pub use self::deployment::{Deployment, Instance};
pub use self::generation::{
    Generation, GenerationError, GenerationState, GenerationStatus, Phase, RecordedCheckpoint, RecordedError,
};
pub use self::ledger::{DuplicateWindow, IdDigest, LedgerEntry, LedgerPage};
pub use self::load::{Load, RowPiece, RowSink, RowStream, row_stream};
pub use self::notice::{Notice, NoticeKind, RecordedNotice};
pub use self::oldest_snapshot::OldestSnapshot;
pub use self::operation::{
    Command, InstanceHeartbeat, Operation, OperationProgress, OperationState, Rebuild, RebuildStart, SettleAction,
    SettleRequest, has_running_instance,
};
pub use self::priority::{Priority, SharedPriority};
use self::text::{Encoding, from_stored_json};
use crate::source::{Extent, Extents};

/// A database that holds read tables.
#[async_trait]
pub trait Store: Send + Sync {
    /// Creates or brings up to date the tables that are ours, not the projections'.
    async fn migrate(&self) -> Result<(), StoreError>;

    /// Makes sure that the projection has a live generation, creating the first one as `definition` declares it.
    /// Refuses when the name of a table is taken.
    async fn prepare(&self, definition: &Definition) -> Result<(), StoreError>;

    /// How the tables of a generation differ from `definition`, which built it, and the live one's stable names from
    /// what we made: a sentence for each thing that somebody altered.
    async fn alterations(&self, definition: &Definition, generation: Generation) -> Result<Vec<String>, StoreError>;

    /// Why [`Store::prepare`] would refuse to create the tables of `definition`: names that are taken, a sentence each.
    async fn name_conflicts(&self, definition: &Definition) -> Result<Vec<String>, StoreError>;

    /// Writes to one generation of a projection, in turns with all who write: `priority` says who goes first when there
    /// are more of them than connections, and may change at any time.
    async fn writer(
        &self,
        definition: &Definition,
        generation: Generation,
        priority: SharedPriority,
    ) -> Result<Box<dyn Writer>, StoreError>;

    /// What is recorded of every generation, by projection and number, those that failed or retired included. Nothing
    /// before the first migration.
    async fn generations(&self) -> Result<Vec<GenerationStatus>, StoreError>;

    /// The generations of one projection as [`Store::generations`] tells of them, but with no checkpoints: what may be
    /// asked again and again, however many partitions there are. Refused before the first migration.
    async fn generations_of(&self, projection: &str) -> Result<Vec<GenerationStatus>, StoreError>;

    /// The next offset of every partition that a generation has a checkpoint in, or without a number the live one.
    async fn positions(&self, projection: &str, of: Option<Generation>) -> Result<Positions, StoreError>;

    /// Who has kept the store from removing old versions of rows for as long as `age`: the longest, if there is any. In
    /// SQLite that has no age, and shows in the length of the write-ahead log.
    async fn oldest_snapshot(&self, age: Duration) -> Result<Option<OldestSnapshot>, StoreError>;

    /// What readers see of a table under its stable name: how many rows there are, and the first of them.
    async fn peek(&self, table: &TableSpec, rows: usize) -> Result<Peek, StoreError>;

    /// Records what keeps the generation from going on, as the instance `by` finds it. So long as it goes on in one way,
    /// retrying or halted, its beginning stays. What another instance that runs has recorded stays, unless that one
    /// retries and this one has halted.
    async fn record_error(
        &self,
        projection: &str,
        generation: Generation,
        by: &str,
        trouble: &GenerationError,
    ) -> Result<(), StoreError>;

    /// Takes back what keeps the generation from going on, provided that `by` has recorded it or that whoever has does
    /// not run any more: see [`RecordedError::is_for`].
    async fn clear_error(&self, projection: &str, generation: Generation, by: &str) -> Result<(), StoreError>;

    /// Notes what stops nothing and an operator must know of a generation, as `by` finds it. What is noted already keeps
    /// its beginning.
    async fn note(&self, projection: &str, generation: Generation, by: &str, notice: &Notice)
    -> Result<(), StoreError>;

    /// Notes that it is so no longer.
    async fn withdraw(&self, projection: &str, generation: Generation, kind: NoticeKind) -> Result<(), StoreError>;

    /// The notices on all generations, by projection and number. Nothing before the first migration.
    async fn notices(&self) -> Result<Vec<RecordedNotice>, StoreError>;

    /// What is parked in a generation, by partition and place in the log.
    async fn parked(&self, of: ParkedIn<'_>) -> Result<Vec<ParkedSequence>, StoreError>;

    /// The next records of a parked sequence from the offset `from` on, in the order of the log, at most `most` of them.
    async fn waiting(
        &self,
        of: ParkedIn<'_>,
        partition: &TopicPartition,
        sequence: &SequenceId,
        from: i64,
        most: usize,
    ) -> Result<WaitingRecords, StoreError>;

    /// Dead letters that are to be copied to their topic now, by partition and place in the log, at most `most` of them.
    async fn uncopied(&self, of: ParkedIn<'_>, most: usize) -> Result<Vec<ParkedRecord>, StoreError>;

    /// Notes that these dead letters were copied.
    async fn note_copied(&self, of: ParkedIn<'_>, letters: &[(TopicPartition, i64)]) -> Result<(), StoreError>;

    /// Notes that these dead letters could not be copied although others could, and why: they are tried again after an
    /// hour at most, the later the more often they were tried.
    async fn note_uncopyable(
        &self,
        of: ParkedIn<'_>,
        letters: &[((TopicPartition, i64), String)],
    ) -> Result<(), StoreError>;

    /// The dead letters that could not be copied although others could, and why, by partition and place in the log.
    async fn uncopyable(&self, of: ParkedIn<'_>) -> Result<Vec<((TopicPartition, i64), String)>, StoreError>;

    /// Asks for an operation, and returns its number. The same that is open already is not asked for twice.
    async fn request(&self, projection: &str, command: &Command, by: &str) -> Result<i64, StoreError>;

    /// The operations on a projection: those that are open, and the last `finished` of the others, in the order of their
    /// numbers. Nothing before the first migration.
    async fn operations(&self, projection: &str, finished: usize) -> Result<Vec<Operation>, StoreError>;

    /// Feeds the projection's generations no more, or again; with `building`, only what is being built. How many
    /// generations changed.
    async fn pause(&self, projection: &str, paused: bool, building: bool, by: &str) -> Result<u64, StoreError>;

    /// Takes back every open operation on the projection and gives up what is being built or ready. How many operations
    /// and generations that were.
    async fn cancel(&self, projection: &str, by: &str) -> Result<u64, StoreError>;

    /// Gives a projection another name, with its generations, checkpoints and operations. Refuses when the new name has
    /// generations already, or the old one none.
    async fn rename(&self, from: &str, to: &str, by: &str) -> Result<(), StoreError>;

    /// The deployment that the database belongs to. None before one has run.
    async fn deployment(&self) -> Result<Option<Deployment>, StoreError>;

    /// Goes on as `ours` in this database, which is recorded. The stable names move to its schema. With `adopt`, in the
    /// place of another deployment, none of whose instances may run.
    ///
    /// # Errors
    /// [`StoreError::Deployment`] when the database belongs to another deployment.
    async fn deploy(&self, ours: &Deployment, adopt: bool) -> Result<(), StoreError>;

    /// Notes that `instance` runs with these definitions of a projection, or that it stops.
    async fn heartbeat(
        &self,
        instance: &Instance,
        projection: &str,
        hashes: &[&str],
        running: bool,
    ) -> Result<(), StoreError>;

    /// Which definitions running instances have, or lately had. Nothing before the first migration.
    async fn heartbeats(&self) -> Result<Vec<InstanceHeartbeat>, StoreError>;

    /// How many connections the server has, and who may take them. None where there is no server.
    async fn capacity(&self) -> Result<Option<ConnectionCapacity>, StoreError>;

    /// What replacing the live tables would meet: see [`SwapImpact`].
    async fn swap_impact(&self, live: &GenerationStatus, next: &Definition) -> Result<SwapImpact, StoreError>;

    /// What users added to the live tables and to their stable names, and what a swap to the tables of `next` makes of
    /// it.
    async fn additions(&self, live: &GenerationStatus, next: &Definition) -> Result<Vec<UserAddition>, StoreError>;
    /// Objects of users that depend on the tables of a generation, or read them; those that depend on others come first.
    async fn dependents(&self, of: &GenerationStatus) -> Result<Vec<Dependent>, StoreError>;

    /// The right to do a chore for a projection beside whoever leads it, which one instance has at a time. `None` while
    /// another has it. Of the steps of a [`Leadership`] it is for [`Leadership::end_overdue`] and [`Leadership::drop_tables`].
    async fn chore(&self, projection: &str, chore: Chore) -> Result<Option<Box<dyn Leadership>>, StoreError>;

    /// The right to change the generations of a projection, which one instance has at a time. `None` while another
    /// has it. It ends when the value is dropped, or its holder dies.
    async fn try_lead(&self, projection: &str) -> Result<Option<Box<dyn Leadership>>, StoreError>;
}

/// How long a hold lasts that nobody takes back.
pub const HOLD_LIMIT: Duration = Duration::from_secs(30);

/// The right to change the generations of one projection. Every step may be made again: after an error, or by whoever
/// leads next.
#[async_trait]
pub trait Leadership: Send {
    /// Begins the generation that the open operation `operation` builds, with its tables but without secondary indexes,
    /// or returns the one that it began earlier. `starts` is the extent of every partition of the log: its checkpoints
    /// begin there, so that what retention removes later shows as a gap.
    async fn begin(
        &mut self,
        operation: i64,
        definition: &Definition,
        build: &BuildOptions,
        starts: &Extents,
    ) -> Result<Generation, StoreError>;

    /// Notes what is done with a building generation from now on.
    async fn enter(&mut self, generation: Generation, phase: Phase) -> Result<(), StoreError>;

    /// Lets a building generation go on to where the live one stands now, and no further.
    async fn follow(&mut self, generation: Generation) -> Result<(), StoreError>;

    /// Stops the live generation where it stands, so that `generation` can come to the same place; if that is ahead in
    /// a partition, both go on to the one that is further. Ends with [`Leadership::release`], [`Leadership::compare`],
    /// [`Leadership::swap`] or after [`HOLD_LIMIT`].
    async fn hold(&mut self, generation: Generation) -> Result<(), StoreError>;

    /// Ends every hold on generations that are not building.
    async fn release(&mut self) -> Result<(), StoreError>;

    /// Fills the tables of a building generation, in place of whatever they hold, and moves its checkpoints, in one
    /// transaction with the same guard as that of [`Writer::commit`].
    async fn load(&mut self, load: Load<'_>) -> Result<CommitOutcome, StoreError>;

    /// Creates the secondary indexes that are missing, and gathers statistics.
    async fn index(&mut self, definition: &Definition, generation: Generation) -> Result<(), StoreError>;

    /// Gives the tables of `next` the indexes that users made on those of `live`, those that they have excepted, under
    /// names of their own. Why one could not be made, a sentence each.
    async fn carry_indexes(
        &mut self,
        live: &GenerationStatus,
        next: &GenerationStatus,
    ) -> Result<Vec<String>, StoreError>;

    /// Compares a generation with the live one in one snapshot of both, and ends the hold as soon as that is taken.
    /// `None`, and no comparison, unless both stand at the same place in every partition.
    async fn compare(
        &mut self,
        live: &GenerationStatus,
        other: &GenerationStatus,
    ) -> Result<Option<Comparison>, StoreError>;

    /// Records how a building generation compared, after which it is ready; or, when it was made for this alone, is
    /// retired.
    async fn proven(&mut self, generation: Generation, proof: &Comparison) -> Result<(), StoreError>;

    /// Lets readers see `generation` instead of the live one, all tables at once.
    async fn swap(&mut self, swap: &Swap<'_>) -> Result<SwapOutcome, StoreError>;

    /// Ends the life of a generation that readers do not see: as `Retired`, or as `Failed` with a reason.
    async fn end(&mut self, generation: Generation, failure: Option<&str>) -> Result<(), StoreError>;

    /// Ends the life of the standbys whose time is over.
    async fn end_overdue(&mut self) -> Result<(), StoreError>;

    /// Drops the tables and checkpoints of a generation whose life has ended, and its notices. All or nothing: see
    /// [`DropOutcome`].
    async fn drop_tables(&mut self, ended: &GenerationStatus) -> Result<DropOutcome, StoreError>;

    /// Moves checkpoints to where the log can be read again, and ends the operation, in one transaction. Whoever owns
    /// the partitions is fenced. Where a checkpoint goes back, or into another log, other records come to stand from there
    /// on: ids of those before them and decisions about them are forgotten, and it is refused while some are parked, for
    /// nobody else has them any more.
    async fn resume_at(&mut self, moves: &[CheckpointMove], operation: i64, outcome: &str) -> Result<(), StoreError>;

    /// Notes how far an open operation is.
    async fn progress(&mut self, operation: i64, progress: &OperationProgress) -> Result<(), StoreError>;

    /// Ends an operation, if it is still open.
    async fn finish(&mut self, operation: i64, state: OperationState, outcome: &str) -> Result<(), StoreError>;

    /// Gives the right back, so that its connection serves others. One that is dropped ends with its connection.
    async fn leave(self: Box<Self>) -> Result<(), StoreError>;
}

/// What is done now and then, beside the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chore {
    /// Standbys are retired, and tables dropped.
    Dropping,
    /// Dead letters are copied to their topic.
    Copying,
}

impl Chore {
    fn name(self) -> &'static str {
        match self {
            Self::Dropping => "dropping",
            Self::Copying => "copying",
        }
    }
}

/// What became of tables that were to be dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropOutcome {
    /// They are gone, now or since an earlier attempt. These read them all the same, and are broken now.
    Done(Vec<Dependent>),
    /// They are in use, by these as far as is known: nothing changed. Try later.
    InUse(Vec<String>),
    /// These depend on them, and the database drops no table under them: nothing changed.
    Kept(Vec<Dependent>),
}

/// An object of a user's that depends on one of our tables, or reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependent {
    /// Its kind and its name.
    pub what: String,
    /// The table.
    pub on: String,
    /// The statement that takes it away; `None` where that would take rows along.
    pub removal: Option<String>,
}

impl std::fmt::Display for Dependent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, on, removal } = self;
        let removal = removal.as_deref().map(|removal| format!(" (`{removal}`)")).unwrap_or_default();
        write!(f, "{what} depends on {on}, which goes when its generation does: make it of the stable name{removal}")
    }
}

/// Where a checkpoint goes that the log has left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointMove {
    /// Whose checkpoint.
    pub generation: Generation,
    /// In which partition.
    pub partition: TopicPartition,
    /// Where it goes, and in which log that is; it is deleted when there is no such partition any more.
    pub to: Option<(i64, Option<String>)>,
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
    fn first_phase(&self) -> Phase {
        if self.load { Phase::Load } else { Phase::Replay }
    }
}

/// A swap that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Swap<'a> {
    /// The generation that readers see.
    pub live: &'a GenerationStatus,
    /// The one that they are to see.
    pub next: &'a GenerationStatus,
    /// How long the old one is fed on, to go back to.
    pub standby_for: Duration,
    /// How long readers may have to wait for the swap. It is given up rather than keep them longer.
    pub lock_timeout: Duration,
    /// The open operation that asked for it, which ends in the same transaction: a swap is not made twice, and not made
    /// after it was cancelled.
    pub operation: i64,
    /// How it ends, in a sentence.
    pub outcome: &'a str,
}

/// What became of a swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwapOutcome {
    /// Readers see the new generation, now or since an earlier attempt.
    Done,
    /// It would have taken readers back in the log, or its checkpoints are missing: nothing changed.
    Behind,
    /// Somebody is reading, or writing, for too long: nothing changed.
    Busy,
}

/// What a swap meets around the live tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwapImpact {
    /// What the live tables take on disk, in bytes.
    pub bytes: u64,
    /// Privileges that were granted on the stable names, a sentence each. They survive a swap.
    pub grants: Vec<String>,
    /// Views and other objects of users that are made of the stable names.
    pub dependents: Vec<String>,
    /// Why the stable names can't be changed in place, a sentence each: a column went or has another type. Then the
    /// views are made anew, which `dependents` would prevent.
    pub incompatible: Vec<String>,
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

/// The atomic unit: what a batch changes, and how far it brings each partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// How far each partition moves, sorted by partition, one each.
    pub advances: Vec<Advance>,
    /// What happens to the rows.
    pub changes: ChangeSet,
    /// The records that are parked, in the order of the log within each partition.
    pub dead_letters: Vec<DeadLetter>,
    /// How much may be parked when these are.
    pub parking_limits: ParkingLimits,
    /// The ids of the events, a page a partition.
    pub ledger: Vec<LedgerPage>,
}

impl Commit {
    /// Whether it decides anything about the records behind it.
    pub(crate) fn is_memorable(&self) -> bool {
        !self.dead_letters.is_empty() || !self.ledger.is_empty()
    }

    /// A commit that moves no checkpoint would pass the guard whoever made it.
    fn guarded(&self) -> Result<&Self, StoreError> {
        let reason = || "a commit that moves no checkpoint has no guard".to_owned();
        let unguarded = || StoreError::Refused { doing: "committing".into(), reason: reason() };
        if self.advances.is_empty() { Err(unguarded()) } else { Ok(self) }
    }
}

/// One partition's step forward, valid only from exactly where it begins and for the owner that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    /// Which partition.
    pub partition: TopicPartition,
    /// The `next_offset` that the checkpoint must have.
    pub from: i64,
    /// The `next_offset` that it gets.
    pub to: i64,
    /// The owner epoch that it must have.
    pub owner_epoch: i64,
    /// The parking epoch that it must have: the commit was planned with what was parked then.
    pub parking_epoch: i64,
    /// Under which leader of the partition the last record was written, where the log knows such a thing.
    pub leader_epoch: Option<i32>,
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is in the database, now or since an earlier attempt.
    Applied(Written),
    /// Some partitions are held for a moment, at these offsets, and the commit goes beyond: nothing was written.
    Held(Vec<(TopicPartition, i64)>),
    /// What is parked was changed by somebody else since the commit was planned: nothing was written.
    Outdated,
    /// More would be parked than may be; which limit it is, in words. Nothing was written.
    Full(String),
    /// Another owner has taken over at least one of the partitions, or its checkpoint was moved: nothing was written.
    Fenced,
}

impl CommitOutcome {
    /// What became of a commit whose guard failed, given the checkpoints as they stand. An earlier attempt whose answer
    /// was lost shows in checkpoints that all stand where the commit ends, under our own epoch: nobody else could have
    /// brought them there. If they all stand where it begins, it met a hold, or was planned with what is no longer so.
    /// Anything else is another owner.
    fn as_seen_in(held: &[Checkpoint], advances: &[Advance]) -> Self {
        let all_stand_at = |place: fn(&Advance) -> i64| {
            advances.iter().all(|advance| {
                held.iter().any(|held| {
                    held.partition == advance.partition
                        && held.next_offset == place(advance)
                        && held.owner_epoch == advance.owner_epoch
                })
            })
        };
        if all_stand_at(|advance| advance.to) {
            CommitOutcome::Applied(Written::default())
        } else if all_stand_at(|advance| advance.from) {
            let is_outdated = |held: &Checkpoint| {
                let advance = advances.iter().find(|advance| advance.partition == held.partition);
                advance.is_some_and(|advance| advance.parking_epoch != held.parking_epoch)
            };
            if held.iter().any(is_outdated) {
                return CommitOutcome::Outdated;
            }
            let holds = held.iter().filter_map(|held| Some((held.partition.clone(), held.hold_at?)));
            CommitOutcome::Held(holds.collect())
        } else {
            CommitOutcome::Fenced
        }
    }
}

/// What a commit did to the tables. Zeros when an earlier attempt had done it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows created, changed or removed.
    pub rows: u64,
    /// Updates that met no row.
    pub missed: u64,
}

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
    /// Raised by whoever changes what is parked without owning the partition.
    pub parking_epoch: i64,
    /// Under which leader of the partition the record before it was written, where that is known.
    pub leader_epoch: Option<i32>,
    /// Which log it points into, where that is known.
    pub log_id: Option<String>,
    /// No commit may go beyond this offset at the moment.
    pub hold_at: Option<i64>,
}

/// A look at a read table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peek {
    /// How many rows it has.
    pub count: u64,
    /// The values of the first rows by key, as text; none for NULL.
    pub rows: Vec<Vec<Option<String>>>,
}

/// Why the store did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It can't be reached, is busy, or asks to try again: worth another try, of the whole transaction.
    #[error("{doing}: {reason}")]
    Unavailable {
        /// What was being done.
        doing: String,
        /// SQLSTATE and message, never row data.
        reason: String,
    },
    /// It does not let us in: worth another try, for passwords are replaced and roles granted while we run.
    #[error("{doing}: {reason}")]
    Denied {
        /// What was being done.
        doing: String,
        /// SQLSTATE and message.
        reason: String,
    },
    /// It is there and refuses: another try gives the same.
    #[error("{doing}: {reason}")]
    Refused {
        /// What was being done.
        doing: String,
        /// SQLSTATE and message, never row data.
        reason: String,
    },
    /// It can't hold these rows: whatever they were made of is poison.
    #[error("{doing}: {reason}")]
    Unstorable {
        /// What was being done.
        doing: String,
        /// SQLSTATE and message, never row data.
        reason: String,
    },
    /// The database belongs to another deployment.
    #[error("{reason}")]
    Deployment {
        /// Whose it is, and how that differs from ours.
        reason: String,
    },
    /// The tables are not as the projection declares them.
    #[error("projection `{projection}`: {reason}")]
    Definition {
        /// The projection's name.
        projection: String,
        /// What differs.
        reason: String,
    },
}

impl StoreError {
    /// Whether another try may succeed although nobody does anything about it here.
    pub fn may_pass(&self) -> bool {
        matches!(self, StoreError::Unavailable { .. } | StoreError::Denied { .. })
    }

    /// What is the matter, without what was being done.
    fn reason(&self) -> &str {
        match self {
            StoreError::Unavailable { reason, .. }
            | StoreError::Denied { reason, .. }
            | StoreError::Refused { reason, .. }
            | StoreError::Unstorable { reason, .. }
            | StoreError::Deployment { reason }
            | StoreError::Definition { reason, .. } => reason,
        }
    }
}

/// How a definition differs from the one that built a generation, a sentence each: nothing while the hash is the same.
pub fn declaration_changes(definition: &Definition, built: &GenerationStatus) -> Vec<String> {
    if built.definition_hash == definition.hash() {
        return Vec::new();
    }
    let mut changes = readcast_core::differences(&built.tables, definition.tables());
    if i64::from(built.version) != i64::from(definition.version()) {
        changes.insert(0, format!("its version changed from {} to {}", built.version, definition.version()));
    }
    if changes.is_empty() {
        changes.push("its topics, its event types or the order of its columns changed".into());
    }
    changes
}

/// How a physical table differs from its declaration, given the name and the shape of each column.
fn altered(physical: &str, declared: &[(String, String)], found: &[(String, String)]) -> Vec<String> {
    if found.is_empty() {
        return vec![format!("table {physical} is gone: somebody dropped it")];
    }
    let shape = |columns: &[(String, String)], name: &str| {
        columns.iter().find(|(column, _)| column == name).map(|(_, shape)| shape.clone())
    };
    let missing = declared.iter().filter_map(|(name, wanted)| match shape(found, name) {
        Some(shape) if shape == *wanted => None,
        Some(shape) => Some(format!("column `{name}` is {shape}, not {wanted}")),
        None => Some(format!("column `{name}` is gone")),
    });
    let extra = found.iter().filter(|(name, _)| shape(declared, name).is_none());
    let extra = extra.map(|(name, _)| format!("column `{name}` was added"));
    missing.chain(extra).map(|what| format!("somebody altered table {physical}: {what}")).collect()
}

/// Refuses to leave records behind that stand where others may come to stand.
fn none_parked(projection: &str, partition: &TopicPartition, next_offset: i64, parked: u64) -> Result<(), StoreError> {
    if parked == 0 {
        return Ok(());
    }
    Err(StoreError::Refused {
        doing: format!("moving the checkpoint of {partition} to {next_offset}"),
        reason: format!(
            "{parked} records from there on are parked, and nobody else has them any more: settle them first \
             (`readcast dead-letters export {projection} --all`, then `retry` or `discard`)"
        ),
    })
}

/// What is to be said of a table name that another projection's live generation has.
fn owned(table: &str, owner: &str, projection: &str) -> String {
    format!(
        "table `{table}` belongs to projection `{owner}`: if that is the earlier name of `{projection}`, type \
         `readcast rename {owner} {projection}`"
    )
}
