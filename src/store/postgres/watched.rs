//! A leadership with a watched connection. A step may take hours, but it fails within seconds if the connection is
//! dead, even if no error was reported.

use async_trait::async_trait;
use readcast_core::Definition;

use super::connections::Connections;
use super::leadership::PostgresLeadership;
use super::server::Backend;
use crate::source::Extents;
use crate::store::{
    BuildOptions, CheckpointMove, CommitOutcome, Comparison, DropOutcome, Generation, GenerationStatus, Leadership,
    Load, OperationProgress, OperationState, Phase, StoreError, Swap, SwapOutcome,
};

/// A leadership, and the server process that is checked to see whether its connection is alive.
pub(super) struct WatchedLeadership {
    connections: Connections,
    backend: Backend,
    lead: PostgresLeadership,
}

impl WatchedLeadership {
    pub(super) fn new(connections: Connections, lead: PostgresLeadership) -> Self {
        Self { connections, backend: lead.backend(), lead }
    }
}

/// Runs one step while the connection is watched.
macro_rules! watched {
    ($self:ident, |$lead:ident| $step:expr) => {{
        let Self { connections, backend, lead: $lead } = $self;
        connections.watched(backend, $step).await
    }};
}

#[async_trait]
impl Leadership for WatchedLeadership {
    async fn begin(
        &mut self,
        operation: i64,
        definition: &Definition,
        build: &BuildOptions,
        starts: &Extents,
    ) -> Result<Generation, StoreError> {
        watched!(self, |lead| lead.begin(operation, definition, build, starts))
    }

    async fn enter(&mut self, generation: Generation, phase: Phase) -> Result<(), StoreError> {
        watched!(self, |lead| lead.enter(generation, phase))
    }

    async fn follow(&mut self, generation: Generation) -> Result<(), StoreError> {
        watched!(self, |lead| lead.follow(generation))
    }

    async fn hold(&mut self, generation: Generation) -> Result<(), StoreError> {
        watched!(self, |lead| lead.hold(generation))
    }

    async fn release_holds(&mut self) -> Result<(), StoreError> {
        watched!(self, |lead| lead.release_holds())
    }

    async fn load(&mut self, load: Load<'_>) -> Result<CommitOutcome, StoreError> {
        watched!(self, |lead| lead.load(load))
    }

    async fn index(&mut self, definition: &Definition, generation: Generation) -> Result<(), StoreError> {
        watched!(self, |lead| lead.index(definition, generation))
    }

    async fn carry_indexes(
        &mut self,
        live: &GenerationStatus,
        next: &GenerationStatus,
    ) -> Result<Vec<String>, StoreError> {
        watched!(self, |lead| lead.carry_indexes(live, next))
    }

    async fn compare(
        &mut self,
        live: &GenerationStatus,
        other: &GenerationStatus,
    ) -> Result<Option<Comparison>, StoreError> {
        watched!(self, |lead| lead.compare(live, other))
    }

    async fn proven(&mut self, generation: Generation, proof: &Comparison) -> Result<(), StoreError> {
        watched!(self, |lead| lead.proven(generation, proof))
    }

    async fn swap(&mut self, swap: &Swap<'_>) -> Result<SwapOutcome, StoreError> {
        watched!(self, |lead| lead.swap(swap))
    }

    async fn end(&mut self, generation: Generation, failure: Option<&str>) -> Result<(), StoreError> {
        watched!(self, |lead| lead.end(generation, failure))
    }

    async fn end_overdue(&mut self) -> Result<(), StoreError> {
        watched!(self, |lead| lead.end_overdue())
    }

    async fn drop_tables(&mut self, ended: &GenerationStatus) -> Result<DropOutcome, StoreError> {
        watched!(self, |lead| lead.drop_tables(ended))
    }

    async fn resume_at(&mut self, moves: &[CheckpointMove], operation: i64, outcome: &str) -> Result<(), StoreError> {
        watched!(self, |lead| lead.resume_at(moves, operation, outcome))
    }

    async fn progress(&mut self, operation: i64, progress: &OperationProgress) -> Result<(), StoreError> {
        watched!(self, |lead| lead.progress(operation, progress))
    }

    async fn finish(&mut self, operation: i64, state: OperationState, outcome: &str) -> Result<(), StoreError> {
        watched!(self, |lead| lead.finish(operation, state, outcome))
    }

    async fn resign(self: Box<Self>) -> Result<(), StoreError> {
        let Self { connections, backend, lead } = *self;
        connections.watched(&backend, Box::new(lead).resign()).await
    }
}
