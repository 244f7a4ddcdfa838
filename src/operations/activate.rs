//! `activate`: makes the generation that is ready live.

use readcast_core::{TableSpec, type_changes};

use super::reconciler::Next;
use super::step::OperationStep;
use super::swap;
use crate::error::Failure;
use crate::store::{Comparison, GenerationState, GenerationStatus, OperationState};

pub(super) async fn run(
    step: &mut OperationStep<'_>,
    accept_difference: bool,
    accept_type_change: bool,
) -> Result<Next, Failure> {
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
    if !accept_type_change && let Some(refusal) = refusal_of_types(&step.live.tables, &ready.tables) {
        let outcome = format!(
            "generation {} was not activated: {refusal}. Next: `readcast activate {name} --accept-type-change`, or \
             `readcast cancel {name}`",
            ready.generation.0,
        );
        return step.finish(OperationState::Refused, &outcome).await;
    }
    swap::run(step, ready).await
}

/// Why tables whose columns have other types must not become live unless an operator accepts it. `None` if none has.
pub(super) fn refusal_of_types(live: &[TableSpec], next: &[TableSpec]) -> Option<String> {
    let changes = type_changes(live, next);
    (!changes.is_empty()).then(|| {
        let changes = changes.join(", ");
        format!(
            "{changes}, and readers that have prepared a statement fail until they prepare it again, some for as long as \
             they are connected (see docs/src/guides/change.md#a-column-that-changes-its-type)"
        )
    })
}

/// Why only an operator may make this generation live, a sentence each.
pub(super) fn objections(step: &OperationStep<'_>, ready: &GenerationStatus) -> Vec<String> {
    let same_definition = ready.definition_hash == step.live.definition_hash;
    let max_row_loss_percent = step.reconciler.policy.max_row_loss_percent;
    let objections = |proof: &Comparison| proof.objections(same_definition, max_row_loss_percent);
    ready.proof.as_ref().map_or_else(|| vec!["it was not compared with the live generation".into()], objections)
}
