//! The Postgres store. Everything of ours lives in the schema `readcast`, the physical tables in `readcast_tables`;
//! readers see views of theirs in a schema of the operator's choice.
//!
//! All that the process does shares a bounded number of connections. Session locks and prepared statements make a direct
//! connection necessary: a pooler in transaction mode can't stand between.

mod additions;
mod checkpoints;
mod compare;
mod connection;
mod connections;
mod copy;
mod dead_letters;
mod definition;
mod dependents;
mod deployment;
mod generations;
mod hints;
mod indexes;
mod leadership;
mod load;
mod notices;
mod oldest_snapshot;
mod operations;
mod options;
mod permits;
mod rows;
mod server;
mod sql;
mod swap;
mod views;
mod watched;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use readcast_core::{ChangeSet, Definition, TableSpec, TopicPartition};
use sqlx::PgConnection;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnectOptions;

use self::connection::{at, commit_transaction, execute, roll_back};
use self::connections::{Connections, Lease, limited};
use self::dead_letters::Parking;
use self::hints::Hints;
use self::leadership::PostgresLeadership;
use self::permits::Rank;
pub use self::server::{FindRoute, Route};
use self::server::{Server, Use};
use self::watched::WatchedLeadership;
use super::{
    Checkpoint, Chore, Command, Commit, CommitOutcome, ConnectionCapacity, Dependent, Deployment, Encoding, Generation,
    GenerationError, GenerationStatus, Instance, InstanceHeartbeat, Leadership, Notice, NoticeKind, OldestSnapshot,
    Operation, ParkedIn, ParkedRecord, ParkedSequence, PartitionState, Peek, Positions, Priority, RecordedNotice,
    SequenceId, Settlement, SharedPriority, Store, StoreError, SwapImpact, UserAddition, WaitingRecords, Writer,
    Written,
};
use crate::failpoint;
use crate::source::Extent;

/// A Postgres database that holds read tables.
#[derive(Clone)]
pub struct Postgres {
    connections: Connections,
    /// Where readers find the stable names.
    schema: String,
}

impl Postgres {
    /// The most connections of a process, where nobody says otherwise.
    pub const MOST_CONNECTIONS: usize = 20;
    /// The fewest that everything goes on with.
    pub const FEWEST_CONNECTIONS: usize = 5;

    /// The database that `options` lead to, with readers' names in `schema`. Connects to nothing yet.
    pub fn new(options: PgConnectOptions, schema: impl Into<String>) -> Self {
        let route = Route { endpoints: vec![options], connect_timeout: server::CONNECT_TIMEOUT, writable: false };
        Self::by(Arc::new(move || Ok(route.clone())), schema)
    }

    /// The same, with at most `most` connections at a time.
    #[must_use]
    pub fn with_most_connections(self, most: usize) -> Self {
        let most = most.max(Self::FEWEST_CONNECTIONS);
        Self { connections: Connections::new(self.connections.server(), most), ..self }
    }

    /// The database to which `find_route` leads, whenever a connection is made. Connects to nothing yet.
    pub fn by(find_route: FindRoute, schema: impl Into<String>) -> Self {
        let schema = schema.into();
        let server = Server::new(find_route, schema.clone());
        Self { connections: Connections::new(server, Self::MOST_CONNECTIONS), schema }
    }

    fn watched(&self, lead: PostgresLeadership) -> Box<dyn Leadership> {
        Box::new(WatchedLeadership::new(self.connections.clone(), lead))
    }

    /// A connection for a change that takes as long as it takes. It waits for other instances that make the same.
    async fn to_change(&self) -> Result<Lease, StoreError> {
        self.connections.lease(Use::Asking, Rank::Step, 0).await
    }
}

/// Asks the store one question on the connection that all such questions share, within the time that one may take.
macro_rules! ask {
    ($store:ident, |$turn:ident| $question:expr) => {
        ask!($store, |$turn, _encoding| $question)
    };
    ($store:ident, |$turn:ident, $encoding:ident| $question:expr) => {
        limited(async {
            let mut turn = $store.connections.turn().await?;
            let $encoding = turn.encoding();
            let $turn = &mut turn;
            let answer = $question.await?;
            turn.end();
            Ok(answer)
        })
        .await
    };
}

