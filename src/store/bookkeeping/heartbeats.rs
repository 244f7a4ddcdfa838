//! The definitions of the running instances.

use super::is_migrated;
use crate::store::session::{Row, Session, values};
use crate::store::{InstanceHeartbeat, StoreError};

/// Records that `instance` runs the projection with the definitions of these `hashes`, and deletes the instances that
/// were not seen for a day. Runs within a transaction.
pub(in crate::store) async fn run(
    session: &mut dyn Session,
    instance: &str,
    projection: &str,
    hashes: &[&str],
) -> Result<(), StoreError> {
    const RUN: &str = "
        INSERT INTO readcast.instances (instance, projection, definition_hash, running, seen_at)
        SELECT $1, $2, CAST(e.value ->> 0 AS text), true, now() FROM elements($3) AS e WHERE true
        ON CONFLICT (instance, projection, definition_hash) DO UPDATE
        SET running = excluded.running, seen_at = excluded.seen_at";
    const FORGET: &str = "DELETE FROM readcast.instances WHERE seen_at < in_seconds(-86400)";
    const RECORDING: &str = "recording that an instance runs";
    let hashes: Vec<_> = hashes.iter().map(|hash| [hash]).collect();
    let values = values![instance, projection, session.fit_json(&hashes)];
    session.execute(RECORDING, RUN, values).await?;
    session.execute(RECORDING, FORGET, vec![]).await.map(drop)
}

/// Records that `instance` no longer runs any definition of the projection.
pub(in crate::store) async fn stop(
    session: &mut dyn Session,
    instance: &str,
    projection: &str,
) -> Result<(), StoreError> {
    const STOP: &str = "
        UPDATE readcast.instances SET running = false, seen_at = now() WHERE instance = $1 AND projection = $2";
    session.execute("recording that an instance stops", STOP, values![instance, projection]).await.map(drop)
}

/// The definitions that instances run, or ran during the last day. An instance that crashed records no end: it counts
/// as running until ten seconds after its last heartbeat.
pub(in crate::store) async fn all(session: &mut dyn Session) -> Result<Vec<InstanceHeartbeat>, StoreError> {
    const ALL: &str = "
        SELECT projection, definition_hash, rfc3339(max(seen_at)) AS last_seen,
               count(*) FILTER (WHERE running AND seen_at > in_seconds(-10)) > 0 AS present
        FROM readcast.instances GROUP BY projection, definition_hash ORDER BY projection, definition_hash";
    if !is_migrated(session).await? {
        return Ok(Vec::new());
    }
    let rows = session.fetch("reading which instances run", ALL, vec![]).await?;
    let heartbeat = |row: &Row| {
        Ok(InstanceHeartbeat {
            projection: row.get("projection")?,
            definition_hash: row.get("definition_hash")?,
            present: row.get("present")?,
            last_seen: row.get("last_seen")?,
        })
    };
    rows.iter().map(heartbeat).collect()
}
