//! Compares readcast with a hand-written loop: one consumer, and for each event one transaction that changes rows and
//! offset.
//!
//! The loop gets fewer events, because it would take minutes otherwise; its rate does not depend on their number. Its
//! rows are compared with those of readcast for the same events.

use crate::child::Work;
use crate::child::by_hand::TABLES;
use crate::database::{Fresh, Kind};
use crate::log::{Log, PARTITIONS, orders};
use crate::report::Report;
use crate::row::{Row, Target};
use crate::settings::Settings;
use crate::throughput::{one, rate, work};

const GROUP: &str = "by_hand";
const EVENTS: usize = 10_000;

pub(crate) async fn run(settings: &Settings) {
    if !settings.want(GROUP, "loop") {
        return;
    }
    let mut report = Report::begin(GROUP).await;
    let all = Log::in_kafka(PARTITIONS, orders(settings.events)).await;
    let few = Log::in_kafka(PARTITIONS, orders(settings.at_most(EVENTS))).await;
    let projections = one("order_summary");
    let registry = projections.registry();
    let (mut live, mut by_hand) = (Vec::new(), Vec::new());
    for _ in 0..settings.runs {
        let database = Kind::Postgres.with_tables(&registry).await;
        live.push(rate(&all, &work(Work::Project, &all, Some(&database), &projections).await));
        let own = Kind::Postgres.with_tables(&readcast_core::Registry::new()).await;
        own.postgres().execute(TABLES).await;
        let work = work(Work::ByHand { events: few.events() }, &few, Some(&own), &projections);
        by_hand.push(rate(&few, &work.await));
        assert_same_rows(&few, &own).await;
    }
    all.delete().await;
    few.delete().await;
    let row = Row::new("live, Kafka to Postgres, order_summary", "events/s", live);
    let row = row.against("a loop of one transaction an event", by_hand);
    report.add(row.target(Target::RatioAtLeast(40.0)));
    report.end();
}

/// Checks that the loop writes the same rows as readcast.
async fn assert_same_rows(log: &Log, by_hand: &Fresh) {
    const ORDERS: &str = "
        SELECT order_id, customer_id, customer_email, status, item_count, total_amount, refunded_amount, placed_at, updated_at
        FROM order_summary ORDER BY order_id COLLATE \"C\"";
    const LINES: &str = "
        SELECT order_id, line_no, sku, quantity, price FROM order_lines ORDER BY order_id COLLATE \"C\", line_no";
    let projections = one("order_summary");
    let database = Kind::Postgres.with_tables(&projections.registry()).await;
    work(Work::Project, log, Some(&database), &projections).await;
    for rows in [ORDERS, LINES] {
        let same = by_hand.postgres().rows(rows).await == database.postgres().rows(rows).await;
        assert!(same, "the loop and readcast write the same rows");
    }
}
