//! `verify`: builds a scratch generation from the log and compares the live tables with it.

use super::log_history::truncated_history;
use super::reconciler::Next;
use super::step::OperationStep;
use super::{build, order_findings};
use crate::error::Failure;
use crate::store::{BuildOptions, Comparison, GenerationState, OperationState};
use crate::text::counted;

pub(super) async fn run(step: &mut OperationStep<'_>, definition_hash: &str) -> Result<Next, Failure> {
    let Some(status) = step.built() else { return begin(step, definition_hash).await };
    match (status.state, &status.proof) {
        (GenerationState::Building, _) => build::run(step, status).await,
        (_, Some(proof)) => {
            let outcome = sentence(proof) + &order_findings::sentence(&step.local.order_findings);
            step.finish_unlogged(OperationState::Done, &outcome).await
        }
        (_, None) => {
            let reason = status.last_error.as_ref().map_or("it was cancelled", |error| &error.text);
            step.finish(OperationState::Refused, &format!("nothing was compared: {reason}")).await
        }
    }
}

async fn begin(step: &mut OperationStep<'_>, definition_hash: &str) -> Result<Next, Failure> {
    let Some(definition) = step.reconciler.version(definition_hash) else { return Ok(Next::Nothing) };
    if step.live.definition_hash != definition_hash {
        let outcome = format!(
            "another generation became live since this was requested. Next: `readcast verify {}` again",
            step.live.projection
        );
        return step.finish(OperationState::Refused, &outcome).await;
    }
    let extents = step.reconciler.source.extents(definition.topics()).await?;
    if let Some(truncated) = truncated_history(&extents, step.live) {
        let outcome = format!("{truncated}, so the live tables can't be compared with the log");
        return step.finish(OperationState::Refused, &outcome).await;
    }
    let options = BuildOptions { scratch: true, load: true, copy_from: None };
    step.lead.begin(step.operation.id, definition, &options, &extents).await?;
    Ok(Next::Step)
}

fn sentence(proof: &Comparison) -> String {
    if proof.is_equal() {
        let rows: u64 = proof.tables.iter().filter_map(|table| table.live_rows).sum();
        return format!("the live tables hold exactly what the log makes of them: {}", counted(rows, "row"));
    }
    let differing = proof.tables.iter().filter(|table| table.differences() > 0);
    let differing: Vec<String> = differing.map(ToString::to_string).collect();
    format!("the live tables differ from what the log makes of them: {}", differing.join("; "))
}
