//! A building generation, loaded: the log folded outside of the database, and each row written once.
//!
//! This is the fast way, and never the only one. Whatever stands in it (a change of rows found by what they hold, a record
//! at which the projection has to halt, a number out of range, a full disk) ends it with nothing written, and the log is
//! replayed into the tables by the same feeds that fill the live ones, which know what is to be done about it.

mod planner;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use readcast_core::{Definition, TopicPartition};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::planner::{Planned, Planner};
use super::reading::{Places, Reading, places};
use super::spool::{Size, Spool, SpoolError, Tables};
use super::{Throttle, Work};
use crate::error::Failure;
use crate::failpoint;
use crate::plan::Tally;
use crate::source::Batch;
use crate::store::{
    Commit, CommitOutcome, GenerationState, GenerationStatus, Load, OperationProgress, Priority, RowSink, Written,
    row_stream,
};
use crate::worker::tell_of_parked;

/// How often progress is noted, and whether to go on is asked.
const TICK: Duration = Duration::from_secs(1);
/// How many rows are sent to the store at once.
const PIECE: usize = 1_000;
/// How many hands of records wait or are worked on, a planner.
const HANDS: usize = 3;

/// What a load may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadLimits {
    /// How many threads decode and project.
    pub planners: usize,
    /// How many bytes of records, and how many of folded rows, stay in memory.
    pub memory: usize,
}

/// What became of it.
pub(super) enum LoadOutcome {
    /// The generation holds what the log held up to where the live one stood.
    All,
    /// It holds nothing, for this reason, and would not by another try.
    Nothing(String),
    /// It holds nothing yet.
    NotYet,
}

/// Loads a building generation with what the log holds up to where the live one stands.
pub(super) async fn load(
    work: &mut Work<'_>,
    status: &GenerationStatus,
    definition: &Definition,
) -> Result<LoadOutcome, Failure> {
    match try_to_load(work, status, definition).await {
        // The lead's connection may be gone: whoever leads next begins again.
        Err(Failure::Store(error)) if error.may_pass() => Err(error.into()),
        Err(failure) => Ok(LoadOutcome::Nothing(failure.to_string())),
        loaded => loaded,
    }
}

async fn try_to_load(
    work: &mut Work<'_>,
    status: &GenerationStatus,
    definition: &Definition,
) -> Result<LoadOutcome, Failure> {
    let Some(Folded { commit, tally, spool }) = fold(work, status, definition).await? else {
        return Ok(LoadOutcome::NotYet);
    };
    if commit.advances.is_empty() {
        return Ok(LoadOutcome::All);
    }
    failpoint::hit("load_folded");
    let Size { runs, file_bytes, .. } = spool.size();
    let (projection, generation) = (definition.name(), status.generation.0);
    tracing::info!(projection, generation, runs, file_bytes, "the log is folded");
    let (missed, tables) = (spool.missed(), spool.into_rows());
    let (sink, rows) = row_stream();
    let making = tokio::task::spawn_blocking(move || missed + send(tables, sink));
    let begun = Instant::now();
    let load = Load { definition, generation: status.generation, commit: &commit, rows };
    let committed = work.lead.load(load).await;
    // Without a listener it ends at once.
    let missed = making.await.map_err(|panicked| Failure::Panicked(panicked.to_string()))?;
    Ok(match committed? {
        CommitOutcome::Applied(written) => {
            let metrics = &work.reconciler.metrics;
            metrics.recorded(&tally);
            metrics.committed(begun.elapsed(), &Written { missed, ..written });
            tell_of_parked(projection, &commit);
            tell_of_unidentified(work.reconciler, status, tally.unidentified).await;
            LoadOutcome::All
        }
        CommitOutcome::Full(limit) => LoadOutcome::Nothing(format!("more would be parked than {limit}")),
        // An operator decided about a record meanwhile, or somebody else led.
        CommitOutcome::Outdated | CommitOutcome::Held(_) | CommitOutcome::Fenced => LoadOutcome::NotYet,
    })
}

