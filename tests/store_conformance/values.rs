//! Values of every type, and the rows found by them.

use readcast::store::{CommitOutcome, StoreError};
use readcast_core::{ChangeSet, Changes, ColumnType, Date, Decimal, Json, Model, TableSpec, Timestamp, Uuid, Value};

use super::lane::{Lane, changes, definition};
use super::subject::{Subject, expected};

/// Each type of column with a name, and values at and around its limits.
pub(super) fn extremes() -> Vec<(&'static str, ColumnType, Vec<Value>)> {
    let decimals = |texts: &[&str]| texts.iter().map(|text| decimal(text).into()).collect::<Vec<Value>>();
    let all_bytes: Vec<u8> = (0..=255).collect();
    vec![
        ("truth", ColumnType::Bool, vec![true.into(), false.into()]),
        ("small", ColumnType::I32, vec![i32::MIN.into(), (-1).into(), 0.into(), i32::MAX.into()]),
        (
            "large",
            ColumnType::I64,
            [i64::MIN, -9_007_199_254_740_993, 0, 9_007_199_254_740_993, i64::MAX].map(Value::from).into(),
        ),
        ("whole", ColumnType::Decimal { scale: 0 }, decimals(&["9999999999999999999999999999", "-1", "0"])),
        (
            "money",
            ColumnType::Decimal { scale: 2 },
            decimals(&["99999999999999999999999999.99", "-99999999999999999999999999.99", "0.10", "0"]),
        ),
        ("tiny", ColumnType::Decimal { scale: 28 }, decimals(&["0.0000000000000000000000000001", "-0.5"])),
        (
            "moment",
            ColumnType::Timestamp,
            ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"]
                .map(|text| text.parse::<Timestamp>().expect("a time").into())
                .into(),
        ),
        (
            "day",
            ColumnType::Date,
            [(1, 1, 1), (2024, 2, 29), (9999, 12, 31)]
                .map(|(year, month, day)| Date::from_ymd_opt(year, month, day).expect("a day").into())
                .into(),
        ),
        ("id", ColumnType::Uuid, vec![Uuid::nil().into(), Uuid::max().into()]),
        ("bytes", ColumnType::Bytes, vec![vec![].into(), vec![0].into(), all_bytes.into()]),
        (
            "text",
            ColumnType::Text,
            [
                "",
                " ",
                "NULL",
                "'\"`\\|\n\r\t\u{1}\u{7f}",
                "ünï-😀-\u{202e}-\u{fffd}-\u{10ffff}",
                "{\"a\":[1]}",
                "007",
                "1e5",
            ]
            .map(Value::from)
            .into(),
        ),
        (
            "json",
            ColumnType::Json,
            ["null", "\"\"", "[]", r#"{"a":[1,2.50,-0.001,"é😀\n\"",null,true],"b":{"c":{}}}"#, "9007199254740993"]
                .map(|text| Json::parse(text).expect("JSON").into())
                .into(),
        ),
    ]
}

fn decimal(text: &str) -> Decimal {
    text.parse().expect("a decimal")
}

/// Writes to a store and to the model, and compares.
pub(super) struct Both<'a> {
    subject: &'a Subject,
    tables: Vec<TableSpec>,
    pub(super) lane: Lane,
    pub(super) model: Model,
}

impl<'a> Both<'a> {
    pub(super) async fn new(subject: &'a Subject, table: TableSpec) -> Self {
        let tables = vec![table];
        let lane = Lane::claim(subject, &definition(tables.clone())).await;
        Self { subject, model: Model::new(tables.clone()), tables, lane }
    }

