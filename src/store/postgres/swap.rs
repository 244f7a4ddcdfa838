//! The swap: the stable names move from one generation to another, all in one transaction.
//!
//! A view can't be replaced while a query reads it, and new readers wait for the waiting swap. Therefore the swap waits
//! no longer than its time limit, and otherwise changes nothing.

use std::time::Duration;

use readcast_core::{Shown, TableSpec};
use sqlx::{AssertSqlSafe, Executor, PgConnection};

use super::connection::{at, commit_transaction, execute, roll_back};
use super::session::PgSession;
use super::sql::stable;
use super::views::{self, View, execute_all};
use crate::failpoint;
use crate::store::bookkeeping::swap::{Decision, SWAPPING, record};
use crate::store::comparison::pairs;
use crate::store::{StoreError, Swap, SwapImpact, SwapOutcome};

/// SQLSTATE "lock not available", after `lock_timeout`.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// SQLSTATE of a deadlock, with a client that reads the tables and then locks them. The client continues, and the swap is tried again.
const DEADLOCK: &str = "40P01";

pub(super) async fn swap(
    session: &mut PgSession<'_>,
    schema: &str,
    swap: &Swap<'_>,
) -> Result<SwapOutcome, StoreError> {
    let statements = statements(session, schema, swap).await?;
    execute(session, "BEGIN").await.map_err(at(SWAPPING))?;
    let outcome = match within(session, swap, &statements).await {
        Ok(Decision::Swap) => {
            failpoint::hit("swap_before_commit");
            commit_transaction(session).await?;
            failpoint::hit("swap_after_commit");
            return Ok(SwapOutcome::Done);
        }
        Ok(Decision::IsDone) => Ok(SwapOutcome::Done),
        Ok(Decision::IsBehind) => Ok(SwapOutcome::Behind),
        Err(error) if is_busy(&error) => Ok(SwapOutcome::Busy),
        Err(error) => Err(error),
    };
    roll_back(session).await?;
    outcome
}

/// Whether another transaction kept a lock for too long. A reason begins with its SQLSTATE.
fn is_busy(error: &StoreError) -> bool {
    [LOCK_NOT_AVAILABLE, DEADLOCK].iter().any(|code| error.reason().starts_with(code))
}

async fn within(
    session: &mut PgSession<'_>,
    swap: &Swap<'_>,
    statements: &[Vec<String>],
) -> Result<Decision, StoreError> {
    // Half of the time limit is for the rows of readcast's own tables. The stable names share the other half.
    let names = u32::try_from(statements.len()).unwrap_or(u32::MAX).max(1);
    set_lock_timeout(session, swap.lock_timeout / 2).await?;
    let decision = record(session, swap).await?;
    if decision == Decision::Swap {
        set_lock_timeout(session, swap.lock_timeout / 2 / names).await?;
        for statements in statements {
            execute_all(session, statements).await.map_err(at(SWAPPING))?;
        }
    }
    Ok(decision)
}

async fn set_lock_timeout(connection: &mut PgConnection, timeout: Duration) -> Result<(), StoreError> {
    // 0 would mean no limit.
    let set = format!("SET LOCAL lock_timeout = {}", timeout.as_millis().max(1));
    connection.execute(AssertSqlSafe(set)).await.map(drop).map_err(at(SWAPPING))
}

/// The statements that make the stable names show the next generation: a list for each name.
async fn statements(
    connection: &mut PgConnection,
    schema: &str,
    swap: &Swap<'_>,
) -> Result<Vec<Vec<String>>, StoreError> {
    let mut statements = Vec::new();
    for pair in pairs(&Shown::all(&swap.live.tables), &Shown::all(&swap.next.tables)) {
        statements.push(match (pair.live, pair.other) {
            (Some(_), Some(next)) => View::new(connection, schema, pair.name).show(next, swap.next.generation).await?,
            (None, Some(next)) => vec![views::create(next, swap.next.generation, schema)],
            _ => vec![format!("DROP VIEW {}", stable(schema, pair.name))],
        });
    }
    Ok(statements)
}

/// The effects of a swap from `live` to the tables of `next`.
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
    for pair in pairs(&Shown::all(live), &Shown::all(next)) {
        let name = stable(schema, pair.name);
        let mut view = View::new(connection, schema, pair.name);
        if pair.live.is_some() {
            found.grants.extend(view.grants().await?.iter().map(|grant| grant.statement(&name)));
            found.dependents.extend(view.dependents().await?);
        }
        match (pair.live, pair.other) {
            (Some(_), Some(next)) => found.incompatible.extend(view.incompatible(next).await?),
            (Some(_), None) => found.incompatible.push(format!("{name} is removed")),
            _ => {}
        }
    }
    Ok(found)
}
