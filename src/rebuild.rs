//! Rebuilds, and all else that operators ask for: carried out step by step, each of which the store records.
//!
//! One instance at a time has the right to carry out the operations on a projection. What it does next follows from
//! what the store says alone, so whoever has the right after it goes on where it stopped. The tables are filled by the
//! same feeds that fill the live ones; here is only decided what comes after what.

pub mod chores;
mod dead_letters;
mod key;
mod load;
pub mod log_history;
pub mod loss;
pub mod preview;
mod reading;
mod spool;
mod throttle;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use readcast_core::{Definition, TopicPartition};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::chores::{Obstacle, broken_notice};
pub use self::load::LoadLimits;
use self::load::LoadOutcome;
use self::log_history::{off_the_log, truncated_history};
use self::loss::losses;
pub(crate) use self::throttle::Throttle;
use crate::error::Failure;
use crate::failpoint;
use crate::metrics::ProjectionMetrics;
use crate::plan::RecordPolicy;
use crate::retry::Backoff;
use crate::source::Source;
use crate::store::{
    BuildOptions, CheckpointMove, Command, DropOutcome, Generation, GenerationState, GenerationStatus, Leadership,
    Operation, OperationProgress, OperationState, Phase, Rebuild, RebuildStart, Store, StoreError, Swap, SwapOutcome,
    has_running_instance,
};

/// How long until the store is looked at again while something is under way.
const PAUSE: Duration = Duration::from_millis(250);
/// How often is looked while readers' tables are held.
const HELD_PAUSE: Duration = Duration::from_millis(20);
/// How long the live generation is held for another one to come to the same place.
const HELD_AT_MOST: Duration = Duration::from_secs(5);
/// How long tables that are to be dropped may be in use before whoever asked for it is told so.
const IN_USE_AT_MOST: Duration = Duration::from_secs(5);
/// Fewer offsets than this are caught up with at once.
const CLOSE: i64 = 1_000;

/// What is done when the code declares something else than the live tables were built by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnChange {
    /// Halt, and say what changed.
    #[default]
    Refuse,
    /// Rebuild, and activate what was built when it is proven.
    Rebuild,
}

/// How the generations of a projection come and go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What is done when the definition changed.
    pub on_change: OnChange,
    /// How long a generation that was live is fed on, to go back to.
    pub standby_for: Duration,
    /// How long a swap may keep readers waiting.
    pub lock_timeout: Duration,
    /// The share of a table's rows, in percent, that a rebuild may lose without an operator's word.
    pub most_lost_percent: u64,
    /// A rebuild stands still while the live generation lags by more than this many records; 0 for never.
    pub max_impact: u64,
    /// A rebuild that nobody typed keeps the indexes that users made.
    pub keep_indexes: bool,
    /// Where a rebuild keeps what does not fit into its memory.
    pub spool_directory: PathBuf,
}

impl Policy {
    /// By how many records the live generation may lag while what `command` asks for goes on.
    pub fn max_impact_of(&self, command: Option<&Command>) -> u64 {
        match command {
            Some(Command::Rebuild(rebuild)) => rebuild.max_impact,
            _ => self.max_impact,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            on_change: OnChange::Refuse,
            standby_for: Duration::from_secs(24 * 60 * 60),
            lock_timeout: Duration::from_millis(100),
            most_lost_percent: 5,
            max_impact: 10_000,
            keep_indexes: false,
            spool_directory: "/tmp".into(),
        }
    }
}

/// Carries out the operations on one projection.
pub struct OperationReconciler {
    /// Where records come from.
    pub source: Arc<dyn Source>,
    /// Where rows go.
    pub store: Arc<dyn Store>,
    /// All versions of the projection that this process has, the highest first.
    pub versions: Vec<Definition>,
    /// How its generations come and go.
    pub policy: Policy,
    /// What the names of its consumer groups begin with.
    pub group: String,
    /// How records are read, and what is done about those that can't be projected.
    pub record_policy: Arc<RecordPolicy>,
    /// What is counted.
    pub metrics: ProjectionMetrics,
    /// What a load may take.
    pub load_limits: LoadLimits,
    /// By what this instance is known in the store.
    pub instance: String,
    /// What random waits are drawn from.
    pub seed: u64,
    /// When this is cancelled, the operation under way is left for whoever comes next.
    pub stop: CancellationToken,
}

