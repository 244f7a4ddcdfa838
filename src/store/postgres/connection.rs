//! Transactions, and the classification of the server's errors.

use readcast_core::TableSpec;
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgDatabaseError;
use sqlx::{Executor, PgConnection};

use crate::store::StoreError;

/// What is being done while a connection is opened, for errors.
pub(super) const CONNECTING: &str = "connecting to Postgres";

/// The cause and the remedy if a session does not keep its state.
pub(super) const POOLER: &str = "a pooler in transaction or statement mode is between this process and PostgreSQL. Connect \
                                 to the server directly, or use the pooler in session mode";

/// Runs a statement without parameters.
pub(super) async fn execute(connection: &mut PgConnection, sql: &'static str) -> sqlx::Result<()> {
    connection.execute(sql).await.map(drop)
}

/// Commits the transaction. If a statement of the transaction has failed, COMMIT alone rolls back without an error, and
/// the driver does not show the difference. The additional statement in the same message fails in that case.
pub(super) async fn commit_transaction(connection: &mut PgConnection) -> Result<(), StoreError> {
    execute(connection, "SELECT; COMMIT").await.map_err(at("committing"))
}

/// Rolls the transaction back.
pub(super) async fn roll_back(connection: &mut PgConnection) -> Result<(), StoreError> {
    execute(connection, "ROLLBACK").await.map_err(at("rolling back"))
}

/// Converts an error of the driver into a [`StoreError`] with `doing`, what was being done.
pub(super) fn at(doing: impl Into<String>) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| classify(doing.into(), &error)
}

/// As [`at`], for a statement that writes rows of read tables. Values that the database can't store are
/// [`StoreError::Unstorable`].
///
/// A row that exists although it was missing a moment ago was created by another writer. The next attempt finds it.
pub(super) fn at_rows(table: &TableSpec) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| match (classify(writing(table), &error), sqlstate(&error)) {
        (StoreError::Refused { doing, .. }, _) if is_key_violation(&error) => {
            StoreError::Unavailable { doing, reason: "another lane created one of the rows at the same time".into() }
        }
        (StoreError::Refused { doing, reason }, Some(code)) if is_data_error(&code) => {
            StoreError::Unstorable { doing, reason }
        }
        (other, _) => other,
    }
}

/// What is being done while rows of a read table are written, for errors.
pub(super) fn writing(table: &TableSpec) -> String {
    format!("writing table `{}`", table.name())
}

/// Whether a row with the same primary key exists already.
fn is_key_violation(error: &sqlx::Error) -> bool {
    let violated = error.as_database_error().filter(|error| error.is_unique_violation());
    violated.and_then(|error| error.constraint()).is_some_and(|name| name.ends_with("_pkey"))
}

/// As [`at`], for an error of the migrator.
pub(super) fn migration(doing: &'static str) -> impl FnOnce(MigrateError) -> StoreError {
    move |error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => classify(doing.into(), &error),
        other => StoreError::Refused { doing: doing.into(), reason: other.to_string() },
    }
}

/// Converts an error that occurred while a connection was opened. All of these are temporary: servers return, and
/// privileges and passwords change at run time.
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
    let is_temporary = match error {
        sqlx::Error::Database(database) => database.code().is_some_and(|code| is_transient(&code)),
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => true,
        _ => false,
    };
    if is_temporary { StoreError::Unavailable { doing, reason } } else { StoreError::Refused { doing, reason } }
}

/// SQLSTATE and message, without the server's DETAIL, which contains row data.
fn describe(error: &sqlx::Error) -> String {
    match error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>()) {
        Some(database) if is_caused_by_pooler(database.code()) => {
            format!("{} {}: {POOLER}", database.code(), database.message())
        }
        Some(database) => format!("{} {}", database.code(), database.message()),
        None => error.to_string(),
    }
}

/// Whether the error shows that sessions are mixed up: a prepared statement is missing or exists already, or a message
/// is unexpected. Without a pooler these errors never occur.
fn is_caused_by_pooler(sqlstate: &str) -> bool {
    ["08P01", "26000", "42P05"].contains(&sqlstate)
}

pub(super) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
}

/// Whether a statement failed because of the values that it writes: 22 data exceptions, 23 constraints, 54 limits such
/// as the size of a row in an index (PostgreSQL documentation, appendix A).
fn is_data_error(sqlstate: &str) -> bool {
    ["22", "23", "54"].iter().any(|class| sqlstate.starts_with(class))
}

/// Whether the database can't store a text because of its characters or escapes.
pub(super) fn is_of_a_text(error: &sqlx::Error) -> bool {
    sqlstate(error).is_some_and(|code| code.starts_with("22"))
}

/// Whether another attempt of the whole transaction may succeed (PostgreSQL documentation, appendix A).
fn is_transient(sqlstate: &str) -> bool {
    const CODES: [&str; 10] = [
        "40001", // serialization failure
        "40P01", // deadlock
        "55P03", // lock not available
        "57014", // query cancelled, for example by `statement_timeout`
        "57P01", // terminated by an administrator
        "57P02", // the server crashed
        "57P03", // the server starts up or shuts down
        "57P05", // idle session time-out
        "25P03", // idle in transaction time-out
        "25006", // read-only: a standby, or protection of a nearly full disk
    ];
    // 08 connection, 53 insufficient resources, 58 the server's own I/O
    CODES.contains(&sqlstate) || ["08", "53", "58"].iter().any(|class| sqlstate.starts_with(class))
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

    fn kind(sqlstate: &str) -> Kind {
        match (is_transient(sqlstate), is_data_error(sqlstate)) {
            (true, _) => Kind::Temporary,
            (false, true) => Kind::Data,
            (false, false) => Kind::Refused,
        }
    }

    /// Every class of PostgreSQL's appendix A that can occur.
    #[test]
    fn every_class_of_sqlstate_is_classified() {
        let temporary = [
            "08000", "08006", "40001", "40P01", "53000", "53100", "53200", "53300", "55P03", "57014", "57P01", "57P02",
            "57P03", "57P05", "58000", "58030", "25P03", "25006",
        ];
        let data = ["22001", "22003", "22021", "22P02", "22P05", "23502", "23505", "23514", "54000", "54001"];
        let refused = [
            "0A000", "0L000", "25001", "25P02", "26000", "28000", "28P01", "2BP01", "34000", "38000", "3D000", "3F000",
            "42501", "42601", "42703", "42P01", "42P07", "44000", "55000", "55006", "72000", "F0000", "HV000", "P0001",
            "XX000", "XX001", "99999",
        ];
        temporary.iter().for_each(|code| assert_eq!(kind(code), Kind::Temporary, "{code}"));
        data.iter().for_each(|code| assert_eq!(kind(code), Kind::Data, "{code}"));
        refused.iter().for_each(|code| assert_eq!(kind(code), Kind::Refused, "{code}"));
    }
}
