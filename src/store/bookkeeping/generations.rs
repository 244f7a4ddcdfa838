//! The recorded generations: the definition that built each one, its state, and the error that prevents it from
//! progressing.

use std::collections::BTreeMap;

use readcast_core::{Definition, Shown, TableSpec};

use super::{checkpoints, is_migrated, parking, refused};
use crate::store::session::{Row, Session, values};
use crate::store::{
    BuildOptions, Generation, GenerationError, GenerationState, GenerationStatus, ParkedCounts, Phase, RecordedError,
    StoreError, WindowSize,
};

/// The generation that readers see.
pub(in crate::store) struct Live {
    pub(in crate::store) generation: Generation,
    /// The tables that the generation's definition declares.
    pub(in crate::store) tables: Vec<TableSpec>,
}

/// The live generation of the projection. `None` if it has none.
pub(in crate::store) async fn live(session: &mut dyn Session, projection: &str) -> Result<Option<Live>, StoreError> {
    const LIVE: &str = "
        SELECT generation, CAST(definition AS text) AS definition FROM readcast.generations
        WHERE projection = $1 AND state = 'live'";
    if !is_migrated(session).await? {
        return Ok(None);
    }
    let row = session.fetch_optional("reading the live generation", LIVE, values![projection]).await?;
    let live = |row: Row| Ok(Live { generation: Generation(row.get("generation")?), tables: row.json("definition")? });
    row.map(live).transpose()
}

/// The number of the projection's next generation. A number is never reused, so that every record of a number remains
/// true.
pub(in crate::store) async fn next(session: &mut dyn Session, projection: &str) -> Result<Generation, StoreError> {
    const NEXT: &str = "
        SELECT coalesce(max(generation), 0) + 1 AS next FROM readcast.generations WHERE projection = $1";
    if !is_migrated(session).await? {
        return Ok(Generation(1));
    }
    let next = session.fetch_one("numbering a generation", NEXT, values![projection]).await?;
    next.get("next").map(Generation)
}

/// The state of a generation. Locks its row.
///
/// # Errors
/// Refused if there is no such generation.
pub(in crate::store) async fn state(
    session: &mut dyn Session,
    doing: &'static str,
    projection: &str,
    generation: Generation,
) -> Result<GenerationState, StoreError> {
    const STATE: &str = "
        SELECT state FROM readcast.generations WHERE projection = $1 AND generation = $2 FOR UPDATE";
    let row = session.fetch_optional(doing, STATE, values![projection, generation]).await?;
    let row = row.ok_or_else(|| refused(doing, format!("`{projection}` has no generation {}", generation.0)))?;
    row.named("state", GenerationState::named)
}

/// Records a generation that is to be built with the options `build`. Without `build` the generation is live at once,
/// because the projection has no live generation.
pub(in crate::store) async fn create(
    session: &mut dyn Session,
    definition: &Definition,
    build: Option<&BuildOptions>,
) -> Result<Generation, StoreError> {
    const CREATE: &str = "
        INSERT INTO readcast.generations
            (projection, generation, definition_hash, definition, version, state, phase, scratch, repeats, activated_at,
             source, component, duplicate_window)
        VALUES ($1, $2, $3, json($4), $5, $6, $7, $8, $9, CASE WHEN $6 = 'live' THEN now() END, $10, $11,
                -- One that is compared with the live generation, or continues it, takes the same events for duplicates.
                (SELECT duplicate_window FROM readcast.generations
                 WHERE projection = $1 AND state = 'live' AND ($8 OR $9)))";
    let generation = next(session, definition.name()).await?;
    let repeats = build.and_then(|build| build.copy_from.as_ref()).is_some_and(|offsets| !offsets.is_empty());
    let values = values![
        definition.name(),
        generation,
        definition.hash(),
        definition.tables_json(),
        definition.version().cast_signed(),
        build.map_or(GenerationState::Live, |_| GenerationState::Building).name(),
        build.map(|build| build.first_phase().name()),
        build.is_some_and(|build| build.scratch),
        repeats,
        definition.source().map(|source| source.text),
        definition.source().and_then(|source| source.component).map(<[u8]>::to_vec),
    ];
    session.execute("recording a generation", CREATE, values).await?;
    Ok(generation)
}

