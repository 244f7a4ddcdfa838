//! Implements [`Store`](crate::store::Store) for Postgres: each query on the connection that all queries share, with a
//! time limit.

use std::time::Duration;

use async_trait::async_trait;
use readcast_core::{Definition, Position, Shown, TableSpec, TopicPartition};

use super::connection::{self, at, commit_transaction, execute};
use super::connections::{Lease, limited};
use super::leadership::PostgresLeadership;
use super::permits::Rank;
use super::server::Use;
use super::watched::WatchedLeadership;
use super::writer::PostgresWriter;
use super::{Postgres, additions, definition, dependents, deployment, instances, migrator, oldest_snapshot, sql, swap};
use crate::store::bookkeeping::{checkpoints, commands, generations, heartbeats, notices, operations, parking};
use crate::store::{
    Chore, Command, CommitStore, ConnectionCapacity, Decision, Dependent, Deployment, Generation, GenerationError,
    GenerationStatus, Instance, InstanceHeartbeat, Leadership, Notice, NoticeKind, OldestSnapshot, Operation,
    OperationStore, ParkedIn, ParkedRecord, ParkedSequence, ParkingStore, Peek, Positions, RecordedNotice, SchemaStore,
    SequenceId, SharedPriority, StatusStore, StoreError, SwapImpact, UserAddition, WaitingRecords, WindowSize, Writer,
};

/// Runs one query on the shared connection.
macro_rules! ask {
    ($store:ident, |$session:ident| $question:expr) => {
        limited(async {
            let mut turn = $store.connections.turn().await?;
            let answer = {
                let $session = &mut turn.session();
                $question.await?
            };
            turn.end();
            Ok(answer)
        })
        .await
    };
}

/// Runs several statements in one transaction on the shared connection, with the time limit of a query.
macro_rules! change {
    ($store:ident, |$session:ident| $change:expr) => {
        ask!($store, |$session| async {
            execute($session, "BEGIN").await.map_err(at("beginning a transaction"))?;
            let done = $change.await?;
            commit_transaction($session).await?;
            Ok::<_, StoreError>(done)
        })
    };
}

impl Postgres {
    /// A connection for a change without a time limit. The change may wait for other instances that make the same
    /// change.
    async fn to_change(&self) -> Result<Lease, StoreError> {
        self.connections.lease(Use::Asking, Rank::Step, 0).await
    }

    async fn lead(
        &self,
        projection: &str,
        right: &'static str,
        rank: Rank,
    ) -> Result<Option<Box<dyn Leadership>>, StoreError> {
        let lead = PostgresLeadership::take(self, projection, right, rank).await?;
        Ok(lead.map(|lead| Box::new(WatchedLeadership::new(self.connections.clone(), lead)) as Box<dyn Leadership>))
    }
}

#[async_trait]
impl SchemaStore for Postgres {
    async fn migrate(&self) -> Result<(), StoreError> {
        let mut lease = self.to_change().await?;
        let backend = lease.backend();
        let migrated = async {
            let migrated = migrator().run_direct(None, &mut *lease, false).await;
            migrated.map_err(connection::migration("creating readcast's own tables"))
        };
        self.connections.watched(&backend, migrated).await?;
        lease.give_back();
        Ok(())
    }

    async fn prepare(&self, definition: &Definition) -> Result<(), StoreError> {
        let mut lease = self.to_change().await?;
        let backend = lease.backend();
        let prepared = async {
            execute(&mut lease, "BEGIN").await.map_err(at("preparing tables"))?;
            definition::prepare(&mut lease.session(), definition, &self.schema).await?;
            execute(&mut lease, "COMMIT").await.map_err(at("preparing tables"))
        };
        self.connections.watched(&backend, prepared).await?;
        lease.give_back();
        Ok(())
    }

    async fn alterations(&self, definition: &Definition, generation: Generation) -> Result<Vec<String>, StoreError> {
        ask!(self, |session| definition::alterations(session, definition, generation, &self.schema))
    }

    async fn name_conflicts(&self, definition: &Definition) -> Result<Vec<String>, StoreError> {
        ask!(self, |session| definition::name_conflicts(session, definition, &self.schema))
    }

    async fn deployment(&self) -> Result<Option<Deployment>, StoreError> {
        ask!(self, |session| deployment::recorded(session))
    }

