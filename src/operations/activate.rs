//! `activate`: makes the generation that is ready live.

use super::reconciler::Next;
use super::step::OperationStep;
use super::swap;
use crate::error::Failure;
use crate::store::{Comparison, GenerationState, GenerationStatus, OperationState};

pub(super) async fn run(step: &mut OperationStep<'_>, accept_difference: bool) -> Result<Next, Failure> {
    let name = &step.live.projection;
    let ready = step.statuses.iter().rev().find(|status| status.state == GenerationState::Ready);
    let Some(ready) = ready else {
        let outcome = format!("no generation is ready. Next: build one with `readcast rebuild {name} --no-activate`");
        return step.finish(OperationState::Refused, &outcome).await;
    };
    let objections = objections(step, ready);
    if !objections.is_empty() && !accept_difference {
        let outcome = format!(
            "generation {} was not activated: {}. Next: `readcast activate {name} --accept-difference` activates it \
             nevertheless, `readcast cancel {name}` gives it up",
            ready.generation.0,
            objections.join("; ")
        );
        return step.finish(OperationState::Refused, &outcome).await;
    }
    swap::run(step, ready).await
}

/// Why only an operator may make this generation live, a sentence each.
pub(super) fn objections(step: &OperationStep<'_>, ready: &GenerationStatus) -> Vec<String> {
    let same_definition = ready.definition_hash == step.live.definition_hash;
    let max_row_loss_percent = step.reconciler.policy.max_row_loss_percent;
    let objections = |proof: &Comparison| proof.objections(same_definition, max_row_loss_percent);
    ready.proof.as_ref().map_or_else(|| vec!["it was not compared with the live generation".into()], objections)
}
