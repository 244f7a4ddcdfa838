//! The right to change the generations of one projection, and its steps.
//!
//! The right is a session lock, so it ends with the connection and at the latest with the process. Every step runs on
//! the same connection. Thus an instance that has lost the right without noticing can't make a step.

use async_trait::async_trait;
use readcast_core::{Definition, TopicPartition};
use sqlx::{AssertSqlSafe, Executor};

use super::connection::{at, commit_transaction, execute, roll_back};
use super::connections::{Lease, limited};
use super::permits::Rank;
use super::server::{Backend, Use};
use super::tables::Tables;
use super::{Postgres, compare, dependents, indexes, load, sql, swap};
use crate::source::Extents;
use crate::store::bookkeeping::{checkpoints, generations, holds, lifecycle, operations, settlement};
use crate::store::comparison::pairs;
use crate::store::{
    BuildOptions, CheckpointMove, CommitOutcome, Comparison, DropOutcome, Encoding, Generation, GenerationStatus,
    Leadership, Load, OperationProgress, OperationState, ParkedIn, Phase, StoreError, Swap, SwapOutcome,
};

/// The right to change the generations of one projection.
pub(super) struct PostgresLeadership {
    connection: Lease,
    encoding: Encoding,
    store: Postgres,
    projection: String,
    /// The name of the right: leadership or a chore.
    right: &'static str,
}

impl PostgresLeadership {
    /// Takes the right to lead, or to do a chore. `None` if another instance has it.
    pub(super) async fn take(
        store: &Postgres,
        projection: &str,
        right: &'static str,
        rank: Rank,
    ) -> Result<Option<Self>, StoreError> {
        const TAKE: &str = "SELECT pg_try_advisory_lock(hashtextextended('readcast ' || $2 || ' ' || $1, 0))";
        let mut connection = store.connections.lease(Use::Leading, rank, 0).await?;
        let taken = limited(async {
            let taken = sqlx::query_scalar(TAKE).bind(projection).bind(right).fetch_one(&mut *connection).await;
            taken.map_err(at("taking the lead"))
        });
        if !taken.await? {
            connection.give_back();
            return Ok(None);
        }
        let encoding = connection.encoding();
        Ok(Some(Self { connection, encoding, store: store.clone(), projection: projection.to_owned(), right }))
    }

    /// The server process of the connection.
    pub(super) fn backend(&self) -> Backend {
        self.connection.backend()
    }

    async fn execute(&mut self, doing: &str, statement: String) -> Result<(), StoreError> {
        self.connection.execute(AssertSqlSafe(statement)).await.map(drop).map_err(at(doing))
    }

    /// Deletes readcast's own rows first: this fences a writer that does not know yet that the generation has ended,
    /// before the writer uses the read tables.
    async fn drop_within(&mut self, ended: &GenerationStatus) -> Result<(), StoreError> {
        lifecycle::forget(&mut self.connection.session(), ended).await?;
        let all = sql::all_tables(&ended.tables, ended.generation).join(", ");
        self.execute(lifecycle::DROPPING, format!("DROP TABLE IF EXISTS {all}")).await
    }

    async fn begin_within(
        &mut self,
        operation: i64,
        definition: &Definition,
        build: &BuildOptions,
        starts: &Extents,
    ) -> Result<Generation, StoreError> {
        let mut session = self.connection.session();
        if let Some(begun) = operations::built(&mut session, &self.projection, operation).await? {
            return Ok(begun);
        }
        let generation = generations::create(&mut session, definition, Some(build)).await?;
        for (table, statement) in sql::create_tables(definition.tables(), generation) {
            self.execute(&format!("creating table `{}`", table.name()), statement).await?;
        }
        match &build.copy_from {
            Some(offsets) => self.copy(definition, generation, offsets).await?,
            // The checkpoints are created now, so that records which retention removes from now on show as a gap.
            None => {
                let of = ParkedIn { projection: &self.projection, generation };
                checkpoints::claim(&mut self.connection.session(), of, starts).await?;
            }
        }
        operations::builds(&mut self.connection.session(), operation, generation).await?;
        Ok(generation)
    }

