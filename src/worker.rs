//! A lane: some of the partitions, one connection, one transaction a batch over all of them.
//!
//! A lane takes what is ready, up to its limits: it commits record by record while it keeps up, and in growing batches
//! when it falls behind, without a timer that would delay anything.

mod activity;
mod bisection;
mod planning;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use readcast_core::{Definition, Position, TopicPartition};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::activity::LaneActivity;
use self::bisection::Bisection;
use self::planning::MOST_LEFT_BEHIND;
pub(crate) use self::planning::Task;
pub use self::planning::{Unending, watched};
use crate::error::Failure;
use crate::failpoint;
use crate::health::{HealthReporter, State};
use crate::metrics::ProjectionMetrics;
use crate::plan::{AllowedChanges, PartitionCursor, Plan, RecordPolicy};
use crate::retry::Backoff;
use crate::source::{Assignment, AssignmentEpoch, Batch};
use crate::store::{
    Checkpoint, Commit, CommitOutcome, PartitionState, PoisonCause, PoisonClass, StoreError, Writer, Written,
};

/// How often a lane tries a transaction again before it leaves the matter to the supervisor, which lets go of the
/// partitions meanwhile.
const MOST_ATTEMPTS: u32 = 8;
/// How often a lane looks whether its partitions are still held.
const HOLD_PAUSE: Duration = Duration::from_millis(25);

/// How much a lane takes into one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// At most about this many records.
    pub records: usize,
    /// At most about this many bytes.
    pub bytes: usize,
}

/// What a lane is given, in order.
#[derive(Debug)]
pub enum LaneInput {
    /// The partition is the lane's from now on, from this checkpoint.
    Own(Checkpoint, AssignmentEpoch),
    /// Records of one of its partitions, and the memory that they were allowed to take.
    Records(Batch, OwnedSemaphorePermit),
}

/// How far a lane has brought its partitions.
pub type Progress = Vec<(TopicPartition, i64)>;

/// One lane of a projection.
pub struct Lane {
    /// What it projects.
    pub definition: Definition,
    /// How its records are read, and what is done about those that can't be projected.
    pub policy: Arc<RecordPolicy>,
    /// What may be made of them.
    pub allowed: AllowedChanges,
    /// Its connection.
    pub writer: Box<dyn Writer>,
    /// What is ours at this instant, whatever the order of events says.
    pub assignment: Arc<Assignment>,
    /// What it is given. When this closes, the lane finishes what it has.
    pub inbox: mpsc::UnboundedReceiver<LaneInput>,
    /// Where it tells how far it is.
    pub progress: mpsc::UnboundedSender<Progress>,
    /// How much it takes at once.
    pub limits: Limits,
    /// When this is cancelled, the lane finishes the transaction in hand and takes no more.
    pub stop: CancellationToken,
    /// Its waits after errors.
    pub backoff: Backoff,
    /// Where it counts.
    pub metrics: ProjectionMetrics,
    /// Where it counts events without an identity, for whoever tells of them.
    pub unidentified: Arc<AtomicU64>,
    /// Where it says how it fares.
    pub reporter: HealthReporter,
    /// Where it shows what it is at.
    pub activity: LaneActivity,
}

/// A partition of the lane's.
struct LanePartition {
    assignment: AssignmentEpoch,
    cursor: PartitionCursor,
    /// What was decided about its records; read from the store when it is missing.
    memory: Option<Arc<PartitionState>>,
}

type LanePartitions = BTreeMap<TopicPartition, LanePartition>;

/// The records in hand. Shared with the thread that plans, which may be left behind.
type PendingBatches = Vec<(Arc<Batch>, OwnedSemaphorePermit)>;

/// What is known of records that can't be projected, from one try to the next.
#[derive(Default)]
struct PoisonState {
    bisection: Bisection,
    condemned: Arc<BTreeMap<Position, PoisonCause>>,
    /// Which limit keeps more from being parked.
    full: Option<String>,
    left_behind: usize,
}

impl Lane {
    /// Commits what it is given until it is told to stop.
    pub async fn run(mut self) -> Result<(), Failure> {
        let (mut partitions, mut poison) = (LanePartitions::new(), PoisonState::default());
        while let Some(pending) = self.take_what_is_ready(&mut partitions).await {
            failpoint::hit("after_poll");
            self.commit(pending, &mut partitions, &mut poison).await?;
        }
        Ok(())
    }