/// What comes after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Nothing is left to do.
    Nothing,
    /// Another step at once.
    Step,
    /// Another step after a while.
    Wait(Duration),
}

/// What is known of the operation under way from one step to the next. Nothing of it has to outlive the process.
struct OperationTracker {
    operation: i64,
    since: Instant,
    /// How many offsets were behind it at first.
    from: u64,
    /// How far the live generation was at the step before.
    live_stood: Option<i64>,
    /// The generations that it has retired.
    retired: BTreeSet<Generation>,
    backoff: Backoff,
}

impl OperationReconciler {
    /// Whether there is anything that this process could do.
    pub fn has_work(&self, operations: &[Operation]) -> bool {
        operations.iter().any(|operation| self.can(operation))
    }

    /// Does what there is to do, unless another instance does it.
    pub async fn reconcile(&self) -> Result<(), Failure> {
        let mut tracker = None;
        while !self.stop.is_cancelled() {
            // The right is for one step: who waits needs no connection, and what comes next follows from the store alone.
            let Some(mut lead) = self.store.try_lead(self.name()).await? else { return Ok(()) };
            // What an earlier holder left behind in the middle of something.
            lead.release_holds().await?;
            let next = self.step(&mut *lead, &mut tracker).await?;
            lead.resign().await?;
            match next {
                Next::Nothing => break,
                Next::Step => {}
                Next::Wait(pause) => tokio::select! {
                    () = self.stop.cancelled() => break,
                    () = tokio::time::sleep(pause) => {}
                },
            }
        }
        Ok(())
    }

    fn name(&self) -> &str {
        self.versions.first().map_or("", Definition::name)
    }

    fn version(&self, hash: &str) -> Option<&Definition> {
        self.versions.iter().find(|version| version.hash() == hash)
    }

    /// Whether it is open and needs no definition that this process lacks.
    fn can(&self, operation: &Operation) -> bool {
        operation.state.is_open() && operation.command.definition_hash().is_none_or(|hash| self.version(hash).is_some())
    }

    async fn statuses(&self) -> Result<Vec<GenerationStatus>, StoreError> {
        let mut statuses = self.store.generations().await?;
        statuses.retain(|status| status.projection == self.name());
        Ok(statuses)
    }

    async fn step(&self, lead: &mut dyn Leadership, tracker: &mut Option<OperationTracker>) -> Result<Next, Failure> {
        let statuses = self.statuses().await?;
        let operations = self.store.operations(self.name(), 0).await?;
        let Some(operation) = operations.into_iter().find(|operation| self.can(operation)) else {
            return Ok(Next::Nothing);
        };
        let Some(live) = statuses.iter().find(|status| status.state == GenerationState::Live) else {
            return self.refuse(lead, &operation, "there is no live generation yet".into()).await;
        };
        if tracker.as_ref().is_none_or(|tracker| tracker.operation != operation.id) {
            *tracker = Some(OperationTracker::new(&operation, self.seed));
        }
        let Some(tracker) = tracker else { return Ok(Next::Nothing) };
        let mut work = Work { reconciler: self, lead, operation: &operation, live, statuses: &statuses, tracker };
        match work.step().await {
            Err(Failure::Store(StoreError::Refused { doing, reason })) => {
                self.refuse(lead, &operation, format!("{doing}: {reason}")).await
            }
            other => other,
        }
    }

    async fn refuse(&self, lead: &mut dyn Leadership, operation: &Operation, why: String) -> Result<Next, Failure> {
        tracing::warn!(projection = self.name(), operation = operation.command.name(), "refused: {why}");
        lead.finish(operation.id, OperationState::Refused, &why).await?;
        Ok(Next::Step)
    }
}

/// Whether its life has ended and its tables are still there.
fn is_over(status: &GenerationStatus) -> bool {
    matches!(status.state, GenerationState::Retired | GenerationState::Failed) && status.has_tables
}

impl OperationTracker {
    fn new(operation: &Operation, seed: u64) -> Self {
        let from = operation.progress.as_ref().map_or(0, |progress| progress.done);
        let backoff = Backoff::new(seed, Duration::from_millis(50), Duration::from_secs(2));
        Self {
            operation: operation.id,
            since: Instant::now(),
            from,
            live_stood: None,
            retired: BTreeSet::new(),
            backoff,
        }
    }

