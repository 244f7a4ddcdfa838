//! The same number of events for more projections, each of which reads all of them.

use crate::child::{Projections, Work};
use crate::database::Kind;
use crate::growth::{EVENTS, point};
use crate::log::{Log, PARTITIONS, orders};
use crate::report::{Report, Series};
use crate::row::{Row, Target, plain};
use crate::settings::Settings;
use crate::throughput::work;

const COUNTS: [usize; 6] = [1, 2, 4, 6, 8, 10];

pub(super) async fn run(settings: &Settings, report: &mut Report) {
    let events = settings.at_most(EVENTS);
    let log = Log::in_kafka(PARTITIONS, orders(events)).await;
    let mut points = Vec::new();
    for count in COUNTS {
        let projections = Projections::Clones(count);
        let mut runs = Vec::new();
        for _ in 0..settings.runs {
            let database = Kind::Postgres.with_tables(&projections.registry()).await;
            runs.push(work(Work::Project, &log, Some(&database), &projections).await);
        }
        points.push(point(count as f64, events, &runs));
    }
    log.delete().await;
    let times = |n: usize| points[0].events_per_s / points[n].events_per_s;
    let worst = (1..points.len()).map(|n| times(n) / points[n].at).fold(0.0, f64::max);
    let each = (0..points.len()).map(|n| format!("{}: {} x", plain(points[n].at), plain(times(n))));
    let note = format!("the time of one is taken at {}", each.collect::<Vec<_>>().join("; "));
    let row = Row::new("time of n projections by n times that of one, at worst", "x", vec![worst]);
    report.add(row.target(Target::AtMost(1.0)).noting(note));
    report.series.push(Series { axis: "projections".to_owned(), points });
}
