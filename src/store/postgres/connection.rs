//! Connections: their limits, and what their errors mean.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use readcast_core::TableSpec;
use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError};
use sqlx::{Connection, Executor, PgConnection};
use tokio::sync::{Mutex, MutexGuard};

use crate::store::StoreError;

/// `options` with the limits under which we work. They stand on the server's side, where they hold even when our
/// process is stopped or cut off: a transaction of a dead owner must not keep its locks from the next one.
pub(super) fn with_limits(options: PgConnectOptions) -> PgConnectOptions {
    options.application_name("readcast").options([
        ("lock_timeout", "10s"),
        ("statement_timeout", "120s"),
        ("idle_in_transaction_session_timeout", "20s"),
    ])
}

/// `options` for a connection that writes rows. Its statements find rows by their keys, thousands at a time, and by the
/// whole table where no index serves. For thousands the planner likes to read all of a table instead, and takes the longer
/// the larger the table grows; so it may only where there is no other way.
pub(super) fn for_writing(options: &PgConnectOptions) -> PgConnectOptions {
    let keyed = [("enable_seqscan", "off"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off")];
    options.clone().options(keyed)
}

pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    PgConnection::connect_with(options).await.map_err(at("connecting to Postgres"))
}

/// One connection for short questions, with which tasks take turns.
#[derive(Clone, Debug, Default)]
pub(super) struct Asking(Arc<Mutex<Option<PgConnection>>>);

impl Asking {
    /// Waits for the connection, which may have to be made.
    pub(super) async fn turn(&self, options: &PgConnectOptions) -> Result<Turn<'_>, StoreError> {
        let mut idle = self.0.lock().await;
        // It may have died since the last question.
        if let Some(mut connection) = idle.take()
            && connection.ping().await.is_ok()
        {
            return Ok(Turn { idle, connection });
        }
        Ok(Turn { connection: connect(options).await?, idle })
    }
}

/// One task's turn. A connection whose turn was dropped before its end is in a state that nobody knows, and is closed.
pub(super) struct Turn<'a> {
    idle: MutexGuard<'a, Option<PgConnection>>,
    connection: PgConnection,
}

impl Turn<'_> {
    /// Leaves the connection to the next task. No transaction may be open.
    pub(super) fn end(mut self) {
        *self.idle = Some(self.connection);
    }
}

impl Deref for Turn<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

/// Runs a statement without parameters.
pub(super) async fn execute(connection: &mut PgConnection, sql: &'static str) -> sqlx::Result<()> {
    connection.execute(sql).await.map(drop)
}

/// Commits. In a transaction in which a statement has failed, COMMIT alone rolls back and answers without an error, and the
/// driver does not show which of the two it was; the statement in front of it, in the same message, fails there.
pub(super) async fn commit_transaction(connection: &mut PgConnection) -> Result<(), StoreError> {
    execute(connection, "SELECT; COMMIT").await.map_err(at("committing"))
}

/// Takes the transaction back.
pub(super) async fn roll_back(connection: &mut PgConnection) -> Result<(), StoreError> {
    execute(connection, "ROLLBACK").await.map_err(at("rolling back"))
}

/// Turns a driver's error into ours, which says what was being done.
pub(super) fn at(doing: impl Into<String>) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| classify(doing.into(), &error)
}

/// The same for a statement that writes rows of read tables: what the database can't hold is the rows' fault.
///
/// But a row that is there although it was not a moment ago is another writer's: the next try finds it.
pub(super) fn at_rows(table: &TableSpec) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| match (classify(writing(table), &error), sqlstate(&error)) {
        (StoreError::Refused { doing, .. }, _) if is_of_the_key(&error) => {
            StoreError::Unavailable { doing, reason: "another lane created one of the rows at the same moment".into() }
        }
        (StoreError::Refused { doing, reason }, Some(code)) if is_of_the_rows(&code) => {
            StoreError::Unstorable { doing, reason }
        }
        (other, _) => other,
    }
}

