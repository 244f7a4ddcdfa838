//! What operators ask for, and what became of it: a row each, which stays as a record of who did what.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::connection::at;
use super::{generations, recorded, refused};
use crate::store::{Command, Generation, Operation, OperationProgress, OperationState, StoreError};

/// Asks for an operation, unless the same is open already. Runs within a transaction.
pub(super) async fn request(
    connection: &mut SqliteConnection,
    projection: &str,
    command: &Command,
    by: &str,
) -> Result<i64, StoreError> {
    let open = all(connection, projection, 0).await?;
    match open.iter().find(|operation| operation.command == *command) {
        Some(operation) => Ok(operation.id),
        None => insert(connection, projection, command, by, None).await,
    }
}

/// Records what was done at once.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    projection: &str,
    command: &Command,
    by: &str,
    outcome: &str,
) -> Result<(), StoreError> {
    insert(connection, projection, command, by, Some(outcome)).await.map(drop)
}

async fn insert(
    connection: &mut SqliteConnection,
    projection: &str,
    command: &Command,
    by: &str,
    outcome: Option<&str>,
) -> Result<i64, StoreError> {
    const INSERT: &str = "
        INSERT INTO readcast_operations (projection, command, requested_by, outcome, state, finished_at)
        VALUES (?1, ?2, ?3, ?4,
            iif(?4 IS NULL, 'requested', 'done'),
            iif(?4 IS NULL, NULL, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
        RETURNING id";
    let id = sqlx::query_scalar(INSERT)
        .bind(projection)
        .bind(recorded::text(command))
        .bind(by)
        .bind(outcome)
        .fetch_one(connection)
        .await;
    id.map_err(at(format!("recording the operation `{}`", command.name())))
}

/// The operations that are open, and the last `finished` of the others.
pub(super) async fn all(
    connection: &mut SqliteConnection,
    projection: &str,
    finished: usize,
) -> Result<Vec<Operation>, StoreError> {
    const ALL: &str = "
        SELECT id, projection, command, requested_by, requested_at, state, generation, progress, outcome, finished_at
        FROM readcast_operations
        WHERE projection = ?1 AND (finished_at IS NULL OR id IN (
            SELECT id FROM readcast_operations WHERE projection = ?1 AND finished_at IS NOT NULL
            ORDER BY id DESC LIMIT ?2))
        ORDER BY id";
    if !generations::is_migrated(connection).await? {
        return Ok(Vec::new());
    }
    let finished = i64::try_from(finished).unwrap_or(i64::MAX);
    let rows = sqlx::query(ALL).bind(projection).bind(finished).fetch_all(connection).await;
    let operations = rows.and_then(|rows| rows.iter().map(operation).collect());
    operations.map_err(at("reading operations"))
}

fn operation(row: &SqliteRow) -> sqlx::Result<Operation> {
    Ok(Operation {
        id: row.try_get("id")?,
        projection: row.try_get("projection")?,
        command: recorded::json(row, "command")?,
        requested_by: row.try_get("requested_by")?,
        requested_at: row.try_get("requested_at")?,
        state: recorded::named(row, "state", OperationState::named)?,
        generation: row.try_get::<Option<i32>, _>("generation")?.map(Generation),
        progress: recorded::json_if_any(row, "progress")?,
        outcome: row.try_get("outcome")?,
        finished_at: row.try_get("finished_at")?,
    })
}

/// Takes every open operation back, and says how many there were.
pub(super) async fn cancel(
    connection: &mut SqliteConnection,
    projection: &str,
    outcome: &str,
) -> Result<u64, StoreError> {
    const CANCEL: &str = "
        UPDATE readcast_operations
        SET state = 'cancelled', outcome = ?2, finished_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
        WHERE projection = ?1 AND finished_at IS NULL";
    let cancelled = sqlx::query(CANCEL).bind(projection).bind(outcome).execute(connection).await;
    cancelled.map(|done| done.rows_affected()).map_err(at("cancelling operations"))
}

/// Notes that the operation is being carried out, and builds this generation.
pub(super) async fn builds(
    connection: &mut SqliteConnection,
    operation: i64,
    generation: Generation,
) -> Result<(), StoreError> {
    const BUILDS: &str = "UPDATE readcast_operations SET state = 'running', generation = ?2 WHERE id = ?1";
    let noted = sqlx::query(BUILDS).bind(operation).bind(generation.0).execute(connection).await;
    noted.map(drop).map_err(at("noting what an operation builds"))
}

/// Notes how far an open operation is.
pub(super) async fn progress(
    connection: &mut SqliteConnection,
    operation: i64,
    progress: &OperationProgress,
) -> Result<(), StoreError> {
    const PROGRESS: &str = "UPDATE readcast_operations SET progress = ?2 WHERE id = ?1 AND finished_at IS NULL";
    let noted = sqlx::query(PROGRESS).bind(operation).bind(recorded::text(progress)).execute(connection).await;
    noted.map(drop).map_err(at("noting how far an operation is"))
}

/// Ends an operation, if it is still open.
pub(super) async fn finish(
    connection: &mut SqliteConnection,
    operation: i64,
    state: OperationState,
    outcome: &str,
) -> Result<(), StoreError> {
    const FINISH: &str = "
        UPDATE readcast_operations
        SET state = ?2, outcome = ?3, finished_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
        WHERE id = ?1 AND finished_at IS NULL";
    let finished = sqlx::query(FINISH).bind(operation).bind(state.name()).bind(outcome).execute(connection).await;
    finished.map(drop).map_err(at("ending an operation"))
}

/// The generation that an open operation has begun to build, if it has.
pub(super) async fn built(
    connection: &mut SqliteConnection,
    projection: &str,
    operation: i64,
) -> Result<Option<Generation>, StoreError> {
    const BUILT: &str = "
        SELECT generation FROM readcast_operations WHERE id = ?1 AND projection = ?2 AND finished_at IS NULL";
    const LOOKING: &str = "looking for the operation that builds a generation";
    let built = sqlx::query_scalar(BUILT).bind(operation).bind(projection).fetch_optional(connection).await;
    let built: Option<Option<i32>> = built.map_err(at(LOOKING))?;
    let not_open = || refused(LOOKING, format!("`{projection}` has no open operation {operation}"));
    Ok(built.ok_or_else(not_open)?.map(Generation))
}
