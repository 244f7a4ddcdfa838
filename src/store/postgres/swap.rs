//! The swap: readers' names move from one generation to another, all at once.
//!
//! A view can't change while somebody reads it, and whoever comes after the waiting swap waits behind it. So the swap
//! waits for no longer than it was given, and otherwise leaves everything as it was.

use std::time::Duration;

use readcast_core::TableSpec;
use sqlx::{AssertSqlSafe, Executor, PgConnection};

use super::connection::{at, execute, roll_back};
use super::sql::stable;
use super::views::{self, View, execute_all};
use crate::failpoint;
use crate::store::comparison::pairs;
use crate::store::{GenerationState, StoreError, Swap, SwapImpact, SwapOutcome};

/// "lock not available", after `lock_timeout`.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// A deadlock with somebody who reads our tables and then locks them: theirs may go first.
const DEADLOCK: &str = "40P01";

pub(super) async fn swap(
    connection: &mut PgConnection,
    schema: &str,
    swap: &Swap<'_>,
) -> Result<SwapOutcome, StoreError> {
    let statements = statements(connection, schema, swap).await?;
    execute(connection, "BEGIN").await.map_err(at("swapping"))?;
    let outcome = within(connection, swap, &statements).await;
    if let Ok(SwapOutcome::Done) = outcome {
        failpoint::hit("swap_before_commit");
        execute(connection, "COMMIT").await.map_err(at("swapping"))?;
        failpoint::hit("swap_after_commit");
        return Ok(SwapOutcome::Done);
    }
    roll_back(connection).await?;
    match outcome {
        Ok(other) => Ok(other),
        Err(Trouble::Database(error)) if is_busy(&error) => Ok(SwapOutcome::Busy),
        Err(Trouble::Database(error)) => Err(at("swapping")(error)),
        Err(Trouble::Refused(reason)) => Err(StoreError::Refused { doing: "swapping".into(), reason }),
    }
}

enum Trouble {
    Database(sqlx::Error),
    Refused(String),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == LOCK_NOT_AVAILABLE || code == DEADLOCK)
}

async fn within(
    connection: &mut PgConnection,
    swap: &Swap<'_>,
    statements: &[Vec<String>],
) -> Result<SwapOutcome, Trouble> {
    const STATES: &str = "
        SELECT generation, state FROM readcast.generations
        WHERE projection = $1 AND generation IN ($2, $3) ORDER BY generation FOR UPDATE";
    // Commits of both wait from here on, so that what is compared now still holds at the end.
    const LOCK: &str = "
        SELECT FROM readcast.checkpoints WHERE projection = $1 AND generation IN ($2, $3)
        ORDER BY generation, topic, partition FOR UPDATE";
    const BEHIND: &str = "
        SELECT EXISTS (
            SELECT FROM readcast.checkpoints AS live LEFT JOIN readcast.checkpoints AS next
                ON next.projection = $1 AND next.generation = $3
                AND next.topic = live.topic AND next.partition = live.partition
            WHERE live.projection = $1 AND live.generation = $2
              AND (next.next_offset IS NULL OR next.next_offset < live.next_offset))";
    let (live, next) = (swap.live.generation.0, swap.next.generation.0);
    let projection = &swap.live.projection;
    let bound = |query: &'static str| sqlx::query(query).bind(projection).bind(live).bind(next);
    // Half of what readers may have to wait is for the waiting, shared among the names; the other half for the rest.
    let names = u32::try_from(statements.len()).unwrap_or(u32::MAX).max(1);
    set_lock_timeout(connection, swap.lock_timeout / 2).await?;
    let states = sqlx::query_as(STATES).bind(projection).bind(live).bind(next).fetch_all(&mut *connection).await?;
    let states: Vec<(i32, String)> = states;
    let is = |generation: i32, state: GenerationState| {
        states.iter().any(|(found, name)| *found == generation && name == state.name())
    };
    if is(next, GenerationState::Live) {
        return Ok(SwapOutcome::Done);
    }
    if !is(live, GenerationState::Live) || !(is(next, GenerationState::Ready) || is(next, GenerationState::Standby)) {
        return Err(Trouble::Refused("the generations are no longer in the states that a swap begins with".into()));
    }
    bound(LOCK).execute(&mut *connection).await?;
    let behind = sqlx::query_scalar(BEHIND).bind(projection).bind(live).bind(next);
    if behind.fetch_one(&mut *connection).await? {
        return Ok(SwapOutcome::Behind);
    }
    if !record(connection, swap).await? {
        return Err(Trouble::Refused("the operation was cancelled".into()));
    }
    set_lock_timeout(connection, swap.lock_timeout / 2 / names).await?;
    for statements in statements {
        execute_all(connection, statements).await?;
    }
    Ok(SwapOutcome::Done)
}

