//! What a feed finds when it looks around: how far the log and the store are, whether they still are what they were, and
//! what does not go on although nothing fails. It says so, and ends the run where that is the cure.

use std::time::Duration;

use readcast_core::TopicPartition;
use tokio::time::Instant;

use super::{Feed, OwnedPartition, Run, TICK};
use crate::error::Failure;
use crate::health::State;
use crate::source::{Extents, ReadPosition, SourceError, Verdict, new_partitions, verify, verify_all};
use crate::store::{GenerationError, GenerationStatus, Positions, RecordedError, StoreError};
use crate::supervisor::stall_detector::{self, PartitionSample};
use crate::supervisor::{Options, Shared};

/// Makes sure that the log is the one that all checkpoints point into, whoever has the partitions now. How far it
/// reaches, asked after where they stand: the other way round, an owner who goes on would be beyond its end.
pub(super) async fn same_log(feed: &Feed, shared: &Shared) -> Result<Extents, Failure> {
    let statuses = shared.store.generations().await?;
    let extents = shared.source.extents(feed.definition.topics()).await?;
    let ours = |status: &&GenerationStatus| status.projection == feed.name() && status.generation == feed.generation;
    let checkpoints = statuses.iter().filter(ours).flat_map(|status| &status.checkpoints);
    let known: Vec<ReadPosition> = checkpoints
        .map(|held| ReadPosition {
            partition: held.partition.clone(),
            next_offset: held.next_offset,
            log_id: held.log_id.clone(),
        })
        .collect();
    for partition in new_partitions(&known, &extents) {
        tracing::info!(projection = feed.name(), %partition, "was added to the log: it is read from its beginning");
    }
    match verify_all(&known, &extents).into_iter().next() {
        None => Ok(extents),
        Some((partition, verdict)) => Err(SourceError::Verdict { partition, verdict }.into()),
    }
}

/// Notes in the store what keeps the generation from going on, for `readcast status`. Where the store itself is the
/// trouble, that may not succeed, and must not take long: it is noted again for as long as it is so.
pub(super) async fn note(shared: &Shared, feed: &Feed, options: &Options, trouble: &GenerationError) {
    let instance = options.instance();
    let noted = shared.store.record_error(feed.name(), feed.generation, &instance, trouble);
    within_a_tick(feed, noted).await;
}

/// Notes in the store that nothing keeps the generation from going on, as far as this instance is concerned. Where that
/// does not succeed, the store goes on saying otherwise, and whoever looks there and finds it well notes it again.
pub(super) async fn all_is_well(shared: &Shared, feed: &Feed, options: &Options) {
    let instance = options.instance();
    within_a_tick(feed, shared.store.clear_error(feed.name(), feed.generation, &instance)).await;
}

async fn within_a_tick(feed: &Feed, noted: impl Future<Output = Result<(), StoreError>>) {
    match tokio::time::timeout(TICK, noted).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(projection = feed.name(), "how it fares was not noted: {error}"),
        Err(_) => tracing::debug!(projection = feed.name(), "how it fares was not noted in time"),
    }
}

/// Which positions the log's own tools are told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mirror {
    /// Those that have changed since.
    Changed,
    /// Each, for nobody waits for the answer to those before.
    All,
}

/// How often all positions are told.
const MIRROR_ALL: Duration = Duration::from_secs(300);

/// What the store says of positions.
struct StoredPositions {
    ours: Positions,
    /// Those of the live generation, where it goes before ours.
    live: Option<Positions>,
    /// What it says keeps ours from going on.
    error: Option<RecordedError>,
}

impl StoredPositions {
    async fn read(feed: &Feed, shared: &Shared) -> Result<Self, StoreError> {
        let ours = shared.store.positions(feed.name(), Some(feed.generation)).await?;
        let live = match feed.gives_way() {
            true => Some(shared.store.positions(feed.name(), None).await?),
            false => None,
        };
        let statuses = shared.store.generations_of(feed.name()).await?;
        let ours_among = statuses.into_iter().find(|status| status.generation == feed.generation);
        Ok(Self { ours, live, error: ours_among.and_then(|status| status.last_error) })
    }
}

