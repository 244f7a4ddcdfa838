//! Which definitions are at work, by the instances that have them.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::connection::at;
use super::generations;
use crate::store::{InstanceHeartbeat, StoreError};

const NOTING: &str = "noting which definitions are at work";

/// Notes that `instance` runs with these definitions of a projection, and forgets who was not seen for a day. Runs
/// within a transaction.
pub(super) async fn seen(
    connection: &mut SqliteConnection,
    instance: &str,
    projection: &str,
    hashes: &[&str],
) -> Result<(), StoreError> {
    const SEEN: &str = "
        INSERT INTO readcast_instances (instance, projection, definition_hash, running) VALUES (?1, ?2, ?3, true)
        ON CONFLICT (instance, projection, definition_hash) DO UPDATE
        SET running = true, seen_at = excluded.seen_at";
    const FORGET: &str = "
        DELETE FROM readcast_instances WHERE seen_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 day')";
    for hash in hashes {
        let seen = sqlx::query(SEEN).bind(instance).bind(projection).bind(hash).execute(&mut *connection).await;
        seen.map_err(at(NOTING))?;
    }
    sqlx::query(FORGET).execute(connection).await.map(drop).map_err(at(NOTING))
}

/// Notes that `instance` no longer runs the projection.
pub(super) async fn stopped(
    connection: &mut SqliteConnection,
    instance: &str,
    projection: &str,
) -> Result<(), StoreError> {
    const STOPPED: &str = "UPDATE readcast_instances SET running = false WHERE instance = ?1 AND projection = ?2";
    let stopped = sqlx::query(STOPPED).bind(instance).bind(projection).execute(connection).await;
    stopped.map(drop).map_err(at(NOTING))
}

/// Forgets who ran a projection, under a name that it no longer has.
pub(super) async fn forget(connection: &mut SqliteConnection, projection: &str) -> Result<(), StoreError> {
    const FORGET: &str = "DELETE FROM readcast_instances WHERE projection = ?1";
    sqlx::query(FORGET).bind(projection).execute(connection).await.map(drop).map_err(at(NOTING))
}

/// Which definitions are or lately were at work. An instance that died says nothing: after ten seconds without a sign
/// of it, it is not there.
pub(super) async fn heartbeats(connection: &mut SqliteConnection) -> Result<Vec<InstanceHeartbeat>, StoreError> {
    const ATTENDANCE: &str = "
        SELECT projection, definition_hash, max(seen_at) AS last_seen,
            max(running AND seen_at >= strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-10 seconds')) AS present
        FROM readcast_instances GROUP BY projection, definition_hash ORDER BY projection, definition_hash";
    if !generations::is_migrated(connection).await? {
        return Ok(Vec::new());
    }
    let attendance = |row: &SqliteRow| {
        Ok(InstanceHeartbeat {
            projection: row.try_get("projection")?,
            definition_hash: row.try_get("definition_hash")?,
            present: row.try_get("present")?,
            last_seen: row.try_get("last_seen")?,
        })
    };
    let rows = sqlx::query(ATTENDANCE).fetch_all(connection).await;
    rows.and_then(|rows| rows.iter().map(attendance).collect()).map_err(at("reading which definitions are at work"))
}
