//! The operations that operators request, and their outcomes. Rows are kept, as a record of who did what.

use super::{is_migrated, refused};
use crate::store::session::{Row, Session, count, values};
use crate::store::{Command, Generation, Operation, OperationProgress, OperationState, StoreError};

/// Requests an operation, unless the same operation is open already. Returns its number. Runs within a transaction that
/// excludes concurrent requests.
pub(in crate::store) async fn request(
    session: &mut dyn Session,
    projection: &str,
    command: &Command,
    by: &str,
) -> Result<i64, StoreError> {
    let open = of(session, projection, 0).await?;
    match open.iter().find(|operation| operation.command == *command) {
        Some(operation) => Ok(operation.id),
        None => insert(session, projection, command, by, None).await,
    }
}

/// Records a command that was carried out at once, with its outcome.
pub(in crate::store) async fn record(
    session: &mut dyn Session,
    projection: &str,
    command: &Command,
    by: &str,
    outcome: &str,
) -> Result<(), StoreError> {
    insert(session, projection, command, by, Some(outcome)).await.map(drop)
}

async fn insert(
    session: &mut dyn Session,
    projection: &str,
    command: &Command,
    by: &str,
    outcome: Option<&str>,
) -> Result<i64, StoreError> {
    const INSERT: &str = "
        INSERT INTO readcast.operations (projection, command, requested_by, outcome, state, finished_at)
        VALUES ($1, json($2), $3, $4,
                CASE WHEN $4 IS NULL THEN 'requested' ELSE 'done' END, CASE WHEN $4 IS NOT NULL THEN now() END)
        RETURNING id";
    let outcome = outcome.map(|outcome| session.fit(outcome));
    let values = values![projection, session.fit_json(command), session.fit(by), outcome];
    session.fetch_one("recording an operation", INSERT, values).await?.get("id")
}

/// All open operations and the last `finished` others, ordered by number.
pub(in crate::store) async fn of(
    session: &mut dyn Session,
    projection: &str,
    finished: usize,
) -> Result<Vec<Operation>, StoreError> {
    const OF: &str = "
        SELECT id, projection, CAST(command AS text) AS command, requested_by, state, generation,
               CAST(progress AS text) AS progress, outcome, rfc3339(requested_at) AS requested_at,
               rfc3339(finished_at) AS finished_at
        FROM readcast.operations
        WHERE projection = $1 AND (finished_at IS NULL OR id IN (
            SELECT id FROM readcast.operations WHERE projection = $1 AND finished_at IS NOT NULL
            ORDER BY id DESC LIMIT $2))
        ORDER BY id";
    if !is_migrated(session).await? {
        return Ok(Vec::new());
    }
    let rows = session.fetch("reading operations", OF, values![projection, count(finished)]).await?;
    rows.iter().map(operation).collect()
}

fn operation(row: &Row) -> Result<Operation, StoreError> {
    Ok(Operation {
        id: row.get("id")?,
        projection: row.get("projection")?,
        command: row.json("command")?,
        requested_by: row.get("requested_by")?,
        requested_at: row.get("requested_at")?,
        state: row.named("state", OperationState::named)?,
        generation: row.get::<Option<i32>>("generation")?.map(Generation),
        progress: row.json_if_any("progress")?,
        outcome: row.get("outcome")?,
        finished_at: row.get("finished_at")?,
    })
}

/// The generation that an open operation has begun to build. `None` if it has not begun. Locks the operation.
///
/// # Errors
/// Refused if the projection has no such open operation.
pub(in crate::store) async fn built(
    session: &mut dyn Session,
    projection: &str,
    operation: i64,
) -> Result<Option<Generation>, StoreError> {
    const LOOKING: &str = "beginning a generation";
    const BUILT: &str = "
        SELECT generation FROM readcast.operations
        WHERE id = $1 AND projection = $2 AND finished_at IS NULL FOR UPDATE";
    let row = session.fetch_optional(LOOKING, BUILT, values![operation, projection]).await?;
    let row = row.ok_or_else(|| refused(LOOKING, format!("`{projection}` has no open operation {operation}")))?;
    Ok(row.get::<Option<i32>>("generation")?.map(Generation))
}

/// Records that the operation is running and builds this generation.
pub(in crate::store) async fn builds(
    session: &mut dyn Session,
    operation: i64,
    generation: Generation,
) -> Result<(), StoreError> {
    const BUILDS: &str = "UPDATE readcast.operations SET state = 'running', generation = $2 WHERE id = $1";
    session.execute("beginning a generation", BUILDS, values![operation, generation]).await.map(drop)
}

/// Records that an open operation is running, and its progress.
pub(in crate::store) async fn progress(
    session: &mut dyn Session,
    operation: i64,
    progress: &OperationProgress,
) -> Result<(), StoreError> {
    const PROGRESS: &str = "
        UPDATE readcast.operations SET progress = json($2), state = 'running' WHERE id = $1 AND finished_at IS NULL";
    let values = values![operation, session.fit_json(progress)];
    session.execute("recording the progress of an operation", PROGRESS, values).await.map(drop)
}

/// Ends an operation. Returns `false` if it was not open.
pub(in crate::store) async fn finish(
    session: &mut dyn Session,
    operation: i64,
    state: OperationState,
    outcome: &str,
) -> Result<bool, StoreError> {
    const FINISH: &str = "
        UPDATE readcast.operations SET state = $2, outcome = $3, finished_at = now()
        WHERE id = $1 AND finished_at IS NULL";
    let values = values![operation, state.name(), session.fit(outcome)];
    Ok(session.execute("finishing an operation", FINISH, values).await? > 0)
}
