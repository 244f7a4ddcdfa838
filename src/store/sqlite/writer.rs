//! Writes rows, in turns with the other writers of the file.

use std::sync::Arc;

use async_trait::async_trait;
use readcast_core::{Definition, TopicPartition};

use super::connection::{Connection, Turn};
use super::store::within;
use super::{Writes, dead_letters, guard, rows};
use crate::failpoint;
use crate::source::Extent;
use crate::store::bookkeeping::{checkpoints, settlement, state};
use crate::store::{
    Checkpoint, Commit, CommitOutcome, Generation, ParkedIn, PartitionState, Settlement, StoreError, Writer, Written,
};

/// The first part of every commit, before its rows: the guard, the dead letters and the ledger. Returns the open
/// transaction for the rows, or the outcome if nothing is to be written.
pub(super) async fn pass<'a>(
    connection: &'a Connection,
    of: ParkedIn<'_>,
    commit: &Commit,
) -> Result<Result<Turn<'a>, CommitOutcome>, StoreError> {
    let mut turn = connection.begin().await?;
    failpoint::hit("after_begin");
    if !guard::advance(&mut turn, of, &commit.advances).await? {
        turn.roll_back().await?;
        let mut turn = connection.turn().await?;
        let outcome = checkpoints::outcome(&mut *turn, of, &commit.advances).await?;
        turn.end();
        return Ok(Err(outcome));
    }
    failpoint::hit("after_checkpoint");
    if let Some(limit) = dead_letters::park(&mut turn, of, commit).await? {
        turn.roll_back().await?;
        return Ok(Err(CommitOutcome::Full(limit)));
    }
    dead_letters::write_ledger(&mut turn, of, commit).await?;
    Ok(Ok(turn))
}

/// Writes one generation of one projection.
pub(super) struct SqliteWriter {
    writes: Arc<Writes>,
    projection: String,
    generation: Generation,
    tables: rows::Tables,
}

impl SqliteWriter {
    pub(super) fn new(writes: Arc<Writes>, definition: &Definition, generation: Generation) -> Self {
        let tables = rows::Tables::new(definition.tables(), generation);
        Self { writes, projection: definition.name().to_owned(), generation, tables }
    }

    fn parked_in(&self) -> ParkedIn<'_> {
        ParkedIn { projection: &self.projection, generation: self.generation }
    }
}

#[async_trait]
impl Writer for SqliteWriter {
    async fn claim(&mut self, partitions: &[(TopicPartition, Extent)]) -> Result<Vec<Checkpoint>, StoreError> {
        let partitions = partitions.iter().map(|(partition, extent)| (partition, extent));
        within!(self.writes.connection.begin().await?, |session| checkpoints::claim(
            session,
            self.parked_in(),
            partitions
        ))
    }

    async fn load_state(
        &mut self,
        partitions: &[TopicPartition],
        window: i64,
    ) -> Result<Vec<(TopicPartition, PartitionState)>, StoreError> {
        within!(self.writes.connection.begin().await?, |session| state::load(
            session,
            self.parked_in(),
            partitions,
            window
        ))
    }

    /// Every error returns by `?`, which drops the turn and rolls back its transaction.
    async fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome, StoreError> {
        let mut turn = match pass(&self.writes.connection, self.parked_in(), commit.guarded()?).await? {
            Ok(turn) => turn,
            Err(outcome) => return Ok(outcome),
        };
        let written = self.tables.write(&mut turn, &commit.changes).await?;
        failpoint::hit("after_rows");
        turn.commit().await?;
        failpoint::hit("after_commit");
        Ok(CommitOutcome::Applied(written))
    }

    /// Settles parked records as a commit does. The guard is the parking epoch.
    async fn settle(&mut self, settlement: &Settlement) -> Result<Option<Written>, StoreError> {
        let mut turn = self.writes.connection.begin().await?;
        if !settlement::settle(&mut *turn, self.parked_in(), settlement).await? {
            turn.roll_back().await?;
            return Ok(None);
        }
        let written = self.tables.write(&mut turn, &settlement.changes).await?;
        failpoint::hit("settle_before_commit");
        turn.commit().await?;
        Ok(Some(written))
    }
}
