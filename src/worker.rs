//! A lane: some of the partitions, one connection, one transaction a batch over all of them.
//!
//! A lane takes what is ready, up to its limits: it commits record by record while it keeps up, and in growing batches
//! while it lags. No timer delays a record.

mod activity;
mod bisection;
mod findings;
mod partitions;
mod planning;
mod poison;

use std::sync::Arc;
use std::time::Duration;

use readcast_core::{Definition, Position, TopicPartition};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

pub use self::activity::LaneActivity;
pub use self::findings::{EventFindings, Found};
use self::partitions::LanePartitions;
use self::planning::MAX_ABANDONED_THREADS;
pub(crate) use self::planning::Task;
pub use self::planning::{WatchdogError, with_watchdog};
use self::poison::PoisonState;
pub(crate) use self::poison::log_parked;
use crate::error::Failure;
use crate::failpoint;
use crate::health::{HealthReporter, State};
use crate::metrics::ProjectionMetrics;
use crate::plan::{AllowedChanges, Plan, RecordPolicy};
use crate::retry::{Backoff, in_words};
use crate::source::{Assignment, AssignmentEpoch, Batch};
use crate::store::{Checkpoint, CommitOutcome, StoreError, Writer, Written};

/// How often a lane retries a transaction before the whole run fails. The failure gives up the partitions.
const MAX_ATTEMPTS: u32 = 8;
/// How often a lane asks whether its partitions are still held.
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
    Assign(Checkpoint, AssignmentEpoch),
    /// Records of one of its partitions, and the memory that they were allowed to take.
    Records(Batch, OwnedSemaphorePermit),
}

/// How far a lane has brought its partitions.
pub type Progress = Vec<(TopicPartition, i64)>;

/// One lane of a feed.
pub struct Lane {
    /// The definition of the projection.
    pub definition: Definition,
    /// How its records are read, and what is done about those that can't be projected.
    pub policy: Arc<RecordPolicy>,
    /// Over how many offsets duplicates are recognised.
    pub duplicate_window: i64,
    /// Which changes they may make.
    pub allowed: AllowedChanges,
    /// The writer of the generation that is fed.
    pub writer: Box<dyn Writer>,
    /// What this process owns at this instant, whatever the order of events says.
    pub assignment: Arc<Assignment>,
    /// What it is given. When this closes, the lane finishes what it has.
    pub inbox: mpsc::UnboundedReceiver<LaneInput>,
    /// Where it reports its commits.
    pub progress: mpsc::UnboundedSender<Progress>,
    /// How much it takes into one transaction.
    pub limits: Limits,
    /// Cancelled to end the lane after the transaction that it is in.
    pub stop: CancellationToken,
    /// Its waits after errors.
    pub backoff: Backoff,
    /// The counters of its projection.
    pub metrics: ProjectionMetrics,
    /// What it finds in events, which the feed reports.
    pub findings: Arc<EventFindings>,
    /// Where it reports the generation's state.
    pub reporter: HealthReporter,
    /// What it does at this moment.
    pub activity: LaneActivity,
}

/// The records of the transaction that the lane is in. Shared with the thread that plans, which may be left behind.
type PendingBatches = Vec<(Arc<Batch>, OwnedSemaphorePermit)>;

/// What follows an attempt to commit.
enum AfterAttempt {
    /// Another attempt, with what is left.
    Again,
    /// Nothing: everything is committed, or belongs to another owner, or the lane is to end.
    Done,
}

impl Lane {
    /// Commits what it is given until `stop` is cancelled or the inbox closes.
    ///
    /// # Errors
    /// A failure that another attempt of the same transaction does not cure. What it did not commit is rolled back.
    pub async fn run(mut self) -> Result<(), Failure> {
        let (mut partitions, mut poison) = (LanePartitions::default(), PoisonState::default());
        while let Some(pending) = self.take_ready(&mut partitions).await {
            failpoint::hit("after_poll");
            self.commit(pending, &mut partitions, &mut poison).await?;
        }
        Ok(())
    }

