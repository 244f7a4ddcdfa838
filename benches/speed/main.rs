//! Measures the throughput, latency and resource use of readcast. Each figure has a baseline, measured on the same
//! machine in the same run.
//!
//! Figures and baselines are measured in turns, and a **ratio** is the median of the ratios of these pairs, so that
//! other work of the machine affects both. The minimum and maximum of all runs follow a median in parentheses. Each
//! measurement of readcast runs in a separate process ([`child`]) with the default configuration. The bare loops that
//! write prepared rows from memory ([`ceiling`]) run in this process.
//!
//! Log, broker, database and service share one machine and its cores, without a network in between. Postgres is
//! durable: fsync, full_page_writes and synchronous_commit are on. The other settings are the defaults, except for the
//! number of connections and for max_wal_size, which is 4 GB, so that checkpoints are no more frequent than in a
//! service that does not write at full speed. SQLite syncs every commit. `READCAST_TEST_POSTGRES_URL` and
//! `READCAST_TEST_KAFKA` name other servers.
//!
//! `cargo bench --bench speed [-- NAME…]` measures the groups and cases whose names contain one of the arguments, or
//! all of them, in half an hour on two cores. `-- table` prints the last results as a table in Markdown, and `-- plots`
//! draws them into `docs/src/performance`. `READCAST_BENCH_RUNS` is the number of runs of each figure. `READCAST_BENCH_EVENTS` and
//! `READCAST_BENCH_GROWTH_EVENTS` are the numbers of events.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod by_hand;
mod ceiling;
mod child;
mod clones;
mod database;
mod duplicates;
mod flat;
mod formats;
mod growth;
mod latency;
mod log;
mod machine;
mod memory;
mod of_files;
mod order;
mod peers;
mod plots;
mod references;
mod report;
mod row;
mod settings;
#[path = "../../tests/support/mod.rs"]
mod support;
mod table;
mod throughput;

use self::settings::Settings;

/// The groups of measurements, in order.
const GROUPS: [&str; 10] = [
    "throughput",
    "by_hand",
    "references",
    "duplicates",
    "formats",
    "of_files",
    "latency",
    "memory",
    "growth",
    "peers",
];

/// The same allocator as in the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() {
    if let Some(job) = child::job() {
        return child::run(job).await;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` also runs this binary, but must not take minutes.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return println!("Without --bench, which `cargo bench` passes, nothing is measured.");
    }
    let names: Vec<String> = arguments.into_iter().filter(|argument| !argument.starts_with('-')).collect();
    match names.first().map(String::as_str) {
        Some("table") => table::print(),
        Some("plots") => plots::draw(),
        _ => measure(&Settings::read(names)).await,
    }
}

async fn measure(settings: &Settings) {
    let top = throughput::run(settings).await;
    by_hand::run(settings).await;
    references::run(settings).await;
    duplicates::run(settings).await;
    formats::run(settings).await;
    of_files::run(settings).await;
    latency::run(settings, top).await;
    memory::run(settings).await;
    growth::run(settings).await;
    peers::run(settings).await;
}
