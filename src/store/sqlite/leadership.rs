//! The right to change the generations of a projection. One process has the file, so that it is enough to know which
//! projections are led within it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use readcast_core::Definition;

use super::connection::Connection;
use super::{
    Writes, additions, build, checkpoints, comparison, dead_letters, holds, lifecycle, operations, pass, rows, swap,
    swap_impact,
};
use crate::failpoint;
use crate::source::Extents;
use crate::store::{
    BuildOptions, CheckpointMove, CommitOutcome, Comparison, DropOutcome, Generation, GenerationStatus, Leadership,
    Load, OperationProgress, OperationState, ParkedIn, Phase, StoreError, Swap, SwapOutcome, Written,
};

/// The projections that somebody in this process leads, or does a chore for: each by its name and the right to it.
#[derive(Default)]
pub(super) struct Led(Mutex<BTreeSet<(String, &'static str)>>);

impl Led {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<(String, &'static str)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leads one projection, or does a chore for it, as long as it lives.
pub(super) struct SqliteLeadership {
    reads: Arc<Connection>,
    writes: Arc<Writes>,
    projection: String,
    right: &'static str,
}

impl SqliteLeadership {
    /// `None` when somebody has that right already.
    pub(super) fn take(
        reads: &Arc<Connection>,
        writes: &Arc<Writes>,
        projection: &str,
        right: &'static str,
    ) -> Option<Self> {
        let is_free = writes.led.lock().insert((projection.to_owned(), right));
        let (reads, writes) = (Arc::clone(reads), Arc::clone(writes));
        is_free.then(|| Self { reads, writes, projection: projection.into(), right })
    }
}

impl Drop for SqliteLeadership {
    fn drop(&mut self) {
        self.writes.led.lock().remove(&(std::mem::take(&mut self.projection), self.right));
    }
}

#[async_trait]
impl Leadership for SqliteLeadership {
    async fn begin(
        &mut self,
        operation: i64,
        definition: &Definition,
        build: &BuildOptions,
        starts: &Extents,
    ) -> Result<Generation, StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        let generation = build::begin(&mut turn, operation, definition, build, starts).await?;
        turn.commit().await?;
        Ok(generation)
    }

    async fn enter(&mut self, generation: Generation, phase: Phase) -> Result<(), StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        lifecycle::enter(&mut turn, &self.projection, generation, phase).await?;
        turn.commit().await
    }

    async fn follow(&mut self, generation: Generation) -> Result<(), StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        holds::follow(&mut turn, &self.projection, generation).await?;
        turn.commit().await
    }

    async fn hold(&mut self, generation: Generation) -> Result<(), StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        holds::hold(&mut turn, &self.projection, generation).await?;
        turn.commit().await
    }

    async fn release(&mut self) -> Result<(), StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        holds::release(&mut turn, &self.projection).await?;
        turn.commit().await
    }

    /// Any error leaves by `?`, which drops the turn and with it the transaction.
    async fn load(&mut self, mut load: Load<'_>) -> Result<CommitOutcome, StoreError> {
        let of = ParkedIn { projection: &self.projection, generation: load.generation };
        let mut turn = match pass(&self.writes.connection, of, load.commit.guarded()?).await? {
            Ok(turn) => turn,
            Err(refused) => return Ok(refused),
        };
        let tables: Vec<rows::Table> =
            load.definition.tables().iter().map(|table| rows::Table::new(table, load.generation)).collect();
        let mut written = Written::default();
        for table in &tables {
            table.empty(&mut turn).await?;
        }
        while let Some((index, rows)) = load.rows.next().await? {
            tables[index].put(&mut turn, rows.iter().map(|(key, row)| (key, row)), &mut written).await?;
            failpoint::hit("load_copying");
        }
        failpoint::hit("load_before_commit");
        turn.commit().await?;
        Ok(CommitOutcome::Applied(written))
    }

    async fn index(&mut self, definition: &Definition, generation: Generation) -> Result<(), StoreError> {
        lifecycle::index(&self.writes.connection, definition.tables(), generation).await
    }

    async fn carry_indexes(
        &mut self,
        live: &GenerationStatus,
        next: &GenerationStatus,
    ) -> Result<Vec<String>, StoreError> {
        additions::carry(&self.writes.connection, live, next).await
    }

    async fn compare(
        &mut self,
        live: &GenerationStatus,
        other: &GenerationStatus,
    ) -> Result<Option<Comparison>, StoreError> {
        // Not the connection that all questions take turns with: they would wait until the last row is compared.
        let mut snapshot = self.reads.apart().await?;
        let Some(at) = comparison::common_place(&mut snapshot, live, other).await? else { return Ok(None) };
        self.release().await?;
        Ok(Some(Comparison { at, tables: comparison::compare(&mut snapshot, live, other).await? }))
    }

    async fn proven(&mut self, generation: Generation, proof: &Comparison) -> Result<(), StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        lifecycle::proven(&mut turn, &self.projection, generation, proof).await?;
        turn.commit().await
    }

    async fn swap(&mut self, swap: &Swap<'_>) -> Result<SwapOutcome, StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        let swapped = swap::swap(&mut turn, swap).await?;
        if swapped != SwapOutcome::Done {
            turn.roll_back().await?;
            return Ok(swapped);
        }
        failpoint::hit("swap_before_commit");
        turn.commit().await?;
        failpoint::hit("swap_after_commit");
        Ok(swapped)
    }

    async fn end(&mut self, generation: Generation, failure: Option<&str>) -> Result<(), StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        lifecycle::end(&mut turn, &self.projection, generation, failure).await?;
        turn.commit().await
    }

    async fn end_overdue(&mut self) -> Result<(), StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        lifecycle::end_overdue(&mut turn, &self.projection).await?;
        turn.commit().await
    }

    /// They are never in use: readers of the file have a state of their own.
    async fn drop_tables(&mut self, ended: &GenerationStatus) -> Result<DropOutcome, StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        let dependents = swap_impact::physical_dependents(&mut turn, ended).await?;
        match lifecycle::drop_tables(&mut turn, ended).await {
            Ok(()) => {
                turn.commit().await?;
                Ok(DropOutcome::Done(dependents))
            }
            // Rows of a user's table refer to rows of one of them.
            Err(lifecycle::Undroppable::ReferredTo(error)) => {
                turn.roll_back().await?;
                if dependents.is_empty() { Err(error) } else { Ok(DropOutcome::Kept(dependents)) }
            }
            Err(lifecycle::Undroppable::Other(error)) => Err(error),
        }
    }

    async fn resume_at(&mut self, moves: &[CheckpointMove], operation: i64, outcome: &str) -> Result<(), StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        for step in moves {
            let of = ParkedIn { projection: &self.projection, generation: step.generation };
            let checkpoints = checkpoints::Checkpoints::new(of.projection, of.generation);
            checkpoints.resume_at(&mut turn, &step.partition, step.to.as_ref()).await?;
            dead_letters::cut_ledger(&mut turn, of).await?;
        }
        operations::finish(&mut turn, operation, OperationState::Done, outcome).await?;
        turn.commit().await
    }

    async fn progress(&mut self, operation: i64, progress: &OperationProgress) -> Result<(), StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        operations::progress(&mut turn, operation, progress).await?;
        turn.commit().await
    }

    async fn finish(&mut self, operation: i64, state: OperationState, outcome: &str) -> Result<(), StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        operations::finish(&mut turn, operation, state, outcome).await?;
        turn.commit().await
    }

    async fn leave(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}
