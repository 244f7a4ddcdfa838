//! The load of a building generation: the log folded outside of the database, and each row written once.
//!
//! This is the fast way to fill tables, and never the only one. A load makes no decision. Where one is needed (a change of
//! rows selected by a column, a record at which the projection halts, a number out of range, a full disk) it ends with
//! nothing written, and the feeds replay the log into the tables.

mod planner;
mod planners;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use readcast_core::Definition;
use tokio::time::Instant;

use self::planners::Planners;
use super::log_reader::{LogReader, positions_of};
use super::spool::{Size, Spool, SpoolError, Tables};
use super::step::OperationStep;
use super::{OperationReconciler, Throttle, order_findings};
use crate::error::Failure;
use crate::failpoint;
use crate::plan::Tally;
use crate::store::{
    Commit, CommitOutcome, GenerationState, GenerationStatus, Load, OperationProgress, Positions, RowSink, Written,
    row_stream,
};
use crate::text::counted;
use crate::worker::log_parked;

/// How often progress is recorded, and the store asked whether the load is still wanted.
const TICK: Duration = Duration::from_secs(1);
/// How many rows are sent to the store at once.
const ROWS_PER_PIECE: usize = 1_000;

/// What a load may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadLimits {
    /// How many tasks decode and project.
    pub planners: usize,
    /// How many bytes of records, and how many bytes of folded rows, stay in memory.
    pub memory: usize,
}

/// How a load ended.
pub(super) enum LoadOutcome {
    /// The generation holds what the log held up to the live generation's position.
    Loaded,
    /// The generation holds nothing, for this reason, and another attempt would give the same.
    Impossible(String),
    /// The generation holds nothing yet.
    Interrupted,
}

/// Loads a building generation with what the log holds up to the live generation's position.
///
/// # Errors
/// The store is unavailable. The load begins again, here or in another instance.
pub(super) async fn load(
    step: &mut OperationStep<'_>,
    status: &GenerationStatus,
    definition: &Definition,
) -> Result<LoadOutcome, Failure> {
    match try_to_load(step, status, definition).await {
        Err(Failure::Store(error)) if error.may_pass() => Err(error.into()),
        Err(failure) => Ok(LoadOutcome::Impossible(failure.to_string())),
        loaded => loaded,
    }
}

async fn try_to_load(
    step: &mut OperationStep<'_>,
    status: &GenerationStatus,
    definition: &Definition,
) -> Result<LoadOutcome, Failure> {
    let Some(FoldedLog { commit, tally, spool }) = fold(step, status, definition).await? else {
        return Ok(LoadOutcome::Interrupted);
    };
    if commit.advances.is_empty() {
        return Ok(LoadOutcome::Loaded);
    }
    failpoint::hit("load_folded");
    let Size { runs, file_bytes, .. } = spool.size();
    tracing::info!(runs, file_bytes, "the log is folded");
    let (missed, tables) = (spool.missed(), spool.into_rows());
    let (sink, rows) = row_stream();
    let sending = tokio::task::spawn_blocking(move || missed + send(tables, sink));
    let begun = Instant::now();
    let load = Load { definition, generation: status.generation, commit: &commit, rows };
    let committed = step.lead.load(load).await;
    // The sender ends at once if the load has ended.
    let missed = sending.await.map_err(|panicked| Failure::Panicked(panicked.to_string()))?;
    Ok(match committed? {
        CommitOutcome::Applied(written) => {
            let metrics = &step.reconciler.metrics;
            metrics.recorded(&tally);
            metrics.committed(begun.elapsed(), &Written { missed, ..written });
            log_parked(&step.reconciler.record_policy, &commit);
            note_unidentified(step.reconciler, status, tally.unidentified).await;
            LoadOutcome::Loaded
        }
        CommitOutcome::Full(limit) => LoadOutcome::Impossible(format!("more records would be parked than {limit}")),
        // An operator decided about a record during the load, or another instance became the leader.
        CommitOutcome::Outdated | CommitOutcome::Held(_) | CommitOutcome::Fenced => LoadOutcome::Interrupted,
    })
}

/// Records a notice about events without an identity. If that fails, the load is none the worse.
async fn note_unidentified(reconciler: &OperationReconciler, status: &GenerationStatus, count: u64) {
    if count == 0 {
        return;
    }
    let notice = reconciler.record_policy.identity.notice(count);
    tracing::warn!(next = notice.next, "{}: {}", counted(count, "event"), notice.text);
    let GenerationStatus { projection, generation, .. } = status;
    if let Err(error) = reconciler.store.record_notice(projection, *generation, &reconciler.instance, &notice).await {
        tracing::debug!("the notice about events without an identity was not recorded: {error}");
    }
}

