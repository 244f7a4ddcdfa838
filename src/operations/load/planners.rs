//! The tasks that project records, each for some of the partitions, and the batches that wait for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use readcast_core::{Definition, TopicPartition};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tracing::Instrument;

use super::planner::{Planned, Planner};
use crate::error::Failure;
use crate::operations::log_reader::positions_of;
use crate::operations::spool::Spool;
use crate::operations::{LoadLimits, OperationReconciler};
use crate::source::Batch;
use crate::store::{GenerationStatus, Positions, Priority};

/// How many groups of batches a planner has in memory: one is filled, one waits, one is planned.
const GROUPS_PER_PLANNER: usize = 3;

/// The tasks that project records, each for some of the partitions.
pub(super) struct Planners {
    tasks: JoinSet<Result<Planned, Failure>>,
    planner_of: BTreeMap<TopicPartition, usize>,
    inboxes: Vec<mpsc::Sender<Vec<Arc<Batch>>>>,
    /// The next group of batches for each planner.
    pending: Vec<PendingBatches>,
    /// How many bytes of records make a group complete.
    group_bytes: usize,
    read_to: Positions,
}

/// Batches that wait for a planner.
#[derive(Default)]
struct PendingBatches {
    batches: Vec<Arc<Batch>>,
    bytes: usize,
}

impl Planners {
    /// Starts the tasks at the generation's position. What they project goes to `spool`.
    pub(super) async fn start(
        reconciler: &OperationReconciler,
        status: &GenerationStatus,
        definition: &Definition,
        spool: &Arc<Mutex<Spool>>,
    ) -> Result<Self, Failure> {
        let LoadLimits { planners: count, memory } = reconciler.load_limits;
        let mut writer = reconciler.store.writer(definition, status.generation, Priority::Operation.into()).await?;
        let partitions: Vec<_> = status.checkpoints.iter().map(|held| held.partition.clone()).collect();
        let size = reconciler.record_policy.duplicate_window;
        let (projection, generation) = (&status.projection, status.generation);
        let window = reconciler.store.duplicate_window(projection, generation, size, partitions.len()).await?;
        let states = writer.load_state(&partitions, window).await?;
        let mut states: BTreeMap<_, _> = states.into_iter().collect();
        let mut planners: Vec<_> = (0..count).map(|_| Planner::new(reconciler, definition, spool)).collect();
        let mut planner_of = BTreeMap::new();
        for (number, checkpoint) in status.checkpoints.iter().enumerate() {
            let state = states.remove(&checkpoint.partition).unwrap_or_default();
            planners[number % count].add_partition(checkpoint, state);
            planner_of.insert(checkpoint.partition.clone(), number % count);
        }
        let (mut tasks, mut inboxes) = (JoinSet::new(), Vec::new());
        for planner in planners {
            let (sender, inbox) = mpsc::channel(1);
            inboxes.push(sender);
            tasks.spawn(planner.run(inbox).in_current_span());
        }
        Ok(Self {
            tasks,
            planner_of,
            inboxes,
            pending: (0..count).map(|_| PendingBatches::default()).collect(),
            group_bytes: memory / (count * GROUPS_PER_PLANNER),
            read_to: positions_of(status),
        })
    }

    /// The positions up to which records were added.
    pub(super) fn read_to(&self) -> &Positions {
        &self.read_to
    }

    /// Adds records, and waits while their planner has as many as may be in memory.
    pub(super) async fn add(&mut self, batch: Batch) {
        let Some(planner) = self.planner_of.get(&batch.partition).copied() else { return };
        self.read_to.insert(batch.partition.clone(), batch.to);
        let pending = &mut self.pending[planner];
        pending.bytes += batch.bytes();
        pending.batches.push(Arc::new(batch));
        if pending.bytes >= self.group_bytes {
            self.send(planner).await;
        }
    }

    async fn send(&mut self, planner: usize) {
        // When the planner has failed, its task tells why.
        let _ = self.inboxes[planner].send(std::mem::take(&mut self.pending[planner]).batches).await;
    }

    /// The end of a planner before [`Planners::finish`], which is a failure. Dropping the future loses nothing.
    pub(super) async fn ended_early(&mut self) -> Option<Result<Planned, Failure>> {
        self.tasks.join_next().await.map(joined)
    }

    /// Lets all planners finish, and combines what they have planned.
    pub(super) async fn finish(mut self) -> Result<Planned, Failure> {
        for planner in 0..self.pending.len() {
            self.send(planner).await;
        }
        self.inboxes.clear();
        let mut all = Planned::default();
        while let Some(ended) = self.tasks.join_next().await {
            all.append(joined(ended)?);
        }
        Ok(all)
    }
}

fn joined(ended: Result<Result<Planned, Failure>, JoinError>) -> Result<Planned, Failure> {
    ended.unwrap_or_else(|panicked| Err(Failure::Panicked(panicked.to_string())))
}
