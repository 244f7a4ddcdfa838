//! The generations that are recorded, and how they fare.

use std::collections::BTreeMap;

use readcast_core::{Definition, TopicPartition};
use sqlx::{PgConnection, Row};

use super::connection::at;
use crate::store::{Generation, GenerationStatus, RecordedCheckpoint, RecordedError, StoreError};

/// A live generation as it was declared.
pub(super) struct Declared {
    pub(super) generation: Generation,
    pub(super) hash: String,
    pub(super) version: i32,
    pub(super) tables_json: String,
}

/// The projection's live generation, if it has one.
pub(super) async fn live(connection: &mut PgConnection, projection: &str) -> Result<Option<Declared>, StoreError> {
    const LIVE: &str = "
        SELECT generation, definition_hash, version, definition::text AS definition
        FROM readcast.generations WHERE projection = $1 AND state = 'live'";
    let row = sqlx::query(LIVE).bind(projection).fetch_optional(connection).await;
    let declared = row.and_then(|row| {
        row.map(|row| {
            Ok(Declared {
                generation: Generation(row.try_get("generation")?),
                hash: row.try_get("definition_hash")?,
                version: row.try_get("version")?,
                tables_json: row.try_get("definition")?,
            })
        })
        .transpose()
    });
    declared.map_err(at("reading the live generation"))
}

/// Records the first generation of a projection, live at once: there is nothing that it would have to replace.
pub(super) async fn create_first(
    connection: &mut PgConnection,
    definition: &Definition,
) -> Result<Generation, StoreError> {
    const CREATE: &str = "
        INSERT INTO readcast.generations
            (projection, generation, definition_hash, definition, version, state, activated_at)
        VALUES ($1, 1, $2, $3::jsonb, $4, 'live', now())";
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
    connection: &mut PgConnection,
    projection: &str,
    error: Option<&str>,
) -> Result<(), StoreError> {
    const RECORD: &str = "
        UPDATE readcast.generations
        SET last_error = $2,
            last_error_at = CASE WHEN $2 IS NULL THEN NULL WHEN last_error = $2 THEN last_error_at ELSE now() END
        WHERE projection = $1 AND state = 'live'";
    let recorded = sqlx::query(RECORD).bind(projection).bind(error).execute(connection).await;
    recorded.map(drop).map_err(at("recording why a projection stopped"))
}

/// All generations that readers can see, with their checkpoints.
pub(super) async fn all(connection: &mut PgConnection) -> Result<Vec<GenerationStatus>, StoreError> {
    let statuses = read_all(connection).await;
    statuses.map_err(at("reading generations and checkpoints"))
}

async fn read_all(connection: &mut PgConnection) -> sqlx::Result<Vec<GenerationStatus>> {
    const TIME: &str = r#"'YYYY-MM-DD"T"HH24:MI:SS"Z"'"#;
    let generations = format!(
        "SELECT projection, generation, state, last_error,
                to_char(last_error_at AT TIME ZONE 'UTC', {TIME}) AS last_error_at
         FROM readcast.generations WHERE state <> 'retired' ORDER BY projection, generation"
    );
    let checkpoints = format!(
        "SELECT projection, generation, topic, partition, next_offset, topic_id,
                to_char(updated_at AT TIME ZONE 'UTC', {TIME}) AS updated_at
         FROM readcast.checkpoints ORDER BY projection, generation, topic, partition"
    );
    let mut held = BTreeMap::<(String, i32), Vec<RecordedCheckpoint>>::new();
    for row in sqlx::query(sqlx::AssertSqlSafe(checkpoints)).fetch_all(&mut *connection).await? {
        let checkpoint = RecordedCheckpoint {
            partition: TopicPartition::new(row.try_get::<&str, _>("topic")?, row.try_get("partition")?),
            next_offset: row.try_get("next_offset")?,
            log_id: row.try_get("topic_id")?,
            updated_at: row.try_get("updated_at")?,
        };
        held.entry((row.try_get("projection")?, row.try_get("generation")?)).or_default().push(checkpoint);
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(generations)).fetch_all(connection).await?;
    let statuses = rows.iter().map(|row| {
        let (projection, generation): (String, i32) = (row.try_get("projection")?, row.try_get("generation")?);
        let error: Option<String> = row.try_get("last_error")?;
        let since: Option<String> = row.try_get("last_error_at")?;
        Ok(GenerationStatus {
            checkpoints: held.remove(&(projection.clone(), generation)).unwrap_or_default(),
            last_error: error.map(|text| RecordedError { text, since: since.unwrap_or_default() }),
            state: row.try_get("state")?,
            projection,
            generation: Generation(generation),
        })
    });
    statuses.collect()
}
