//! The tests of a projection, in a file beside it: given these events, then these rows.

mod record;
mod write;

use readcast_core::testing::{self, Given, TestEvent, check_given};
use readcast_core::{Definition, Registry};
use toml::de::DeValue;

pub use self::record::{RecordedTest, recorded_test};
pub(crate) use self::write::{Details, HEADING, given_event, quoted, then};
use crate::FileProjection;
use crate::document::{Document, Item, Loader, Problem, Section};

/// What became of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestOutcome {
    /// The name of the test.
    pub name: String,
    /// Where it stands: `orders.test.toml:7`.
    pub place: String,
    /// Why it failed. `None` if it passed.
    pub failure: Option<String>,
}

/// A test of a file.
struct Case {
    name: String,
    place: String,
    given: Vec<GivenEvent>,
    /// The rows of tables, in the form of [`Given::then`].
    then: Vec<(String, String)>,
}

/// An event of a test.
struct GivenEvent {
    event: TestEvent,
    topic: Option<String>,
    partition: Option<i32>,
    key: Option<String>,
    /// A part of the reason for which it becomes a dead letter, if it does.
    dead_letter: Option<String>,
}

/// Runs the tests in the file `path` with this text. All orders of the events that a log allows are tried.
///
/// # Errors
/// What is wrong with the file.
pub fn run_tests(projection: &FileProjection, path: &str, text: &str) -> Result<Vec<TestOutcome>, Vec<Problem>> {
    let mut loader = Loader::new(Document::new(path, text));
    let cases = load(&mut loader, text);
    if !loader.problems.is_empty() {
        return Err(loader.problems);
    }
    let defined = |projection: FileProjection| Registry::new().register(projection).definitions()[0].clone();
    let (definition, without_memory) = (defined(projection.clone()), projection.without_memory().map(defined));
    let outcome = |case: Case| {
        let failure =
            case.run(&definition).and_then(|()| case.keeps_nothing(&definition, without_memory.as_ref())).err();
        TestOutcome { failure, name: case.name, place: case.place }
    };
    Ok(cases.into_iter().map(outcome).collect())
}

fn load(loader: &mut Loader, text: &str) -> Vec<Case> {
    let Some(parsed) = loader.parse(text) else { return Vec::new() };
    let section = Section::new("the file", parsed.span(), parsed.get_ref());
    loader.only(&section, &["test"]);
    let sections = section.get("test").map(|item| loader.sections("test", item)).unwrap_or_default();
    if sections.is_empty() {
        loader.advise(0..0, "the file has no test", "write [[test]] with `given` events and `then` rows");
    }
    sections.iter().filter_map(|section| case(loader, section)).collect()
}

/// The events of the first test in a text that [`given_event`] has written.
fn given(text: &str) -> Result<Vec<GivenEvent>, String> {
    let mut loader = Loader::new(Document::new("the test", text));
    let mut given = Vec::new();
    if let Some(parsed) = loader.parse(text) {
        let section = Section::new("the file", parsed.span(), parsed.get_ref());
        let test = section.get("test").and_then(|item| loader.section("test", item));
        given = test.map(|test| events(&mut loader, &test)).unwrap_or_default();
    }
    let problems: Vec<String> = loader.problems.iter().map(Problem::line).collect();
    if problems.is_empty() { Ok(given) } else { Err(problems.join("; ")) }
}

fn events(loader: &mut Loader, test: &Section<'_>) -> Vec<GivenEvent> {
    let given = test.get("given").map(|item| loader.sections("given", item)).unwrap_or_default();
    given.iter().filter_map(|section| event(loader, section)).collect()
}

fn case(loader: &mut Loader, section: &Section<'_>) -> Option<Case> {
    loader.only(section, &["name", "given", "then"]);
    let place = loader.document.line(section.span.start);
    let name = section.get("name").and_then(|item| loader.text("name", item)).unwrap_or_else(|| place.clone());
    let given = events(loader, section);
    let Some(item) = section.get("then") else {
        loader.advise(
            section.span.clone(),
            "the test expects nothing",
            "write then.TABLE = \"\"\"COLUMNS and rows\"\"\"",
        );
        return None;
    };
    let mut then = Vec::new();
    for (table, _, item) in loader.section("then", item)?.entries() {
        then.extend(loader.text(table, item).map(|rows| (table.to_owned(), rows)));
    }
    Some(Case { name, place, given, then })
}

