//! What operators ask for, and which instances are there to do it.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::connection::{at, execute};
use super::sql::{TIME, json, storable};
use super::{deployment, generations};
use crate::store::{
    Command, ConnectionCapacity, Encoding, Generation, Instance, InstanceHeartbeat, Operation, OperationState,
    StoreError,
};

/// How long an instance counts as running after it was last seen.
pub(super) const PRESENT: &str = "interval '10 seconds'";

pub(super) async fn request(
    connection: &mut PgConnection,
    projection: &str,
    command: &Command,
    by: &str,
    encoding: Encoding,
) -> Result<i64, StoreError> {
    // Two who ask for the same at once: the second waits for the first, and finds what it asked for.
    const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('readcast operations ' || $1, 0))";
    const OPEN: &str = "
        SELECT id FROM readcast.operations
        WHERE projection = $1 AND command = $2::jsonb AND finished_at IS NULL ORDER BY id LIMIT 1";
    const REQUEST: &str = "
        INSERT INTO readcast.operations (projection, command, requested_by) VALUES ($1, $2::jsonb, $3) RETURNING id";
    let asked = async {
        execute(connection, "BEGIN").await?;
        sqlx::query(LOCK).bind(projection).execute(&mut *connection).await?;
        let command = storable(command, encoding);
        let open = sqlx::query_scalar(OPEN).bind(projection).bind(&command).fetch_optional(&mut *connection).await?;
        let id: i64 = match open {
            Some(id) => id,
            None => {
                let request = sqlx::query_scalar(REQUEST).bind(projection).bind(&command).bind(encoding.fit(by));
                request.fetch_one(&mut *connection).await?
            }
        };
        execute(connection, "COMMIT").await?;
        Ok(id)
    };
    asked.await.map_err(at("asking for an operation"))
}

/// Notes an operation that whoever asked for it has done itself.
async fn record(
    connection: &mut PgConnection,
    projection: &str,
    command: &Command,
    by: &str,
    outcome: &str,
    encoding: Encoding,
) -> sqlx::Result<()> {
    const RECORD: &str = "
        INSERT INTO readcast.operations (projection, command, requested_by, state, outcome, finished_at)
        VALUES ($1, $2::jsonb, $3, 'done', $4, now())";
    let record =
        sqlx::query(RECORD).bind(projection).bind(storable(command, encoding)).bind(encoding.fit(by)).bind(outcome);
    record.execute(connection).await.map(drop)
}

pub(super) async fn of(
    connection: &mut PgConnection,
    projection: &str,
    finished: usize,
) -> Result<Vec<Operation>, StoreError> {
    if !generations::is_migrated(connection).await? {
        return Ok(Vec::new());
    }
    let query = format!(
        "SELECT id, projection, command::text AS command, requested_by, state, generation, progress::text AS progress,
                outcome, to_char(requested_at AT TIME ZONE 'UTC', {TIME}) AS requested_at,
                to_char(finished_at AT TIME ZONE 'UTC', {TIME}) AS finished_at
         FROM readcast.operations
         WHERE projection = $1 AND (finished_at IS NULL OR id IN (
            SELECT id FROM readcast.operations WHERE projection = $1 AND finished_at IS NOT NULL
            ORDER BY id DESC LIMIT $2))
         ORDER BY id"
    );
    let query = sqlx::query(AssertSqlSafe(query)).bind(projection).bind(i64::try_from(finished).unwrap_or(i64::MAX));
    let rows = query.fetch_all(connection).await;
    let operations = rows.and_then(|rows| rows.iter().map(operation).collect());
    operations.map_err(at("reading operations"))
}

fn operation(row: &PgRow) -> sqlx::Result<Operation> {
    let progress: Option<String> = row.try_get("progress")?;
    Ok(Operation {
        id: row.try_get("id")?,
        projection: row.try_get("projection")?,
        command: json("command", row.try_get("command")?)?,
        requested_by: row.try_get("requested_by")?,
        requested_at: row.try_get("requested_at")?,
        // The database allows no other names.
        state: OperationState::named(row.try_get("state")?).unwrap_or(OperationState::Refused),
        generation: row.try_get::<Option<i32>, _>("generation")?.map(Generation),
        progress: progress.map(|progress| json("progress", &progress)).transpose()?,
        outcome: row.try_get("outcome")?,
        finished_at: row.try_get("finished_at")?,
    })
}

