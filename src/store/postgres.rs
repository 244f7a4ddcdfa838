//! The Postgres store. Everything of ours lives in the schema `readcast`, the physical tables in `readcast_tables`;
//! readers see views of theirs in a schema of the operator's choice.
//!
//! Each lane has a connection of its own. Session locks and prepared statements make a direct connection necessary: a
//! pooler in transaction mode can't stand between.

mod checkpoints;
mod compare;
mod connection;
mod copy;
mod dead_letters;
mod definition;
mod dependents;
mod generations;
mod lead;
mod load;
mod notices;
mod operations;
mod rows;
mod sql;
mod swap;
mod views;

use async_trait::async_trait;
use readcast_core::{ChangeSet, Definition, TableSpec, TopicPartition};
use sqlx::PgConnection;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnectOptions;

use self::connection::{Asking, Turn, at, commit_transaction, connect, execute, roll_back};
use self::lead::PostgresLead;
use super::{
    Attendance, Checkpoint, Chore, Command, Commit, Committed, Dependent, Generation, GenerationStatus, Lead, Memory,
    Notice, NoticeKind, Operation, ParkedIn, ParkedRecord, ParkedSequence, Peek, RecordedNotice, SequenceId,
    Settlement, Store, StoreError, Surroundings, Trouble, Waiting, Writer, Written,
};
use crate::failpoint;
use crate::source::Extent;

/// A Postgres database that holds read tables.
#[derive(Clone, Debug)]
pub struct Postgres {
    options: PgConnectOptions,
    /// Where readers find the stable names.
    schema: String,
    asking: Asking,
}

impl Postgres {
    /// The database that `options` lead to, with readers' names in `schema`. Connects to nothing yet.
    pub fn new(options: PgConnectOptions, schema: impl Into<String>) -> Self {
        Self { options: connection::with_limits(options), schema: schema.into(), asking: Asking::default() }
    }

    async fn connect(&self) -> Result<PgConnection, StoreError> {
        connect(&self.options).await
    }

    async fn turn(&self) -> Result<Turn<'_>, StoreError> {
        self.asking.turn(&self.options).await
    }
}

#[async_trait]
impl Store for Postgres {
    async fn migrate(&self) -> Result<(), StoreError> {
        let mut connection = self.connect().await?;
        let migrated = migrator().run_direct(None, &mut connection, false).await;
        migrated.map_err(connection::migration("creating readcast's own tables"))
    }

    async fn prepare(&self, definition: &Definition) -> Result<(), StoreError> {
        let mut connection = self.connect().await?;
        execute(&mut connection, "BEGIN").await.map_err(at("preparing tables"))?;
        definition::prepare(&mut connection, definition, &self.schema).await?;
        execute(&mut connection, "COMMIT").await.map_err(at("preparing tables"))
    }

    async fn alterations(&self, definition: &Definition, generation: Generation) -> Result<Vec<String>, StoreError> {
        let mut turn = self.turn().await?;
        let answer = definition::alterations(&mut turn, definition, generation, &self.schema).await?;
        turn.end();
        Ok(answer)
    }

    async fn taken_names(&self, definition: &Definition) -> Result<Vec<String>, StoreError> {
        let mut turn = self.turn().await?;
        let answer = definition::taken_names(&mut turn, definition, &self.schema).await?;
        turn.end();
        Ok(answer)
    }

    async fn writer(&self, definition: &Definition, generation: Generation) -> Result<Box<dyn Writer>, StoreError> {
        let options = connection::for_writing(&self.options);
        let connection = Some(connect(&options).await?);
        Ok(Box::new(PostgresWriter { options, connection, definition: definition.clone(), generation }))
    }

    async fn generations(&self) -> Result<Vec<GenerationStatus>, StoreError> {
        let mut turn = self.turn().await?;
        let answer = generations::all(&mut turn).await?;
        turn.end();
        Ok(answer)
    }

