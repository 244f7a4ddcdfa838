//! The SQLite store: one file, for one process. Our own tables have the prefix `readcast_`; readers use views.
//!
//! SQLite has one writer at a time, so all projections of the process take turns with one connection. Whoever reads
//! the file, with any client, sees whole commits and waits for none.

mod checkpoints;
mod connection;
mod definition;
mod generations;
mod lock;
mod rows;
mod sql;
mod values;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use readcast_core::{Definition, TableSpec, TopicPartition};
use sqlx::SqlStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use self::connection::{Connection, at};
use self::lock::WriteLock;
use super::{
    Checkpoint, Commit, Committed, Finding, Generation, GenerationStatus, Peek, Store, StoreError, Writer, Written,
};
use crate::failpoint;
use crate::source::Extent;

/// A SQLite file that holds read tables.
pub struct Sqlite {
    reads: Connection,
    /// None when the file was opened for reading only.
    writes: Option<Arc<Writes>>,
}

/// The right to write, and the connection that does. Fields are dropped in this order.
struct Writes {
    connection: Connection,
    _lock: WriteLock,
}

impl Sqlite {
    /// Opens the file at `path`, which is created when it is missing. No other process can open it so as long as this
    /// store and its writers live.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let path = absolute(path)?;
        let lock = WriteLock::take(&path)?;
        let connection = Connection::to_write(&path).await?;
        let reads = Connection::to_read(&path).await?;
        Ok(Self { reads, writes: Some(Arc::new(Writes { connection, _lock: lock })) })
    }

    /// Opens the file at `path` beside a process that may be writing it. Whatever would write is refused.
    pub async fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        if !path.is_file() {
            return Err(refused("opening the store", format!("there is no file {}", path.display())));
        }
        Ok(Self { reads: Connection::to_read(&absolute(path)?).await?, writes: None })
    }

    fn writes(&self) -> Result<&Arc<Writes>, StoreError> {
        self.writes.as_ref().ok_or_else(|| refused("writing to the store", "it was opened for reading only".into()))
    }
}

/// One name for one file, whatever the working directory and the symbolic links on the way: it names the lock. SQLite
/// gives a meaning of its own to names such as `:memory:`, and to no absolute path.
fn absolute(path: &Path) -> Result<std::path::PathBuf, StoreError> {
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

    async fn prepare(&self, definition: &Definition) -> Result<Generation, StoreError> {
        let mut turn = self.writes()?.connection.begin().await?;
        let generation = definition::prepare(&mut turn, definition).await?;
        turn.commit().await?;
        Ok(generation)
    }

    async fn check(&self, definition: &Definition) -> Result<Vec<Finding>, StoreError> {
        let mut turn = self.reads.begin().await?;
        let findings = definition::check(&mut turn, definition).await?;
        turn.commit().await?;
        Ok(findings)
    }

    async fn writer(&self, definition: &Definition, generation: Generation) -> Result<Box<dyn Writer>, StoreError> {
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

    async fn peek(&self, table: &TableSpec, rows: usize) -> Result<Peek, StoreError> {
        let mut turn = self.reads.begin().await?;
        let peek = definition::peek(&mut turn, table, rows).await?;
        turn.commit().await?;
        Ok(peek)
    }

    async fn record_error(&self, projection: &str, error: Option<&str>) -> Result<(), StoreError> {
        let mut turn = self.writes()?.connection.begin().await?;
        generations::record_error(&mut turn, projection, error).await?;
        turn.commit().await
    }
}

const MIGRATING: &str = "creating readcast's own tables";

fn migrator() -> Migrator {
    let positions = Migration::new(
        1,
        "positions".into(),
        MigrationType::Simple,
        SqlStr::from_static(include_str!("../../migrations/sqlite/0001_positions.sql")),
        false,
    );
    let mut migrator = Migrator::with_migrations(vec![positions]);
    migrator.dangerous_set_table_name("readcast_migrations");
    migrator
}

/// Writes one generation of one projection, in turns with the other writers of the file.
struct SqliteWriter {
    writes: Arc<Writes>,
    projection: String,
    generation: Generation,
    tables: Vec<rows::Table>,
}

impl SqliteWriter {
    fn checkpoints(&self) -> checkpoints::Of<'_> {
        checkpoints::Of::new(&self.projection, self.generation)
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

    /// Any error leaves by `?`, which drops the turn and with it the transaction.
    async fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        failpoint::hit("after_begin");
        if !self.checkpoints().advance(&mut turn, &commit.guarded()?.advances).await? {
            turn.roll_back().await?;
            let mut turn = self.writes.connection.turn().await?;
            let outcome = self.checkpoints().outcome(&mut turn, &commit.advances).await?;
            turn.end();
            return Ok(outcome);
        }
        failpoint::hit("after_checkpoint");
        let mut written = Written { rows: 0, missed: commit.changes.missed() };
        for (index, table) in self.tables.iter().enumerate() {
            for segment in commit.changes.segments(index) {
                table.write(&mut turn, segment, &mut written).await?;
            }
        }
        failpoint::hit("after_rows");
        turn.commit().await?;
        failpoint::hit("after_commit");
        Ok(Committed::Applied(written))
    }
}
