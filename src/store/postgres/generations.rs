//! The generations that are recorded, and how they fare.

use std::collections::BTreeMap;

use readcast_core::{Definition, TopicPartition};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::connection::at;
use super::dead_letters;
use super::sql::{TIME, json};
use crate::store::{
    Encoding, Generation, GenerationError, GenerationState, GenerationStatus, ParkedCounts, Phase, RecordedCheckpoint,
    RecordedError, StoreError,
};

/// The projection's live generation, if it has one.
pub(super) async fn live(connection: &mut PgConnection, projection: &str) -> Result<Option<Generation>, StoreError> {
    const LIVE: &str = "SELECT generation FROM readcast.generations WHERE projection = $1 AND state = 'live'";
    let live: sqlx::Result<Option<i32>> = sqlx::query_scalar(LIVE).bind(projection).fetch_optional(connection).await;
    Ok(live.map_err(at("reading the live generation"))?.map(Generation))
}

/// Whether there is anything of ours in the database. Refuses what an earlier readcast left, which lacks columns that
/// every question asks for.
pub(super) async fn is_migrated(connection: &mut PgConnection) -> Result<bool, StoreError> {
    const FOUND: &str = "
        SELECT count(to_regclass(name)) FROM unnest('{readcast.generations,readcast.notices}'::text[]) AS name";
    const LOOKING: &str = "looking for readcast's own tables";
    const USED: &str = "SELECT EXISTS (SELECT FROM readcast.generations)";
    match sqlx::query_scalar(FOUND).fetch_one(&mut *connection).await.map_err(at(LOOKING))? {
        0_i64 => Ok(false),
        // While the first instance of all makes them, some are there already.
        1 if !sqlx::query_scalar(USED).fetch_one(connection).await.map_err(at(LOOKING))? => Ok(false),
        1 => Err(StoreError::Refused {
            doing: LOOKING.into(),
            reason: "an earlier version made them: `readcast migrate` brings them up to date".into(),
        }),
        _ => Ok(true),
    }
}

/// Records the next generation of a projection, as `state`. Numbers are never given twice.
pub(super) async fn create(
    connection: &mut PgConnection,
    definition: &Definition,
    state: GenerationState,
) -> Result<Generation, StoreError> {
    const CREATE: &str = "
        INSERT INTO readcast.generations
            (projection, generation, definition_hash, definition, version, state, activated_at, phase)
        SELECT $1, coalesce(max(generation), 0) + 1, $2, $3::jsonb, $4, $5,
               CASE $5 WHEN 'live' THEN now() END, CASE $5 WHEN 'building' THEN 'replay' END
        FROM readcast.generations WHERE projection = $1
        RETURNING generation";
    let created: sqlx::Result<i32> = sqlx::query_scalar(CREATE)
        .bind(definition.name())
        .bind(definition.hash())
        .bind(definition.tables_json())
        .bind(definition.version().cast_signed())
        .bind(state.name())
        .fetch_one(connection)
        .await;
    Ok(Generation(created.map_err(at("recording a generation"))?))
}

/// Whether whoever recorded the trouble of a row of `readcast.generations` runs.
const BY_PRESENT: &str = "EXISTS (
    SELECT FROM readcast.instances AS i
    WHERE i.instance = last_error_by AND i.projection = generations.projection AND i.running
      AND i.seen_at > now() - interval '10 seconds')";

/// Records what keeps a generation from going on. While it halts for one reason, or retries for whichever, the time of
/// its beginning stays.
pub(super) async fn record_error(
    connection: &mut PgConnection,
    projection: &str,
    generation: Generation,
    by: &str,
    trouble: &GenerationError,
    encoding: Encoding,
) -> Result<(), StoreError> {
    let record = format!(
        "UPDATE readcast.generations
         SET last_error = $3, last_attempt = $4, last_error_by = $5,
             last_error_at = CASE
                 WHEN last_error = $3 OR (last_error IS NOT NULL AND last_attempt IS NOT NULL AND $4 IS NOT NULL)
                     THEN last_error_at
                 ELSE now() END
         WHERE projection = $1 AND generation = $2 AND state NOT IN ('retired', 'failed')
           AND (last_error, last_attempt, last_error_by) IS DISTINCT FROM ($3, $4, $5)
           AND (last_error IS NULL OR last_error_by = $5 OR NOT {BY_PRESENT}
                OR last_attempt IS NOT NULL AND $4::int4 IS NULL)"
    );
    let recorded = sqlx::query(AssertSqlSafe(record))
        .bind(projection)
        .bind(generation.0)
        .bind(encoding.fit(&trouble.text))
        .bind(trouble.attempt.map(u32::cast_signed))
        .bind(by)
        .execute(connection)
        .await;
    recorded.map(drop).map_err(at("recording what keeps a projection from going on"))
}

/// Takes that back, where `by` is to.
pub(super) async fn clear_error(
    connection: &mut PgConnection,
    projection: &str,
    generation: Generation,
    by: &str,
) -> Result<(), StoreError> {
    let forget = format!(
        "UPDATE readcast.generations
         SET last_error = NULL, last_attempt = NULL, last_error_at = NULL, last_error_by = NULL
         WHERE projection = $1 AND generation = $2 AND state NOT IN ('retired', 'failed') AND last_error IS NOT NULL
           AND (last_error_by = $3 OR NOT {BY_PRESENT})"
    );
    let forgotten = sqlx::query(AssertSqlSafe(forget)).bind(projection).bind(generation.0).bind(by);
    forgotten.execute(connection).await.map(drop).map_err(at("recording that a projection goes on"))
}

