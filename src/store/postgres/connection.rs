//! Transactions, and what the server's errors mean.

use readcast_core::TableSpec;
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgDatabaseError;
use sqlx::{Executor, PgConnection};

use crate::store::StoreError;

/// What is being done until a connection is there.
pub(super) const CONNECTING: &str = "connecting to Postgres";

/// What is between us and the server when a session does not stay one.
pub(super) const POOLER: &str = "a pooler in transaction or statement mode stands between this process and PostgreSQL. \
                                 Connect to the server itself, or through a pool in session mode";

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

/// The same for an error on the way to a connection. All of them may pass: servers come back, roles are granted and
/// passwords replaced while we run.
pub(super) fn connecting(error: &sqlx::Error) -> StoreError {
    let (doing, reason) = (CONNECTING.to_owned(), describe(error));
    let refuses = |code: &str| code.starts_with("28") || ["3D000", "42501"].contains(&code);
    match sqlstate(error) {
        Some(code) if refuses(&code) => StoreError::Denied { doing, reason },
        _ => StoreError::Unavailable { doing, reason },
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
        Some(database) if is_of_a_pooler(database.code()) => {
            format!("{} {}: {POOLER}", database.code(), database.message())
        }
        Some(database) => format!("{} {}", database.code(), database.message()),
        None => error.to_string(),
    }
}

/// Whether a prepared statement is not where it was prepared, or there already, or a message is not expected: all of
/// which a server alone never says to us.
fn is_of_a_pooler(sqlstate: &str) -> bool {
    ["08P01", "26000", "42P05"].contains(&sqlstate)
}

pub(super) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
}

/// Whether a statement failed because of the values that it was to write: 22 data exceptions, 23 constraints, 54 limits
/// such as the size of a row in an index (PostgreSQL documentation, appendix A).
fn is_of_the_rows(sqlstate: &str) -> bool {
    ["22", "23", "54"].iter().any(|class| sqlstate.starts_with(class))
}

/// Whether the database can't hold a text that it was given: not its characters, or not its escapes.
pub(super) fn is_of_a_text(error: &sqlx::Error) -> bool {
    sqlstate(error).is_some_and(|code| code.starts_with("22"))
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
