//! One projection: which of its generations are fed by this process, and who carries out what operators ask for.
//!
//! The store says what there is to do; every instance looks there and does its part. No instance talks to another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use readcast_core::Definition;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::feed::{Feed, PATIENCE_OF_A_BOUNDED_RUN, halt, keep_feeding};
use super::{Options, Shared};
use crate::error::{Disposition, Failure};
use crate::health::State;
use crate::plan::AllowedChanges;
use crate::rebuild::chores::{ChoreContext, DeadLetterCopier, TableDropper};
use crate::rebuild::{LoadLimits, OnChange, OperationReconciler};
use crate::retry::Backoff;
use crate::store::{
    Command, Generation, GenerationState, GenerationStatus, Instance, InstanceHeartbeat, Operation, OperationState,
    Phase, Priority, Rebuild, RecordedError, RecordedNotice, StoreError, declaration_changes,
};

/// How often the store is asked what there is to do.
const TICK: Duration = Duration::from_millis(500);
/// How often an instance shows that it runs.
const TICKS_BETWEEN_SIGNS: u32 = 4;
/// How often it asks how old the oldest snapshot in the store is.
const TICKS_BETWEEN_SNAPSHOTS: u32 = 20;
/// How many finished operations are looked at, to know what was refused or cancelled.
const REMEMBERED: usize = 10;

/// Runs one projection, given all its versions with the highest first, until it is asked to stop or has come to the end
/// that it was given.
pub(super) async fn run(versions: Vec<Definition>, options: Options, shared: Shared) -> Result<(), Failure> {
    let Some(current) = versions.first().cloned() else { return Ok(()) };
    shared.health.set(current.name(), State::Starting);
    if options.until_end {
        return bounded(&current, &versions, options, shared).await;
    }
    let mut projection = Projection {
        name: current.name().to_owned(),
        current,
        instance: options.instance(),
        backoff: Backoff::new(options.seed, Duration::from_millis(200), Duration::from_secs(15)),
        versions,
        options,
        shared,
        prepared: false,
        ticks: 0,
        feeds: BTreeMap::new(),
        halted: BTreeMap::new(),
        seen: None,
        reconciling: false,
        notices: Vec::new(),
        notices_changed: true,
        dropping: None,
        copying: None,
        tasks: JoinSet::new(),
    };
    projection.renew_chores();
    projection.work().await
}