    async fn peek(&self, table: &TableSpec, rows: usize) -> Result<Peek, StoreError> {
        let mut turn = self.turn().await?;
        let answer = definition::peek(&mut turn, table, &self.schema, rows).await?;
        turn.end();
        Ok(answer)
    }

    async fn record_trouble(
        &self,
        projection: &str,
        generation: Generation,
        by: &str,
        trouble: &Trouble,
    ) -> Result<(), StoreError> {
        let mut turn = self.turn().await?;
        let answer = generations::record_trouble(&mut turn, projection, generation, by, trouble).await?;
        turn.end();
        Ok(answer)
    }

    async fn forget_trouble(&self, projection: &str, generation: Generation, by: &str) -> Result<(), StoreError> {
        let mut turn = self.turn().await?;
        let answer = generations::forget_trouble(&mut turn, projection, generation, by).await?;
        turn.end();
        Ok(answer)
    }

    async fn note(
        &self,
        projection: &str,
        generation: Generation,
        by: &str,
        notice: &Notice,
    ) -> Result<(), StoreError> {
        let mut turn = self.turn().await?;
        let answer = notices::note(&mut turn, projection, generation, by, notice).await?;
        turn.end();
        Ok(answer)
    }

    async fn withdraw(&self, projection: &str, generation: Generation, kind: NoticeKind) -> Result<(), StoreError> {
        let mut turn = self.turn().await?;
        let answer = notices::withdraw(&mut turn, projection, generation, kind).await?;
        turn.end();
        Ok(answer)
    }

    async fn notices(&self) -> Result<Vec<RecordedNotice>, StoreError> {
        let mut turn = self.turn().await?;
        let answer = notices::all(&mut turn).await?;
        turn.end();
        Ok(answer)
    }

    async fn parked(&self, of: ParkedIn<'_>) -> Result<Vec<ParkedSequence>, StoreError> {
        let mut turn = self.turn().await?;
        let answer = dead_letters::parked(&mut turn, of).await?;
        turn.end();
        Ok(answer)
    }

    async fn waiting(
        &self,
        of: ParkedIn<'_>,
        partition: &TopicPartition,
        sequence: &SequenceId,
        from: i64,
        most: usize,
    ) -> Result<Waiting, StoreError> {
        let mut turn = self.turn().await?;
        let answer = dead_letters::waiting(&mut turn, of, partition, sequence, from, most).await?;
        turn.end();
        Ok(answer)
    }

    async fn uncopied(&self, of: ParkedIn<'_>, most: usize) -> Result<Vec<ParkedRecord>, StoreError> {
        let mut turn = self.turn().await?;
        let answer = dead_letters::uncopied(&mut turn, of, most).await?;
        turn.end();
        Ok(answer)
    }

    async fn note_copied(&self, of: ParkedIn<'_>, letters: &[(TopicPartition, i64)]) -> Result<(), StoreError> {
        let mut turn = self.turn().await?;
        let answer = dead_letters::note_copied(&mut turn, of, letters).await?;
        turn.end();
        Ok(answer)
    }

    async fn note_uncopyable(
        &self,
        of: ParkedIn<'_>,
        letters: &[((TopicPartition, i64), String)],
    ) -> Result<(), StoreError> {
        let mut turn = self.turn().await?;
        let answer = dead_letters::note_uncopyable(&mut turn, of, letters).await?;
        turn.end();
        Ok(answer)
    }

    async fn uncopyable(&self, of: ParkedIn<'_>) -> Result<Vec<((TopicPartition, i64), String)>, StoreError> {
        let mut turn = self.turn().await?;
        let answer = dead_letters::uncopyable(&mut turn, of).await?;
        turn.end();
        Ok(answer)
    }

    async fn request(&self, projection: &str, command: &Command, by: &str) -> Result<i64, StoreError> {
        let mut turn = self.turn().await?;
        let answer = operations::request(&mut turn, projection, command, by).await?;
        turn.end();
        Ok(answer)
    }