pub(super) async fn pause(
    connection: &mut PgConnection,
    projection: &str,
    paused: bool,
    building: bool,
    by: &str,
    encoding: Encoding,
) -> Result<u64, StoreError> {
    const PAUSE: &str = "
        UPDATE readcast.generations SET paused_at = CASE WHEN $2 THEN now() END
        WHERE projection = $1 AND (paused_at IS NULL) = $2
          AND state = ANY (CASE WHEN $3 THEN '{building}' ELSE '{building,ready,live,standby}' END::text[])";
    let command = if paused { Command::Pause } else { Command::Resume };
    let done = async {
        execute(connection, "BEGIN").await?;
        let pause = sqlx::query(PAUSE).bind(projection).bind(paused).bind(building);
        let changed = pause.execute(&mut *connection).await?.rows_affected();
        let outcome = format!("{changed} generations {}", if paused { "paused" } else { "resumed" });
        record(connection, projection, &command, by, &outcome, encoding).await?;
        execute(connection, "COMMIT").await?;
        Ok(changed)
    };
    done.await.map_err(at(format!("{} `{projection}`", if paused { "pausing" } else { "resuming" })))
}

pub(super) async fn cancel(
    connection: &mut PgConnection,
    projection: &str,
    by: &str,
    encoding: Encoding,
) -> Result<u64, StoreError> {
    const OPERATIONS: &str = "
        UPDATE readcast.operations SET state = 'cancelled', finished_at = now(), outcome = 'cancelled by ' || $2
        WHERE projection = $1 AND finished_at IS NULL";
    const GENERATIONS: &str = "
        UPDATE readcast.generations
        SET state = 'failed', phase = NULL, last_error = 'cancelled by ' || $2, last_attempt = NULL, last_error_at = now(),
            last_error_by = NULL
        WHERE projection = $1 AND state IN ('building', 'ready')";
    let done = async {
        execute(connection, "BEGIN").await?;
        let mut touched = 0;
        // In the order in which a swap takes its locks.
        for statement in [GENERATIONS, OPERATIONS] {
            let statement = sqlx::query(statement).bind(projection).bind(encoding.fit(by));
            touched += statement.execute(&mut *connection).await?.rows_affected();
        }
        record(connection, projection, &Command::Cancel, by, "done", encoding).await?;
        execute(connection, "COMMIT").await?;
        Ok(touched)
    };
    done.await.map_err(at(format!("cancelling what is under way for `{projection}`")))
}

pub(super) async fn rename(
    connection: &mut PgConnection,
    from: &str,
    to: &str,
    by: &str,
    encoding: Encoding,
) -> Result<(), StoreError> {
    const COUNTS: &str = "
        SELECT count(*) FILTER (WHERE projection = $1), count(*) FILTER (WHERE projection = $2)
        FROM readcast.generations WHERE projection IN ($1, $2)";
    let refused = |reason: String| StoreError::Refused { doing: format!("renaming `{from}`"), reason };
    let doing = || at(format!("renaming `{from}` to `{to}`"));
    execute(connection, "BEGIN").await.map_err(doing())?;
    let counts = sqlx::query_as(COUNTS).bind(from).bind(to).fetch_one(&mut *connection).await;
    let (old, new): (i64, i64) = counts.map_err(doing())?;
    if old == 0 {
        return Err(refused(format!("there is no projection `{from}` in this database")));
    }
    if new > 0 {
        return Err(refused(format!("`{to}` has tables of its own already")));
    }
    let moved = async {
        // The foreign key of the checkpoints follows. It also waits for commits under way, which the ledger must not miss.
        for table in ["generations", "ledger", "operations", "amendments"] {
            let rename = format!("UPDATE readcast.{table} SET projection = $2 WHERE projection = $1");
            sqlx::query(AssertSqlSafe(rename)).bind(from).bind(to).execute(&mut *connection).await?;
        }
        sqlx::query("DELETE FROM readcast.instances WHERE projection = $1")
            .bind(from)
            .execute(&mut *connection)
            .await?;
        record(connection, to, &Command::Rename { from: from.to_owned() }, by, "done", encoding).await?;
        execute(connection, "COMMIT").await
    };
    moved.await.map_err(doing())
}

