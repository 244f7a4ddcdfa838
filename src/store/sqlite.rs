//! The SQLite store: one file, for one process. Our own tables have the prefix `readcast_`; readers use views.
//!
//! SQLite has one writer at a time, so all projections of the process take turns with one connection. Whoever reads
//! the file, with any client, sees whole commits and waits for none. The command line may note beside that process what
//! operators ask for, and nothing else.

mod additions;
mod build;
mod checkpoints;
mod commands;
mod comparison;
mod connection;
mod dead_letters;
mod definition;
mod deployment;
mod generations;
mod holds;
mod instances;
mod leadership;
mod lifecycle;
mod lock;
mod notices;
mod oldest_snapshot;
mod operations;
mod recorded;
mod rows;
mod sql;
mod swap;
mod swap_impact;
mod values;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use readcast_core::{ChangeSet, Definition, TableSpec, TopicPartition};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{SqlStr, SqliteConnection};

use self::connection::{Connection, Turn, at};
use self::leadership::{Led, SqliteLeadership};
use self::lock::WriteLock;
use super::{
    Checkpoint, Chore, Command, Commit, CommitOutcome, ConnectionCapacity, Dependent, Deployment, Generation,
    GenerationError, GenerationStatus, Instance, InstanceHeartbeat, Leadership, Notice, NoticeKind, OldestSnapshot,
    Operation, ParkedIn, ParkedRecord, ParkedSequence, PartitionState, Peek, Positions, RecordedNotice, SequenceId,
    Settlement, SharedPriority, Store, StoreError, SwapImpact, UserAddition, WaitingRecords, Writer, Written,
};
use crate::failpoint;
use crate::source::Extent;

/// A SQLite file that holds read tables.
pub struct Sqlite {
    reads: Arc<Connection>,
    access: Access,
}

/// What may be written to the file.
enum Access {
    /// Everything.
    All(Arc<Writes>),
    /// What operators ask for.
    Control(Box<Connection>),
    /// Nothing.
    ReadOnly,
}

/// The right to write, the connection that does, and who leads which projection. Fields are dropped in this order.
struct Writes {
    connection: Connection,
    led: Led,
    _lock: WriteLock,
}

impl Sqlite {
    /// Opens the file at `path`, which is created when it is missing. No other process can open it so as long as this
    /// store, its writers and its leads live.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let path = absolute(path)?;
        let lock = WriteLock::take(&path)?;
        let connection = Connection::to_write(&path).await?;
        let reads = Arc::new(Connection::to_read(&path).await?);
        let writes = Writes { connection, led: Led::default(), _lock: lock };
        Ok(Self { reads, access: Access::All(Arc::new(writes)) })
    }

    /// Opens the file at `path` beside a process that may be writing it. Whatever would write is refused.
    pub async fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let path = existing(path)?;
        Ok(Self { reads: Arc::new(Connection::to_read(&path).await?), access: Access::ReadOnly })
    }

    /// Opens the file at `path` beside a process that may be writing it, to note what operators ask for: an operation,
    /// a pause, a cancellation, another name, an attendance. Whatever else would write is refused, and so is a file
    /// that has none of our tables yet.
    pub async fn open_to_control(path: &Path) -> Result<Self, StoreError> {
        let path = existing(path)?;
        let reads = Connection::to_read(&path).await?;
        let mut turn = reads.turn().await?;
        if !generations::is_migrated(&mut turn).await? {
            let reason = format!("there is nothing of readcast's in {} yet", path.display());
            return Err(refused("opening the store", reason));
        }
        turn.end();
        let control = Connection::to_control(&path).await?;
        Ok(Self { reads: Arc::new(reads), access: Access::Control(Box::new(control)) })
    }

    fn writes(&self) -> Result<&Arc<Writes>, StoreError> {
        match &self.access {
            Access::All(writes) => Ok(writes),
            Access::Control(_) => {
                Err(no_writing("it was opened to note what operators ask for, beside the process that writes"))
            }
            Access::ReadOnly => Err(no_writing(READ_ONLY)),
        }
    }

    /// Begins a transaction for what operators ask for.
    async fn control(&self) -> Result<Turn<'_>, StoreError> {
        match &self.access {
            Access::All(writes) => writes.connection.begin().await,
            Access::Control(connection) => connection.begin().await,
            Access::ReadOnly => Err(no_writing(READ_ONLY)),
        }
    }
}