impl Run<'_> {
    pub(super) async fn run_checks(&mut self) -> Result<(), Failure> {
        let all = self.mirrored_all.elapsed() >= MIRROR_ALL;
        self.mirror(if all { Mirror::All } else { Mirror::Changed });
        let each_time = self.goal.is_some() || self.feed.gives_way();
        let at_store = self.schedule.looks_at_store(Instant::now(), each_time);
        // No answer is needed to go on; what is wrong shows where it hurts.
        let extents = tokio::time::timeout(TICK, self.shared.source.extents(self.feed.definition.topics()));
        let standing = tokio::time::timeout(TICK, async {
            if at_store { StoredPositions::read(self.feed, self.shared).await.map(Some) } else { Ok(None) }
        });
        let (extents, standing) = tokio::join!(extents, standing);
        let mut stalled = self.stalled_lane()?;
        let extents = extents.ok().and_then(Result::ok);
        if let Some(extents) = &extents {
            self.measure(extents);
            self.still_the_same_log(extents)?;
            stalled = stalled.or(self.silent_partition(extents)?);
        }
        let standing = standing.ok().and_then(Result::ok);
        let mut recorded = None;
        if let Some(Some(standing)) = &standing {
            self.give_way(standing.live.as_ref(), extents.as_ref());
            self.still_the_same_store(&standing.ours)?;
            recorded = standing.error.as_ref();
        }
        let runs = stalled.is_none() && self.reporter.state() == Some(State::Running) && !self.throttle.closed;
        let has_all = extents.is_some_and(|extents| self.has_all_of(&extents));
        self.tell(stalled, recorded).await;
        self.unidentified.tell(self.feed, self.options, self.shared).await;
        // A bounded run waits for what others do.
        self.schedule.looked(Instant::now(), runs && has_all && standing.is_some() && self.goal.is_none());
        Ok(())
    }

    /// Whether everything that the log holds of our partitions is in the database.
    fn has_all_of(&self, extents: &Extents) -> bool {
        let has_all = |(partition, held): (&TopicPartition, &OwnedPartition)| {
            extents.get(partition).is_some_and(|extent| extent.end <= held.next_offset)
        };
        self.partitions.iter().all(has_all)
    }

    /// A rebuild stands still while the live generation falls behind.
    fn give_way(&mut self, live: Option<&Positions>, extents: Option<&Extents>) {
        if let (Some(live), Some(extents)) = (live, extents) {
            self.throttle.look(live, extents, self.feed.max_impact);
        }
    }

    /// Takes note of how far other instances are, and fails when what we have committed is gone: the database was put
    /// back to an earlier state, which a quiet log would not tell before its next record.
    fn still_the_same_store(&mut self, positions: &Positions) -> Result<(), Failure> {
        let mut back = Vec::new();
        for (partition, next_offset) in positions {
            match self.partitions.get(partition) {
                Some(held) if *next_offset < held.next_offset => back.push(partition.clone()),
                Some(_) => {}
                None => self.stands(partition, *next_offset),
            }
        }
        if back.is_empty() { Ok(()) } else { Err(Failure::Fenced(back)) }
    }

    /// What is to be said of a lane, or of the thread that polls.
    fn stalled_lane(&self) -> Result<Option<String>, Failure> {
        stall_detector::poller(self.subscription.heartbeat_age())?;
        let lanes = self.activities.iter().enumerate();
        let said: Vec<_> =
            lanes.map(|(number, at)| stall_detector::lane(number, at.now())).collect::<Result<_, _>>()?;
        Ok(said.into_iter().flatten().next())
    }

    /// A log that was made anew or cut off while we read it. (Its client tells of records that are gone before they were
    /// read: those that it has fetched already are not lost, wherever the log begins by now.)
    fn still_the_same_log(&self, extents: &Extents) -> Result<(), Failure> {
        for (partition, held) in &self.partitions {
            let Some(extent) = extents.get(partition) else { continue };
            match verify(held.delivered, held.log_id.as_deref(), extent) {
                Ok(()) | Err(Verdict::Gap { .. }) => {}
                Err(verdict) => return Err(SourceError::Verdict { partition: partition.clone(), verdict }.into()),
            }
        }
        Ok(())
    }

    /// What is to be said of a partition.
    fn silent_partition(&mut self, extents: &Extents) -> Result<Option<String>, Failure> {
        let mut said = None;
        // Nothing is taken from the source while it is closed.
        for (partition, held) in self.partitions.iter().filter(|_| !self.throttle.closed) {
            let Some(extent) = extents.get(partition) else { continue };
            let sight = PartitionSample { delivered: held.delivered, next_offset: held.next_offset, end: extent.end };
            said = said.or(self.stall_detector.look(partition, sight, Instant::now())?);
        }
        Ok(said)
    }

    /// Says how the generation fares, here and in the store. What the store says decides whether it has to be told that
    /// all is well: again and again, until it says nothing else.
    async fn tell(&mut self, stalled: Option<String>, recorded: Option<&RecordedError>) {
        let state = self.reporter.state();
        match (stalled, state) {
            (_, Some(State::Retrying { attempt, reason })) => {
                note(self.shared, self.feed, self.options, &GenerationError { text: reason, attempt: Some(attempt) })
                    .await;
            }
            (Some(reason), _) => {
                let trouble = GenerationError { text: reason.clone(), attempt: Some(0) };
                note(self.shared, self.feed, self.options, &trouble).await;
                self.reporter.set(State::Stalled { reason });
            }
            (None, state) => {
                if matches!(state, Some(State::Stalled { .. })) {
                    self.reporter.set(State::Running);
                }
                if recorded.is_some_and(|error| error.is_for(&self.options.instance())) {
                    all_is_well(self.shared, self.feed, self.options).await;
                }
            }
        }
    }

    /// The gauges of a projection are those of the generation that readers see.
    fn measure(&self, extents: &Extents) {
        if !self.feed.serves() {
            return;
        }
        self.metrics.buffered_bytes(self.budget_bytes - self.budget.available_permits());
        self.metrics.owned(self.partitions.len());
        for (partition, held) in &self.partitions {
            if let Some(extent) = extents.get(partition) {
                self.metrics.lag(partition, extent.end - held.next_offset);
            }
        }
    }

    /// Tells the log how far we are, for its consoles.
    pub(super) fn mirror(&mut self, which: Mirror) {
        if which == Mirror::All {
            self.mirrored_all = Instant::now();
        }
        let mut positions = Vec::new();
        for (partition, held) in &mut self.partitions {
            if which == Mirror::All || held.mirrored != Some(held.next_offset) {
                held.mirrored = Some(held.next_offset);
                positions.push((partition.clone(), held.next_offset));
            }
        }
        if !positions.is_empty() {
            self.subscription.mirror(&positions);
        }
    }
}
