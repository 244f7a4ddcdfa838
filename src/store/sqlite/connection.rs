//! Connections: one to write and one to read, with which tasks take turns, and what their errors mean. Whatever takes
//! minutes has a connection of its own.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Executor, SqliteConnection};
use tokio::sync::{Mutex, MutexGuard};

use super::values::POWERS_OF_TWO;
use crate::store::StoreError;

/// How long SQLite waits for a lock: for somebody's own client, or for a connection that is being closed.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How whoever writes begins. A transaction that began by reading may be refused its first write, without any waiting.
const BEGIN_TO_WRITE: &str = "BEGIN IMMEDIATE";

/// One connection that tasks take turns with.
pub(super) struct Connection {
    options: SqliteConnectOptions,
    /// What each turn's transaction begins with.
    begin: &'static str,
    /// What a new connection is prepared with.
    setup: &'static str,
    /// None while a turn is taken, and after one that failed or was cancelled.
    idle: Mutex<Option<SqliteConnection>>,
}

impl Connection {
    /// The connection that writes; creates the file.
    pub(super) async fn to_write(path: &Path) -> Result<Self, StoreError> {
        Self::open(writing(path).create_if_missing(true), BEGIN_TO_WRITE, POWERS_OF_TWO).await
    }

    /// A connection that writes now and then, beside the process that does so all the time. It writes no rows.
    pub(super) async fn to_control(path: &Path) -> Result<Self, StoreError> {
        Self::open(writing(path), BEGIN_TO_WRITE, "").await
    }

    /// A connection that only reads.
    pub(super) async fn to_read(path: &Path) -> Result<Self, StoreError> {
        Self::open(options(path).read_only(true), "BEGIN", "").await
    }

    async fn open(options: SqliteConnectOptions, begin: &'static str, setup: &'static str) -> Result<Self, StoreError> {
        let connection = Self { options, begin, setup, idle: Mutex::default() };
        connection.turn().await?.end();
        Ok(connection)
    }

    /// Waits for the connection, without a transaction.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, StoreError> {
        let mut idle = self.idle.lock().await;
        let connection = match idle.take() {
            Some(connection) => connection,
            None => self.connect().await.map_err(at("opening the store"))?,
        };
        Ok(Turn { idle, connection })
    }

    /// Waits for the connection, and begins a transaction.
    pub(super) async fn begin(&self) -> Result<Turn<'_>, StoreError> {
        let mut turn = self.turn().await?;
        execute(&mut turn, self.begin).await.map_err(at("beginning a transaction"))?;
        Ok(turn)
    }

    /// A connection for the caller alone, in a transaction. It is closed when it is dropped.
    pub(super) async fn apart(&self) -> Result<SqliteConnection, StoreError> {
        let mut connection = self.connect().await.map_err(at("opening the store"))?;
        execute(&mut connection, self.begin).await.map_err(at("beginning a transaction"))?;
        Ok(connection)
    }

    async fn connect(&self) -> sqlx::Result<SqliteConnection> {
        let mut connection = self.options.connect().await?;
        execute(&mut connection, self.setup).await?;
        Ok(connection)
    }
}

fn writing(path: &Path) -> SqliteConnectOptions {
    options(path)
        // In this mode readers read on while we write.
        .journal_mode(SqliteJournalMode::Wal)
        // NORMAL would be faster, but in this mode it may lose commits that were acknowledged when power fails.
        .synchronous(SqliteSynchronous::Full)
        .pragma("temp_store", "memory")
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).busy_timeout(BUSY_TIMEOUT).disable_statement_logging()
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> sqlx::Result<()> {
    connection.execute(sql).await.map(drop)
}

/// One task's turn with the connection.
///
/// Nobody knows the state of a connection whose turn was dropped before its end, by a failed statement or a cancelled
/// future. It is closed, which rolls back what it left open, and the next turn opens another.
pub(super) struct Turn<'a> {
    idle: MutexGuard<'a, Option<SqliteConnection>>,
    connection: SqliteConnection,
}

impl Turn<'_> {
    /// Commits the transaction.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        execute(&mut self, "COMMIT").await.map_err(at("committing"))?;
        self.end();
        Ok(())
    }

    /// Takes the transaction back.
    pub(super) async fn roll_back(mut self) -> Result<(), StoreError> {
        execute(&mut self, "ROLLBACK").await.map_err(at("rolling back"))?;
        self.end();
        Ok(())
    }

    /// Leaves the connection to the next task. No transaction may be open.
    pub(super) fn end(mut self) {
        *self.idle = Some(self.connection);
    }
}

impl Deref for Turn<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

/// Turns a driver's error into ours, which says what was being done.
pub(super) fn at(doing: impl Into<String>) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| classify(doing.into(), &error)
}

fn classify(doing: String, error: &sqlx::Error) -> StoreError {
    // SQLite's messages name tables and columns, never values.
    let database = error.as_database_error();
    let reason = database.map_or_else(|| error.to_string(), |error| error.to_string());
    let worth_another_try = match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_transient(&code)),
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => true,
        _ => false,
    };
    if worth_another_try { StoreError::Unavailable { doing, reason } } else { StoreError::Refused { doing, reason } }
}

/// Whether another try of the whole transaction may succeed, by an extended result code (sqlite.org/rescode.html).
fn is_transient(code: &str) -> bool {
    const CODES: [u32; 5] = [
        5,  // SQLITE_BUSY
        6,  // SQLITE_LOCKED
        10, // SQLITE_IOERR
        13, // SQLITE_FULL
        15, // SQLITE_PROTOCOL: lost a race for the locks of the write-ahead log
    ];
    // The low byte is the result code, the others say more about it.
    code.parse::<u32>().is_ok_and(|code| CODES.contains(&(code & 0xff)))
}

#[cfg(test)]
mod tests {
    use super::is_transient;

    #[test]
    fn what_may_pass_is_tried_again_and_what_stays_is_not() {
        // BUSY, BUSY_SNAPSHOT, LOCKED, IOERR_FSYNC, FULL
        for code in ["5", "517", "6", "1034", "13"] {
            assert!(is_transient(code), "{code}");
        }
        // ERROR, READONLY, CORRUPT, CONSTRAINT_NOTNULL, CONSTRAINT_DATATYPE, NOTADB
        for code in ["1", "8", "11", "1299", "3091", "26", ""] {
            assert!(!is_transient(code), "{code}");
        }
    }
}