    /// Waits for records, and takes those behind them that are there already. `None` when the lane is to end.
    async fn take_what_is_ready(&mut self, partitions: &mut LanePartitions) -> Option<PendingBatches> {
        let mut pending = PendingBatches::new();
        let (mut records, mut bytes) = (0, 0);
        while records < self.limits.records && bytes < self.limits.bytes {
            let input = match self.inbox.try_recv() {
                Ok(input) => input,
                Err(_) if !pending.is_empty() => break,
                Err(_) => tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return None,
                    input = self.inbox.recv() => input?,
                },
            };
            match input {
                LaneInput::Own(checkpoint, assignment) => {
                    let Checkpoint { partition, next_offset, owner_epoch, .. } = checkpoint;
                    let cursor = PartitionCursor { next_offset, owner_epoch, hold_at: None };
                    partitions.insert(partition, LanePartition { assignment, cursor, memory: None });
                }
                LaneInput::Records(batch, permit) => {
                    records += batch.records.len();
                    bytes += batch.bytes();
                    pending.push((Arc::new(batch), permit));
                }
            }
        }
        (!self.stop.is_cancelled()).then_some(pending)
    }

    /// Commits the batches in one transaction, which is tried again as a whole until it is decided. What is left out of
    /// it, because it is held or because a record is searched for that the database refuses, follows in the next ones.
    async fn commit(
        &mut self,
        mut pending: PendingBatches,
        partitions: &mut LanePartitions,
        poison: &mut PoisonState,
    ) -> Result<(), Failure> {
        loop {
            // What was taken from us meanwhile belongs to its next owner.
            pending.retain(|(batch, _)| self.still_ours(batch, partitions));
            if let Err(error) = self.load_state(&pending, partitions).await {
                self.again_after(error).await?;
                continue;
            }
            let plan = match self.task(&pending, partitions, poison).run().await {
                Ok(plan) => plan?,
                Err(Unending::Stuck(position, cause)) => {
                    self.left_behind(&position, poison)?;
                    poison.condemn(position, cause);
                    continue;
                }
                Err(Unending::Panicked(text)) => return Err(Failure::Panicked(text)),
            };
            match self.write(&plan).await {
                Ok(CommitOutcome::Applied(written)) => {
                    let (held, cut) = (plan.held, plan.cut);
                    self.applied(plan, written, partitions, poison)?;
                    if !cut && !held {
                        return Ok(());
                    }
                    trim(&mut pending, partitions);
                    if held && !self.waited_for_release(partitions).await {
                        return Ok(());
                    }
                }
                Ok(CommitOutcome::Held(holds)) => {
                    for (partition, hold_at) in holds {
                        if let Some(partition) = partitions.get_mut(&partition) {
                            partition.cursor.hold_at = Some(hold_at);
                        }
                    }
                }
                Ok(CommitOutcome::Outdated) => partitions.values_mut().for_each(|partition| partition.memory = None),
                Ok(CommitOutcome::Full(limit)) => poison.full = Some(limit),
                Ok(CommitOutcome::Fenced) if pending.iter().any(|(batch, _)| !self.still_ours(batch, partitions)) => {}
                Ok(CommitOutcome::Fenced) => {
                    self.metrics.fenced();
                    return Err(Failure::Fenced(
                        plan.commit.advances.into_iter().map(|advance| advance.partition).collect(),
                    ));
                }
                Err(StoreError::Unstorable { doing, reason }) => poison.refused(plan, doing, reason)?,
                Err(error) => self.again_after(error).await?,
            }
        }
    }

    /// Reads what was decided earlier about the partitions in hand, where that is not known.
    async fn load_state(
        &mut self,
        pending: &PendingBatches,
        partitions: &mut LanePartitions,
    ) -> Result<(), StoreError> {
        let mut unknown: Vec<TopicPartition> = pending.iter().map(|(batch, _)| batch.partition.clone()).collect();
        unknown.retain(|partition| partitions.get(partition).is_some_and(|partition| partition.memory.is_none()));
        unknown.sort();
        unknown.dedup();
        if unknown.is_empty() {
            return Ok(());
        }
        for (partition, memory) in self.writer.load_state(&unknown, self.policy.duplicate_window).await? {
            if let Some(partition) = partitions.get_mut(&partition) {
                partition.memory = Some(Arc::new(memory));
            }
        }
        Ok(())
    }

    fn task(&self, pending: &PendingBatches, partitions: &LanePartitions, poison: &PoisonState) -> Task {
        let known = |batch: &Arc<Batch>| {
            let partition = partitions.get(&batch.partition)?;
            Some((batch.clone(), partition.cursor, partition.memory.clone()?))
        };
        let limits = self.policy.parking;
        Task {
            definition: self.definition.clone(),
            policy: self.policy.clone(),
            allowed: self.allowed,
            condemned: poison.condemned.clone(),
            parking: (poison.full.is_none() && limits.records > 0).then_some(limits),
            most_applied: poison.bisection.most(),
            batches: pending.iter().filter_map(|(batch, _)| known(batch)).collect(),
        }
    }

    /// Waits a little, and forgets the holds: the next commit tells whether they are still there. `false` when the
    /// lane is to end.
    async fn waited_for_release(&mut self, partitions: &mut LanePartitions) -> bool {
        partitions.values_mut().for_each(|partition| partition.cursor.hold_at = None);
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(HOLD_PAUSE) => true,
        }
    }

    fn still_ours(&self, batch: &Batch, partitions: &LanePartitions) -> bool {
        let owned_under = partitions.get(&batch.partition).map(|partition| partition.assignment);
        owned_under == Some(batch.assignment) && self.assignment.holds(&batch.partition, batch.assignment)
    }

    async fn write(&mut self, plan: &Plan) -> Result<CommitOutcome, StoreError> {
        if plan.commit.advances.is_empty() {
            self.is_well();
            return Ok(CommitOutcome::Applied(Written::default()));
        }
        let begun = Instant::now();
        let what = format!("committing {} records", plan.tally.applied + plan.tally.parked);
        let committed = self.activity.during(what, self.writer.commit(&plan.commit)).await?;
        self.is_well();
        if let CommitOutcome::Applied(written) = &committed {
            self.metrics.committed(begun.elapsed(), written);
        }
        Ok(committed)
    }

    /// Whatever was tried again has an answer.
    fn is_well(&mut self) {
        if self.backoff.attempt() > 0 {
            self.backoff.reset();
            self.reporter.set(State::Running);
        }
    }

    fn applied(
        &mut self,
        plan: Plan,
        written: Written,
        partitions: &mut LanePartitions,
        poison: &mut PoisonState,
    ) -> Result<(), Failure> {
        tracing::trace!(?written, "committed");
        self.metrics.recorded(&plan.tally);
        self.unidentified.fetch_add(plan.tally.unidentified, Ordering::Relaxed);
        tell_of_parked(self.definition.name(), &plan.commit);
        poison.bisection.passed(plan.tally.applied);
        remember(&plan.commit, partitions);
        let progress = plan.commit.advances.into_iter().map(|advance| (advance.partition, advance.to)).collect();
        // The projection is ending when nobody listens.
        let _ = self.progress.send(progress);
        match (plan.poison, poison.full.take()) {
            (None, full) => {
                poison.full = full;
                Ok(())
            }
            (Some(poison), Some(limit)) => Err(Failure::Full { poison, limit }),
            (Some(poison), None) => Err(poison.into()),
        }
    }

    /// Notes that a thread is caught in the projection.
    fn left_behind(&self, position: &Position, poison: &mut PoisonState) -> Result<(), Failure> {
        poison.left_behind += 1;
        tracing::error!(projection = self.definition.name(), %position, "the projection does not end over this record");
        if poison.left_behind <= MOST_LEFT_BEHIND {
            return Ok(());
        }
        Err(Failure::Panicked(format!("the projection does not end over several records, {position} the last of them")))
    }

    /// Waits after an error that may pass. Fails after too many, or with one that stays.
    async fn again_after(&mut self, error: StoreError) -> Result<(), Failure> {
        if !error.may_pass() {
            return Err(error.into());
        }
        let wait: Duration = self.backoff.next_wait();
        let attempt = self.backoff.attempt();
        self.metrics.retried();
        tracing::warn!(projection = self.definition.name(), attempt, "{error}; trying again in {wait:.1?}");
        self.reporter.set(State::Retrying { attempt, reason: error.to_string() });
        let waited = tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(wait) => true,
        };
        if waited && attempt < MOST_ATTEMPTS { Ok(()) } else { Err(error.into()) }
    }
}