    async fn operations(&self, projection: &str, finished: usize) -> Result<Vec<Operation>, StoreError> {
        let mut turn = self.turn().await?;
        let answer = operations::of(&mut turn, projection, finished).await?;
        turn.end();
        Ok(answer)
    }

    async fn pause(&self, projection: &str, paused: bool, building: bool, by: &str) -> Result<u64, StoreError> {
        let mut turn = self.turn().await?;
        let answer = operations::pause(&mut turn, projection, paused, building, by).await?;
        turn.end();
        Ok(answer)
    }

    async fn cancel(&self, projection: &str, by: &str) -> Result<u64, StoreError> {
        let mut turn = self.turn().await?;
        let answer = operations::cancel(&mut turn, projection, by).await?;
        turn.end();
        Ok(answer)
    }

    async fn rename(&self, from: &str, to: &str, by: &str) -> Result<(), StoreError> {
        let mut turn = self.turn().await?;
        let answer = operations::rename(&mut turn, from, to, by).await?;
        turn.end();
        Ok(answer)
    }

    async fn attend(&self, instance: &str, projection: &str, hashes: &[&str], running: bool) -> Result<(), StoreError> {
        let mut turn = self.turn().await?;
        let answer = operations::attend(&mut turn, instance, projection, hashes, running).await?;
        turn.end();
        Ok(answer)
    }

    async fn attendance(&self) -> Result<Vec<Attendance>, StoreError> {
        let mut turn = self.turn().await?;
        let answer = operations::attendance(&mut turn).await?;
        turn.end();
        Ok(answer)
    }

    async fn surroundings(&self, live: &GenerationStatus, next: &Definition) -> Result<Surroundings, StoreError> {
        let physical: Vec<String> = live.tables.iter().map(|table| sql::physical(table, live.generation)).collect();
        let mut connection = self.connect().await?;
        swap::surroundings(&mut connection, &self.schema, &live.tables, &physical, next.tables()).await
    }

    async fn dependents(&self, of: &GenerationStatus) -> Result<Vec<Dependent>, StoreError> {
        let physical: Vec<String> = of.tables.iter().map(|table| sql::physical(table, of.generation)).collect();
        let stable: Vec<String> = of.tables.iter().map(|table| sql::stable(&self.schema, table.name())).collect();
        let mut turn = self.turn().await?;
        let answer = dependents::of(&mut turn, &physical, &stable).await?;
        turn.end();
        Ok(answer)
    }

    async fn chore(&self, projection: &str, chore: Chore) -> Result<Option<Box<dyn Lead>>, StoreError> {
        let lead = PostgresLead::take(self, projection, chore.name()).await?;
        Ok(lead.map(|lead| Box::new(lead) as Box<dyn Lead>))
    }

    async fn lead(&self, projection: &str) -> Result<Option<Box<dyn Lead>>, StoreError> {
        let lead = PostgresLead::take(self, projection, "lead").await?;
        Ok(lead.map(|lead| Box::new(lead) as Box<dyn Lead>))
    }
}

fn migrator() -> Migrator {
    const MIGRATIONS: [(i64, &str, &str); 5] = [
        (1, "positions", include_str!("../../migrations/postgres/0001_positions.sql")),
        (2, "generations", include_str!("../../migrations/postgres/0002_generations.sql")),
        (3, "dead_letters", include_str!("../../migrations/postgres/0003_dead_letters.sql")),
        (4, "load", include_str!("../../migrations/postgres/0004_load.sql")),
        (6, "notices", include_str!("../../migrations/postgres/0006_notices.sql")),
    ];
    let migration = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sqlx::SqlStr::from_static(sql), false)
    };
    let mut migrator = Migrator::with_migrations(MIGRATIONS.map(migration).into());
    migrator.create_schema("readcast");
    migrator.dangerous_set_table_name("readcast.migrations");
    migrator
}

