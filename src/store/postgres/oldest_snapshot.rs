//! Finds the oldest snapshot, which prevents vacuum from removing dead row versions.

use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::connection::at;
use super::sql::{TIME, quoted};
use crate::store::{OldestSnapshot, StoreError};

/// The age, in transactions, from which a snapshot without a time counts as old.
const OLD_IN_TRANSACTIONS: i64 = 100_000;

/// The oldest snapshot that has been held for `age` or longer by a session of this database, a prepared transaction, a
/// replication slot or a standby. The `catalog_xmin` of a slot is ignored, because it affects only system tables, and
/// so is vacuum itself, which has no such effect.
pub(super) async fn oldest_snapshot(
    connection: &mut PgConnection,
    age: Duration,
) -> Result<Option<OldestSnapshot>, StoreError> {
    let oldest = format!(
        "SELECT kind, name, login, program, address, state, process, transactions,
                floor(extract(epoch FROM now() - since))::int8 AS seconds,
                to_char(since AT TIME ZONE 'UTC', {TIME}) AS since
         FROM (
            SELECT CASE backend_type WHEN 'walsender' THEN 'standby' ELSE 'session' END AS kind, NULL AS name,
                   usename::text AS login, application_name AS program, host(client_addr) AS address, state,
                   pid AS process, xact_start AS since,
                   greatest(age(backend_xmin), age(backend_xid)) AS transactions
            FROM pg_stat_activity
            WHERE (datname = current_database() OR backend_type = 'walsender') AND pid <> pg_backend_pid()
              AND backend_type IS DISTINCT FROM 'autovacuum worker' AND pid NOT IN (SELECT pid FROM pg_stat_progress_vacuum)
            UNION ALL
            SELECT 'prepared', gid, owner::text, NULL, NULL, NULL, NULL, prepared, age(transaction)
            FROM pg_prepared_xacts WHERE database = current_database()
            UNION ALL
            SELECT 'slot', slot_name::text, NULL, NULL, NULL, NULL, NULL, NULL, age(xmin) FROM pg_replication_slots
         ) AS held
         WHERE transactions IS NOT NULL
           AND CASE WHEN since IS NULL THEN transactions > $2 ELSE since <= now() - make_interval(secs => $1) END
         ORDER BY transactions DESC, held.since NULLS LAST LIMIT 1"
    );
    let oldest = sqlx::query(AssertSqlSafe(oldest)).bind(age.as_secs_f64()).bind(OLD_IN_TRANSACTIONS);
    let found = oldest.fetch_optional(connection).await;
    let found = found.and_then(|row| row.as_ref().map(described).transpose());
    found.map_err(at("finding the oldest snapshot"))
}

fn described(row: &PgRow) -> sqlx::Result<OldestSnapshot> {
    let seconds: Option<i64> = row.try_get("seconds")?;
    let since: Option<String> = row.try_get("since")?;
    let transactions: i32 = row.try_get("transactions")?;
    let (holder, next) = holder(row)?;
    let held = match (since, seconds) {
        (Some(since), Some(seconds)) => format!("since {since} ({seconds} s)"),
        _ => format!("for {transactions} transactions"),
    };
    let what = format!(
        "The oldest snapshot in this database is held {held} by {holder}. Postgres can't remove row versions that were \
         replaced since then, so tables grow, and reads and writes of frequently changed rows become slower"
    );
    Ok(OldestSnapshot { what, next, seconds: seconds.map(|seconds| seconds.max(0).unsigned_abs()) })
}

/// The holder of the snapshot, and what to do about it.
fn holder(row: &PgRow) -> sqlx::Result<(String, String)> {
    let text = |column: &str| Ok::<_, sqlx::Error>(row.try_get::<Option<String>, _>(column)?.unwrap_or_default());
    let (name, login, program, address) = (text("name")?, text("login")?, text("program")?, text("address")?);
    let from = if address.is_empty() { "a socket of its own machine".to_owned() } else { address };
    let process = row.try_get::<Option<i32>, _>("process")?.unwrap_or_default();
    let literal = || format!("'{}'", name.replace('\'', "''"));
    Ok(match row.try_get("kind")? {
        "prepared" => (
            format!("the prepared transaction `{name}` of `{login}`"),
            format!("run `COMMIT PREPARED {0}` or `ROLLBACK PREPARED {0}`", literal()),
        ),
        "slot" => (
            format!("the replication slot `{name}`"),
            format!("resume its consumer, or run `SELECT pg_drop_replication_slot({})`", literal()),
        ),
        "standby" => (
            format!("the standby `{program}` ({login}, process {process}, from {from}) for a query there"),
            "end the oldest query on the standby, or set hot_standby_feedback = off there".to_owned(),
        ),
        _ if program.starts_with("readcast") => (
            format!("readcast itself (process {process}, from {from}), which compares, loads or indexes tables"),
            "wait until that work ends".to_owned(),
        ),
        _ if text("state")? == "active" => (
            format!(
                "{} (user {}, process {process}, from {from}), which runs a query",
                named(&program),
                quoted(&login)
            ),
            format!("wait for the query, or run `SELECT pg_cancel_backend({process})`"),
        ),
        _ => (
            format!(
                "{} (user {}, process {process}, from {from}), whose transaction is open",
                named(&program),
                quoted(&login)
            ),
            format!(
                "end that transaction, or run `SELECT pg_terminate_backend({process})`; the setting \
                 idle_in_transaction_session_timeout ends such sessions automatically"
            ),
        ),
    })
}

fn named(program: &str) -> String {
    if program.is_empty() { "a session without a name".to_owned() } else { format!("`{program}`") }
}
