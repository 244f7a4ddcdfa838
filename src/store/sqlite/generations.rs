//! What is recorded of the generations: that they exist, where they are in their lives, and how they fare.

use readcast_core::{Definition, TableSpec};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::connection::at;
use super::{checkpoints, dead_letters, recorded, refused};
use crate::store::{
    BuildOptions, Generation, GenerationError, GenerationState, GenerationStatus, ParkedCounts, ParkedIn, Phase,
    RecordedError, StoreError,
};

/// The generation that readers see.
pub(super) struct Live {
    pub(super) generation: Generation,
    /// Its tables as they were declared.
    pub(super) tables: Vec<TableSpec>,
}

/// Whether there is anything of ours in the database. Refuses what an earlier readcast left, which lacks columns that
/// every question asks for.
pub(super) async fn is_migrated(connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    const FOUND: &str = "
        SELECT count(*) FROM sqlite_schema
        WHERE type = 'table' AND name IN ('readcast_checkpoints', 'readcast_notices')";
    const LOOKING: &str = "looking for readcast's own tables";
    match sqlx::query_scalar(FOUND).fetch_one(connection).await.map_err(at(LOOKING))? {
        0 => Ok(false),
        1 => Err(refused(LOOKING, "an earlier version made them: `readcast migrate` brings them up to date".into())),
        _ => Ok(true),
    }
}

/// The projection's live generation, if it has one.
pub(super) async fn live(connection: &mut SqliteConnection, projection: &str) -> Result<Option<Live>, StoreError> {
    const LIVE: &str = "
        SELECT generation, definition FROM readcast_generations WHERE projection = ?1 AND state = 'live'";
    if !is_migrated(connection).await? {
        return Ok(None);
    }
    let live = |row: &SqliteRow| {
        Ok(Live { generation: Generation(row.try_get("generation")?), tables: recorded::json(row, "definition")? })
    };
    let row = sqlx::query(LIVE).bind(projection).fetch_optional(connection).await;
    row.and_then(|row| row.as_ref().map(live).transpose()).map_err(at("reading the live generation"))
}

/// The number of the projection's next generation. None is given twice, so that what is said of a number stays true.
pub(super) async fn next(connection: &mut SqliteConnection, projection: &str) -> Result<Generation, StoreError> {
    const NEXT: &str = "SELECT coalesce(max(generation), 0) + 1 FROM readcast_generations WHERE projection = ?1";
    if !is_migrated(connection).await? {
        return Ok(Generation(1));
    }
    let next = sqlx::query_scalar(NEXT).bind(projection).fetch_one(connection).await;
    next.map(Generation).map_err(at("numbering a generation"))
}

/// Where a generation is in its life.
pub(super) async fn state(
    connection: &mut SqliteConnection,
    projection: &str,
    generation: Generation,
) -> Result<GenerationState, StoreError> {
    const STATE: &str = "SELECT state FROM readcast_generations WHERE projection = ?1 AND generation = ?2";
    const READING: &str = "reading the state of a generation";
    let row = sqlx::query(STATE).bind(projection).bind(generation.0).fetch_optional(connection).await;
    let state = row.and_then(|row| row.map(|row| recorded::named(&row, "state", GenerationState::named)).transpose());
    let missing = || refused(READING, format!("`{projection}` has no generation {}", generation.0));
    state.map_err(at(READING))?.ok_or_else(missing)
}

/// Records a generation that is to be built as `build` says; without that, one that is live at once, because there is
/// nothing that it would have to replace.
pub(super) async fn create(
    connection: &mut SqliteConnection,
    definition: &Definition,
    build: Option<&BuildOptions>,
) -> Result<Generation, StoreError> {
    const CREATE: &str = "
        INSERT INTO readcast_generations
            (projection, generation, definition_hash, definition, version, state, phase, scratch, repeats, activated_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, iif(?6 = 'live', strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), NULL))";
    let generation = next(connection, definition.name()).await?;
    let repeats = build.and_then(|build| build.copy_from.as_ref()).is_some_and(|offsets| !offsets.is_empty());
    sqlx::query(CREATE)
        .bind(definition.name())
        .bind(generation.0)
        .bind(definition.hash())
        .bind(definition.tables_json())
        .bind(definition.version().cast_signed())
        .bind(build.map_or(GenerationState::Live, |_| GenerationState::Building).name())
        .bind(build.map(|build| build.first_phase().name()))
        .bind(build.is_some_and(|build| build.scratch))
        .bind(repeats)
        .execute(connection)
        .await
        .map_err(at("recording a generation"))?;
    Ok(generation)
}

/// Whether whoever recorded the trouble of a row of `readcast_generations` runs.
const BY_PRESENT: &str = "EXISTS (
    SELECT 1 FROM readcast_instances AS i
    WHERE i.instance = last_error_by AND i.projection = readcast_generations.projection AND i.running
      AND i.seen_at >= strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-10 seconds'))";

