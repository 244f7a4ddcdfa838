//! What operators do at once, beside the process that writes: each is done and recorded in one transaction.

use sqlx::{Executor, SqliteConnection};

use super::connection::at;
use super::{instances, operations, refused};
use crate::store::{Command, StoreError};

/// Feeds the projection's generations no more, or again; with `building`, only what is being built.
pub(super) async fn pause(
    connection: &mut SqliteConnection,
    projection: &str,
    paused: bool,
    building: bool,
    by: &str,
) -> Result<u64, StoreError> {
    const PAUSE: &str = "
        UPDATE readcast_generations SET paused_at = iif(?2, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), NULL)
        WHERE projection = ?1 AND (paused_at IS NULL) = ?2
          AND (state = 'building' OR NOT ?3 AND state IN ('ready', 'live', 'standby'))";
    let done = sqlx::query(PAUSE).bind(projection).bind(paused).bind(building).execute(&mut *connection).await;
    let changed = done.map_err(at("pausing generations"))?.rows_affected();
    let (command, what) = if paused { (Command::Pause, "paused") } else { (Command::Resume, "resumed") };
    let generations = if changed == 1 { "generation" } else { "generations" };
    operations::record(connection, projection, &command, by, &format!("{changed} {generations} {what}")).await?;
    Ok(changed)
}

/// Takes back every open operation and gives up what is being built or ready.
pub(super) async fn cancel(connection: &mut SqliteConnection, projection: &str, by: &str) -> Result<u64, StoreError> {
    const GIVE_UP: &str = "
        UPDATE readcast_generations
        SET state = 'failed', phase = NULL,
            last_error = ?2, last_attempt = NULL, last_error_by = NULL,
            last_error_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
        WHERE projection = ?1 AND state IN ('building', 'ready')";
    let reason = format!("cancelled by {by}");
    let operations = operations::cancel(connection, projection, &reason).await?;
    let given_up = sqlx::query(GIVE_UP).bind(projection).bind(&reason).execute(&mut *connection).await;
    let generations = given_up.map_err(at("giving up generations"))?.rows_affected();
    let outcome = format!("operations taken back: {operations}; generations given up: {generations}");
    operations::record(connection, projection, &Command::Cancel, by, &outcome).await?;
    Ok(operations + generations)
}

const RENAMING: &str = "renaming a projection";

/// Gives a projection another name. Its tables have names of their own and keep them.
pub(super) async fn rename(
    connection: &mut SqliteConnection,
    from: &str,
    to: &str,
    by: &str,
) -> Result<(), StoreError> {
    // Checkpoints refer to the generations that are renamed before them: that is looked at when both are. What refers to
    // checkpoints follows them.
    const LATER: &str = "PRAGMA defer_foreign_keys = ON";
    const RENAME: [&str; 4] = [
        "UPDATE readcast_generations SET projection = ?2 WHERE projection = ?1",
        "UPDATE readcast_checkpoints SET projection = ?2 WHERE projection = ?1",
        "UPDATE readcast_amendments SET projection = ?2 WHERE projection = ?1",
        "UPDATE readcast_operations SET projection = ?2 WHERE projection = ?1",
    ];
    if !has_generations(connection, from).await? {
        return Err(refused(RENAMING, format!("there is no projection `{from}`")));
    }
    if has_generations(connection, to).await? {
        return Err(refused(RENAMING, format!("there is a projection `{to}` already")));
    }
    connection.execute(LATER).await.map_err(at(RENAMING))?;
    for rename in RENAME {
        sqlx::query(rename).bind(from).bind(to).execute(&mut *connection).await.map_err(at(RENAMING))?;
    }
    instances::forget(connection, from).await?;
    let command = Command::Rename { from: from.into() };
    operations::record(connection, to, &command, by, &format!("`{from}` is `{to}` now")).await
}

async fn has_generations(connection: &mut SqliteConnection, projection: &str) -> Result<bool, StoreError> {
    const EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM readcast_generations WHERE projection = ?1)";
    sqlx::query_scalar(EXISTS).bind(projection).fetch_one(connection).await.map_err(at(RENAMING))
}
