//! Implements [`Store`](crate::store::Store) for SQLite: each query and each change in its own transaction.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use readcast_core::{Definition, Position, TableSpec, TopicPartition};
use sqlx::Executor;
use sqlx::migrate::MigrateError;

use super::connection::at;
use super::leadership::SqliteLeadership;
use super::writer::SqliteWriter;
use super::{Sqlite, additions, definition, deployment, migrator, oldest_snapshot, refused, swap_impact};
use crate::store::bookkeeping::{checkpoints, commands, generations, heartbeats, notices, operations, parking};
use crate::store::{
    Chore, Command, CommitStore, ConnectionCapacity, Decision, Dependent, Deployment, Generation, GenerationError,
    GenerationStatus, Instance, InstanceHeartbeat, Leadership, Notice, NoticeKind, OldestSnapshot, Operation,
    OperationStore, ParkedIn, ParkedRecord, ParkedSequence, ParkingStore, Peek, Positions, RecordedNotice, SchemaStore,
    SequenceId, SharedPriority, StatusStore, StoreError, SwapImpact, UserAddition, WaitingRecords, WindowSize, Writer,
};

/// Runs the work in a transaction and commits it.
macro_rules! within {
    ($turn:expr, |$session:ident| $work:expr) => {{
        let mut turn = $turn;
        let $session: &mut sqlx::SqliteConnection = &mut turn;
        let done = $work.await?;
        turn.commit().await?;
        Ok(done)
    }};
}
pub(super) use within;

#[async_trait]
impl SchemaStore for Sqlite {
    async fn migrate(&self) -> Result<(), StoreError> {
        const MIGRATING: &str = "creating readcast's own tables";
        let mut turn = self.writes()?.connection.turn().await?;
        let migrated = migrator().run_direct(None, &mut *turn, false).await;
        migrated.map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => at(MIGRATING)(error),
            other => refused(MIGRATING, other.to_string()),
        })?;
        turn.end();
        Ok(())
    }

    async fn prepare(&self, definition: &Definition) -> Result<(), StoreError> {
        within!(self.writes()?.connection.begin().await?, |session| definition::prepare(session, definition))
    }

    async fn alterations(&self, definition: &Definition, generation: Generation) -> Result<Vec<String>, StoreError> {
        within!(self.reads.begin().await?, |session| definition::alterations(session, definition, generation))
    }

    async fn name_conflicts(&self, definition: &Definition) -> Result<Vec<String>, StoreError> {
        within!(self.reads.begin().await?, |session| definition::name_conflicts(session, definition))
    }

    async fn deployment(&self) -> Result<Option<Deployment>, StoreError> {
        within!(self.reads.begin().await?, |session| deployment::recorded(session))
    }

    async fn deploy(&self, ours: &Deployment, adopt: bool) -> Result<(), StoreError> {
        within!(self.writes()?.connection.begin().await?, |session| deployment::deploy(session, ours, adopt))
    }

    async fn swap_impact(&self, live: &GenerationStatus, _next: &Definition) -> Result<SwapImpact, StoreError> {
        // Measuring a table reads all its pages, so this uses a separate connection and no other query waits.
        let mut connection = self.reads.apart().await?;
        swap_impact::swap_impact(&mut connection, live).await
    }

    async fn additions(&self, live: &GenerationStatus, next: &Definition) -> Result<Vec<UserAddition>, StoreError> {
        within!(self.reads.begin().await?, |session| additions::additions(session, live, next))
    }

    async fn dependents(&self, of: &GenerationStatus) -> Result<Vec<Dependent>, StoreError> {
        within!(self.reads.begin().await?, |session| swap_impact::physical_dependents(session, of))
    }
}

#[async_trait]
impl CommitStore for Sqlite {
    /// All writers use the one writing connection in turn. Their priority has no effect.
    async fn writer(
        &self,
        definition: &Definition,
        generation: Generation,
        _priority: SharedPriority,
    ) -> Result<Box<dyn Writer>, StoreError> {
        Ok(Box::new(SqliteWriter::new(Arc::clone(self.writes()?), definition, generation)))
    }

