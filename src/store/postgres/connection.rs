//! Connections: their limits, and what their errors mean.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

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

/// Turns a driver's error into ours, which says what was being done.
pub(super) fn at(doing: impl Into<String>) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| classify(doing.into(), &error)
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
    use super::is_transient;

    #[test]
    fn what_may_pass_is_tried_again_and_what_stays_is_not() {
        for code in ["40001", "40P01", "55P03", "57014", "57P01", "53300", "53100", "08006", "25006", "58030"] {
            assert!(is_transient(code), "{code}");
        }
        for code in ["22003", "23505", "42703", "42P01", "28P01", "3D000", "0A000", "XX000"] {
            assert!(!is_transient(code), "{code}");
        }
    }
}