/// Notes how many events had no identity. They are projected whether that succeeds or not.
async fn tell_of_unidentified(reconciler: &super::OperationReconciler, status: &GenerationStatus, count: u64) {
    if count == 0 {
        return;
    }
    let GenerationStatus { projection, generation, .. } = status;
    let notice = reconciler.record_policy.identity.notice(count);
    tracing::warn!(projection, generation = generation.0, next = notice.next, "{}", notice.text);
    if let Err(error) = reconciler.store.record_notice(projection, *generation, &reconciler.instance, &notice).await {
        tracing::debug!(projection, "that {count} events have no identity was not noted: {error}");
    }
}

/// What the log was folded to: the rows, and what belongs to them.
struct Folded {
    commit: Commit,
    tally: Tally,
    spool: Spool,
}

/// Reads the log and folds it. `None` when that was interrupted.
async fn fold(
    work: &mut Work<'_>,
    status: &GenerationStatus,
    definition: &Definition,
) -> Result<Option<Folded>, Failure> {
    let (from, to) = (places(status), places(work.live));
    let reconciler = work.reconciler;
    let spool = Spool::new(definition.tables(), &reconciler.policy.spool_directory, reconciler.load_limits.memory);
    let spool = Arc::new(Mutex::new(spool));
    let mut planners = Planners::begin(work, status, definition, &spool).await?;
    if let Some(mut reading) = Reading::begin(reconciler, definition, &from, &to).await? {
        let all = read(work, status, definition, &mut reading, &mut planners).await;
        reading.end().await;
        if !all? {
            return Ok(None);
        }
    }
    let (commit, tally) = planners.end().await?.commit(reconciler.record_policy.parking);
    let progress = OperationProgress { phase: "load: writing rows".into(), ..work.pace_of(status, &to) };
    work.lead.progress(work.operation.id, &progress).await?;
    let Some(spool) = Arc::into_inner(spool) else { unreachable!("the planners have ended") };
    let spool = spool.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Some(Folded { commit, tally, spool }))
}

/// Gives what is read to the planners. `false` when that was interrupted.
async fn read(
    work: &mut Work<'_>,
    status: &GenerationStatus,
    definition: &Definition,
    reading: &mut Reading,
    planners: &mut Planners,
) -> Result<bool, Failure> {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut throttle = Throttle::default();
    loop {
        tokio::select! {
            biased;
            () = work.reconciler.stop.cancelled() => return Ok(false),
            Some(ended) = planners.tasks.join_next() => drop(ended_well(ended)?),
            _ = tick.tick() => {
                let progress = work.pace_of(status, &planners.read);
                work.lead.progress(work.operation.id, &progress).await?;
                if !is_wanted(work, status, definition, &mut throttle).await? {
                    return Ok(false);
                }
            }
            batch = reading.next(), if !throttle.closed => match batch? {
                Some(batch) => planners.give(batch).await,
                None => return Ok(true),
            },
        }
    }
}

/// Whether the generation is still to be loaded; and if it is, whether it gives way meanwhile.
async fn is_wanted(
    work: &mut Work<'_>,
    status: &GenerationStatus,
    definition: &Definition,
    throttle: &mut Throttle,
) -> Result<bool, Failure> {
    let (store, name) = (&work.reconciler.store, work.reconciler.name());
    let statuses = store.generations_of(name).await?;
    let live = store.positions(name, None).await?;
    let most = work.reconciler.policy.max_impact_of(Some(&work.operation.command));
    // A question without an answer changes nothing: where the log can't be read, reading it fails.
    if most > 0
        && let Ok(extents) = work.reconciler.source.extents(definition.topics()).await
    {
        throttle.look(&live, &extents, most);
    }
    let ours = statuses.iter().find(|found| found.generation == status.generation);
    Ok(ours.is_some_and(|ours| ours.state == GenerationState::Building && ours.paused_since.is_none()))
}

/// Makes the rows and sends them. How many updates met no row.
fn send(tables: Tables, sink: RowSink) -> u64 {
    let made = send_all(tables, &sink);
    sink.end(made.as_ref().map(drop).map_err(ToString::to_string));
    // Of a load that fails nothing is counted.
    made.unwrap_or(0)
}

fn send_all(tables: Tables, sink: &RowSink) -> Result<u64, SpoolError> {
    let mut missed = 0;
    for (index, rows) in tables.enumerate() {
        let mut rows = rows?;
        loop {
            let piece: Vec<_> = rows.by_ref().take(PIECE).collect::<Result<_, _>>()?;
            if piece.is_empty() {
                break;
            }
            if !sink.send((index, piece)) {
                return Ok(missed);
            }
        }
        missed += rows.missed();
    }
    Ok(missed)
}