    /// Copies the live rows and their bookkeeping to a new generation, which continues from `offsets`.
    async fn copy(
        &mut self,
        definition: &Definition,
        generation: Generation,
        offsets: &[(TopicPartition, i64)],
    ) -> Result<(), StoreError> {
        let refused = |reason| StoreError::Refused { doing: "copying the live generation".into(), reason };
        let live = generations::live(&mut self.connection.session(), &self.projection).await?;
        let live = live.ok_or_else(|| refused("there is no live generation to begin from".into()))?;
        for pair in pairs(&live.tables, definition.tables()) {
            if let (Some(table), Some(columns)) = (pair.other, pair.copied()) {
                let columns: Vec<String> = columns.map_err(refused)?.into_iter().map(sql::quoted).collect();
                let columns = columns.join(", ");
                let (from, to) = (sql::physical(table, live.generation), sql::physical(table, generation));
                let copy = format!("INSERT INTO {to} ({columns}) SELECT {columns} FROM {from}");
                self.execute(&format!("copying table `{}`", table.name()), copy).await?;
            }
        }
        Tables::new(definition.tables(), generation).fill_copies(&mut self.connection).await?;
        let session = &mut self.connection.session();
        checkpoints::copy(session, &self.projection, live.generation, generation, offsets).await?;
        settlement::copy(session, &self.projection, live.generation, generation).await
    }
}

/// Runs one step in its own transaction. After an error the transaction is rolled back, unless the connection is
/// broken.
macro_rules! within {
    ($self:ident, |$session:ident| $step:expr) => {{
        let $session = &mut $self.connection.session();
        execute($session, "BEGIN").await.map_err(at("beginning a transaction"))?;
        match $step.await {
            Ok(done) => commit_transaction($session).await.map(|()| done),
            Err(error) => roll_back($session).await.and(Err(error)),
        }
    }};
}

#[async_trait]
impl Leadership for PostgresLeadership {
    async fn resign(self: Box<Self>) -> Result<(), StoreError> {
        const RESIGN: &str = "SELECT pg_advisory_unlock(hashtextextended('readcast ' || $2 || ' ' || $1, 0))";
        let Self { mut connection, projection, right, .. } = *self;
        let resigned = sqlx::query(RESIGN).bind(projection).bind(right).execute(&mut *connection).await;
        resigned.map_err(at("giving the lead back"))?;
        connection.give_back();
        Ok(())
    }

    async fn begin(
        &mut self,
        operation: i64,
        definition: &Definition,
        build: &BuildOptions,
        starts: &Extents,
    ) -> Result<Generation, StoreError> {
        let doing = || at("beginning a generation");
        // One snapshot for the copied rows and their checkpoints.
        execute(&mut self.connection, "BEGIN ISOLATION LEVEL REPEATABLE READ").await.map_err(doing())?;
        let begun = self.begin_within(operation, definition, build, starts).await;
        let end = if begun.is_ok() { "COMMIT" } else { "ROLLBACK" };
        execute(&mut self.connection, end).await.map_err(doing())?;
        begun
    }

    async fn enter(&mut self, generation: Generation, phase: Phase) -> Result<(), StoreError> {
        lifecycle::enter(&mut self.connection.session(), &self.projection, generation, phase).await
    }

    async fn follow(&mut self, generation: Generation) -> Result<(), StoreError> {
        holds::follow(&mut self.connection.session(), &self.projection, generation).await
    }

    async fn hold(&mut self, generation: Generation) -> Result<(), StoreError> {
        within!(self, |session| holds::hold(session, &self.projection, generation))
    }

    async fn release_holds(&mut self) -> Result<(), StoreError> {
        holds::release(&mut self.connection.session(), &self.projection).await
    }

    async fn load(&mut self, load: Load<'_>) -> Result<CommitOutcome, StoreError> {
        load::load(&mut self.connection, load, self.encoding).await
    }

