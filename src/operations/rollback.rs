//! `rollback`: makes the generation live again that was live before.

use super::reconciler::Next;
use super::step::OperationStep;
use super::swap;
use crate::error::Failure;
use crate::store::{GenerationStatus, OperationState, has_running_instance};
use crate::text::counted;

pub(super) async fn run(step: &mut OperationStep<'_>) -> Result<Next, Failure> {
    let Some(standby) = GenerationStatus::latest_standby(step.statuses) else {
        return step.finish(OperationState::Refused, "the projection has no standby generation").await;
    };
    let behind = standby.behind(step.live);
    if behind != Some(0) {
        let heartbeats = step.reconciler.store.heartbeats().await?;
        if !has_running_instance(&heartbeats, &standby.projection, Some(&standby.definition_hash)) {
            let behind = behind.map_or("some offsets".into(), |behind| counted(behind.unsigned_abs(), "offset"));
            let outcome = format!(
                "the standby generation {} is {behind} behind the live one, and no running instance has the code that \
                 built it (version {}). Next: start an instance with that version, then type `readcast rollback {}` again",
                standby.generation.0, standby.version, standby.projection
            );
            return step.finish(OperationState::Refused, &outcome).await;
        }
    }
    swap::run(step, standby).await
}
