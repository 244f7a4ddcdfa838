//! The checks that a run makes between events: is the log still the same, is the store, does everything progress?

use tokio::time::Instant;

use super::FeedContext;
use super::monitor::{Condition, Observation, Stored};
use super::run::FeedRun;
use crate::error::Failure;
use crate::health::State;
use crate::source::{Extents, ReadPosition, SourceError, new_partitions, verify_all};
use crate::store::{Positions, StoreError};
use crate::supervisor::stall_detector;

/// Checks before a run that the generation's tables were not altered.
///
/// # Errors
/// [`StoreError::Definition`], with every alteration.
pub(super) async fn verify_tables(context: &FeedContext) -> Result<(), Failure> {
    let FeedContext { feed, shared, .. } = context;
    let altered = shared.store.alterations(&feed.definition, feed.generation).await?;
    if altered.is_empty() {
        return Ok(());
    }
    Err(StoreError::Definition { projection: feed.name().to_owned(), reason: altered.join("; ") }.into())
}

/// What a run knows of the log when it begins.
pub(super) struct VerifiedLog {
    pub(super) extents: Extents,
    /// Whether no record of the log is behind a checkpoint of the generation.
    pub(super) is_unread: bool,
}

/// Checks before a run that the log is the one that all checkpoints of the generation belong to, also those of
/// partitions that other processes own now. The extents of the log are queried after the checkpoints: in
/// the other order, the owner of a partition could commit beyond the extents that were read.
///
/// # Errors
/// The verdict on the first partition whose checkpoint does not belong to the log.
pub(super) async fn verify_log(context: &FeedContext) -> Result<VerifiedLog, Failure> {
    let FeedContext { feed, shared, .. } = context;
    let statuses = shared.store.generations().await?;
    let extents = shared.source.extents(feed.definition.topics()).await?;
    let is_own = |status: &&crate::store::GenerationStatus| {
        status.projection == feed.name() && status.generation == feed.generation
    };
    let checkpoints = statuses.iter().filter(is_own).flat_map(|status| &status.checkpoints);
    let known: Vec<ReadPosition> = checkpoints
        .map(|checkpoint| ReadPosition {
            partition: checkpoint.partition.clone(),
            next_offset: checkpoint.next_offset,
            log_id: checkpoint.log_id.clone(),
        })
        .collect();
    for partition in new_partitions(&known, &extents) {
        tracing::info!(%partition, "partition added to the topic; reading it from its beginning");
    }
    let is_at_start = |read: &ReadPosition| extents.get(&read.partition).is_some_and(|at| at.start == read.next_offset);
    let is_unread = known.iter().all(is_at_start);
    match verify_all(&known, &extents).into_iter().next() {
        None => Ok(VerifiedLog { extents, is_unread }),
        Some((partition, verdict)) => Err(SourceError::Verdict { partition, verdict }.into()),
    }
}

impl FeedRun<'_> {
    /// Makes all checks that are due, and reports what they find.
    ///
    /// # Errors
    /// When the log or the store is no longer what it was, or something is stalled that a new run may cure.
    pub(super) async fn run_checks(&mut self) -> Result<(), Failure> {
        let all = self.monitor.mirrors_all();
        self.mirror_positions(all);
        // A bounded run waits for partitions that other processes own, a throttled one for the live generation.
        let asks_store = self.target.is_some() || self.context.feed.is_throttled();
        let Observation { extents, stored } = self.monitor.observe(self.context, asks_store).await;
        stall_detector::poller(self.subscription.heartbeat_age())?;
        let mut stalled = self.lanes.slow()?;
        if let Some(extents) = &extents {
            self.measure(extents);
            self.partitions.verify_log(extents)?;
            // A throttled run takes nothing from the source.
            if !self.throttle.closed {
                stalled = stalled.or(self.monitor.silent_partition(&self.partitions, extents)?);
            }
        }
        if let Stored::Answer(stored) = &stored {
            if let (Some(live), Some(extents)) = (&stored.live, &extents) {
                self.throttle.look(live, extents, self.context.feed.max_live_lag);
            }
            self.partitions.verify_store(&stored.own)?;
            self.note_others(&stored.own);
        }
        let recorded = match &stored {
            Stored::Answer(stored) => stored.error.as_ref(),
            Stored::NotAsked | Stored::NoAnswer => None,
        };
        let condition = self.monitor.condition(self.context, stalled);
        let is_running = self.context.reporter.state() == Some(State::Running) && !self.throttle.closed;
        let is_at_rest = matches!(condition, Condition::Well)
            && is_running
            && extents.is_some_and(|extents| self.partitions.are_at_end(&extents))
            && !matches!(stored, Stored::NoAnswer)
            && self.target.is_none();
        self.monitor.report(self.context, condition, recorded).await;
        self.monitor.findings.report(self.context).await;
        self.monitor.decisions.follow(self.context).await;
        self.monitor.schedule.looked(Instant::now(), is_at_rest);
        Ok(())
    }

    /// Takes into account how far other processes have brought the partitions that they own.
    fn note_others(&mut self, stored: &Positions) {
        for (partition, next_offset) in stored {
            if self.partitions.get(partition).is_none() {
                self.reached(partition, *next_offset);
            }
        }
    }

    /// Sets the gauges. Those of a projection are those of the generation that readers see.
    fn measure(&self, extents: &Extents) {
        if !self.context.feed.is_live() {
            return;
        }
        let metrics = &self.context.metrics;
        metrics.buffered_bytes(self.budget.used());
        metrics.owned(self.partitions.len());
        for (partition, owned) in self.partitions.iter() {
            if let Some(extent) = extents.get(partition) {
                metrics.lag(partition, extent.end - owned.next_offset);
            }
        }
    }
}