    /// Waits for records, and takes those behind them that are there already. `None` when the lane is to end.
    async fn take_ready(&mut self, partitions: &mut LanePartitions) -> Option<PendingBatches> {
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
                LaneInput::Assign(checkpoint, assignment) => partitions.add(checkpoint, assignment),
                LaneInput::Records(batch, permit) => {
                    records += batch.records.len();
                    bytes += batch.bytes();
                    pending.push((Arc::new(batch), permit));
                }
            }
        }
        (!self.stop.is_cancelled()).then_some(pending)
    }

    /// Commits the batches in one transaction, which is retried as a whole until it is decided. What is left out of it,
    /// because it is held or because a record that the database refuses is searched for, follows in the next ones.
    async fn commit(
        &mut self,
        mut pending: PendingBatches,
        partitions: &mut LanePartitions,
        poison: &mut PoisonState,
    ) -> Result<(), Failure> {
        loop {
            // Batches of partitions that were revoked in the meantime belong to the next owner.
            pending.retain(|(batch, _)| partitions.own(batch, &self.assignment));
            if let Err(error) = self.load_state(&pending, partitions).await {
                self.retry_after(error).await?;
                continue;
            }
            let Some(plan) = self.plan(&pending, partitions, poison).await? else { continue };
            let records = plan.tally.applied + plan.tally.parked;
            let span = tracing::debug_span!("commit", records, partitions = plan.commit.advances.len());
            let attempt = async {
                let outcome = self.write(&plan).await;
                self.conclude(outcome, plan, &mut pending, partitions, poison).await
            };
            if let AfterAttempt::Done = attempt.instrument(span).await? {
                return Ok(());
            }
        }
    }

    /// Reads what was decided earlier about the partitions of the batches, where that is not known.
    async fn load_state(
        &mut self,
        pending: &PendingBatches,
        partitions: &mut LanePartitions,
    ) -> Result<(), StoreError> {
        let unknown = partitions.without_state(pending);
        if !unknown.is_empty() {
            partitions.set_states(self.writer.load_state(&unknown, self.duplicate_window).await?);
        }
        Ok(())
    }

    /// Plans the transaction; `None` when the projection hung over a record, which the next plan leaves out.
    async fn plan(
        &self,
        pending: &PendingBatches,
        partitions: &LanePartitions,
        poison: &mut PoisonState,
    ) -> Result<Option<Plan>, Failure> {
        let limits = self.policy.parking;
        let task = Task {
            definition: self.definition.clone(),
            policy: self.policy.clone(),
            allowed: self.allowed,
            known_poison: poison.found.clone(),
            parking: (poison.full.is_none() && limits.records > 0).then_some(limits),
            most_applied: poison.bisection.most(),
            audits_order: false,
            batches: pending.iter().filter_map(|(batch, _)| partitions.with_state(batch)).collect(),
        };
        match task.run().await {
            Ok(plan) => Ok(Some(plan?)),
            Err(WatchdogError::Hung(position, cause)) => {
                self.abandoned_thread(&position, pending, poison)?;
                poison.add(position, cause);
                Ok(None)
            }
            Err(WatchdogError::Panicked(text)) => Err(Failure::Panicked(text)),
        }
    }

    async fn write(&mut self, plan: &Plan) -> Result<CommitOutcome, StoreError> {
        if plan.commit.advances.is_empty() {
            self.succeeded();
            return Ok(CommitOutcome::Applied(Written::default()));
        }
        let begun = Instant::now();
        let what = format!("committing {} records", plan.tally.applied + plan.tally.parked);
        let outcome = self.activity.during(what, self.writer.commit(&plan.commit)).await?;
        self.succeeded();
        if let CommitOutcome::Applied(written) = &outcome {
            self.metrics.committed(begun.elapsed(), written);
        }
        Ok(outcome)
    }

    /// Draws the consequences of an attempt to commit `plan`.
    async fn conclude(
        &mut self,
        outcome: Result<CommitOutcome, StoreError>,
        plan: Plan,
        pending: &mut PendingBatches,
        partitions: &mut LanePartitions,
        poison: &mut PoisonState,
    ) -> Result<AfterAttempt, Failure> {
        match outcome {
            Ok(CommitOutcome::Applied(written)) => {
                let (held, cut) = (plan.held, plan.cut);
                self.applied(plan, written, partitions, poison)?;
                if !cut && !held {
                    return Ok(AfterAttempt::Done);
                }
                partitions.drop_committed(pending);
                if held && !self.hold_pause(partitions).await {
                    return Ok(AfterAttempt::Done);
                }
            }
            Ok(CommitOutcome::Held(holds)) => partitions.hold(holds),
            Ok(CommitOutcome::Outdated) => partitions.forget_states(),
            Ok(CommitOutcome::Full(limit)) => poison.full = Some(limit),
            // Some partitions were revoked in the meantime: the batches of the others are tried again.
            Ok(CommitOutcome::Fenced) if !pending.iter().all(|(batch, _)| partitions.own(batch, &self.assignment)) => {}
            Ok(CommitOutcome::Fenced) => {
                self.metrics.fenced();
                let fenced = plan.commit.advances.into_iter().map(|advance| advance.partition);
                return Err(Failure::Fenced(fenced.collect()));
            }
            Err(StoreError::Unstorable { doing, reason }) => poison.refused(plan, doing, reason)?,
            Err(error) => self.retry_after(error).await?,
        }
        Ok(AfterAttempt::Again)
    }

    fn applied(
        &mut self,
        mut plan: Plan,
        written: Written,
        partitions: &mut LanePartitions,
        poison: &mut PoisonState,
    ) -> Result<(), Failure> {
        tracing::trace!(?written, "committed");
        self.metrics.recorded(&plan.tally);
        self.findings.add(&mut plan);
        log_parked(&self.policy, &plan.commit);
        poison.bisection.passed(plan.tally.applied);
        partitions.advance(&plan.commit);
        let progress = plan.commit.advances.into_iter().map(|advance| (advance.partition, advance.to)).collect();
        // The send fails only if the feed is ending.
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

    /// Waits a little, and forgets the holds: the next commit tells whether they are still there. `false` when the
    /// lane is to end.
    async fn hold_pause(&mut self, partitions: &mut LanePartitions) -> bool {
        partitions.forget_holds();
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(HOLD_PAUSE) => true,
        }
    }

    /// The store answered: what was retried has succeeded.
    fn succeeded(&mut self) {
        if self.backoff.attempt() > 0 {
            self.backoff.reset();
            self.reporter.set(State::Running);
        }
    }

    /// Notes that a thread is caught in the projection.
    ///
    /// # Errors
    /// When there are too many of them.
    fn abandoned_thread(
        &self,
        position: &Position,
        pending: &PendingBatches,
        poison: &mut PoisonState,
    ) -> Result<(), Failure> {
        poison.abandoned_threads += 1;
        let batches = pending.iter().filter(|(batch, _)| batch.partition.at(position.offset) == *position);
        let record = batches.flat_map(|(batch, _)| &batch.records).find(|record| record.offset == position.offset);
        let correlation_id = record.and_then(|record| self.policy.correlation_id(position, record));
        tracing::error!(%position, correlation_id, "projection does not finish this record");
        if poison.abandoned_threads <= MAX_ABANDONED_THREADS {
            return Ok(());
        }
        Err(Failure::Panicked(format!("the projection did not finish several records, the last of them {position}")))
    }

    /// Waits before the transaction is retried.
    ///
    /// # Errors
    /// `error`, where it will not pass, and after too many attempts.
    async fn retry_after(&mut self, error: StoreError) -> Result<(), Failure> {
        if !error.may_pass() {
            return Err(error.into());
        }
        let wait: Duration = self.backoff.next_wait();
        let attempt = self.backoff.attempt();
        self.metrics.retried();
        tracing::warn!(attempt, "transaction failed; retrying in {}: {error}", in_words(wait));
        self.reporter.set(State::Retrying { attempt, reason: error.to_string() });
        let waited = tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(wait) => true,
        };
        if waited && attempt < MAX_ATTEMPTS { Ok(()) } else { Err(error.into()) }
    }
}