impl PoisonState {
    fn condemn(&mut self, position: Position, cause: PoisonCause) {
        Arc::make_mut(&mut self.condemned).insert(position, cause);
    }

    /// The database refused the rows of `plan`.
    fn refused(&mut self, plan: Plan, doing: String, reason: String) -> Result<(), StoreError> {
        match plan.last_applied {
            Some(position) if self.bisection.refused(plan.tally.applied) => {
                self.condemn(position, PoisonCause::new(PoisonClass::Unstorable, reason));
                Ok(())
            }
            Some(_) => Ok(()),
            // No record made any rows.
            None => Err(StoreError::Refused { doing, reason }),
        }
    }
}

/// Keeps what a commit has decided for the next one.
fn remember(commit: &Commit, partitions: &mut LanePartitions) {
    for advance in &commit.advances {
        if let Some(partition) = partitions.get_mut(&advance.partition) {
            partition.cursor.next_offset = advance.to;
            if let Some(memory) = partition.memory.as_mut().filter(|_| commit.is_memorable()) {
                Arc::make_mut(memory).record(&advance.partition, commit);
            }
        }
    }
}

/// Drops the records that are behind us: counted once is enough.
fn trim(pending: &mut PendingBatches, partitions: &LanePartitions) {
    for (batch, _) in pending {
        if let Some(partition) = partitions.get(&batch.partition) {
            let next_offset = partition.cursor.next_offset;
            Arc::make_mut(batch).records.retain(|record| record.offset >= next_offset);
        }
    }
}

/// Says which keys were parked; why stands beside them in the store, for it may hold something of a record.
pub(crate) fn tell_of_parked(projection: &str, commit: &Commit) {
    for letter in &commit.dead_letters {
        let Some(cause) = &letter.cause else { continue };
        let position = letter.partition.at(letter.record.offset);
        tracing::warn!(projection, %position, class = cause.class.name(), "parked, and what comes next of its key");
    }
}
