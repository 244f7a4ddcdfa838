//! What the recognition of duplicates costs: the same events with the default window and without one.

use crate::child::Work;
use crate::database::Kind;
use crate::log::{Log, PARTITIONS, orders};
use crate::report::Report;
use crate::row::{Row, Target};
use crate::settings::Settings;
use crate::throughput::{one, rate, work};

const GROUP: &str = "duplicates";

pub(crate) async fn run(settings: &Settings) {
    if !settings.want(GROUP, "window") {
        return;
    }
    let mut report = Report::begin(GROUP).await;
    let log = Log::in_kafka(PARTITIONS, orders(settings.events)).await;
    let projections = one("order_summary");
    let (mut rates, mut cpu) = ([const { Vec::new() }; 2], [const { Vec::new() }; 2]);
    for _ in 0..settings.runs {
        for (variant, job) in [Work::Project, Work::ProjectDuplicates].into_iter().enumerate() {
            let database = Kind::Postgres.with_tables(&projections.registry()).await;
            let outcome = work(job, &log, Some(&database), &projections).await;
            rates[variant].push(rate(&log, &outcome));
            cpu[variant].push(outcome.cpu_seconds * 1e6 / log.events() as f64);
        }
    }
    log.delete().await;
    let ([with, without], [cpu_with, cpu_without]) = (rates, cpu);
    let live = Row::new("live, Kafka to Postgres, order_summary, duplicates recognised", "events/s", with);
    report.add(live.against("without a duplicate window", without).target(Target::RatioAtLeast(0.95)));
    let cost = Row::new("CPU of the process for a million of these events", "s", cpu_with);
    report.add(cost.against("without a duplicate window", cpu_without));
    report.end();
}