#[async_trait]
impl Store for Postgres {
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
            definition::prepare(&mut lease, definition, &self.schema).await?;
            execute(&mut lease, "COMMIT").await.map_err(at("preparing tables"))
        };
        self.connections.watched(&backend, prepared).await?;
        lease.give_back();
        Ok(())
    }

    async fn alterations(&self, definition: &Definition, generation: Generation) -> Result<Vec<String>, StoreError> {
        ask!(self, |turn| definition::alterations(turn, definition, generation, &self.schema))
    }

    async fn name_conflicts(&self, definition: &Definition) -> Result<Vec<String>, StoreError> {
        ask!(self, |turn| definition::name_conflicts(turn, definition, &self.schema))
    }

    async fn writer(
        &self,
        definition: &Definition,
        generation: Generation,
        priority: SharedPriority,
    ) -> Result<Box<dyn Writer>, StoreError> {
        static WRITERS: AtomicU64 = AtomicU64::new(1);
        Ok(Box::new(PostgresWriter {
            connections: self.connections.clone(),
            number: WRITERS.fetch_add(1, Ordering::Relaxed),
            priority,
            definition: definition.clone(),
            generation,
            hints: Hints::default(),
        }))
    }

    async fn generations(&self) -> Result<Vec<GenerationStatus>, StoreError> {
        ask!(self, |turn| generations::all(turn))
    }

    async fn generations_of(&self, projection: &str) -> Result<Vec<GenerationStatus>, StoreError> {
        ask!(self, |turn| generations::of(turn, projection))
    }

    async fn positions(&self, projection: &str, of: Option<Generation>) -> Result<Positions, StoreError> {
        ask!(self, |turn| checkpoints::positions(turn, projection, of))
    }

    async fn oldest_snapshot(&self, age: Duration) -> Result<Option<OldestSnapshot>, StoreError> {
        ask!(self, |turn| oldest_snapshot::oldest_snapshot(turn, age))
    }

    async fn peek(&self, table: &TableSpec, rows: usize) -> Result<Peek, StoreError> {
        ask!(self, |turn| definition::peek(turn, table, &self.schema, rows))
    }

    async fn record_error(
        &self,
        projection: &str,
        generation: Generation,
        by: &str,
        trouble: &GenerationError,
    ) -> Result<(), StoreError> {
        ask!(self, |turn, encoding| generations::record_error(turn, projection, generation, by, trouble, encoding))
    }

    async fn clear_error(&self, projection: &str, generation: Generation, by: &str) -> Result<(), StoreError> {
        ask!(self, |turn| generations::clear_error(turn, projection, generation, by))
    }

    async fn note(
        &self,
        projection: &str,
        generation: Generation,
        by: &str,
        notice: &Notice,
    ) -> Result<(), StoreError> {
        ask!(self, |turn, encoding| notices::note(turn, projection, generation, by, notice, encoding))
    }

    async fn withdraw(&self, projection: &str, generation: Generation, kind: NoticeKind) -> Result<(), StoreError> {
        ask!(self, |turn| notices::withdraw(turn, projection, generation, kind))
    }

    async fn notices(&self) -> Result<Vec<RecordedNotice>, StoreError> {
        ask!(self, |turn| notices::all(turn))
    }

    async fn parked(&self, of: ParkedIn<'_>) -> Result<Vec<ParkedSequence>, StoreError> {
        ask!(self, |turn| dead_letters::parked(turn, of))
    }

    async fn waiting(
        &self,
        of: ParkedIn<'_>,
        partition: &TopicPartition,
        sequence: &SequenceId,
        from: i64,
        most: usize,
    ) -> Result<WaitingRecords, StoreError> {
        ask!(self, |turn| dead_letters::waiting(turn, of, partition, sequence, from, most))
    }

    async fn uncopied(&self, of: ParkedIn<'_>, most: usize) -> Result<Vec<ParkedRecord>, StoreError> {
        ask!(self, |turn| dead_letters::uncopied(turn, of, most))
    }

    async fn note_copied(&self, of: ParkedIn<'_>, letters: &[(TopicPartition, i64)]) -> Result<(), StoreError> {
        ask!(self, |turn| dead_letters::note_copied(turn, of, letters))
    }

    async fn note_uncopyable(
        &self,
        of: ParkedIn<'_>,
        letters: &[((TopicPartition, i64), String)],
    ) -> Result<(), StoreError> {
        ask!(self, |turn, encoding| dead_letters::note_uncopyable(turn, of, letters, encoding))
    }

    async fn uncopyable(&self, of: ParkedIn<'_>) -> Result<Vec<((TopicPartition, i64), String)>, StoreError> {
        ask!(self, |turn| dead_letters::uncopyable(turn, of))
    }

    async fn request(&self, projection: &str, command: &Command, by: &str) -> Result<i64, StoreError> {
        ask!(self, |turn, encoding| operations::request(turn, projection, command, by, encoding))
    }

    async fn operations(&self, projection: &str, finished: usize) -> Result<Vec<Operation>, StoreError> {
        ask!(self, |turn| operations::of(turn, projection, finished))
    }

    async fn pause(&self, projection: &str, paused: bool, building: bool, by: &str) -> Result<u64, StoreError> {
        ask!(self, |turn, encoding| operations::pause(turn, projection, paused, building, by, encoding))
    }

    async fn cancel(&self, projection: &str, by: &str) -> Result<u64, StoreError> {
        ask!(self, |turn, encoding| operations::cancel(turn, projection, by, encoding))
    }

    async fn rename(&self, from: &str, to: &str, by: &str) -> Result<(), StoreError> {
        ask!(self, |turn, encoding| operations::rename(turn, from, to, by, encoding))
    }

    async fn deployment(&self) -> Result<Option<Deployment>, StoreError> {
        ask!(self, |turn| deployment::recorded(turn))
    }

    async fn deploy(&self, ours: &Deployment, adopt: bool) -> Result<(), StoreError> {
        let mut lease = self.to_change().await?;
        let backend = lease.backend();
        self.connections.watched(&backend, deployment::deploy(&mut lease, ours, adopt)).await?;
        lease.give_back();
        Ok(())
    }

    async fn heartbeat(
        &self,
        instance: &Instance,
        projection: &str,
        hashes: &[&str],
        running: bool,
    ) -> Result<(), StoreError> {
        ask!(self, |turn| operations::heartbeat(turn, instance, projection, hashes, running))
    }

    async fn heartbeats(&self) -> Result<Vec<InstanceHeartbeat>, StoreError> {
        ask!(self, |turn| operations::heartbeats(turn))
    }

    async fn capacity(&self) -> Result<Option<ConnectionCapacity>, StoreError> {
        // A second connection shows whether it has a server process of its own.
        let second = self.to_change().await?;
        let capacity = ask!(self, |turn| operations::capacity(turn)).map(Some);
        second.give_back();
        capacity
    }

    async fn swap_impact(&self, live: &GenerationStatus, next: &Definition) -> Result<SwapImpact, StoreError> {
        let physical: Vec<String> = live.tables.iter().map(|table| sql::physical(table, live.generation)).collect();
        ask!(self, |turn| swap::swap_impact(turn, &self.schema, &live.tables, &physical, next.tables()))
    }

    async fn additions(&self, live: &GenerationStatus, next: &Definition) -> Result<Vec<UserAddition>, StoreError> {
        ask!(self, |turn| additions::additions(turn, &self.schema, live, next))
    }

    async fn dependents(&self, of: &GenerationStatus) -> Result<Vec<Dependent>, StoreError> {
        let physical: Vec<String> = of.tables.iter().map(|table| sql::physical(table, of.generation)).collect();
        let stable: Vec<String> = of.tables.iter().map(|table| sql::stable(&self.schema, table.name())).collect();
        ask!(self, |turn| dependents::of(turn, &physical, &stable))
    }

    async fn chore(&self, projection: &str, chore: Chore) -> Result<Option<Box<dyn Leadership>>, StoreError> {
        let lead = PostgresLeadership::take(self, projection, chore.name(), Rank::Chore).await?;
        Ok(lead.map(|lead| self.watched(lead)))
    }

    async fn try_lead(&self, projection: &str) -> Result<Option<Box<dyn Leadership>>, StoreError> {
        let lead = PostgresLeadership::take(self, projection, "lead", Rank::Leadership).await?;
        Ok(lead.map(|lead| self.watched(lead)))
    }
}

