//! Random values from small sets, so that many are equal.

use proptest::prelude::*;
use proptest::sample::select;
use readcast_core::{Column, ColumnType, Decimal, Json, Presence, Value};

use super::time;

/// The size of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// No sum of a test leaves its range.
    Small,
    /// Near the limits: most sums leave their range.
    Extreme,
}

/// A value for each of these key columns.
pub(super) fn key_values(columns: &'static [Column]) -> impl Strategy<Value = Vec<Value>> {
    let value = |column: &Column| match column.column_type() {
        ColumnType::Text => select(vec!["a", "b"]).prop_map_into().boxed(),
        _ => (1..3_i32).prop_map_into().boxed(),
    };
    columns.iter().map(value).collect::<Vec<BoxedStrategy<Value>>>()
}

/// A value that fits the column, sometimes NULL if the column allows it.
pub(super) fn value(column: &'static Column, numbers: Numbers) -> BoxedStrategy<Value> {
    match column.presence() {
        Presence::Nullable => prop_oneof![1 => Just(Value::Null), 5 => present(column, numbers)].boxed(),
        Presence::Required | Presence::Default(_) => present(column, numbers),
    }
}

/// A value that fits the column and is not NULL.
pub(super) fn present(column: &'static Column, numbers: Numbers) -> BoxedStrategy<Value> {
    let extreme = numbers == Numbers::Extreme;
    match column.column_type() {
        ColumnType::Text => select(vec!["a", "b", "c"]).prop_map_into().boxed(),
        ColumnType::I32 if extreme => select(vec![i32::MIN, -1, 0, 1, i32::MAX - 1, i32::MAX]).prop_map_into().boxed(),
        ColumnType::I32 => (-1..3_i32).prop_map_into().boxed(),
        ColumnType::I64 if extreme => select(vec![i64::MIN, -1, 0, 1, i64::MAX - 1, i64::MAX]).prop_map_into().boxed(),
        ColumnType::I64 => (-1..3_i64).prop_map_into().boxed(),
        ColumnType::Decimal { .. } if extreme => select(extreme_decimals()).prop_map_into().boxed(),
        ColumnType::Decimal { .. } => select(small_decimals()).prop_map_into().boxed(),
        ColumnType::Timestamp => (0..5_i64).prop_map(|second| time(second).into()).boxed(),
        ColumnType::Json => json().prop_map_into().boxed(),
        ColumnType::Bytes => select(vec![vec![], vec![0_u8], vec![0, 255]]).prop_map_into().boxed(),
        other => unreachable!("no table of the laws has a column of type {other}"),
    }
}

/// JSON texts: arrays, and other values that become the first item of one.
pub(super) fn json() -> impl Strategy<Value = Json> {
    select(vec!["1", "[]", "[2.50]", r#"{"k":[3]}"#, r#""]""#]).prop_map(|text| Json::parse(text).expect("JSON"))
}

/// The largest numbers of a column of scale 2, and those that move a sum just over or under them.
fn extreme_decimals() -> Vec<Decimal> {
    let numbers = ["99999999999999999999999999.99", "99999999999999999999999999.98", "0.01"];
    let numbers = numbers.map(|text| text.parse::<Decimal>().expect("28 digits"));
    numbers.into_iter().flat_map(|number| [number, -number]).chain([Decimal::ZERO]).collect()
}

fn small_decimals() -> Vec<Decimal> {
    vec![Decimal::ZERO, -Decimal::ZERO, Decimal::new(1, 2), Decimal::new(-1, 2), Decimal::new(995, 1), 5.into()]
}
