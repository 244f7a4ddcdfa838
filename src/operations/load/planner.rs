//! One planner: decodes and projects the records of some partitions, and spools what they change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use readcast_core::{ChangeSet, Definition, TopicPartition};
use tokio::sync::mpsc;

use crate::error::Failure;
use crate::operations::OperationReconciler;
use crate::operations::spool::{Spool, SpoolError};
use crate::plan::{AllowedChanges, OrderAudit, PartitionCursor, Plan, Poison, RecordPolicy, Tally};
use crate::source::Batch;
use crate::store::{
    Advance, Commit, DeadLetter, LedgerPage, ParkingLimits, PartitionState, RecordedCheckpoint, StoreError,
};
use crate::text::counted;
use crate::worker::{Task, WatchdogError};

/// Decodes and projects the records of some partitions, in the order of the log.
pub(super) struct Planner {
    definition: Definition,
    record_policy: Arc<RecordPolicy>,
    spool: Arc<Mutex<Spool>>,
    partitions: BTreeMap<TopicPartition, (PartitionCursor, Arc<PartitionState>)>,
    planned: Planned,
    /// How many bytes of dead letters may wait in memory for the end of the load.
    most_parked_bytes: usize,
}

/// What belongs to the rows: checkpoints, dead letters and the ledger.
#[derive(Default)]
pub(super) struct Planned {
    advances: BTreeMap<TopicPartition, Advance>,
    dead_letters: Vec<DeadLetter>,
    ledger: Vec<LedgerPage>,
    tally: Tally,
    /// Which rows depend on the order between partitions.
    order: OrderAudit,
    /// Why the rows can't be made, if they can't. The rest of the log is read nevertheless, for `order`.
    impossible: Option<Failure>,
}

impl Planner {
    pub(super) fn new(reconciler: &OperationReconciler, definition: &Definition, spool: &Arc<Mutex<Spool>>) -> Self {
        Self {
            definition: definition.clone(),
            record_policy: reconciler.record_policy.clone(),
            spool: spool.clone(),
            partitions: BTreeMap::new(),
            planned: Planned::default(),
            most_parked_bytes: reconciler.load_limits.memory / 4,
        }
    }

    /// Adds a partition that is read from its checkpoint on, with what was decided about it earlier.
    pub(super) fn add_partition(&mut self, checkpoint: &RecordedCheckpoint, state: PartitionState) {
        let RecordedCheckpoint { partition, next_offset, owner_epoch, .. } = checkpoint.clone();
        let cursor = PartitionCursor { next_offset, owner_epoch, hold_at: None };
        self.partitions.insert(partition, (cursor, Arc::new(state)));
    }

    /// Plans the batches that arrive, until the channel closes.
    ///
    /// # Errors
    /// A record is poison at which the projection halts, the spool can't take a change, or memory is full.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Vec<Arc<Batch>>>) -> Result<Planned, Failure> {
        while let Some(batches) = inbox.recv().await {
            let plan = self.plan(batches).await?;
            if let Some(poison) = plan.poison {
                return Err(poison.into());
            }
            let mut commit = plan.commit;
            let changes = std::mem::take(&mut commit.changes);
            if self.planned.impossible.is_none() {
                self.planned.impossible = self.spool(changes).await?;
            }
            self.planned.order.append(plan.order);
            self.record(commit, plan.tally)?;
        }
        Ok(self.planned)
    }

    async fn plan(&self, batches: Vec<Arc<Batch>>) -> Result<Plan, Failure> {
        let known = |batch: Arc<Batch>| {
            let (cursor, state) = self.partitions.get(&batch.partition)?.clone();
            Some((batch, cursor, state))
        };
        let limits = self.record_policy.parking;
        let task = Task {
            definition: self.definition.clone(),
            policy: self.record_policy.clone(),
            allowed: AllowedChanges::All,
            known_poison: Arc::default(),
            parking: (limits.records > 0).then_some(limits),
            most_applied: usize::MAX,
            audits_order: true,
            batches: batches.into_iter().filter_map(known).collect(),
        };
        match task.run().await {
            Ok(plan) => Ok(plan?),
            Err(WatchdogError::Hung(position, cause)) => Err(Poison { position, cause, correlation_id: None }.into()),
            Err(WatchdogError::Panicked(text)) => Err(Failure::Panicked(text)),
        }
    }

    /// Adds changes to the spool on a blocking thread, for that may write to a disk. Returns why no spool can take them, if
    /// none can.
    async fn spool(&self, changes: ChangeSet) -> Result<Option<Failure>, Failure> {
        let spool = self.spool.clone();
        let added =
            tokio::task::spawn_blocking(move || spool.lock().unwrap_or_else(PoisonError::into_inner).add(changes));
        let added = added.await.map_err(|panicked| Failure::Panicked(panicked.to_string()))?;
        match added {
            Ok(()) => Ok(None),
            Err(error @ SpoolError::FanOut { .. }) => Ok(Some(cannot_load(error.to_string()))),
            Err(error) => Err(cannot_load(error.to_string())),
        }
    }

    /// Keeps what belongs to the rows, and lets the next plan know what this one decided.
    fn record(&mut self, commit: Commit, tally: Tally) -> Result<(), Failure> {
        for advance in &commit.advances {
            if let Some((cursor, state)) = self.partitions.get_mut(&advance.partition) {
                cursor.next_offset = advance.to;
                if commit.is_memorable() {
                    Arc::make_mut(state).record(&advance.partition, &commit);
                }
            }
        }
        self.planned.append(Planned {
            advances: commit.advances.into_iter().map(|advance| (advance.partition.clone(), advance)).collect(),
            dead_letters: commit.dead_letters,
            ledger: commit.ledger,
            tally,
            ..Planned::default()
        });
        let parked: usize = self.planned.dead_letters.iter().map(|letter| letter.record.bytes()).sum();
        if parked > self.most_parked_bytes {
            return Err(cannot_load(format!(
                "{} would wait in memory, more than {} bytes",
                counted(self.planned.dead_letters.len() as u64, "parked record"),
                self.most_parked_bytes
            )));
        }
        Ok(())
    }
}

impl Planned {
    /// Adds what was planned after this, or of other partitions.
    pub(super) fn append(&mut self, next: Planned) {
        for (partition, advance) in next.advances {
            let from = self.advances.get(&partition).map_or(advance.from, |first| first.from);
            self.advances.insert(partition, Advance { from, ..advance });
        }
        self.dead_letters.extend(next.dead_letters);
        self.tally += next.tally;
        self.order.append(next.order);
        self.impossible = self.impossible.take().or(next.impossible);
        for page in next.ledger {
            self.ledger.retain(|earlier| earlier.partition != page.partition || earlier.to > page.forget_to);
            self.ledger.push(page);
        }
    }

    /// Which rows depend on the order between partitions.
    pub(super) fn take_order(&mut self) -> OrderAudit {
        std::mem::take(&mut self.order)
    }

    /// Why the rows can't be made, if they can't.
    pub(super) fn take_impossible(&mut self) -> Option<Failure> {
        self.impossible.take()
    }

    /// As a commit that changes no rows, and how its records ended.
    pub(super) fn commit(self, parking_limits: ParkingLimits) -> (Commit, Tally) {
        let commit = Commit {
            advances: self.advances.into_values().collect(),
            dead_letters: self.dead_letters,
            parking_limits,
            ledger: self.ledger,
            ..Commit::default()
        };
        (commit, self.tally)
    }
}

fn cannot_load(reason: String) -> Failure {
    StoreError::Refused { doing: "loading".into(), reason }.into()
}
