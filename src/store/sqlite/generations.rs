//! The generations that are recorded, and how they fare.

use readcast_core::Definition;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::checkpoints;
use super::connection::at;
use crate::store::{Generation, GenerationStatus, RecordedError, StoreError};

/// A live generation as it was declared.
pub(super) struct Declared {
    pub(super) generation: Generation,
    pub(super) hash: String,
    pub(super) version: i32,
    pub(super) tables_json: String,
}

/// Whether there is anything of ours in the database.
async fn is_migrated(connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    const EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'readcast_checkpoints')";
    let exists = sqlx::query_scalar(EXISTS).fetch_one(connection).await;
    exists.map_err(at("looking for readcast's own tables"))
}

/// The projection's live generation, if it has one.
pub(super) async fn live(connection: &mut SqliteConnection, projection: &str) -> Result<Option<Declared>, StoreError> {
    const LIVE: &str = "
        SELECT generation, definition_hash, version, definition
        FROM readcast_generations WHERE projection = ?1 AND state = 'live'";
    if !is_migrated(connection).await? {
        return Ok(None);
    }
    let row = sqlx::query(LIVE).bind(projection).fetch_optional(connection).await;
    let declared = row.and_then(|row| row.as_ref().map(declared).transpose());
    declared.map_err(at("reading the live generation"))
}

fn declared(row: &SqliteRow) -> sqlx::Result<Declared> {
    Ok(Declared {
        generation: Generation(row.try_get("generation")?),
        hash: row.try_get("definition_hash")?,
        version: row.try_get("version")?,
        tables_json: row.try_get("definition")?,
    })
}

/// Records the first generation of a projection, live at once: there is nothing that it would have to replace.
pub(super) async fn create_first(
    connection: &mut SqliteConnection,
    definition: &Definition,
) -> Result<Generation, StoreError> {
    const CREATE: &str = "
        INSERT INTO readcast_generations
            (projection, generation, definition_hash, definition, version, state, activated_at)
        VALUES (?1, 1, ?2, ?3, ?4, 'live', strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))";
    sqlx::query(CREATE)
        .bind(definition.name())
        .bind(definition.hash())
        .bind(definition.tables_json())
        .bind(definition.version().cast_signed())
        .execute(connection)
        .await
        .map_err(at("recording a generation"))?;
    Ok(Generation(1))
}

/// Records why the live generation stopped, or that it runs. While the reason stays, so does its time.
pub(super) async fn record_error(
    connection: &mut SqliteConnection,
    projection: &str,
    error: Option<&str>,
) -> Result<(), StoreError> {
    const RECORD: &str = "
        UPDATE readcast_generations
        SET last_error = ?2,
            last_error_at = CASE
                WHEN ?2 IS NULL THEN NULL
                WHEN last_error = ?2 THEN last_error_at
                ELSE strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
            END
        WHERE projection = ?1 AND state = 'live'";
    let recorded = sqlx::query(RECORD).bind(projection).bind(error).execute(connection).await;
    recorded.map(drop).map_err(at("recording why a projection stopped"))
}

/// All generations but the retired, with their checkpoints.
pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Vec<GenerationStatus>, StoreError> {
    const ALL: &str = "
        SELECT projection, generation, state, last_error, last_error_at
        FROM readcast_generations WHERE state <> 'retired' ORDER BY projection, generation";
    if !is_migrated(connection).await? {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(ALL).fetch_all(&mut *connection).await;
    let statuses = rows.and_then(|rows| rows.iter().map(status).collect::<sqlx::Result<Vec<_>>>());
    let mut statuses = statuses.map_err(at("reading generations"))?;
    for status in &mut statuses {
        let checkpoints = checkpoints::Of::new(&status.projection, status.generation);
        status.checkpoints = checkpoints.recorded(connection).await?;
    }
    Ok(statuses)
}

fn status(row: &SqliteRow) -> sqlx::Result<GenerationStatus> {
    let since: Option<String> = row.try_get("last_error_at")?;
    let error: Option<String> = row.try_get("last_error")?;
    Ok(GenerationStatus {
        projection: row.try_get("projection")?,
        generation: Generation(row.try_get("generation")?),
        state: row.try_get("state")?,
        last_error: error.map(|text| RecordedError { text, since: since.unwrap_or_default() }),
        checkpoints: Vec::new(),
    })
}
