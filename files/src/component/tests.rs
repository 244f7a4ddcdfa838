//! What components see of events, and what becomes of their changes.

use readcast_core::{
    Change as Made, Changes, ColumnType, Envelope, Json, Payload, Reference, TableSpec, Timestamp, TopicPartition,
    Value as ColumnValue,
};

use super::bindings::{Cell, Change, Children, Operation, Row, RowKey, Selection, Value};
use super::changes::record;
use super::event::Texts;

/// Two tables: one with a column of each type, and lines with a column that is copied.
fn tables() -> [TableSpec; 2] {
    let all = TableSpec::new("t")
        .key("id", ColumnType::Text)
        .nullable("text", ColumnType::Text)
        .nullable("bool", ColumnType::Bool)
        .nullable("i32", ColumnType::I32)
        .nullable("i64", ColumnType::I64)
        .nullable("f64", ColumnType::F64)
        .nullable("decimal", ColumnType::Decimal { scale: 2 })
        .nullable("timestamp", ColumnType::Timestamp)
        .nullable("date", ColumnType::Date)
        .nullable("uuid", ColumnType::Uuid)
        .nullable("bytes", ColumnType::Bytes)
        .nullable("json", ColumnType::Json)
        .newer_by("timestamp", "i64");
    let lines = TableSpec::new("lines")
        .key("id", ColumnType::Text)
        .key("line", ColumnType::I32)
        .column("name", ColumnType::Text)
        .reference(Reference::new(["id"], "t").copy_as("text", "copy"))
        .nullable("copy", ColumnType::Text)
        .column("count", ColumnType::I32);
    [all, lines]
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn upsert(cells: impl IntoIterator<Item = (&'static str, Operation)>) -> Change {
    let cells = cells.into_iter().map(|(column, operation)| Cell { column: column.into(), operation });
    Change::Upsert(Row { table: "t".into(), key: vec![text("a")], cells: cells.collect() })
}

fn recorded(change: Change) -> Result<Vec<Made>, String> {
    let tables = tables();
    let mut changes = Changes::new(&tables);
    record(vec![change], &tables, &mut changes)?;
    changes.finish().map_err(|error| error.to_string())
}

/// What the code of a projection makes.
fn written(write: impl FnOnce(&mut Changes<'_>)) -> Result<Vec<Made>, String> {
    let tables = tables();
    let mut changes = Changes::new(&tables);
    write(&mut changes);
    changes.finish().map_err(|error| error.to_string())
}

#[track_caller]
fn is_set(column: &'static str, value: Value, expected: impl Into<ColumnValue>) {
    let expected = written(|changes| {
        changes.upsert("t", ["a"]).set(column, expected);
    });
    assert_eq!(recorded(upsert([(column, Operation::Set(value))])), expected);
}

#[track_caller]
fn refused(change: Change, reason: &str) {
    assert_eq!(recorded(change), Err(reason.to_owned()));
}

#[test]
fn a_value_is_read_as_its_column_says() {
    is_set("text", text("12.50"), "12.50");
    is_set("bool", Value::Boolean(true), true);
    is_set("i32", Value::Integer(-1), -1_i32);
    is_set("i64", Value::Integer(i64::MAX), i64::MAX);
    is_set("f64", Value::Float(0.1), 0.1);
    is_set("f64", Value::Integer(2), 2.0);
    is_set("bytes", Value::Bytes(vec![0, 255]), vec![0_u8, 255]);
    for number in [text("12.50"), text("12.5"), Value::Float(12.5)] {
        is_set("decimal", number, ColumnValue::Decimal("12.50".parse().expect("a decimal")));
    }
    is_set("decimal", Value::Integer(3), ColumnValue::Decimal("3.00".parse().expect("a decimal")));
    let time: Timestamp = "2024-05-20T14:30:00.000001Z".parse().expect("a time");
    is_set("timestamp", text("2024-05-20T16:30:00.0000019+02:00"), time);
    is_set("date", text("2024-05-20"), ColumnValue::Date("2024-05-20".parse().expect("a date")));
    let uuid = "0190a5d6-0000-7000-8000-000000000001";
    is_set("uuid", text(uuid), ColumnValue::Uuid(uuid.parse().expect("a UUID")));
    is_set("json", text(r#"{"a":1.10}"#), Json::parse(r#"{"a":1.10}"#).expect("JSON"));
    is_set("json", Value::Integer(1), Json::parse("1").expect("JSON"));
    for column in ["text", "i64", "json", "date"] {
        is_set(column, Value::Null, ColumnValue::Null);
    }
}

#[test]
fn a_value_that_does_not_fit_is_refused_with_its_column() {
    let set = |column, value| upsert([(column, Operation::Set(value))]);
    refused(
        set("i32", Value::Integer(1 << 40)),
        "table `t`: column `i32`: 1099511627776 is out of the range of an i32",
    );
    refused(
        set("decimal", Value::Float(0.1 + 0.2)),
        concat!(
            "table `t`: column `decimal`: the float 0.30000000000000004 has more digits than a float keeps exactly: ",
            "round it with round(…)"
        ),
    );
    refused(set("text", Value::Integer(1)), "table `t`: column `text`: an integer is not a text");
    let third = recorded(set("decimal", text("0.005"))).expect_err("three decimals");
    assert!(third.contains("`decimal`"), "{third}");
    refused(set("bytes", text("a")), "table `t`: column `bytes`: a text is not a bytes");
    assert!(recorded(set("json", text("{"))).is_err_and(|error| error.starts_with("table `t`: column `json`: ")));
}

#[test]
fn every_operation_is_that_of_a_projection_in_code() {
    let integer = Value::Integer;
    for (operation, expected) in [
        (
            Operation::Add(integer(2)),
            written(|changes| {
                changes.upsert("t", ["a"]).add("i64", 2);
            }),
        ),
        (
            Operation::Max(integer(2)),
            written(|changes| {
                changes.upsert("t", ["a"]).max("i64", 2);
            }),
        ),
        (
            Operation::Min(integer(2)),
            written(|changes| {
                changes.upsert("t", ["a"]).min("i64", 2);
            }),
        ),
    ] {
        assert_eq!(recorded(upsert([("i64", operation)])), expected);
    }
    let item = Json::parse("[1]").expect("JSON");
    let appended = written(|changes| {
        changes.upsert("t", ["a"]).append("json", item);
    });
    assert_eq!(recorded(upsert([("json", Operation::Append("[1]".into()))])), appended);
    let invalid = recorded(upsert([("json", Operation::Append("[1".into()))])).expect_err("no JSON");
    assert!(invalid.starts_with("table `t`: column `json`: "), "{invalid}");
}

#[test]
fn what_is_newer_is_compared_by_the_columns_of_the_table() {
    let time: Timestamp = "2024-05-20T14:30:00Z".parse().expect("a time");
    let newer = |column, value| (column, Operation::Newer(value));
    let at = || newer("timestamp", text("2024-05-20T14:30:00Z"));
    let expected = written(|changes| {
        changes.upsert("t", ["a"]).newer(time, 7, [("text", "x".into())]);
    });
    let change = upsert([newer("text", text("x")), newer("i64", Value::Integer(7)), at()]);
    assert_eq!(recorded(change), expected);
    refused(upsert([at()]), "table `t`: a change by `newer` must set column `i64` by `newer`");
    let cells = vec![Cell { column: "name".into(), operation: Operation::Newer(text("x")) }];
    let key = vec![text("a"), Value::Integer(1)];
    let change = Change::Update(Row { table: "lines".into(), key, cells });
    refused(change, "table `lines` has no data column `newer_by`");
}

#[test]
fn every_change_is_that_of_a_projection_in_code() {
    let set = |value| vec![Cell { column: "i64".into(), operation: Operation::Set(value) }];
    let key = || vec![text("a")];
    let update = Change::Update(Row { table: "t".into(), key: key(), cells: set(Value::Integer(1)) });
    assert_eq!(
        recorded(update),
        written(|changes| {
            changes.update("t", ["a"]).set("i64", 1);
        })
    );
    let delete = Change::Delete(RowKey { table: "t".into(), key: key() });
    assert_eq!(recorded(delete), written(|changes| changes.delete("t", ["a"])));
    let (table, column, value) = ("t".into(), "date".into(), text("2024-05-20"));
    let all = Change::UpdateWhere(Selection { table, column, value, cells: set(Value::Null) });
    let date = ColumnValue::Date("2024-05-20".parse().expect("a date"));
    let expected = written(|changes| {
        changes.update_where("t", "date", date).set("i64", ColumnValue::Null);
    });
    assert_eq!(recorded(all), expected);
    let rows = [(1, "x"), (2, "y")].map(|(line, name)| vec![Value::Integer(line), text(name), Value::Integer(3)]);
    let replaced = Change::ReplaceChildren(Children { table: "lines".into(), parent: key(), rows: rows.into() });
    let rows = [(1, "x"), (2, "y")].map(|(line, name)| vec![line.into(), name.into(), 3_i32.into()]);
    assert_eq!(recorded(replaced), written(|changes| changes.replace_children("lines", ["a"], rows)));
}

#[test]
fn an_unknown_name_is_reported_as_for_code() {
    let unknown = Change::Delete(RowKey { table: "other".into(), key: vec![text("a")] });
    refused(unknown, "the projection declares no table `other`");
    refused(upsert([("other", Operation::Set(text("a")))]), "table `t` has no data column `other`");
    let long = Change::Delete(RowKey { table: "t".into(), key: vec![text("a"), text("b")] });
    refused(long, "table `t` expects a key of 1 values, but 2 were given");
    let rows = vec![vec![Value::Integer(1), text("x"), Value::Integer(3), text("copy")]];
    let copied = Change::ReplaceChildren(Children { table: "lines".into(), parent: vec![text("a")], rows });
    refused(copied, "table `lines` expects a row of 4 values, but 5 were given");
}

#[test]
fn an_event_has_all_digits_of_its_data() {
    let time: Timestamp = "2024-05-20T14:30:00Z".parse().expect("a time");
    let position = TopicPartition::new("orders", 3).at(7);
    let payload = Payload::json(r#"{"price":0.1000000000000000055}"#).expect("JSON");
    let headers = [("source".to_owned(), Some("web".into())), ("empty".to_owned(), None)];
    let event = Envelope::new(position, Some(b"k"), "e1", "T", time, payload).with_headers(&headers);
    let texts = Texts::of(&event).expect("texts");
    let headers = texts.headers(&event);
    let seen = texts.with(&event, &headers);
    assert_eq!((seen.id, seen.type_, seen.version), ("e1", "T", 1));
    assert_eq!(seen.time, "2024-05-20T14:30:00.000000Z");
    assert_eq!((seen.topic, seen.partition, seen.offset), ("orders", 3, 7));
    assert_eq!((seen.key, seen.key_data, seen.correlation_id), (Some(&b"k"[..]), None, None));
    let headers: Vec<_> = seen.headers.iter().map(|header| (header.name, header.value)).collect();
    assert_eq!(headers, [("source", Some(&b"web"[..])), ("empty", None)]);
    assert_eq!(seen.data, r#"{"price":0.1000000000000000055}"#);
}

#[test]
fn a_tombstone_has_null_as_its_data_and_says_what_its_key_says() {
    let time: Timestamp = "2024-05-20T14:30:00Z".parse().expect("a time");
    let event = Envelope::new(TopicPartition::new("orders", 0).at(7), None, "e1", "T", time, Payload::Empty);
    let event = Envelope { key_payload: Payload::json(r#"{"id":1}"#).expect("JSON"), ..event };
    let texts = Texts::of(&event).expect("texts");
    let seen = texts.with(&event, &[]);
    assert_eq!((seen.data, seen.key_data), ("null", Some(r#"{"id":1}"#)));
}
