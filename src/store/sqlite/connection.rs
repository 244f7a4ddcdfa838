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

    /// The file.
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

/// The same for a statement that writes rows of read tables: what the database can't hold is the rows' fault.
pub(super) fn at_rows(doing: impl Into<String>) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| match (classify(doing.into(), &error), result_code(&error)) {
        (StoreError::Refused { doing, reason }, Some(code)) if is_of_the_rows(code) => {
            StoreError::Unstorable { doing, reason }
        }
        (other, _) => other,
    }
}

fn classify(doing: String, error: &sqlx::Error) -> StoreError {
    // SQLite's messages name tables and columns, never values.
    let database = error.as_database_error();
    let reason = database.map_or_else(|| error.to_string(), |error| error.to_string());
    let worth_another_try = match error {
        sqlx::Error::Database(_) => result_code(error).is_some_and(is_transient),
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => true,
        _ => false,
    };
    if worth_another_try { StoreError::Unavailable { doing, reason } } else { StoreError::Refused { doing, reason } }
}

/// The result code of a failed statement (sqlite.org/rescode.html). An extended one has it in its low byte, and says
/// more about it in the others.
fn result_code(error: &sqlx::Error) -> Option<u32> {
    let extended: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// Whether a statement failed because of the values that it was to write.
fn is_of_the_rows(code: u32) -> bool {
    const CODES: [u32; 4] = [
        18, // SQLITE_TOOBIG
        19, // SQLITE_CONSTRAINT
        20, // SQLITE_MISMATCH
        25, // SQLITE_RANGE
    ];
    CODES.contains(&code)
}

/// Whether another try of the whole transaction may succeed.
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
        Again,
        OfTheRows,
        Refused,
    }

    fn kind(code: u32) -> Kind {
        match (is_transient(code), is_of_the_rows(code)) {
            (true, _) => Kind::Again,
            (false, true) => Kind::OfTheRows,
            (false, false) => Kind::Refused,
        }
    }

    #[test]
    fn every_result_code_has_its_answer() {
        for code in 0..=28 {
            let expected = match code {
                // BUSY, LOCKED, IOERR, FULL, PROTOCOL
                5 | 6 | 10 | 13 | 15 => Kind::Again,
                // TOOBIG, CONSTRAINT, MISMATCH, RANGE
                18 | 19 | 20 | 25 => Kind::OfTheRows,
                _ => Kind::Refused,
            };
            assert_eq!(kind(code), expected, "{code}");
        }
    }

    #[tokio::test]
    async fn an_extended_code_counts_as_the_one_that_it_says_more_about() {
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
