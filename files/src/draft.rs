//! A first version of a projection, drawn from the events of a topic.

mod field;
mod key;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use readcast_core::{Envelope, Registry};

use self::field::{Field, Guess};
use self::key::Key;
use crate::FileProjection;
use crate::cases::{Details, HEADING, given_event, quoted, then};
use crate::datum::{Datum, Shape};
use crate::document::Problem;
use crate::expression::Scope;

/// A file of a projection and the file of its tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The text of `NAME.toml`.
    pub projection: String,
    /// The text of `NAME.test.toml`.
    pub tests: String,
}

/// Why no projection can be drawn from events.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// None of the events has fields.
    #[error("none of the {0} events that were read has data with fields")]
    NoFields(usize),
    /// The draft is not valid. This is a mistake of readcast, or the name is none for a projection.
    #[error("the draft is not valid: {}", .0.iter().map(Problem::line).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Problem>),
}

/// The most events of the first test.
const TEST_EVENTS: usize = 4;

/// What was seen of the events of one type.
#[derive(Default)]
struct Seen {
    events: usize,
    /// How many of their records have a key.
    keyed: usize,
    fields: Vec<Field>,
}

/// Draws the projection `name` from events of `topic`: a table with a row for each key and a column for each field.
///
/// # Errors
/// When the events have no fields, or `name` is no name of a projection.
pub fn draft(name: &str, topic: &str, events: &[Envelope<'_>]) -> Result<Draft, DraftError> {
    let seen = seen(events);
    if seen.values().all(|seen| seen.fields.is_empty()) {
        return Err(DraftError::NoFields(events.len()));
    }
    let text = projection(name, topic, &seen);
    let loaded = FileProjection::load(&format!("{name}.toml"), &text).map_err(DraftError::Invalid)?;
    Ok(Draft { tests: tests(&loaded, name, events), projection: text })
}

fn seen(events: &[Envelope<'_>]) -> BTreeMap<String, Seen> {
    let mut found = BTreeMap::<String, Seen>::new();
    for event in events {
        let Ok(scope) = Scope::new(event, Shape::WHOLE) else { continue };
        let seen = found.entry(event.event_type.to_string()).or_default();
        seen.events += 1;
        let key = event.key.and_then(|key| std::str::from_utf8(key).ok());
        seen.keyed += usize::from(key.is_some());
        let mut path = Vec::new();
        collect(scope.data(), key, &mut path, &mut seen.fields);
    }
    found
}

/// Fields of fields become columns of their own, and what is deeper stays JSON.
const MOST_DEPTH: usize = 2;

fn collect(value: &Datum<'_>, key: Option<&str>, path: &mut Vec<String>, fields: &mut Vec<Field>) {
    match value {
        Datum::Map(map) if path.len() < MOST_DEPTH => {
            for name in map.names() {
                path.push(name.to_string());
                if let Some(value) = map.get(name) {
                    collect(value, key, path, fields);
                }
                path.pop();
            }
        }
        _ if path.is_empty() => {}
        value => {
            let place = fields.iter().position(|field| field.path == *path).unwrap_or_else(|| {
                fields.push(Field { path: path.clone(), kind: Guess::Unknown, present: 0, is_key: 0 });
                fields.len() - 1
            });
            let (field, guess) = (&mut fields[place], Guess::of(value));
            field.kind = field.kind.joined(guess);
            field.present += usize::from(guess != Guess::Unknown);
            let text = match value {
                Datum::Text(text) => Some(text.to_string()),
                Datum::Int(number) => Some(number.to_string()),
                _ => None,
            };
            field.is_key += usize::from(text.is_some() && text.as_deref() == key);
        }
    }
}

fn projection(name: &str, topic: &str, seen: &BTreeMap<String, Seen>) -> String {
    let mut columns = Vec::<(String, Guess)>::new();
    let key = Key::of(seen, topic);
    for field in seen.values().flat_map(|seen| &seen.fields) {
        let column = field.column();
        match columns.iter_mut().find(|(other, _)| *other == column) {
            Some((_, kind)) => *kind = kind.joined(field.kind),
            None => columns.push((column, field.kind)),
        }
    }
    columns.retain(|(column, _)| *column != key.column);
    let mut text = format!(
        "# Drawn from a sample of the topic `{topic}`: a row for each key, with the latest value of each field. Change it as you\n\
         # like, and look at the result with `readcast test` and `readcast try`.\n\n\
         topics = {topic:?}\n\n[tables.{name}]\nkey = {0:?}\n\n[tables.{name}.columns]\n{0} = {1:?}\n",
        key.column,
        key.kind.name()
    );
    for (column, kind) in &columns {
        let _ = writeln!(text, "{column} = \"{} null\"", kind.name());
    }
    for (event_type, seen) in seen {
        let of_key = key.expression(event_type);
        let _ = write!(text, "\n[[on]]\nevent = {}\nupsert = {name:?}\nkey = {}\n", quoted(event_type), quoted(of_key));
        for field in &seen.fields {
            let column = field.column();
            if column != key.column && columns.iter().any(|(other, kind)| *other == column && kind.holds(field.kind)) {
                let _ = writeln!(text, "set.{column} = {}", quoted(&field.expression(seen.events)));
            }
        }
    }
    text
}

/// A test of the first events, with the rows that they make now.
fn tests(projection: &FileProjection, name: &str, events: &[Envelope<'_>]) -> String {
    let first = events.iter().take(TEST_EVENTS);
    let given: String = first.map(|event| given_event(event, Details::default(), None)).collect();
    let registry = Registry::new().register(projection.clone());
    let then = then(&registry.definitions()[0], &given).map(|then| then.text);
    let then = then.unwrap_or_else(|reason| format!("# {}\n[test.then]\n{name} = ''\n", reason.replace('\n', "\n# ")));
    format!("{HEADING}\n[[test]]\nname = \"the first events of the topic\"\n\n{given}{then}")
}

#[cfg(test)]
mod tests {
    use readcast_core::TopicPartition;

    use super::*;
    use crate::run_tests;

    /// Keys and events, each with its type and its data.
    fn drawn(events: &[(&str, &str, &str)]) -> Draft {
        let json = |(number, (key, kind, data)): (usize, &(&str, &str, &str))| {
            let event = format!(
                r#"{{"event_id":"e{number}","type":"{kind}","timestamp":"2026-01-01T00:00:0{number}Z","data":{data}}}"#
            );
            ((!key.is_empty()).then(|| key.as_bytes().to_vec()), event)
        };
        let records: Vec<_> = events.iter().enumerate().map(json).collect();
        let decoded = |(offset, (key, json)): (usize, &'static (Option<Vec<u8>>, String))| {
            let position = TopicPartition::new("loans", 0).at(offset.try_into().expect("few"));
            Envelope::from_plain_json(position, key.as_deref(), json.as_bytes()).expect("an event")
        };
        let records: &'static [_] = records.leak();
        let events: Vec<_> = records.iter().enumerate().map(decoded).collect();
        let draft = draft("loans", "loans", &events).expect("a draft");
        let projection = FileProjection::load("loans.toml", &draft.projection).expect("valid");
        for outcome in run_tests(&projection, "loans.test.toml", &draft.tests).expect("tests") {
            assert_eq!(outcome.failure, None, "{}", draft.tests);
        }
        draft
    }

    #[test]
    fn types_and_keys_are_taken_from_the_events() {
        let draft = drawn(&[
            (
                "l1",
                "BookLent",
                r#"{"loan":"l1","member":{"no":7,"name":"Ada"},"due":"2026-02-01","at":"2026-01-01T00:00:00Z","fee":0.125,"tags":["a"]}"#,
            ),
            (
                "l2",
                "BookLent",
                r#"{"loan":"l2","member":{"no":8},"due":"2026-02-02","at":"2026-01-01T00:00:00Z","fee":1,"open":true,"odd name":"it's"}"#,
            ),
            ("l1", "BookReturned", r#"{"loan":"l1","returnedAt":"2026-01-09T00:00:00Z"}"#),
        ]);
        assert_eq!(
            draft.projection.split_once("topics").expect("its head").1,
            r#" = "loans"

[tables.loans]
key = "loan"

[tables.loans.columns]
loan = "text"
member_no = "i64 null"
member_name = "text null"
due = "date null"
at = "timestamp null"
fee = "decimal(3) null"
tags = "json null"
open = "bool null"
odd_name = "text null"
returned_at = "timestamp null"

[[on]]
event = "BookLent"
upsert = "loans"
key = "data.loan"
set.member_no = "data.member.no"
set.member_name = "data.?member.?name"
set.due = "data.due"
set.at = "data.at"
set.fee = "data.fee"
set.tags = "data.?tags"
set.open = "data.?open"
set.odd_name = 'data[?"odd name"]'

[[on]]
event = "BookReturned"
upsert = "loans"
key = "data.loan"
set.returned_at = "data.returnedAt"
"#
        );
        assert!(draft.tests.contains(
            "[[test.given]]\nevent = \"BookLent\"\nkey = \"l1\"\nat = \"2026-01-01T00:00:00.000000Z\"\njson = '{"
        ));
    }

    #[test]
    fn a_field_that_all_events_have_is_the_key_before_the_record_has_one() {
        let named = |data: [&str; 2]| {
            let draft = drawn(&[("", "A", data[0]), ("", "B", data[1])]);
            draft.projection.lines().filter(|line| line.starts_with("key = ")).collect::<Vec<_>>().join(" ")
        };
        let loan = named([r#"{"member":7,"loan":"l1"}"#, r#"{"loan":"l1","member":7}"#]);
        assert_eq!(loan, r#"key = "loan" key = "data.loan" key = "data.loan""#, "named like the topic");
        let id = named([r#"{"no":7,"thing_id":"l1"}"#, r#"{"no":1,"thing_id":"l1"}"#]);
        assert_eq!(id, r#"key = "thing_id" key = "data.thing_id" key = "data.thing_id""#);
        let each = named([r#"{"a_id":7}"#, r#"{"b_id":8}"#]);
        assert_eq!(each, r#"key = "a_id" key = "data.a_id" key = "data.b_id""#);
        assert_eq!(named([r#"{"x":1.5}"#, r#"{"y":1.5}"#]), r#"key = "id" key = "event_id" key = "event_id""#);
    }

    #[test]
    fn without_a_common_field_the_key_is_that_of_the_record() {
        let draft =
            drawn(&[("k1", "A", r#"{"x":1}"#), ("k1", "B", r#"{"y":1.5,"x":null}"#), ("k2", "B", r#"{"y":2}"#)]);
        assert!(
            draft.projection.contains("key = \"id\"") && draft.projection.contains("key = \"key\""),
            "{}",
            draft.projection
        );
    }

    #[test]
    fn events_without_fields_are_refused() {
        assert!(matches!(draft("loans", "loans", &[]), Err(DraftError::NoFields(0))));
    }
}
