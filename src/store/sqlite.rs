//! The SQLite store: one file, for one process. readcast's own tables have the prefix `readcast_`; readers use views.
//!
//! SQLite has one writer at a time, so all projections of the process take turns with one connection. Readers of the file,
//! with any client, see whole commits and wait for none. The command line may record beside that process what operators
//! ask for, and nothing else.

mod additions;
mod build;
mod comparison;
mod connection;
mod dead_letters;
mod definition;
mod deployment;
mod guard;
mod leadership;
mod lock;
mod oldest_snapshot;
mod rows;
mod session;
mod sql;
mod store;
mod swap_impact;
mod values;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use self::connection::{Connection, Turn};
use self::leadership::Led;
use self::lock::WriteLock;
use super::StoreError;
use super::bookkeeping::is_migrated;

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
        if !is_migrated(&mut *turn).await? {
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