    async fn duplicate_window(
        &self,
        projection: &str,
        generation: Generation,
        size: WindowSize,
        partitions: usize,
    ) -> Result<i64, StoreError> {
        within!(self.writes()?.connection.begin().await?, |session| generations::duplicate_window(
            session, projection, generation, size, partitions
        ))
    }
}

#[async_trait]
impl StatusStore for Sqlite {
    async fn generations(&self) -> Result<Vec<GenerationStatus>, StoreError> {
        within!(self.reads.begin().await?, |session| generations::all(session))
    }

    async fn generations_of(&self, projection: &str) -> Result<Vec<GenerationStatus>, StoreError> {
        within!(self.reads.begin().await?, |session| generations::of(session, projection))
    }

    async fn component(&self, projection: &str, generation: Generation) -> Result<Option<Vec<u8>>, StoreError> {
        within!(self.reads.begin().await?, |session| generations::component(session, projection, generation))
    }

    async fn positions(&self, projection: &str, of: Option<Generation>) -> Result<Positions, StoreError> {
        within!(self.reads.begin().await?, |session| checkpoints::positions(session, projection, of))
    }

    async fn oldest_snapshot(&self, _age: Duration) -> Result<Option<OldestSnapshot>, StoreError> {
        Ok(oldest_snapshot::oldest_snapshot(self.reads.path()))
    }

    async fn peek(&self, table: &TableSpec, rows: usize) -> Result<Peek, StoreError> {
        within!(self.reads.begin().await?, |session| definition::peek(session, table, rows))
    }

    async fn record_error(
        &self,
        projection: &str,
        generation: Generation,
        by: &str,
        error: &GenerationError,
    ) -> Result<(), StoreError> {
        within!(self.writes()?.connection.begin().await?, |session| generations::record_error(
            session, projection, generation, by, error
        ))
    }

    async fn clear_error(&self, projection: &str, generation: Generation, by: &str) -> Result<(), StoreError> {
        within!(self.writes()?.connection.begin().await?, |session| generations::clear_error(
            session, projection, generation, by
        ))
    }

    async fn record_notice(
        &self,
        projection: &str,
        generation: Generation,
        by: &str,
        notice: &Notice,
    ) -> Result<(), StoreError> {
        within!(self.writes()?.connection.begin().await?, |session| notices::record(
            session, projection, generation, by, notice
        ))
    }

    async fn clear_notice(
        &self,
        projection: &str,
        generation: Generation,
        kind: NoticeKind,
        subject: &str,
    ) -> Result<(), StoreError> {
        within!(self.writes()?.connection.begin().await?, |session| notices::clear(
            session, projection, generation, kind, subject
        ))
    }

    async fn notices(&self) -> Result<Vec<RecordedNotice>, StoreError> {
        within!(self.reads.begin().await?, |session| notices::all(session))
    }

    async fn heartbeat(
        &self,
        instance: &Instance,
        projection: &str,
        hashes: &[&str],
        running: bool,
    ) -> Result<(), StoreError> {
        within!(self.control().await?, |session| async {
            if running {
                heartbeats::run(session, &instance.id, projection, hashes).await
            } else {
                heartbeats::stop(session, &instance.id, projection).await
            }
        })
    }

    async fn heartbeats(&self) -> Result<Vec<InstanceHeartbeat>, StoreError> {
        within!(self.reads.begin().await?, |session| heartbeats::all(session))
    }

    async fn capacity(&self) -> Result<Option<ConnectionCapacity>, StoreError> {
        Ok(None)
    }
}

#[async_trait]
impl ParkingStore for Sqlite {
    async fn parked(&self, of: ParkedIn<'_>) -> Result<Vec<ParkedSequence>, StoreError> {
        within!(self.reads.begin().await?, |session| parking::sequences(session, of))
    }

