//! A lane: some of the partitions, one connection, one transaction a batch over all of them.
//!
//! A lane takes what is ready, up to its limits: it commits record by record while it keeps up, and in growing batches
//! when it falls behind, without a timer that would delay anything.

mod activity;
mod planning;
mod search;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use readcast_core::{Definition, Position, TopicPartition};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::activity::Activity;
use self::planning::MOST_LEFT_BEHIND;
pub(crate) use self::planning::Task;
pub use self::planning::{Unending, watched};
use self::search::Search;
use crate::error::Failure;
use crate::failpoint;
use crate::health::{State, Voice};
use crate::metrics::ProjectionMetrics;
use crate::plan::{Allowed, Handling, Plan, Standing};
use crate::retry::Backoff;
use crate::source::{Assignment, AssignmentEpoch, Batch};
use crate::store::{Cause, Checkpoint, Commit, Committed, Memory, PoisonClass, StoreError, Writer, Written};

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
    pub handling: Arc<Handling>,
    /// What may be made of them.
    pub allowed: Allowed,
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
    pub voice: Voice,
    /// Where it shows what it is at.
    pub activity: Activity,
}

/// A partition of the lane's.
struct Partition {
    assignment: AssignmentEpoch,
    standing: Standing,
    /// What was decided about its records; read from the store when it is missing.
    memory: Option<Arc<Memory>>,
}

type Partitions = BTreeMap<TopicPartition, Partition>;

/// The records in hand. Shared with the thread that plans, which may be left behind.
type Hand = Vec<(Arc<Batch>, OwnedSemaphorePermit)>;

/// What is known of records that can't be projected, from one try to the next.
#[derive(Default)]
struct Trial {
    search: Search,
    condemned: Arc<BTreeMap<Position, Cause>>,
    /// Which limit keeps more from being parked.
    full: Option<String>,
    left_behind: usize,
}

impl Lane {
    /// Commits what it is given until it is told to stop.
    pub async fn run(mut self) -> Result<(), Failure> {
        let (mut partitions, mut trial) = (Partitions::new(), Trial::default());
        while let Some(hand) = self.take_what_is_ready(&mut partitions).await {
            failpoint::hit("after_poll");
            self.commit(hand, &mut partitions, &mut trial).await?;
        }
        Ok(())
    }

