//! Runs the service like `readcast run --until-end`, `readcast run` and `readcast rebuild`, with the default
//! configuration.

use std::sync::Arc;
use std::time::{Duration, Instant};

use readcast::internals::config::Config;
use readcast::internals::health::Health;
use readcast::internals::metrics::Metrics;
use readcast::internals::operations::Policy;
use readcast::internals::plan::RecordPolicy;
use readcast::internals::supervisor::{self, Options, Outcomes, RunProgress, Shared};
use readcast::internals::worker::Limits;
use readcast::source::Source;
use readcast::store::{Command, Deployment, Instance, OperationState, Rebuild, Store};
use readcast_core::Registry;
use tokio_util::sync::CancellationToken;

use super::{Done, Sample, process};
use crate::support::kafka::unique;

/// The interval of checks of a bounded run, which limits the precision.
const LOOK: Duration = Duration::from_millis(2);
/// The interval of recorded observations.
const SAMPLE: Duration = Duration::from_millis(50);

pub(super) struct Projector {
    pub(super) registry: Registry,
    pub(super) config: Config,
    pub(super) source: Arc<dyn Source>,
    pub(super) store: Arc<dyn Store>,
    pub(super) record_policy: Arc<RecordPolicy>,
    pub(super) stop: CancellationToken,
}

impl Projector {
    /// Projects to the current end of the log. The time ends with the last commit, before leaving the group.
    pub(super) async fn project(self) -> Done {
        let shared = self.shared();
        let mut seen = Seen::new(self.registry.definitions().len());
        let running = self.run(true, shared.clone());
        tokio::pin!(running);
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                endings = &mut running => {
                    all_well(endings);
                    seen.look(&shared.run_progress);
                    return seen.done.expect("it ended with everything committed");
                }
                _ = look.tick() => seen.look(&shared.run_progress),
            }
        }
    }

    /// Projects until `stop` is cancelled.
    pub(super) async fn follow(self) -> Done {
        all_well(self.run(false, self.shared()).await);
        Done::default()
    }

    /// Rebuilds every projection in an instance that does nothing else: replay, indexes, comparison and swap.
    pub(super) async fn rebuild(self) -> Done {
        let rebuilding = async {
            let begun = Instant::now();
            for definition in self.registry.definitions() {
                let command = Command::Rebuild(Rebuild::of(definition.hash()));
                self.store.request(definition.name(), &command, "a benchmark").await.unwrap();
            }
            for definition in self.registry.definitions() {
                self.await_operation(definition.name()).await;
            }
            self.stop.cancel();
            begun.elapsed().as_secs_f64()
        };
        let (endings, seconds) = tokio::join!(self.run(false, self.shared()), rebuilding);
        all_well(endings);
        Done { seconds, ..Done::default() }
    }

    /// Waits until the last operation on the projection has succeeded.
    async fn await_operation(&self, projection: &str) {
        loop {
            let operations = self.store.operations(projection, 1).await.unwrap();
            let last = operations.last().expect("it was asked for");
            if !last.state.is_open() {
                return assert_eq!(last.state, OperationState::Done, "{last:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn run(&self, until_end: bool, shared: Shared) -> Outcomes {
        let app = unique("speed");
        let options = |name: &str| self.options(&app, name, until_end);
        supervisor::run(&self.registry, options, shared, self.config.projector.drain).await
    }

    fn shared(&self) -> Shared {
        let metrics = Metrics::new();
        let names = self.registry.definitions().iter().map(|definition| definition.name());
        Shared {
            source: Arc::clone(&self.source),
            store: Arc::clone(&self.store),
            health: Health::new(&metrics, names),
            metrics,
            deployment: Deployment::default(),
            instance: Instance::default(),
            dead_letter_sink: None,
            run_progress: RunProgress::default(),
            stop: self.stop.clone(),
        }
    }

    fn options(&self, app: &str, projection: &str, until_end: bool) -> Options {
        let options = self.config.projection(projection);
        Options {
            group: format!("{app}.{projection}"),
            record_policy: self.record_policy.clone(),
            stall_after: options.stall_after,
            lanes: options.lanes,
            limits: Limits { records: options.batch_records, bytes: options.batch_bytes },
            buffer_bytes: options.buffer_bytes,
            until_end,
            policy: Policy::default(),
            seed: 1,
        }
    }
}

fn all_well(endings: Outcomes) {
    for (name, ending) in endings {
        ending.unwrap_or_else(|failure| panic!("{name} halted: {failure}"));
    }
}

/// The observations of a bounded run.
struct Seen {
    projections: usize,
    begun: Instant,
    kept: Instant,
    progress: Vec<Sample>,
    done: Option<Done>,
}

impl Seen {
    fn new(projections: usize) -> Self {
        let begun = Instant::now();
        Self { projections, begun, kept: begun, progress: Vec::new(), done: None }
    }

    fn look(&mut self, goals: &RunProgress) {
        let goals = goals.snapshot();
        if self.done.is_some() || goals.len() < self.projections {
            return;
        }
        let seconds = self.begun.elapsed().as_secs_f64();
        let events = goals.values().map(|progress| progress.done).min().unwrap_or_default();
        let is_done = goals.values().all(|progress| progress.done == progress.total);
        if is_done || self.kept.elapsed() >= SAMPLE {
            self.kept = Instant::now();
            let (cpu_seconds, resident_mib) = (process::cpu_seconds(), process::resident_mib());
            self.progress.push(Sample { seconds, events, cpu_seconds, resident_mib });
        }
        if is_done {
            self.done = Some(Done { seconds, progress: std::mem::take(&mut self.progress) });
        }
    }
}
