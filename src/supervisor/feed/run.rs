//! One run of a feed: a member of the consumer group, its partitions, and the lanes that commit their records.

use std::collections::BTreeMap;

use readcast_core::TopicPartition;
use tokio::sync::OwnedSemaphorePermit;

use super::budget::MemoryBudget;
use super::checks::{VerifiedLog, verify_log, verify_tables};
use super::first_records::verify_first_records;
use super::lanes::{LaneEvent, Lanes};
use super::monitor::FeedMonitor;
use super::partitions::OwnedPartitions;
use super::{Feed, FeedContext};
use crate::error::Failure;
use crate::health::State;
use crate::operations::Throttle;
use crate::source::{Batch, Extent, Extents, SourceError, SourceEvent, Start, Subscription, verify};
use crate::store::Checkpoint;
use crate::supervisor::progress::TargetOffsets;
use crate::worker::Progress;

/// One run of a feed, from joining the consumer group to the end of all lanes.
pub(super) struct FeedRun<'a> {
    pub(super) context: &'a FeedContext,
    pub(super) monitor: &'a mut FeedMonitor,
    pub(super) subscription: Box<dyn Subscription>,
    pub(super) lanes: Lanes,
    pub(super) budget: MemoryBudget,
    pub(super) partitions: OwnedPartitions,
    /// Where a bounded run ends.
    pub(super) target: Option<TargetOffsets>,
    /// Closed while the live generation lags too far.
    pub(super) throttle: Throttle,
}

/// Feeds the generation until the feed is stopped or, in a bounded run, has reached its target.
///
/// # Errors
/// Whatever else ends the run. No task and no open transaction is left then, and the group is left.
pub(super) async fn run(context: &FeedContext, monitor: &mut FeedMonitor) -> Result<(), Failure> {
    verify_tables(context).await?;
    let VerifiedLog { extents, is_unread } = verify_log(context).await?;
    if is_unread && context.feed.is_live() {
        verify_first_records(context, &extents).await?;
    }
    monitor.begin_run();
    let mut run = FeedRun::begin(context, monitor, &extents).await?;
    let outcome = run.work().await;
    if matches!(outcome, Err(Failure::Stalled(_))) {
        // A lane that waits for an answer which never comes would not end.
        run.lanes.abort();
    }
    // The order matters: no lane may be at work for a member that has left its group.
    let ended = run.end().await;
    outcome.and(ended)
}

impl<'a> FeedRun<'a> {
    async fn begin(context: &'a FeedContext, monitor: &'a mut FeedMonitor, extents: &Extents) -> Result<Self, Failure> {
        let FeedContext { feed, options, shared, .. } = context;
        let subscription = shared.source.subscribe(&feed.group(options), feed.definition.topics()).await?;
        let size = options.record_policy.duplicate_window;
        let window = shared.store.duplicate_window(feed.name(), feed.generation, size, extents.len()).await?;
        let lanes = Lanes::start(context, &subscription.assignment(), monitor.findings.found(), window).await?;
        context.reporter.set(State::Running);
        Ok(Self {
            context,
            monitor,
            subscription,
            lanes,
            budget: MemoryBudget::new(options.buffer_bytes),
            partitions: OwnedPartitions::default(),
            target: options.until_end.then(|| TargetOffsets::ends_of(extents)),
            throttle: Throttle::default(),
        })
    }

    async fn work(&mut self) -> Result<(), Failure> {
        // A batch that waits for memory. Until then no other batch is taken from the source.
        let mut waiting: Option<Batch> = None;
        while !self.target.as_ref().is_some_and(TargetOffsets::are_reached) {
            let cost = waiting.as_ref().map_or(0, |batch| self.budget.cost(batch));
            tokio::select! {
                biased;
                () = self.context.feed.stop.cancelled() => return Ok(()),
                event = self.lanes.next() => match event {
                    LaneEvent::Progress(progress) => self.progressed(progress),
                    LaneEvent::Ended(ended) => ended?,
                },
                permit = self.budget.acquire(cost), if waiting.is_some() => {
                    if let (Some(batch), Ok(permit)) = (waiting.take(), permit) {
                        self.deliver(batch, permit);
                    }
                }
                event = self.subscription.next(), if waiting.is_none() && !self.throttle.closed => {
                    waiting = self.handle(event?).await?;
                }
                () = tokio::time::sleep_until(self.monitor.schedule.due()) => self.run_checks().await?,
            }
        }
        Ok(())
    }

    /// Ends the lanes, each after the transaction that it is in, and leaves the group.
    async fn end(mut self) -> Result<(), Failure> {
        let (outcome, reports) = self.lanes.drain().await;
        reports.into_iter().for_each(|progress| self.progressed(progress));
        self.mirror_positions(true);
        self.subscription.close().await;
        if self.context.feed.is_live() {
            self.context.metrics.forget_all();
        }
        outcome
    }