fn event(loader: &mut Loader, section: &Section<'_>) -> Option<GivenEvent> {
    const KEYS: [&str; 12] = [
        "event",
        "topic",
        "key",
        "partition",
        "version",
        "id",
        "at",
        "correlation_id",
        "headers",
        "data",
        "json",
        "dead_letter",
    ];
    loader.only(section, &KEYS);
    let mut text = |key: &str| section.get(key).and_then(|item| loader.text(key, item));
    let (event_type, topic, key, id, at) = (text("event"), text("topic"), text("key"), text("id"), text("at"));
    let (correlation_id, json, dead_letter) = (text("correlation_id"), text("json"), text("dead_letter"));
    let Some(event_type) = event_type else {
        loader.error(section.span.clone(), "the event has no type: write event = \"TYPE\"");
        return None;
    };
    let data = match (section.get("data"), json) {
        (Some(item), None) => to_json(item),
        (None, json) => json.unwrap_or_else(|| "null".to_owned()),
        (Some(item), Some(_)) => {
            loader.error(item.span(), "the event has both `data` and `json`");
            return None;
        }
    };
    let mut event = testing::event(&event_type, &data);
    event = topic.iter().fold(event, |event, topic| event.topic(topic));
    event = key.iter().fold(event, |event, key| event.key(key));
    event = id.into_iter().fold(event, |event, id| event.id(&id));
    event = at.into_iter().fold(event, |event, at| event.at(&at));
    event = correlation_id.iter().fold(event, |event, id| event.correlation_id(id));
    event = number(loader, section, "version").into_iter().fold(event, |event, number| event.version(number));
    let partition = number(loader, section, "partition");
    event = partition.into_iter().fold(event, |event, number| event.partition(number));
    if let Some(headers) = section.get("headers").and_then(|item| loader.section("headers", item)) {
        for (name, _, item) in headers.entries() {
            event = loader.text(name, item).into_iter().fold(event, |event, value| event.header(name, &value));
        }
    }
    Some(GivenEvent { event, topic, partition, key, dead_letter })
}

fn number<N: std::str::FromStr>(loader: &mut Loader, section: &Section<'_>, key: &str) -> Option<N> {
    let item = section.get(key)?;
    let number = item.get_ref().as_integer().and_then(|number| number.as_str().parse().ok());
    if number.is_none() {
        loader.error(item.span(), format!("`{key}` is a whole number"));
    }
    number
}

