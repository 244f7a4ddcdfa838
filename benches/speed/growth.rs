//! Measures how rate, CPU time and memory change as the log, its partitions, the tables or the number of projections
//! grow.
//!
//! A rate is **flat** if the difference of the highest and the lowest of all points is at most 15 % of their median. A
//! point is the median of its runs. Along the log, a point is the rate of one fifth of the events, from the first
//! commit on. The cost of more projections is **linear or better** if `n` of them take no more than `n` times as long
//! as one.

mod events;
mod partitions;
mod projections;
mod table_rows;

use crate::child::Outcome;
use crate::report::{Point, Report};
use crate::row::{Row, Target, median, plain};
use crate::settings::Settings;

const GROUP: &str = "growth";
const CASES: [&str; 4] = ["events", "partitions", "table_rows", "projections"];
/// The number of events of each point, unless the number of events is the axis.
const EVENTS: usize = 300_000;
const MOST_CHANGE_PERCENT: f64 = 15.0;

pub(crate) async fn run(settings: &Settings) {
    if !settings.want_any(GROUP, &CASES) {
        return;
    }
    let mut report = Report::begin(GROUP).await;
    if settings.want(GROUP, "events") {
        events::run(settings, &mut report).await;
    }
    if settings.want(GROUP, "partitions") {
        partitions::run(settings, &mut report).await;
    }
    if settings.want(GROUP, "table_rows") {
        table_rows::run(settings, &mut report).await;
    }
    if settings.want(GROUP, "projections") {
        projections::run(settings, &mut report).await;
    }
    report.end();
}

/// The medians of several runs with `events` events.
fn point(at: f64, events: usize, runs: &[Outcome]) -> Point {
    let middle = |of: fn(&Outcome) -> f64| median(&runs.iter().map(of).collect::<Vec<_>>());
    Point {
        at,
        events_per_s: events as f64 / middle(|run| run.seconds),
        cpu_seconds: middle(|run| run.cpu_seconds),
        peak_mib: middle(|run| run.peak_mib),
    }
}

/// The row for the spread of the rate between the points, with its target.
fn flatness(axis: &str, points: &[Point]) -> Row {
    let rates: Vec<_> = points.iter().map(|point| (point.at, point.events_per_s)).collect();
    change(&format!("change of the rate over {axis}"), &rates).target(Target::AtMost(MOST_CHANGE_PERCENT))
}

/// The spread of the rates, each given with its point on the axis.
fn change(case: &str, rates: &[(f64, f64)]) -> Row {
    let alone: Vec<f64> = rates.iter().map(|(_, rate)| *rate).collect();
    let (least, most) = (alone.iter().copied().fold(f64::MAX, f64::min), alone.iter().copied().fold(0.0, f64::max));
    let change = (most - least) / median(&alone) * 100.0;
    let rates: Vec<_> = rates.iter().map(|(at, rate)| format!("{}: {}", plain(*at), plain(*rate))).collect();
    Row::new(case, "%", vec![change]).noting(format!("events/s at {}", rates.join("; ")))
}
