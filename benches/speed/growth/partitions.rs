//! The same number of events in more partitions.

use crate::child::Work;
use crate::database::Kind;
use crate::growth::{EVENTS, flatness, point};
use crate::log::{Log, orders};
use crate::report::{Report, Series};
use crate::settings::Settings;
use crate::throughput::{one, work};

const COUNTS: [u8; 7] = [1, 2, 4, 8, 16, 32, 64];

pub(super) async fn run(settings: &Settings, report: &mut Report) {
    let projections = one("order_summary");
    let events = settings.at_most(EVENTS);
    let mut points = Vec::new();
    for partitions in COUNTS {
        let log = Log::in_kafka(partitions, orders(events)).await;
        let mut runs = Vec::new();
        for _ in 0..settings.runs {
            let database = Kind::Postgres.with_tables(&projections.registry()).await;
            runs.push(work(Work::Project, &log, Some(&database), &projections).await);
        }
        log.delete().await;
        points.push(point(partitions.into(), events, &runs));
    }
    report.add(flatness("partitions", &points));
    report.series.push(Series { axis: "partitions".to_owned(), points });
}
