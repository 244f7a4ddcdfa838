//! Connections that tasks use in turn, one for writing and one for reading, and the classification of their errors.
//! Work that takes minutes has its own connection.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Executor, SqliteConnection};
use tokio::sync::{Mutex, MutexGuard};

use super::values::POWERS_OF_TWO;
use crate::store::StoreError;

/// How long SQLite waits for a lock, which another client or a closing connection may hold.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How a writing transaction begins. A transaction that begins with a read may have its first write refused at once.
const BEGIN_TO_WRITE: &str = "BEGIN IMMEDIATE";

/// One connection that tasks use in turn.
pub(super) struct Connection {
    options: SqliteConnectOptions,
    /// The statement that begins a transaction.
    begin: &'static str,
    /// The statements that prepare a new connection.
    setup: &'static str,
    /// `None` during a turn, and after a turn that failed or was cancelled.
    idle: Mutex<Option<SqliteConnection>>,
}

impl Connection {
    /// The connection for commits. Creates the file if it is missing.
    pub(super) async fn to_write(path: &Path) -> Result<Self, StoreError> {
        Self::open(writing(path).create_if_missing(true), BEGIN_TO_WRITE, POWERS_OF_TWO).await
    }

    /// A connection for operators' commands, beside the process that commits. It writes no rows.
    pub(super) async fn to_control(path: &Path) -> Result<Self, StoreError> {
        Self::open(writing(path), BEGIN_TO_WRITE, "").await
    }

    /// A read-only connection.
    pub(super) async fn to_read(path: &Path) -> Result<Self, StoreError> {
        Self::open(options(path).read_only(true), "BEGIN", "").await
    }

    async fn open(options: SqliteConnectOptions, begin: &'static str, setup: &'static str) -> Result<Self, StoreError> {
        let connection = Self { options, begin, setup, idle: Mutex::default() };
        connection.turn().await?.end();
        Ok(connection)
    }

    /// Waits for the connection. Begins no transaction.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, StoreError> {
        let mut idle = self.idle.lock().await;
        let connection = match idle.take() {
            Some(connection) => connection,
            None => self.connect().await.map_err(at("opening the store"))?,
        };
        Ok(Turn { idle, connection })
    }

    /// Waits for the connection and begins a transaction.
    pub(super) async fn begin(&self) -> Result<Turn<'_>, StoreError> {
        let mut turn = self.turn().await?;
        execute(&mut turn, self.begin).await.map_err(at("beginning a transaction"))?;
        Ok(turn)
    }

    /// A new connection for the caller alone, in a transaction. Dropping it closes it.
    pub(super) async fn apart(&self) -> Result<SqliteConnection, StoreError> {
        let mut connection = self.connect().await.map_err(at("opening the store"))?;
        execute(&mut connection, self.begin).await.map_err(at("beginning a transaction"))?;
        Ok(connection)
    }

    /// The path of the database file.
    pub(super) fn path(&self) -> &Path {
        self.options.get_filename()
    }

    async fn connect(&self) -> sqlx::Result<SqliteConnection> {
        let mut connection = self.options.connect().await?;
        execute(&mut connection, self.setup).await?;
        Ok(connection)
    }
}

fn writing(path: &Path) -> SqliteConnectOptions {
    options(path)
        // In this mode readers and the writer do not block each other.
        .journal_mode(SqliteJournalMode::Wal)
        // NORMAL is faster, but in WAL mode a power failure may lose acknowledged commits.
        .synchronous(SqliteSynchronous::Full)
        .pragma("temp_store", "memory")
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).busy_timeout(BUSY_TIMEOUT).disable_statement_logging()
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> sqlx::Result<()> {
    connection.execute(sql).await.map(drop)
}

