//! What a feed observes beside its work: how far the log and the store are, what is stalled, and whether its consumer
//! group has answered. It tells health and the store, and knows nothing of lanes and records.

use std::time::Duration;

use readcast_core::TopicPartition;
use tokio::time::Instant;

use super::check_schedule::CheckSchedule;
use super::decisions::Decisions;
use super::findings::Findings;
use super::partitions::OwnedPartitions;
use super::{FeedContext, QUESTION_TIMEOUT};
use crate::error::Failure;
use crate::health::State;
use crate::retry::in_words;
use crate::source::Extents;
use crate::store::{GenerationError, Positions, RecordedError, StoreError};
use crate::supervisor::stall_detector::{PartitionSample, StallDetector};

/// The interval at which all positions are sent to the log, and not only those that have changed: the log acknowledges
/// no update.
const MIRROR_ALL_INTERVAL: Duration = Duration::from_secs(300);
/// How long a member may wait for its group before that is reported. A rebalance between live members takes a second or so.
const LONG_GROUP_WAIT: Duration = Duration::from_secs(10);

/// Watches one feed, from run to run.
pub(super) struct FeedMonitor {
    stall_detector: StallDetector,
    pub(super) findings: Findings,
    pub(super) decisions: Decisions,
    /// When the next checks are due. The feed tells it what moves.
    pub(super) schedule: CheckSchedule,
    /// When all positions were last sent to the log.
    mirrored_all_at: Instant,
    group_wait: Option<GroupWait>,
}

/// The time between joining the group and its first answer, which may be that there are no partitions for this member.
struct GroupWait {
    since: Instant,
    is_logged: bool,
}

/// The answers of the log and of the store, if they arrived in time.
pub(super) struct Observation {
    pub(super) extents: Option<Extents>,
    pub(super) stored: Stored,
}

/// What the store answered.
pub(super) enum Stored {
    NotAsked,
    NoAnswer,
    Answer(StoredPositions),
}

/// The store's state of a generation.
pub(super) struct StoredPositions {
    /// The checkpoints of the generation that is fed.
    pub(super) own: Positions,
    /// The checkpoints of the live generation, if they throttle the feed.
    pub(super) live: Option<Positions>,
    /// The recorded error that prevents the generation from progressing.
    pub(super) error: Option<RecordedError>,
}

/// The condition of the feed, in addition to its lanes' reports.
pub(super) enum Condition {
    Well,
    /// The consumer group has not answered yet.
    Waiting(String),
    /// Something does not progress, although nothing failed.
    Stalled(String),
}

impl FeedMonitor {
    /// `stall_after` is how long a partition may deliver nothing of what there is.
    pub(super) fn new(stall_after: Duration) -> Self {
        let now = Instant::now();
        Self {
            stall_detector: StallDetector::new(stall_after),
            findings: Findings::default(),
            decisions: Decisions::default(),
            schedule: CheckSchedule::new(now),
            mirrored_all_at: now,
            group_wait: None,
        }
    }

    /// A new run begins: it joins the group again, and every partition gets its full patience again.
    pub(super) fn begin_run(&mut self) {
        let now = Instant::now();
        self.stall_detector.begin(now);
        self.schedule = CheckSchedule::new(now);
        self.mirrored_all_at = now;
        self.group_wait = Some(GroupWait { since: now, is_logged: false });
    }

    /// The group has assigned partitions, or has reported that this member gets none.
    pub(super) fn group_answered(&mut self) {
        self.group_wait = None;
    }

    /// The log's client has delivered all that the partition holds.
    pub(super) fn at_end(&mut self, partition: &TopicPartition) {
        self.stall_detector.at_end(partition);
    }

    /// Whether all positions must be sent to the log now.
    pub(super) fn mirrors_all(&mut self) -> bool {
        let is_due = self.mirrored_all_at.elapsed() >= MIRROR_ALL_INTERVAL;
        if is_due {
            self.mirrored_all_at = Instant::now();
        }
        is_due
    }