/// Records what keeps a generation from going on. While it halts for one reason, or retries for whichever, the time of
/// its beginning stays.
pub(super) async fn record_error(
    connection: &mut SqliteConnection,
    projection: &str,
    generation: Generation,
    by: &str,
    trouble: &GenerationError,
) -> Result<(), StoreError> {
    let record = format!(
        "UPDATE readcast_generations
         SET last_error = ?3, last_attempt = ?4, last_error_by = ?5,
             last_error_at = CASE
                 WHEN last_error = ?3 OR (last_error IS NOT NULL AND last_attempt IS NOT NULL AND ?4 IS NOT NULL)
                     THEN last_error_at
                 ELSE strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
             END
         WHERE projection = ?1 AND generation = ?2 AND state NOT IN ('retired', 'failed')
           AND (last_error, last_attempt, last_error_by) IS NOT (?3, ?4, ?5)
           AND (last_error IS NULL OR last_error_by = ?5 OR NOT {BY_PRESENT}
                OR last_attempt IS NOT NULL AND ?4 IS NULL)"
    );
    let recorded = sqlx::query(AssertSqlSafe(record))
        .bind(projection)
        .bind(generation.0)
        .bind(&trouble.text)
        .bind(trouble.attempt.map(u32::cast_signed))
        .bind(by)
        .execute(connection)
        .await;
    recorded.map(drop).map_err(at("recording what keeps a generation from going on"))
}

/// Takes that back, where `by` is to.
pub(super) async fn clear_error(
    connection: &mut SqliteConnection,
    projection: &str,
    generation: Generation,
    by: &str,
) -> Result<(), StoreError> {
    let forget = format!(
        "UPDATE readcast_generations
         SET last_error = NULL, last_attempt = NULL, last_error_at = NULL, last_error_by = NULL
         WHERE projection = ?1 AND generation = ?2 AND state NOT IN ('retired', 'failed') AND last_error IS NOT NULL
           AND (last_error_by = ?3 OR NOT {BY_PRESENT})"
    );
    let forgotten = sqlx::query(AssertSqlSafe(forget)).bind(projection).bind(generation.0).bind(by);
    forgotten.execute(connection).await.map(drop).map_err(at("recording that a generation goes on"))
}

/// All generations, with their checkpoints and how much is parked.
pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Vec<GenerationStatus>, StoreError> {
    if !is_migrated(connection).await? {
        return Ok(Vec::new());
    }
    let mut statuses = read(connection, None).await?;
    for status in &mut statuses {
        let checkpoints = checkpoints::Checkpoints::new(&status.projection, status.generation);
        status.checkpoints = checkpoints.recorded(connection).await?;
    }
    Ok(statuses)
}

/// The generations of one projection, without their checkpoints.
pub(super) async fn of(
    connection: &mut SqliteConnection,
    projection: &str,
) -> Result<Vec<GenerationStatus>, StoreError> {
    read(connection, Some(projection)).await
}

/// The generations of one projection or of all, without their checkpoints.
async fn read(
    connection: &mut SqliteConnection,
    projection: Option<&str>,
) -> Result<Vec<GenerationStatus>, StoreError> {
    let all = format!(
        "SELECT projection, generation, state, phase, definition_hash, version, definition, scratch, repeats,
             paused_at, created_at, activated_at, standby_until, proof, last_error, last_error_at, last_attempt,
             last_error_by, last_error IS NOT NULL AND {BY_PRESENT} AS by_present,
             coalesce(standby_until <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), false) AS standby_is_over,
             dropped_at IS NULL AS has_tables
         FROM readcast_generations WHERE projection = coalesce(?1, projection) ORDER BY projection, generation"
    );
    let rows = sqlx::query(AssertSqlSafe(all)).bind(projection).fetch_all(&mut *connection).await;
    let statuses = rows.and_then(|rows| rows.iter().map(status).collect::<sqlx::Result<Vec<_>>>());
    let mut statuses = statuses.map_err(at("reading generations"))?;
    for status in &mut statuses {
        let of = ParkedIn { projection: &status.projection, generation: status.generation };
        status.parked = dead_letters::count(connection, of).await?;
    }
    Ok(statuses)
}

fn status(row: &SqliteRow) -> sqlx::Result<GenerationStatus> {
    let since: Option<String> = row.try_get("last_error_at")?;
    let error: Option<String> = row.try_get("last_error")?;
    let attempt: Option<i32> = row.try_get("last_attempt")?;
    let (by, by_present): (Option<String>, bool) = (row.try_get("last_error_by")?, row.try_get("by_present")?);
    Ok(GenerationStatus {
        projection: row.try_get("projection")?,
        generation: Generation(row.try_get("generation")?),
        state: recorded::named(row, "state", GenerationState::named)?,
        phase: recorded::named_if_any(row, "phase", Phase::named)?,
        definition_hash: row.try_get("definition_hash")?,
        version: row.try_get("version")?,
        tables: recorded::json(row, "definition")?,
        scratch: row.try_get("scratch")?,
        repeats: row.try_get("repeats")?,
        paused_since: row.try_get("paused_at")?,
        created_at: row.try_get("created_at")?,
        activated_at: row.try_get("activated_at")?,
        standby_until: row.try_get("standby_until")?,
        standby_is_over: row.try_get("standby_is_over")?,
        proof: recorded::json_if_any(row, "proof")?,
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

/// The other projection whose live generation has a table of this name, if one has.
pub(super) async fn owner(
    connection: &mut SqliteConnection,
    table: &str,
    projection: &str,
) -> Result<Option<String>, StoreError> {
    const OWNER: &str = "
        SELECT projection FROM readcast_generations, json_each(definition) AS held
        WHERE state = 'live' AND projection <> ?2 AND held.value ->> 'name' = ?1";
    if !is_migrated(connection).await? {
        return Ok(None);
    }
    let owner = sqlx::query_scalar(OWNER).bind(table).bind(projection).fetch_optional(connection).await;
    owner.map_err(at("looking for the owner of a table"))
}