/// What every commit does before its rows: passes the guard, parks, remembers what it saw. What it comes to if it may not
/// go on, and then its transaction is over.
async fn pass(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
    commit: &Commit,
) -> Result<Option<Committed>, StoreError> {
    let checkpoints = checkpoints::Of::new(of.projection, of.generation);
    if !checkpoints.advance(connection, &commit.advances).await? {
        roll_back(connection).await?;
        return checkpoints.outcome(connection, &commit.advances).await.map(Some);
    }
    failpoint::hit("after_checkpoint");
    if let Some(limit) = dead_letters::park(connection, of, commit).await? {
        roll_back(connection).await?;
        return Ok(Some(Committed::Full(limit)));
    }
    dead_letters::write_ledger(connection, of, commit).await?;
    Ok(None)
}

/// One lane's connection.
struct PostgresWriter {
    options: PgConnectOptions,
    /// None while a call is under way, and after one that failed or was cancelled: the state of such a connection is
    /// unknown, so it is dropped, and the server rolls back what it left open.
    connection: Option<PgConnection>,
    definition: Definition,
    generation: Generation,
}

impl PostgresWriter {
    async fn take_connection(&mut self) -> Result<PgConnection, StoreError> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => connect(&self.options).await,
        }
    }

    /// The whole transaction. Any error leaves by `?`, so COMMIT is never sent after a statement that failed.
    async fn transact(&self, connection: &mut PgConnection, commit: &Commit) -> Result<Committed, StoreError> {
        execute(connection, "BEGIN").await.map_err(at("beginning a transaction"))?;
        failpoint::hit("after_begin");
        if let Some(refused) = pass(connection, self.parked_in(), commit).await? {
            return Ok(refused);
        }
        let written = self.write(connection, &commit.changes).await?;
        failpoint::hit("after_rows");
        commit_transaction(connection).await?;
        failpoint::hit("after_commit");
        Ok(Committed::Applied(written))
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
    async fn settle_within(
        &self,
        connection: &mut PgConnection,
        settlement: &Settlement,
    ) -> Result<Option<Written>, StoreError> {
        execute(connection, "BEGIN").await.map_err(at("beginning a transaction"))?;
        if !dead_letters::raise_epoch(connection, self.parked_in(), settlement).await? {
            roll_back(connection).await?;
            return Ok(None);
        }
        dead_letters::settle(connection, self.parked_in(), settlement).await?;
        let written = self.write(connection, &settlement.changes).await?;
        failpoint::hit("settle_before_commit");
        commit_transaction(connection).await?;
        Ok(Some(written))
    }

    fn parked_in(&self) -> ParkedIn<'_> {
        ParkedIn { projection: self.definition.name(), generation: self.generation }
    }
}

#[async_trait]
impl Writer for PostgresWriter {
    async fn claim(&mut self, partitions: &[(TopicPartition, Extent)]) -> Result<Vec<Checkpoint>, StoreError> {
        let mut connection = self.take_connection().await?;
        let checkpoints = checkpoints::Of::new(self.definition.name(), self.generation);
        let claimed = checkpoints.claim(&mut connection, partitions).await?;
        self.connection = Some(connection);
        Ok(claimed)
    }

    async fn recall(
        &mut self,
        partitions: &[TopicPartition],
        window: i64,
    ) -> Result<Vec<(TopicPartition, Memory)>, StoreError> {
        let mut connection = self.take_connection().await?;
        let recalled = dead_letters::recall(&mut connection, self.parked_in(), partitions, window).await?;
        self.connection = Some(connection);
        Ok(recalled)
    }

    async fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        let mut connection = self.take_connection().await?;
        let committed = self.transact(&mut connection, commit.guarded()?).await?;
        self.connection = Some(connection);
        Ok(committed)
    }

    async fn settle(&mut self, settlement: &Settlement) -> Result<Option<Written>, StoreError> {
        let mut connection = self.take_connection().await?;
        let settled = self.settle_within(&mut connection, settlement).await?;
        self.connection = Some(connection);
        Ok(settled)
    }
}
