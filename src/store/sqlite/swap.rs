//! The swap: readers see another generation, all tables of a projection in one transaction.
//!
//! It has nobody to wait for: readers that are at the old generation keep what they see to the end of their
//! transaction, and the others find the new views.

use sqlx::{AssertSqlSafe, Executor, SqliteConnection};

use super::connection::at;
use super::{definition, generations, holds, refused, sql};
use crate::store::{GenerationState, GenerationStatus, StoreError, Swap, SwapOutcome};

const SWAPPING: &str = "swapping generations";

/// Lets readers see `next` instead of `live`. Runs within a transaction, which is to be taken back unless it is `Done`.
pub(super) async fn swap(connection: &mut SqliteConnection, swap: &Swap<'_>) -> Result<SwapOutcome, StoreError> {
    let (live, next) = (swap.live, swap.next);
    match generations::state(connection, &next.projection, next.generation).await? {
        GenerationState::Live => return Ok(SwapOutcome::Done),
        GenerationState::Ready | GenerationState::Standby => {}
        state @ (GenerationState::Building | GenerationState::Retired | GenerationState::Failed) => {
            return Err(refused(SWAPPING, format!("generation {} is {state}, not ready", next.generation.0)));
        }
    }
    let state = generations::state(connection, &live.projection, live.generation).await?;
    if state != GenerationState::Live {
        return Err(refused(SWAPPING, format!("generation {} is {state}, not live", live.generation.0)));
    }
    if is_behind(connection, live, next).await? {
        return Ok(SwapOutcome::Behind);
    }
    replace_views(connection, live, next).await?;
    change_states(connection, swap).await?;
    finish(connection, swap).await?;
    holds::release(connection, &next.projection).await?;
    Ok(SwapOutcome::Done)
}

/// Whether readers would be taken back in some partition.
async fn is_behind(
    connection: &mut SqliteConnection,
    live: &GenerationStatus,
    next: &GenerationStatus,
) -> Result<bool, StoreError> {
    const BEHIND: &str = "
        SELECT EXISTS (
            SELECT 1 FROM readcast_checkpoints AS live
            WHERE projection = ?1 AND generation = ?2 AND NOT EXISTS (
                SELECT 1 FROM readcast_checkpoints AS next
                WHERE next.projection = ?1 AND next.generation = ?3
                  AND next.topic = live.topic AND next.partition = live.partition
                  AND next.next_offset >= live.next_offset))";
    let behind = sqlx::query_scalar(BEHIND).bind(&live.projection).bind(live.generation.0).bind(next.generation.0);
    behind.fetch_one(connection).await.map_err(at(SWAPPING))
}

/// Makes the stable names views of the next generation. Names that somebody made something else of are left alone,
/// and refused when they are needed.
async fn replace_views(
    connection: &mut SqliteConnection,
    live: &GenerationStatus,
    next: &GenerationStatus,
) -> Result<(), StoreError> {
    for table in &live.tables {
        if definition::is_view(connection, table, live.generation).await? {
            let statement = format!("DROP VIEW {}", sql::quoted(table.name()));
            connection.execute(AssertSqlSafe(statement)).await.map_err(at(SWAPPING))?;
        }
    }
    for table in &next.tables {
        if let Some(taken) = definition::taken_name(connection, table.name()).await? {
            return Err(refused(SWAPPING, taken));
        }
        let statement = sql::create_view(table, next.generation);
        connection.execute(AssertSqlSafe(statement)).await.map_err(at(SWAPPING))?;
    }
    Ok(())
}

/// The old one first: two live ones can't be recorded.
async fn change_states(connection: &mut SqliteConnection, swap: &Swap<'_>) -> Result<(), StoreError> {
    const STAND_BY: &str = "
        UPDATE readcast_generations
        SET state = 'standby', standby_until = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?3 || ' seconds')
        WHERE projection = ?1 AND generation = ?2";
    const ACTIVATE: &str = "
        UPDATE readcast_generations
        SET state = 'live', activated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), standby_until = NULL
        WHERE projection = ?1 AND generation = ?2";
    let (live, next) = (swap.live, swap.next);
    let stand_by = sqlx::query(STAND_BY).bind(&live.projection).bind(live.generation.0);
    let stand_by = stand_by.bind(swap.standby_for.as_secs_f64()).execute(&mut *connection).await;
    stand_by.map_err(at(SWAPPING))?;
    let activate = sqlx::query(ACTIVATE).bind(&next.projection).bind(next.generation.0).execute(connection).await;
    activate.map(drop).map_err(at(SWAPPING))
}

/// Ends the operation that asked for the swap with it.
async fn finish(connection: &mut SqliteConnection, swap: &Swap<'_>) -> Result<(), StoreError> {
    const FINISH: &str = "
        UPDATE readcast_operations
        SET state = 'done', outcome = ?2, finished_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
        WHERE id = ?1 AND finished_at IS NULL";
    let finish = sqlx::query(FINISH).bind(swap.operation).bind(swap.outcome).execute(connection).await;
    match finish.map_err(at(SWAPPING))?.rows_affected() {
        0 => Err(refused(SWAPPING, "the operation was cancelled".into())),
        _ => Ok(()),
    }
}
