//! The phases of a building generation, which `rebuild` and `verify` have in common.

use std::time::Duration;

use readcast_core::Definition;

use super::hold;
use super::load::{self, LoadOutcome};
use super::reconciler::Next;
use super::step::OperationStep;
use crate::error::Failure;
use crate::failpoint;
use crate::store::{Command, GenerationStatus, Phase};

/// How long until the next look at a generation that its feeds bring forward.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// A generation that is fewer offsets behind the live one catches up with it at once.
const NEARLY_CAUGHT_UP: i64 = 1_000;

/// Brings a building generation one phase further, if it is ready for that.
pub(super) async fn run(step: &mut OperationStep<'_>, status: &GenerationStatus) -> Result<Next, Failure> {
    if let Some(error) = status.last_error.as_ref().filter(|_| status.repeats && status.is_halted()) {
        // A change that can't be repeated over a copy of the live rows can't be repeated in another attempt either.
        step.lead.end(status.generation, Some(&error.text)).await?;
        return Ok(Next::Step);
    }
    let Some(definition) = step.reconciler.version(&status.definition_hash) else { return Ok(Next::Nothing) };
    let phase = status.phase.unwrap_or(Phase::Replay);
    step.lead.follow(status.generation).await?;
    step.report_progress(status, &phase.to_string()).await?;
    match phase {
        Phase::Load if status.paused_since.is_some() => Ok(Next::Wait(POLL_INTERVAL)),
        Phase::Load => load(step, status, definition).await,
        Phase::Replay if is_nearly_caught_up(step, status) => enter(step, status, Phase::Index).await,
        Phase::Index => index(step, status, definition).await,
        Phase::CatchUp if is_nearly_caught_up(step, status) => enter(step, status, Phase::Compare).await,
        Phase::Compare => compare(step, status).await,
        Phase::Replay | Phase::CatchUp => Ok(Next::Wait(POLL_INTERVAL)),
    }
}

async fn load(
    step: &mut OperationStep<'_>,
    status: &GenerationStatus,
    definition: &Definition,
) -> Result<Next, Failure> {
    match load::load(step, status, definition).await? {
        LoadOutcome::Loaded => enter(step, status, Phase::Index).await,
        LoadOutcome::Impossible(reason) => {
            tracing::info!("the generation can't be loaded, so the log is replayed into its tables: {reason}");
            // A replay finds rows by other columns than the key: those of a fan-out or of a reference.
            step.lead.index(definition, status.generation).await?;
            enter(step, status, Phase::Replay).await
        }
        LoadOutcome::Interrupted => Ok(Next::Wait(POLL_INTERVAL)),
    }
}

async fn index(
    step: &mut OperationStep<'_>,
    status: &GenerationStatus,
    definition: &Definition,
) -> Result<Next, Failure> {
    failpoint::hit("rebuild_index");
    step.lead.index(definition, status.generation).await?;
    if matches!(&step.operation.command, Command::Rebuild(rebuild) if rebuild.keep_indexes) {
        // `rebuild` names the indexes that can't be created, before it activates the generation.
        step.lead.carry_indexes(step.live, status).await?;
    }
    enter(step, status, Phase::CatchUp).await
}

async fn compare(step: &mut OperationStep<'_>, status: &GenerationStatus) -> Result<Next, Failure> {
    failpoint::hit("rebuild_compare");
    let at_the_same_positions =
        |live: &GenerationStatus, other: &GenerationStatus| live.positions() == other.positions();
    if hold::until(step, status, at_the_same_positions).await?
        && let Some(comparison) = step.lead.compare(step.live, status).await?
    {
        step.lead.proven(status.generation, &comparison).await?;
        failpoint::hit("rebuild_proven");
        return Ok(Next::Step);
    }
    step.lead.release_holds().await?;
    enter(step, status, Phase::CatchUp).await?;
    Ok(Next::Wait(POLL_INTERVAL))
}

async fn enter(step: &mut OperationStep<'_>, status: &GenerationStatus, phase: Phase) -> Result<Next, Failure> {
    step.lead.enter(status.generation, phase).await?;
    tracing::info!(%phase, "rebuild phase changed");
    Ok(Next::Step)
}

/// Whether the generation is so close behind the live one that a hold of seconds is enough to align the two.
fn is_nearly_caught_up(step: &mut OperationStep<'_>, status: &GenerationStatus) -> bool {
    let offsets: i64 = step.live.checkpoints.iter().map(|checkpoint| checkpoint.next_offset).sum();
    let moved = step.local.live_offsets.replace(offsets).map_or(0, |before| (offsets - before).max(0));
    let is_fed = status.paused_since.is_none() && !status.is_halted();
    is_fed && status.behind(step.live).is_some_and(|behind| behind <= NEARLY_CAUGHT_UP + 2 * moved)
}