fn ended_well(ended: Result<Result<Planned, Failure>, tokio::task::JoinError>) -> Result<Planned, Failure> {
    ended.unwrap_or_else(|panicked| Err(Failure::Panicked(panicked.to_string())))
}

/// Records for a planner.
#[derive(Default)]
struct PendingBatches {
    batches: Vec<Arc<Batch>>,
    bytes: usize,
}

/// The tasks that make changes of records, each of some of the partitions.
struct Planners {
    tasks: JoinSet<Result<Planned, Failure>>,
    of: BTreeMap<TopicPartition, usize>,
    inboxes: Vec<mpsc::Sender<Vec<Arc<Batch>>>>,
    /// What each is given next.
    hands: Vec<PendingBatches>,
    /// How many bytes of records make a hand full.
    most_bytes: usize,
    /// Up to where records were given to them.
    read: Places,
}

impl Planners {
    async fn begin(
        work: &mut Work<'_>,
        status: &GenerationStatus,
        definition: &Definition,
        spool: &Arc<Mutex<Spool>>,
    ) -> Result<Self, Failure> {
        let reconciler = work.reconciler;
        let LoadLimits { planners, memory } = reconciler.load_limits;
        let mut writer = reconciler.store.writer(definition, status.generation, Priority::Operation.into()).await?;
        let partitions: Vec<_> = status.checkpoints.iter().map(|held| held.partition.clone()).collect();
        let memories = writer.load_state(&partitions, reconciler.record_policy.duplicate_window).await?;
        let mut memories: BTreeMap<_, _> = memories.into_iter().collect();
        let mut shares: Vec<_> = (0..planners).map(|_| Planner::new(reconciler, definition, spool)).collect();
        let mut of = BTreeMap::new();
        for (number, held) in status.checkpoints.iter().enumerate() {
            let memory = memories.remove(&held.partition).unwrap_or_default();
            shares[number % planners].own(held, memory);
            of.insert(held.partition.clone(), number % planners);
        }
        let (mut tasks, mut inboxes) = (JoinSet::new(), Vec::new());
        for planner in shares {
            let (sender, inbox) = mpsc::channel(1);
            inboxes.push(sender);
            tasks.spawn(planner.run(inbox));
        }
        let most_bytes = memory / (planners * HANDS);
        Ok(Self {
            tasks,
            of,
            inboxes,
            hands: (0..planners).map(|_| PendingBatches::default()).collect(),
            most_bytes,
            read: places(status),
        })
    }

    async fn give(&mut self, batch: Batch) {
        let Some(planner) = self.of.get(&batch.partition).copied() else { return };
        self.read.insert(batch.partition.clone(), batch.to);
        let hand = &mut self.hands[planner];
        hand.bytes += batch.bytes();
        hand.batches.push(Arc::new(batch));
        if hand.bytes >= self.most_bytes {
            self.hand_over(planner).await;
        }
    }

    async fn hand_over(&mut self, planner: usize) {
        // One that has ended says why by its task.
        let _ = self.inboxes[planner].send(std::mem::take(&mut self.hands[planner]).batches).await;
    }

    /// Lets all of them come to their ends, and takes together what they have come to.
    async fn end(mut self) -> Result<Planned, Failure> {
        for planner in 0..self.hands.len() {
            self.hand_over(planner).await;
        }
        self.inboxes.clear();
        let mut all = Planned::default();
        while let Some(ended) = self.tasks.join_next().await {
            all.add(ended_well(ended)?);
        }
        Ok(all)
    }
}

impl Work<'_> {
    /// How far the reading is that began where the generation stands.
    fn pace_of(&mut self, status: &GenerationStatus, read: &Places) -> OperationProgress {
        let from = places(status);
        let length = |ends: &Places| -> u64 {
            ends.iter().map(|(of, end)| (end - from.get(of).copied().unwrap_or(0)).max(0).unsigned_abs()).sum()
        };
        let done = length(read);
        let per_second = self.tracker.measure(done);
        OperationProgress { phase: "load".into(), done, total: length(&places(self.live)).max(done), per_second }
    }
}
