//! One of those who make changes of records.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use readcast_core::{ChangeSet, Definition, TopicPartition};
use tokio::sync::mpsc;

use super::super::OperationReconciler;
use super::super::spool::Spool;
use crate::error::Failure;
use crate::plan::{AllowedChanges, PartitionCursor, Plan, RecordPolicy, Tally};
use crate::source::Batch;
use crate::store::{
    Advance, Commit, DeadLetter, LedgerPage, ParkingLimits, PartitionState, RecordedCheckpoint, StoreError,
};
use crate::worker::{Task, WatchdogError};

/// Some of the partitions, read in order.
pub(super) struct Planner {
    definition: Definition,
    record_policy: Arc<RecordPolicy>,
    spool: Arc<Mutex<Spool>>,
    partitions: BTreeMap<TopicPartition, (PartitionCursor, Arc<PartitionState>)>,
    planned: Planned,
    /// How many bytes of dead letters are kept for the end.
    most_parked_bytes: usize,
}

/// What belongs to the rows that were made.
#[derive(Default)]
pub(super) struct Planned {
    advances: BTreeMap<TopicPartition, Advance>,
    dead_letters: Vec<DeadLetter>,
    ledger: Vec<LedgerPage>,
    tally: Tally,
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

    pub(super) fn own(&mut self, held: &RecordedCheckpoint, memory: PartitionState) {
        let RecordedCheckpoint { partition, next_offset, owner_epoch, .. } = held.clone();
        let cursor = PartitionCursor { next_offset, owner_epoch, hold_at: None };
        self.partitions.insert(partition, (cursor, Arc::new(memory)));
    }

    /// Plans what it is given until nothing more comes.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Vec<Arc<Batch>>>) -> Result<Planned, Failure> {
        while let Some(hand) = inbox.recv().await {
            let plan = self.plan(hand).await?;
            if let Some(poison) = plan.poison {
                return Err(poison.into());
            }
            let mut commit = plan.commit;
            self.spool(std::mem::take(&mut commit.changes)).await?;
            self.remember(commit, plan.tally)?;
        }
        Ok(self.planned)
    }

    async fn plan(&self, hand: Vec<Arc<Batch>>) -> Result<Plan, Failure> {
        let known = |batch: Arc<Batch>| {
            let (cursor, memory) = self.partitions.get(&batch.partition)?.clone();
            Some((batch, cursor, memory))
        };
        let limits = self.record_policy.parking;
        let task = Task {
            definition: self.definition.clone(),
            policy: self.record_policy.clone(),
            allowed: AllowedChanges::All,
            known_poison: Arc::default(),
            parking: (limits.records > 0).then_some(limits),
            most_applied: usize::MAX,
            batches: hand.into_iter().filter_map(known).collect(),
        };
        match task.run().await {
            Ok(plan) => Ok(plan?),
            Err(WatchdogError::Hung(position, cause)) => {
                Err(crate::plan::Poison { position, cause, correlation_id: None }.into())
            }
            Err(WatchdogError::Panicked(text)) => Err(Failure::Panicked(text)),
        }
    }

    /// Where memory is full, this writes to a disk.
    async fn spool(&self, changes: ChangeSet) -> Result<(), Failure> {
        let spool = self.spool.clone();
        let added =
            tokio::task::spawn_blocking(move || spool.lock().unwrap_or_else(PoisonError::into_inner).add(changes));
        let added = added.await.map_err(|panicked| Failure::Panicked(panicked.to_string()))?;
        added.map_err(|error| cannot_load(error.to_string()))
    }

    fn remember(&mut self, commit: Commit, tally: Tally) -> Result<(), Failure> {
        for advance in &commit.advances {
            if let Some((cursor, memory)) = self.partitions.get_mut(&advance.partition) {
                cursor.next_offset = advance.to;
                if commit.is_memorable() {
                    Arc::make_mut(memory).record(&advance.partition, &commit);
                }
            }
        }
        self.planned.add(Planned {
            advances: commit.advances.into_iter().map(|advance| (advance.partition.clone(), advance)).collect(),
            dead_letters: commit.dead_letters,
            ledger: commit.ledger,
            tally,
        });
        let parked: usize = self.planned.dead_letters.iter().map(|letter| letter.record.bytes()).sum();
        if parked > self.most_parked_bytes {
            return Err(cannot_load(format!(
                "{} parked records take too much memory",
                self.planned.dead_letters.len()
            )));
        }
        Ok(())
    }
}

impl Planned {
    /// Puts `next` behind what is here.
    pub(super) fn add(&mut self, next: Planned) {
        for (partition, advance) in next.advances {
            let from = self.advances.get(&partition).map_or(advance.from, |first| first.from);
            self.advances.insert(partition, Advance { from, ..advance });
        }
        self.dead_letters.extend(next.dead_letters);
        self.tally += next.tally;
        for page in next.ledger {
            self.ledger.retain(|earlier| earlier.partition != page.partition || earlier.to > page.forget_to);
            self.ledger.push(page);
        }
    }

    /// A commit that changes no rows, and what its records ended as.
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
