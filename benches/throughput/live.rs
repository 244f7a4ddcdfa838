//! The live path: what `readcast run --until-end` does; and what `readcast rebuild` does beside it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use readcast::config::Config;
use readcast::health::Health;
use readcast::metrics::Metrics;
use readcast::rebuild::Policy;
use readcast::store::{Command, OperationState, Rebuild, Store};
use readcast::supervisor::{self, Goals, Options, Shared};
use readcast::worker::Limits;
use readcast_core::Registry;
use tokio_util::sync::CancellationToken;

use crate::log::Log;
use crate::support::kafka::unique;

/// Projects from where the store stands to the end of the log. How long that took.
pub(crate) async fn run(log: &Log, store: &Arc<dyn Store>, registry: &Registry, config: &Config) -> Duration {
    let shared = shared(log, store, registry);
    let app = unique("throughput");
    let begun = Instant::now();
    let options = |name: &str| options(config, &app, name, true);
    let endings = supervisor::run(registry, options, shared, config.projector.drain).await;
    let took = begun.elapsed();
    for (name, ending) in endings {
        ending.unwrap_or_else(|failure| panic!("{name} halted: {failure}"));
    }
    took
}

/// Rebuilds every projection of a store that has projected everything, with an instance that does nothing else. How long
/// that took, from asking for it until readers see it: replay, indexes, comparison and swap.
pub(crate) async fn rebuild(log: &Log, store: &Arc<dyn Store>, registry: &Registry, config: &Config) -> Duration {
    let shared = shared(log, store, registry);
    let app = unique("throughput");
    let options = |name: &str| options(config, &app, name, false);
    let running = supervisor::run(registry, options, shared.clone(), config.projector.drain);
    let rebuilding = async {
        let begun = Instant::now();
        for definition in registry.definitions() {
            let command = Command::Rebuild(Rebuild::of(definition.hash()));
            store.request(definition.name(), &command, "a benchmark").await.unwrap();
        }
        for definition in registry.definitions() {
            while store
                .operations(definition.name(), 0)
                .await
                .unwrap()
                .iter()
                .any(|operation| operation.state.is_open())
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let last = store.operations(definition.name(), 1).await.unwrap().pop().expect("it was asked for");
            assert_eq!(last.state, OperationState::Done, "{last:?}");
        }
        shared.stop.cancel();
        begun.elapsed()
    };
    tokio::join!(running, rebuilding).1
}

fn shared(log: &Log, store: &Arc<dyn Store>, registry: &Registry) -> Shared {
    let metrics = Metrics::new();
    let names = registry.definitions().iter().map(|definition| definition.name());
    Shared {
        source: Arc::clone(&log.source),
        store: Arc::clone(store),
        health: Health::new(&metrics, names),
        metrics,
        dead_letter_topic: None,
        goals: Goals::default(),
        stop: CancellationToken::new(),
    }
}

fn options(config: &Config, app: &str, projection: &str, until_end: bool) -> Options {
    let options = config.projection(projection);
    Options {
        group: format!("{app}.{projection}"),
        handling: Arc::default(),
        stall_after: Duration::from_secs(60),
        lanes: options.lanes,
        limits: Limits { records: options.batch_records, bytes: options.batch_bytes },
        buffer_bytes: options.buffer_bytes,
        until_end,
        policy: Policy::default(),
        seed: 1,
    }
}
