//! The only owner of tasks: starts each projection, starts it again after what may pass, leaves it halted after what
//! may not, and drains them all at the end. One projection's failure is news here and nowhere else.

mod feed;
mod goal;
mod projection;
mod stall_detector;

use std::sync::Arc;
use std::time::Duration;

use readcast_core::Registry;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

pub use self::goal::{Goals, Progress};
use crate::error::Failure;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::operations::Policy;
use crate::plan::RecordPolicy;
use crate::source::{DeadLetterSink, Source};
use crate::store::{Deployment, Instance, Store, StoreError};
use crate::worker::Limits;

/// How often liveness is shown.
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
    /// How long a partition may deliver nothing of what there is before something is done about it.
    pub stall_after: Duration,
    /// End at the positions that the log has at the start.
    pub until_end: bool,
    /// How its generations come and go.
    pub policy: Policy,
    /// What every random choice is drawn from.
    pub seed: u64,
}

impl Options {
    /// By what this instance is known in the store.
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
    /// What this process says of itself.
    pub instance: Instance,
    /// Where dead letters are copied to, if anywhere.
    pub dead_letter_sink: Option<Arc<dyn DeadLetterSink>>,
    /// Where is counted.
    pub metrics: Metrics,
    /// Where each projection says how it fares.
    pub health: Health,
    /// How far a bounded run is.
    pub goals: Goals,
    /// When this is cancelled, everything drains.
    pub stop: CancellationToken,
}

impl Shared {
    /// Makes sure that the database is ours, and has our tables in it.
    async fn deploy(&self) -> Result<(), StoreError> {
        self.store.migrate().await?;
        // While the log is away nobody knows in which cluster it is. Its positions are looked at before any is used.
        let cluster_id = self.source.cluster_id().await.ok().flatten();
        self.store.deploy(&Deployment { cluster_id, ..self.deployment.clone() }, false).await
    }
}

/// How each projection ended, by name.
pub type Endings = Vec<(String, Result<(), Failure>)>;

/// Runs the projections until each has come to its end or `shared.stop` is cancelled; then they have `drain` to finish
/// the batches in hand and leave their groups.
pub async fn run(registry: &Registry, options: impl Fn(&str) -> Options, shared: Shared, drain: Duration) -> Endings {
    let mut tasks = JoinSet::new();
    let mut running: Vec<(Id, String)> = Vec::new();
    for definition in registry.definitions() {
        let name = definition.name();
        let versions = registry.versions(name).cloned().collect();
        let task = projection::run(versions, options(name), shared.clone());
        running.push((tasks.spawn(task).id(), name.to_owned()));
    }
    let mut endings = Endings::new();
    let deadline = async {
        shared.stop.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::pin!(deadline);
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    loop {
        let (id, ending) = tokio::select! {
            _ = heartbeat.tick() => {
                shared.health.beat();
                continue;
            }
            joined = tasks.join_next_with_id() => match joined {
                None => return endings,
                Some(Ok((id, ending))) => (id, ending),
                Some(Err(panicked)) => (panicked.id(), Err(Failure::Panicked(panicked.to_string()))),
            },
            () = &mut deadline => {
                // What is not committed by now is rolled back, and projected again after the next start.
                let late = running.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ");
                tracing::warn!("{late} did not drain within {drain:.0?}: the transactions in hand are rolled back");
                tasks.shutdown().await;
                return endings;
            }
        };
        running.retain(|(other, name)| {
            if *other == id {
                endings.push((name.clone(), ending.clone()));
            }
            *other != id
        });
    }
}