fn migrator() -> Migrator {
    const MIGRATIONS: &[(i64, &str, &str)] = &[
        (1, "positions", include_str!("../../migrations/postgres/0001_positions.sql")),
        (2, "generations", include_str!("../../migrations/postgres/0002_generations.sql")),
        (3, "dead_letters", include_str!("../../migrations/postgres/0003_dead_letters.sql")),
        (4, "load", include_str!("../../migrations/postgres/0004_load.sql")),
        (5, "deployment", include_str!("../../migrations/postgres/0005_deployment.sql")),
        (6, "notices", include_str!("../../migrations/postgres/0006_notices.sql")),
        (7, "dead_versions", include_str!("../../migrations/postgres/0007_dead_versions.sql")),
    ];
    let migration = |&(version, name, sql): &(i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sqlx::SqlStr::from_static(sql), false)
    };
    let mut migrator = Migrator::with_migrations(MIGRATIONS.iter().map(migration).collect());
    migrator.create_schema("readcast");
    migrator.dangerous_set_table_name("readcast.migrations");
    migrator
}

/// How the reasons of dead letters are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reasons {
    /// As they are, as far as the database's encoding holds them.
    AsTold(Encoding),
    /// As one fixed text: whatever is wrong with them, it must not keep a record from being parked.
    Withheld,
}