/// What the log was folded to: the rows, and what belongs to them.
struct FoldedLog {
    commit: Commit,
    tally: Tally,
    spool: Spool,
}

/// Reads the log and folds it. `None` when that was interrupted.
async fn fold(
    step: &mut OperationStep<'_>,
    status: &GenerationStatus,
    definition: &Definition,
) -> Result<Option<FoldedLog>, Failure> {
    let (from, to) = (positions_of(status), positions_of(step.live));
    let reconciler = step.reconciler;
    let spool = Spool::new(definition.tables(), &reconciler.policy.spool_directory, reconciler.load_limits.memory);
    let spool = Arc::new(Mutex::new(spool));
    let mut planners = Planners::start(reconciler, status, definition, &spool).await?;
    if let Some(mut reader) = LogReader::open(reconciler, definition, &from, &to).await? {
        let is_complete = read(step, status, definition, &mut reader, &mut planners).await;
        reader.close().await;
        if !is_complete? {
            return Ok(None);
        }
    }
    let mut planned = planners.finish().await?;
    order_findings::note(step, status, &planned.take_order().conclude(definition.tables())).await?;
    if let Some(impossible) = planned.take_impossible() {
        return Err(impossible);
    }
    let (commit, tally) = planned.commit(reconciler.record_policy.parking);
    let progress = OperationProgress { phase: "load: writing rows".into(), ..progress(step, status, &to) };
    step.lead.progress(step.operation.id, &progress).await?;
    let Some(spool) = Arc::into_inner(spool) else { unreachable!("the planners have ended") };
    let spool = spool.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Some(FoldedLog { commit, tally, spool }))
}

/// Passes what is read to the planners. `false` when that was interrupted.
async fn read(
    step: &mut OperationStep<'_>,
    status: &GenerationStatus,
    definition: &Definition,
    reader: &mut LogReader,
    planners: &mut Planners,
) -> Result<bool, Failure> {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut throttle = Throttle::default();
    loop {
        tokio::select! {
            biased;
            () = step.reconciler.stop.cancelled() => return Ok(false),
            Some(ended) = planners.ended_early() => drop(ended?),
            _ = tick.tick() => {
                let progress = progress(step, status, planners.read_to());
                step.lead.progress(step.operation.id, &progress).await?;
                if !is_wanted(step, status, definition, &mut throttle).await? {
                    return Ok(false);
                }
            }
            batch = reader.next(), if !throttle.closed => match batch? {
                Some(batch) => planners.add(batch).await,
                None => return Ok(true),
            },
        }
    }
}

/// Whether the generation is still to be loaded. Decides, too, whether the load pauses.
async fn is_wanted(
    step: &mut OperationStep<'_>,
    status: &GenerationStatus,
    definition: &Definition,
    throttle: &mut Throttle,
) -> Result<bool, Failure> {
    let (store, name) = (&step.reconciler.store, step.reconciler.name());
    let statuses = store.generations_of(name).await?;
    let live = store.positions(name, None).await?;
    let most = step.reconciler.policy.max_live_lag_of(Some(&step.operation.command));
    // Where the log can't be read, reading it fails. The throttle needs no error of its own.
    if most > 0
        && let Ok(extents) = step.reconciler.source.extents(definition.topics()).await
    {
        throttle.look(&live, &extents, most);
    }
    let ours = statuses.iter().find(|found| found.generation == status.generation);
    Ok(ours.is_some_and(|ours| ours.state == GenerationState::Building && ours.paused_since.is_none()))
}

/// How far the load is that began at the generation's position and has read the log up to `read_to`.
fn progress(step: &mut OperationStep<'_>, status: &GenerationStatus, read_to: &Positions) -> OperationProgress {
    let from = positions_of(status);
    let offsets = |ends: &Positions| -> u64 {
        ends.iter().map(|(of, end)| (end - from.get(of).copied().unwrap_or(0)).max(0).unsigned_abs()).sum()
    };
    let done = offsets(read_to);
    let per_second = step.local.rate.measure(done, Instant::now());
    OperationProgress { phase: "load".into(), done, total: offsets(&positions_of(step.live)).max(done), per_second }
}

/// Makes the rows and sends them. Returns how many updates met no row; of a load that fails, none are counted.
fn send(tables: Tables, sink: RowSink) -> u64 {
    let sent = send_all(tables, &sink);
    sink.end(sent.as_ref().map(drop).map_err(ToString::to_string));
    sent.unwrap_or(0)
}

fn send_all(tables: Tables, sink: &RowSink) -> Result<u64, SpoolError> {
    let mut missed = 0;
    for (index, rows) in tables.enumerate() {
        let mut rows = rows?;
        loop {
            let piece: Vec<_> = rows.by_ref().take(ROWS_PER_PIECE).collect::<Result<_, _>>()?;
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
