//! Measures the peak of the resident memory of the service over a whole run, with the default configuration.

use crate::child::{Projections, Work};
use crate::database::Kind;
use crate::log::{Log, PARTITIONS, orders};
use crate::report::Report;
use crate::row::{Row, Target, plain};
use crate::settings::Settings;
use crate::throughput::{one, work};

const GROUP: &str = "memory";
const CASES: [&str; 2] = ["backlog", "large_records"];
/// The limit of the resident memory.
pub(crate) const MIB: f64 = 200.0;
const MANY_PARTITIONS: u8 = 100;
const BACKLOG: usize = 1_000_000;
const LARGE_RECORDS: usize = 400;
const LARGE_BYTES: usize = 1 << 20;

pub(crate) async fn run(settings: &Settings) {
    if !settings.want_any(GROUP, &CASES) {
        return;
    }
    let mut report = Report::begin(GROUP).await;
    if settings.want(GROUP, "backlog") {
        let backlog = settings.at_most(BACKLOG);
        let log = Log::in_kafka(MANY_PARTITIONS, orders(backlog)).await;
        let what = format!("{MANY_PARTITIONS} partitions, {} events waiting", plain(log.events() as f64));
        both(&what, &log, settings, &mut report).await;
    }
    if settings.want(GROUP, "large_records") {
        let log = Log::in_kafka(PARTITIONS, padded()).await;
        let what = format!("{} events of 1 MiB waiting", plain(log.events() as f64));
        both(&what, &log, settings, &mut report).await;
    }
    report.end();
}

/// Cases with one projection and with all three in one process.
async fn both(what: &str, log: &Log, settings: &Settings, report: &mut Report) {
    for (which, projections) in [("order_summary", one("order_summary")), ("all three", Projections::All)] {
        let mut peaks = Vec::new();
        for _ in 0..settings.runs {
            let database = Kind::Postgres.with_tables(&projections.registry()).await;
            peaks.push(work(Work::Project, log, Some(&database), &projections).await.peak_mib);
        }
        report.add(Row::new(&format!("{what}: {which}"), "MiB", peaks).target(Target::AtMost(MIB)));
    }
}

/// Events with incompressible text in a field that no projection reads.
fn padded() -> impl Iterator<Item = (String, String)> {
    let mut random = fastrand::Rng::with_seed(1);
    orders(LARGE_RECORDS).map(move |(key, event)| {
        let padding: String = std::iter::repeat_with(|| random.alphanumeric()).take(LARGE_BYTES).collect();
        (key, event.replacen('{', &format!(r#"{{"padding":"{padding}","#), 1))
    })
}
