//! Measures the events per second from the log to the read tables. The baseline is the limit of the database, or of
//! reading the log.
//!
//! The **ceiling** writes the same folded rows from memory in a bare loop, in commits of the fastest size. **All its
//! loops** are as many loops at once as the live path has lanes. If the fold leaves almost nothing to write, the
//! database is not the limit. The baseline is then reading and decoding the same topic without any further work.
//!
//! A **rebuild** builds the same tables again: replay, indexes, comparison and swap.

use readcast_projections::sample::Orders;

use crate::ceiling::bare_sql::BareSql;
use crate::ceiling::{Ceiling, Loops};
use crate::child::{Job, Outcome, Projections, Work, defaults};
use crate::database::{Fresh, Kind};
use crate::log::{Log, PARTITIONS, orders};
use crate::report::Report;
use crate::row::{Row, Target, median, plain};
use crate::settings::Settings;

const GROUP: &str = "throughput";
const CASES: [&str; 4] = ["order_summary", "hot_keys", "all", "files"];
const UNIT: &str = "events/s";
const CEILING: &str = "its ceiling, a bare loop";
const ALL_LOOPS: &str = "all its loops at once";
const READING: &str = "reading and decoding alone";
/// The number of products in the case of hot keys: every batch changes most of them, and each many times.
const HOT_KEYS: u32 = 1_000;

/// Measures the selected cases of the group. Returns the rate of `order_summary` from Kafka to Postgres, if it was
/// measured.
pub(crate) async fn run(settings: &Settings) -> Option<f64> {
    if !settings.want_any(GROUP, &CASES) {
        return None;
    }
    let mut report = Report::begin(GROUP).await;
    let mut top = None;
    if settings.want_any(GROUP, &["order_summary", "all"]) {
        let log = Log::in_kafka(PARTITIONS, orders(settings.events)).await;
        println!("  {} events of {} bytes on average", plain(log.events() as f64), plain(log.bytes_an_event()));
        if settings.want(GROUP, "order_summary") {
            top = Some(order_summary(&log, settings, &mut report).await);
        }
        if settings.want(GROUP, "all") {
            let name = "live, Kafka to Postgres, all three at once";
            let live = beside_ceiling(name, &log, Kind::Postgres, Projections::All, settings).await;
            report.add(live.one.target(Target::RatioAtLeast(0.7)));
            report.add(live.all);
        }
        log.delete().await;
    }
    if settings.want(GROUP, "hot_keys") {
        report.add(hot_keys(settings).await.target(Target::RatioAtLeast(0.8)));
    }
    if settings.want(GROUP, "files") {
        let log = Log::in_files(orders(settings.events));
        let name = "live, files to SQLite, order_summary";
        let live = beside_ceiling(name, &log, Kind::Sqlite, one("order_summary"), settings).await;
        report.add(live.one.target(Target::RatioAtLeast(0.6)));
    }
    report.end();
    top
}

/// Measures the rate of `order_summary` from Kafka to Postgres, for other groups.
pub(crate) async fn top_rate(settings: &Settings) -> f64 {
    let log = Log::in_kafka(PARTITIONS, orders(settings.events)).await;
    let projections = one("order_summary");
    let database = Kind::Postgres.with_tables(&projections.registry()).await;
    let rate = rate(&log, &work(Work::Project, &log, Some(&database), &projections).await);
    log.delete().await;
    rate
}

pub(crate) fn one(projection: &str) -> Projections {
    Projections::One(projection.to_owned())
}

/// Runs a job on the log in a separate process.
pub(crate) async fn work(work: Work, log: &Log, database: Option<&Fresh>, projections: &Projections) -> Outcome {
    let store = database.map(|database| database.address.clone());
    Job { work, log: log.address.clone(), store, projections: projections.clone() }.run().await
}

pub(crate) fn rate(log: &Log, outcome: &Outcome) -> f64 {
    log.events() as f64 / outcome.seconds
}

