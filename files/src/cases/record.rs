//! Makes a test of records that a log has: the events as they are, and the rows that the projection makes of them now.

use std::collections::BTreeSet;

use readcast_core::{Definition, Envelope, Registry};

use super::write::{Details, HEADING, given_event, quoted, then};
use crate::FileProjection;

/// A test that is made of records of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedTest {
    /// The test, as the file of tests has it.
    pub text: String,
    /// How many events it has.
    pub events: usize,
    /// How many of them are dead letters.
    pub dead_letters: usize,
    /// What it leaves out, a few words each.
    pub left_out: Vec<String>,
}

impl RecordedTest {
    /// The file of tests with this one at its end. `existing` is its text, if there is such a file.
    pub fn added_to(&self, existing: Option<&str>) -> String {
        let existing = existing.unwrap_or(HEADING);
        let line_end = if existing.is_empty() || existing.ends_with('\n') { "" } else { "\n" };
        format!("{existing}{line_end}\n{}", self.text)
    }
}

/// A test with the events of these records, of which each is a list, in their order. Events that the projection does not take
/// are left out.
///
/// # Errors
/// Why no test can be made of them.
pub fn recorded_test(
    projection: &FileProjection,
    name: &str,
    records: &[&[Envelope<'_>]],
) -> Result<RecordedTest, String> {
    let registry = Registry::new().register(projection.clone());
    let definition = &registry.definitions()[0];
    let mut recorder = Recorder::new(definition, records);
    records.iter().for_each(|events| recorder.add(events));
    let Recorder { given, events, dead_letters, mut left_out, not_taken, .. } = recorder;
    let not_taken = not_taken.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if events == 0 && not_taken.is_empty() {
        return Err("none of them holds an event".to_owned());
    }
    if events == 0 {
        return Err(format!("the projection takes none of their events, which are of the types {not_taken}"));
    }
    if !not_taken.is_empty() {
        left_out.push(format!("events of types that the projection does not take: {not_taken}"));
    }
    let then = then(definition, &given)?;
    left_out
        .extend(then.left_out.iter().map(|column| format!("column `{column}`: it has a text that a test can't show")));
    let text = format!("[[test]]\nname = {}\n\n{given}{}", quoted(name), then.text);
    Ok(RecordedTest { text, events, dead_letters, left_out })
}

struct Recorder<'d> {
    definition: &'d Definition,
    details: Details,
    given: String,
    events: usize,
    dead_letters: usize,
    left_out: Vec<String>,
    /// The types of the events that the projection does not take.
    not_taken: BTreeSet<String>,
    /// The keys with a dead letter, each with its topic and its partition.
    parked: BTreeSet<(String, i32, Vec<u8>)>,
}

impl<'d> Recorder<'d> {
    fn new(definition: &'d Definition, records: &[&[Envelope<'_>]]) -> Self {
        let positions = || records.iter().flat_map(|events| events.iter()).map(|event| &event.position);
        let partitions: BTreeSet<_> = positions().map(|at| (&at.topic, at.partition)).collect();
        // Where the file has not even the word, no expression reads them. Traces make them long.
        let reads = |part: &str| definition.source().is_some_and(|file| file.text.contains(part));
        let details = Details {
            topic: positions().any(|at| *at.topic != *definition.topics()[0]),
            partition: partitions.len() > 1,
            id: true,
            correlation_id: reads("correlation_id"),
            headers: reads("headers"),
        };
        let (given, left_out) = (String::new(), Vec::new());
        let (not_taken, parked) = (BTreeSet::new(), BTreeSet::new());
        Self { definition, details, given, events: 0, dead_letters: 0, left_out, not_taken, parked }
    }

    /// Adds the events of one record.
    fn add(&mut self, events: &[Envelope<'_>]) {
        let definition = self.definition;
        let (taken, other): (Vec<_>, Vec<_>) =
            events.iter().partition(|event| definition.subscribes(&event.event_type));
        self.not_taken.extend(other.iter().map(|event| event.event_type.to_string()));
        let Some(first) = taken.first() else { return };
        let lane = (first.position.topic.to_string(), first.position.partition, first.key.unwrap_or_default().to_vec());
        let failure = taken.iter().find_map(|event| Some((*event, self.failure(event)?)));
        match failure.filter(|_| !self.parked.contains(&lane)) {
            None => taken.iter().for_each(|event| self.write(event, None)),
            Some((event, reason)) => {
                self.write(event, Some(&reason));
                self.dead_letters += 1;
                if taken.len() > 1 {
                    let left_out = format!("the other events of {}, which is a dead letter as a whole", event.position);
                    self.left_out.push(left_out);
                }
                if event.key.is_some() {
                    self.parked.insert(lane);
                }
            }
        }
    }

    fn write(&mut self, event: &Envelope<'_>, dead_letter: Option<&str>) {
        self.given += &given_event(event, self.details, dead_letter);
        self.events += 1;
        if self.details.headers {
            let is_text = |value: &[u8]| std::str::from_utf8(value).is_ok();
            let others = event.headers.iter().filter(|(_, value)| !value.as_deref().is_some_and(is_text));
            self.left_out
                .extend(others.map(|(name, _)| format!("header `{name}` of {}: it is no text", event.position)));
        }
    }

    /// Why the event is a dead letter, without the line of the file, which changes with the file.
    fn failure(&self, event: &Envelope<'_>) -> Option<String> {
        let reason = self.definition.project(event).err()?.to_string();
        let file = self.definition.source().map_or("", |file| file.path);
        let behind_place = reason.strip_prefix(file).and_then(|rest| rest.strip_prefix(':')?.split_once(": "));
        let behind_place = behind_place.filter(|(line, _)| line.bytes().all(|byte| byte.is_ascii_digit()));
        Some(behind_place.map_or(reason.as_str(), |(_, behind)| behind).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use readcast_core::{Header, Position, TopicPartition};

    use super::*;
    use crate::run_tests;

    const NOTES: &str = r#"
topics = ["notes", "more-*"]

[tables.notes]
key = "note"
columns.note = "text"
columns.text = "text null"
columns.size = "decimal(2) default 0"

[[on]]
event = "Noted"
upsert = "notes"
key = "data.note"
set.text = "data.?text"
add.size = "data.size"
"#;

    fn notes(text: &str) -> FileProjection {
        FileProjection::load("projections/notes.toml", text).unwrap_or_else(|problems| panic!("{}", problems[0]))
    }

    fn event<'e>(position: Position, json: &'e str) -> Envelope<'e> {
        Envelope::from_plain_json(position, Some(b"k"), json.as_bytes()).expect("an event")
    }

    /// An event of the note `n` with these fields beside.
    fn noted(id: &str, fields: &str) -> String {
        let (id, time) = (serde_json::Value::from(id), "2026-01-05T10:00:00Z");
        let data = format!(r#"{{"note":"n"{fields}}}"#);
        format!(r#"{{"event_id":{id},"type":"Noted","timestamp":"{time}","correlation_id":"c1","data":{data}}}"#)
    }

    fn at(partition: i32, offset: i64) -> Position {
        TopicPartition::new("notes", partition).at(offset)
    }

    /// The test of these records, each of one event of partition 0.
    fn recorded(events: &[String]) -> RecordedTest {
        let events: Vec<_> = events.iter().zip(0..).map(|(json, offset)| [event(at(0, offset), json)]).collect();
        let records: Vec<&[Envelope<'_>]> = events.iter().map(|events| &events[..]).collect();
        passing(&notes(NOTES), recorded_test(&notes(NOTES), "a test", &records))
    }

    fn passing(projection: &FileProjection, test: Result<RecordedTest, String>) -> RecordedTest {
        let test = test.expect("a test");
        for existing in [None, Some(""), Some("[[test]]\nthen.notes = \"note\"")] {
            let text = test.added_to(existing);
            assert!(text.starts_with(existing.unwrap_or_default()), "{text}");
            let outcomes = run_tests(projection, "notes.test.toml", &text);
            let outcomes = outcomes.unwrap_or_else(|problems| panic!("{}", problems[0]));
            assert_eq!(outcomes.last().expect("a test").failure, None, "{text}");
        }
        test
    }

    #[test]
    fn events_are_written_as_they_are_with_the_rows_that_they_make() {
        let test = recorded(&[noted("e1", r#","text":"it's","size":1"#), noted("e2", r#","size":0.25"#)]);
        let expected = r#"[[test]]
name = "a test"

[[test.given]]
event = "Noted"
key = "k"
id = "e1"
at = "2026-01-05T10:00:00.000000Z"
json = '''{"note":"n","text":"it's","size":1}'''

[[test.given]]
event = "Noted"
key = "k"
id = "e2"
at = "2026-01-05T10:00:00.000000Z"
json = '{"note":"n","size":0.25}'

[test.then]
notes = '''
  note | text | size
  n    | NULL | 1.25
'''
"#;
        assert_eq!(test.text, expected);
        assert_eq!((test.events, test.dead_letters, test.left_out), (2, 0, vec![]));
    }

    #[test]
    fn texts_that_toml_or_rows_can_not_hold_are_escaped_or_left_out() {
        let odd = r#","text":"\u0000 \u007f ''' \\\" \t.","size":12345678901234567890123456.78"#;
        let test = recorded(&[noted("\" ' \\ \u{1} \n", odd)]);
        assert_eq!(test.left_out, Vec::<String>::new());
        let test = recorded(&[noted("e", r#","text":"two\nlines","size":1"#)]);
        assert_eq!(test.left_out, ["column `notes.text`: it has a text that a test can't show"]);
        assert!(test.text.contains("  note | size\n"), "{}", test.text);
    }

    #[test]
    fn a_dead_letter_is_written_with_its_reason_and_changes_nothing() {
        let [good, bad] = [noted("e1", r#","size":1"#), noted("e2", r#","size":"much""#)];
        let test = recorded(&[good.clone(), bad.clone(), good.replace("e1", "e3")]);
        assert_eq!((test.events, test.dead_letters), (3, 1));
        // Without the line of the rule, which changes with the file.
        assert!(test.text.contains("\ndead_letter = \"size: "), "{}", test.text);
        assert!(test.text.contains("| 1.00"), "{}", test.text);

        // A record is a dead letter as a whole.
        let (first, second) = (event(at(0, 0), &good), event(at(0, 0), &bad));
        let test = passing(&notes(NOTES), recorded_test(&notes(NOTES), "a test", &[&[first, second]]));
        assert_eq!((test.events, test.dead_letters), (1, 1));
        assert_eq!(test.left_out, ["the other events of notes/0@0, which is a dead letter as a whole"]);
    }

    #[test]
    fn a_dead_letter_parks_its_key_in_its_partition_alone() {
        let [good, bad] = [noted("e1", r#","size":1"#), noted("e2", "")];
        let (bad, good) = (event(at(0, 0), &bad), event(at(1, 0), &good));
        let test = passing(&notes(NOTES), recorded_test(&notes(NOTES), "a test", &[&[bad], &[good]]));
        assert!(test.text.contains("partition = 1") && test.text.contains("| 1.00"), "{}", test.text);
    }

    #[test]
    fn what_a_rule_reads_of_the_record_is_written_as_well() {
        let text = NOTES.replace("data.?text", "join([headers.by, correlation_id, position.topic], ' ')");
        let headers: [Header; 3] = [("by", Some("ann")), ("by", Some("bo's")), ("raw", None)]
            .map(|(name, value)| (name.to_owned(), value.map(Into::into)));
        let json = noted("e1", r#","size":1"#);
        let event = event(TopicPartition::new("more-notes", 0).at(7), &json).with_headers(&headers);
        let test = passing(&notes(&text), recorded_test(&notes(&text), "a test", &[&[event]]));
        assert!(test.text.contains("| bo's c1 more-notes |"), "{}", test.text);
        assert_eq!(test.left_out, ["header `raw` of more-notes/0@7: it is no text"]);
    }

    #[test]
    fn a_projection_that_takes_none_of_the_events_has_no_test_of_them() {
        let json = noted("e1", "").replace("Noted", "Seen");
        let refused = recorded_test(&notes(NOTES), "a test", &[&[event(at(0, 0), &json)]]);
        assert_eq!(refused, Err("the projection takes none of their events, which are of the types `Seen`".to_owned()));
        assert_eq!(recorded_test(&notes(NOTES), "a test", &[]), Err("none of them holds an event".to_owned()));
    }
}