/// The component of a generation: see [`StatusStore::component`](crate::store::StatusStore::component).
pub(in crate::store) async fn component(
    session: &mut dyn Session,
    projection: &str,
    generation: Generation,
) -> Result<Option<Vec<u8>>, StoreError> {
    const READ: &str = "SELECT component FROM readcast.generations WHERE projection = $1 AND generation = $2";
    let row = session.fetch_optional("reading a component", READ, values![projection, generation]).await?;
    row.map_or(Ok(None), |row| row.get("component"))
}

/// The duplicate window of a generation: see [`CommitStore::duplicate_window`](crate::store::CommitStore::duplicate_window).
pub(in crate::store) async fn duplicate_window(
    session: &mut dyn Session,
    projection: &str,
    generation: Generation,
    size: WindowSize,
    partitions: usize,
) -> Result<i64, StoreError> {
    const DOING: &str = "recording a duplicate window";
    const REPLACE: &str = "
        UPDATE readcast.generations SET duplicate_window = $3 WHERE projection = $1 AND generation = $2
        RETURNING duplicate_window";
    const KEEP: &str = "
        UPDATE readcast.generations SET duplicate_window = coalesce(duplicate_window, $3)
        WHERE projection = $1 AND generation = $2
        RETURNING duplicate_window";
    let record = match size {
        WindowSize::Offsets(_) => REPLACE,
        WindowSize::Bytes(_) => KEEP,
    };
    let values = values![projection, generation, size.offsets(partitions)];
    let recorded = session.fetch_optional(DOING, record, values).await?;
    let recorded = recorded.ok_or_else(|| refused(DOING, format!("there is no generation {}", generation.0)))?;
    recorded.get("duplicate_window")
}

/// Whether the instance that recorded the error of a row of `generations AS g` runs.
const BY_PRESENT: &str = "EXISTS (
    SELECT 1 FROM readcast.instances AS i
    WHERE i.instance = g.last_error_by AND i.projection = g.projection AND i.running
      AND i.seen_at > in_seconds(-10))";

/// Records the error that prevents a generation from progressing: see
/// [`StatusStore::record_error`](crate::store::StatusStore::record_error).
pub(in crate::store) async fn record_error(
    session: &mut dyn Session,
    projection: &str,
    generation: Generation,
    by: &str,
    error: &GenerationError,
) -> Result<(), StoreError> {
    let record = format!(
        "UPDATE readcast.generations AS g
         SET last_error = $3, last_attempt = $4, last_error_by = $5,
             last_error_at = CASE
                 WHEN last_error = $3 OR (last_error IS NOT NULL AND last_attempt IS NOT NULL AND $4 IS NOT NULL)
                     THEN last_error_at
                 ELSE now() END
         WHERE projection = $1 AND generation = $2 AND state NOT IN ('retired', 'failed')
           AND (last_error IS DISTINCT FROM $3 OR last_attempt IS DISTINCT FROM $4
                OR last_error_by IS DISTINCT FROM $5)
           AND (last_error IS NULL OR last_error_by = $5 OR NOT {BY_PRESENT}
                OR last_attempt IS NOT NULL AND $4 IS NULL)"
    );
    let attempt = error.attempt.map(u32::cast_signed);
    let values = values![projection, generation, session.fit(&error.text), attempt, by];
    session.execute("recording an error of a generation", &record, values).await.map(drop)
}

/// Clears the error of a generation if `by` may clear it: see
/// [`StatusStore::clear_error`](crate::store::StatusStore::clear_error).
pub(in crate::store) async fn clear_error(
    session: &mut dyn Session,
    projection: &str,
    generation: Generation,
    by: &str,
) -> Result<(), StoreError> {
    let clear = format!(
        "UPDATE readcast.generations AS g
         SET last_error = NULL, last_attempt = NULL, last_error_at = NULL, last_error_by = NULL
         WHERE projection = $1 AND generation = $2 AND state NOT IN ('retired', 'failed') AND last_error IS NOT NULL
           AND (last_error_by = $3 OR NOT {BY_PRESENT})"
    );
    session.execute("clearing an error of a generation", &clear, values![projection, generation, by]).await.map(drop)
}

/// All generations with their checkpoints.
pub(in crate::store) async fn all(session: &mut dyn Session) -> Result<Vec<GenerationStatus>, StoreError> {
    if !is_migrated(session).await? {
        return Ok(Vec::new());
    }
    let mut checkpoints = checkpoints::recorded(session).await?;
    let mut statuses = read(session, None).await?;
    for status in &mut statuses {
        let of = (status.projection.clone(), status.generation);
        status.checkpoints = checkpoints.remove(&of).unwrap_or_default();
    }
    Ok(statuses)
}