/// Whether a commit may go on to its rows.
enum Passed {
    Yes,
    /// What it comes to. Its transaction is over.
    No(CommitOutcome),
    /// The database can't hold a reason. The transaction has failed.
    ReasonsRefused,
}

/// What became of a transaction.
enum Transacted {
    Decided(CommitOutcome),
    /// The database can't hold a reason. The transaction has failed.
    ReasonsRefused,
}

impl Transacted {
    fn decided(self) -> Result<CommitOutcome, StoreError> {
        match self {
            Transacted::Decided(committed) => Ok(committed),
            Transacted::ReasonsRefused => {
                let reason = "the database refuses every reason".to_owned();
                Err(StoreError::Refused { doing: "parking records".into(), reason })
            }
        }
    }
}

/// What every commit does before its rows: passes the guard, parks, remembers what it saw.
async fn pass(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
    commit: &Commit,
    reasons: Reasons,
    hints: &mut Hints,
) -> Result<Passed, StoreError> {
    let checkpoints = checkpoints::Checkpoints::new(of.projection, of.generation);
    if !checkpoints.advance(connection, &commit.advances, hints).await? {
        roll_back(connection).await?;
        return checkpoints.outcome(connection, &commit.advances).await.map(Passed::No);
    }
    failpoint::hit("after_checkpoint");
    match dead_letters::park(connection, of, commit, reasons).await? {
        Parking::Done => {}
        Parking::Full(limit) => {
            roll_back(connection).await?;
            return Ok(Passed::No(CommitOutcome::Full(limit)));
        }
        Parking::ReasonsRefused => return Ok(Passed::ReasonsRefused),
    }
    dead_letters::write_ledger(connection, of, commit, hints).await?;
    Ok(Passed::Yes)
}

/// Writes to one generation, each time on a connection of those that all share.
struct PostgresWriter {
    connections: Connections,
    /// Tells this writer from the others, so that it gets the connection on which its statements are prepared.
    number: u64,
    priority: SharedPriority,
    definition: Definition,
    generation: Generation,
    hints: Hints,
}

impl PostgresWriter {
    async fn lease(&self, rank: Rank) -> Result<Lease, StoreError> {
        self.connections.lease(Use::Writing, rank, self.number).await
    }

    fn rank(&self) -> Rank {
        match self.priority.get() {
            Priority::Operation => Rank::Step,
            Priority::Live => Rank::Live,
            Priority::Standby => Rank::Standby,
            Priority::Building => Rank::Building,
        }
    }

