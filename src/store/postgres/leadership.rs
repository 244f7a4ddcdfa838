//! The right to change the generations of one projection, and its steps.
//!
//! The right is a session lock: it ends with the connection, so with the life of whoever has it. Every step is made on
//! that same connection, so none is made by somebody who has lost the right without knowing.

use async_trait::async_trait;
use readcast_core::{Definition, TopicPartition};
use sqlx::{AssertSqlSafe, Executor, PgConnection};

use super::connection::{at, execute, roll_back, sqlstate};
use super::connections::{Lease, limited};
use super::permits::Rank;
use super::server::{Backend, Use};
use super::sql::storable;
use super::{Postgres, checkpoints, compare, dead_letters, dependents, generations, indexes, load, sql, swap};
use crate::source::Extents;
use crate::store::comparison::pairs;
use crate::store::{
    BuildOptions, CheckpointMove, CommitOutcome, Comparison, DropOutcome, Encoding, Generation, GenerationState,
    GenerationStatus, HOLD_LIMIT, Leadership, Load, OperationProgress, OperationState, ParkedIn, Phase, StoreError,
    Swap, SwapOutcome,
};

/// The right to change the generations of one projection.
pub(super) struct PostgresLeadership {
    connection: Lease,
    encoding: Encoding,
    store: Postgres,
    projection: String,
    /// What it is the right to.
    right: &'static str,
}

impl PostgresLeadership {
    /// Takes the right to lead, or that to a chore, unless somebody has it.
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

    /// The server's process behind its connection.
    pub(super) fn backend(&self) -> Backend {
        self.connection.backend()
    }

    /// Runs one statement about `generation`, which is its second parameter, the projection being its first.
    async fn change(&mut self, doing: &str, statement: &'static str, generation: Generation) -> Result<(), StoreError> {
        let query = sqlx::query(statement).bind(&self.projection).bind(generation.0);
        query.execute(&mut *self.connection).await.map(drop).map_err(at(doing))
    }

    async fn execute(&mut self, doing: &str, statement: String) -> Result<(), StoreError> {
        self.connection.execute(AssertSqlSafe(statement)).await.map(drop).map_err(at(doing))
    }

    /// Checkpoints go first: a writer that has not noticed yet is fenced before it comes to the tables.
    async fn drop_within(&mut self, ended: &GenerationStatus, tables: &[String]) -> sqlx::Result<bool> {
        const ENDED: &str = "
            UPDATE readcast.generations SET dropped_at = now()
            WHERE projection = $1 AND generation = $2 AND state IN ('retired', 'failed')";
        const CHECKPOINTS: &str = "DELETE FROM readcast.checkpoints WHERE projection = $1 AND generation = $2";
        // Behind the checkpoints, which no commit can pass any more.
        const LEDGER: &str = "DELETE FROM readcast.ledger WHERE projection = $1 AND generation = $2";
        const NOTICES: &str = "DELETE FROM readcast.notices WHERE projection = $1 AND generation = $2";
        let mut changed = Vec::new();
        for statement in [ENDED, CHECKPOINTS, LEDGER, NOTICES] {
            let query = sqlx::query(statement).bind(&self.projection).bind(ended.generation.0);
            changed.push(query.execute(&mut *self.connection).await?.rows_affected());
        }
        self.connection.execute(AssertSqlSafe(format!("DROP TABLE IF EXISTS {}", tables.join(", ")))).await?;
        Ok(changed[0] > 0)
    }

    async fn resume_within(
        &mut self,
        moves: &[CheckpointMove],
        operation: i64,
        outcome: &str,
    ) -> Result<(), StoreError> {
        for step in moves {
            let of = ParkedIn { projection: &self.projection, generation: step.generation };
            let checkpoints = checkpoints::Checkpoints::new(of.projection, of.generation);
            checkpoints.resume_at(&mut self.connection, &step.partition, step.to.as_ref()).await?;
            dead_letters::cut_ledger(&mut self.connection, of).await?;
        }
        self.finish(operation, OperationState::Done, outcome).await
    }