/// The generations of one projection without their checkpoints.
pub(in crate::store) async fn of(
    session: &mut dyn Session,
    projection: &str,
) -> Result<Vec<GenerationStatus>, StoreError> {
    read(session, Some(projection)).await
}

/// The generations of one projection or of all, without their checkpoints.
async fn read(session: &mut dyn Session, projection: Option<&str>) -> Result<Vec<GenerationStatus>, StoreError> {
    let read = format!(
        "SELECT projection, generation, state, phase, definition_hash, version, CAST(definition AS text) AS definition,
                scratch, repeats, duplicate_window, CAST(proof AS text) AS proof, rfc3339(paused_at) AS paused_at,
                rfc3339(created_at) AS created_at, rfc3339(activated_at) AS activated_at,
                rfc3339(standby_until) AS standby_until,
                coalesce(standby_until < in_seconds(0), false) AS standby_is_over,
                last_error, rfc3339(last_error_at) AS last_error_at, last_attempt, last_error_by,
                last_error IS NOT NULL AND {BY_PRESENT} AS by_present, dropped_at IS NULL AS has_tables,
                CASE WHEN dropped_at IS NULL THEN source END AS source,
                component IS NOT NULL AS has_component
         FROM readcast.generations AS g WHERE projection = coalesce($1, projection) ORDER BY projection, generation"
    );
    let mut parked: BTreeMap<_, ParkedCounts> = parking::counts(session, projection).await?;
    let rows = session.fetch("reading generations", &read, values![projection]).await?;
    let statuses = rows.iter().map(|row| {
        let mut status = status(row)?;
        status.parked = parked.remove(&(status.projection.clone(), status.generation)).unwrap_or_default();
        Ok(status)
    });
    statuses.collect()
}

fn status(row: &Row) -> Result<GenerationStatus, StoreError> {
    Ok(GenerationStatus {
        projection: row.get("projection")?,
        generation: Generation(row.get("generation")?),
        state: row.named("state", GenerationState::named)?,
        phase: row.named_if_any("phase", Phase::named)?,
        definition_hash: row.get("definition_hash")?,
        version: row.get("version")?,
        tables: row.json("definition")?,
        source: row.get("source")?,
        has_component: row.get("has_component")?,
        scratch: row.get("scratch")?,
        repeats: row.get("repeats")?,
        duplicate_window: row.get("duplicate_window")?,
        paused_since: row.get("paused_at")?,
        created_at: row.get("created_at")?,
        activated_at: row.get("activated_at")?,
        standby_until: row.get("standby_until")?,
        standby_is_over: row.get("standby_is_over")?,
        proof: row.json_if_any("proof")?,
        last_error: recorded_error(row)?,
        parked: ParkedCounts::default(),
        has_tables: row.get("has_tables")?,
        checkpoints: Vec::new(),
    })
}

fn recorded_error(row: &Row) -> Result<Option<RecordedError>, StoreError> {
    let Some(text) = row.get::<Option<String>>("last_error")? else { return Ok(None) };
    Ok(Some(RecordedError {
        text,
        since: row.get::<Option<String>>("last_error_at")?.unwrap_or_default(),
        attempt: row.get::<Option<i32>>("last_attempt")?.map(i32::cast_unsigned),
        by: row.get("last_error_by")?,
        by_present: row.get("by_present")?,
    }))
}

/// The other projection whose live generation has a table with this name. `None` if there is none.
pub(in crate::store) async fn owner(
    session: &mut dyn Session,
    table: &str,
    projection: &str,
) -> Result<Option<String>, StoreError> {
    const LIVE: &str = "
        SELECT projection, CAST(definition AS text) AS definition FROM readcast.generations
        WHERE state = 'live' AND projection <> $1 ORDER BY projection";
    if !is_migrated(session).await? {
        return Ok(None);
    }
    for row in session.fetch("looking for the owner of a table", LIVE, values![projection]).await? {
        let tables: Vec<TableSpec> = row.json("definition")?;
        if Shown::all(&tables).iter().any(|other| other.name == table) {
            return row.get("projection").map(Some);
        }
    }
    Ok(None)
}
