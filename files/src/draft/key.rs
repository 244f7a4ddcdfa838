//! What identifies the row of an event.

use std::collections::BTreeMap;

use super::Seen;
use super::field::{Field, Guess};

/// The key of the table: a column, and for each event type the expression that is its value.
pub(super) struct Key {
    pub(super) column: String,
    pub(super) kind: Guess,
    of_types: BTreeMap<String, String>,
}

/// Whether a field of these events may be the key.
type Way<'w> = dyn Fn(&Seen, &Field) -> bool + 'w;

impl Key {
    pub(super) fn expression(&self, event_type: &str) -> &str {
        self.of_types.get(event_type).map_or("event_id", String::as_str)
    }

    /// A field of all events that is the record's key, or is named like an id or like the topic, or just is in all of them;
    /// else an id in each type of events; else the record's key; else each event has a row of its own.
    pub(super) fn of(seen: &BTreeMap<String, Seen>, topic: &str) -> Self {
        let singular = topic.rsplit(['.', '-', '_']).next().unwrap_or(topic).trim_end_matches('s').to_lowercase();
        let like_topic = |field: &Field| {
            let column = field.column();
            [singular.clone(), format!("{singular}_id"), format!("{singular}_no")].contains(&column)
        };
        let ways: [&Way<'_>; 4] = [
            &|seen, field| field.is_key == seen.events,
            &|_, field| field.column() == "id" || like_topic(field),
            &|_, field| is_id(field),
            &|_, _| true,
        ];
        ways.iter()
            .find_map(|way| common(seen, way))
            .or_else(|| each(seen))
            .unwrap_or_else(|| Self::without_field(seen))
    }

    fn without_field(seen: &BTreeMap<String, Seen>) -> Self {
        let have_keys = seen.values().all(|seen| seen.keyed == seen.events);
        let expression = if have_keys { "key" } else { "event_id" };
        let of_types = seen.keys().map(|name| (name.clone(), expression.to_owned())).collect();
        Self { column: "id".to_owned(), kind: Guess::Text, of_types }
    }

    /// These fields as the key, if one column can hold them.
    fn of_fields(fields: Vec<(&String, usize, &Field)>) -> Option<Self> {
        let kind = fields.iter().map(|(.., field)| field.kind).reduce(Guess::joined)?;
        let column = fields.first()?.2.column();
        let of_types = fields.into_iter().map(|(name, events, field)| (name.clone(), field.expression(events)));
        kind.is_for_keys().then(|| Self { column, kind, of_types: of_types.collect() })
    }
}

/// The fields of a type that every event of it has.
fn always(seen: &Seen) -> impl Iterator<Item = &Field> {
    seen.fields.iter().filter(|field| field.present == seen.events && field.kind.is_for_keys())
}

fn is_id(field: &Field) -> bool {
    let column = field.column();
    column == "id" || column.ends_with("_id")
}

/// A column that every event of every type has, and that is chosen in this way.
fn common(seen: &BTreeMap<String, Seen>, way: &Way<'_>) -> Option<Key> {
    let first = seen.values().next()?;
    let columns = always(first).filter(|field| way(first, field)).map(Field::column);
    let of_column = |column: String| {
        let fields: Option<Vec<_>> = seen
            .iter()
            .map(|(name, seen)| {
                let found = always(seen).find(|field| field.column() == column && way(seen, field))?;
                Some((name, seen.events, found))
            })
            .collect();
        Key::of_fields(fields?)
    };
    columns.into_iter().find_map(of_column)
}

/// A field for each type of events that is named like an id.
fn each(seen: &BTreeMap<String, Seen>) -> Option<Key> {
    let field = |(name, seen)| {
        let seen: &Seen = seen;
        Some((name, seen.events, always(seen).find(|field| is_id(field))?))
    };
    Key::of_fields(seen.iter().map(field).collect::<Option<_>>()?)
}