    pub(super) async fn write(&mut self, write: impl FnOnce(&mut Changes<'_>)) {
        let set: ChangeSet = changes(&self.tables, write);
        self.model.apply(&set).expect("numbers in range");
        let committed = self.lane.commit(set).await;
        assert!(matches!(committed, Ok(CommitOutcome::Applied(_))), "{committed:?}");
        let found = self.subject.rows(&self.tables[0]).await;
        assert_eq!(found, expected(&self.model, 0, &self.tables[0]));
    }
}

pub(super) async fn every_type_is_kept_exactly(subject: &Subject) {
    let nullable =
        |table: TableSpec, (name, column_type, _): &(&str, ColumnType, Vec<Value>)| table.nullable(*name, *column_type);
    let table = TableSpec::new("every_type").key("row", ColumnType::I32).with_default("touched", ColumnType::I32, 0);
    let table = extremes().iter().fold(table, nullable);
    let mut both = Both::new(subject, table).await;
    let mut number = 0;
    for (name, _, values) in extremes() {
        both.write(|changes| {
            for value in values.into_iter().chain([Value::Null]) {
                changes.upsert("every_type", [number]).set(name, value);
                number += 1;
            }
        })
        .await;
    }
    // Whatever a store does to change a row must leave its other cells alone.
    both.write(|changes| {
        for number in 0..number {
            changes.update("every_type", [number]).add("touched", 1);
        }
    })
    .await;
    assert_eq!(both.model.missed(), 0);
}

/// So many that a store may write them in another way than few.
const MANY: i32 = 200;

pub(super) async fn many_children_of_every_type_are_kept_exactly(subject: &Subject) {
    let nullable =
        |table: TableSpec, (name, column_type, _): &(&str, ColumnType, Vec<Value>)| table.nullable(*name, *column_type);
    let table = TableSpec::new("children").key("parent", ColumnType::I32).key("line", ColumnType::I32);
    let mut both = Both::new(subject, extremes().iter().fold(table, nullable)).await;
    // Each line has the next value of each type, and nothing now and then.
    let line = |line: i32| {
        let place = usize::try_from(line).expect("from 0");
        let value = |(_, _, values): (&str, ColumnType, Vec<Value>)| {
            let place = place % (values.len() + 1);
            values.into_iter().nth(place).unwrap_or(Value::Null)
        };
        std::iter::once(Value::from(line)).chain(extremes().into_iter().map(value)).collect::<Vec<Value>>()
    };
    for lines in [0..MANY, MANY / 2..2 * MANY, 0..3] {
        both.write(|changes| {
            for parent in 0..3 {
                changes.replace_children("children", [parent], lines.clone().map(line));
            }
            // Among what is written anew there are rows of other parents, and some that are changed at once.
            changes.upsert("children", [7, lines.start]).set("text", "alone");
            changes.upsert("children", [1, lines.start]).set("text", "changed");
        })
        .await;
    }
}

pub(super) async fn of_two_writers_of_the_same_children_one_wins_completely(subject: &Subject) {
    let table = TableSpec::new("children")
        .key("parent", ColumnType::I32)
        .key("line", ColumnType::I32)
        .column("writer", ColumnType::I32);
    let tables = [table.clone()];
    let definition = definition(tables.clone());
    let mut lanes =
        [Lane::claim_partition(subject, &definition, 0).await, Lane::claim_partition(subject, &definition, 1).await];
    let written = |writer: i32, parent: i32| {
        changes(&tables, |changes| {
            let line = |line: i32| vec![line.into(), writer.into()];
            changes.replace_children("children", [parent], (0..MANY + writer).map(line));
        })
    };
    let write = async |lane: &mut Lane, writer: i32| {
        for parent in 0..10 {
            // What another has created at the same moment is worth another try, as in a lane.
            loop {
                match lane.commit(written(writer, parent)).await {
                    Ok(CommitOutcome::Applied(_)) => break,
                    Err(StoreError::Unavailable { .. }) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    };
    let [one, other] = &mut lanes;
    tokio::join!(write(one, 0), write(other, 1));
    let mut found = std::collections::BTreeMap::<String, (usize, std::collections::BTreeSet<String>)>::new();
    for (key, row) in subject.rows(&table).await {
        let parent = key.split(['|', ',']).next().expect("a key").trim().to_owned();
        let (lines, writers) = found.entry(parent).or_default();
        *lines += 1;
        writers.insert(row);
    }
    assert_eq!(found.len(), 10, "{found:?}");
    for (parent, (lines, writers)) in found {
        let expected = if writers.contains("0") { MANY } else { MANY + 1 };
        assert_eq!((lines, writers.len()), (usize::try_from(expected).expect("few"), 1), "{parent}: {writers:?}");
    }
}

pub(super) async fn doubles_are_kept_to_the_last_bit(subject: &Subject) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let of_any_size = std::iter::repeat_with(|| f64::from_bits(random.u64(..))).filter(|number| number.is_finite());
    let numbers: Vec<f64> = [0.0, 0.1, -0.1, 1.0 / 3.0, 1e15, 1e22, 1e23, f64::MAX, f64::MIN, f64::EPSILON, 5e-324]
        .into_iter()
        .chain([f64::MIN_POSITIVE, -f64::MIN_POSITIVE, f64::MIN_POSITIVE - 5e-324, 2.954_687_499_812_172e-204])
        .chain(of_any_size.take(500))
        .collect();
    let table = TableSpec::new("doubles").key("row", ColumnType::I64).column("number", ColumnType::F64).with_default(
        "touched",
        ColumnType::I32,
        0,
    );
    let mut both = Both::new(subject, table).await;
    let keyed = || (0_i64..).zip(&numbers);
    both.write(|changes| {
        for (row, number) in keyed() {
            changes.upsert("doubles", [row]).set("number", *number);
        }
    })
    .await;
    both.write(|changes| {
        for (row, _) in keyed() {
            changes.update("doubles", [row]).add("touched", 1);
        }
    })
    .await;
    both.write(|changes| {
        for number in &numbers {
            changes.update_where("doubles", "number", *number).add("touched", 1);
        }
    })
    .await;
}

pub(super) async fn rows_are_found_by_keys_of_every_type(subject: &Subject) {
    let keyable: Vec<_> = extremes().into_iter().filter(|(name, ..)| *name != "json").collect();
    let key =
        |table: TableSpec, (name, column_type, _): &(&str, ColumnType, Vec<Value>)| table.key(*name, *column_type);
    let table = keyable.iter().fold(TableSpec::new("keyed"), key).with_default("count", ColumnType::I64, 0);
    let mut both = Both::new(subject, table).await;
    let most = keyable.iter().map(|(_, _, values)| values.len()).max().unwrap_or_default();
    let keys: Vec<Vec<Value>> = (0..most)
        .map(|turn| keyable.iter().map(|(_, _, values)| values[turn % values.len()].clone()).collect())
        .collect();
    for _ in 0..2 {
        both.write(|changes| {
            for key in &keys {
                changes.upsert("keyed", key.clone()).add("count", 1);
            }
        })
        .await;
    }
    both.write(|changes| keys.iter().step_by(2).for_each(|key| changes.delete("keyed", key.clone()))).await;
    let (parent, rest) = keys[1].split_at(4);
    let child = [rest, &[5.into()]].concat();
    both.write(|changes| changes.replace_children("keyed", parent.to_vec(), [child])).await;
    assert_eq!(both.model.rows(0).values().filter(|row| row[0] == Value::I64(5)).count(), 1);
}

pub(super) async fn defaults_of_every_type_are_what_new_rows_hold(subject: &Subject) {
    let declared = |table: TableSpec, (name, column_type, values): &(&str, ColumnType, Vec<Value>)| {
        let values = values.iter().enumerate();
        values.fold(table, |table, (place, value)| {
            table.with_default(format!("{name}_{place}"), *column_type, value.clone())
        })
    };
    let table = TableSpec::new("defaults")
        .key("row", ColumnType::I32)
        .with_default("double_0", ColumnType::F64, 0.1)
        .with_default("double_1", ColumnType::F64, f64::MAX)
        .with_default("double_2", ColumnType::F64, -5e-324);
    let table = extremes().iter().fold(table, declared);
    let mut both = Both::new(subject, table).await;
    both.write(|changes| {
        changes.upsert("defaults", [1]);
        changes.upsert("defaults", [2]).set("truth_0", false).add("small_2", 5).add("money_2", decimal("0.20"));
        changes.upsert("defaults", [3]).append("json_2", Json::parse("7").expect("JSON"));
    })
    .await;
    let again = definition(both.tables.clone());
    assert_eq!(subject.store.prepare(&again).await, Ok(()), "defaults are read back from the recorded declaration");
}

pub(super) async fn rows_without_data_columns_come_and_go(subject: &Subject) {
    let table = TableSpec::new("pairs").key("one", ColumnType::Text).key("other", ColumnType::Text);
    let mut both = Both::new(subject, table).await;
    for _ in 0..2 {
        both.write(|changes| {
            changes.upsert("pairs", ["a", "b"]);
            changes.upsert("pairs", ["a", "c"]);
            changes.update("pairs", ["x", "y"]);
        })
        .await;
    }
    both.write(|changes| changes.replace_children("pairs", ["a"], [vec!["d".into()]])).await;
    both.write(|changes| changes.delete("pairs", ["a", "d"])).await;
}

pub(super) async fn a_peek_shows_the_first_rows_by_key(subject: &Subject) {
    let table = TableSpec::new("peeked").key("number", ColumnType::I64).nullable("bytes", ColumnType::Bytes);
    let mut both = Both::new(subject, table.clone()).await;
    both.write(|changes| {
        for number in [100, 20, 3] {
            changes.upsert("peeked", [number]).set("bytes", vec![0xff, 0x00]);
        }
        changes.upsert("peeked", [-1]);
    })
    .await;
    let peek = subject.store.peek(&table, 3).await.expect("a look");
    assert_eq!(peek.count, 4);
    let keys: Vec<_> = peek.rows.iter().map(|row| row[0].as_deref()).collect();
    assert_eq!(keys, [Some("-1"), Some("3"), Some("20")]);
    assert!(peek.rows[0][1].is_none() && peek.rows[1][1].is_some(), "{peek:?}");
}