const READ_ONLY: &str = "it was opened for reading only";

fn no_writing(reason: &str) -> StoreError {
    refused("writing to the store", reason.into())
}

/// The one name of a file that is there.
fn existing(path: &Path) -> Result<PathBuf, StoreError> {
    if path.is_file() {
        absolute(path)
    } else {
        Err(refused("opening the store", format!("there is no file {}", path.display())))
    }
}

/// One name for one file, whatever the working directory and the symbolic links on the way: it names the lock. SQLite
/// gives a meaning of its own to names such as `:memory:`, and to no absolute path.
fn absolute(path: &Path) -> Result<PathBuf, StoreError> {
    let absolute = path.canonicalize().or_else(|_| std::path::absolute(path));
    absolute.map_err(|error| refused("opening the store", format!("{}: {error}", path.display())))
}

fn refused(doing: &str, reason: String) -> StoreError {
    StoreError::Refused { doing: doing.into(), reason }
}

#[async_trait]
impl Store for Sqlite {
    async fn migrate(&self) -> Result<(), StoreError> {
        let mut turn = self.writes()?.connection.turn().await?;
        let migrated = migrator().run_direct(None, &mut *turn, false).await;
        migrated.map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => at(MIGRATING)(error),
            other => refused(MIGRATING, other.to_string()),
        })?;
        turn.end();
        Ok(())
    }

    async fn prepare(&self, definition: &Definition) -> Result<(), StoreError> {
        let mut turn = self.writes()?.connection.begin().await?;
        definition::prepare(&mut turn, definition).await?;
        turn.commit().await
    }

    async fn alterations(&self, definition: &Definition, generation: Generation) -> Result<Vec<String>, StoreError> {
        let mut turn = self.reads.begin().await?;
        let alterations = definition::alterations(&mut turn, definition, generation).await?;
        turn.commit().await?;
        Ok(alterations)
    }

    async fn name_conflicts(&self, definition: &Definition) -> Result<Vec<String>, StoreError> {
        let mut turn = self.reads.begin().await?;
        let taken = definition::name_conflicts(&mut turn, definition).await?;
        turn.commit().await?;
        Ok(taken)
    }

    /// There is one connection that writes, and everybody takes turns with it.
    async fn writer(
        &self,
        definition: &Definition,
        generation: Generation,
        _precedence: SharedPriority,
    ) -> Result<Box<dyn Writer>, StoreError> {
        Ok(Box::new(SqliteWriter {
            writes: Arc::clone(self.writes()?),
            projection: definition.name().to_owned(),
            generation,
            tables: definition.tables().iter().map(|table| rows::Table::new(table, generation)).collect(),
        }))
    }

    async fn generations(&self) -> Result<Vec<GenerationStatus>, StoreError> {
        let mut turn = self.reads.begin().await?;
        let generations = generations::all(&mut turn).await?;
        turn.commit().await?;
        Ok(generations)
    }

    async fn generations_of(&self, projection: &str) -> Result<Vec<GenerationStatus>, StoreError> {
        let mut turn = self.reads.begin().await?;
        let generations = generations::of(&mut turn, projection).await?;
        turn.commit().await?;
        Ok(generations)
    }

    async fn positions(&self, projection: &str, of: Option<Generation>) -> Result<Positions, StoreError> {
        let mut turn = self.reads.begin().await?;
        let positions = checkpoints::positions(&mut turn, projection, of).await?;
        turn.commit().await?;
        Ok(positions)
    }

    async fn oldest_snapshot(&self, _age: Duration) -> Result<Option<OldestSnapshot>, StoreError> {
        Ok(oldest_snapshot::oldest_snapshot(self.reads.path()))
    }

    async fn peek(&self, table: &TableSpec, rows: usize) -> Result<Peek, StoreError> {
        let mut turn = self.reads.begin().await?;
        let peek = definition::peek(&mut turn, table, rows).await?;
        turn.commit().await?;
        Ok(peek)
    }

    async fn record_error(
        &self,
        projection: &str,
        generation: Generation,
        by: &str,
        trouble: &GenerationError,
    ) -> Result<(), StoreError> {
        let mut turn = self.writes()?.connection.begin().await?;
        generations::record_error(&mut turn, projection, generation, by, trouble).await?;
        turn.commit().await
    }

    async fn clear_error(&self, projection: &str, generation: Generation, by: &str) -> Result<(), StoreError> {
        let mut turn = self.writes()?.connection.begin().await?;
        generations::clear_error(&mut turn, projection, generation, by).await?;
        turn.commit().await
    }

    async fn note(
        &self,
        projection: &str,
        generation: Generation,
        by: &str,
        notice: &Notice,
    ) -> Result<(), StoreError> {
        let mut turn = self.writes()?.connection.begin().await?;
        notices::note(&mut turn, projection, generation, by, notice).await?;
        turn.commit().await
    }

    async fn withdraw(&self, projection: &str, generation: Generation, kind: NoticeKind) -> Result<(), StoreError> {
        let mut turn = self.writes()?.connection.begin().await?;
        notices::withdraw(&mut turn, projection, generation, kind).await?;
        turn.commit().await
    }

    async fn notices(&self) -> Result<Vec<RecordedNotice>, StoreError> {
        let mut turn = self.reads.begin().await?;
        let notices = notices::all(&mut turn).await?;
        turn.commit().await?;
        Ok(notices)
    }

    async fn parked(&self, of: ParkedIn<'_>) -> Result<Vec<ParkedSequence>, StoreError> {
        let mut turn = self.reads.begin().await?;
        let parked = dead_letters::parked(&mut turn, of).await?;
        turn.commit().await?;
        Ok(parked)
    }

    async fn waiting(
        &self,
        of: ParkedIn<'_>,
        partition: &TopicPartition,
        sequence: &SequenceId,
        from: i64,
        most: usize,
    ) -> Result<WaitingRecords, StoreError> {
        let mut turn = self.reads.begin().await?;
        let waiting = dead_letters::waiting(&mut turn, of, partition, sequence, from, most).await?;
        turn.commit().await?;
        Ok(waiting)
    }

    async fn uncopied(&self, of: ParkedIn<'_>, most: usize) -> Result<Vec<ParkedRecord>, StoreError> {
        let mut turn = self.reads.begin().await?;
        let letters = dead_letters::uncopied(&mut turn, of, most).await?;
        turn.commit().await?;
        Ok(letters)
    }

    async fn note_copied(&self, of: ParkedIn<'_>, letters: &[(TopicPartition, i64)]) -> Result<(), StoreError> {
        let mut turn = self.writes()?.connection.begin().await?;
        dead_letters::note_copied(&mut turn, of, letters).await?;
        turn.commit().await
    }

    async fn note_uncopyable(
        &self,
        of: ParkedIn<'_>,
        letters: &[((TopicPartition, i64), String)],
    ) -> Result<(), StoreError> {
        let mut turn = self.writes()?.connection.begin().await?;
        dead_letters::note_uncopyable(&mut turn, of, letters).await?;
        turn.commit().await
    }

    async fn uncopyable(&self, of: ParkedIn<'_>) -> Result<Vec<((TopicPartition, i64), String)>, StoreError> {
        let mut turn = self.reads.begin().await?;
        let letters = dead_letters::uncopyable(&mut turn, of).await?;
        turn.commit().await?;
        Ok(letters)
    }

    async fn request(&self, projection: &str, command: &Command, by: &str) -> Result<i64, StoreError> {
        let mut turn = self.control().await?;
        let operation = operations::request(&mut turn, projection, command, by).await?;
        turn.commit().await?;
        Ok(operation)
    }

    async fn operations(&self, projection: &str, finished: usize) -> Result<Vec<Operation>, StoreError> {
        let mut turn = self.reads.begin().await?;
        let operations = operations::all(&mut turn, projection, finished).await?;
        turn.commit().await?;
        Ok(operations)
    }

    async fn pause(&self, projection: &str, paused: bool, building: bool, by: &str) -> Result<u64, StoreError> {
        let mut turn = self.control().await?;
        let changed = commands::pause(&mut turn, projection, paused, building, by).await?;
        turn.commit().await?;
        Ok(changed)
    }

    async fn cancel(&self, projection: &str, by: &str) -> Result<u64, StoreError> {
        let mut turn = self.control().await?;
        let cancelled = commands::cancel(&mut turn, projection, by).await?;
        turn.commit().await?;
        Ok(cancelled)
    }

    async fn rename(&self, from: &str, to: &str, by: &str) -> Result<(), StoreError> {
        let mut turn = self.control().await?;
        commands::rename(&mut turn, from, to, by).await?;
        turn.commit().await
    }

    async fn deployment(&self) -> Result<Option<Deployment>, StoreError> {
        let mut turn = self.reads.begin().await?;
        let recorded = deployment::recorded(&mut turn).await?;
        turn.commit().await?;
        Ok(recorded)
    }

    async fn deploy(&self, ours: &Deployment, adopt: bool) -> Result<(), StoreError> {
        let mut turn = self.writes()?.connection.begin().await?;
        deployment::deploy(&mut turn, ours, adopt).await?;
        turn.commit().await
    }

    async fn heartbeat(
        &self,
        instance: &Instance,
        projection: &str,
        hashes: &[&str],
        running: bool,
    ) -> Result<(), StoreError> {
        let instance = instance.id.as_str();
        let mut turn = self.control().await?;
        if running {
            instances::seen(&mut turn, instance, projection, hashes).await?;
        } else {
            instances::stopped(&mut turn, instance, projection).await?;
        }
        turn.commit().await
    }

    async fn heartbeats(&self) -> Result<Vec<InstanceHeartbeat>, StoreError> {
        let mut turn = self.reads.begin().await?;
        let attendance = instances::heartbeats(&mut turn).await?;
        turn.commit().await?;
        Ok(attendance)
    }

    async fn capacity(&self) -> Result<Option<ConnectionCapacity>, StoreError> {
        Ok(None)
    }

    async fn swap_impact(&self, live: &GenerationStatus, _next: &Definition) -> Result<SwapImpact, StoreError> {
        // To measure a table is to look at all its pages: nobody else waits for that.
        let mut connection = self.reads.apart().await?;
        swap_impact::swap_impact(&mut connection, live).await
    }

    async fn additions(&self, live: &GenerationStatus, next: &Definition) -> Result<Vec<UserAddition>, StoreError> {
        let mut turn = self.reads.begin().await?;
        let additions = additions::additions(&mut turn, live, next).await?;
        turn.commit().await?;
        Ok(additions)
    }

    async fn dependents(&self, of: &GenerationStatus) -> Result<Vec<Dependent>, StoreError> {
        let mut turn = self.reads.begin().await?;
        let dependents = swap_impact::physical_dependents(&mut turn, of).await?;
        turn.commit().await?;
        Ok(dependents)
    }

    async fn chore(&self, projection: &str, chore: Chore) -> Result<Option<Box<dyn Leadership>>, StoreError> {
        let lead = SqliteLeadership::take(&self.reads, self.writes()?, projection, chore.name());
        Ok(lead.map(|lead| Box::new(lead) as Box<dyn Leadership>))
    }

    async fn try_lead(&self, projection: &str) -> Result<Option<Box<dyn Leadership>>, StoreError> {
        let lead = SqliteLeadership::take(&self.reads, self.writes()?, projection, "lead");
        Ok(lead.map(|lead| Box::new(lead) as Box<dyn Leadership>))
    }
}

