//! Random projections in files with random events: what readcast makes of them equals what an independent interpreter makes of
//! what they mean. `READCAST_TEST_RANDOM_FILES` says how many are projected into the stores as well, 200 for a long run.

mod expressions;
mod rules;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use readcast::FileProjection;
use readcast_core::{Envelope, Model, Registry, TopicPartition, Value};
use serde_json::json;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;

use crate::files_to_sqlite::seed;
use crate::shop::sqlite_rows;
use crate::support::postgres::Database;
use crate::support::process::Readcast;

use self::rules::{Rows, Written};

/// The fields of an event. Money is in cents.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    kind: &'static str,
    id: String,
    n: i64,
    cents: i64,
    t: String,
    opt: Option<i64>,
    list: Vec<(i64, i64)>,
}

const KINDS: [&str; 3] = ["A", "B", "C"];
const PROJECTIONS: usize = 200;
const EVENTS: usize = 60;

/// Random numbers, each below a limit.
pub(crate) struct Dice(fastrand::Rng);

impl Dice {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0.usize(0..limit)
    }

    pub(crate) fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    pub(crate) fn number(&mut self) -> i64 {
        self.0.i64(-20..100)
    }
}

impl Event {
    fn random(dice: &mut Dice) -> Self {
        Self {
            kind: dice.one_of(&KINDS),
            id: format!("k{}", dice.below(4)),
            n: dice.number(),
            cents: dice.number() * 7,
            t: dice.one_of(&["Alpha", "beta", "Größe", "it's", ""]).to_owned(),
            opt: (dice.below(2) == 0).then(|| dice.number()),
            list: (0..dice.below(4)).map(|_| (dice.number(), dice.number() * 3)).collect(),
        }
    }

    fn json(&self, number: usize) -> String {
        let list: Vec<String> = self.list.iter().map(|(k, v)| format!(r#"{{"k":{k},"v":{}}}"#, money(*v))).collect();
        let opt = self.opt.map(|opt| format!(r#","opt":{}"#, money(opt))).unwrap_or_default();
        format!(
            r#"{{"event_id":"e{number}","type":"{}","timestamp":"2026-01-01T00:00:00Z","data":{{"id":"{}","n":{},"d":{},"t":{},"list":[{}]{opt}}}}}"#,
            self.kind,
            self.id,
            self.n,
            money(self.cents),
            json!(self.t),
            list.join(",")
        )
    }
}

/// Cents as a decimal.
pub(crate) fn money(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

fn projections(dice: &mut Dice, count: usize) -> Vec<Written> {
    (0..count).map(|number| Written::random(dice, &format!("random_{number}"))).collect()
}

fn events(dice: &mut Dice) -> Vec<Event> {
    (0..EVENTS).map(|_| Event::random(dice)).collect()
}

#[test]
fn random_files_mean_what_an_independent_interpreter_makes_of_them() {
    let seed = seed();
    let mut dice = Dice(fastrand::Rng::with_seed(seed));
    for written in projections(&mut dice, PROJECTIONS) {
        let events = events(&mut dice);
        let loaded =
            FileProjection::load(&format!("{}.toml", written.name), &written.text).unwrap_or_else(|problems| {
                panic!("seed {seed}: {}\n{}", problems[0], written.text);
            });
        let registry = Registry::new().register(loaded);
        let definition = &registry.definitions()[0];
        let mut model = Model::new(definition.tables().to_vec());
        for (event, number) in events.iter().zip(0..) {
            let json = event.json(number);
            let position = TopicPartition::new("random", 0).at(i64::try_from(number).unwrap());
            let envelope = Envelope::from_plain_json(position, None, json.as_bytes()).unwrap();
            if !definition.subscribes(event.kind) {
                continue;
            }
            let changes = definition.project(&envelope);
            for change in changes.unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}\n{json}", written.text)) {
                model.apply_change(&change).unwrap();
            }
        }
        for (place, table) in definition.tables().iter().enumerate() {
            let row =
                |(key, row): (&Vec<Value>, &Vec<Value>)| key.iter().chain(row).map(shown).collect::<Vec<_>>().join("|");
            let found: Vec<String> = model.rows(place).iter().map(row).collect();
            let expected = written.rows_after(&events);
            assert_eq!(found, expected[table.name()], "seed {seed}, table {}:\n{}", table.name(), written.text);
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Json(json) => canonical(json.as_str()),
        other => other.to_string(),
    }
}

/// The JSON without white space.
fn canonical(json: &str) -> String {
    serde_json::from_str::<serde_json::Value>(json).unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn random_files_make_the_same_rows_in_both_stores_live_and_rebuilt() {
    let seed = seed();
    let mut dice = Dice(fastrand::Rng::with_seed(seed));
    let count = std::env::var("READCAST_TEST_RANDOM_FILES").map_or(10, |count| count.parse().unwrap());
    let (dir, mut left) = (TempDir::new().unwrap(), count);
    std::fs::create_dir_all(dir.path().join("events/random")).unwrap();
    // One process runs a few at a time.
    while left > 0 {
        let (written, events) = (projections(&mut dice, left.min(10)), events(&mut dice));
        left -= written.len();
        let folder = TempDir::new_in(dir.path()).unwrap();
        for projection in &written {
            std::fs::write(folder.path().join(format!("{}.toml", projection.name)), &projection.text).unwrap();
        }
        let log = events.iter().enumerate().fold(String::new(), |mut log, (number, event)| {
            writeln!(log, "{}", event.json(number)).unwrap();
            log
        });
        std::fs::write(dir.path().join("events/random/0.ndjson"), log).unwrap();
        let sqlite = folder.path().join("read.db");
        let database = Database::create().await;
        for store in [format!("sqlite:{}", sqlite.display()), database.url().to_owned()] {
            run(&dir, &folder, &store, &["run", "--until-end"], seed).await;
            for projection in &written {
                run(&dir, &folder, &store, &["verify", &projection.name], seed).await;
            }
        }
        let mut client = SqliteConnectOptions::new().filename(&sqlite).connect().await.unwrap();
        for projection in &written {
            let expected = projection.rows_after(&events);
            for (table, query) in projection.queries(|money| format!("printf('%.2f', {money})")) {
                let found = sqlite_rows(&mut client, &query).await.unwrap();
                assert_same(&found, &expected, &table, &projection.text, seed);
            }
            for (table, query) in projection.queries(str::to_owned) {
                assert_same(&database.rows(&query).await, &expected, &table, &projection.text, seed);
            }
        }
    }
}

async fn run(dir: &TempDir, folder: &TempDir, store: &str, arguments: &[&str], seed: u64) {
    let source = format!("file:{}", dir.path().join("events").display());
    let folder = folder.path().display().to_string();
    let urls = ["--source", &source, "--store", store, "--projections", &folder];
    let finished = Readcast::run_released(arguments.iter().copied().chain(urls), &[]).await;
    assert!(finished.status.success(), "seed {seed}: {}{}", finished.stdout, finished.stderr);
}

/// Rows from a store, whose JSON may be laid out differently.
fn assert_same(found: &[String], expected: &BTreeMap<String, Rows>, table: &str, text: &str, seed: u64) {
    let columns = |row: &String| -> Vec<String> {
        row.split('|').map(|cell| if cell.starts_with('[') { canonical(cell) } else { cell.to_owned() }).collect()
    };
    let mut found: Vec<_> = found.iter().map(columns).collect();
    let mut expected: Vec<_> = expected[table].iter().map(columns).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "seed {seed}, table {table}:\n{text}");
}