/// The use of the connection by one task.
///
/// A turn that is dropped before its end, because of a failed statement or a cancelled future, leaves the connection in
/// an unknown state. The connection is then closed, which rolls back its transaction, and the next turn opens another.
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

    /// Rolls the transaction back.
    pub(super) async fn roll_back(mut self) -> Result<(), StoreError> {
        execute(&mut self, "ROLLBACK").await.map_err(at("rolling back"))?;
        self.end();
        Ok(())
    }

    /// Returns the connection for the next task. No transaction may be open.
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

/// Converts an error of the driver into a [`StoreError`] with `doing`, what was being done.
pub(super) fn at(doing: impl Into<String>) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| classify(doing.into(), &error)
}

/// As [`at`], for a statement that writes rows of read tables. Values that the database can't store are
/// [`StoreError::Unstorable`].
pub(super) fn at_rows(doing: impl Into<String>) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| match (classify(doing.into(), &error), result_code(&error)) {
        (StoreError::Refused { doing, reason }, Some(code)) if is_data_error(code) => {
            StoreError::Unstorable { doing, reason }
        }
        (other, _) => other,
    }
}

fn classify(doing: String, error: &sqlx::Error) -> StoreError {
    // SQLite's messages contain names of tables and columns, never values.
    let database = error.as_database_error();
    let reason = database.map_or_else(|| error.to_string(), |error| error.to_string());
    let is_temporary = match error {
        sqlx::Error::Database(_) => result_code(error).is_some_and(is_transient),
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => true,
        _ => false,
    };
    if is_temporary { StoreError::Unavailable { doing, reason } } else { StoreError::Refused { doing, reason } }
}

/// The primary result code of a failed statement (sqlite.org/rescode.html), which is the low byte of the extended code.
fn result_code(error: &sqlx::Error) -> Option<u32> {
    let extended: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// Whether a statement failed because of the values that it writes.
fn is_data_error(code: u32) -> bool {
    const CODES: [u32; 4] = [
        18, // SQLITE_TOOBIG
        19, // SQLITE_CONSTRAINT
        20, // SQLITE_MISMATCH
        25, // SQLITE_RANGE
    ];
    CODES.contains(&code)
}

/// Whether another attempt of the whole transaction may succeed.
fn is_transient(code: u32) -> bool {
    const CODES: [u32; 5] = [
        5,  // SQLITE_BUSY
        6,  // SQLITE_LOCKED
        10, // SQLITE_IOERR
        13, // SQLITE_FULL
        15, // SQLITE_PROTOCOL: lost a race for the locks of the write-ahead log
    ];
    CODES.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Kind {
        Temporary,
        Data,
        Refused,
    }

    fn kind(code: u32) -> Kind {
        match (is_transient(code), is_data_error(code)) {
            (true, _) => Kind::Temporary,
            (false, true) => Kind::Data,
            (false, false) => Kind::Refused,
        }
    }

    #[test]
    fn every_result_code_is_classified() {
        for code in 0..=28 {
            let expected = match code {
                // BUSY, LOCKED, IOERR, FULL, PROTOCOL
                5 | 6 | 10 | 13 | 15 => Kind::Temporary,
                // TOOBIG, CONSTRAINT, MISMATCH, RANGE
                18 | 19 | 20 | 25 => Kind::Data,
                _ => Kind::Refused,
            };
            assert_eq!(kind(code), expected, "{code}");
        }
    }

    #[tokio::test]
    async fn an_extended_code_counts_as_its_primary_code() {
        let mut connection = SqliteConnectOptions::new().connect().await.expect("a database in memory");
        connection.execute("CREATE TABLE t (a NOT NULL)").await.expect("a table");
        let null = || "INSERT INTO t VALUES (NULL)";
        let error = connection.execute(null()).await.expect_err("a value is missing");
        assert_eq!(error.as_database_error().and_then(|error| error.code()).as_deref(), Some("1299"));
        assert_eq!(result_code(&error), Some(19));
        assert!(matches!(at_rows("writing")(error), StoreError::Unstorable { .. }));
        let error = connection.execute(null()).await.expect_err("a value is missing");
        assert!(matches!(at("writing")(error), StoreError::Refused { .. }));
    }
}
