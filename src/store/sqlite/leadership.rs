//! The right to change the generations of a projection. Only one process can open the file, so a set of the projections
//! that are led within the process suffices.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use readcast_core::{Definition, Shown};
use sqlx::{AssertSqlSafe, Executor, SqliteConnection};

use super::connection::{Connection, at};
use super::store::within;
use super::writer::pass;
use super::{Writes, additions, build, comparison, definition, refused, rows, sql, swap_impact};
use crate::failpoint;
use crate::source::Extents;
use crate::store::bookkeeping::swap::{Decision, SWAPPING};
use crate::store::bookkeeping::{self, checkpoints, holds, lifecycle, operations};
use crate::store::{
    BuildOptions, CheckpointMove, CommitOutcome, Comparison, DropOutcome, Generation, GenerationStatus, Leadership,
    Load, OperationProgress, OperationState, ParkedIn, Phase, StoreError, Swap, SwapOutcome, Written,
};

/// The rights that are taken in this process: the name of the projection, and the right to lead it or to do a chore for
/// it.
#[derive(Default)]
pub(super) struct Led(Mutex<BTreeSet<(String, &'static str)>>);

impl Led {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<(String, &'static str)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to lead one projection, or to do a chore for it, until it is dropped.
pub(super) struct SqliteLeadership {
    reads: Arc<Connection>,
    writes: Arc<Writes>,
    projection: String,
    right: &'static str,
}

impl SqliteLeadership {
    /// Takes the right. `None` if it is taken already.
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
        within!(self.writes.connection.begin().await?, |session| build::begin(
            session, operation, definition, build, starts
        ))
    }

    async fn enter(&mut self, generation: Generation, phase: Phase) -> Result<(), StoreError> {
        within!(self.writes.connection.begin().await?, |session| lifecycle::enter(
            session,
            &self.projection,
            generation,
            phase
        ))
    }

    async fn follow(&mut self, generation: Generation) -> Result<(), StoreError> {
        within!(self.writes.connection.begin().await?, |session| holds::follow(session, &self.projection, generation))
    }

    async fn hold(&mut self, generation: Generation) -> Result<(), StoreError> {
        within!(self.writes.connection.begin().await?, |session| holds::hold(session, &self.projection, generation))
    }

    async fn release_holds(&mut self) -> Result<(), StoreError> {
        within!(self.writes.connection.begin().await?, |session| holds::release(session, &self.projection))
    }

    /// Every error returns by `?`, which drops the turn and rolls back its transaction.
    async fn load(&mut self, mut load: Load<'_>) -> Result<CommitOutcome, StoreError> {
        let of = ParkedIn { projection: &self.projection, generation: load.generation };
        let mut turn = match pass(&self.writes.connection, of, load.commit.guarded()?).await? {
            Ok(turn) => turn,
            Err(refused) => return Ok(refused),
        };
        let tables = rows::Tables::new(load.definition.tables(), load.generation);
        let tables = tables.as_slice();
        let mut written = Written::default();
        for table in tables {
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
        // Each statement has its own turn, so that the lanes of other generations can commit in between.
        for table in definition.tables() {
            let doing = || at(format!("creating the indexes of table `{}`", table.name()));
            for statement in sql::create_indexes(table, generation).chain([sql::analyze(table, generation)]) {
                let mut turn = self.writes.connection.turn().await?;
                turn.execute(AssertSqlSafe(statement)).await.map_err(doing())?;
                turn.end();
            }
        }
        Ok(())
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
        // A separate connection: otherwise all queries would wait until the last row is compared.
        let mut snapshot = self.reads.apart().await?;
        let Some(at) = comparison::common_place(&mut snapshot, live, other).await? else { return Ok(None) };
        self.release_holds().await?;
        Ok(Some(Comparison { at, tables: comparison::compare(&mut snapshot, live, other).await? }))
    }

    async fn proven(&mut self, generation: Generation, proof: &Comparison) -> Result<(), StoreError> {
        within!(self.writes.connection.begin().await?, |session| lifecycle::proven(
            session,
            &self.projection,
            generation,
            proof
        ))
    }

    async fn swap(&mut self, swap: &Swap<'_>) -> Result<SwapOutcome, StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        match bookkeeping::swap::record(&mut *turn, swap).await? {
            Decision::Swap => {}
            Decision::IsDone => return turn.roll_back().await.map(|()| SwapOutcome::Done),
            Decision::IsBehind => return turn.roll_back().await.map(|()| SwapOutcome::Behind),
        }
        replace_views(&mut turn, swap).await?;
        failpoint::hit("swap_before_commit");
        turn.commit().await?;
        failpoint::hit("swap_after_commit");
        Ok(SwapOutcome::Done)
    }

    async fn end(&mut self, generation: Generation, failure: Option<&str>) -> Result<(), StoreError> {
        within!(self.writes.connection.begin().await?, |session| lifecycle::end(
            session,
            &self.projection,
            generation,
            failure
        ))
    }

    async fn end_overdue(&mut self) -> Result<(), StoreError> {
        within!(self.writes.connection.begin().await?, |session| lifecycle::end_overdue(session, &self.projection))
    }

    /// The tables are never in use: readers of the file keep the snapshot that they have begun to read.
    async fn drop_tables(&mut self, ended: &GenerationStatus) -> Result<DropOutcome, StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        let dependents = swap_impact::physical_dependents(&mut turn, ended).await?;
        lifecycle::forget(&mut *turn, ended).await?;
        match drop_each(&mut turn, ended).await {
            Ok(()) => {
                turn.commit().await?;
                Ok(DropOutcome::Done(dependents))
            }
            // Rows of a user's table refer to rows of one of the tables.
            Err(error) if is_referred_to(&error) && !dependents.is_empty() => {
                turn.roll_back().await?;
                Ok(DropOutcome::Kept(dependents))
            }
            Err(error) => Err(at(lifecycle::DROPPING)(error)),
        }
    }

    async fn resume_at(&mut self, moves: &[CheckpointMove], operation: i64, outcome: &str) -> Result<(), StoreError> {
        within!(self.writes.connection.begin().await?, |session| checkpoints::resume(
            session,
            &self.projection,
            moves,
            operation,
            outcome
        ))
    }

    async fn progress(&mut self, operation: i64, progress: &OperationProgress) -> Result<(), StoreError> {
        within!(self.writes.connection.begin().await?, |session| operations::progress(session, operation, progress))
    }

    async fn finish(&mut self, operation: i64, state: OperationState, outcome: &str) -> Result<(), StoreError> {
        within!(self.writes.connection.begin().await?, |session| async {
            operations::finish(session, operation, state, outcome).await.map(drop)
        })
    }

    async fn resign(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Makes the stable names views of the next generation. A name of another object of a user is refused if the next
/// generation needs it, and otherwise left alone.
async fn replace_views(connection: &mut SqliteConnection, swap: &Swap<'_>) -> Result<(), StoreError> {
    for shown in Shown::all(&swap.live.tables) {
        if definition::is_view(connection, &shown, swap.live.generation).await? {
            let statement = format!("DROP VIEW {}", sql::quoted(shown.name));
            connection.execute(AssertSqlSafe(statement)).await.map_err(at(SWAPPING))?;
        }
    }
    for shown in Shown::all(&swap.next.tables) {
        if let Some(taken) = definition::taken_name(connection, shown.name).await? {
            return Err(refused(SWAPPING, taken));
        }
        let statement = sql::create_view(&shown, swap.next.generation);
        connection.execute(AssertSqlSafe(statement)).await.map_err(at(SWAPPING))?;
    }
    Ok(())
}

/// Drops the physical tables of a generation.
async fn drop_each(connection: &mut SqliteConnection, ended: &GenerationStatus) -> sqlx::Result<()> {
    for table in &ended.tables {
        let statement = format!("DROP TABLE IF EXISTS {}", sql::quoted(&sql::physical(table, ended.generation)));
        connection.execute(AssertSqlSafe(statement)).await?;
    }
    Ok(())
}

fn is_referred_to(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_foreign_key_violation())
}
