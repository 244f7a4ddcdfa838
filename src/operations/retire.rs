//! `retire`: ends the generations that readers do not see, and drops their tables.

use std::time::Duration;

use super::drop_obstacle::{DropObstacle, broken_notice};
use super::has_tables_to_drop;
use super::reconciler::Next;
use super::step::OperationStep;
use crate::error::Failure;
use crate::store::{DropOutcome, GenerationState, GenerationStatus, OperationState, StoreError};

/// How long tables may stay in use before the operation is refused.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long until tables in use are tried again.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

pub(super) async fn run(step: &mut OperationStep<'_>) -> Result<Next, Failure> {
    if end_unseen(step).await? {
        return Ok(Next::Step);
    }
    let mut obstacles = Vec::new();
    for status in step.statuses.iter().filter(|status| has_tables_to_drop(status)) {
        let obstacle = drop_tables(step, status).await?;
        obstacles.extend(obstacle.map(|obstacle| (status, obstacle)));
    }
    if obstacles.iter().any(|(_, obstacle)| obstacle.is_temporary()) && step.local.since.elapsed() < LONGEST_WAIT {
        return Ok(Next::Wait(POLL_INTERVAL));
    }
    if !obstacles.is_empty() {
        let sentence = |(status, obstacle): &(&GenerationStatus, DropObstacle)| {
            format!("generation {}: {}", status.generation.0, obstacle.sentence(&status.projection))
        };
        let outcome = obstacles.iter().map(sentence).collect::<Vec<_>>().join(". ");
        return step.finish(OperationState::Refused, &outcome).await;
    }
    let numbers: Vec<String> = step.local.retired.iter().map(|generation| generation.0.to_string()).collect();
    let outcome = match numbers.as_slice() {
        [] => "no generation was left to retire".to_owned(),
        [number] => format!("generation {number} is retired and its tables are dropped"),
        numbers => format!("generations {} are retired and their tables are dropped", numbers.join(", ")),
    };
    step.finish(OperationState::Done, &outcome).await
}

/// Ends the standbys and what is ready. Whether there were any.
async fn end_unseen(step: &mut OperationStep<'_>) -> Result<bool, StoreError> {
    let is_unseen =
        |status: &&GenerationStatus| matches!(status.state, GenerationState::Standby | GenerationState::Ready);
    let mut found = false;
    for status in step.statuses.iter().filter(is_unseen) {
        step.lead.end(status.generation, None).await?;
        step.local.retired.insert(status.generation);
        found = true;
    }
    Ok(found)
}

/// Drops the tables of a generation that has ended, or says what prevents it.
async fn drop_tables(
    step: &mut OperationStep<'_>,
    status: &GenerationStatus,
) -> Result<Option<DropObstacle>, StoreError> {
    match step.lead.drop_tables(status).await {
        Ok(DropOutcome::Done(broken)) => {
            step.local.retired.insert(status.generation);
            if !broken.is_empty() {
                let (store, instance) = (&step.reconciler.store, &step.reconciler.instance);
                store.record_notice(&status.projection, status.generation, instance, &broken_notice(&broken)).await?;
            }
            Ok(None)
        }
        Ok(DropOutcome::InUse(by)) => Ok(Some(DropObstacle::in_use(&by))),
        Ok(DropOutcome::Kept(dependents)) => Ok(Some(DropObstacle::dependents(&dependents))),
        Err(StoreError::Refused { doing, reason }) => Ok(Some(DropObstacle::refused(&doing, &reason))),
        Err(error) => Err(error),
    }
}