    /// Asks the log how far it reaches, and the store where checkpoints stand: always where `asks_store`, else now and
    /// then. No answer is needed to continue; a server that is down shows where it is needed.
    pub(super) async fn observe(&mut self, context: &FeedContext, asks_store: bool) -> Observation {
        let asks_store = self.schedule.looks_at_store(Instant::now(), asks_store);
        let extents = context.shared.source.extents(context.feed.definition.topics());
        let extents = tokio::time::timeout(QUESTION_TIMEOUT, extents);
        let stored = async {
            if !asks_store {
                return Stored::NotAsked;
            }
            let answer = tokio::time::timeout(QUESTION_TIMEOUT, StoredPositions::read(context)).await;
            answer.ok().and_then(Result::ok).map_or(Stored::NoAnswer, Stored::Answer)
        };
        let (extents, stored) = tokio::join!(extents, stored);
        Observation { extents: extents.ok().and_then(Result::ok), stored }
    }

    /// The first partition that delivers nothing although a new run has not helped, in words.
    ///
    /// # Errors
    /// When a partition delivers nothing of what there is: a new run may cure it, once.
    pub(super) fn silent_partition(
        &mut self,
        partitions: &OwnedPartitions,
        extents: &Extents,
    ) -> Result<Option<String>, Failure> {
        let mut silent = None;
        for (partition, owned) in partitions.iter() {
            let Some(extent) = extents.get(partition) else { continue };
            let sample =
                PartitionSample { delivered: owned.delivered, next_offset: owned.next_offset, end: extent.end };
            silent = silent.or(self.stall_detector.look(partition, sample, Instant::now())?);
        }
        Ok(silent)
    }

    /// `stalled`, or that the group has not answered for long. The latter is logged once a run.
    pub(super) fn condition(&mut self, context: &FeedContext, stalled: Option<String>) -> Condition {
        if let Some(reason) = stalled {
            return Condition::Stalled(reason);
        }
        let Some(wait) = &mut self.group_wait else { return Condition::Well };
        let elapsed = wait.since.elapsed();
        if elapsed < LONG_GROUP_WAIT {
            return Condition::Well;
        }
        let reason = format!(
            "waiting for the consumer group {}: no partitions assigned for {}. A member that ended without leaving the \
             group keeps its partitions until its session times out (`session.timeout.ms`)",
            context.feed.group(&context.options),
            in_words(Duration::from_secs(elapsed.as_secs()))
        );
        if !std::mem::replace(&mut wait.is_logged, true) {
            tracing::info!("{reason}");
        }
        Condition::Waiting(reason)
    }

    /// Tells health and the store how the generation is. An error that the store has from this instance, or from one that
    /// no longer runs, is cleared because it is still there, and not because this process remembers it.
    pub(super) async fn report(&self, context: &FeedContext, condition: Condition, recorded: Option<&RecordedError>) {
        let reporter = &context.reporter;
        match (condition, reporter.state()) {
            (_, Some(State::Retrying { attempt, reason })) => {
                context.record_error(&GenerationError { text: reason, attempt: Some(attempt) }).await;
            }
            (Condition::Stalled(reason), _) => {
                context.record_error(&GenerationError { text: reason.clone(), attempt: Some(0) }).await;
                reporter.set(State::Stalled { reason });
            }
            (condition, state) => {
                match condition {
                    Condition::Waiting(reason) => reporter.set(State::Waiting { reason }),
                    _ if matches!(state, Some(State::Stalled { .. } | State::Waiting { .. })) => {
                        reporter.set(State::Running);
                    }
                    _ => {}
                }
                if recorded.is_some_and(|error| error.is_for(&context.instance)) {
                    context.clear_error().await;
                }
            }
        }
    }
}

impl StoredPositions {
    async fn read(context: &FeedContext) -> Result<Self, StoreError> {
        let FeedContext { feed, shared, .. } = context;
        let own = shared.store.positions(feed.name(), Some(feed.generation)).await?;
        let live = match feed.is_throttled() {
            true => Some(shared.store.positions(feed.name(), None).await?),
            false => None,
        };
        let statuses = shared.store.generations_of(feed.name()).await?;
        let status = statuses.into_iter().find(|status| status.generation == feed.generation);
        Ok(Self { own, live, error: status.and_then(|status| status.last_error) })
    }
}