    /// How many offsets a second it goes on by, now that so many are behind it.
    fn measure(&mut self, done: u64) -> Option<f64> {
        if self.from > done || self.from == 0 {
            (self.from, self.since) = (done, Instant::now());
        }
        let seconds = self.since.elapsed().as_secs_f64();
        (seconds > 1.0).then(|| (done - self.from) as f64 / seconds)
    }
}

/// One step of one operation.
struct Work<'a> {
    reconciler: &'a OperationReconciler,
    lead: &'a mut dyn Leadership,
    operation: &'a Operation,
    live: &'a GenerationStatus,
    statuses: &'a [GenerationStatus],
    tracker: &'a mut OperationTracker,
}

impl<'a> Work<'a> {
    async fn step(&mut self) -> Result<Next, Failure> {
        match &self.operation.command {
            Command::Rebuild(rebuild) => self.rebuild(rebuild).await,
            Command::Verify { definition_hash } => self.verify(definition_hash).await,
            Command::Activate { accept_difference } => self.activate(*accept_difference).await,
            Command::Rollback => self.roll_back().await,
            Command::Retire => self.retire().await,
            Command::RefoldKey { key, definition_hash } => {
                let outcome = match self.reconciler.version(definition_hash) {
                    Some(definition) => key::refold(self.reconciler, self.lead, self.live, definition, key).await?,
                    None => return Ok(Next::Nothing),
                };
                self.finish(OperationState::Done, &outcome).await
            }
            Command::DeadLetters(asked) => {
                let outcome =
                    dead_letters::resolve(self.reconciler, self.lead, self.operation, self.statuses, asked).await?;
                let state = if outcome.is_complete() { OperationState::Done } else { OperationState::Refused };
                self.finish(state, &outcome.sentence()).await
            }
            Command::AcceptLoss => self.accept_loss().await,
            // Whoever asked has done them.
            Command::Pause | Command::Resume | Command::Cancel | Command::Rename { .. } => {
                self.finish(OperationState::Done, "done").await
            }
        }
    }

    async fn rebuild(&mut self, rebuild: &Rebuild) -> Result<Next, Failure> {
        let Some(status) = self.built() else {
            let Some(definition) = self.reconciler.version(&rebuild.definition_hash) else { return Ok(Next::Nothing) };
            return self.begin_rebuild(rebuild, definition).await;
        };
        let number = status.generation.0;
        if status.state == GenerationState::Ready
            && let Some(lost) = self.lost_indexes(rebuild, status).await?
        {
            return self.finish(OperationState::Refused, &lost).await;
        }
        match status.state {
            GenerationState::Building => self.build(status).await,
            GenerationState::Ready if rebuild.no_activate => {
                let outcome = format!("generation {number} is ready: `readcast activate` lets readers see it");
                self.finish(OperationState::Done, &outcome).await
            }
            GenerationState::Ready => {
                let objections = self.objections(status);
                if objections.is_empty() || rebuild.accept_difference {
                    return self.swap(status).await;
                }
                let outcome = format!(
                    "generation {number} is ready but was not activated: {}. Look at it (`readcast status`), then \
                     `readcast activate {name} --accept-difference` or `readcast cancel {name}`",
                    objections.join("; "),
                    name = self.live.projection,
                );
                self.finish(OperationState::Refused, &outcome).await
            }
            GenerationState::Live | GenerationState::Standby => {
                self.finish(OperationState::Done, &format!("generation {number} is live")).await
            }
            GenerationState::Failed | GenerationState::Retired => {
                let why = status.last_error.as_ref().map_or("it was given up", |error| &error.text);
                self.finish(OperationState::Refused, why).await
            }
        }
    }