    async fn begin_within(
        &mut self,
        operation: i64,
        definition: &Definition,
        build: &BuildOptions,
        starts: &Extents,
    ) -> Result<Generation, StoreError> {
        const OPERATION: &str = "
            SELECT generation FROM readcast.operations WHERE id = $1 AND finished_at IS NULL FOR UPDATE";
        const BUILDS: &str = "UPDATE readcast.operations SET generation = $2, state = 'running' WHERE id = $1";
        const KIND: &str = "
            UPDATE readcast.generations SET scratch = $3, repeats = $4, phase = $5
            WHERE projection = $1 AND generation = $2";
        let doing = || at("beginning a generation");
        let open = sqlx::query_scalar(OPERATION).bind(operation).fetch_optional(&mut *self.connection).await;
        let open: Option<Option<i32>> = open.map_err(doing())?;
        let begun = open.ok_or_else(|| StoreError::Refused {
            doing: "beginning a generation".into(),
            reason: format!("operation {operation} is not open"),
        })?;
        if let Some(begun) = begun {
            return Ok(Generation(begun));
        }
        let generation = generations::create(&mut self.connection, definition, GenerationState::Building).await?;
        for table in definition.tables() {
            self.execute(&format!("creating table `{}`", table.name()), sql::create_table(table, generation)).await?;
        }
        let repeats = build.copy_from.as_ref().is_some_and(|offsets| !offsets.is_empty());
        let kind = sqlx::query(KIND).bind(&self.projection).bind(generation.0).bind(build.scratch).bind(repeats);
        kind.bind(build.first_phase().name()).execute(&mut *self.connection).await.map_err(doing())?;
        match &build.copy_from {
            Some(offsets) => self.copy(definition, generation, offsets).await?,
            // Claimed now: what retention removes from here on is a gap.
            None => {
                let starts: Vec<_> = starts.clone().into_iter().collect();
                let checkpoints = checkpoints::Checkpoints::new(&self.projection, generation);
                checkpoints.claim(&mut self.connection, &starts).await?;
            }
        }
        let builds = sqlx::query(BUILDS).bind(operation).bind(generation.0);
        builds.execute(&mut *self.connection).await.map_err(doing())?;
        Ok(generation)
    }

    /// Takes the live rows as the contents of a new generation, and where it stands from `offsets`.
    async fn copy(
        &mut self,
        definition: &Definition,
        generation: Generation,
        offsets: &[(TopicPartition, i64)],
    ) -> Result<(), StoreError> {
        let refused = |reason: String| StoreError::Refused { doing: "copying the live tables".into(), reason };
        let all = generations::all(&mut self.connection).await?;
        let live = all.iter().find(|found| found.projection == self.projection && found.state == GenerationState::Live);
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
        const CHECKPOINTS: &str = "
            INSERT INTO readcast.checkpoints (projection, generation, topic, partition, start_offset, next_offset,
                                              owner_epoch, leader_epoch, topic_id, hold_at, hold_until)
            SELECT projection, $3, topic, partition, start_offset, coalesce(asked.next_offset, live.next_offset), 0,
                   leader_epoch, topic_id, live.next_offset, 'infinity'
            FROM readcast.checkpoints AS live
            LEFT JOIN unnest($4::text[], $5::int4[], $6::int8[]) AS asked(topic, partition, next_offset)
                USING (topic, partition)
            WHERE projection = $1 AND generation = $2";
        let beyond =
            offsets.iter().find(|(partition, offset)| live.positions().get(partition).is_none_or(|live| offset > live));
        if let Some((partition, offset)) = beyond {
            return Err(refused(format!("it has not come to offset {offset} of {partition}")));
        }
        let copied = sqlx::query(CHECKPOINTS)
            .bind(&self.projection)
            .bind(live.generation.0)
            .bind(generation.0)
            .bind(offsets.iter().map(|(partition, _)| partition.topic.to_string()).collect::<Vec<_>>())
            .bind(offsets.iter().map(|(partition, _)| partition.partition).collect::<Vec<_>>())
            .bind(offsets.iter().map(|(_, offset)| *offset).collect::<Vec<_>>())
            .execute(&mut *self.connection)
            .await;
        copied.map_err(at("copying checkpoints"))?;
        dead_letters::copy(&mut self.connection, &self.projection, live.generation, generation).await
    }
}

/// Ends every hold on generations of the projection that are not building.
async fn release(connection: &mut PgConnection, projection: &str) -> Result<(), StoreError> {
    const RELEASE: &str = "
        UPDATE readcast.checkpoints AS held SET hold_at = NULL, hold_until = NULL
        FROM readcast.generations AS g
        WHERE held.projection = $1 AND g.projection = $1 AND g.generation = held.generation
          AND g.state <> 'building' AND held.hold_at IS NOT NULL";
    let release = sqlx::query(RELEASE).bind(projection).execute(connection).await;
    release.map(drop).map_err(at("releasing the live generation"))
}

#[async_trait]
impl Leadership for PostgresLeadership {
    async fn leave(self: Box<Self>) -> Result<(), StoreError> {
        const LEAVE: &str = "SELECT pg_advisory_unlock(hashtextextended('readcast ' || $2 || ' ' || $1, 0))";
        let Self { mut connection, projection, right, .. } = *self;
        let left = sqlx::query(LEAVE).bind(projection).bind(right).execute(&mut *connection).await;
        left.map_err(at("giving the lead back"))?;
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
        // One snapshot for the rows that are copied and the checkpoints that say how far they are.
        execute(&mut self.connection, "BEGIN ISOLATION LEVEL REPEATABLE READ").await.map_err(doing())?;
        let begun = self.begin_within(operation, definition, build, starts).await;
        let end = if begun.is_ok() { "COMMIT" } else { "ROLLBACK" };
        execute(&mut self.connection, end).await.map_err(doing())?;
        begun
    }

