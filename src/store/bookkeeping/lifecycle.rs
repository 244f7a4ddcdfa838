//! The steps in the life of a generation that readers do not see. A step has no effect if it comes too late: the
//! operation was cancelled, or an earlier attempt made the step.

use super::{generations, refused};
use crate::store::session::{Session, values};
use crate::store::{Comparison, Generation, GenerationState, GenerationStatus, Phase, StoreError};

/// Records the phase of a building generation.
pub(in crate::store) async fn enter(
    session: &mut dyn Session,
    projection: &str,
    generation: Generation,
    phase: Phase,
) -> Result<(), StoreError> {
    const ENTER: &str = "
        UPDATE readcast.generations SET phase = $3 WHERE projection = $1 AND generation = $2 AND state = 'building'";
    session.execute("entering a phase", ENTER, values![projection, generation, phase.name()]).await.map(drop)
}

/// Records the comparison of a building generation. The generation is then ready and no longer held. A scratch
/// generation is retired instead. Runs within a transaction.
pub(in crate::store) async fn proven(
    session: &mut dyn Session,
    projection: &str,
    generation: Generation,
    proof: &Comparison,
) -> Result<(), StoreError> {
    const RECORDING: &str = "recording a comparison";
    const PROVEN: &str = "
        UPDATE readcast.generations
        SET proof = json($3), phase = NULL, state = CASE WHEN scratch THEN 'retired' ELSE 'ready' END
        WHERE projection = $1 AND generation = $2 AND state = 'building'";
    const FREE: &str = "
        UPDATE readcast.checkpoints SET hold_at = NULL, hold_until = NULL WHERE projection = $1 AND generation = $2";
    let proof = session.fit_json(proof);
    if session.execute(RECORDING, PROVEN, values![projection, generation, proof]).await? > 0 {
        session.execute(RECORDING, FREE, values![projection, generation]).await?;
    }
    Ok(())
}

/// Ends a generation: as `Retired`, or as `Failed` with a reason. Runs within a transaction.
///
/// # Errors
/// Refused if there is no such generation, or readers see it.
pub(in crate::store) async fn end(
    session: &mut dyn Session,
    projection: &str,
    generation: Generation,
    failure: Option<&str>,
) -> Result<(), StoreError> {
    const ENDING: &str = "ending a generation";
    const RETIRE: &str = "
        UPDATE readcast.generations SET state = 'retired', phase = NULL, standby_until = NULL
        WHERE projection = $1 AND generation = $2";
    const FAIL: &str = "
        UPDATE readcast.generations
        SET state = 'failed', phase = NULL, standby_until = NULL,
            last_error = $3, last_attempt = NULL, last_error_at = now(), last_error_by = NULL
        WHERE projection = $1 AND generation = $2";
    match generations::state(session, ENDING, projection, generation).await? {
        GenerationState::Live => Err(refused(ENDING, format!("generation {} is live", generation.0))),
        GenerationState::Retired | GenerationState::Failed => Ok(()),
        GenerationState::Building | GenerationState::Ready | GenerationState::Standby => {
            let ended = match failure {
                None => session.execute(ENDING, RETIRE, values![projection, generation]).await,
                Some(failure) => {
                    let failure = session.fit(failure);
                    session.execute(ENDING, FAIL, values![projection, generation, failure]).await
                }
            };
            ended.map(drop)
        }
    }
}

/// Retires the standbys whose time is over.
pub(in crate::store) async fn end_overdue(session: &mut dyn Session, projection: &str) -> Result<(), StoreError> {
    const END: &str = "
        UPDATE readcast.generations SET state = 'retired', standby_until = NULL
        WHERE projection = $1 AND state = 'standby' AND standby_until < in_seconds(0)";
    session.execute("retiring standbys", END, values![projection]).await.map(drop)
}

pub(in crate::store) const DROPPING: &str = "dropping the tables of a generation";

/// Records that the tables of a generation are dropped, and deletes its checkpoints, ledger and notices. This fences a
/// writer that does not know yet that the generation has ended, before the writer uses the tables. Runs within the
/// transaction in which the engine drops the tables.
///
/// # Errors
/// Refused if the generation has not ended.
pub(in crate::store) async fn forget(session: &mut dyn Session, ended: &GenerationStatus) -> Result<(), StoreError> {
    const FORGET: [&str; 4] = [
        "UPDATE readcast.generations SET dropped_at = coalesce(dropped_at, now()), component = NULL
         WHERE projection = $1 AND generation = $2",
        "DELETE FROM readcast.checkpoints WHERE projection = $1 AND generation = $2",
        // After the checkpoints: without them no commit can add a page.
        "DELETE FROM readcast.ledger WHERE projection = $1 AND generation = $2",
        "DELETE FROM readcast.notices WHERE projection = $1 AND generation = $2",
    ];
    let (projection, generation) = (&ended.projection, ended.generation);
    let state = generations::state(session, DROPPING, projection, generation).await?;
    if state.is_fed() {
        return Err(refused(DROPPING, format!("generation {} is {state} and has not ended", generation.0)));
    }
    for statement in FORGET {
        session.execute(DROPPING, statement, values![projection, generation]).await?;
    }
    Ok(())
}
