//! Writes rows. Each transaction uses a connection of the pool.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use readcast_core::{Definition, TopicPartition};

use super::connection::{at, commit_transaction, execute, roll_back};
use super::connections::{Connections, Lease};
use super::dead_letters::Parking;
use super::hints::Hints;
use super::permits::Rank;
use super::server::Use;
use super::session::PgSession;
use super::tables::Tables;
use super::{dead_letters, guard};
use crate::failpoint;
use crate::source::Extent;
use crate::store::bookkeeping::{checkpoints, settlement, state};
use crate::store::{
    Checkpoint, Commit, CommitOutcome, Generation, ParkedIn, PartitionState, Priority, Settlement, SharedPriority,
    StoreError, Writer, Written,
};

/// How the reasons of dead letters are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reasons {
    /// The given text, with escapes for characters that the database's encoding lacks.
    AsGiven,
    /// One fixed text instead of the reason: a reason that can't be stored must not prevent a record from being parked.
    Withheld,
}

/// Whether a commit continues with its rows.
pub(super) enum Passed {
    Yes,
    /// The commit has ended with this outcome, and so has its transaction.
    No(CommitOutcome),
    /// The database can't store a reason. The transaction has failed.
    ReasonsRefused,
}

/// The outcome of a transaction.
enum Transacted {
    Decided(CommitOutcome),
    /// The database can't store a reason. The transaction has failed.
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

/// The first part of every commit, before its rows: the guard, the dead letters and the ledger.
pub(super) async fn pass(
    session: &mut PgSession<'_>,
    of: ParkedIn<'_>,
    commit: &Commit,
    reasons: Reasons,
    hints: &mut Hints,
) -> Result<Passed, StoreError> {
    if !guard::advance(session, of, &commit.advances, hints).await? {
        roll_back(session).await?;
        // The guard has waited for the row locks, so no earlier attempt is still running.
        return checkpoints::outcome(session, of, &commit.advances).await.map(Passed::No);
    }
    failpoint::hit("after_checkpoint");
    match dead_letters::park(session, of, commit, reasons).await? {
        Parking::Done => {}
        Parking::Full(limit) => {
            roll_back(session).await?;
            return Ok(Passed::No(CommitOutcome::Full(limit)));
        }
        Parking::ReasonsRefused => return Ok(Passed::ReasonsRefused),
    }
    dead_letters::write_ledger(session, of, commit, hints).await?;
    Ok(Passed::Yes)
}

/// Writes one generation. Each transaction uses a connection of the pool.
pub(super) struct PostgresWriter {
    connections: Connections,
    /// Identifies the writer, so that it gets the connection on which its statements are prepared.
    number: u64,
    priority: SharedPriority,
    projection: String,
    generation: Generation,
    tables: Tables,
    hints: Hints,
}

impl PostgresWriter {
    pub(super) fn new(
        connections: Connections,
        definition: &Definition,
        generation: Generation,
        priority: SharedPriority,
    ) -> Self {
        static WRITERS: AtomicU64 = AtomicU64::new(1);
        Self {
            connections,
            number: WRITERS.fetch_add(1, Ordering::Relaxed),
            priority,
            projection: definition.name().to_owned(),
            generation,
            tables: Tables::new(definition.tables(), generation),
            hints: Hints::default(),
        }
    }

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

    /// Runs the whole transaction. Every error returns by `?`, so COMMIT is never sent after a failed statement.
    async fn transact(
        &self,
        lease: &mut Lease,
        commit: &Commit,
        reasons: Reasons,
        hints: &mut Hints,
    ) -> Result<Transacted, StoreError> {
        execute(lease, "BEGIN").await.map_err(at("beginning a transaction"))?;
        failpoint::hit("after_begin");
        match pass(&mut lease.session(), self.parked_in(), commit, reasons, hints).await? {
            Passed::Yes => {}
            Passed::No(refused) => return Ok(Transacted::Decided(refused)),
            Passed::ReasonsRefused => return Ok(Transacted::ReasonsRefused),
        }
        let written = self.tables.write(lease, &commit.changes).await?;
        failpoint::hit("after_rows");
        commit_transaction(lease).await?;
        failpoint::hit("after_commit");
        Ok(Transacted::Decided(CommitOutcome::Applied(written)))
    }

    /// Settles parked records in one transaction. The guard is the parking epoch.
    async fn settle_within(&self, lease: &mut Lease, settlement: &Settlement) -> Result<Option<Written>, StoreError> {
        execute(lease, "BEGIN").await.map_err(at("beginning a transaction"))?;
        if !settlement::settle(&mut lease.session(), self.parked_in(), settlement).await? {
            roll_back(lease).await?;
            return Ok(None);
        }
        let written = self.tables.write(lease, &settlement.changes).await?;
        failpoint::hit("settle_before_commit");
        commit_transaction(lease).await?;
        Ok(Some(written))
    }

    fn parked_in(&self) -> ParkedIn<'_> {
        ParkedIn { projection: &self.projection, generation: self.generation }
    }
}

#[async_trait]
impl Writer for PostgresWriter {
    async fn claim(&mut self, partitions: &[(TopicPartition, Extent)]) -> Result<Vec<Checkpoint>, StoreError> {
        let mut lease = self.lease(Rank::Step).await?;
        let (backend, mut session) = (lease.backend(), lease.session());
        let partitions = partitions.iter().map(|(partition, extent)| (partition, extent));
        let claimed = checkpoints::claim(&mut session, self.parked_in(), partitions);
        let claimed = self.connections.watched(&backend, claimed).await?;
        lease.give_back();
        Ok(claimed)
    }

    async fn load_state(
        &mut self,
        partitions: &[TopicPartition],
        window: i64,
    ) -> Result<Vec<(TopicPartition, PartitionState)>, StoreError> {
        let mut lease = self.lease(self.rank()).await?;
        let (backend, mut session) = (lease.backend(), lease.session());
        let loaded = state::load(&mut session, self.parked_in(), partitions, window);
        let loaded = self.connections.watched(&backend, loaded).await?;
        lease.give_back();
        Ok(loaded)
    }

    async fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome, StoreError> {
        let commit = commit.guarded()?;
        let mut hints = std::mem::take(&mut self.hints);
        let mut lease = self.lease(self.rank()).await?;
        let backend = lease.backend();
        let given = self.transact(&mut lease, commit, Reasons::AsGiven, &mut hints);
        let committed = match self.connections.watched(&backend, given).await? {
            Transacted::Decided(committed) => committed,
            Transacted::ReasonsRefused => {
                roll_back(&mut lease).await?;
                hints = Hints::default();
                let withheld = self.transact(&mut lease, commit, Reasons::Withheld, &mut hints);
                self.connections.watched(&backend, withheld).await?.decided()?
            }
        };
        lease.give_back();
        // Hints from a transaction that was rolled back are wrong.
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
