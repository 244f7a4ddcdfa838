//! The steps in the life of a generation that readers do not see. Each does nothing where it comes too late, because
//! somebody cancelled it or it was made before.

use readcast_core::TableSpec;
use sqlx::{AssertSqlSafe, Executor, SqliteConnection};

use super::connection::{Connection, at};
use super::{generations, recorded, refused, sql};
use crate::store::{Comparison, Generation, GenerationState, GenerationStatus, Phase, StoreError};

/// Notes what is done with a building generation from now on.
pub(super) async fn enter(
    connection: &mut SqliteConnection,
    projection: &str,
    generation: Generation,
    phase: Phase,
) -> Result<(), StoreError> {
    const ENTER: &str = "
        UPDATE readcast_generations SET phase = ?3
        WHERE projection = ?1 AND generation = ?2 AND state = 'building'";
    let entered = sqlx::query(ENTER).bind(projection).bind(generation.0).bind(phase.name()).execute(connection).await;
    entered.map(drop).map_err(at("noting the phase of a generation"))
}

/// Creates the secondary indexes that are missing, and gathers statistics. Each statement takes a turn of its own, so
/// that the lanes of other generations get theirs in between.
pub(super) async fn index(writes: &Connection, tables: &[TableSpec], generation: Generation) -> Result<(), StoreError> {
    for table in tables {
        let indexing = format!("creating the indexes of table `{}`", table.name());
        for statement in sql::create_indexes(table, generation).chain([sql::analyze(table, generation)]) {
            let mut turn = writes.turn().await?;
            turn.execute(AssertSqlSafe(statement)).await.map_err(at(indexing.clone()))?;
            turn.end();
        }
    }
    Ok(())
}

/// Records how a building generation compared. It is ready then and goes on freely, or has served its purpose.
pub(super) async fn proven(
    connection: &mut SqliteConnection,
    projection: &str,
    generation: Generation,
    proof: &Comparison,
) -> Result<(), StoreError> {
    const PROVEN: &str = "
        UPDATE readcast_generations SET proof = ?3, phase = NULL, state = iif(scratch, 'retired', 'ready')
        WHERE projection = ?1 AND generation = ?2 AND state = 'building'";
    const FREE: &str = "
        UPDATE readcast_checkpoints SET hold_at = NULL, hold_until = NULL WHERE projection = ?1 AND generation = ?2";
    const RECORDING: &str = "recording how a generation compared";
    let text = recorded::text(proof);
    let proven = sqlx::query(PROVEN).bind(projection).bind(generation.0).bind(text).execute(&mut *connection).await;
    if proven.map_err(at(RECORDING))?.rows_affected() > 0 {
        let freed = sqlx::query(FREE).bind(projection).bind(generation.0).execute(connection).await;
        freed.map_err(at(RECORDING))?;
    }
    Ok(())
}

/// Ends the life of a generation, with a reason if it failed.
pub(super) async fn end(
    connection: &mut SqliteConnection,
    projection: &str,
    generation: Generation,
    failure: Option<&str>,
) -> Result<(), StoreError> {
    const END: &str = "
        UPDATE readcast_generations
        SET state = iif(?3 IS NULL, 'retired', 'failed'), phase = NULL, standby_until = NULL,
            last_error = coalesce(?3, last_error), last_attempt = iif(?3 IS NULL, last_attempt, NULL),
            last_error_at = iif(?3 IS NULL, last_error_at, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
            last_error_by = iif(?3 IS NULL, last_error_by, NULL)
        WHERE projection = ?1 AND generation = ?2";
    const ENDING: &str = "ending the life of a generation";
    match generations::state(connection, projection, generation).await? {
        GenerationState::Live => {
            Err(refused(ENDING, format!("readers see generation {} of `{projection}`", generation.0)))
        }
        GenerationState::Retired | GenerationState::Failed => Ok(()),
        GenerationState::Building | GenerationState::Ready | GenerationState::Standby => {
            let ended = sqlx::query(END).bind(projection).bind(generation.0).bind(failure).execute(connection).await;
            ended.map(drop).map_err(at(ENDING))
        }
    }
}

/// Ends the life of the standbys whose time is over.
pub(super) async fn end_overdue(connection: &mut SqliteConnection, projection: &str) -> Result<(), StoreError> {
    const END: &str = "
        UPDATE readcast_generations SET state = 'retired', standby_until = NULL
        WHERE projection = ?1 AND state = 'standby' AND standby_until <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";
    sqlx::query(END).bind(projection).execute(connection).await.map(drop).map_err(at("retiring standbys"))
}

/// Why tables were not dropped.
pub(super) enum Undroppable {
    /// Rows of other tables refer to theirs.
    ReferredTo(StoreError),
    Other(StoreError),
}

impl From<StoreError> for Undroppable {
    fn from(error: StoreError) -> Self {
        Self::Other(error)
    }
}

/// Drops the tables and checkpoints of a generation whose life has ended. Readers that are still at it keep what they
/// see, and nobody waits for them.
pub(super) async fn drop_tables(
    connection: &mut SqliteConnection,
    ended: &GenerationStatus,
) -> Result<(), Undroppable> {
    const FORGET_NOTICES: &str = "DELETE FROM readcast_notices WHERE projection = ?1 AND generation = ?2";
    const FORGET: &str = "DELETE FROM readcast_checkpoints WHERE projection = ?1 AND generation = ?2";
    const DROPPED: &str = "
        UPDATE readcast_generations SET dropped_at = coalesce(dropped_at, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
        WHERE projection = ?1 AND generation = ?2";
    const DROPPING: &str = "dropping a generation";
    let state = generations::state(connection, &ended.projection, ended.generation).await?;
    if state.is_fed() {
        return Err(refused(DROPPING, format!("generation {} is {state}", ended.generation.0)).into());
    }
    for table in &ended.tables {
        let statement = format!("DROP TABLE IF EXISTS {}", sql::quoted(&sql::physical(table, ended.generation)));
        connection.execute(AssertSqlSafe(statement)).await.map_err(|error| {
            let referred_to = error.as_database_error().is_some_and(|error| error.is_foreign_key_violation());
            let error = at(DROPPING)(error);
            if referred_to { Undroppable::ReferredTo(error) } else { error.into() }
        })?;
    }
    for statement in [FORGET, FORGET_NOTICES, DROPPED] {
        let done = sqlx::query(statement).bind(&ended.projection).bind(ended.generation.0);
        done.execute(&mut *connection).await.map_err(at(DROPPING))?;
    }
    Ok(())
}
