//! `dead-letters retry` and `dead-letters discard`: settles parked records.
//!
//! A sequence (the parked records of one key in one partition) is settled from its beginning, some records in each
//! transaction, with the parking epoch at which they were read. In the meantime the owner of the partition parks new
//! records of the key after them. When no record is left, the owner plans its next commit again and no longer parks the
//! key.

mod open_decisions;
mod sequence;
mod summary;

pub(crate) use self::open_decisions::{FollowedGeneration, follow_decisions};
use self::sequence::{Resolution, SequenceSettler};
use self::summary::Summary;
use super::OperationReconciler;
use super::reconciler::Next;
use super::step::OperationStep;
use crate::error::Failure;
use crate::plan::AllowedChanges;
use crate::store::{
    GenerationState, GenerationStatus, OperationProgress, OperationState, ParkedIn, Priority, SettleRequest, StoreError,
};

/// Settles what `request` selects, in every generation that this process can feed. The outcome is that of the live one. A
/// process that feeds another generation finds the decisions in the store: see [`follow_decisions`].
pub(super) async fn run(step: &mut OperationStep<'_>, request: &SettleRequest) -> Result<Next, Failure> {
    let mut of_live = Summary::default();
    for status in step.statuses.iter().filter(|status| status.state.is_fed() && status.has_tables) {
        let Some(summary) = settle_generation(step, request, status).await? else { return Ok(Next::Nothing) };
        if status.state == GenerationState::Live {
            of_live = summary;
        }
    }
    let (projected, discarded, failing) = of_live.counts();
    tracing::info!(projected, discarded, failing, "parked records settled");
    let state = if failing == 0 { OperationState::Done } else { OperationState::Refused };
    step.finish_unlogged(state, &of_live.sentence(&step.live.projection)).await
}

/// Settles what `request` selects in one generation. `None` when the operation was cancelled or this process stops.
async fn settle_generation(
    step: &mut OperationStep<'_>,
    request: &SettleRequest,
    status: &GenerationStatus,
) -> Result<Option<Summary>, Failure> {
    let reconciler = step.reconciler;
    let Some(definition) = reconciler.version(&status.definition_hash) else { return Ok(Some(Summary::default())) };
    let of = ParkedIn { projection: &status.projection, generation: status.generation };
    let mut sequences = reconciler.store.parked(of).await?;
    sequences.retain(|sequence| request.selection.matches(sequence));
    let mut settler = SequenceSettler {
        store: &*reconciler.store,
        record_policy: &reconciler.record_policy,
        of,
        definition,
        allowed: if status.repeats { AllowedChanges::Repeatable } else { AllowedChanges::All },
        resolution: Resolution::Requested(&request.resolution),
        by: &step.operation.requested_by,
        reason: request.reason.as_deref(),
        writer: reconciler.store.writer(definition, status.generation, Priority::Operation.into()).await?,
        summary: Summary::default(),
    };
    for (done, sequence) in sequences.iter().enumerate() {
        if reconciler.stop.is_cancelled() || !is_open(reconciler, step.operation.id).await? {
            return Ok(None);
        }
        settler.settle(sequence).await?;
        let progress = OperationProgress {
            phase: "settling".into(),
            done: done as u64 + 1,
            total: sequences.len() as u64,
            per_second: None,
        };
        step.lead.progress(step.operation.id, &progress).await?;
    }
    Ok(Some(settler.summary))
}

/// Whether the operation was not cancelled.
async fn is_open(reconciler: &OperationReconciler, operation: i64) -> Result<bool, StoreError> {
    let open = reconciler.store.operations(reconciler.name(), 0).await?;
    Ok(open.iter().any(|other| other.id == operation))
}