const MIGRATING: &str = "creating readcast's own tables";

fn migrator() -> Migrator {
    let migration = |version, name: &'static str, sql| {
        Migration::new(version, name.into(), MigrationType::Simple, SqlStr::from_static(sql), false)
    };
    let mut migrator = Migrator::with_migrations(vec![
        migration(1, "positions", include_str!("../../migrations/sqlite/0001_positions.sql")),
        migration(2, "generations", include_str!("../../migrations/sqlite/0002_generations.sql")),
        migration(3, "dead_letters", include_str!("../../migrations/sqlite/0003_dead_letters.sql")),
        migration(4, "load", include_str!("../../migrations/sqlite/0004_load.sql")),
        migration(5, "deployment", include_str!("../../migrations/sqlite/0005_deployment.sql")),
        migration(6, "notices", include_str!("../../migrations/sqlite/0006_notices.sql")),
    ]);
    migrator.dangerous_set_table_name("readcast_migrations");
    migrator
}

/// What every commit does before its rows: passes the guard, parks, remembers what it saw. The transaction in which the
/// rows belong, or what the commit comes to without one.
async fn pass<'a>(
    connection: &'a Connection,
    of: ParkedIn<'_>,
    commit: &Commit,
) -> Result<Result<Turn<'a>, CommitOutcome>, StoreError> {
    let checkpoints = checkpoints::Checkpoints::new(of.projection, of.generation);
    let mut turn = connection.begin().await?;
    failpoint::hit("after_begin");
    if !checkpoints.advance(&mut turn, &commit.advances).await? {
        turn.roll_back().await?;
        let mut turn = connection.turn().await?;
        let outcome = checkpoints.outcome(&mut turn, &commit.advances).await?;
        turn.end();
        return Ok(Err(outcome));
    }
    failpoint::hit("after_checkpoint");
    if let Some(limit) = dead_letters::park(&mut turn, of, commit).await? {
        turn.roll_back().await?;
        return Ok(Err(CommitOutcome::Full(limit)));
    }
    dead_letters::write_ledger(&mut turn, of, commit).await?;
    Ok(Ok(turn))
}

