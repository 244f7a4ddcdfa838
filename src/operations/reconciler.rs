//! Carries out the operations on one projection, one step at a time.

use std::sync::Arc;
use std::time::Duration;

use readcast_core::Definition;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field};

use super::local_state::LocalState;
use super::step::{OperationStep, finish};
use super::{LoadLimits, Policy};
use crate::error::Failure;
use crate::metrics::ProjectionMetrics;
use crate::plan::RecordPolicy;
use crate::source::Source;
use crate::store::{GenerationState, GenerationStatus, Leadership, Operation, OperationState, Store, StoreError};

/// Carries out the operations on one projection.
pub struct OperationReconciler {
    /// The log that the projection reads.
    pub source: Arc<dyn Source>,
    /// The database of the projection.
    pub store: Arc<dyn Store>,
    /// All versions of the projection that this process has, the highest first.
    pub versions: Vec<Definition>,
    /// How generations begin and end.
    pub policy: Policy,
    /// The prefix of the consumer groups' names.
    pub group: String,
    /// How records are read, and what happens to those that can't be projected.
    pub record_policy: Arc<RecordPolicy>,
    /// The metrics of the projection.
    pub metrics: ProjectionMetrics,
    /// How many threads and bytes a load may use.
    pub load_limits: LoadLimits,
    /// The id of this instance in the store.
    pub instance: String,
    /// The seed of random waits.
    pub seed: u64,
    /// Ends the work after the current step. Another instance, or the next start, continues the operation.
    pub stop: CancellationToken,
}

/// What follows a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing is left to do.
    Nothing,
    /// Another step at once.
    Step,
    /// Another step after this long.
    Wait(Duration),
}

impl OperationReconciler {
    /// Whether one of `operations` is open and this process can carry it out.
    pub fn has_work(&self, operations: &[Operation]) -> bool {
        operations.iter().any(|operation| self.can_run(operation))
    }

    /// Carries out the open operations in their order, until none is left or `stop` is cancelled. Returns at once while
    /// another instance has the lead.
    ///
    /// # Errors
    /// A step failed. The operation stays open, and the next call tries the step again.
    pub async fn reconcile(&self) -> Result<(), Failure> {
        let mut local = None;
        while !self.stop.is_cancelled() {
            // The lead is taken for one step only, so that an operation that waits holds no connection.
            let Some(mut lead) = self.store.try_lead(self.name()).await? else { return Ok(()) };
            // An earlier leader may have died while it held generations.
            lead.release_holds().await?;
            let next = self.step(&mut *lead, &mut local).await?;
            lead.resign().await?;
            match next {
                Next::Nothing => break,
                Next::Step => {}
                Next::Wait(pause) => tokio::select! {
                    () = self.stop.cancelled() => break,
                    () = tokio::time::sleep(pause) => {}
                },
            }
        }
        Ok(())
    }

    pub(super) fn name(&self) -> &str {
        self.versions.first().map_or("", Definition::name)
    }

    /// The version of the projection with this definition hash, if this process has it.
    pub(super) fn version(&self, hash: &str) -> Option<&Definition> {
        self.versions.iter().find(|version| version.hash() == hash)
    }

    /// Whether the operation is open and needs no definition that this process lacks.
    fn can_run(&self, operation: &Operation) -> bool {
        operation.state.is_open() && operation.command.definition_hash().is_none_or(|hash| self.version(hash).is_some())
    }

    pub(super) async fn statuses(&self) -> Result<Vec<GenerationStatus>, StoreError> {
        let mut statuses = self.store.generations().await?;
        statuses.retain(|status| status.projection == self.name());
        Ok(statuses)
    }

    async fn step(&self, lead: &mut dyn Leadership, local: &mut Option<LocalState>) -> Result<Next, Failure> {
        let statuses = self.statuses().await?;
        let operations = self.store.operations(self.name(), 0).await?;
        let Some(operation) = operations.into_iter().find(|operation| self.can_run(operation)) else {
            return Ok(Next::Nothing);
        };
        let span = span_of(&operation);
        self.carry_out(lead, &operation, &statuses, local).instrument(span).await
    }

    async fn carry_out(
        &self,
        lead: &mut dyn Leadership,
        operation: &Operation,
        statuses: &[GenerationStatus],
        local: &mut Option<LocalState>,
    ) -> Result<Next, Failure> {
        let Some(live) = statuses.iter().find(|status| status.state == GenerationState::Live) else {
            let outcome = "the projection has no live generation yet. Next: `readcast run` builds the first one";
            return finish(lead, operation.id, OperationState::Refused, outcome).await;
        };
        local.take_if(|local| local.operation != operation.id);
        let local = local.get_or_insert_with(|| LocalState::new(operation, self.seed));
        let mut step = OperationStep { reconciler: self, lead, operation, live, statuses, local };
        match step.run().await {
            Err(Failure::Store(StoreError::Refused { doing, reason })) => {
                finish(lead, operation.id, OperationState::Refused, &format!("{doing}: {reason}")).await
            }
            other => other,
        }
    }
}

/// The span of one step. Of level error, so that no filter takes its fields from a line that it lets through.
fn span_of(operation: &Operation) -> Span {
    let command = operation.command.name();
    let span = tracing::error_span!(
        "operation",
        projection = operation.projection,
        operation = operation.id,
        command,
        generation = field::Empty
    );
    if let Some(generation) = operation.generation {
        span.record("generation", generation.0);
    }
    span
}