    /// Waits for records, and takes those behind them that are there already. `None` when the lane is to end.
    async fn take_what_is_ready(&mut self, partitions: &mut Partitions) -> Option<Hand> {
        let mut hand = Hand::new();
        let (mut records, mut bytes) = (0, 0);
        while records < self.limits.records && bytes < self.limits.bytes {
            let input = match self.inbox.try_recv() {
                Ok(input) => input,
                Err(_) if !hand.is_empty() => break,
                Err(_) => tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return None,
                    input = self.inbox.recv() => input?,
                },
            };
            match input {
                LaneInput::Own(checkpoint, assignment) => {
                    let Checkpoint { partition, next_offset, owner_epoch, .. } = checkpoint;
                    let standing = Standing { next_offset, owner_epoch, hold_at: None };
                    partitions.insert(partition, Partition { assignment, standing, memory: None });
                }
                LaneInput::Records(batch, permit) => {
                    records += batch.records.len();
                    bytes += batch.bytes();
                    hand.push((Arc::new(batch), permit));
                }
            }
        }
        (!self.stop.is_cancelled()).then_some(hand)
    }

    /// Commits the batches in one transaction, which is tried again as a whole until it is decided. What is left out of
    /// it, because it is held or because a record is searched for that the database refuses, follows in the next ones.
    async fn commit(&mut self, mut hand: Hand, partitions: &mut Partitions, trial: &mut Trial) -> Result<(), Failure> {
        loop {
            // What was taken from us meanwhile belongs to its next owner.
            hand.retain(|(batch, _)| self.still_ours(batch, partitions));
            if let Err(error) = self.recall(&hand, partitions).await {
                self.again_after(error).await?;
                continue;
            }
            let plan = match self.task(&hand, partitions, trial).run().await {
                Ok(plan) => plan?,
                Err(Unending::Stuck(position, cause)) => {
                    self.left_behind(&position, trial)?;
                    trial.condemn(position, cause);
                    continue;
                }
                Err(Unending::Panicked(text)) => return Err(Failure::Panicked(text)),
            };
            match self.write(&plan).await {
                Ok(Committed::Applied(written)) => {
                    let (held, cut) = (plan.held, plan.cut);
                    self.applied(plan, written, partitions, trial)?;
                    if !cut && !held {
                        return Ok(());
                    }
                    trim(&mut hand, partitions);
                    if held && !self.waited_for_release(partitions).await {
                        return Ok(());
                    }
                }
                Ok(Committed::Held(holds)) => {
                    for (partition, hold_at) in holds {
                        if let Some(partition) = partitions.get_mut(&partition) {
                            partition.standing.hold_at = Some(hold_at);
                        }
                    }
                }
                Ok(Committed::Outdated) => partitions.values_mut().for_each(|partition| partition.memory = None),
                Ok(Committed::Full(limit)) => trial.full = Some(limit),
                Ok(Committed::Fenced) if hand.iter().any(|(batch, _)| !self.still_ours(batch, partitions)) => {}
                Ok(Committed::Fenced) => {
                    self.metrics.fenced();
                    return Err(Failure::Fenced(
                        plan.commit.advances.into_iter().map(|advance| advance.partition).collect(),
                    ));
                }
                Err(StoreError::Unstorable { doing, reason }) => trial.refused(plan, doing, reason)?,
                Err(error) => self.again_after(error).await?,
            }
        }
    }

    /// Reads what was decided earlier about the partitions in hand, where that is not known.
    async fn recall(&mut self, hand: &Hand, partitions: &mut Partitions) -> Result<(), StoreError> {
        let mut unknown: Vec<TopicPartition> = hand.iter().map(|(batch, _)| batch.partition.clone()).collect();
        unknown.retain(|partition| partitions.get(partition).is_some_and(|partition| partition.memory.is_none()));
        unknown.sort();
        unknown.dedup();
        if unknown.is_empty() {
            return Ok(());
        }
        for (partition, memory) in self.writer.recall(&unknown, self.handling.duplicate_window).await? {
            if let Some(partition) = partitions.get_mut(&partition) {
                partition.memory = Some(Arc::new(memory));
            }
        }
        Ok(())
    }

    fn task(&self, hand: &Hand, partitions: &Partitions, trial: &Trial) -> Task {
        let known = |batch: &Arc<Batch>| {
            let partition = partitions.get(&batch.partition)?;
            Some((batch.clone(), partition.standing, partition.memory.clone()?))
        };
        let limits = self.handling.parking;
        Task {
            definition: self.definition.clone(),
            handling: self.handling.clone(),
            allowed: self.allowed,
            condemned: trial.condemned.clone(),
            parking: (trial.full.is_none() && limits.records > 0).then_some(limits),
            most_applied: trial.search.most(),
            batches: hand.iter().filter_map(|(batch, _)| known(batch)).collect(),
        }
    }

    /// Waits a little, and forgets the holds: the next commit tells whether they are still there. `false` when the
    /// lane is to end.
    async fn waited_for_release(&mut self, partitions: &mut Partitions) -> bool {
        partitions.values_mut().for_each(|partition| partition.standing.hold_at = None);
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(HOLD_PAUSE) => true,
        }
    }

    fn still_ours(&self, batch: &Batch, partitions: &Partitions) -> bool {
        let owned_under = partitions.get(&batch.partition).map(|partition| partition.assignment);
        owned_under == Some(batch.assignment) && self.assignment.holds(&batch.partition, batch.assignment)
    }

    async fn write(&mut self, plan: &Plan) -> Result<Committed, StoreError> {
        if plan.commit.advances.is_empty() {
            self.is_well();
            return Ok(Committed::Applied(Written::default()));
        }
        let begun = Instant::now();
        let what = format!("committing {} records", plan.tally.applied + plan.tally.parked);
        let committed = self.activity.during(what, self.writer.commit(&plan.commit)).await?;
        self.is_well();
        if let Committed::Applied(written) = &committed {
            self.metrics.committed(begun.elapsed(), written);
        }
        Ok(committed)
    }

    /// Whatever was tried again has an answer.
    fn is_well(&mut self) {
        if self.backoff.attempt() > 0 {
            self.backoff.reset();
            self.voice.say(State::Running);
        }
    }

    fn applied(
        &mut self,
        plan: Plan,
        written: Written,
        partitions: &mut Partitions,
        trial: &mut Trial,
    ) -> Result<(), Failure> {
        tracing::trace!(?written, "committed");
        self.metrics.recorded(&plan.tally);
        self.unidentified.fetch_add(plan.tally.unidentified, Ordering::Relaxed);
        tell_of_parked(self.definition.name(), &plan.commit);
        trial.search.passed(plan.tally.applied);
        remember(&plan.commit, partitions);
        let progress = plan.commit.advances.into_iter().map(|advance| (advance.partition, advance.to)).collect();
        // The projection is ending when nobody listens.
        let _ = self.progress.send(progress);
        match (plan.poison, trial.full.take()) {
            (None, full) => {
                trial.full = full;
                Ok(())
            }
            (Some(poison), Some(limit)) => Err(Failure::Full { poison, limit }),
            (Some(poison), None) => Err(poison.into()),
        }
    }

    /// Notes that a thread is caught in the projection.
    fn left_behind(&self, position: &Position, trial: &mut Trial) -> Result<(), Failure> {
        trial.left_behind += 1;
        tracing::error!(projection = self.definition.name(), %position, "the projection does not end over this record");
        if trial.left_behind <= MOST_LEFT_BEHIND {
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
        self.voice.say(State::Retrying { attempt, reason: error.to_string() });
        let waited = tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(wait) => true,
        };
        if waited && attempt < MOST_ATTEMPTS { Ok(()) } else { Err(error.into()) }
    }
}

impl Trial {
    fn condemn(&mut self, position: Position, cause: Cause) {
        Arc::make_mut(&mut self.condemned).insert(position, cause);
    }

    /// The database refused the rows of `plan`.
    fn refused(&mut self, plan: Plan, doing: String, reason: String) -> Result<(), StoreError> {
        match plan.last_applied {
            Some(position) if self.search.refused(plan.tally.applied) => {
                self.condemn(position, Cause::new(PoisonClass::Unstorable, reason));
                Ok(())
            }
            Some(_) => Ok(()),
            // No record made any rows.
            None => Err(StoreError::Refused { doing, reason }),
        }
    }
}

/// Keeps what a commit has decided for the next one.
fn remember(commit: &Commit, partitions: &mut Partitions) {
    for advance in &commit.advances {
        if let Some(partition) = partitions.get_mut(&advance.partition) {
            partition.standing.next_offset = advance.to;
            if let Some(memory) = partition.memory.as_mut().filter(|_| commit.is_memorable()) {
                Arc::make_mut(memory).learn(&advance.partition, commit);
            }
        }
    }
}

/// Drops the records that are behind us: counted once is enough.
fn trim(hand: &mut Hand, partitions: &Partitions) {
    for (batch, _) in hand {
        if let Some(partition) = partitions.get(&batch.partition) {
            let next_offset = partition.standing.next_offset;
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