    /// Handles an event of the source. Returns a batch, which waits for memory next.
    async fn handle(&mut self, event: SourceEvent) -> Result<Option<Batch>, Failure> {
        self.monitor.schedule.moved();
        let is_live = self.context.feed.is_live();
        match event {
            SourceEvent::Assigned(partitions) => {
                self.monitor.group_answered();
                self.claim(partitions).await?;
            }
            SourceEvent::Batch(batch) => return Ok(Some(batch)),
            SourceEvent::AtEnd(partition) => {
                self.monitor.at_end(&partition);
                if let (Some(target), Some(owned)) = (&mut self.target, self.partitions.get(&partition)) {
                    target.ends_at(&partition, owned.delivered);
                }
            }
            // The lanes know already: the assignment tells them at once, ahead of this event.
            SourceEvent::Revoked(partitions) | SourceEvent::Lost(partitions) => {
                for partition in partitions {
                    self.partitions.remove(&partition);
                    if is_live {
                        self.context.metrics.forget(&partition);
                    }
                }
            }
        }
        if is_live {
            self.context.metrics.owned(self.partitions.len());
        }
        Ok(None)
    }

    /// Claims the partitions, so that no earlier owner can write any more, makes sure that the log is still the one that
    /// their checkpoints point into, and starts them there.
    async fn claim(&mut self, partitions: Vec<TopicPartition>) -> Result<(), Failure> {
        if partitions.is_empty() {
            return Ok(());
        }
        let FeedContext { feed, shared, .. } = self.context;
        let Feed { definition, generation, priority, .. } = feed;
        let topics = definition.topics();
        let wanted = with_extents(partitions, &shared.source.extents(topics).await?)?;
        // A writer of its own: a lane's would be busy with a commit.
        let mut writer = shared.store.writer(definition, *generation, priority.clone()).await?;
        let claimed = writer.claim(&wanted).await?;
        // Asked once more: while the claim waited, the owner before us may have come further than the first answer.
        let extents = shared.source.extents(topics).await?;
        let assignment = self.subscription.assignment();
        let mut starts = Vec::new();
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
                self.assign(checkpoint, epoch);
            }
        }
        Ok(self.subscription.start(&starts).await?)
    }

    /// Gives a claimed partition to the lane that has the fewest.
    fn assign(&mut self, checkpoint: Checkpoint, epoch: u64) {
        let lane = self.partitions.add(&checkpoint, self.lanes.count());
        let Checkpoint { partition, next_offset, owner_epoch, .. } = &checkpoint;
        tracing::info!(%partition, next_offset, owner_epoch, lane, "partition claimed");
        self.reached(partition, *next_offset);
        self.lanes.assign(lane, checkpoint, epoch);
    }

    fn deliver(&mut self, batch: Batch, permit: OwnedSemaphorePermit) {
        // A batch that has waited for memory may have been read under an earlier assignment.
        if !self.subscription.assignment().holds(&batch.partition, batch.assignment) {
            return;
        }
        let Some(owned) = self.partitions.get_mut(&batch.partition) else { return };
        owned.delivered = batch.to;
        self.lanes.deliver(owned.lane, batch, permit);
    }

    fn progressed(&mut self, progress: Progress) {
        self.monitor.schedule.moved();
        for (partition, next_offset) in progress {
            if let Some(owned) = self.partitions.get_mut(&partition) {
                owned.next_offset = next_offset;
            }
            self.reached(&partition, next_offset);
        }
    }

    /// The partition is committed up to `next_offset`, by this process or another.
    pub(super) fn reached(&mut self, partition: &TopicPartition, next_offset: i64) {
        if let Some(target) = &mut self.target {
            target.reached(partition, next_offset);
            self.context.shared.run_progress.set(self.context.feed.name(), target.progress());
        }
    }

    /// Tells the log how far this process is, for its consoles: `all` positions, or those that have changed.
    pub(super) fn mirror_positions(&mut self, all: bool) {
        let positions = self.partitions.take_positions_to_mirror(all);
        if !positions.is_empty() {
            self.subscription.mirror(&positions);
        }
    }
}

/// Each partition with how far it reaches.
///
/// # Errors
/// When the log no longer has one of them.
fn with_extents(
    partitions: Vec<TopicPartition>,
    extents: &BTreeMap<TopicPartition, Extent>,
) -> Result<Vec<(TopicPartition, Extent)>, SourceError> {
    let with_extent = |partition: TopicPartition| match extents.get(&partition) {
        Some(extent) => Ok((partition, extent.clone())),
        None => Err(SourceError::NoTopic(partition.topic.to_string())),
    };
    partitions.into_iter().map(with_extent).collect()
}