    async fn enter(&mut self, generation: Generation, phase: Phase) -> Result<(), StoreError> {
        const ENTER: &str = "
            UPDATE readcast.generations SET phase = $3 WHERE projection = $1 AND generation = $2 AND state = 'building'";
        let enter = sqlx::query(ENTER).bind(&self.projection).bind(generation.0).bind(phase.name());
        enter.execute(&mut *self.connection).await.map(drop).map_err(at(format!("entering the phase `{phase}`")))
    }

    async fn follow(&mut self, generation: Generation) -> Result<(), StoreError> {
        const FOLLOW: &str = "
            UPDATE readcast.checkpoints AS ours
            SET hold_at = greatest(ours.next_offset, live.next_offset), hold_until = 'infinity'
            FROM readcast.checkpoints AS live
            JOIN readcast.generations AS g USING (projection, generation)
            WHERE ours.projection = $1 AND ours.generation = $2 AND live.projection = $1 AND g.state = 'live'
              AND live.topic = ours.topic AND live.partition = ours.partition
              AND ours.hold_at IS DISTINCT FROM greatest(ours.next_offset, live.next_offset)
              AND EXISTS (SELECT FROM readcast.generations
                          WHERE projection = $1 AND generation = $2 AND state = 'building')";
        self.change("following the live generation", FOLLOW, generation).await
    }

    async fn hold(&mut self, generation: Generation) -> Result<(), StoreError> {
        // Both sides of each partition, locked in the order in which commits lock them, so that nothing moves between
        // reading where they are and holding them there.
        const LOCK: &str = "
            SELECT FROM readcast.checkpoints AS held
            WHERE projection = $1 AND (generation = $2 OR generation = (
                SELECT generation FROM readcast.generations WHERE projection = $1 AND state = 'live'))
            ORDER BY generation, topic, partition FOR UPDATE";
        const HOLD: &str = "
            UPDATE readcast.checkpoints AS held
            SET hold_at = places.furthest,
                hold_until = CASE g.state
                    WHEN 'building' THEN 'infinity' ELSE clock_timestamp() + make_interval(secs => $3) END
            FROM readcast.generations AS g, (
                SELECT topic, partition, max(next_offset) AS furthest
                FROM readcast.checkpoints JOIN readcast.generations USING (projection, generation)
                WHERE projection = $1 AND (generation = $2 OR state = 'live')
                GROUP BY topic, partition HAVING bool_or(state = 'live')) AS places
            WHERE held.projection = $1 AND g.projection = $1 AND g.generation = held.generation
              AND (held.generation = $2 OR g.state = 'live')
              AND places.topic = held.topic AND places.partition = held.partition";
        let doing = || at("holding the live generation");
        execute(&mut self.connection, "BEGIN").await.map_err(doing())?;
        self.change("holding the live generation", LOCK, generation).await?;
        let hold = sqlx::query(HOLD).bind(&self.projection).bind(generation.0).bind(HOLD_LIMIT.as_secs_f64());
        hold.execute(&mut *self.connection).await.map_err(doing())?;
        execute(&mut self.connection, "COMMIT").await.map_err(doing())
    }

