//! The shop's projection as a component makes the changes of the one in code.

use readcast_core::{Change, Changes, Envelope, Projection, TopicPartition};
use readcast_files::{Component, Limits};
use readcast_projections::OrderSummary;
use readcast_projections::sample::{Orders, TOPIC};

use crate::guest::order_summary;

const EVENTS: usize = 5_000;

fn with_event<T>(key: &str, json: &str, offset: i64, run: impl FnOnce(&Envelope<'_>) -> T) -> T {
    let position = TopicPartition::new(TOPIC, 0).at(offset);
    run(&Envelope::from_plain_json(position, Some(key.as_bytes()), json.as_bytes()).unwrap())
}

fn of_component(component: &Component, event: &Envelope<'_>, alone: bool) -> Result<Vec<Change>, String> {
    let tables = OrderSummary.tables();
    let mut changes = Changes::new(&tables);
    let projected = match alone {
        true => component.project_alone(event, &tables, &mut changes),
        false => component.project(event, &tables, &mut changes),
    };
    projected.map_err(|error| error.to_string())?;
    changes.finish().map_err(|error| error.to_string())
}

fn of_code(event: &Envelope<'_>) -> Vec<Change> {
    let tables = OrderSummary.tables();
    let mut changes = Changes::new(&tables);
    OrderSummary.project(event, &mut changes).unwrap();
    changes.finish().unwrap()
}

#[test]
fn a_component_makes_the_changes_of_the_projection_in_code() {
    let component = Component::compile(order_summary(), Limits::default()).unwrap();
    for ((key, json), offset) in Orders::new(7).take(EVENTS).zip(0..) {
        with_event(&key, &json, offset, |event| {
            // Columns are set in another order, which a change does not show.
            assert_eq!(of_component(&component, event, false), Ok(of_code(event)), "{json}");
        });
    }
}

#[test]
fn a_component_keeps_no_state_between_events() {
    let component = Component::compile(order_summary(), Limits::default()).unwrap();
    for ((key, json), offset) in Orders::new(8).take(200).zip(0..) {
        with_event(&key, &json, offset, |event| {
            assert_eq!(of_component(&component, event, false), of_component(&component, event, true), "{json}");
        });
    }
}

#[test]
fn an_event_that_the_component_cannot_read_is_refused_and_amounts_are_exact() {
    let component = Component::compile(order_summary(), Limits::default()).unwrap();
    let (key, json) = Orders::new(7).next().unwrap();
    let changes = |json: &str| with_event(&key, json, 0, |event| of_component(&component, event, false));
    let refused = changes(&json.replace("\"email\"", "\"mail\"")).unwrap_err();
    assert!(refused.starts_with("the component refused the event: missing field `email`"), "{refused}");
    let total = |amount: &str| {
        let at = json.find("\"total_amount\":").unwrap();
        changes(&format!("{}\"total_amount\":{amount}}}}}", &json[..at]))
    };
    let long = total("12345678901234567890.12").unwrap();
    assert!(format!("{long:?}").contains("12345678901234567890.12"), "{long:?}");
    let rounded = total("1.005").unwrap_err();
    assert!(rounded.contains("`total_amount`"), "{rounded}");
}
