//! One run of one projection: a subscription, its lanes, and what goes between them.
//!
//! Every way out of here but the asked-for one is a [`Failure`], and leaves nothing behind: no task, no member of the
//! group, no open transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use readcast_core::{Definition, TopicPartition};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::goal::Goal;
use super::{Options, Shared};
use crate::error::{Disposition, Failure};
use crate::health::State;
use crate::metrics::ProjectionMetrics;
use crate::retry::Backoff;
use crate::source::{Batch, Extents, SourceError, SourceEvent, Subscription, verify};
use crate::store::{Checkpoint, Generation, StoreError, Writer};
use crate::worker::{Lane, LaneInput, Progress};

/// How often lag is measured, positions are mirrored to the log, and other instances' progress is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Runs the projection until `shared.stop`, until the end of the log where the options say so, or until it fails.
pub(super) async fn run(definition: &Definition, options: &Options, shared: &Shared) -> Result<(), Failure> {
    shared.store.migrate().await?;
    let outcome = prepared(definition, options, shared).await;
    record(shared, definition, &outcome).await;
    outcome
}

async fn prepared(definition: &Definition, options: &Options, shared: &Shared) -> Result<(), Failure> {
    let generation = shared.store.prepare(definition).await?;
    let mut run = Run::begin(definition, options, shared, generation).await?;
    let outcome = run.work().await;
    // The order matters: no lane may be at work for a member that has left its group in good order.
    let ended = run.end().await;
    outcome.and(ended)
}

/// Notes in the store why the projection stands still, where `readcast status` finds it.
async fn record(shared: &Shared, definition: &Definition, outcome: &Result<(), Failure>) {
    let Err(failure) = outcome else { return };
    let (Disposition::Halt, advice) = failure.disposition() else { return };
    let text = format!("{failure}. Next: {advice}");
    let recorded = shared.store.record_error(definition.name(), Some(&text)).await;
    if let Err(error) = recorded {
        tracing::warn!(projection = definition.name(), "why it stopped could not be recorded: {error}");
    }
}

struct Run<'a> {
    definition: &'a Definition,
    shared: &'a Shared,
    generation: Generation,
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
    partitions: BTreeMap<TopicPartition, Partition>,
    /// Where a bounded run ends.
    goal: Option<Goal>,
}

/// One of the partitions that are ours.
struct Partition {
    lane: usize,
    /// Up to here, its records have been given to the lane.
    delivered: i64,
    /// Up to here, they are in the database.
    next_offset: i64,
}

impl<'a> Run<'a> {
    async fn begin(
        definition: &'a Definition,
        options: &Options,
        shared: &'a Shared,
        generation: Generation,
    ) -> Result<Self, Failure> {
        let extents = shared.source.extents(definition.topics()).await?;
        let subscription = shared.source.subscribe(&options.group, definition.topics()).await?;
        // Permits count bytes, and the semaphore's own limit is far above any sensible bound.
        let budget_bytes = options.buffer_bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let (report, progress) = mpsc::unbounded_channel();
        let mut run = Self {
            definition,
            shared,
            generation,
            metrics: shared.metrics.projection(definition.name()),
            subscription,
            lanes: Vec::new(),
            tasks: JoinSet::new(),
            stop_lanes: shared.stop.child_token(),
            progress,
            budget: Arc::new(Semaphore::new(budget_bytes)),
            budget_bytes,
            partitions: BTreeMap::new(),
            goal: options.until_end.then(|| Goal::ends_of(&extents)),
        };
        for number in 0..options.lanes.max(1) {
            let writer = shared.store.writer(definition, generation).await?;
            run.spawn_lane(number, writer, options, report.clone());
        }
        shared.store.record_error(definition.name(), None).await?;
        shared.health.set(definition.name(), State::Running);
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
        let seed = options.seed.wrapping_add(number as u64);
        let lane = Lane {
            definition: self.definition.clone(),
            format: options.format,
            writer,
            assignment: self.subscription.assignment(),
            inbox,
            progress,
            limits: options.limits,
            stop: self.stop_lanes.clone(),
            backoff: Backoff::new(seed, Duration::from_millis(50), Duration::from_secs(5)),
            metrics: self.metrics.clone(),
            health: self.shared.health.clone(),
        };
        self.lanes.push(sender);
        self.tasks.spawn(lane.run());
    }

    async fn work(&mut self) -> Result<(), Failure> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // A batch that waits for memory. Nothing more is taken from the source meanwhile.
        let mut waiting: Option<Batch> = None;
        while !self.goal.as_ref().is_some_and(Goal::is_reached) {
            let wanted = waiting.as_ref().map_or(0, |batch| self.permits(batch));
            tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => return Ok(()),
                Some(ended) = self.tasks.join_next() => {
                    ended.unwrap_or_else(|panicked| Err(Failure::Panicked(panicked.to_string())))?;
                }
                Some(progress) = self.progress.recv() => self.progressed(progress),
                permit = self.budget.clone().acquire_many_owned(wanted), if waiting.is_some() => {
                    if let (Some(batch), Ok(permit)) = (waiting.take(), permit) {
                        self.deliver(batch, permit);
                    }
                }
                event = self.subscription.next(), if waiting.is_none() => waiting = self.happened(event?).await?,
                _ = tick.tick() => self.look_around().await,
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
        self.mirror();
        self.subscription.close().await;
        self.metrics.forget_all();
        outcome
    }