    /// The whole transaction. Any error leaves by `?`, so COMMIT is never sent after a statement that failed.
    async fn transact(
        &self,
        lease: &mut Lease,
        commit: &Commit,
        reasons: Reasons,
        hints: &mut Hints,
    ) -> Result<Transacted, StoreError> {
        execute(lease, "BEGIN").await.map_err(at("beginning a transaction"))?;
        failpoint::hit("after_begin");
        match pass(lease, self.parked_in(), commit, reasons, hints).await? {
            Passed::Yes => {}
            Passed::No(refused) => return Ok(Transacted::Decided(refused)),
            Passed::ReasonsRefused => return Ok(Transacted::ReasonsRefused),
        }
        let written = self.write(lease, &commit.changes).await?;
        failpoint::hit("after_rows");
        commit_transaction(lease).await?;
        failpoint::hit("after_commit");
        Ok(Transacted::Decided(CommitOutcome::Applied(written)))
    }

    async fn write(&self, connection: &mut PgConnection, changes: &ChangeSet) -> Result<Written, StoreError> {
        let mut written = Written { rows: 0, missed: changes.missed() };
        for (index, table) in self.definition.tables().iter().enumerate() {
            let physical = sql::physical(table, self.generation);
            for segment in changes.segments(index) {
                rows::write(connection, table, &physical, segment, &mut written).await?;
            }
        }
        Ok(written)
    }

    /// The same for a settlement, whose guard is the parking epoch.
    async fn settle_within(&self, lease: &mut Lease, settlement: &Settlement) -> Result<Option<Written>, StoreError> {
        execute(lease, "BEGIN").await.map_err(at("beginning a transaction"))?;
        if !dead_letters::raise_epoch(lease, self.parked_in(), settlement).await? {
            roll_back(lease).await?;
            return Ok(None);
        }
        let encoding = lease.encoding();
        dead_letters::settle(lease, self.parked_in(), settlement, encoding).await?;
        let written = self.write(lease, &settlement.changes).await?;
        failpoint::hit("settle_before_commit");
        commit_transaction(lease).await?;
        Ok(Some(written))
    }

    fn parked_in(&self) -> ParkedIn<'_> {
        ParkedIn { projection: self.definition.name(), generation: self.generation }
    }
}

#[async_trait]
impl Writer for PostgresWriter {
    async fn claim(&mut self, partitions: &[(TopicPartition, Extent)]) -> Result<Vec<Checkpoint>, StoreError> {
        let mut lease = self.lease(Rank::Step).await?;
        let checkpoints = checkpoints::Checkpoints::new(self.definition.name(), self.generation);
        let backend = lease.backend();
        let claimed = self.connections.watched(&backend, checkpoints.claim(&mut lease, partitions)).await?;
        lease.give_back();
        Ok(claimed)
    }

    async fn load_state(
        &mut self,
        partitions: &[TopicPartition],
        window: i64,
    ) -> Result<Vec<(TopicPartition, PartitionState)>, StoreError> {
        let mut lease = self.lease(self.rank()).await?;
        let backend = lease.backend();
        let recalled = dead_letters::load_state(&mut lease, self.parked_in(), partitions, window);
        let recalled = self.connections.watched(&backend, recalled).await?;
        lease.give_back();
        Ok(recalled)
    }

    async fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome, StoreError> {
        let commit = commit.guarded()?;
        let mut hints = std::mem::take(&mut self.hints);
        let mut lease = self.lease(self.rank()).await?;
        let (backend, encoding) = (lease.backend(), lease.encoding());
        let told = self.transact(&mut lease, commit, Reasons::AsTold(encoding), &mut hints);
        let committed = match self.connections.watched(&backend, told).await? {
            Transacted::Decided(committed) => committed,
            Transacted::ReasonsRefused => {
                roll_back(&mut lease).await?;
                hints = Hints::default();
                let withheld = self.transact(&mut lease, commit, Reasons::Withheld, &mut hints);
                self.connections.watched(&backend, withheld).await?.decided()?
            }
        };
        lease.give_back();
        // What was noted in a transaction that was rolled back is not true.
        if matches!(committed, CommitOutcome::Applied(_)) {
            self.hints = hints;
        }
        Ok(committed)
    }

    async fn settle(&mut self, settlement: &Settlement) -> Result<Option<Written>, StoreError> {
        let mut lease = self.lease(self.rank()).await?;
        let backend = lease.backend();
        let settled = self.connections.watched(&backend, self.settle_within(&mut lease, settlement)).await?;
        lease.give_back();
        Ok(settled)
    }
}
