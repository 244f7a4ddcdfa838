//! Where rows go: the read tables, and beside them readcast's own record of how far they are.
//!
//! Nothing outside of this module knows SQL. Rows are written by [`Writer::commit`] alone, which takes a whole
//! [`Commit`]: rows without their checkpoint can't be expressed.
//!
//! A store implements five traits, one a concern. Its engine writes rows and changes what readers see; what both stores
//! record in tables of readcast's own is in `bookkeeping`, once.

pub(crate) mod postgres;
pub(crate) mod sqlite;

mod addition;
mod bookkeeping;
mod capacity;
mod checkpoint;
mod commit;
mod comparison;
mod dead_letter;
mod declaration;
mod deployment;
mod dialect;
mod error;
mod generation;
mod leadership;
mod ledger;
mod load;
mod notice;
mod oldest_snapshot;
mod operation;
mod operation_store;
mod parked;
mod parking_store;
mod priority;
mod references;
mod schema_store;
mod session;
mod status_store;
mod swap;
mod text;
mod writer;

pub use self::addition::{AdditionFate, UserAddition};
pub use self::capacity::ConnectionCapacity;
pub use self::checkpoint::{Checkpoint, CheckpointMove, Positions};
pub use self::commit::{Advance, Commit, CommitOutcome, Written};
pub use self::comparison::{ComparedPlace, Comparison, Difference, Sample, TableComparison};
pub use self::dead_letter::{
    Amendment, DeadLetter, Decision, ParkingLimits, PartitionState, PoisonCause, PoisonClass, SequenceId,
};
use self::declaration::{altered, owned};
pub use self::declaration::{declaration_changes, has_files, superseded_file, with_stored};
pub use self::deployment::{Deployment, Instance};
pub use self::error::StoreError;
pub use self::generation::{
    Generation, GenerationError, GenerationState, GenerationStatus, Phase, RecordedCheckpoint, RecordedError,
};
pub use self::leadership::{BuildOptions, Chore, Dependent, DropOutcome, HOLD_LIMIT, Leadership};
pub use self::ledger::{DuplicateWindow, IdDigest, LedgerEntry, LedgerPage, WindowSize};
pub use self::load::{Load, RowPiece, RowSink, RowStream, row_stream};
pub use self::notice::{Notice, NoticeKind, RecordedNotice};
pub use self::oldest_snapshot::OldestSnapshot;
pub use self::operation::{
    Command, InstanceHeartbeat, Operation, OperationProgress, OperationState, Rebuild, RebuildStart, SettleAction,
    SettleRequest, has_running_instance,
};
pub use self::operation_store::OperationStore;
pub use self::parked::{ParkedCounts, ParkedIn, ParkedRecord, ParkedSequence, Selection, Settlement, WaitingRecords};
pub use self::parking_store::ParkingStore;
pub use self::priority::{Priority, SharedPriority};
pub use self::schema_store::SchemaStore;
pub use self::status_store::{Peek, StatusStore};
pub use self::swap::{Swap, SwapImpact, SwapOutcome};
use self::text::{Encoding, from_stored_json};
pub use self::writer::{CommitStore, Writer};

/// A database that holds read tables. Every type that implements the five traits is one.
pub trait Store: SchemaStore + CommitStore + StatusStore + ParkingStore + OperationStore {}

impl<S: SchemaStore + CommitStore + StatusStore + ParkingStore + OperationStore> Store for S {}
