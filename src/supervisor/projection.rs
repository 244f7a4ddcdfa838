//! One projection: which of its generations this process feeds, and who carries out what operators request.
//!
//! The store says what there is to do. Every instance asks it, and does its part; no instance talks to another. What is
//! concluded from the answers is in `projection/situation.rs`; this file asks, and starts and ends the tasks.

mod bounded;
mod chores;
mod situation;
mod tasks;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use readcast_core::{Definition, Registry};
use tracing::Instrument;

use self::chores::Chores;
use self::situation::{ErrorUpdate, Situation, WantedFeed};
use self::tasks::{Task, TaskEnd, Tasks};
use self::versions::Versions;
use super::feed::{Feed, keep_feeding};
use super::{Options, Shared};
use crate::error::{Disposition, Failure};
use crate::health::State;
use crate::operations::{LoadLimits, OperationReconciler};
use crate::retry::{Backoff, in_words};
use crate::store::{Command, Generation, GenerationStatus, Instance, Operation, StoreError, declaration_changes};

/// How often the store is asked what there is to do.
const TICK: Duration = Duration::from_millis(500);
/// How often an instance shows that it runs.
const TICKS_BETWEEN_HEARTBEATS: u32 = 4;
/// How often an instance asks how old the oldest snapshot in the store is.
const TICKS_BETWEEN_SNAPSHOTS: u32 = 20;
/// How many finished operations are read, to know what was refused or cancelled.
const REMEMBERED: usize = 10;

/// Runs one projection, given all its versions, until `shared.stop` is cancelled or, in a bounded run, the end of the log is
/// reached.
///
/// # Errors
/// The failure that has halted one of its generations, once all its tasks have ended.
pub(super) async fn run(registered: Registry, options: Options, shared: Shared) -> Result<(), Failure> {
    let Some(current) = registered.definitions().first().cloned() else { return Ok(()) };
    let name = current.name().to_owned();
    shared.health.set(&name, State::Starting);
    let span = tracing::error_span!("projection", projection = name);
    if options.until_end {
        return bounded::run(&current, &registered, options, shared).instrument(span).await;
    }
    let mut projection = Projection {
        name,
        versions: Versions::new(registered, current),
        instance: options.instance(),
        backoff: Backoff::new(options.seed, Duration::from_millis(200), Duration::from_secs(15)),
        options,
        shared,
        is_prepared: false,
        ticks: 0,
        feeds: BTreeMap::new(),
        halted: BTreeMap::new(),
        last_finished: None,
        chores: Chores::default(),
        tasks: Tasks::default(),
    };
    projection.chores.renew(&projection.name, &projection.options, &projection.shared);
    projection.work().instrument(span).await
}

