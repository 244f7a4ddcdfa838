//! What a projection that is a file, with rules or with a component, costs beside the same projection in code: alone, from events
//! in memory to changes on one thread, and live from Kafka to Postgres.

use std::time::Instant;

use readcast::FileProjection;
use readcast_core::{Definition, Envelope, Registry, TopicPartition};

use crate::child::{Projections, Work};
use crate::database::Kind;
use crate::log::{Log, PARTITIONS, orders};
use crate::report::Report;
use crate::row::{Row, Target};
use crate::settings::Settings;
use crate::support::component;
use crate::throughput::{one, rate, work};

const GROUP: &str = "of_files";
const CODE: &str = "the same in code";
/// How many events are projected alone in one run.
const EVENTS: usize = 100_000;

/// The projection of the example shop in its file.
pub(crate) fn registry(name: &str) -> Registry {
    let wanted = format!("{name}.toml");
    let (path, text) = readcast_projections::FILES.into_iter().find(|(path, _)| *path == wanted).expect("one of them");
    let loaded = FileProjection::load(path, text).unwrap_or_else(|problems| panic!("{}", problems[0]));
    Registry::new().register(loaded)
}

/// The order summary of the example shop by a component.
fn of_component() -> Registry {
    let (path, rules) = readcast_projections::FILES[0];
    assert_eq!(path, "order_summary.toml");
    let (tables, _) = rules.split_once("[[on]]").expect("rules");
    let events = "'ORDER_PLACED', 'ORDER_PAID', 'ORDER_SHIPPED', 'ORDER_CANCELLED', 'ORDER_REFUNDED'";
    let text = format!("events = [{events}]\nwasm = 'order_summary.wasm'\n{tables}");
    let loaded = FileProjection::load_beside(path, &text, &|_| std::fs::read(component::order_summary()));
    Registry::new().register(loaded.unwrap_or_else(|problems| panic!("{}", problems[0])))
}

pub(crate) async fn run(settings: &Settings) {
    if !settings.want_any(GROUP, &["alone", "component", "live"]) {
        return;
    }
    let mut report = Report::begin(GROUP).await;
    if settings.want(GROUP, "alone") {
        let events: Vec<String> = orders(EVENTS).map(|(_, event)| event).collect();
        for code in readcast_projections::registry().definitions() {
            let file = registry(code.name());
            let [mut of_file, mut of_code] = [const { Vec::new() }; 2];
            for _ in 0..settings.runs {
                of_file.push(alone(&file.definitions()[0], &events));
                of_code.push(alone(code, &events));
            }
            let row = Row::new(&format!("project alone, {}", code.name()), "events/s", of_file);
            report.add(row.against(CODE, of_code).target(Target::RatioAtLeast(0.5)));
        }
    }
    if settings.want(GROUP, "component") {
        let events: Vec<String> = orders(EVENTS).map(|(_, event)| event).collect();
        let (component, code) = (of_component(), one("order_summary").registry());
        let [mut of_component, mut of_code] = [const { Vec::new() }; 2];
        for _ in 0..settings.runs {
            of_component.push(alone(&component.definitions()[0], &events));
            of_code.push(alone(&code.definitions()[0], &events));
        }
        let row = Row::new("project alone, order_summary by a component", "events/s", of_component);
        report.add(row.against(CODE, of_code).target(Target::RatioAtLeast(0.3)));
    }
    if settings.want(GROUP, "live") {
        let log = Log::in_kafka(PARTITIONS, orders(settings.events)).await;
        let (file, code) = (Projections::File("order_summary".to_owned()), one("order_summary"));
        let [mut of_file, mut of_code] = [const { Vec::new() }; 2];
        for _ in 0..settings.runs {
            for (projections, rates) in [(&file, &mut of_file), (&code, &mut of_code)] {
                let database = Kind::Postgres.with_tables(&projections.registry()).await;
                rates.push(rate(&log, &work(Work::Project, &log, Some(&database), projections).await));
            }
        }
        let row = Row::new("live, Kafka to Postgres, order_summary", "events/s", of_file);
        report.add(row.against(CODE, of_code).target(Target::RatioAtLeast(0.85)));
        log.delete().await;
    }
    report.end();
}

/// Events per second, decoded and projected.
fn alone(definition: &Definition, events: &[String]) -> f64 {
    let (partition, begun, mut changes) = (TopicPartition::new("orders", 0), Instant::now(), 0);
    for (event, offset) in events.iter().zip(0..) {
        let event = Envelope::from_plain_json(partition.at(offset), None, event.as_bytes()).expect("an event");
        if definition.subscribes(&event.event_type) {
            changes += definition.project(&event).expect("changes").len();
        }
    }
    assert!(changes > 0, "they were projected");
    events.len() as f64 / begun.elapsed().as_secs_f64()
}