    async fn deploy(&self, ours: &Deployment, adopt: bool) -> Result<(), StoreError> {
        let mut lease = self.to_change().await?;
        let backend = lease.backend();
        self.connections.watched(&backend, deployment::deploy(&mut lease.session(), ours, adopt)).await?;
        lease.give_back();
        Ok(())
    }

    async fn swap_impact(&self, live: &GenerationStatus, next: &Definition) -> Result<SwapImpact, StoreError> {
        let physical: Vec<String> = live.tables.iter().map(|table| sql::physical(table, live.generation)).collect();
        ask!(self, |session| swap::swap_impact(session, &self.schema, &live.tables, &physical, next.tables()))
    }

    async fn additions(&self, live: &GenerationStatus, next: &Definition) -> Result<Vec<UserAddition>, StoreError> {
        ask!(self, |session| additions::additions(session, &self.schema, live, next))
    }

    async fn dependents(&self, of: &GenerationStatus) -> Result<Vec<Dependent>, StoreError> {
        let physical: Vec<String> = of.tables.iter().map(|table| sql::physical(table, of.generation)).collect();
        let stable: Vec<String> =
            Shown::all(&of.tables).iter().map(|shown| sql::stable(&self.schema, shown.name)).collect();
        ask!(self, |session| dependents::of(session, &physical, &stable))
    }
}

#[async_trait]
impl CommitStore for Postgres {
    async fn writer(
        &self,
        definition: &Definition,
        generation: Generation,
        priority: SharedPriority,
    ) -> Result<Box<dyn Writer>, StoreError> {
        Ok(Box::new(PostgresWriter::new(self.connections.clone(), definition, generation, priority)))
    }

    async fn duplicate_window(
        &self,
        projection: &str,
        generation: Generation,
        size: WindowSize,
        partitions: usize,
    ) -> Result<i64, StoreError> {
        ask!(self, |session| generations::duplicate_window(session, projection, generation, size, partitions))
    }
}

#[async_trait]
impl StatusStore for Postgres {
    async fn generations(&self) -> Result<Vec<GenerationStatus>, StoreError> {
        ask!(self, |session| generations::all(session))
    }

    async fn generations_of(&self, projection: &str) -> Result<Vec<GenerationStatus>, StoreError> {
        ask!(self, |session| generations::of(session, projection))
    }

    async fn component(&self, projection: &str, generation: Generation) -> Result<Option<Vec<u8>>, StoreError> {
        ask!(self, |session| generations::component(session, projection, generation))
    }

    async fn positions(&self, projection: &str, of: Option<Generation>) -> Result<Positions, StoreError> {
        ask!(self, |session| checkpoints::positions(session, projection, of))
    }

    async fn oldest_snapshot(&self, age: Duration) -> Result<Option<OldestSnapshot>, StoreError> {
        ask!(self, |session| oldest_snapshot::oldest_snapshot(session, age))
    }

    async fn peek(&self, table: &TableSpec, rows: usize) -> Result<Peek, StoreError> {
        ask!(self, |session| definition::peek(session, table, &self.schema, rows))
    }

    async fn record_error(
        &self,
        projection: &str,
        generation: Generation,
        by: &str,
        error: &GenerationError,
    ) -> Result<(), StoreError> {
        ask!(self, |session| generations::record_error(session, projection, generation, by, error))
    }

    async fn clear_error(&self, projection: &str, generation: Generation, by: &str) -> Result<(), StoreError> {
        ask!(self, |session| generations::clear_error(session, projection, generation, by))
    }

    async fn record_notice(
        &self,
        projection: &str,
        generation: Generation,
        by: &str,
        notice: &Notice,
    ) -> Result<(), StoreError> {
        ask!(self, |session| notices::record(session, projection, generation, by, notice))
    }

    async fn clear_notice(
        &self,
        projection: &str,
        generation: Generation,
        kind: NoticeKind,
        subject: &str,
    ) -> Result<(), StoreError> {
        ask!(self, |session| notices::clear(session, projection, generation, kind, subject))
    }

    async fn notices(&self) -> Result<Vec<RecordedNotice>, StoreError> {
        ask!(self, |session| notices::all(session))
    }