    async fn decisions(&self, projection: &str) -> Result<Vec<Decision>, StoreError> {
        within!(self.reads.begin().await?, |session| parking::decisions(session, projection))
    }

    async fn revoke(&self, projection: &str, position: &Position, by: &str, reason: &str) -> Result<bool, StoreError> {
        within!(self.control().await?, |session| commands::revoke(session, projection, position, by, reason))
    }

    async fn open_decisions(&self, of: ParkedIn<'_>) -> Result<Vec<Decision>, StoreError> {
        within!(self.reads.begin().await?, |session| parking::open_decisions(session, of))
    }

    async fn waiting(
        &self,
        of: ParkedIn<'_>,
        partition: &TopicPartition,
        sequence: &SequenceId,
        from: i64,
        most: usize,
    ) -> Result<WaitingRecords, StoreError> {
        within!(self.reads.begin().await?, |session| parking::waiting(session, of, partition, sequence, from, most))
    }

    async fn uncopied(&self, of: ParkedIn<'_>, most: usize) -> Result<Vec<ParkedRecord>, StoreError> {
        within!(self.reads.begin().await?, |session| parking::uncopied(session, of, most))
    }

    async fn note_copied(&self, of: ParkedIn<'_>, letters: &[(TopicPartition, i64)]) -> Result<(), StoreError> {
        within!(self.writes()?.connection.begin().await?, |session| parking::note_copied(session, of, letters))
    }

    async fn note_uncopyable(
        &self,
        of: ParkedIn<'_>,
        letters: &[((TopicPartition, i64), String)],
    ) -> Result<(), StoreError> {
        within!(self.writes()?.connection.begin().await?, |session| parking::note_uncopyable(session, of, letters))
    }

    async fn uncopyable(&self, of: ParkedIn<'_>) -> Result<Vec<((TopicPartition, i64), String)>, StoreError> {
        within!(self.reads.begin().await?, |session| parking::uncopyable(session, of))
    }
}

#[async_trait]
impl OperationStore for Sqlite {
    async fn request(&self, projection: &str, command: &Command, by: &str) -> Result<i64, StoreError> {
        within!(self.control().await?, |session| operations::request(session, projection, command, by))
    }

    async fn operations(&self, projection: &str, finished: usize) -> Result<Vec<Operation>, StoreError> {
        within!(self.reads.begin().await?, |session| operations::of(session, projection, finished))
    }

    async fn pause(&self, projection: &str, paused: bool, building: bool, by: &str) -> Result<u64, StoreError> {
        within!(self.control().await?, |session| commands::pause(session, projection, paused, building, by))
    }

    async fn cancel(&self, projection: &str, by: &str) -> Result<u64, StoreError> {
        within!(self.control().await?, |session| commands::cancel(session, projection, by))
    }

    async fn rename(&self, from: &str, to: &str, by: &str) -> Result<(), StoreError> {
        // Generations are renamed first, and the checkpoints that refer to them afterwards. SQLite checks the foreign
        // keys at the commit.
        const CHECK_LATER: &str = "PRAGMA defer_foreign_keys = ON";
        within!(self.control().await?, |session| async {
            session.execute(CHECK_LATER).await.map_err(at("renaming a projection"))?;
            commands::rename(session, from, to, by).await
        })
    }

    async fn chore(&self, projection: &str, chore: Chore) -> Result<Option<Box<dyn Leadership>>, StoreError> {
        let lead = SqliteLeadership::take(&self.reads, self.writes()?, projection, chore.name());
        Ok(lead.map(|lead| Box::new(lead) as Box<dyn Leadership>))
    }

    async fn try_lead(&self, projection: &str) -> Result<Option<Box<dyn Leadership>>, StoreError> {
        let lead = SqliteLeadership::take(&self.reads, self.writes()?, projection, "lead");
        Ok(lead.map(|lead| Box::new(lead) as Box<dyn Leadership>))
    }
}
