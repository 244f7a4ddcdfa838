//! Records a swap. In the same transaction the engine changes the views that readers use.

use super::{generations, holds, operations, refused};
use crate::store::session::{Session, values};
use crate::store::{GenerationState, OperationState, StoreError, Swap};

pub(in crate::store) const SWAPPING: &str = "swapping generations";

/// What the engine must do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Decision {
    /// Change the views and commit.
    Swap,
    /// Roll back: an earlier attempt has made the swap.
    IsDone,
    /// Roll back: the swap would move readers back in the log.
    IsBehind,
}

/// Decides on a swap, and records it with the end of the operation that requested it. Runs within the transaction in
/// which the engine changes the views. The caller must roll back unless the decision is [`Decision::Swap`].
///
/// # Errors
/// Refused if the generations are not in states in which a swap is allowed, or the operation is no longer open.
pub(in crate::store) async fn record(session: &mut dyn Session, swap: &Swap<'_>) -> Result<Decision, StoreError> {
    // The common lock order of all transactions that change several generations.
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

/// Whether the swap would move readers back in some partition.
async fn is_behind(session: &mut dyn Session, swap: &Swap<'_>) -> Result<bool, StoreError> {
    // From here on commits of both generations wait, so that the result of the comparison holds until the end of the
    // transaction.
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

/// Changes the old generation first: two generations can't be live at the same time.
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
