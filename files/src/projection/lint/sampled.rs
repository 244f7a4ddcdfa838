//! What a file expects of events, and events of the log do not have.

use std::collections::BTreeSet;

use readcast_core::{Envelope, Payload};

use super::super::rules::Rule;
use super::FileProjection;
use crate::datum::{Datum, Shape, Step};
use crate::expression::nearest;

impl FileProjection {
    /// Sentences about types of events and fields that rules name and none of these events has, each with the place of its
    /// rule. The events are a sample of the projection's topics. Fields that an expression takes as optional may be missing.
    pub fn lint_events(&self, events: &[Envelope<'_>]) -> Vec<String> {
        let types: BTreeSet<&str> = events.iter().map(|event| &*event.event_type).collect();
        let mut doubts = Vec::new();
        for rule in &self.rules {
            for event_type in &rule.types {
                if types.contains(&**event_type) {
                    let data = self.data_of(event_type, events);
                    doubts.extend(rule.missing_fields(event_type, &read(&data)));
                } else if !types.is_empty() {
                    doubts.push(rule.missing_type(event_type, events.len(), &types, &self.topics));
                }
            }
        }
        doubts
    }

    /// The data of the events of this type, as rules see it.
    fn data_of<'e>(&self, event_type: &str, events: &'e [Envelope<'_>]) -> Vec<Payload<'e>> {
        let of_type = events.iter().filter(|event| event.event_type == event_type);
        // What has no current version is a dead letter, which says nothing of the others.
        let current = of_type.filter_map(|event| {
            let upcast = self.upcasters.apply(event).ok()?;
            Some(upcast.map_or_else(|| event.payload.clone(), |upcast| upcast.payload))
        });
        current.collect()
    }
}

fn read<'e>(data: &'e [Payload<'_>]) -> Vec<Datum<'e>> {
    data.iter().filter_map(|data| data.read(Shape::WHOLE).ok()).collect()
}

impl Rule {
    fn missing_type(&self, event_type: &str, sampled: usize, types: &BTreeSet<&str>, topics: &[&str]) -> String {
        let found = types.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let near = nearest(event_type, types.iter().copied());
        let near = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
        format!(
            "{}: no event is of type `{event_type}` among {sampled} that were read of {}; there are {found}{near}",
            self.place,
            topics.join(", ")
        )
    }

    /// The paths that the rule reads and that none of these values has.
    fn missing_fields(&self, event_type: &str, data: &[Datum<'_>]) -> Vec<String> {
        let paths = self.shape.paths();
        let missing: BTreeSet<Missing> = paths.iter().filter_map(|path| missing(path, data, &self.optional)).collect();
        let shown = |missing: &Missing| {
            let near = missing.near.iter().map(|near| format!(" (did you mean `{near}`?)")).collect::<String>();
            let count = data.len();
            format!("{}: no event of type `{event_type}` among {count} has `{}`{near}", self.place, missing.path)
        };
        missing.iter().map(shown).collect()
    }
}

/// A path that no value has.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Missing {
    path: String,
    /// The path that was probably meant.
    near: Option<String>,
}

/// The beginning of `path` that none of the values has, unless it is optional. None of an empty list is known, either.
fn missing(path: &[Step], data: &[Datum<'_>], optional: &Shape) -> Option<Missing> {
    let mut values: Vec<&Datum<'_>> = data.iter().collect();
    let mut parent = "data".to_owned();
    for (place, step) in path.iter().enumerate() {
        let inner: Vec<&Datum<'_>> = values.iter().flat_map(|value| inner(value, step)).collect();
        let Step::Field(name) = step else {
            (values, parent) = (inner, format!("{parent}[]"));
            continue;
        };
        if values.is_empty() || optional.has_whole(&path[..=place]) {
            return None;
        }
        if inner.is_empty() {
            let known: BTreeSet<&str> = values.iter().flat_map(|value| names(value)).collect();
            let near = nearest(name, known).map(|near| format!("{parent}.{near}"));
            return Some(Missing { path: format!("{parent}.{name}"), near });
        }
        (values, parent) = (inner, format!("{parent}.{name}"));
    }
    None
}

fn inner<'v, 'e>(value: &'v Datum<'e>, step: &Step) -> Vec<&'v Datum<'e>> {
    match (value, step) {
        (Datum::Map(map), Step::Field(name)) => map.get(name).into_iter().collect(),
        (Datum::List(items), Step::Items) => items.iter().collect(),
        _ => Vec::new(),
    }
}

fn names<'v>(value: &'v Datum<'_>) -> Vec<&'v str> {
    match value {
        Datum::Map(map) => map.names().map(|name| &**name).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use readcast_core::TopicPartition;

    use super::*;

    const ORDERS: &str = r#"
topics = "orders"

[tables.lines]
key = ["order", "sku"]
columns.order = "text"
columns.sku = "text"
columns.note = "text null"

[[upcast]]
event = "Placed"
from = 1
rename.number = "order.id"

[[on]]
event = ["Placed", "Replaced"]
foreach = "data.items"
upsert = "lines"
key = ["data.order.id", "item.sku"]
set.note = "data.?note"

[[on]]
event = "Placed"
when = "has(data.gift.card) && coalesce(data.total.net, 0) > 0"
update = "lines"
key = ["data.order.id", "data.gift.card"]
set.note = "data.custmer.name"
"#;

    /// The doubts about events of these types, versions and data.
    fn doubts(events: &[(&str, u32, &str)]) -> Vec<String> {
        let json = |(event_type, version, data): &(&str, u32, &str)| {
            let time = "2026-01-05T10:00:00Z";
            format!(
                r#"{{"event_id":"e","type":"{event_type}","version":{version},"timestamp":"{time}","data":{data}}}"#
            )
        };
        let texts: Vec<String> = events.iter().map(json).collect();
        let events = texts.iter().map(|json| {
            let position = TopicPartition::new("orders", 0).at(0);
            Envelope::from_plain_json(position, None, json.as_bytes()).expect("an event")
        });
        let events: Vec<Envelope<'_>> = events.collect();
        FileProjection::load("orders.toml", ORDERS).expect("a projection").lint_events(&events)
    }

    const WHOLE: &str = r#"{"order":{"id":"o1"},"items":[{"sku":"s1"}],"gift":{},"custmer":{"name":"Ada"}}"#;

    #[test]
    fn an_event_that_has_all_that_is_not_optional_raises_no_doubt() {
        assert_eq!(doubts(&[("Placed", 2, WHOLE), ("Replaced", 1, WHOLE)]), Vec::<String>::new());
    }

    #[test]
    fn an_earlier_version_has_what_its_upcaster_makes() {
        let first = WHOLE.replace(r#""order":{"id":"o1"}"#, r#""number":"o1""#);
        assert_eq!(doubts(&[("Placed", 1, &first), ("Replaced", 1, WHOLE)]), Vec::<String>::new());
    }

    #[test]
    fn a_type_that_no_event_has_is_named_with_those_there_are() {
        let found = doubts(&[("Placed", 2, WHOLE), ("Replacd", 1, "1")]);
        let expected = "orders.toml:15: no event is of type `Replaced` among 2 that were read of orders; there are `Placed`, \
                        `Replacd` (did you mean `Replacd`?)";
        assert_eq!(found, [expected]);
        assert_eq!(doubts(&[]), Vec::<String>::new(), "nothing is known");
    }

    #[test]
    fn a_path_that_no_event_has_is_named_with_the_nearest_one() {
        let other = r#"{"order":{"id":"o1"},"items":[{"skus":"s1"}],"gift":{},"customer":{"name":"Ada"}}"#;
        let found = doubts(&[("Placed", 2, other), ("Placed", 2, other), ("Replaced", 1, WHOLE)]);
        assert_eq!(
            found,
            [
                "orders.toml:15: no event of type `Placed` among 2 has `data.items[].sku` (did you mean `data.items[].skus`?)",
                "orders.toml:22: no event of type `Placed` among 2 has `data.custmer` (did you mean `data.customer`?)",
            ]
        );
        let one_has_it = doubts(&[("Placed", 2, other), ("Placed", 2, WHOLE), ("Replaced", 1, WHOLE)]);
        assert_eq!(one_has_it, Vec::<String>::new());
    }

    #[test]
    fn what_stands_in_an_empty_list_is_not_known() {
        let empty = WHOLE.replace(r#"{"sku":"s1"}"#, "");
        assert_eq!(doubts(&[("Placed", 2, &empty), ("Replaced", 1, &empty)]), Vec::<String>::new());
    }
}