    async fn heartbeat(
        &self,
        instance: &Instance,
        projection: &str,
        hashes: &[&str],
        running: bool,
    ) -> Result<(), StoreError> {
        change!(self, |session| async {
            if running {
                instances::run(session, instance, projection, hashes).await
            } else {
                heartbeats::stop(session, &instance.id, projection).await
            }
        })
    }

    async fn heartbeats(&self) -> Result<Vec<InstanceHeartbeat>, StoreError> {
        ask!(self, |session| heartbeats::all(session))
    }

    async fn capacity(&self) -> Result<Option<ConnectionCapacity>, StoreError> {
        // A second connection shows whether each connection has its own server process.
        let second = self.to_change().await?;
        let capacity = ask!(self, |session| instances::capacity(session)).map(Some);
        second.give_back();
        capacity
    }
}

#[async_trait]
impl ParkingStore for Postgres {
    async fn parked(&self, of: ParkedIn<'_>) -> Result<Vec<ParkedSequence>, StoreError> {
        ask!(self, |session| parking::sequences(session, of))
    }

    async fn decisions(&self, projection: &str) -> Result<Vec<Decision>, StoreError> {
        ask!(self, |session| parking::decisions(session, projection))
    }

    async fn revoke(&self, projection: &str, position: &Position, by: &str, reason: &str) -> Result<bool, StoreError> {
        change!(self, |session| commands::revoke(session, projection, position, by, reason))
    }

    async fn open_decisions(&self, of: ParkedIn<'_>) -> Result<Vec<Decision>, StoreError> {
        ask!(self, |session| parking::open_decisions(session, of))
    }

    async fn waiting(
        &self,
        of: ParkedIn<'_>,
        partition: &TopicPartition,
        sequence: &SequenceId,
        from: i64,
        most: usize,
    ) -> Result<WaitingRecords, StoreError> {
        ask!(self, |session| parking::waiting(session, of, partition, sequence, from, most))
    }

    async fn uncopied(&self, of: ParkedIn<'_>, most: usize) -> Result<Vec<ParkedRecord>, StoreError> {
        ask!(self, |session| parking::uncopied(session, of, most))
    }

    async fn note_copied(&self, of: ParkedIn<'_>, letters: &[(TopicPartition, i64)]) -> Result<(), StoreError> {
        ask!(self, |session| parking::note_copied(session, of, letters))
    }

    async fn note_uncopyable(
        &self,
        of: ParkedIn<'_>,
        letters: &[((TopicPartition, i64), String)],
    ) -> Result<(), StoreError> {
        ask!(self, |session| parking::note_uncopyable(session, of, letters))
    }

    async fn uncopyable(&self, of: ParkedIn<'_>) -> Result<Vec<((TopicPartition, i64), String)>, StoreError> {
        ask!(self, |session| parking::uncopyable(session, of))
    }
}

#[async_trait]
impl OperationStore for Postgres {
    async fn request(&self, projection: &str, command: &Command, by: &str) -> Result<i64, StoreError> {
        // If two requests for the same operation are concurrent, the second waits for the first and finds its
        // operation.
        const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('readcast operations ' || $1, 0))";
        change!(self, |session| async {
            let lock = sqlx::query(LOCK).bind(projection).execute(session.connection()).await;
            lock.map_err(at("asking for an operation"))?;
            operations::request(session, projection, command, by).await
        })
    }

    async fn operations(&self, projection: &str, finished: usize) -> Result<Vec<Operation>, StoreError> {
        ask!(self, |session| operations::of(session, projection, finished))
    }

    async fn pause(&self, projection: &str, paused: bool, building: bool, by: &str) -> Result<u64, StoreError> {
        change!(self, |session| commands::pause(session, projection, paused, building, by))
    }

    async fn cancel(&self, projection: &str, by: &str) -> Result<u64, StoreError> {
        change!(self, |session| commands::cancel(session, projection, by))
    }

    async fn rename(&self, from: &str, to: &str, by: &str) -> Result<(), StoreError> {
        change!(self, |session| commands::rename(session, from, to, by))
    }

    async fn chore(&self, projection: &str, chore: Chore) -> Result<Option<Box<dyn Leadership>>, StoreError> {
        self.lead(projection, chore.name(), Rank::Chore).await
    }

    async fn try_lead(&self, projection: &str) -> Result<Option<Box<dyn Leadership>>, StoreError> {
        self.lead(projection, "lead", Rank::Leadership).await
    }
}