    async fn happened(&mut self, event: SourceEvent) -> Result<Option<Batch>, Failure> {
        match event {
            SourceEvent::Assigned(partitions) => self.take_over(partitions).await?,
            SourceEvent::Batch(batch) => return Ok(Some(batch)),
            SourceEvent::AtEnd(partition) => {
                if let (Some(goal), Some(held)) = (&mut self.goal, self.partitions.get(&partition)) {
                    goal.ends_at(&partition, held.delivered);
                }
            }
            // The lanes know already: the assignment tells them at once, ahead of this event.
            SourceEvent::Revoked(partitions) | SourceEvent::Lost(partitions) => {
                for partition in partitions {
                    self.partitions.remove(&partition);
                    self.metrics.forget(&partition);
                }
            }
        }
        self.metrics.owned(self.partitions.len());
        Ok(None)
    }

    /// Claims the partitions, so that no earlier owner can write any more, makes sure that the log still is the one
    /// that their checkpoints point into, and starts them there.
    async fn take_over(&mut self, partitions: Vec<TopicPartition>) -> Result<(), Failure> {
        if partitions.is_empty() {
            return Ok(());
        }
        let extents = self.shared.source.extents(self.definition.topics()).await?;
        let wanted: Vec<_> = partitions
            .into_iter()
            .map(|partition| {
                let extent = extents.get(&partition).cloned();
                extent
                    .map(|extent| (partition.clone(), extent))
                    .ok_or(SourceError::NoTopic(partition.topic.to_string()))
            })
            .collect::<Result<_, _>>()?;
        // A connection of its own: a lane's would be busy with the batch in hand.
        let mut writer = self.shared.store.writer(self.definition, self.generation).await?;
        let assignment = self.subscription.assignment();
        let mut starts = Vec::new();
        for checkpoint in writer.claim(&wanted).await? {
            let partition = checkpoint.partition.clone();
            let extent = extents.get(&partition).cloned().unwrap_or_default();
            verify(checkpoint.next_offset, checkpoint.log_id.as_deref(), &extent)
                .map_err(|verdict| SourceError::Verdict { partition: partition.clone(), verdict })?;
            starts.push((partition.clone(), checkpoint.next_offset));
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
        let Checkpoint { partition, next_offset, owner_epoch, .. } = checkpoint.clone();
        tracing::info!(projection = self.definition.name(), %partition, next_offset, owner_epoch, lane, "took over");
        self.partitions.insert(partition.clone(), Partition { lane, delivered: next_offset, next_offset });
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
        partition.delivered = batch.records.last().map_or(partition.delivered, |record| record.offset + 1);
        let _ = self.lanes[partition.lane].send(LaneInput::Records(batch, permit));
    }

    /// What the batch costs of the budget; one that is larger than all of it waits until it is alone.
    fn permits(&self, batch: &Batch) -> u32 {
        u32::try_from(batch.bytes().min(self.budget_bytes)).unwrap_or(u32::MAX)
    }

    fn progressed(&mut self, progress: Progress) {
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
            self.shared.goals.set(self.definition.name(), goal.progress());
        }
    }

    async fn look_around(&mut self) {
        self.metrics.buffered_bytes(self.budget_bytes - self.budget.available_permits());
        self.mirror();
        // Neither answer is needed to go on; what is wrong shows where it hurts.
        let extents = self.shared.source.extents(self.definition.topics());
        if let Ok(Ok(extents)) = tokio::time::timeout(TICK, extents).await {
            self.measure_lag(&extents);
        }
        let others_have_some = |goal: &Goal| goal.left().any(|partition| !self.partitions.contains_key(partition));
        if self.goal.as_ref().is_some_and(others_have_some)
            && let Ok(checkpoints) = self.checkpoints_of_others().await
        {
            self.progressed(checkpoints);
        }
    }

    fn measure_lag(&self, extents: &Extents) {
        for (partition, held) in &self.partitions {
            if let Some(extent) = extents.get(partition) {
                self.metrics.lag(partition, extent.end - held.next_offset);
            }
        }
    }

    /// How far other instances are with the partitions that we do not have.
    async fn checkpoints_of_others(&self) -> Result<Progress, StoreError> {
        let ours = |projection: &str, generation| projection == self.definition.name() && generation == self.generation;
        let generations = self.shared.store.generations().await?;
        let found = generations.into_iter().filter(|found| ours(&found.projection, found.generation));
        let checkpoints = found.flat_map(|found| found.checkpoints);
        let others = checkpoints.filter(|checkpoint| !self.partitions.contains_key(&checkpoint.partition));
        Ok(others.map(|checkpoint| (checkpoint.partition, checkpoint.next_offset)).collect())
    }

    fn mirror(&mut self) {
        let positions: Vec<_> =
            self.partitions.iter().map(|(partition, held)| (partition.clone(), held.next_offset)).collect();
        self.subscription.mirror(&positions);
    }
}
