//! Where rows go: the read tables, and beside them our own record of how far they are.
//!
//! Nothing outside of this module knows SQL. Rows are written by [`Writer::commit`] alone, which takes a whole
//! [`Commit`]: rows without their checkpoint can't be expressed.

pub mod postgres;
pub mod sqlite;

use async_trait::async_trait;
use readcast_core::{ChangeSet, Definition, TableSpec, TopicPartition};

use crate::source::Extent;

/// A database that holds read tables.
#[async_trait]
pub trait Store: Send + Sync {
    /// Creates or brings up to date the tables that are ours, not the projections'.
    async fn migrate(&self) -> Result<(), StoreError>;

    /// Makes sure that the projection's live generation stands and is as `definition` declares it, creating the first
    /// one. Refuses when the declaration changed since, or when somebody altered the tables.
    async fn prepare(&self, definition: &Definition) -> Result<Generation, StoreError>;

    /// What [`Store::prepare`] would refuse or create, without changing anything: a sentence each.
    async fn check(&self, definition: &Definition) -> Result<Vec<Finding>, StoreError>;

    /// A connection that writes to one generation of a projection.
    async fn writer(&self, definition: &Definition, generation: Generation) -> Result<Box<dyn Writer>, StoreError>;

    /// What is recorded of every projection's live generation.
    async fn generations(&self) -> Result<Vec<GenerationStatus>, StoreError>;

    /// What readers see of a table under its stable name: how many rows there are, and the first of them.
    async fn peek(&self, table: &TableSpec, rows: usize) -> Result<Peek, StoreError>;

    /// Records why the projection's live generation stopped, or with `None` that it runs.
    async fn record_error(&self, projection: &str, error: Option<&str>) -> Result<(), StoreError>;
}

/// One connection that writes to one generation of one projection.
#[async_trait]
pub trait Writer: Send {
    /// Takes over these partitions: raises each one's owner epoch, so that no earlier owner can commit any more, and
    /// creates the checkpoint of a partition that has none at the start of its `extent`. Waits for an earlier owner's
    /// transaction that is under way.
    async fn claim(&mut self, partitions: &[(TopicPartition, Extent)]) -> Result<Vec<Checkpoint>, StoreError>;

    /// Writes the rows and moves the checkpoints, in one transaction, or neither.
    ///
    /// May be called again with the same commit after an error, whatever became of the first attempt: a commit that
    /// did happen is recognised by its checkpoints and not repeated.
    async fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError>;
}

/// The atomic unit: what a batch changes, and how far it brings each partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// How far each partition moves, sorted by partition, one each.
    pub advances: Vec<Advance>,
    /// What happens to the rows.
    pub changes: ChangeSet,
}

impl Commit {
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
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is in the database, now or since an earlier attempt.
    Applied(Written),
    /// Another owner has taken over at least one of the partitions, or its checkpoint was moved: nothing was written.
    Fenced,
}

impl Committed {
    /// What became of a commit whose guard failed, given the checkpoints as they stand. An earlier attempt whose answer
    /// was lost shows in checkpoints that all stand where the commit ends, under our own epoch: nobody else could have
    /// brought them there. Anything else is another owner.
    fn as_seen_in(held: &[Checkpoint], advances: &[Advance]) -> Self {
        let stands_at_its_end = |advance: &Advance| {
            held.iter().any(|held| {
                held.partition == advance.partition
                    && held.next_offset == advance.to
                    && held.owner_epoch == advance.owner_epoch
            })
        };
        if advances.iter().all(stands_at_its_end) { Committed::Applied(Written::default()) } else { Committed::Fenced }
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

/// How far a projection is in one partition, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which partition.
    pub partition: TopicPartition,
    /// The next offset to read.
    pub next_offset: i64,
    /// Raised by every claim: only the owner with the latest may commit.
    pub owner_epoch: i64,
    /// Which log it points into, where that is known.
    pub log_id: Option<String>,
}

/// The number of one physical build of a projection's tables, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub i32);

/// What is recorded of one generation.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationStatus {
    /// The projection's name.
    pub projection: String,
    /// Which generation.
    pub generation: Generation,
    /// `live`, and with rebuilds the other states of a generation.
    pub state: String,
    /// Why it stopped, if it did.
    pub last_error: Option<RecordedError>,
    /// How far it is.
    pub checkpoints: Vec<RecordedCheckpoint>,
}

/// Why a projection stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedError {
    /// What was wrong.
    pub text: String,
    /// Since when, in RFC 3339.
    pub since: String,
}

/// A checkpoint as it stands in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedCheckpoint {
    /// Which partition.
    pub partition: TopicPartition,
    /// The next offset to read.
    pub next_offset: i64,
    /// Which log it points into, where that is known.
    pub log_id: Option<String>,
    /// When it last moved, in RFC 3339.
    pub updated_at: String,
}

/// A look at a read table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peek {
    /// How many rows it has.
    pub count: u64,
    /// The values of the first rows by key, as text; none for NULL.
    pub rows: Vec<Vec<Option<String>>>,
}

/// One thing that a check of a projection's tables found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether the projection would be refused because of it.
    pub refused: bool,
    /// What it is.
    pub text: String,
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
    /// It is there and refuses: another try gives the same.
    #[error("{doing}: {reason}")]
    Refused {
        /// What was being done.
        doing: String,
        /// SQLSTATE and message, never row data.
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

/// What changed in a projection's declaration since its live generation was built: nothing while the hash is the same.
fn declaration_changes(definition: &Definition, hash: &str, version: i32, tables_json: &str) -> Vec<String> {
    if hash == definition.hash() {
        return Vec::new();
    }
    let built: Vec<TableSpec> = serde_json::from_str(tables_json).unwrap_or_default();
    let mut changes = readcast_core::differences(&built, definition.tables());
    if i64::from(version) != i64::from(definition.version()) {
        changes.insert(0, format!("its version changed from {version} to {}", definition.version()));
    }
    if changes.is_empty() {
        changes.push("its topics, its event types or the order of its columns changed".into());
    }
    changes.push("the tables hold what the earlier declaration made: they must be rebuilt".into());
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