pub(super) async fn heartbeat(
    connection: &mut PgConnection,
    instance: &Instance,
    projection: &str,
    hashes: &[&str],
    running: bool,
) -> Result<(), StoreError> {
    const FORGET: &str = "DELETE FROM readcast.instances WHERE seen_at < now() - interval '1 day'";
    const ATTEND: &str = "
        INSERT INTO readcast.instances
            (instance, projection, definition_hash, running, app, host, process, max_connections)
        SELECT $1, $2, hash, $4, $5, $6, $7, $8 FROM unnest($3::text[]) AS hash
        ON CONFLICT (instance, projection, definition_hash) DO UPDATE SET running = excluded.running, seen_at = now()";
    let attend = sqlx::query(ATTEND)
        .bind(&instance.id)
        .bind(projection)
        .bind(hashes)
        .bind(running)
        .bind(&instance.app)
        .bind(&instance.host)
        .bind(i64::from(instance.process))
        .bind(instance.max_connections.map(u32::cast_signed));
    let attended = async {
        execute(&mut *connection, FORGET).await?;
        attend.execute(&mut *connection).await
    };
    attended.await.map(drop).map_err(at("noting that this instance runs"))
}

pub(super) async fn heartbeats(connection: &mut PgConnection) -> Result<Vec<InstanceHeartbeat>, StoreError> {
    if !generations::is_migrated(connection).await? {
        return Ok(Vec::new());
    }
    let query = format!(
        "SELECT projection, definition_hash, bool_or(running AND seen_at > now() - {PRESENT}) AS present,
                to_char(max(seen_at) AT TIME ZONE 'UTC', {TIME}) AS last_seen
         FROM readcast.instances GROUP BY projection, definition_hash ORDER BY projection, definition_hash"
    );
    let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(connection).await;
    let attendance = |row: &PgRow| {
        Ok(InstanceHeartbeat {
            projection: row.try_get("projection")?,
            definition_hash: row.try_get("definition_hash")?,
            present: row.try_get("present")?,
            last_seen: row.try_get("last_seen")?,
        })
    };
    let rows = rows.and_then(|rows| rows.iter().map(attendance).collect::<sqlx::Result<_>>());
    rows.map_err(at("reading which instances run"))
}

/// How many connections the server has, and who may take them.
pub(super) async fn capacity(connection: &mut PgConnection) -> Result<ConnectionCapacity, StoreError> {
    const SERVER: &str = "
        SELECT current_setting('max_connections')::int4 - current_setting('superuser_reserved_connections')::int4,
               (SELECT count(*)::int4 FROM pg_stat_activity
                WHERE backend_type = 'client backend'
                  AND application_name IS DISTINCT FROM current_setting('application_name'))";
    let ours = format!(
        "SELECT count(*)::int4, coalesce(sum(most), 0)::int4 FROM (
             SELECT max(max_connections) AS most FROM readcast.instances
             WHERE running AND seen_at > now() - {PRESENT} AND process IS NOT NULL GROUP BY host, process) AS processes"
    );
    let counted = async {
        let (server, others): (i32, i32) = sqlx::query_as(SERVER).fetch_one(&mut *connection).await?;
        let (processes, ours): (i32, i32) = match deployment::is_there(connection).await? {
            true => sqlx::query_as(AssertSqlSafe(ours)).fetch_one(connection).await?,
            false => (0, 0),
        };
        let [server, others, processes, ours] = [server, others, processes, ours].map(i32::unsigned_abs);
        Ok(ConnectionCapacity { server, others, processes, ours })
    };
    counted.await.map_err(at("counting the server's connections"))
}
