//! The swap, as far as it is recorded. What readers see is changed by the engine, in the same transaction.

use super::{generations, holds, operations, refused};
use crate::store::session::{Session, values};
use crate::store::{GenerationState, OperationState, StoreError, Swap};

pub(in crate::store) const SWAPPING: &str = "swapping generations";

/// What the engine does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Decision {
    /// It changes what readers see, and commits.
    Swap,
    /// It rolls back: readers see the next generation since an earlier attempt.
    IsDone,
    /// It rolls back: readers would go back in the log.
    IsBehind,
}

/// Decides about a swap, and records it with the end of the operation that asked for it. Runs within the transaction in
/// which the engine changes what readers see; unless that is decided, the transaction is to be rolled back.
///
/// # Errors
/// Refused when the generations are not in states that a swap begins with, or the operation is no longer open.
pub(in crate::store) async fn record(session: &mut dyn Session, swap: &Swap<'_>) -> Result<Decision, StoreError> {
    // In the order in which everything that changes several generations locks them.
    const LOCK: &str = "
        SELECT 1 FROM readcast.generations WHERE projection = $1 AND generation IN ($2, $3)
        ORDER BY generation FOR UPDATE";
    let (live, next) = (swap.live, swap.next);
    session.fetch(SWAPPING, LOCK, values![&live.projection, live.generation, next.generation]).await?;
    match generations::state(session, SWAPPING, &next.projection, next.generation).await? {
        GenerationState::Live => return Ok(Decision::IsDone),
        GenerationState::Ready | GenerationState::Standby => {}
        state @ (GenerationState::Building | GenerationState::Retired | GenerationState::Failed) => {
            return Err(refused(SWAPPING, format!("generation {} is {state}, not ready", next.generation.0)));
        }
    }
    let state = generations::state(session, SWAPPING, &live.projection, live.generation).await?;
    if state != GenerationState::Live {
        return Err(refused(SWAPPING, format!("generation {} is {state}, not live", live.generation.0)));
    }
    if is_behind(session, swap).await? {
        return Ok(Decision::IsBehind);
    }
    change_states(session, swap).await?;
    holds::release(session, &live.projection).await?;
    if !operations::finish(session, swap.operation, OperationState::Done, swap.outcome).await? {
        return Err(refused(SWAPPING, "the operation was cancelled"));
    }
    Ok(Decision::Swap)
}

/// Whether readers would be taken back in some partition.
async fn is_behind(session: &mut dyn Session, swap: &Swap<'_>) -> Result<bool, StoreError> {
    // Commits of both generations wait from here on, so that what is compared now still holds at the end.
    const LOCK: &str = "
        SELECT 1 FROM readcast.checkpoints WHERE projection = $1 AND generation IN ($2, $3)
        ORDER BY generation, topic, partition FOR UPDATE";
    const IS_BEHIND: &str = "
        SELECT EXISTS (
            SELECT 1 FROM readcast.checkpoints AS live LEFT JOIN readcast.checkpoints AS next
                ON next.projection = $1 AND next.generation = $3
                AND next.topic = live.topic AND next.partition = live.partition
            WHERE live.projection = $1 AND live.generation = $2
              AND (next.next_offset IS NULL OR next.next_offset < live.next_offset)) AS is_behind";
    let values = values![&swap.live.projection, swap.live.generation, swap.next.generation];
    session.fetch(SWAPPING, LOCK, values.clone()).await?;
    session.fetch_one(SWAPPING, IS_BEHIND, values).await?.get("is_behind")
}

/// The old generation first: two live ones can't be recorded.
async fn change_states(session: &mut dyn Session, swap: &Swap<'_>) -> Result<(), StoreError> {
    const STANDBY: &str = "
        UPDATE readcast.generations SET state = 'standby', standby_until = in_seconds($3)
        WHERE projection = $1 AND generation = $2";
    const LIVE: &str = "
        UPDATE readcast.generations SET state = 'live', activated_at = now(), standby_until = NULL
        WHERE projection = $1 AND generation = $2";
    let (live, next) = (swap.live, swap.next);
    let stands_by = values![&live.projection, live.generation, swap.standby_for.as_secs_f64()];
    session.execute(SWAPPING, STANDBY, stands_by).await?;
    session.execute(SWAPPING, LIVE, values![&next.projection, next.generation]).await.map(drop)
}