/// All generations, with their checkpoints.
pub(super) async fn all(connection: &mut PgConnection) -> Result<Vec<GenerationStatus>, StoreError> {
    if !is_migrated(connection).await? {
        return Ok(Vec::new());
    }
    let statuses = read_all(connection).await;
    statuses.map_err(at("reading generations and checkpoints"))
}

/// The generations of one projection, without their checkpoints.
pub(super) async fn of(connection: &mut PgConnection, projection: &str) -> Result<Vec<GenerationStatus>, StoreError> {
    read(connection, Some(projection)).await.map_err(at("reading generations"))
}

/// The generations of one projection or of all, without their checkpoints.
async fn read(connection: &mut PgConnection, projection: Option<&str>) -> sqlx::Result<Vec<GenerationStatus>> {
    let times = ["last_error_at", "paused_at", "created_at", "activated_at", "standby_until"].map(time).join(", ");
    let generations = format!(
        "SELECT projection, generation, state, phase, definition_hash, version, definition::text AS definition,
                scratch, repeats, proof::text AS proof, last_error, last_attempt, dropped_at IS NULL AS has_tables,
                last_error_by, last_error IS NOT NULL AND {BY_PRESENT} AS by_present,
                coalesce(standby_until < now(), false) AS standby_is_over, {times}
         FROM readcast.generations WHERE projection = coalesce($1, projection) ORDER BY projection, generation"
    );
    let mut parked = dead_letters::counts(&mut *connection, projection).await?;
    let rows = sqlx::query(AssertSqlSafe(generations)).bind(projection).fetch_all(connection).await?;
    let statuses = rows.iter().map(|row| {
        let mut status = status(row)?;
        status.parked = parked.remove(&(status.projection.clone(), status.generation.0)).unwrap_or_default();
        Ok(status)
    });
    statuses.collect()
}

async fn read_all(connection: &mut PgConnection) -> sqlx::Result<Vec<GenerationStatus>> {
    let checkpoints = format!(
        "SELECT projection, generation, topic, partition, start_offset, next_offset, owner_epoch, parking_epoch,
                leader_epoch, topic_id, {}
         FROM readcast.checkpoints ORDER BY projection, generation, topic, partition",
        time("updated_at")
    );
    let mut held = BTreeMap::<(String, i32), Vec<RecordedCheckpoint>>::new();
    for row in sqlx::query(AssertSqlSafe(checkpoints)).fetch_all(&mut *connection).await? {
        let of = (row.try_get("projection")?, row.try_get("generation")?);
        held.entry(of).or_default().push(checkpoint(&row)?);
    }
    let mut statuses = read(connection, None).await?;
    for status in &mut statuses {
        let of = (status.projection.clone(), status.generation.0);
        status.checkpoints = held.remove(&of).unwrap_or_default();
    }
    Ok(statuses)
}

fn time(column: &str) -> String {
    format!("to_char({column} AT TIME ZONE 'UTC', {TIME}) AS {column}")
}

fn checkpoint(row: &PgRow) -> sqlx::Result<RecordedCheckpoint> {
    Ok(RecordedCheckpoint {
        partition: TopicPartition::new(row.try_get::<&str, _>("topic")?, row.try_get("partition")?),
        start_offset: row.try_get("start_offset")?,
        next_offset: row.try_get("next_offset")?,
        owner_epoch: row.try_get("owner_epoch")?,
        parking_epoch: row.try_get("parking_epoch")?,
        leader_epoch: row.try_get("leader_epoch")?,
        log_id: row.try_get("topic_id")?,
        updated_at: row.try_get("updated_at")?,
    })
}

fn status(row: &PgRow) -> sqlx::Result<GenerationStatus> {
    let error: Option<String> = row.try_get("last_error")?;
    let since: Option<String> = row.try_get("last_error_at")?;
    let attempt: Option<i32> = row.try_get("last_attempt")?;
    let (by, by_present): (Option<String>, bool) = (row.try_get("last_error_by")?, row.try_get("by_present")?);
    let proof: Option<String> = row.try_get("proof")?;
    Ok(GenerationStatus {
        projection: row.try_get("projection")?,
        generation: Generation(row.try_get("generation")?),
        // The database allows no other names.
        state: GenerationState::named(row.try_get("state")?).unwrap_or(GenerationState::Failed),
        phase: row.try_get::<Option<&str>, _>("phase")?.and_then(Phase::named),
        definition_hash: row.try_get("definition_hash")?,
        version: row.try_get("version")?,
        tables: json("definition", row.try_get("definition")?)?,
        scratch: row.try_get("scratch")?,
        repeats: row.try_get("repeats")?,
        paused_since: row.try_get("paused_at")?,
        created_at: row.try_get("created_at")?,
        activated_at: row.try_get("activated_at")?,
        standby_until: row.try_get("standby_until")?,
        standby_is_over: row.try_get("standby_is_over")?,
        proof: proof.map(|proof| json("proof", &proof)).transpose()?,
        last_error: error.map(|text| RecordedError {
            text,
            since: since.unwrap_or_default(),
            attempt: attempt.map(i32::cast_unsigned),
            by,
            by_present,
        }),
        parked: ParkedCounts::default(),
        has_tables: row.try_get("has_tables")?,
        checkpoints: Vec::new(),
    })
}
