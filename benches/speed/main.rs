//! How fast readcast is, how late, and what it takes: every figure beside what it is to be held against, on this machine,
//! in this run.
//!
//! Figures and baselines are taken by turns, and a **ratio** is the median of the ratios of such pairs: what else the
//! machine does meanwhile concerns both. Behind a median, in parentheses, stand the least and the most of all runs.
//! Whatever is ours runs in a process of its own ([`child`]), with the options of somebody who configures nothing. The
//! bare loops that only write what stands ready in memory ([`ceiling`]) run in this one.
//!
//! Log, broker, database and projector share one machine and its cores, and there is no network between them. Postgres
//! is durable: fsync, full_page_writes and synchronous_commit are on, and all else is as it comes, save for the number of
//! connections and for max_wal_size, which is 4 GB so that checkpoints come no more often than in a service that does not
//! write as fast as it can. SQLite syncs every commit. `READCAST_TEST_POSTGRES_URL` and `READCAST_TEST_KAFKA` name other
//! servers.
//!
//! `cargo bench --bench speed [-- NAME…]` measures the groups and cases whose names contain one of these, or all of them,
//! in half an hour on two cores. `-- table` prints what was measured last as a table in Markdown, and `-- plots` draws it
//! into `docs/src/performance`. `READCAST_BENCH_RUNS` says how often each figure is taken, `READCAST_BENCH_EVENTS` and
//! `READCAST_BENCH_GROWTH_EVENTS` with how many events.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod by_hand;
mod ceiling;
mod child;
mod clones;
mod database;
mod growth;
mod latency;
mod log;
mod machine;
mod memory;
mod order;
mod peers;
mod plots;
mod report;
mod row;
mod settings;
#[path = "../../tests/support/mod.rs"]
mod support;
mod table;
mod throughput;

use self::settings::Settings;

/// What can be measured, in this order.
const GROUPS: [&str; 6] = ["throughput", "by_hand", "latency", "memory", "growth", "peers"];

/// As in the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() {
    if let Some(job) = child::job() {
        return child::run(job).await;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs this too, and is no place to wait for minutes.
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
    latency::run(settings, top).await;
    memory::run(settings).await;
    growth::run(settings).await;
    peers::run(settings).await;
}
