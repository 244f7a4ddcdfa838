//! The live path: what `readcast run --until-end` does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use readcast::config::Config;
use readcast::decode::Format;
use readcast::health::Health;
use readcast::metrics::Metrics;
use readcast::store::Store;
use readcast::supervisor::{self, Goals, Options, Shared};
use readcast::worker::Limits;
use readcast_core::Registry;
use tokio_util::sync::CancellationToken;

use crate::log::Log;
use crate::support::kafka::unique;

/// Projects from where the store stands to the end of the log. How long that took.
pub(crate) async fn run(log: &Log, store: &Arc<dyn Store>, registry: &Registry, config: &Config) -> Duration {
    let metrics = Metrics::new();
    let names = registry.definitions().iter().map(|definition| definition.name());
    let shared = Shared {
        source: Arc::clone(&log.source),
        store: Arc::clone(store),
        health: Health::new(&metrics, names),
        metrics,
        goals: Goals::default(),
        stop: CancellationToken::new(),
    };
    let app = unique("throughput");
    let begun = Instant::now();
    let endings = supervisor::run(registry, |name| options(config, &app, name), shared, config.projector.drain).await;
    let took = begun.elapsed();
    for (name, ending) in endings {
        ending.unwrap_or_else(|failure| panic!("{name} halted: {failure}"));
    }
    took
}

fn options(config: &Config, app: &str, projection: &str) -> Options {
    let options = config.projection(projection);
    Options {
        group: format!("{app}.{projection}"),
        format: Format::default(),
        lanes: options.lanes,
        limits: Limits { records: options.batch_records, bytes: options.batch_bytes },
        buffer_bytes: options.buffer_bytes,
        until_end: true,
        seed: 1,
    }
}
