//! The lanes of a run: their tasks, what they are given and what they report.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::FeedContext;
use crate::error::Failure;
use crate::retry::Backoff;
use crate::source::{Assignment, Batch};
use crate::store::{Checkpoint, StoreError};
use crate::supervisor::stall_detector;
use crate::worker::{EventFindings, Lane, LaneActivity, LaneInput, Progress};

/// The lanes of one run. Dropping them aborts their tasks.
pub(super) struct Lanes {
    inboxes: Vec<mpsc::UnboundedSender<LaneInput>>,
    /// What each lane does at this moment.
    activities: Vec<LaneActivity>,
    tasks: JoinSet<Result<(), Failure>>,
    /// Cancelled to end the lanes.
    stop: CancellationToken,
    progress: mpsc::UnboundedReceiver<Progress>,
}

/// What a lane reports.
pub(super) enum LaneEvent {
    /// It has committed up to these offsets.
    Progress(Progress),
    /// Its task has ended.
    Ended(Result<(), Failure>),
}

impl Lanes {
    /// Starts as many lanes as the options ask for, each with a connection of its own.
    pub(super) async fn start(
        context: &FeedContext,
        assignment: &Arc<Assignment>,
        findings: &Arc<EventFindings>,
        duplicate_window: i64,
    ) -> Result<Self, StoreError> {
        let FeedContext { feed, options, shared, .. } = context;
        let (sender, progress) = mpsc::unbounded_channel();
        let stop = feed.stop.child_token();
        let mut lanes = Self { inboxes: Vec::new(), activities: Vec::new(), tasks: JoinSet::new(), stop, progress };
        for number in 0..options.lanes.max(1) {
            let (inbox_sender, inbox) = mpsc::unbounded_channel();
            let activity = LaneActivity::default();
            let seed = options.seed.wrapping_add(number as u64);
            let lane = Lane {
                definition: feed.definition.clone(),
                policy: options.record_policy.clone(),
                duplicate_window,
                allowed: feed.allowed,
                writer: shared.store.writer(&feed.definition, feed.generation, feed.priority.clone()).await?,
                assignment: assignment.clone(),
                inbox,
                progress: sender.clone(),
                limits: feed.limits(options),
                stop: lanes.stop.clone(),
                backoff: Backoff::new(seed, Duration::from_millis(50), Duration::from_secs(5)),
                metrics: context.metrics.clone(),
                findings: findings.clone(),
                reporter: context.reporter.clone(),
                activity: activity.clone(),
            };
            lanes.inboxes.push(inbox_sender);
            lanes.activities.push(activity);
            lanes.tasks.spawn(lane.run().instrument(tracing::error_span!("lane", lane = number)));
        }
        Ok(lanes)
    }

    pub(super) fn count(&self) -> usize {
        self.inboxes.len()
    }

    /// Gives `lane` a partition. A lane that has ended reports why through its task.
    pub(super) fn assign(&self, lane: usize, checkpoint: Checkpoint, epoch: u64) {
        let _ = self.inboxes[lane].send(LaneInput::Assign(checkpoint, epoch));
    }

    /// Gives `lane` records of one of its partitions.
    pub(super) fn deliver(&self, lane: usize, batch: Batch, permit: OwnedSemaphorePermit) {
        let _ = self.inboxes[lane].send(LaneInput::Records(batch, permit));
    }

    /// The next thing that a lane reports. May be cancelled without losing anything.
    pub(super) async fn next(&mut self) -> LaneEvent {
        tokio::select! {
            biased;
            Some(ended) = self.tasks.join_next() => LaneEvent::Ended(outcome(ended)),
            Some(progress) = self.progress.recv() => LaneEvent::Progress(progress),
            else => std::future::pending().await,
        }
    }

    /// The first lane that has done one thing for long, in words.
    ///
    /// # Errors
    /// When a lane has done it for so long that it will not end.
    pub(super) fn slow(&self) -> Result<Option<String>, Failure> {
        let lanes = self.activities.iter().enumerate();
        let slow: Vec<_> =
            lanes.map(|(number, activity)| stall_detector::lane(number, activity.now())).collect::<Result<_, _>>()?;
        Ok(slow.into_iter().flatten().next())
    }

    /// Aborts what the lanes do. Their open transactions are rolled back, or the next owner recognises them.
    pub(super) fn abort(&mut self) {
        self.tasks.abort_all();
    }

    /// Ends the lanes, each after the transaction that it is in: how they ended, and what they reported last.
    pub(super) async fn drain(&mut self) -> (Result<(), Failure>, Vec<Progress>) {
        self.stop.cancel();
        let mut outcomes = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            outcomes = outcomes.and(outcome(ended));
        }
        (outcomes, std::iter::from_fn(|| self.progress.try_recv().ok()).collect())
    }
}

fn outcome(ended: Result<Result<(), Failure>, JoinError>) -> Result<(), Failure> {
    ended.unwrap_or_else(|panicked| Err(Failure::Panicked(panicked.to_string())))
}
