//! The Postgres store. Everything of ours lives in the schema `readcast`, the physical tables in `readcast_tables`;
//! readers see views of theirs in a schema of the operator's choice.
//!
//! Each lane has a connection of its own. Session locks and prepared statements make a direct connection necessary: a
//! pooler in transaction mode can't stand between.

mod checkpoints;
mod connection;
mod definition;
mod generations;
mod rows;
mod sql;

use async_trait::async_trait;
use readcast_core::{Definition, TableSpec, TopicPartition};
use sqlx::PgConnection;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnectOptions;

use self::connection::{at, connect, execute};
use super::{
    Checkpoint, Commit, Committed, Finding, Generation, GenerationStatus, Peek, Store, StoreError, Writer, Written,
};
use crate::failpoint;
use crate::source::Extent;

/// A Postgres database that holds read tables.
#[derive(Clone, Debug)]
pub struct Postgres {
    options: PgConnectOptions,
    /// Where readers find the stable names.
    schema: String,
}

impl Postgres {
    /// The database that `options` lead to, with readers' names in `schema`. Connects to nothing yet.
    pub fn new(options: PgConnectOptions, schema: impl Into<String>) -> Self {
        Self { options: connection::with_limits(options), schema: schema.into() }
    }

    async fn connect(&self) -> Result<PgConnection, StoreError> {
        connect(&self.options).await
    }
}

#[async_trait]
impl Store for Postgres {
    async fn migrate(&self) -> Result<(), StoreError> {
        let mut connection = self.connect().await?;
        let migrated = migrator().run_direct(None, &mut connection, false).await;
        migrated.map_err(connection::migration("creating readcast's own tables"))
    }

    async fn prepare(&self, definition: &Definition) -> Result<Generation, StoreError> {
        let mut connection = self.connect().await?;
        execute(&mut connection, "BEGIN").await.map_err(at("preparing tables"))?;
        let generation = definition::prepare(&mut connection, definition, &self.schema).await?;
        execute(&mut connection, "COMMIT").await.map_err(at("preparing tables"))?;
        Ok(generation)
    }

    async fn check(&self, definition: &Definition) -> Result<Vec<Finding>, StoreError> {
        definition::check(&mut self.connect().await?, definition, &self.schema).await
    }

    async fn writer(&self, definition: &Definition, generation: Generation) -> Result<Box<dyn Writer>, StoreError> {
        let connection = Some(self.connect().await?);
        Ok(Box::new(PostgresWriter {
            options: self.options.clone(),
            connection,
            definition: definition.clone(),
            generation,
        }))
    }

    async fn generations(&self) -> Result<Vec<GenerationStatus>, StoreError> {
        let mut connection = self.connect().await?;
        generations::all(&mut connection).await
    }

    async fn peek(&self, table: &TableSpec, rows: usize) -> Result<Peek, StoreError> {
        let mut connection = self.connect().await?;
        definition::peek(&mut connection, table, &self.schema, rows).await
    }

    async fn record_error(&self, projection: &str, error: Option<&str>) -> Result<(), StoreError> {
        let mut connection = self.connect().await?;
        generations::record_error(&mut connection, projection, error).await
    }
}

fn migrator() -> Migrator {
    let positions = Migration::new(
        1,
        "positions".into(),
        MigrationType::Simple,
        sqlx::SqlStr::from_static(include_str!("../../migrations/postgres/0001_positions.sql")),
        false,
    );
    let mut migrator = Migrator::with_migrations(vec![positions]);
    migrator.create_schema("readcast");
    migrator.dangerous_set_table_name("readcast.migrations");
    migrator
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

    /// The whole transaction. Any error leaves by `?`, so COMMIT is never sent after a statement that failed, which
    /// Postgres would answer with a ROLLBACK that looks like success.
    async fn transact(&self, connection: &mut PgConnection, commit: &Commit) -> Result<Committed, StoreError> {
        execute(connection, "BEGIN").await.map_err(at("beginning a transaction"))?;
        failpoint::hit("after_begin");
        let checkpoints = checkpoints::Of::new(self.definition.name(), self.generation);
        if !checkpoints.advance(connection, &commit.advances).await? {
            execute(connection, "ROLLBACK").await.map_err(at("rolling back"))?;
            return checkpoints.outcome(connection, &commit.advances).await;
        }
        failpoint::hit("after_checkpoint");
        let mut written = Written { rows: 0, missed: commit.changes.missed() };
        for (index, table) in self.definition.tables().iter().enumerate() {
            let physical = sql::physical(table, self.generation);
            for segment in commit.changes.segments(index) {
                rows::write(connection, table, &physical, segment, &mut written).await?;
            }
        }
        failpoint::hit("after_rows");
        execute(connection, "COMMIT").await.map_err(at("committing"))?;
        failpoint::hit("after_commit");
        Ok(Committed::Applied(written))
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

    async fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        let mut connection = self.take_connection().await?;
        let committed = self.transact(&mut connection, commit.guarded()?).await?;
        self.connection = Some(connection);
        Ok(committed)
    }
}