/// Measures a case completely: live, the ceiling and its check, rebuild, reading only. Returns the live rate.
async fn order_summary(log: &Log, settings: &Settings, report: &mut Report) -> f64 {
    let projections = one("order_summary");
    let registry = projections.registry();
    let batches = log.read(&registry).await;
    let ceiling = Ceiling::best(&batches, &registry, Kind::Postgres, Loops::One).await;
    let all = Ceiling::best(&batches, &registry, Kind::Postgres, Loops::AsLanes).await;
    let connections = defaults(&registry).projection("order_summary").lanes;
    let bare_sql = BareSql::new(&batches, connections, all.records_a_commit);
    drop(batches);
    let [mut live, mut top, mut widest, mut check, mut rebuild, mut reading] = [const { Vec::new() }; 6];
    let events = log.events() as f64;
    for _ in 0..settings.runs {
        let database = Kind::Postgres.with_tables(&registry).await;
        live.push(rate(log, &work(Work::Project, log, Some(&database), &projections).await));
        let rows = database.glance(&registry).await;
        let bare = Kind::Postgres.with_tables(&registry).await;
        top.push(events / ceiling.write(&bare.open().await).await);
        assert_eq!(rows, bare.glance(&registry).await, "live and ceiling write the same rows");
        let bare = Kind::Postgres.with_tables(&registry).await;
        widest.push(events / all.write(&bare.open().await).await);
        let bare = Kind::Postgres.with_tables(&registry).await;
        check.push(events / bare_sql.write(&bare.postgres().options()).await);
        assert_eq!(rows, bare.glance(&registry).await, "live and the check of the ceiling write the same rows");
        rebuild.push(rate(log, &work(Work::Rebuild, log, Some(&database), &projections).await));
        assert_eq!(rows, database.glance(&registry).await, "a rebuild gives the same rows");
        reading.push(rate(log, &work(Work::Read { events: log.events() }, log, None, &projections).await));
    }
    let size = format!("commits of about {} records are the best", plain(ceiling.records_a_commit as f64));
    let case = "live, Kafka to Postgres, order_summary";
    let row = Row::new(case, UNIT, live.clone()).against(CEILING, top.clone());
    report.add(row.target(Target::RatioAtLeast(0.8)).noting(size));
    report.add(Row::new(case, UNIT, live.clone()).against(ALL_LOOPS, widest.clone()));
    let case = "check: all loops at once, in SQL of their own";
    report.add(Row::new(case, UNIT, check).against(ALL_LOOPS, widest));
    let case = "rebuild, Kafka to Postgres, order_summary";
    let row = Row::new(case, UNIT, rebuild.clone()).against("the live rate", live.clone());
    report.add(row.target(Target::RatioAtLeast(3.0)));
    report.add(Row::new(case, UNIT, rebuild).against(READING, reading).target(Target::RatioAtLeast(0.5)));
    median(&live)
}

/// The rows of the live rate against both ceilings.
struct Beside {
    one: Row,
    all: Row,
}

async fn beside_ceiling(case: &str, log: &Log, kind: Kind, projections: Projections, settings: &Settings) -> Beside {
    let registry = projections.registry();
    let batches = log.read(&registry).await;
    let ceiling = Ceiling::best(&batches, &registry, kind, Loops::One).await;
    let all = Ceiling::best(&batches, &registry, kind, Loops::AsLanes).await;
    drop(batches);
    let (mut live, mut top, mut widest) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..settings.runs {
        let database = kind.with_tables(&registry).await;
        live.push(rate(log, &work(Work::Project, log, Some(&database), &projections).await));
        let bare = kind.with_tables(&registry).await;
        top.push(log.events() as f64 / ceiling.write(&bare.open().await).await);
        let same = database.glance(&registry).await == bare.glance(&registry).await;
        assert!(same, "live and ceiling write the same rows");
        let bare = kind.with_tables(&registry).await;
        widest.push(log.events() as f64 / all.write(&bare.open().await).await);
    }
    let size = format!("commits of about {} records are the best", plain(ceiling.records_a_commit as f64));
    Beside {
        one: Row::new(case, UNIT, live.clone()).against(CEILING, top).noting(size),
        all: Row::new(case, UNIT, live).against(ALL_LOOPS, widest),
    }
}

async fn hot_keys(settings: &Settings) -> Row {
    let projections = one("product_sales");
    let log = Log::in_kafka(PARTITIONS, Orders::new(1).products(HOT_KEYS).take(settings.events)).await;
    let (mut live, mut reading) = (Vec::new(), Vec::new());
    for _ in 0..settings.runs {
        let database = Kind::Postgres.with_tables(&projections.registry()).await;
        live.push(rate(&log, &work(Work::Project, &log, Some(&database), &projections).await));
        reading.push(rate(&log, &work(Work::Read { events: log.events() }, &log, None, &projections).await));
    }
    log.delete().await;
    let case = format!("live, hot keys: product_sales of {} products", plain(HOT_KEYS.into()));
    Row::new(&case, UNIT, live).against(READING, reading)
}