    async fn begin_rebuild(&mut self, rebuild: &Rebuild, definition: &Definition) -> Result<Next, Failure> {
        let extents = self.reconciler.source.extents(definition.topics()).await?;
        if rebuild.begin == RebuildStart::Earliest
            && !rebuild.accept_truncated
            && let Some(truncated) = truncated_history(&extents, self.live)
        {
            let outcome = format!("{truncated}. A rebuild would forget it; `--accept-truncated` says that it may");
            return self.finish(OperationState::Refused, &outcome).await;
        }
        if let Some(lost) = off_the_log(self.live, &extents) {
            let outcome = format!(
                "the live generation can't come to where a new one would begin, so that nothing could be compared or \
                 swapped ({lost}): restore the log, or start the projection over (README, \"Starting over\")"
            );
            return self.finish(OperationState::Refused, &outcome).await;
        }
        // There is one next generation: what was built before and is not live gives way.
        for earlier in self.statuses.iter().filter(|status| is_unborn(status)) {
            self.lead.end(earlier.generation, Some("another rebuild was asked for")).await?;
        }
        let copy_from = copy_from(&rebuild.begin)?;
        let build = BuildOptions { scratch: false, load: copy_from.is_none(), copy_from };
        let generation = self.lead.begin(self.operation.id, definition, &build, &extents).await?;
        failpoint::hit("rebuild_begun");
        tracing::info!(projection = definition.name(), generation = generation.0, "building");
        Ok(Next::Step)
    }

    /// What to say when the rebuild is to keep indexes, and one can't be made. Those that were made since the others were
    /// carried are carried now.
    async fn lost_indexes(
        &mut self,
        rebuild: &Rebuild,
        ready: &GenerationStatus,
    ) -> Result<Option<String>, StoreError> {
        if !rebuild.keep_indexes {
            return Ok(None);
        }
        let lost = self.lead.carry_indexes(self.live, ready).await?;
        let (name, number) = (&self.live.projection, ready.generation.0);
        Ok((!lost.is_empty()).then(|| {
            format!(
                "generation {number} is ready but was not activated, for it can't have all indexes: {}. Drop them and                  rebuild once more, or do without: `readcast activate {name}`, or `readcast cancel {name}`",
                lost.join("; ")
            )
        }))
    }

    async fn accept_loss(&mut self) -> Result<Next, Failure> {
        let topics: BTreeSet<&str> = self.live.checkpoints.iter().map(|held| &*held.partition.topic).collect();
        let extents = self.reconciler.source.extents(&topics.into_iter().collect::<Vec<_>>()).await?;
        let losses = losses(self.statuses, &extents);
        if losses.is_empty() {
            return self.finish(OperationState::Refused, "the log has lost nothing that was still to be read").await;
        }
        let (moves, said): (Vec<CheckpointMove>, Vec<String>) =
            losses.into_iter().map(|loss| (loss.step, loss.what)).unzip();
        let outcome = said.join("; ");
        tracing::warn!(projection = self.live.projection, "an operator accepted a loss: {outcome}");
        self.lead.resume_at(&moves, self.operation.id, &outcome).await?;
        Ok(Next::Step)
    }

    async fn verify(&mut self, hash: &str) -> Result<Next, Failure> {
        let Some(status) = self.built() else {
            let Some(definition) = self.reconciler.version(hash) else { return Ok(Next::Nothing) };
            if self.live.definition_hash != hash {
                return self.finish(OperationState::Refused, "the live generation is another one by now").await;
            }
            let extents = self.reconciler.source.extents(definition.topics()).await?;
            if let Some(truncated) = truncated_history(&extents, self.live) {
                let outcome = format!("{truncated}, so there is nothing to compare them with");
                return self.finish(OperationState::Refused, &outcome).await;
            }
            let build = BuildOptions { scratch: true, load: true, copy_from: None };
            self.lead.begin(self.operation.id, definition, &build, &extents).await?;
            return Ok(Next::Step);
        };
        match (status.state, &status.proof) {
            (GenerationState::Building, _) => self.build(status).await,
            (_, Some(proof)) if proof.is_equal() => {
                let rows: u64 = proof.tables.iter().filter_map(|table| table.live_rows).sum();
                let outcome = format!("the live tables hold exactly what the log makes of them: {rows} rows");
                self.finish(OperationState::Done, &outcome).await
            }
            (_, Some(proof)) => {
                let differing = proof.tables.iter().filter(|table| table.differences() > 0);
                let differing: Vec<String> = differing.map(ToString::to_string).collect();
                let outcome = format!("the live tables are not what the log makes of them: {}", differing.join("; "));
                self.finish(OperationState::Done, &outcome).await
            }
            (_, None) => {
                let why = status.last_error.as_ref().map_or("it was given up", |error| &error.text);
                self.finish(OperationState::Refused, why).await
            }
        }
    }

