//! The only owner of tasks: starts each projection, starts it again after what may pass, leaves it halted after what
//! may not, and drains them all at the end. One projection's failure is news here and nowhere else.

mod goal;
mod projection;

use std::sync::Arc;
use std::time::Duration;

use readcast_core::{Definition, Registry};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::goal::{Goals, Progress};
use crate::decode::Format;
use crate::error::{Disposition, Failure};
use crate::health::{Health, State};
use crate::metrics::Metrics;
use crate::retry::Backoff;
use crate::source::Source;
use crate::store::Store;
use crate::worker::Limits;

/// How often liveness is shown.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long a run must last for the waits after its failure to begin anew.
const A_GOOD_RUN: Duration = Duration::from_secs(60);
/// How long a bounded run keeps trying what may pass, before it gives up.
const PATIENCE_OF_A_BOUNDED_RUN: Duration = Duration::from_secs(30);

/// How one projection is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The consumer group.
    pub group: String,
    /// How the records are written.
    pub format: Format,
    /// How many lanes, each with a connection of its own.
    pub lanes: usize,
    /// How much a lane takes into one transaction.
    pub limits: Limits,
    /// How many bytes of records may wait for its lanes.
    pub buffer_bytes: usize,
    /// End at the positions that the log has at the start.
    pub until_end: bool,
    /// What every random choice is drawn from.
    pub seed: u64,
}

/// What the projections share.
#[derive(Clone)]
pub struct Shared {
    /// Where records come from.
    pub source: Arc<dyn Source>,
    /// Where rows go.
    pub store: Arc<dyn Store>,
    /// Where is counted.
    pub metrics: Metrics,
    /// Where each projection says how it fares.
    pub health: Health,
    /// How far a bounded run is.
    pub goals: Goals,
    /// When this is cancelled, everything drains.
    pub stop: CancellationToken,
}

/// How each projection ended, by name.
pub type Endings = Vec<(String, Result<(), Failure>)>;

/// Runs the projections until each has come to its end or `shared.stop` is cancelled; then they have `drain` to finish
/// the batches in hand and leave their groups.
pub async fn run(registry: &Registry, options: impl Fn(&str) -> Options, shared: Shared, drain: Duration) -> Endings {
    let mut tasks = JoinSet::new();
    let mut running: Vec<(Id, String)> = Vec::new();
    for definition in registry.definitions() {
        let task = keep_running(definition.clone(), options(definition.name()), shared.clone());
        running.push((tasks.spawn(task).id(), definition.name().to_owned()));
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

/// Runs one projection again and again, as its failures allow.
async fn keep_running(definition: Definition, options: Options, shared: Shared) -> Result<(), Failure> {
    let name = definition.name().to_owned();
    let mut backoff = Backoff::new(options.seed, Duration::from_millis(200), Duration::from_secs(15));
    let give_up = options.until_end.then(|| Instant::now() + PATIENCE_OF_A_BOUNDED_RUN);
    loop {
        shared.health.set(&name, State::Starting);
        let begun = Instant::now();
        let failure = match projection::run(&definition, &options, &shared).await {
            Ok(()) => {
                shared.health.set(&name, State::Stopped);
                return Ok(());
            }
            Err(failure) => failure,
        };
        if begun.elapsed() >= A_GOOD_RUN {
            backoff.reset();
        }
        let wait = backoff.next_wait();
        let (disposition, advice) = failure.disposition();
        let hopeless = give_up.is_some_and(|give_up| Instant::now() + wait > give_up);
        if disposition == Disposition::Halt || hopeless {
            tracing::error!(projection = name, advice, "halted: {failure}");
            shared.health.set(&name, State::Halted { reason: failure.to_string(), advice: advice.to_owned() });
            return Err(failure);
        }
        let attempt = backoff.attempt();
        tracing::warn!(projection = name, attempt, advice, "{failure}; starting again in {wait:.1?}");
        shared.metrics.projection(&name).retried();
        shared.health.set(&name, State::Retrying { attempt, reason: failure.to_string() });
        tokio::select! {
            () = shared.stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
    }
}
