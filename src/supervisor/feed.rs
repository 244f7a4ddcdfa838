//! The feeding of one generation: a subscription, its lanes, and what goes between them, again and again as failures
//! allow.
//!
//! Every way out of a run but the asked-for one is a [`Failure`], and leaves nothing behind: no task, no member of the
//! group, no open transaction.

mod check_schedule;
mod checks;
mod identity;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use readcast_core::{Definition, TopicPartition};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::check_schedule::CheckSchedule;
use self::checks::{Mirror, all_is_well, note, same_log};
use self::identity::Unidentified;
use super::goal::Goal;
use super::stall_detector::StallDetector;
use super::{Options, Shared};
use crate::error::{Disposition, Failure};
use crate::health::{HealthReporter, State};
use crate::metrics::ProjectionMetrics;
use crate::operations::Throttle;
use crate::plan::AllowedChanges;
use crate::retry::Backoff;
use crate::source::{Batch, Extents, SourceError, SourceEvent, Start, Subscription, verify};
use crate::store::{Checkpoint, Generation, GenerationError, Priority, SharedPriority, StoreError, Writer};
use crate::worker::{Lane, LaneActivity, LaneInput, Limits, Progress};

/// How long one question of a look may take.
const TICK: Duration = Duration::from_secs(1);
/// How long a run must last for the waits after its failure to begin anew.
const A_GOOD_RUN: Duration = Duration::from_secs(60);
/// How long a bounded run keeps trying what may pass, before it gives up.
pub(super) const PATIENCE_OF_A_BOUNDED_RUN: Duration = Duration::from_secs(30);
/// How much more a lane takes into one transaction while a log is replayed into tables that nobody reads.
const BULK: usize = 4;

/// What is fed, and how.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    /// The definition that built the generation.
    pub(super) definition: Definition,
    /// Which generation.
    pub(super) generation: Generation,
    /// Whether the log is replayed into tables that nobody reads yet.
    pub(super) bulk: bool,
    /// What may be made of the records.
    pub(super) allowed: AllowedChanges,
    /// Stand still while the live generation lags by more than this many records; 0 for never.
    pub(super) max_impact: u64,
    /// For whom it is fed at the moment.
    pub(super) priority: SharedPriority,
    /// Cancelled to end the feeding.
    pub(super) stop: CancellationToken,
}

impl Feed {
    /// The consumer group: the first generation has the projection's own, each later one another, so that they do not
    /// take partitions from each other.
    fn group(&self, options: &Options) -> String {
        match self.generation {
            Generation(1) => options.group.clone(),
            Generation(number) => format!("{}.g{number}", options.group),
        }
    }

    fn limits(&self, options: &Options) -> Limits {
        let times = if self.bulk { BULK } else { 1 };
        Limits { records: options.limits.records * times, bytes: options.limits.bytes * times }
    }

    /// Whether readers see the generation at the moment: its lag is the projection's.
    fn serves(&self) -> bool {
        self.priority.get() == Priority::Live
    }

    /// Whether it stands still while the live generation falls behind.
    fn gives_way(&self) -> bool {
        self.max_impact > 0 && !self.serves()
    }

    fn name(&self) -> &str {
        self.definition.name()
    }
}

