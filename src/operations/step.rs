//! One step of one operation: what it knows, which file carries it out, and how it reports progress and the end.

use readcast_core::TopicPartition;
use tokio::time::Instant;

use super::local_state::LocalState;
use super::reconciler::{Next, OperationReconciler};
use super::{accept_loss, activate, rebuild, refold_key, retire, rollback, settle, verify};
use crate::error::Failure;
use crate::store::{
    Command, GenerationStatus, Leadership, Operation, OperationProgress, OperationState, Phase, StoreError,
};

/// One step of one operation.
pub(super) struct OperationStep<'a> {
    pub(super) reconciler: &'a OperationReconciler,
    pub(super) lead: &'a mut dyn Leadership,
    pub(super) operation: &'a Operation,
    /// The live generation of the projection.
    pub(super) live: &'a GenerationStatus,
    /// All generations of the projection.
    pub(super) statuses: &'a [GenerationStatus],
    pub(super) local: &'a mut LocalState,
}

impl<'a> OperationStep<'a> {
    /// Does what comes next.
    ///
    /// # Errors
    /// [`StoreError::Refused`] ends the operation. After any other error the step is tried again.
    pub(super) async fn run(&mut self) -> Result<Next, Failure> {
        match &self.operation.command {
            Command::Rebuild(rebuild) => rebuild::run(self, rebuild).await,
            Command::Verify { definition_hash } => verify::run(self, definition_hash).await,
            Command::Activate { accept_difference, accept_type_change } => {
                activate::run(self, *accept_difference, *accept_type_change).await
            }
            Command::Rollback => rollback::run(self).await,
            Command::Retire => retire::run(self).await,
            Command::RefoldKey { key, definition_hash } => refold_key::run(self, key, definition_hash).await,
            Command::DeadLetters(request) => settle::run(self, request).await,
            Command::AcceptLoss => accept_loss::run(self).await,
            // The process that requested them has carried them out.
            Command::Pause | Command::Resume | Command::Cancel | Command::Revoke | Command::Rename { .. } => {
                self.finish(OperationState::Done, "done").await
            }
        }
    }

    /// The generation that this operation builds, once it has begun one.
    pub(super) fn built(&self) -> Option<&'a GenerationStatus> {
        let generation = self.operation.generation?;
        self.statuses.iter().find(|status| status.generation == generation)
    }

    /// Records how far the operation is: how many of the live generation's offsets the generation `status` has.
    pub(super) async fn report_progress(&mut self, status: &GenerationStatus, phase: &str) -> Result<(), StoreError> {
        let start = |partition: &TopicPartition| {
            let checkpoint = status.checkpoints.iter().find(|checkpoint| checkpoint.partition == *partition);
            checkpoint.and_then(|checkpoint| checkpoint.start_offset).unwrap_or(0)
        };
        let offsets = |of: &GenerationStatus| -> u64 {
            let from_start = of.checkpoints.iter().map(|held| (held.next_offset - start(&held.partition)).max(0));
            from_start.map(i64::unsigned_abs).sum()
        };
        let (done, total) = (offsets(status), offsets(self.live));
        let measured = self.local.rate.measure(done, Instant::now());
        let before = self.operation.progress.as_ref().and_then(|progress| progress.per_second);
        // The plan of a later rebuild uses the rate of the replay. In the other phases the live generation sets the pace.
        let per_second = if status.phase == Some(Phase::Replay) { measured.or(before) } else { before.or(measured) };
        let progress = OperationProgress { phase: phase.to_owned(), done, total: total.max(done), per_second };
        self.lead.progress(self.operation.id, &progress).await
    }

    /// Ends the operation, with its outcome in a sentence that may be logged.
    pub(super) async fn finish(&mut self, state: OperationState, outcome: &str) -> Result<Next, Failure> {
        finish(self.lead, self.operation.id, state, outcome).await
    }

    /// Ends the operation with an outcome that names record keys. Operators see it, and no log does.
    pub(super) async fn finish_unlogged(&mut self, state: OperationState, outcome: &str) -> Result<Next, Failure> {
        tracing::info!(state = state.name(), "operation ended");
        self.lead.finish(self.operation.id, state, outcome).await?;
        Ok(Next::Step)
    }
}

/// Ends an operation, with its outcome in a sentence that may be logged.
pub(super) async fn finish(
    lead: &mut dyn Leadership,
    operation: i64,
    state: OperationState,
    outcome: &str,
) -> Result<Next, Failure> {
    match state {
        OperationState::Refused => tracing::warn!(state = state.name(), "operation ended: {outcome}"),
        _ => tracing::info!(state = state.name(), "operation ended: {outcome}"),
    }
    lead.finish(operation, state, outcome).await?;
    Ok(Next::Step)
}
