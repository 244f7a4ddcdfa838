//! Converts values to and from SQLite. The rows of a statement are one JSON parameter; results are read by type.
//!
//! SQLite has no decimals, times or UUIDs. They are stored as texts in their display form, so that equal values are
//! equal texts, and times and dates sort correctly.

use std::str::FromStr;

use readcast_core::{Column, ColumnType, Date, Decimal, Json, Key, Row, TableSpec, Timestamp, Uuid, Value};
use serde::{Serialize, Serializer};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

/// The SQL type of a column in a STRICT table.
pub(super) fn column_type(column: &Column) -> &'static str {
    match column.column_type() {
        // NUMERIC would convert a decimal to a float.
        ColumnType::Text | ColumnType::Decimal { .. } | ColumnType::Timestamp => "TEXT",
        ColumnType::Date | ColumnType::Uuid | ColumnType::Json => "TEXT",
        ColumnType::Bool | ColumnType::I32 | ColumnType::I64 => "INTEGER",
        ColumnType::F64 => "REAL",
        ColumnType::Bytes => "BLOB",
    }
}

/// A value as an SQL literal.
pub(super) fn literal(value: &Value) -> String {
    match value {
        Value::Null | Value::I32(_) | Value::I64(_) => value.to_string(),
        Value::Bool(bool) => i32::from(*bool).to_string(),
        Value::F64(number) => format!("{number:?}"),
        Value::Bytes(_) => format!("x'{value}'"),
        _ => format!("'{}'", value.to_string().replace('\'', "''")),
    }
}

/// Creates the table of the powers of two that [`expression`] uses for floats. Each step of the computation is exact.
pub(super) const POWERS_OF_TWO: &str = "
    CREATE TEMP TABLE readcast_powers_of_two (exponent INTEGER PRIMARY KEY, value REAL NOT NULL) STRICT;
    WITH RECURSIVE
        up (exponent, value) AS (SELECT 0, 1.0 UNION ALL SELECT exponent + 1, value * 2 FROM up WHERE exponent < 971),
        down (exponent, value) AS (
            SELECT -1, 0.5 UNION ALL SELECT exponent - 1, value / 2 FROM down WHERE exponent > -1074)
    INSERT INTO readcast_powers_of_two SELECT exponent, value FROM up UNION ALL SELECT exponent, value FROM down";

/// SQL for the element `place` of the JSON array `array`, in the type that `column` stores.
pub(super) fn expression(column: &Column, array: &str, place: usize) -> String {
    match column.column_type() {
        ColumnType::Bytes => format!("unhex({array} ->> {place})"),
        // SQLite parses one in nine floats with a wrong last bit, whatever the number of digits. An integer of 53 bits
        // times a power of two is exact.
        ColumnType::F64 => format!(
            "CAST({array} ->> '$[{place}][0]' AS REAL)
             * (SELECT value FROM temp.readcast_powers_of_two WHERE exponent = {array} ->> '$[{place}][1]')"
        ),
        _ => format!("{array} ->> {place}"),
    }
}

/// Rows as the JSON array of arrays that [`expression`] reads.
pub(super) fn rows<'a>(rows: impl IntoIterator<Item = impl IntoIterator<Item = &'a Value>>) -> String {
    let rows: Vec<Vec<Cell<'_>>> = rows.into_iter().map(|row| row.into_iter().map(Cell).collect()).collect();
    json(&rows)
}

/// One value as a JSON array, whose element 0 [`expression`] reads.
pub(super) fn one(value: &Value) -> String {
    json(&[Cell(value)])
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("arrays of texts and integers are serializable")
}

/// Serializes a value for [`expression`].
struct Cell<'a>(&'a Value);

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_none(),
            Value::Bool(bool) => serializer.serialize_bool(*bool),
            Value::I32(number) => serializer.serialize_i32(*number),
            Value::I64(number) => serializer.serialize_i64(*number),
            Value::F64(number) => mantissa_and_exponent(*number).serialize(serializer),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Json(json) => serializer.serialize_str(json.as_str()),
            Value::Decimal(_) | Value::Timestamp(_) | Value::Date(_) | Value::Uuid(_) | Value::Bytes(_) => {
                serializer.collect_str(self.0)
            }
        }
    }
}

/// Integers `(m, e)` such that the finite float is m × 2^e.
fn mantissa_and_exponent(number: f64) -> (i64, i64) {
    const FRACTION_BITS: u32 = 52;
    let bits = number.abs().to_bits().cast_signed();
    let (fraction, biased) = (bits & ((1 << FRACTION_BITS) - 1), bits >> FRACTION_BITS);
    // A subnormal number has no implicit leading bit, and the exponent of the smallest normal number.
    let mantissa = if biased == 0 { fraction } else { fraction | 1 << FRACTION_BITS };
    let mantissa = if number.is_sign_negative() { -mantissa } else { mantissa };
    (mantissa, biased.max(1) - 1075)
}

/// The key and the data columns of a result row with all columns of `table`, in order.
pub(super) fn read(row: &SqliteRow, table: &TableSpec) -> sqlx::Result<(Key, Row)> {
    let cells = table.columns().iter().enumerate().map(|(place, column)| cell(row, place, column));
    let mut key: Key = cells.collect::<sqlx::Result<_>>()?;
    let cells = key.split_off(table.key_columns().len());
    Ok((key, cells))
}

/// The value at index `place` of a result row, which holds `column`.
pub(super) fn cell(row: &SqliteRow, place: usize, column: &Column) -> sqlx::Result<Value> {
    Ok(match column.column_type() {
        ColumnType::Text => row.try_get::<Option<String>, _>(place)?.into(),
        ColumnType::Bool => row.try_get::<Option<bool>, _>(place)?.into(),
        ColumnType::I32 => row.try_get::<Option<i32>, _>(place)?.into(),
        ColumnType::I64 => row.try_get::<Option<i64>, _>(place)?.into(),
        ColumnType::F64 => row.try_get::<Option<f64>, _>(place)?.into(),
        ColumnType::Bytes => row.try_get::<Option<Vec<u8>>, _>(place)?.into(),
        // Parsing a zero loses its scale. `fit` restores it.
        ColumnType::Decimal { .. } => {
            let value = Value::from(parsed::<Decimal>(row, place)?);
            value.fit(column).map_err(|_| unreadable(place))?
        }
        ColumnType::Timestamp => parsed::<Timestamp>(row, place)?.into(),
        ColumnType::Date => parsed::<Date>(row, place)?.into(),
        ColumnType::Uuid => parsed::<Uuid>(row, place)?.into(),
        ColumnType::Json => {
            let text = row.try_get::<Option<String>, _>(place)?;
            text.map(Json::try_from).transpose().map_err(|_| unreadable(place))?.into()
        }
    })
}

fn parsed<T: FromStr>(row: &SqliteRow, place: usize) -> sqlx::Result<Option<T>> {
    let text = row.try_get::<Option<&str>, _>(place)?;
    text.map(str::parse).transpose().map_err(|_| unreadable(place))
}

/// The error for a value that readcast did not write. It does not contain the value, which is row data.
fn unreadable(place: usize) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: place.to_string(), source: "not a value of the column's type".into() }
}