    async fn index(&mut self, definition: &Definition, generation: Generation) -> Result<(), StoreError> {
        for table in definition.tables() {
            let mut statements = sql::create_indexes(table, generation);
            statements.push(format!("ANALYZE {}", sql::physical(table, generation)));
            for statement in statements {
                self.execute(&format!("indexing table `{}`", table.name()), statement).await?;
            }
        }
        Ok(())
    }

    async fn carry_indexes(
        &mut self,
        live: &GenerationStatus,
        next: &GenerationStatus,
    ) -> Result<Vec<String>, StoreError> {
        indexes::carry(&mut self.connection, live, next).await
    }

    async fn compare(
        &mut self,
        live: &GenerationStatus,
        other: &GenerationStatus,
    ) -> Result<Option<Comparison>, StoreError> {
        let places = compare::snapshot(&mut self.connection, live, other).await?;
        let comparison = match places {
            None => None,
            Some(at) => {
                // This connection is in use by the snapshot.
                let mut turn = self.store.connections.turn().await?;
                limited(holds::release(&mut turn.session(), &self.projection)).await?;
                turn.end();
                Some(compare::compare(&mut self.connection, live, other, at).await?)
            }
        };
        roll_back(&mut self.connection).await?;
        Ok(comparison)
    }

    async fn proven(&mut self, generation: Generation, proof: &Comparison) -> Result<(), StoreError> {
        within!(self, |session| lifecycle::proven(session, &self.projection, generation, proof))
    }

    async fn swap(&mut self, swap: &Swap<'_>) -> Result<SwapOutcome, StoreError> {
        swap::swap(&mut self.connection.session(), &self.store.schema, swap).await
    }

    async fn end(&mut self, generation: Generation, failure: Option<&str>) -> Result<(), StoreError> {
        within!(self, |session| lifecycle::end(session, &self.projection, generation, failure))
    }

    async fn end_overdue(&mut self) -> Result<(), StoreError> {
        lifecycle::end_overdue(&mut self.connection.session(), &self.projection).await
    }

    async fn drop_tables(&mut self, ended: &GenerationStatus) -> Result<DropOutcome, StoreError> {
        const DEPENDED_ON: &str = "2BP01";
        let tables: Vec<String> = ended.tables.iter().map(|table| sql::physical(table, ended.generation)).collect();
        let begin = "BEGIN; SET LOCAL lock_timeout = '100ms'";
        execute(&mut self.connection, begin).await.map_err(at(lifecycle::DROPPING))?;
        let error = match self.drop_within(ended).await {
            Ok(()) => {
                commit_transaction(&mut self.connection).await?;
                return Ok(DropOutcome::Done(Vec::new()));
            }
            Err(error) => error,
        };
        roll_back(&mut self.connection).await?;
        match error {
            // A reader has not finished, or a writer does not know yet that the generation has ended.
            StoreError::Unavailable { .. } => {
                Ok(DropOutcome::InUse(dependents::users(&mut self.connection, &tables).await?))
            }
            other if other.reason().starts_with(DEPENDED_ON) => {
                match dependents::of(&mut self.connection, &tables, &[]).await? {
                    // The objects were removed in the meantime, or their kind is unknown here.
                    dependents if dependents.is_empty() => Err(other),
                    dependents => Ok(DropOutcome::Kept(dependents)),
                }
            }
            other => Err(other),
        }
    }

    async fn resume_at(&mut self, moves: &[CheckpointMove], operation: i64, outcome: &str) -> Result<(), StoreError> {
        within!(self, |session| checkpoints::resume(session, &self.projection, moves, operation, outcome))
    }

    async fn progress(&mut self, operation: i64, progress: &OperationProgress) -> Result<(), StoreError> {
        operations::progress(&mut self.connection.session(), operation, progress).await
    }

    async fn finish(&mut self, operation: i64, state: OperationState, outcome: &str) -> Result<(), StoreError> {
        operations::finish(&mut self.connection.session(), operation, state, outcome).await.map(drop)
    }
}
