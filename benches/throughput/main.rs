//! How many events a second get from the log into the read tables, beside the most that the database would take.
//!
//! **Live** is the supervisor in this process, with the default options, over a real source and a real store, from its
//! start to the end that the log had then: joining the group, reading, decoding, projecting, folding, writing, leaving.
//! **Ceiling** is a bare loop over the same store's writers, as many as the live path has lanes, that commits the same
//! rows from memory with the same statements: the log was read, planned and folded before the clock started, into
//! commits as full as the options allow. The **ratio** of the two is therefore what of the database's speed is left
//! after reading, decoding, planning and scheduling, and after commits that were less full because the log was no
//! faster. Raising the ceiling (fewer or cheaper statements) lowers the ratio, so look at both.
//!
//! Each run has a fresh database, whose tables are made before the clock starts. After each pair of runs, the tables of
//! both must be equal. **Idle** is a live run that finds nothing left to do: what starting and ending alone take of
//! every live run, whatever the number of events.
//!
//! **Rebuild** is everything again beside those tables, by an instance that does nothing else: replay, indexes,
//! comparison and swap, from asking for it until readers see it.
//!
//! With `all`, every projection reads the whole log, at the same time; the events are counted once.
//!
//! What this does not measure: latency; the network and the disks of a real deployment, for log, database and projector
//! share one machine and its cores; and durable commits in Postgres, for the server that the test harness starts never
//! calls fsync, which makes the ceiling high and the ratio hard to reach. `READCAST_TEST_POSTGRES_URL` and
//! `READCAST_TEST_KAFKA` name other servers. SQLite does sync every commit.
//!
//! `cargo bench --bench throughput [-- NAME…]` measures the cases whose names contain one of these, or all of them, with
//! 300,000 events or `READCAST_BENCH_EVENTS`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod ceiling;
mod live;
mod log;
mod report;
#[path = "../../tests/support/mod.rs"]
mod support;
mod target;

use std::time::Duration;

use readcast::config::{Config, Environment, Overrides};
use readcast_core::Registry;

use self::log::Log;
use self::report::{Figures, Report};
use self::target::Target;

const CASES: [Case; 6] = [
    Case { name: "kafka_postgres_order_summary", ends: Ends::KafkaToPostgres, projection: Some("order_summary") },
    Case { name: "kafka_postgres_customer_orders", ends: Ends::KafkaToPostgres, projection: Some("customer_orders") },
    Case { name: "kafka_postgres_product_sales", ends: Ends::KafkaToPostgres, projection: Some("product_sales") },
    Case { name: "kafka_postgres_all", ends: Ends::KafkaToPostgres, projection: None },
    Case { name: "file_sqlite_order_summary", ends: Ends::FileToSqlite, projection: Some("order_summary") },
    Case { name: "file_sqlite_all", ends: Ends::FileToSqlite, projection: None },
];

const DEFAULT_EVENTS: usize = 300_000;
/// How often each case is measured, live and ceiling by turns.
const RUNS: usize = 3;

struct Case {
    name: &'static str,
    ends: Ends,
    /// All of them, where none is named.
    projection: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    KafkaToPostgres,
    FileToSqlite,
}

/// How long each run took.
#[derive(Default)]
struct Measured {
    live: Vec<Duration>,
    rebuild: Vec<Duration>,
    ceiling: Vec<Duration>,
    idle: Vec<Duration>,
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs this too, and is no place to wait for minutes.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return println!("Without --bench, which `cargo bench` passes, nothing is measured.");
    }
    let names: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |case: &&Case| names.is_empty() || names.iter().any(|name| case.name.contains(name.as_str()));
    let config = defaults();
    let mut report = Report::begin();
    for ends in [Ends::KafkaToPostgres, Ends::FileToSqlite] {
        let cases: Vec<&Case> = CASES.iter().filter(|case| case.ends == ends).filter(wanted).collect();
        if !cases.is_empty() {
            measure_all(&cases, ends, &config, &mut report).await;
        }
    }
    report.end();
}

/// The configuration of somebody who configures nothing.
fn defaults() -> Config {
    let registry = readcast_projections::registry();
    let names: Vec<&str> = registry.definitions().iter().map(|definition| definition.name()).collect();
    let no_file = Overrides { config: Some("/dev/null".into()), ..Overrides::default() };
    Config::load(&no_file, &Environment::default(), &names).unwrap()
}

async fn measure_all(cases: &[&Case], ends: Ends, config: &Config, report: &mut Report) {
    let (log, target) = match ends {
        Ends::KafkaToPostgres => (Log::in_kafka(events(), config).await, Target::Postgres),
        Ends::FileToSqlite => (Log::in_files(events()), Target::Sqlite),
    };
    for case in cases {
        let registry = registry(case);
        let measured = measure(&log, target, &registry, config).await;
        report.add(Figures::of(case.name, log.events(), &measured), &measured);
    }
}

async fn measure(log: &Log, target: Target, registry: &Registry, config: &Config) -> Measured {
    let lanes = ceiling::lanes(&log.read().await, registry, config);
    let mut measured = Measured::default();
    for _ in 0..RUNS {
        let live = target.fresh(registry).await;
        measured.live.push(live::run(log, &live.store, registry, config).await);
        measured.idle.push(live::run(log, &live.store, registry, config).await);
        measured.rebuild.push(live::rebuild(log, &live.store, registry, config).await);
        let bare = target.fresh(registry).await;
        measured.ceiling.push(ceiling::run(&lanes, &bare.store).await);
        assert_eq!(live.glance(registry).await, bare.glance(registry).await, "live and ceiling write the same rows");
    }
    measured
}

fn registry(case: &Case) -> Registry {
    let registry = readcast_projections::registry();
    case.projection.map_or_else(|| registry.clone(), |projection| registry.only(&[projection.to_owned()]))
}

fn events() -> usize {
    std::env::var("READCAST_BENCH_EVENTS").map_or(DEFAULT_EVENTS, |events| {
        events.parse().ok().filter(|events| *events > 0).expect("READCAST_BENCH_EVENTS is a number of events")
    })
}
