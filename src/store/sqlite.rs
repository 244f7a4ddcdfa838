//! The SQLite store: one file for one process. readcast's own tables have the prefix `readcast_`; readers use views.
//!
//! SQLite allows one writer at a time, so all projections of the process use one connection in turn. Readers of the
//! file, with any client, see whole commits and never wait. In parallel with that process the command line may record
//! operators' requests, and nothing else.

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

/// What this process may write to the file.
enum Access {
    /// The process holds the lock of the file and may write everything.
    All(Arc<Writes>),
    /// The process may record operators' requests, through this connection.
    Control(Box<Connection>),
    /// The process may write nothing.
    ReadOnly,
}

/// The lock of the file, the connection that writes, and the projections that are led. Fields are dropped in this
/// order.
struct Writes {
    connection: Connection,
    led: Led,
    _lock: WriteLock,
}

impl Sqlite {
    /// Opens the file at `path`, and creates it if it is missing. No other process can open it while this store, its
    /// writers or its leaderships live.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let path = absolute(path)?;
        let lock = WriteLock::take(&path)?;
        let connection = Connection::to_write(&path).await?;
        let reads = Arc::new(Connection::to_read(&path).await?);
        let writes = Writes { connection, led: Led::default(), _lock: lock };
        Ok(Self { reads, access: Access::All(Arc::new(writes)) })
    }

    /// Opens the file at `path` while another process may write it. Every write is refused.
    pub async fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let path = existing(path)?;
        Ok(Self { reads: Arc::new(Connection::to_read(&path).await?), access: Access::ReadOnly })
    }

    /// Opens the file at `path` while another process may write it, to record operators' requests: an operation, a
    /// pause, a cancellation, a new name or a heartbeat. Every other write is refused. A file without readcast's own
    /// tables is refused as well.
    pub async fn open_to_control(path: &Path) -> Result<Self, StoreError> {
        let path = existing(path)?;
        let reads = Connection::to_read(&path).await?;
        let mut turn = reads.turn().await?;
        if !is_migrated(&mut *turn).await? {
            let reason = format!("{} has none of readcast's own tables yet", path.display());
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
                Err(no_writing("the file is open only for operators' requests: another process writes it"))
            }
            Access::ReadOnly => Err(no_writing(READ_ONLY)),
        }
    }

    /// Begins a transaction that records an operator's request.
    async fn control(&self) -> Result<Turn<'_>, StoreError> {
        match &self.access {
            Access::All(writes) => writes.connection.begin().await,
            Access::Control(connection) => connection.begin().await,
            Access::ReadOnly => Err(no_writing(READ_ONLY)),
        }
    }
}

const READ_ONLY: &str = "the file is open for reading only";

fn no_writing(reason: &str) -> StoreError {
    refused("writing to the store", reason.into())
}

/// The canonical path of an existing file.
fn existing(path: &Path) -> Result<PathBuf, StoreError> {
    if path.is_file() {
        absolute(path)
    } else {
        Err(refused("opening the store", format!("there is no file {}", path.display())))
    }
}

/// The canonical path of the file, independent of the working directory and of symbolic links: the lock is named after
/// it. It is absolute, so it is none of SQLite's special names such as `:memory:`.
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
        migration(8, "notices_by_subject", include_str!("../../migrations/sqlite/0008_notices_by_subject.sql")),
        migration(9, "reasons", include_str!("../../migrations/sqlite/0009_reasons.sql")),
        migration(10, "affected_rows", include_str!("../../migrations/sqlite/0010_affected_rows.sql")),
        migration(11, "duplicate_windows", include_str!("../../migrations/sqlite/0011_duplicate_windows.sql")),
        migration(12, "sources", include_str!("../../migrations/sqlite/0012_sources.sql")),
        migration(13, "components", include_str!("../../migrations/sqlite/0013_components.sql")),
    ]);
    migrator.dangerous_set_table_name("readcast_migrations");
    migrator
}

#[cfg(test)]
mod tests {
    use super::migrator;
    use crate::store::bookkeeping::LAST_MIGRATION;

    #[test]
    fn the_last_migration_is_the_one_that_reading_asks_for() {
        assert_eq!(migrator().iter().map(|migration| migration.version).max(), Some(LAST_MIGRATION));
    }
}