/// The value as JSON, with the digits of its numbers.
fn to_json(item: &Item<'_>) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    match item.get_ref() {
        DeValue::String(value) => text(value),
        DeValue::Integer(number) => number.as_str().replace('_', ""),
        DeValue::Float(number) => number.as_str().replace('_', ""),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(value) => text(&value.to_string()),
        DeValue::Array(items) => format!("[{}]", items.iter().map(to_json).collect::<Vec<_>>().join(",")),
        DeValue::Table(table) => {
            let section = Section::new("", 0..0, table);
            let fields = section.entries().map(|(name, _, item)| format!("{}:{}", text(name), to_json(item)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
    }
}

impl Case {
    fn run(&self, definition: &Definition) -> Result<(), String> {
        let given = after(definition, &self.given)?;
        let differences = self.then.iter().filter_map(|(table, rows)| given.compare(table, rows).err());
        let differences: Vec<String> = differences.collect();
        if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
    }

    /// Whether all tables have the same rows where no event leaves something behind for the next one.
    fn keeps_nothing(&self, definition: &Definition, without_memory: Option<&Definition>) -> Result<(), String> {
        let Some(without_memory) = without_memory else { return Ok(()) };
        let (given, apart) = (after(definition, &self.given)?, after(without_memory, &self.given)?);
        for table in definition.tables() {
            let (rows, apart) = (given.rows(table.name())?.0, apart.rows(table.name())?.0);
            if rows != apart {
                return Err(format!(
                    "the component keeps state between events: with an instance for each event, `{}` has other rows\n\
                     an instance for each:\n{apart}\none for all:\n{rows}",
                    table.name()
                ));
            }
        }
        Ok(())
    }
}

/// The tables after the events. A dead letter changes nothing, and neither do the events of its key behind it in its
/// partition.
fn after(definition: &Definition, given: &[GivenEvent]) -> Result<Given, String> {
    let mut parked = Vec::new();
    let mut events = Vec::new();
    for (index, GivenEvent { event, topic, partition, key, dead_letter }) in given.iter().enumerate() {
        let lane = key.as_ref().map(|key| (topic, partition, key));
        if lane.is_some_and(|lane| parked.contains(&lane)) {
            continue;
        }
        let Some(expected) = dead_letter else {
            events.push(event.clone());
            continue;
        };
        match check_given(definition, vec![event.clone()]) {
            Err(reason) if reason.contains(expected.as_str()) => {}
            Err(reason) => return Err(format!("event {index} is a dead letter for another reason: {reason}")),
            Ok(_) => return Err(format!("event {index} is no dead letter: it can be projected")),
        }
        parked.extend(lane);
    }
    check_given(definition, events)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VISITS: &str = r#"
topics = "site"

[tables.visits]
key = "page"
columns.page = "text"
columns.count = "i64 default 0"
columns.paid = "decimal(2) default 0"

[[on]]
event = "VISITED"
upsert = "visits"
key = "data.page"
add.count = "1"
add.paid = "data.?paid.orValue(0)"
"#;

    fn run(tests: &str) -> Vec<TestOutcome> {
        let projection = FileProjection::load("visits.toml", VISITS).expect("a projection");
        run_tests(&projection, "visits.test.toml", tests).unwrap_or_else(|problems| panic!("{}", problems[0]))
    }

    #[test]
    fn events_are_given_and_rows_compared() {
        let outcomes = run(r#"
[[test]]
name = "visits add up"
given = [
  { event = "VISITED", key = "a", data = { page = "/home", paid = 12345678901234567.89 } },
  { event = "VISITED", key = "b", json = '{"page":"/home","paid":0.01}' },
  { event = "LEFT", data = 1 },
]
then.visits = """
page  | count | paid
/home | 2     | 12345678901234567.90
"""

[[test]]
given = [{ event = "VISITED", data = { page = "/home" } }]
then.visits = "page | count\n /home | 2"
"#);
        assert_eq!(
            outcomes[0],
            TestOutcome { name: "visits add up".into(), place: "visits.test.toml:2".into(), failure: None }
        );
        assert_eq!(outcomes[1].name, "visits.test.toml:14");
        let failure = outcomes[1].failure.as_deref().expect("a difference");
        assert_eq!(
            failure,
            "table `visits` differs\nexpected:\n  page  | count\n  /home | 2\n\nfound:\n  page  | count\n  /home | 1\n"
        );
    }

    #[test]
    fn a_dead_letter_is_expected_with_its_reason_and_parks_its_key() {
        let outcomes = run(r#"
[[test]]
given = [
  { event = "VISITED", key = "a", data = { path = "/home" }, dead_letter = "no `data.page`" },
  { event = "VISITED", key = "a", data = { page = "/home" } },
  { event = "VISITED", key = "b", data = { page = "/home" } },
]
then.visits = "page | count\n /home | 1"

[[test]]
given = [{ event = "VISITED", data = { page = "/home" }, dead_letter = "no" }]
then.visits = "page"

[[test]]
given = [{ event = "VISITED", data = { path = "/home" }, dead_letter = "too late" }]
then.visits = "page"

[[test]]
given = [{ event = "VISITED", data = { path = "/home" } }]
then.visits = "page"
"#);
        let failures: Vec<_> = outcomes.iter().map(|outcome| outcome.failure.as_deref().unwrap_or("passed")).collect();
        assert_eq!(failures[0], "passed");
        assert_eq!(failures[1], "event 0 is no dead letter: it can be projected");
        assert!(
            failures[2].starts_with("event 0 is a dead letter for another reason: event 0: visits.toml:10: page: ")
        );
        assert!(
            failures[3].starts_with("event 0: visits.toml:10: page: the event has no `data.page`"),
            "{}",
            failures[3]
        );
    }

    #[test]
    fn rows_that_depend_on_the_order_fail() {
        let text = VISITS.replace("add.count = \"1\"", "set.count = \"data.count\"");
        let projection = FileProjection::load("visits.toml", &text).expect("a projection");
        let tests = r#"
[[test]]
given = [
  { event = "VISITED", key = "a", data = { page = "/", count = 1 } },
  { event = "VISITED", key = "b", data = { page = "/", count = 2 } },
]
then.visits = "page | count\n / | 2"
"#;
        let outcomes = run_tests(&projection, "visits.test.toml", tests).expect("a test");
        let failure = outcomes[0].failure.as_deref().expect("an order");
        assert!(failure.starts_with("the rows depend on the order of events in different partitions"), "{failure}");
    }

    #[test]
    fn what_is_wrong_with_a_test_is_named_with_its_line() {
        let projection = FileProjection::load("visits.toml", VISITS).expect("a projection");
        for (text, problem) in [
            ("", "t.toml:1:1: the file has no test"),
            ("[[test]]\ngiven = []", "t.toml:1:1: the test expects nothing"),
            ("[[test]]\nthen.a = ''\ngiven = [{ data = 1 }]", "t.toml:3:10: the event has no type"),
            (
                "[[test]]\nthen.a = ''\ngiven = [{ event = 'a', dta = 1 }]",
                "`dta` is not a key of `given` (did you mean `data`?)",
            ),
            ("[[test]]\nthen.a = ''\ngiven = [{ event = 'a', version = 'x' }]", "`version` is a whole number"),
        ] {
            let problems = run_tests(&projection, "t.toml", text).expect_err(text);
            assert!(problems[0].line().contains(problem), "{}", problems[0].line());
        }
    }
}