    async fn release(&mut self) -> Result<(), StoreError> {
        release(&mut self.connection, &self.projection).await
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
                // Our own connection is in the snapshot.
                let mut turn = self.store.connections.turn().await?;
                limited(release(&mut turn, &self.projection)).await?;
                turn.end();
                Some(compare::compare(&mut self.connection, live, other, at).await?)
            }
        };
        roll_back(&mut self.connection).await?;
        Ok(comparison)
    }

    async fn proven(&mut self, generation: Generation, proof: &Comparison) -> Result<(), StoreError> {
        const PROVEN: &str = "
            UPDATE readcast.generations
            SET state = CASE WHEN scratch THEN 'retired' ELSE 'ready' END, phase = NULL, proof = $3::jsonb
            WHERE projection = $1 AND generation = $2 AND state = 'building'";
        let proven = sqlx::query(PROVEN).bind(&self.projection).bind(generation.0);
        let proven = proven.bind(storable(proof, self.encoding));
        proven.execute(&mut *self.connection).await.map_err(at("recording a comparison"))?;
        // It may go on by itself now.
        self.release().await
    }

    async fn swap(&mut self, swap: &Swap<'_>) -> Result<SwapOutcome, StoreError> {
        swap::swap(&mut self.connection, &self.store.schema, swap).await
    }

    async fn end(&mut self, generation: Generation, failure: Option<&str>) -> Result<(), StoreError> {
        const END: &str = "
            UPDATE readcast.generations
            SET state = CASE WHEN $3::text IS NULL THEN 'retired' ELSE 'failed' END, phase = NULL, standby_until = NULL,
                last_error = coalesce($3, last_error), last_attempt = CASE WHEN $3 IS NULL THEN last_attempt END,
                last_error_at = CASE WHEN $3 IS NULL THEN last_error_at ELSE now() END,
                last_error_by = CASE WHEN $3 IS NULL THEN last_error_by END
            WHERE projection = $1 AND generation = $2 AND state IN ('building', 'ready', 'standby')";
        let doing = "ending a generation";
        let end = sqlx::query(END)
            .bind(&self.projection)
            .bind(generation.0)
            .bind(failure.map(|failure| self.encoding.fit(failure)));
        end.execute(&mut *self.connection).await.map_err(at(doing))?;
        if generations::live(&mut self.connection, &self.projection).await? == Some(generation) {
            let reason = format!("generation {} is live", generation.0);
            return Err(StoreError::Refused { doing: doing.into(), reason });
        }
        Ok(())
    }

    async fn end_overdue(&mut self) -> Result<(), StoreError> {
        const END: &str = "
            UPDATE readcast.generations SET state = 'retired', standby_until = NULL
            WHERE projection = $1 AND state = 'standby' AND standby_until < now()";
        let ended = sqlx::query(END).bind(&self.projection).execute(&mut *self.connection).await;
        ended.map(drop).map_err(at("retiring standbys"))
    }

    async fn drop_tables(&mut self, ended: &GenerationStatus) -> Result<DropOutcome, StoreError> {
        const DEPENDED_ON: &str = "2BP01";
        let doing = || at("dropping the tables of a generation");
        let tables: Vec<String> = ended.tables.iter().map(|table| sql::physical(table, ended.generation)).collect();
        execute(&mut self.connection, "BEGIN; SET LOCAL lock_timeout = '100ms'").await.map_err(doing())?;
        let dropped = self.drop_within(ended, &tables).await;
        let end = if matches!(dropped, Ok(true)) { "COMMIT" } else { "ROLLBACK" };
        execute(&mut self.connection, end).await.map_err(doing())?;
        let error = match dropped {
            Ok(true) => return Ok(DropOutcome::Done(Vec::new())),
            Ok(false) => {
                let reason = format!("the life of generation {} has not ended", ended.generation.0);
                return Err(StoreError::Refused { doing: "dropping the tables of a generation".into(), reason });
            }
            Err(error) => error,
        };
        let depended_on = sqlstate(&error).is_some_and(|code| code == DEPENDED_ON);
        match doing()(error) {
            // A reader has not finished, or a writer has not noticed yet.
            StoreError::Unavailable { .. } => {
                Ok(DropOutcome::InUse(dependents::users(&mut self.connection, &tables).await?))
            }
            other if depended_on => match dependents::of(&mut self.connection, &tables, &[]).await? {
                // They went meanwhile, or are of a kind that is not known here.
                dependents if dependents.is_empty() => Err(other),
                dependents => Ok(DropOutcome::Kept(dependents)),
            },
            other => Err(other),
        }
    }

    async fn resume_at(&mut self, moves: &[CheckpointMove], operation: i64, outcome: &str) -> Result<(), StoreError> {
        let doing = || at("moving checkpoints");
        execute(&mut self.connection, "BEGIN").await.map_err(doing())?;
        let resumed = self.resume_within(moves, operation, outcome).await;
        let end = if resumed.is_ok() { "COMMIT" } else { "ROLLBACK" };
        execute(&mut self.connection, end).await.map_err(doing())?;
        resumed
    }

    async fn progress(&mut self, operation: i64, progress: &OperationProgress) -> Result<(), StoreError> {
        const PROGRESS: &str = "
            UPDATE readcast.operations SET progress = $2::jsonb, state = 'running'
            WHERE id = $1 AND finished_at IS NULL";
        let noted = sqlx::query(PROGRESS).bind(operation).bind(storable(progress, self.encoding));
        let noted = noted.execute(&mut *self.connection).await;
        noted.map(drop).map_err(at("noting progress"))
    }

    async fn finish(&mut self, operation: i64, state: OperationState, outcome: &str) -> Result<(), StoreError> {
        const FINISH: &str = "
            UPDATE readcast.operations SET state = $2, outcome = $3, finished_at = now()
            WHERE id = $1 AND finished_at IS NULL";
        let finish = sqlx::query(FINISH).bind(operation).bind(state.name()).bind(self.encoding.fit(outcome));
        finish.execute(&mut *self.connection).await.map(drop).map_err(at("finishing an operation"))
    }
}
