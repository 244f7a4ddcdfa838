//! The only owner of tasks: starts each projection, retries it after a failure that may pass, leaves it halted after one
//! that needs an operator, and drains them all at the end. A projection's failure concerns no other projection.

mod feed;
mod progress;
mod projection;
mod stall_detector;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use readcast_core::Registry;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub use self::progress::{Progress, RunProgress};
use crate::error::Failure;
use crate::health::{Health, State};
use crate::metrics::Metrics;
use crate::operations::Policy;
use crate::plan::RecordPolicy;
use crate::retry::in_words;
use crate::source::{DeadLetterSink, Source};
use crate::store::{Deployment, Instance, Store, StoreError};
use crate::worker::Limits;

/// How often the supervisor gives a sign of life.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How one projection is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The consumer group.
    pub group: String,
    /// How records are read, and what is done about those that can't be projected.
    pub record_policy: Arc<RecordPolicy>,
    /// How many lanes, each with a connection of its own.
    pub lanes: usize,
    /// How much a lane takes into one transaction.
    pub limits: Limits,
    /// How many bytes of records may wait for its lanes.
    pub buffer_bytes: usize,
    /// How long a partition may deliver nothing of what there is before the feed is restarted.
    pub stall_after: Duration,
    /// Whether to end at the positions that the log has at the start: a bounded run.
    pub until_end: bool,
    /// When generations are built, activated and retired.
    pub policy: Policy,
    /// The seed of every random choice.
    pub seed: u64,
}

impl Options {
    /// The name of this instance in the store.
    pub(crate) fn instance(&self) -> String {
        format!("{:016x}", self.seed)
    }
}

/// What the projections share.
#[derive(Clone)]
pub struct Shared {
    /// Where records come from.
    pub source: Arc<dyn Source>,
    /// Where rows go.
    pub store: Arc<dyn Store>,
    /// Whose positions and tables these are. Which cluster the log is in is asked of the source.
    pub deployment: Deployment,
    /// What this process tells others of itself.
    pub instance: Instance,
    /// Where dead letters are copied to, if anywhere.
    pub dead_letter_sink: Option<Arc<dyn DeadLetterSink>>,
    /// The counters and gauges of the process.
    pub metrics: Metrics,
    /// The state of each projection.
    pub health: Health,
    /// How far a bounded run is.
    pub run_progress: RunProgress,
    /// Cancelled to drain everything.
    pub stop: CancellationToken,
}

impl Shared {
    /// Makes sure that the database is this deployment's, and has readcast's own tables.
    async fn deploy(&self) -> Result<(), StoreError> {
        self.store.migrate().await?;
        // While the log can't be reached its cluster is unknown. Positions are compared with the log before any is used.
        let cluster_id = self.source.cluster_id().await.ok().flatten();
        self.store.deploy(&Deployment { cluster_id, ..self.deployment.clone() }, false).await
    }
}

/// How each projection ended, by name. Projections that did not end before the deadline are left out.
pub type Outcomes = Vec<(String, Result<(), Failure>)>;

/// Runs the projections until each has ended or `shared.stop` is cancelled. Then they have `drain` to finish the
/// transactions that they are in and to leave their groups. A transaction that does not end in time is rolled back, and
/// its records are projected again after the next start; the groups are left in any case.
pub async fn run(registry: &Registry, options: impl Fn(&str) -> Options, shared: Shared, drain: Duration) -> Outcomes {
    let mut projections = Projections::start(registry, options, &shared);
    let mut outcomes = Outcomes::new();
    let deadline = async {
        shared.stop.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::pin!(deadline);
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    loop {
        tokio::select! {
            _ = heartbeat.tick() => shared.health.beat(),
            outcome = projections.next_outcome() => match outcome {
                Some(outcome) => outcomes.push(outcome),
                None => return outcomes,
            },
            () = &mut deadline => {
                projections.abort(drain).await;
                shared.source.leave_groups().await;
                return outcomes;
            }
        }
    }
}

/// The tasks of all projections.
struct Projections {
    tasks: JoinSet<Result<(), Failure>>,
    names: HashMap<Id, String>,
    health: Health,
}

impl Projections {
    fn start(registry: &Registry, options: impl Fn(&str) -> Options, shared: &Shared) -> Self {
        let mut projections = Self { tasks: JoinSet::new(), names: HashMap::new(), health: shared.health.clone() };
        for definition in registry.definitions() {
            let name = definition.name();
            let registered = registry.only(&[name.to_owned()]);
            let task = projections.tasks.spawn(projection::run(registered, options(name), shared.clone()));
            projections.names.insert(task.id(), name.to_owned());
        }
        projections
    }

    /// Waits for the next projection to end; `None` when all have. May be cancelled without losing anything.
    async fn next_outcome(&mut self) -> Option<(String, Result<(), Failure>)> {
        let joined = self.tasks.join_next_with_id().await?;
        let id = joined.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let name = self.names.remove(&id)?;
        let outcome = joined.map(|(_, outcome)| outcome).unwrap_or_else(|panicked| {
            let failure = Failure::Panicked(panicked.to_string());
            let advice = failure.disposition().1;
            tracing::error!(projection = name, advice, "halted: {failure}");
            self.health.set(&name, State::Halted { reason: failure.in_full(), advice: advice.to_owned() });
            Err(failure)
        });
        Some((name, outcome))
    }

    /// Aborts what has not ended within `drain`.
    async fn abort(&mut self, drain: Duration) {
        let mut late: Vec<&str> = self.names.values().map(String::as_str).collect();
        late.sort_unstable();
        let (late, drain) = (late.join(", "), in_words(drain));
        tracing::warn!("{late} did not drain within {drain}; their open transactions are rolled back");
        self.tasks.shutdown().await;
    }
}