/// Feeds the live generation to the end of the log. What operators ask for waits for an instance that goes on.
async fn bounded(
    current: &Definition,
    versions: &[Definition],
    options: Options,
    shared: Shared,
) -> Result<(), Failure> {
    let name = current.name();
    let give_up = Instant::now() + PATIENCE_OF_A_BOUNDED_RUN;
    let mut backoff = Backoff::new(options.seed, Duration::from_millis(200), Duration::from_secs(5));
    let live = loop {
        match live_generation(current, &shared).await {
            Ok(live) => break live,
            Err(error) => {
                let failure = Failure::from(error);
                let (disposition, advice) = failure.disposition();
                if disposition != Disposition::Retry || Instant::now() > give_up {
                    shared.health.set(name, State::Halted { reason: failure.to_string(), advice: advice.to_owned() });
                    return Err(failure);
                }
                let wait = backoff.next_wait();
                tracing::warn!(projection = name, advice, "{failure}; starting again in {wait:.1?}");
                shared.health.set(name, State::Retrying { attempt: backoff.attempt(), reason: failure.to_string() });
                tokio::select! {
                    () = shared.stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    };
    let Some(definition) = versions.iter().find(|version| version.hash() == live.definition_hash) else {
        let failure = Failure::from(changed(current, &live));
        let advice = failure.disposition().1.to_owned();
        shared.health.set(name, State::Halted { reason: failure.to_string(), advice });
        return Err(failure);
    };
    let feed = Feed {
        definition: definition.clone(),
        generation: live.generation,
        bulk: false,
        allowed: AllowedChanges::All,
        max_impact: 0,
        priority: Priority::Live.into(),
        stop: shared.stop.clone(),
    };
    shared.health.serve(name, live.generation);
    keep_feeding(feed, options, shared).await
}

async fn live_generation(definition: &Definition, shared: &Shared) -> Result<GenerationStatus, StoreError> {
    shared.deploy().await?;
    shared.store.prepare(definition).await?;
    let statuses = shared.store.generations().await?;
    let is_live =
        |status: &GenerationStatus| status.projection == definition.name() && status.state == GenerationState::Live;
    statuses.into_iter().find(is_live).ok_or_else(|| StoreError::Unavailable {
        doing: format!("looking for the tables of `{}`", definition.name()),
        reason: "they are not there yet".into(),
    })
}

/// Who goes first when there are more generations to feed than connections.
fn priority(state: GenerationState) -> Priority {
    match state {
        GenerationState::Live => Priority::Live,
        GenerationState::Standby | GenerationState::Ready => Priority::Standby,
        GenerationState::Building | GenerationState::Retired | GenerationState::Failed => Priority::Building,
    }
}

/// The definition is not the one that built what readers see.
fn changed(definition: &Definition, live: &GenerationStatus) -> StoreError {
    let changes = declaration_changes(definition, live).join("; ");
    let reason = format!(
        "{changes}. The live tables hold what the earlier declaration made (generation {}): they must be rebuilt",
        live.generation.0
    );
    StoreError::Definition { projection: definition.name().into(), reason }
}

struct Projection {
    name: String,
    /// The highest version: what is built now is built by it.
    current: Definition,
    versions: Vec<Definition>,
    options: Options,
    shared: Shared,
    /// By what this instance is known in the store.
    instance: String,
    backoff: Backoff,
    /// Whether our own tables and a first generation are there.
    prepared: bool,
    ticks: u32,
    feeds: BTreeMap<Generation, Feed>,
    /// The feeds that have ended with what only a person can do something about.
    halted: BTreeMap<Generation, Failure>,
    /// The last of the finished operations that we have seen.
    seen: Option<i64>,
    reconciling: bool,
    /// What the store says to operators of its generations.
    notices: Vec<RecordedNotice>,
    /// Whether a chore may have changed them since they were read.
    notices_changed: bool,
    /// The chores; `None` while a task is at one.
    dropping: Option<TableDropper>,
    copying: Option<DeadLetterCopier>,
    tasks: JoinSet<Ended>,
}

/// A task that has come to its end.
enum Ended {
    Feed(Generation, Result<(), Failure>),
    OperationReconciler(Result<(), Failure>),
    TableDropper(TableDropper),
    DeadLetterCopier(DeadLetterCopier),
}

impl Projection {
    async fn work(mut self) -> Result<(), Failure> {
        let stop = self.shared.stop.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = self.tasks.join_next() => self.ended(ended),
                _ = tick.tick() => {
                    // A store that does not answer must not keep us from stopping.
                    let looked = tokio::select! {
                        () = stop.cancelled() => break,
                        looked = self.look() => looked,
                    };
                    match looked {
                        Ok(()) => self.backoff.reset(),
                        Err(error) => self.failed(error).await,
                    }
                }
            }
        }
        self.drain().await
    }

    /// Asks the store what there is to do, and sees to it that it is done.
    async fn look(&mut self) -> Result<(), StoreError> {
        let store = self.shared.store.clone();
        if !self.prepared {
            self.shared.deploy().await?;
            store.prepare(&self.current).await?;
            self.prepared = true;
        }
        if self.ticks.is_multiple_of(TICKS_BETWEEN_SIGNS) {
            self.heartbeat(true).await?;
        }
        if self.ticks.is_multiple_of(TICKS_BETWEEN_SNAPSHOTS) {
            // No answer is needed to go on.
            let oldest_snapshot = store.oldest_snapshot(Duration::ZERO).await.ok().flatten();
            self.shared.metrics.oldest_snapshot(oldest_snapshot.and_then(|held| held.seconds).unwrap_or(0));
        }
        self.ticks = self.ticks.wrapping_add(1);
        let statuses = store.generations_of(&self.name).await?;
        let operations = store.operations(&self.name, REMEMBERED).await?;
        self.try_again_after(&operations);
        self.feed(&statuses, &operations);
        self.settle_troubles(&statuses).await?;
        match statuses.iter().find(|status| status.state == GenerationState::Live) {
            Some(live) => {
                self.shared.metrics.projection(&self.name).parked(&live.parked);
                self.report(live, &statuses, &operations).await?;
            }
            // It was renamed, or somebody removed it.
            None => self.prepared = false,
        }
        self.reconcile(&operations);
        self.read_notices().await?;
        self.do_chores(&statuses);
        Ok(())
    }

    /// Sees to it that the store says of each generation that is not fed here what is so: that it has halted here, or
    /// nothing that this instance, or one that does not run any more, has recorded while it was tried again.
    async fn settle_troubles(&self, statuses: &[GenerationStatus]) -> Result<(), StoreError> {
        let store = &self.shared.store;
        let of_others = |status: &&GenerationStatus| !self.feeds.contains_key(&status.generation);
        for status in statuses.iter().filter(|status| status.state.is_fed()).filter(of_others) {
            let (generation, recorded) = (status.generation, status.last_error.as_ref());
            let is_retried = |error: &RecordedError| error.attempt.is_some() && error.is_for(&self.instance);
            match self.halted.get(&generation) {
                Some(failure) if recorded.is_none_or(|error| error.attempt.is_some()) => {
                    store.record_error(&self.name, generation, &self.instance, &halt(failure)).await?;
                }
                None if recorded.is_some_and(is_retried) => {
                    store.clear_error(&self.name, generation, &self.instance).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn heartbeat(&self, running: bool) -> Result<(), StoreError> {
        let hashes: Vec<&str> = self.versions.iter().map(Definition::hash).collect();
        let instance = Instance { id: self.instance.clone(), ..self.shared.instance.clone() };
        self.shared.store.heartbeat(&instance, &self.name, &hashes, running).await
    }

    fn version(&self, hash: &str) -> Option<&Definition> {
        self.versions.iter().find(|version| version.hash() == hash)
    }

    /// What an operator did about the cause of a halt is a reason to try again.
    fn try_again_after(&mut self, operations: &[Operation]) {
        let finished = operations.iter().filter(|operation| !operation.state.is_open());
        let cure = |operation: &Operation| {
            self.seen.is_some_and(|seen| operation.id > seen)
                && matches!(operation.command, Command::AcceptLoss | Command::DeadLetters(_))
        };
        if finished.clone().any(cure) {
            self.halted.clear();
        }
        self.seen = finished.map(|operation| operation.id).max().or(self.seen).or(Some(0));
    }

    /// Starts and stops feeds, so that this process feeds every generation that it can.
    fn feed(&mut self, statuses: &[GenerationStatus], operations: &[Operation]) {
        let wanted = |status: &&GenerationStatus| {
            status.state.is_fed()
                && status.paused_since.is_none()
                && status.phase.is_none_or(Phase::is_fed)
                && self.version(&status.definition_hash).is_some()
        };
        let wanted: Vec<&GenerationStatus> = statuses.iter().filter(wanted).collect();
        let numbers: BTreeSet<Generation> = wanted.iter().map(|status| status.generation).collect();
        for (_, feed) in self.feeds.iter().filter(|(generation, _)| !numbers.contains(generation)) {
            feed.stop.cancel();
        }
        // Whoever pauses and resumes one that has halted asks for another try.
        for generation in self.halted.extract_if(.., |generation, _| !numbers.contains(generation)) {
            self.shared.health.forget(&self.name, generation.0);
        }
        for status in wanted {
            let priority = priority(status.state);
            let bulk = status.phase == Some(Phase::Replay);
            match self.feeds.get(&status.generation) {
                Some(feed) if feed.bulk == bulk => feed.priority.set(priority),
                // It starts again, the other way, as soon as it has ended.
                Some(feed) => feed.stop.cancel(),
                None if self.halted.contains_key(&status.generation) => {}
                None => self.start(status, priority, bulk, operations),
            }
        }
    }

    fn start(&mut self, status: &GenerationStatus, priority: Priority, bulk: bool, operations: &[Operation]) {
        let Some(definition) = self.version(&status.definition_hash).cloned() else { return };
        let asked = operations.iter().find(|operation| operation.generation == Some(status.generation));
        let max_impact = self.options.policy.max_impact_of(asked.map(|operation| &operation.command));
        let feed = Feed {
            definition,
            generation: status.generation,
            bulk,
            allowed: if status.repeats { AllowedChanges::Repeatable } else { AllowedChanges::All },
            max_impact,
            priority: priority.into(),
            stop: self.shared.stop.child_token(),
        };
        self.feeds.insert(status.generation, feed.clone());
        let (options, shared, generation) = (self.options.clone(), self.shared.clone(), status.generation);
        self.tasks.spawn(async move { Ended::Feed(generation, keep_feeding(feed, options, shared).await) });
    }

    /// Says how the projection fares: as what readers see does.
    async fn report(
        &mut self,
        live: &GenerationStatus,
        statuses: &[GenerationStatus],
        operations: &[Operation],
    ) -> Result<(), StoreError> {
        let health = &self.shared.health;
        if self.is_newer_than(live) && self.options.policy.on_change == OnChange::Rebuild {
            self.ask_for_rebuild(live, statuses, operations).await?;
        }
        if let Some(since) = &live.paused_since {
            health.set(&self.name, State::Paused { since: since.clone() });
        } else if self.version(&live.definition_hash).is_some() {
            health.serve(&self.name, live.generation);
        } else {
            let heartbeats = self.shared.store.heartbeats().await?;
            let all = self.shared.store.generations().await?;
            let ours =
                |status: &&GenerationStatus| status.projection == self.name && status.generation == live.generation;
            // With its checkpoints, which tell when it last moved.
            let live = all.iter().find(ours).unwrap_or(live);
            health.set(&self.name, self.without_the_live_code(live, statuses, operations, &heartbeats));
        }
        Ok(())
    }

    /// Whether our code comes after the one that built `live`. Where both declare one version nobody can tell, and two
    /// instances that each took its own for the newer one would rebuild in turns without end.
    fn is_newer_than(&self, live: &GenerationStatus) -> bool {
        i64::from(self.current.version()) > i64::from(live.version)
    }

    /// A deployment of changed code builds its tables by itself, once: what an operator cancelled or rolled back is not
    /// begun again.
    async fn ask_for_rebuild(
        &self,
        live: &GenerationStatus,
        statuses: &[GenerationStatus],
        operations: &[Operation],
    ) -> Result<(), StoreError> {
        let hash = self.current.hash();
        let built = statuses.iter().any(|status| status.definition_hash == hash && status.generation > live.generation);
        if built || self.unfinished_business(operations).is_some() {
            return Ok(());
        }
        let rebuild = Command::Rebuild(Rebuild {
            max_impact: self.options.policy.max_impact,
            keep_indexes: self.options.policy.keep_indexes,
            ..Rebuild::of(hash)
        });
        let changes = declaration_changes(&self.current, live).join("; ");
        tracing::info!(projection = self.name, "the definition changed, so it is rebuilt: {changes}");
        self.shared.store.request(&self.name, &rebuild, "on_change").await.map(drop)
    }

    /// The last rebuild of our definition that was asked for, unless it is done.
    fn unfinished_business<'o>(&self, operations: &'o [Operation]) -> Option<&'o Operation> {
        let of_ours = |operation: &&Operation| matches!(&operation.command, Command::Rebuild(rebuild) if rebuild.definition_hash == self.current.hash());
        operations.iter().rev().find(of_ours).filter(|operation| operation.state != OperationState::Done)
    }

    /// What to say when this process does not have the code that built what readers see.
    fn without_the_live_code(
        &self,
        live: &GenerationStatus,
        statuses: &[GenerationStatus],
        operations: &[Operation],
        heartbeats: &[InstanceHeartbeat],
    ) -> State {
        let of_live = heartbeats
            .iter()
            .find(|attended| attended.projection == self.name && attended.definition_hash == live.definition_hash);
        let fed_elsewhere = of_live.is_some_and(|attended| attended.present);
        let ours = |status: &&GenerationStatus| {
            status.definition_hash == self.current.hash()
                && matches!(status.state, GenerationState::Building | GenerationState::Ready)
        };
        let refused = self.unfinished_business(operations).and_then(|operation| operation.outcome.as_deref());
        let refused = refused.map(|outcome| format!(". Its rebuild did not succeed: {outcome}")).unwrap_or_default();
        let number = live.generation.0;
        if i64::from(self.current.version()) < i64::from(live.version) && fed_elsewhere {
            let reason = format!(
                "generation {number} was built by a later version ({}), and is fed by instances that have it; this \
                 process feeds what its own version built, to go back to",
                live.version
            );
            return State::Superseded { reason };
        }
        match (statuses.iter().find(ours), fed_elsewhere) {
            (Some(ours), true) => State::Building {
                reason: format!(
                    "generation {} is {}; instances with the earlier code feed generation {number} meanwhile",
                    ours.generation.0,
                    ours.phase.map_or("ready".into(), |phase| format!("building: {phase}"))
                ),
            },
            (None, _) if self.options.policy.on_change == OnChange::Refuse || !self.is_newer_than(live) => {
                let failure = Failure::from(changed(&self.current, live));
                State::Halted { reason: failure.to_string(), advice: failure.disposition().1.to_owned() }
            }
            (None, true) => {
                State::Building { reason: format!("instances with the earlier code feed generation {number}{refused}") }
            }
            (_, false) => {
                let moved = live.checkpoints.iter().map(|held| held.updated_at.as_str()).max();
                let since = of_live.map(|attended| attended.last_seen.as_str()).or(moved).unwrap_or(&live.created_at);
                State::Orphaned {
                    reason: format!(
                        "no running instance can feed generation {number} (version {}) since {since}, so readers see \
                         nothing newer until its successor is activated. To feed it meanwhile, start an instance with \
                         the code that built it, or register that version beside the new one{refused}",
                        live.version
                    ),
                }
            }
        }
    }

    /// Starts to carry out what is asked for, if that is not under way here already. Another instance may have it.
    fn reconcile(&mut self, operations: &[Operation]) {
        let reconciler = OperationReconciler {
            source: self.shared.source.clone(),
            store: self.shared.store.clone(),
            versions: self.versions.clone(),
            policy: self.options.policy.clone(),
            group: self.options.group.clone(),
            record_policy: self.options.record_policy.clone(),
            metrics: self.shared.metrics.projection(&self.name),
            load_limits: LoadLimits { planners: self.options.lanes.max(1), memory: self.options.buffer_bytes },
            instance: self.instance.clone(),
            seed: self.options.seed,
            stop: self.shared.stop.clone(),
        };
        if !self.reconciling && reconciler.has_work(operations) {
            self.reconciling = true;
            self.tasks.spawn(async move { Ended::OperationReconciler(reconciler.reconcile().await) });
        }
    }

    /// The chores that are missing, with nothing tried yet. One that a task is still at comes back from there.
    fn renew_chores(&mut self) {
        let context = ChoreContext {
            store: self.shared.store.clone(),
            projection: self.name.clone(),
            instance: self.instance.clone(),
            seed: self.options.seed,
            stop: self.shared.stop.clone(),
        };
        let (group, topic) = (self.options.group.clone(), self.shared.dead_letter_topic.clone());
        self.dropping.get_or_insert_with(|| TableDropper::new(&context));
        self.copying.get_or_insert_with(|| DeadLetterCopier::new(&context, group, topic));
    }

    /// Reads now and then what operators are told, and takes back what is over and has nobody else to do that.
    async fn read_notices(&mut self) -> Result<(), StoreError> {
        if !self.ticks.is_multiple_of(TICKS_BETWEEN_SIGNS) && !self.notices_changed {
            return Ok(());
        }
        self.notices = self.shared.store.notices().await?;
        self.notices.retain(|notice| notice.projection == self.name);
        self.notices_changed = false;
        self.shared.metrics.projection(&self.name).notices(&self.notices);
        let is_looked_for = self.options.record_policy.duplicate_window > 0;
        for notice in self.notices.iter().filter(|notice| notice.kind.adds_up()) {
            if notice.is_old || !is_looked_for {
                self.shared.store.clear_notice(&self.name, notice.generation, notice.kind).await?;
            }
        }
        Ok(())
    }

    /// Begins a round of each chore that is due, beside whatever else is under way.
    fn do_chores(&mut self, statuses: &[GenerationStatus]) {
        let (statuses, notices) = (statuses.to_vec(), self.notices.clone());
        if let Some(dropping) = self.dropping.take_if(|dropping| dropping.is_due(&statuses, &notices)) {
            let (statuses, notices) = (statuses.clone(), notices.clone());
            self.tasks.spawn(async move { Ended::TableDropper(dropping.run(statuses, notices).await) });
        }
        if let Some(copying) = self.copying.take_if(|copying| copying.is_due(&statuses, &notices)) {
            self.tasks.spawn(async move { Ended::DeadLetterCopier(copying.run(statuses, notices).await) });
        }
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        match ended {
            Ok(Ended::Feed(generation, outcome)) => {
                self.feeds.remove(&generation);
                match outcome {
                    Ok(()) => self.shared.health.forget(&self.name, generation),
                    Err(failure) => drop(self.halted.insert(generation, failure)),
                }
            }
            Ok(Ended::OperationReconciler(outcome)) => {
                self.reconciling = false;
                if let Err(failure) = outcome {
                    tracing::warn!(projection = self.name, "an operation was interrupted and goes on: {failure}");
                }
            }
            Ok(Ended::TableDropper(dropping)) => {
                self.dropping = Some(dropping);
                self.notices_changed = true;
            }
            Ok(Ended::DeadLetterCopier(copying)) => {
                self.copying = Some(copying);
                self.notices_changed = true;
            }
            Err(panicked) => {
                // A task's own panics are caught where it is joined; this one is a reconciler's, or a chore's.
                self.reconciling = false;
                self.renew_chores();
                tracing::error!(projection = self.name, "a task panicked: {panicked}");
            }
        }
    }

    /// What may pass is tried again, and what may not as well: an operator may have changed it.
    async fn failed(&mut self, error: StoreError) {
        let failure = Failure::from(error);
        let (disposition, advice) = failure.disposition();
        let wait = self.backoff.next_wait();
        let attempt = self.backoff.attempt();
        let projection = &self.name;
        match disposition {
            Disposition::Halt | Disposition::DeadLetter => {
                if attempt == 1 {
                    tracing::error!(projection, advice, "halted: {failure}");
                }
                let state = State::Halted { reason: failure.to_string(), advice: advice.to_owned() };
                self.shared.health.set(projection, state);
            }
            Disposition::Retry => {
                tracing::warn!(projection, attempt, advice, "{failure}; starting again in {wait:.1?}");
                if self.feeds.is_empty() {
                    let state = State::Retrying { attempt, reason: failure.to_string() };
                    self.shared.health.set(projection, state);
                }
            }
        }
        tokio::select! {
            () = self.shared.stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }

    /// Every feed ends after the transaction in hand.
    async fn drain(mut self) -> Result<(), Failure> {
        while let Some(ended) = self.tasks.join_next().await {
            self.ended(ended);
        }
        if self.prepared && self.heartbeat(false).await.is_err() {
            tracing::debug!(projection = self.name, "that this instance stops could not be noted");
        }
        self.halted.into_values().next().map_or(Ok(()), Err)
    }
}