async fn set_lock_timeout(connection: &mut PgConnection, timeout: Duration) -> sqlx::Result<()> {
    // 0 would mean no limit.
    let set = format!("SET LOCAL lock_timeout = {}", timeout.as_millis().max(1));
    connection.execute(AssertSqlSafe(set)).await.map(drop)
}

/// `false` when the operation is no longer open.
async fn record(connection: &mut PgConnection, swap: &Swap<'_>) -> sqlx::Result<bool> {
    const STANDBY: &str = "
        UPDATE readcast.generations SET state = 'standby', standby_until = now() + make_interval(secs => $3)
        WHERE projection = $1 AND generation = $2";
    const LIVE: &str = "
        UPDATE readcast.generations SET state = 'live', activated_at = now(), standby_until = NULL
        WHERE projection = $1 AND generation = $2";
    const RELEASE: &str = "
        UPDATE readcast.checkpoints SET hold_at = NULL, hold_until = NULL
        WHERE projection = $1 AND generation IN ($2, $3)";
    const FINISH: &str = "
        UPDATE readcast.operations SET state = 'done', outcome = $2, finished_at = now()
        WHERE id = $1 AND finished_at IS NULL";
    let (live, next) = (swap.live.generation.0, swap.next.generation.0);
    let projection = &swap.live.projection;
    let standby_for = swap.standby_for.as_secs_f64();
    sqlx::query(STANDBY).bind(projection).bind(live).bind(standby_for).execute(&mut *connection).await?;
    sqlx::query(LIVE).bind(projection).bind(next).execute(&mut *connection).await?;
    sqlx::query(RELEASE).bind(projection).bind(live).bind(next).execute(&mut *connection).await?;
    let finish = sqlx::query(FINISH).bind(swap.operation).bind(swap.outcome).execute(connection).await?;
    Ok(finish.rows_affected() == 1)
}

/// What has to be said to the database for readers to see the next generation: a list for each name.
async fn statements(
    connection: &mut PgConnection,
    schema: &str,
    swap: &Swap<'_>,
) -> Result<Vec<Vec<String>>, StoreError> {
    let mut statements = Vec::new();
    for pair in pairs(&swap.live.tables, &swap.next.tables) {
        statements.push(match (pair.live, pair.other) {
            (Some(_), Some(next)) => View::new(connection, schema, pair.name).show(next, swap.next.generation).await?,
            (None, Some(next)) => vec![views::create(next, swap.next.generation, schema)],
            _ => vec![format!("DROP VIEW {}", stable(schema, pair.name))],
        });
    }
    Ok(statements)
}

/// What a swap from `live` to tables like `next` meets.
pub(super) async fn swap_impact(
    connection: &mut PgConnection,
    schema: &str,
    live: &[TableSpec],
    physical: &[String],
    next: &[TableSpec],
) -> Result<SwapImpact, StoreError> {
    const BYTES: &str = "
        SELECT coalesce(sum(pg_total_relation_size(to_regclass(name))), 0)::bigint FROM unnest($1::text[]) AS name";
    let bytes = sqlx::query_scalar(BYTES).bind(physical).fetch_one(&mut *connection).await;
    let bytes: i64 = bytes.map_err(at("measuring the live tables"))?;
    let mut found = SwapImpact { bytes: bytes.unsigned_abs(), ..SwapImpact::default() };
    for pair in pairs(live, next) {
        let name = stable(schema, pair.name);
        let mut view = View::new(connection, schema, pair.name);
        if pair.live.is_some() {
            found.grants.extend(view.grants().await?.iter().map(|grant| grant.statement(&name)));
            found.dependents.extend(view.dependents().await?);
        }
        match (pair.live, pair.other) {
            (Some(_), Some(next)) => found.incompatible.extend(view.incompatible(next).await?),
            (Some(_), None) => found.incompatible.push(format!("{name} goes away")),
            _ => {}
        }
    }
    Ok(found)
}