struct Projection {
    name: String,
    versions: Versions,
    options: Options,
    shared: Shared,
    /// By what this process is known in the store.
    instance: String,
    backoff: Backoff,
    /// Whether readcast's own tables and a first generation are there.
    is_prepared: bool,
    ticks: u32,
    feeds: BTreeMap<Generation, Feed>,
    /// The generations whose feed has ended with a failure that needs an operator.
    halted: BTreeMap<Generation, Failure>,
    /// The last operation that has ended, according to the last query of this process.
    last_finished: Option<i64>,
    chores: Chores,
    tasks: Tasks,
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
                Some(end) = self.tasks.next_end() => self.ended(end),
                _ = tick.tick() => {
                    // A store that does not answer must not keep us from stopping.
                    let reconciled = tokio::select! {
                        () = stop.cancelled() => break,
                        reconciled = self.reconcile() => reconciled,
                    };
                    match reconciled {
                        Ok(()) => self.backoff.reset(),
                        Err(error) => self.failed(error).await,
                    }
                }
            }
        }
        self.drain().await
    }

    /// Asks the store what there is to do, and starts and stops tasks accordingly.
    async fn reconcile(&mut self) -> Result<(), StoreError> {
        self.prepare().await?;
        let store = self.shared.store.clone();
        let statuses = store.generations_of(&self.name).await?;
        self.versions.learn(&statuses, &*store).await?;
        self.keep_house().await?;
        let operations = store.operations(&self.name, REMEMBERED).await?;
        self.forget_cured(&operations);
        self.start_and_stop_feeds(&statuses, &operations);
        self.update_errors(&statuses).await?;
        match self.situation(&statuses, &operations).live().cloned() {
            Some(live) => {
                self.shared.metrics.projection(&self.name).parked(&live.parked);
                self.request_rebuild(&live, &statuses, &operations).await?;
                self.report(&live, &statuses, &operations).await?;
            }
            // The projection was renamed, or its rows were deleted.
            None => self.is_prepared = false,
        }
        self.start_operations(&operations);
        let is_due = self.ticks.is_multiple_of(TICKS_BETWEEN_HEARTBEATS);
        self.chores.read_notices(&self.name, &self.options, &self.shared, is_due).await?;
        self.chores.start_due(&statuses, &mut self.tasks);
        Ok(())
    }

    /// Creates readcast's own tables and the first generation.
    async fn prepare(&mut self) -> Result<(), StoreError> {
        if !self.is_prepared {
            self.shared.deploy().await?;
            self.shared.store.prepare(self.versions.current()).await?;
            self.is_prepared = true;
        }
        Ok(())
    }

    /// The heartbeat, and the age of the oldest snapshot.
    async fn keep_house(&mut self) -> Result<(), StoreError> {
        if self.ticks.is_multiple_of(TICKS_BETWEEN_HEARTBEATS) {
            self.heartbeat(true).await?;
        }
        if self.ticks.is_multiple_of(TICKS_BETWEEN_SNAPSHOTS) {
            // No answer is needed to continue.
            let oldest_snapshot = self.shared.store.oldest_snapshot(Duration::ZERO).await.ok().flatten();
            self.shared.metrics.oldest_snapshot(oldest_snapshot.and_then(|held| held.seconds).unwrap_or(0));
        }
        self.ticks = self.ticks.wrapping_add(1);
        Ok(())
    }

    fn situation<'a>(&'a self, statuses: &'a [GenerationStatus], operations: &'a [Operation]) -> Situation<'a> {
        Situation { versions: self.versions.all(), policy: &self.options.policy, statuses, operations }
    }

    async fn heartbeat(&self, is_running: bool) -> Result<(), StoreError> {
        let hashes: Vec<&str> = self.versions.all().iter().map(Definition::hash).collect();
        let instance = Instance { id: self.instance.clone(), ..self.shared.instance.clone() };
        self.shared.store.heartbeat(&instance, &self.name, &hashes, is_running).await
    }

    /// Retries what has halted after an operation that may have removed the cause.
    fn forget_cured(&mut self, operations: &[Operation]) {
        let situation = self.situation(&[], operations);
        let is_cured = self.last_finished.is_some_and(|seen| situation.has_cure_after(seen));
        self.last_finished = situation.last_finished().or(self.last_finished).or(Some(0));
        if is_cured {
            self.halted.clear();
        }
    }

    /// Starts and stops feeds, so that this process feeds every generation that it can.
    fn start_and_stop_feeds(&mut self, statuses: &[GenerationStatus], operations: &[Operation]) {
        let versions = self.versions.all().to_vec();
        let policy = self.options.policy.clone();
        let situation = Situation { versions: &versions, policy: &policy, statuses, operations };
        let wanted = situation.wanted_feeds();
        let numbers: BTreeSet<Generation> = wanted.iter().map(|wanted| wanted.status.generation).collect();
        for (_, feed) in self.feeds.iter().filter(|(generation, _)| !numbers.contains(generation)) {
            feed.stop.cancel();
        }
        // An operator who pauses and resumes a generation that has halted asks for another try.
        for (generation, _) in self.halted.extract_if(.., |generation, _| !numbers.contains(generation)) {
            self.shared.health.forget(&self.name, generation);
        }
        for wanted in wanted {
            let generation = wanted.status.generation;
            match self.feeds.get(&generation) {
                Some(feed) if feed.bulk == wanted.bulk => feed.priority.set(wanted.priority),
                // It is started again, the other way, once it has ended.
                Some(feed) => feed.stop.cancel(),
                None if self.halted.contains_key(&generation) => {}
                None => self.start_feed(&wanted),
            }
        }
    }

    fn start_feed(&mut self, wanted: &WantedFeed<'_>) {
        let generation = wanted.status.generation;
        let feed = Feed {
            definition: wanted.definition.clone(),
            generation,
            bulk: wanted.bulk,
            allowed: wanted.allowed,
            max_live_lag: wanted.max_live_lag,
            priority: wanted.priority.into(),
            stop: self.shared.stop.child_token(),
        };
        self.feeds.insert(generation, feed.clone());
        let (options, shared) = (self.options.clone(), self.shared.clone());
        let feeding = async move { TaskEnd::Feed(generation, keep_feeding(feed, options, shared).await) };
        self.tasks.spawn(Task::Feed(generation), feeding);
    }

    /// Makes the store say, of each generation that is not fed here, that it has halted here, or nothing that is over.
    async fn update_errors(&self, statuses: &[GenerationStatus]) -> Result<(), StoreError> {
        let store = &self.shared.store;
        let is_not_fed_here =
            |status: &&GenerationStatus| status.state.is_fed() && !self.feeds.contains_key(&status.generation);
        for status in statuses.iter().filter(is_not_fed_here) {
            let generation = status.generation;
            match ErrorUpdate::of(status.last_error.as_ref(), self.halted.get(&generation), &self.instance) {
                ErrorUpdate::Keep => {}
                ErrorUpdate::Record(error) => {
                    store.record_error(&self.name, generation, &self.instance, &error).await?;
                }
                ErrorUpdate::Clear => store.clear_error(&self.name, generation, &self.instance).await?,
            }
        }
        Ok(())
    }

    /// A deployment of changed code builds its tables by itself, where the policy says so.
    async fn request_rebuild(
        &self,
        live: &GenerationStatus,
        statuses: &[GenerationStatus],
        operations: &[Operation],
    ) -> Result<(), StoreError> {
        let Some(rebuild) = self.situation(statuses, operations).rebuild_to_request(live) else { return Ok(()) };
        let changes = declaration_changes(self.versions.current(), live).join("; ");
        tracing::info!("definition changed; rebuild requested: {changes}");
        self.shared.store.request(&self.name, &Command::Rebuild(rebuild), "on_change").await.map(drop)
    }

    /// Reports the state of the projection, which is that of what readers see.
    async fn report(
        &self,
        live: &GenerationStatus,
        statuses: &[GenerationStatus],
        operations: &[Operation],
    ) -> Result<(), StoreError> {
        let health = &self.shared.health;
        let situation = self.situation(statuses, operations);
        if let Some(since) = &live.paused_since {
            health.set(&self.name, State::Paused { since: since.clone() });
        } else if situation.version(&live.definition_hash).is_some() {
            health.serve(&self.name, live.generation);
        } else {
            let heartbeats = self.shared.store.heartbeats().await?;
            let all = self.shared.store.generations().await?;
            let is_live =
                |status: &&GenerationStatus| status.projection == self.name && status.generation == live.generation;
            // With its checkpoints, which tell when it last moved.
            let live = all.iter().find(is_live).unwrap_or(live);
            health.set(&self.name, situation.state_without_live_code(live, &heartbeats));
        }
        Ok(())
    }

    /// Starts to carry out what is requested, if that is not under way here already. Another instance may do it.
    fn start_operations(&mut self, operations: &[Operation]) {
        let reconciler = OperationReconciler {
            source: self.shared.source.clone(),
            store: self.shared.store.clone(),
            versions: self.versions.all().to_vec(),
            policy: self.options.policy.clone(),
            group: self.options.group.clone(),
            record_policy: self.options.record_policy.clone(),
            metrics: self.shared.metrics.projection(&self.name),
            load_limits: LoadLimits { planners: self.options.lanes.max(1), memory: self.options.buffer_bytes },
            instance: self.instance.clone(),
            seed: self.options.seed,
            stop: self.shared.stop.clone(),
        };
        if !self.tasks.is_running(Task::OperationReconciler) && reconciler.has_work(operations) {
            let reconciling = async move { TaskEnd::OperationReconciler(reconciler.reconcile().await) };
            self.tasks.spawn(Task::OperationReconciler, reconciling.in_current_span());
        }
    }

    fn ended(&mut self, end: TaskEnd) {
        match end {
            TaskEnd::Feed(generation, outcome) => self.feed_ended(generation, outcome),
            TaskEnd::OperationReconciler(Ok(())) => {}
            TaskEnd::OperationReconciler(Err(failure)) => {
                tracing::warn!("operation interrupted, and will be continued: {failure}");
            }
            TaskEnd::TableDropper(dropper) => self.chores.dropped_tables(dropper),
            TaskEnd::DeadLetterCopier(copier) => self.chores.copied_dead_letters(copier),
            TaskEnd::Panicked(Task::Feed(generation), text) => self.feed_panicked(generation, text),
            TaskEnd::Panicked(task, text) => {
                tracing::error!(?task, "task panicked, and will be started again: {text}");
                self.chores.renew(&self.name, &self.options, &self.shared);
            }
        }
    }

    fn feed_ended(&mut self, generation: Generation, outcome: Result<(), Failure>) {
        self.feeds.remove(&generation);
        match outcome {
            Ok(()) => self.shared.health.forget(&self.name, generation),
            Err(failure) => drop(self.halted.insert(generation, failure)),
        }
    }

    /// Does what a feed does by itself when it halts: a feed that panicked could not.
    fn feed_panicked(&mut self, generation: Generation, text: String) {
        let failure = Failure::Panicked(text);
        let advice = failure.disposition().1;
        tracing::error!(generation = generation.0, advice, "halted: {failure}");
        let state = State::Halted { reason: failure.in_full(), advice: advice.to_owned() };
        self.shared.health.reporter(&self.name, generation).set(state);
        if self.feeds.get(&generation).is_some_and(Feed::is_live) {
            self.shared.metrics.projection(&self.name).forget_all();
        }
        self.feed_ended(generation, Err(failure));
    }

    /// Waits before the store is asked again. Also where the failure halts: an operator may have removed the cause.
    async fn failed(&mut self, error: StoreError) {
        let failure = Failure::from(error);
        let (disposition, advice) = failure.disposition();
        let wait = self.backoff.next_wait();
        let attempt = self.backoff.attempt();
        let health = &self.shared.health;
        match disposition {
            Disposition::Halt | Disposition::DeadLetter => {
                if attempt == 1 {
                    tracing::error!(advice, "halted: {failure}");
                }
                let state = State::Halted { reason: failure.to_string(), advice: advice.to_owned() };
                health.set(&self.name, state);
            }
            Disposition::Retry => {
                tracing::warn!(attempt, advice, "asking the store failed; retrying in {}: {failure}", in_words(wait));
                if self.feeds.is_empty() {
                    health.set(&self.name, State::Retrying { attempt, reason: failure.to_string() });
                }
            }
        }
        tokio::select! {
            () = self.shared.stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }

    /// Waits for the ends of all tasks: every feed ends after the transactions that its lanes are in.
    async fn drain(mut self) -> Result<(), Failure> {
        while let Some(end) = self.tasks.next_end().await {
            self.ended(end);
        }
        if self.is_prepared && self.heartbeat(false).await.is_err() {
            tracing::debug!("the store does not know that this instance has stopped");
        }
        self.halted.into_values().next().map_or(Ok(()), Err)
    }
}