    /// The generation that this operation builds.
    fn built(&self) -> Option<&'a GenerationStatus> {
        let generation = self.operation.generation?;
        self.statuses.iter().find(|status| status.generation == generation)
    }

    fn objections(&self, status: &GenerationStatus) -> Vec<String> {
        let same = status.definition_hash == self.live.definition_hash;
        let objections =
            |proof: &crate::store::Comparison| proof.objections(same, self.reconciler.policy.most_lost_percent);
        status.proof.as_ref().map_or_else(|| vec!["it was never compared".into()], objections)
    }

    /// Brings a building generation one step further.
    async fn build(&mut self, status: &GenerationStatus) -> Result<Next, Failure> {
        if let Some(error) = status.last_error.as_ref().filter(|_| status.repeats && status.is_halted()) {
            // A copy that can't be replayed over will not be by another try.
            self.lead.end(status.generation, Some(&error.text)).await?;
            return Ok(Next::Step);
        }
        let Some(definition) = self.reconciler.version(&status.definition_hash) else { return Ok(Next::Nothing) };
        let phase = status.phase.unwrap_or(Phase::Replay);
        self.lead.follow(status.generation).await?;
        self.note(status, &phase.to_string()).await?;
        match phase {
            Phase::Load if status.paused_since.is_some() => Ok(Next::Wait(PAUSE)),
            Phase::Load => match load::load(self, status, definition).await? {
                LoadOutcome::All => {
                    self.enter(status, Phase::Index).await?;
                    Ok(Next::Step)
                }
                LoadOutcome::Nothing(why) => {
                    let (projection, generation) = (&self.live.projection, status.generation.0);
                    tracing::info!(projection, generation, "not loaded, so it is replayed: {why}");
                    self.enter(status, Phase::Replay).await?;
                    Ok(Next::Step)
                }
                LoadOutcome::NotYet => Ok(Next::Wait(PAUSE)),
            },
            Phase::Replay if self.is_close(status) => {
                self.enter(status, Phase::Index).await?;
                Ok(Next::Step)
            }
            Phase::Index => {
                failpoint::hit("rebuild_index");
                self.lead.index(definition, status.generation).await?;
                if matches!(&self.operation.command, Command::Rebuild(rebuild) if rebuild.keep_indexes) {
                    // What can't be made is told when everything else is done.
                    self.lead.carry_indexes(self.live, status).await?;
                }
                self.enter(status, Phase::CatchUp).await?;
                Ok(Next::Step)
            }
            Phase::CatchUp if self.is_close(status) => {
                self.enter(status, Phase::Compare).await?;
                Ok(Next::Step)
            }
            Phase::Compare => {
                failpoint::hit("rebuild_compare");
                if self.align(status).await?
                    && let Some(comparison) = self.lead.compare(self.live, status).await?
                {
                    self.lead.proven(status.generation, &comparison).await?;
                    failpoint::hit("rebuild_proven");
                    return Ok(Next::Step);
                }
                self.lead.release_holds().await?;
                self.enter(status, Phase::CatchUp).await?;
                Ok(Next::Wait(PAUSE))
            }
            Phase::Replay | Phase::CatchUp => Ok(Next::Wait(PAUSE)),
        }
    }

    async fn enter(&mut self, status: &GenerationStatus, phase: Phase) -> Result<(), StoreError> {
        self.lead.enter(status.generation, phase).await?;
        tracing::info!(projection = status.projection, generation = status.generation.0, %phase, "goes on building");
        Ok(())
    }

    /// Whether a building generation is so close behind the live one that holding that for a moment is enough.
    fn is_close(&mut self, status: &GenerationStatus) -> bool {
        let stands: i64 = self.live.checkpoints.iter().map(|held| held.next_offset).sum();
        let moved = self.tracker.live_stood.replace(stands).map_or(0, |stood| (stands - stood).max(0));
        let is_fed = status.paused_since.is_none() && !status.is_halted();
        is_fed && status.behind(self.live).is_some_and(|behind| behind <= CLOSE + 2 * moved)
    }

    /// Holds the live generation until the other one has come to the same place, or for a few seconds.
    async fn align(&mut self, status: &GenerationStatus) -> Result<bool, Failure> {
        self.hold_until(status, |live, other| live.positions() == other.positions()).await
    }

    async fn hold_until(
        &mut self,
        status: &GenerationStatus,
        there: impl Fn(&GenerationStatus, &GenerationStatus) -> bool,
    ) -> Result<bool, Failure> {
        let held = Instant::now();
        self.lead.hold(status.generation).await?;
        while held.elapsed() < HELD_AT_MOST && !self.reconciler.stop.is_cancelled() {
            let statuses = self.reconciler.statuses().await?;
            let find = |generation| statuses.iter().find(|status| status.generation == generation);
            match (find(self.live.generation), find(status.generation)) {
                (Some(live), Some(other)) if there(live, other) => return Ok(true),
                (Some(_), Some(other)) if other.state.is_fed() => tokio::time::sleep(HELD_PAUSE).await,
                // It was cancelled meanwhile.
                _ => break,
            }
        }
        self.lead.release_holds().await?;
        Ok(false)
    }

    async fn activate(&mut self, accept_difference: bool) -> Result<Next, Failure> {
        let ready = self.statuses.iter().rev().find(|status| status.state == GenerationState::Ready);
        let Some(ready) = ready else {
            return self.finish(OperationState::Refused, "no generation is ready").await;
        };
        let objections = self.objections(ready);
        if !objections.is_empty() && !accept_difference {
            let outcome = format!("{}; `--accept-difference` activates it all the same", objections.join("; "));
            return self.finish(OperationState::Refused, &outcome).await;
        }
        self.swap(ready).await
    }

    async fn roll_back(&mut self) -> Result<Next, Failure> {
        let standbys = self.statuses.iter().filter(|status| status.state == GenerationState::Standby);
        // The one that was live last is kept longest.
        let Some(standby) = standbys.max_by_key(|status| status.standby_until.clone()) else {
            return self.finish(OperationState::Refused, "there is no standby to go back to").await;
        };
        let heartbeats = self.reconciler.store.heartbeats().await?;
        let is_fed = has_running_instance(&heartbeats, &standby.projection, Some(&standby.definition_hash));
        if standby.behind(self.live) != Some(0) && !is_fed {
            let behind = standby.behind(self.live).map_or("some".into(), |behind| behind.to_string());
            let outcome = format!(
                "generation {} is {behind} offsets behind what readers see, and no running instance has the code that \
                 built it (version {}): start one, and try again",
                standby.generation.0, standby.version
            );
            return self.finish(OperationState::Refused, &outcome).await;
        }
        self.swap(standby).await
    }

    async fn retire(&mut self) -> Result<Next, Failure> {
        let unseen =
            |status: &&GenerationStatus| matches!(status.state, GenerationState::Standby | GenerationState::Ready);
        let unseen: Vec<_> = self.statuses.iter().filter(unseen).collect();
        for status in &unseen {
            self.lead.end(status.generation, None).await?;
            self.tracker.retired.insert(status.generation);
        }
        if !unseen.is_empty() {
            return Ok(Next::Step);
        }
        let (mut left, mut waits) = (Vec::new(), false);
        for status in self.statuses.iter().filter(|status| is_over(status)) {
            let obstacle = match self.lead.drop_tables(status).await {
                Ok(DropOutcome::Done(broken)) => {
                    self.tracker.retired.insert(status.generation);
                    if !broken.is_empty() {
                        let OperationReconciler { store, instance, .. } = self.reconciler;
                        store
                            .record_notice(&status.projection, status.generation, instance, &broken_notice(&broken))
                            .await?;
                    }
                    continue;
                }
                Ok(other) => Obstacle::of(&other),
                Err(StoreError::Refused { doing, reason }) => Obstacle::refused(&doing, &reason),
                Err(error) => return Err(error.into()),
            };
            waits |= obstacle.may_pass();
            left.push(format!("generation {}: {}", status.generation.0, obstacle.sentence(&status.projection)));
        }
        if waits && self.tracker.since.elapsed() < IN_USE_AT_MOST {
            return Ok(Next::Wait(PAUSE));
        }
        if !left.is_empty() {
            return self.finish(OperationState::Refused, &left.join(". ")).await;
        }
        let numbers: Vec<String> = self.tracker.retired.iter().map(|generation| generation.0.to_string()).collect();
        let outcome = match numbers.as_slice() {
            [] => "there was none to retire".to_owned(),
            numbers => format!("retired, and its tables dropped: generation {}", numbers.join(", ")),
        };
        self.finish(OperationState::Done, &outcome).await
    }

    /// Tries to let readers see `next`.
    async fn swap(&mut self, next: &GenerationStatus) -> Result<Next, Failure> {
        failpoint::hit("swap_begin");
        self.note(next, "swap").await?;
        let (number, old) = (next.generation.0, self.live.generation.0);
        let outcome = format!("generation {number} is live; generation {old} stands by");
        let swapped = if self.hold_until(next, |live, next| next.behind(live) == Some(0)).await? {
            let Policy { standby_for, lock_timeout, .. } = self.reconciler.policy;
            let operation = self.operation.id;
            let swap = Swap { live: self.live, next, standby_for, lock_timeout, operation, outcome: &outcome };
            self.lead.swap(&swap).await?
        } else {
            SwapOutcome::Behind
        };
        let wait = self.tracker.backoff.next_wait();
        match swapped {
            SwapOutcome::Done => {
                tracing::info!(projection = self.live.projection, "{outcome}");
                return Ok(Next::Step);
            }
            SwapOutcome::Behind => {
                self.lead.release_holds().await?;
                self.note(next, "swap: waiting for it to catch up").await?;
            }
            SwapOutcome::Busy => {
                self.lead.release_holds().await?;
                self.note(next, "swap: waiting for readers in long transactions").await?;
            }
        }
        Ok(Next::Wait(wait))
    }

    /// Notes how far the operation is: offsets behind a generation, of those behind the live one.
    async fn note(&mut self, status: &GenerationStatus, phase: &str) -> Result<(), StoreError> {
        let start = |partition: &TopicPartition| {
            let held = status.checkpoints.iter().find(|held| held.partition == *partition);
            held.and_then(|held| held.start_offset).unwrap_or(0)
        };
        let length = |from: i64, to: i64| (to - from).max(0).unsigned_abs();
        let sum = |of: &GenerationStatus| -> u64 {
            of.checkpoints.iter().map(|held| length(start(&held.partition), held.next_offset)).sum()
        };
        let (done, total) = (sum(status), sum(self.live));
        let measured = self.tracker.measure(done);
        let before = self.operation.progress.as_ref().and_then(|progress| progress.per_second);
        // The rate of the replay is what a later rebuild can be judged by: the rest waits for the live generation.
        let per_second = if status.phase == Some(Phase::Replay) { measured.or(before) } else { before.or(measured) };
        let progress = OperationProgress { phase: phase.to_owned(), done, total: total.max(done), per_second };
        self.lead.progress(self.operation.id, &progress).await
    }

    async fn finish(&mut self, state: OperationState, outcome: &str) -> Result<Next, Failure> {
        let (projection, operation) = (&self.live.projection, self.operation.command.name());
        tracing::info!(projection, operation, state = state.name(), "{outcome}");
        self.lead.finish(self.operation.id, state, outcome).await?;
        Ok(Next::Step)
    }
}

/// Whether readers never saw it, and it may still become live.
fn is_unborn(status: &GenerationStatus) -> bool {
    matches!(status.state, GenerationState::Building | GenerationState::Ready)
}

/// Where a copy of the live rows begins, if that is what is asked for.
fn copy_from(begin: &RebuildStart) -> Result<Option<Vec<(TopicPartition, i64)>>, StoreError> {
    let refused = |text: &str| StoreError::Refused {
        doing: "beginning a generation".into(),
        reason: format!("`{text}` is no topic and partition, such as `orders/0`"),
    };
    let parsed = |(text, offset): (&String, &i64)| {
        let (topic, partition) = text.rsplit_once('/').ok_or_else(|| refused(text))?;
        let partition = partition.parse().map_err(|_| refused(text))?;
        Ok((TopicPartition::new(topic, partition), *offset))
    };
    match begin {
        RebuildStart::Earliest => Ok(None),
        RebuildStart::Live => Ok(Some(Vec::new())),
        RebuildStart::Offsets(offsets) => offsets.iter().map(parsed).collect::<Result<_, _>>().map(Some),
    }
}