/// Feeds a generation until `feed.stop`, until the end of the log where the options say so, or until it fails in a way
/// that only a person can do something about.
pub(super) async fn keep_feeding(feed: Feed, options: Options, shared: Shared) -> Result<(), Failure> {
    let reporter = shared.health.reporter(feed.name(), feed.generation);
    let mut backoff = Backoff::new(options.seed, Duration::from_millis(200), Duration::from_secs(15));
    let give_up = options.until_end.then(|| Instant::now() + PATIENCE_OF_A_BOUNDED_RUN);
    let (mut stall_detector, mut unidentified) = (StallDetector::new(options.stall_after), Unidentified::default());
    loop {
        reporter.set(State::Starting);
        let begun = Instant::now();
        let failure = match run(&feed, &options, &shared, &reporter, &mut stall_detector, &mut unidentified).await {
            Ok(()) => {
                all_is_well(&shared, &feed, &options).await;
                reporter.set(State::Stopped);
                return Ok(());
            }
            Err(failure) => failure,
        };
        if begun.elapsed() >= A_GOOD_RUN {
            backoff.reset();
        }
        // Whatever it was, nobody wants it to go on: its tables may have been dropped under it.
        if feed.stop.is_cancelled() {
            all_is_well(&shared, &feed, &options).await;
            return Ok(());
        }
        let (projection, generation) = (feed.name(), feed.generation.0);
        let wait = backoff.next_wait();
        let (disposition, advice) = failure.disposition();
        let hopeless = give_up.is_some_and(|give_up| Instant::now() + wait > give_up);
        if disposition != Disposition::Retry || hopeless {
            tracing::error!(projection, generation, advice, "halted: {failure}");
            reporter.set(State::Halted { reason: failure.in_full(), advice: advice.to_owned() });
            return Err(failure);
        }
        let attempt = backoff.attempt();
        tracing::warn!(projection, generation, attempt, advice, "{failure}; starting again in {wait:.1?}");
        shared.metrics.projection(projection).retried();
        let reason = format!("{failure}. Next: {advice}");
        note(&shared, &feed, &options, &GenerationError { text: reason.clone(), attempt: Some(attempt) }).await;
        reporter.set(State::Retrying { attempt, reason });
        tokio::select! {
            () = feed.stop.cancelled() => {
                // Nothing is tried again any more.
                all_is_well(&shared, &feed, &options).await;
                return Ok(());
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn run(
    feed: &Feed,
    options: &Options,
    shared: &Shared,
    reporter: &HealthReporter,
    stall_detector: &mut StallDetector,
    unidentified: &mut Unidentified,
) -> Result<(), Failure> {
    let outcome = checked(feed, options, shared, reporter, stall_detector, unidentified).await;
    unidentified.tell_now(feed, options, shared).await;
    if let Err(failure) = &outcome
        && let (Disposition::Halt | Disposition::DeadLetter, _) = failure.disposition()
    {
        note(shared, feed, options, &halt(failure)).await;
    }
    outcome
}

/// What is recorded of a generation that has halted with `failure`.
pub(super) fn halt(failure: &Failure) -> GenerationError {
    let (_, advice) = failure.disposition();
    GenerationError { text: format!("{}. Next: {advice}", failure.in_full()), attempt: None }
}

async fn checked(
    feed: &Feed,
    options: &Options,
    shared: &Shared,
    reporter: &HealthReporter,
    stall_detector: &mut StallDetector,
    unidentified: &mut Unidentified,
) -> Result<(), Failure> {
    let altered = shared.store.alterations(&feed.definition, feed.generation).await?;
    if !altered.is_empty() {
        let projection = feed.name().to_owned();
        return Err(StoreError::Definition { projection, reason: altered.join("; ") }.into());
    }
    let extents = same_log(feed, shared).await?;
    stall_detector.begin(Instant::now());
    let mut run = Run::begin(feed, options, shared, reporter, (stall_detector, unidentified), &extents).await?;
    let outcome = run.work().await;
    if matches!(outcome, Err(Failure::Stalled(_))) {
        // A lane that waits for an answer which never comes would not end. What it has under way is rolled back, or
        // is recognised by whoever takes over.
        run.tasks.abort_all();
    }
    // The order matters: no lane may be at work for a member that has left its group in good order.
    let ended = run.end().await;
    outcome.and(ended)
}

struct Run<'a> {
    feed: &'a Feed,
    options: &'a Options,
    shared: &'a Shared,
    reporter: &'a HealthReporter,
    metrics: ProjectionMetrics,
    subscription: Box<dyn Subscription>,
    lanes: Vec<mpsc::UnboundedSender<LaneInput>>,
    tasks: JoinSet<Result<(), Failure>>,
    /// Cancelled to end this run's lanes.
    stop_lanes: CancellationToken,
    progress: mpsc::UnboundedReceiver<Progress>,
    /// The memory that records on their way may take, in bytes.
    budget: Arc<Semaphore>,
    budget_bytes: usize,
    partitions: BTreeMap<TopicPartition, OwnedPartition>,
    /// Where a bounded run ends.
    goal: Option<Goal>,
    /// Set while the live generation falls behind: it goes first.
    throttle: Throttle,
    /// What each lane is at.
    activities: Vec<LaneActivity>,
    stall_detector: &'a mut StallDetector,
    /// When lag is measured, positions are mirrored to the log, and other instances' progress is looked at.
    schedule: CheckSchedule,
    /// When the log was last told all positions.
    mirrored_all: Instant,
    unidentified: &'a mut Unidentified,
}

/// One of the partitions that are ours.
struct OwnedPartition {
    lane: usize,
    /// Up to here, its records have been given to the lane.
    delivered: i64,
    /// Up to here, they are in the database.
    next_offset: i64,
    /// Up to here, the log was told that they are.
    mirrored: Option<i64>,
    /// Which log they are of, where that is known.
    log_id: Option<String>,
}

impl<'a> Run<'a> {
    async fn begin(
        feed: &'a Feed,
        options: &'a Options,
        shared: &'a Shared,
        reporter: &'a HealthReporter,
        (stall_detector, unidentified): (&'a mut StallDetector, &'a mut Unidentified),
        extents: &Extents,
    ) -> Result<Self, Failure> {
        let topics = feed.definition.topics();
        let subscription = shared.source.subscribe(&feed.group(options), topics).await?;
        // Permits count bytes, and the semaphore's own limit is far above any sensible bound.
        let budget_bytes = options.buffer_bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let (report, progress) = mpsc::unbounded_channel();
        let mut run = Self {
            feed,
            options,
            shared,
            reporter,
            metrics: shared.metrics.projection(feed.name()),
            subscription,
            lanes: Vec::new(),
            tasks: JoinSet::new(),
            stop_lanes: feed.stop.child_token(),
            progress,
            budget: Arc::new(Semaphore::new(budget_bytes)),
            budget_bytes,
            partitions: BTreeMap::new(),
            goal: options.until_end.then(|| Goal::ends_of(extents)),
            throttle: Throttle::default(),
            activities: Vec::new(),
            stall_detector,
            schedule: CheckSchedule::new(Instant::now()),
            mirrored_all: Instant::now(),
            unidentified,
        };
        for number in 0..options.lanes.max(1) {
            let writer = shared.store.writer(&feed.definition, feed.generation, feed.priority.clone()).await?;
            run.spawn_lane(number, writer, options, report.clone());
        }
        reporter.set(State::Running);
        Ok(run)
    }

    fn spawn_lane(
        &mut self,
        number: usize,
        writer: Box<dyn Writer>,
        options: &Options,
        progress: mpsc::UnboundedSender<Progress>,
    ) {
        let (sender, inbox) = mpsc::unbounded_channel();
        let activity = LaneActivity::default();
        let seed = options.seed.wrapping_add(number as u64);
        let lane = Lane {
            definition: self.feed.definition.clone(),
            policy: options.record_policy.clone(),
            allowed: self.feed.allowed,
            writer,
            assignment: self.subscription.assignment(),
            inbox,
            progress,
            limits: self.feed.limits(options),
            stop: self.stop_lanes.clone(),
            backoff: Backoff::new(seed, Duration::from_millis(50), Duration::from_secs(5)),
            metrics: self.metrics.clone(),
            unidentified: self.unidentified.counter(),
            reporter: self.reporter.clone(),
            activity: activity.clone(),
        };
        self.activities.push(activity);
        self.lanes.push(sender);
        self.tasks.spawn(lane.run());
    }

    async fn work(&mut self) -> Result<(), Failure> {
        // A batch that waits for memory. Nothing more is taken from the source meanwhile.
        let mut waiting: Option<Batch> = None;
        while !self.goal.as_ref().is_some_and(Goal::is_reached) {
            let wanted = waiting.as_ref().map_or(0, |batch| self.permits(batch));
            tokio::select! {
                biased;
                () = self.feed.stop.cancelled() => return Ok(()),
                Some(ended) = self.tasks.join_next() => {
                    ended.unwrap_or_else(|panicked| Err(Failure::Panicked(panicked.to_string())))?;
                }
                Some(progress) = self.progress.recv() => self.progressed(progress),
                permit = self.budget.clone().acquire_many_owned(wanted), if waiting.is_some() => {
                    if let (Some(batch), Ok(permit)) = (waiting.take(), permit) {
                        self.deliver(batch, permit);
                    }
                }
                event = self.subscription.next(), if waiting.is_none() && !self.throttle.closed => waiting = self.happened(event?).await?,
                () = tokio::time::sleep_until(self.schedule.due()) => self.run_checks().await?,
            }
        }
        Ok(())
    }

    /// Ends the lanes, each after the transaction in hand, and leaves the group.
    async fn end(mut self) -> Result<(), Failure> {
        self.stop_lanes.cancel();
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let ended = ended.unwrap_or_else(|panicked| Err(Failure::Panicked(panicked.to_string())));
            outcome = outcome.and(ended);
        }
        while let Ok(progress) = self.progress.try_recv() {
            self.progressed(progress);
        }
        self.mirror(Mirror::All);
        self.subscription.close().await;
        if self.feed.serves() {
            self.metrics.forget_all();
        }
        outcome
    }

    async fn happened(&mut self, event: SourceEvent) -> Result<Option<Batch>, Failure> {
        self.schedule.hurry();
        match event {
            SourceEvent::Assigned(partitions) => self.take_over(partitions).await?,
            SourceEvent::Batch(batch) => return Ok(Some(batch)),
            SourceEvent::AtEnd(partition) => {
                self.stall_detector.at_end(&partition);
                if let (Some(goal), Some(held)) = (&mut self.goal, self.partitions.get(&partition)) {
                    goal.ends_at(&partition, held.delivered);
                }
            }
            // The lanes know already: the assignment tells them at once, ahead of this event.
            SourceEvent::Revoked(partitions) | SourceEvent::Lost(partitions) => {
                for partition in partitions {
                    self.partitions.remove(&partition);
                    if self.feed.serves() {
                        self.metrics.forget(&partition);
                    }
                }
            }
        }
        if self.feed.serves() {
            self.metrics.owned(self.partitions.len());
        }
        Ok(None)
    }

    /// Claims the partitions, so that no earlier owner can write any more, makes sure that the log still is the one
    /// that their checkpoints point into, and starts them there.
    async fn take_over(&mut self, partitions: Vec<TopicPartition>) -> Result<(), Failure> {
        if partitions.is_empty() {
            return Ok(());
        }
        let extents = self.shared.source.extents(self.feed.definition.topics()).await?;
        let wanted: Vec<_> = partitions
            .into_iter()
            .map(|partition| {
                let extent = extents.get(&partition).cloned();
                extent
                    .map(|extent| (partition.clone(), extent))
                    .ok_or(SourceError::NoTopic(partition.topic.to_string()))
            })
            .collect::<Result<_, _>>()?;
        // One of its own: a lane's would be busy with the batch in hand.
        let Feed { definition, generation, priority, .. } = self.feed;
        let mut writer = self.shared.store.writer(definition, *generation, priority.clone()).await?;
        let assignment = self.subscription.assignment();
        let mut starts = Vec::new();
        let claimed = writer.claim(&wanted).await?;
        // Asked once more: while we waited for the claim, the owner before us may have come further than that.
        let extents = self.shared.source.extents(self.feed.definition.topics()).await?;
        for checkpoint in claimed {
            let partition = checkpoint.partition.clone();
            let extent = extents.get(&partition).cloned().unwrap_or_default();
            verify(checkpoint.next_offset, checkpoint.log_id.as_deref(), &extent)
                .map_err(|verdict| SourceError::Verdict { partition: partition.clone(), verdict })?;
            starts.push(Start {
                partition: partition.clone(),
                next_offset: checkpoint.next_offset,
                leader_epoch: checkpoint.leader_epoch,
            });
            if let Some(epoch) = assignment.epoch(&partition) {
                self.own(checkpoint, epoch);
            }
        }
        Ok(self.subscription.start(&starts).await?)
    }

    /// Gives the partition to the lane that has the fewest.
    fn own(&mut self, checkpoint: Checkpoint, epoch: u64) {
        let load = |lane: &usize| self.partitions.values().filter(|partition| partition.lane == *lane).count();
        let lane = (0..self.lanes.len()).min_by_key(load).unwrap_or(0);
        let Checkpoint { partition, next_offset, owner_epoch, log_id, .. } = checkpoint.clone();
        let (projection, generation) = (self.feed.name(), self.feed.generation.0);
        tracing::info!(projection, generation, %partition, next_offset, owner_epoch, lane, "took over");
        let held = OwnedPartition { lane, delivered: next_offset, next_offset, mirrored: None, log_id };
        self.partitions.insert(partition.clone(), held);
        self.stands(&partition, next_offset);
        // A lane that has ended says why through its task.
        let _ = self.lanes[lane].send(LaneInput::Own(checkpoint, epoch));
    }

    fn deliver(&mut self, batch: Batch, permit: OwnedSemaphorePermit) {
        // A batch that has waited for memory may have been read under an earlier assignment.
        if !self.subscription.assignment().holds(&batch.partition, batch.assignment) {
            return;
        }
        let Some(partition) = self.partitions.get_mut(&batch.partition) else { return };
        partition.delivered = batch.to;
        let _ = self.lanes[partition.lane].send(LaneInput::Records(batch, permit));
    }

    /// What the batch costs of the budget; one that is larger than all of it waits until it is alone.
    fn permits(&self, batch: &Batch) -> u32 {
        u32::try_from(batch.bytes().min(self.budget_bytes)).unwrap_or(u32::MAX)
    }

    fn progressed(&mut self, progress: Progress) {
        self.schedule.hurry();
        for (partition, next_offset) in progress {
            if let Some(held) = self.partitions.get_mut(&partition) {
                held.next_offset = next_offset;
            }
            self.stands(&partition, next_offset);
        }
    }

    fn stands(&mut self, partition: &TopicPartition, next_offset: i64) {
        if let Some(goal) = &mut self.goal {
            goal.stands(partition, next_offset);
            self.shared.goals.set(self.feed.name(), goal.progress());
        }
    }
}