/// Writes one generation of one projection, in turns with the other writers of the file.
struct SqliteWriter {
    writes: Arc<Writes>,
    projection: String,
    generation: Generation,
    tables: Vec<rows::Table>,
}

impl SqliteWriter {
    fn checkpoints(&self) -> checkpoints::Checkpoints<'_> {
        checkpoints::Checkpoints::new(&self.projection, self.generation)
    }

    fn parked_in(&self) -> ParkedIn<'_> {
        ParkedIn { projection: &self.projection, generation: self.generation }
    }

    async fn write(&self, connection: &mut SqliteConnection, changes: &ChangeSet) -> Result<Written, StoreError> {
        let mut written = Written { rows: 0, missed: changes.missed() };
        for (index, table) in self.tables.iter().enumerate() {
            for segment in changes.segments(index) {
                table.write(connection, segment, &mut written).await?;
            }
        }
        Ok(written)
    }
}

#[async_trait]
impl Writer for SqliteWriter {
    async fn claim(&mut self, partitions: &[(TopicPartition, Extent)]) -> Result<Vec<Checkpoint>, StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        let mut claimed = Vec::with_capacity(partitions.len());
        for (partition, extent) in partitions {
            claimed.push(self.checkpoints().claim(&mut turn, partition, extent).await?);
        }
        turn.commit().await?;
        Ok(claimed)
    }

    async fn load_state(
        &mut self,
        partitions: &[TopicPartition],
        window: i64,
    ) -> Result<Vec<(TopicPartition, PartitionState)>, StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        let recalled = dead_letters::load_state(&mut turn, self.parked_in(), partitions, window).await?;
        turn.commit().await?;
        Ok(recalled)
    }

    /// Any error leaves by `?`, which drops the turn and with it the transaction.
    async fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome, StoreError> {
        let mut turn = match pass(&self.writes.connection, self.parked_in(), commit.guarded()?).await? {
            Ok(turn) => turn,
            Err(refused) => return Ok(refused),
        };
        let written = self.write(&mut turn, &commit.changes).await?;
        failpoint::hit("after_rows");
        turn.commit().await?;
        failpoint::hit("after_commit");
        Ok(CommitOutcome::Applied(written))
    }

    /// The same for a settlement, whose guard is the parking epoch.
    async fn settle(&mut self, settlement: &Settlement) -> Result<Option<Written>, StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        if !dead_letters::raise_epoch(&mut turn, self.parked_in(), settlement).await? {
            turn.roll_back().await?;
            return Ok(None);
        }
        dead_letters::settle(&mut turn, self.parked_in(), settlement).await?;
        let written = self.write(&mut turn, &settlement.changes).await?;
        failpoint::hit("settle_before_commit");
        turn.commit().await?;
        Ok(Some(written))
    }
}
