//! A long log with growing tables.

use crate::child::{Sample, Work};
use crate::database::Kind;
use crate::growth::flatness;
use crate::log::{Log, PARTITIONS, orders};
use crate::report::{Point, Report, Series};
use crate::settings::Settings;
use crate::throughput::{one, work};

/// The number of parts of the log that are compared. The plot has a point for each million events, at least this
/// number.
const PARTS: usize = 5;

pub(super) async fn run(settings: &Settings, report: &mut Report) {
    let projections = one("order_summary");
    let log = Log::in_kafka(PARTITIONS, orders(settings.growth_events)).await;
    let database = Kind::Postgres.with_tables(&projections.registry()).await;
    let outcome = work(Work::Project, &log, Some(&database), &projections).await;
    let events = log.events();
    log.delete().await;
    let parts = |count: usize| -> Vec<Point> {
        let ends = (1..=count).map(|part| (events * (part - 1) / count, events * part / count));
        ends.map(|(from, to)| part(&outcome.progress, from, to)).collect()
    };
    let millions = (events / 1_000_000).max(PARTS);
    report.series.push(Series { axis: "events".to_owned(), points: parts(millions) });
    report.add(flatness("the events of one log", &parts(PARTS)));
}

/// The figures between two positions of the log.
fn part(progress: &[Sample], from: usize, to: usize) -> Point {
    let first = progress.iter().find(|sample| sample.events > 0).expect("something was committed");
    let begun = if (from as u64) <= first.events { *first } else { at(progress, from) };
    let ended = at(progress, to);
    let within = |sample: &&Sample| (begun.seconds..=ended.seconds).contains(&sample.seconds);
    Point {
        at: to as f64,
        events_per_s: (ended.events - begun.events) as f64 / (ended.seconds - begun.seconds),
        cpu_seconds: ended.cpu_seconds - begun.cpu_seconds,
        peak_mib: progress.iter().filter(within).map(|sample| sample.resident_mib).fold(0.0, f64::max),
    }
}

/// The first observation with at least this number of committed events.
fn at(progress: &[Sample], events: usize) -> Sample {
    *progress.iter().find(|sample| sample.events >= events as u64).expect("the log was projected to its end")
}