/// What is being done where rows of a read table are written.
pub(super) fn writing(table: &TableSpec) -> String {
    format!("writing table `{}`", table.name())
}

/// Whether a row was there already that one of ours was to be.
fn is_of_the_key(error: &sqlx::Error) -> bool {
    let violated = error.as_database_error().filter(|error| error.is_unique_violation());
    violated.and_then(|error| error.constraint()).is_some_and(|name| name.ends_with("_pkey"))
}

/// The same for an error of the migrator.
pub(super) fn migration(doing: &'static str) -> impl FnOnce(MigrateError) -> StoreError {
    move |error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => classify(doing.into(), &error),
        other => StoreError::Refused { doing: doing.into(), reason: other.to_string() },
    }
}

fn classify(doing: String, error: &sqlx::Error) -> StoreError {
    let reason = describe(error);
    let worth_another_try = match error {
        sqlx::Error::Database(database) => database.code().is_some_and(|code| is_transient(&code)),
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => true,
        _ => false,
    };
    if worth_another_try { StoreError::Unavailable { doing, reason } } else { StoreError::Refused { doing, reason } }
}

/// SQLSTATE and message. The server's DETAIL stays out of it: it holds row data.
fn describe(error: &sqlx::Error) -> String {
    match error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>()) {
        Some(database) => format!("{} {}", database.code(), database.message()),
        None => error.to_string(),
    }
}

pub(super) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
}

/// Whether a statement failed because of the values that it was to write: 22 data exceptions, 23 constraints, 54 limits
/// such as the size of a row in an index (PostgreSQL documentation, appendix A).
fn is_of_the_rows(sqlstate: &str) -> bool {
    ["22", "23", "54"].iter().any(|class| sqlstate.starts_with(class))
}

/// Whether another try of the whole transaction may succeed (PostgreSQL documentation, appendix A).
fn is_transient(sqlstate: &str) -> bool {
    const CODES: [&str; 10] = [
        "40001", // serialization failure
        "40P01", // deadlock
        "55P03", // lock not available
        "57014", // query cancelled, by a time-out of ours too
        "57P01", // terminated by an administrator
        "57P02", // the server crashed
        "57P03", // the server starts up or shuts down
        "57P05", // idle session time-out
        "25P03", // idle in transaction time-out
        "25006", // read-only: a standby, or a disk that is kept from filling up
    ];
    // 08 connection, 53 insufficient resources, 58 the server's own I/O
    CODES.contains(&sqlstate) || ["08", "53", "58"].iter().any(|class| sqlstate.starts_with(class))
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

    fn kind(sqlstate: &str) -> Kind {
        match (is_transient(sqlstate), is_of_the_rows(sqlstate)) {
            (true, _) => Kind::Again,
            (false, true) => Kind::OfTheRows,
            (false, false) => Kind::Refused,
        }
    }

    /// Every class of PostgreSQL's appendix A that a statement of ours can meet.
    #[test]
    fn every_class_of_sqlstate_has_its_answer() {
        let again = [
            "08000", "08006", "40001", "40P01", "53000", "53100", "53200", "53300", "55P03", "57014", "57P01", "57P02",
            "57P03", "57P05", "58000", "58030", "25P03", "25006",
        ];
        let of_the_rows = ["22001", "22003", "22021", "22P02", "22P05", "23502", "23505", "23514", "54000", "54001"];
        let refused = [
            "0A000", "0L000", "25001", "25P02", "26000", "28000", "28P01", "2BP01", "34000", "38000", "3D000", "3F000",
            "42501", "42601", "42703", "42P01", "42P07", "44000", "55000", "55006", "72000", "F0000", "HV000", "P0001",
            "XX000", "XX001", "99999",
        ];
        again.iter().for_each(|code| assert_eq!(kind(code), Kind::Again, "{code}"));
        of_the_rows.iter().for_each(|code| assert_eq!(kind(code), Kind::OfTheRows, "{code}"));
        refused.iter().for_each(|code| assert_eq!(kind(code), Kind::Refused, "{code}"));
    }
}
