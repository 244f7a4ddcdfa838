//! Values as those of columns, and as texts.

use chrono::TimeDelta;
use readcast_core::{ColumnType, Date, Decimal, Json, Timestamp, Uuid, Value};

use super::{Datum, to_json};

/// The value as a column of this type holds it. Texts become what the type reads them as, such as `"12.50"` a decimal and an
/// RFC 3339 text a timestamp; nothing is rounded.
pub(crate) fn to_column(value: Datum<'_>, column: ColumnType) -> Result<Value, String> {
    to_column_with(value, column, conversion)
}

/// As [`to_column`]. A message about a value of another type ends with `advice`.
pub(crate) fn to_column_with(
    value: Datum<'_>,
    column: ColumnType,
    advice: fn(ColumnType) -> &'static str,
) -> Result<Value, String> {
    if let (ColumnType::Json, value) = (column, &value) {
        // JSON has a null of its own, but a column that is not set is more useful as NULL.
        return match value {
            Datum::Null => Ok(Value::Null),
            value => Json::parse(&to_json(value)?).map(Value::Json).map_err(|error| error.to_string()),
        };
    }
    let unfit = |value: &Datum<'_>| Err(format!("{} is not {}{}", value.type_name(), wanted(column), advice(column)));
    Ok(match (column, value) {
        (_, Datum::Null) => Value::Null,
        (ColumnType::Text, Datum::Text(text)) => Value::Text(text.into_owned()),
        (ColumnType::Bool, Datum::Bool(value)) => Value::Bool(value),
        (ColumnType::Bytes, Datum::Bytes(bytes)) => Value::Bytes(bytes.into_owned()),
        (ColumnType::Timestamp, Datum::Time(time)) => Value::Timestamp(time),
        (ColumnType::Date, Datum::Date(date)) => Value::Date(date),
        (ColumnType::Timestamp, Datum::Text(text)) => Value::Timestamp(timestamp(&text)?),
        (ColumnType::Date, Datum::Text(text)) => Value::Date(date(&text)?),
        (ColumnType::Uuid, Datum::Text(text)) => {
            Value::Uuid(Uuid::parse_str(&text).map_err(|_| format!("{} is not a UUID", quoted(&text)))?)
        }
        (ColumnType::Decimal { .. }, value) => match value {
            Datum::Int(_) | Datum::Decimal(_) | Datum::Double(_) | Datum::Text(_) => Value::Decimal(decimal(&value)?),
            value => return unfit(&value),
        },
        (ColumnType::F64, value) => match value.as_float() {
            Some(number) => Value::F64(number),
            None => return unfit(&value),
        },
        (ColumnType::I32, Datum::Int(number)) => {
            Value::I32(number.try_into().map_err(|_| format!("{number} is out of the range of an i32"))?)
        }
        (ColumnType::I64, Datum::Int(number)) => Value::I64(number),
        (ColumnType::I32 | ColumnType::I64, Datum::Decimal(number)) => {
            let whole = Datum::Int(integer(number)?);
            return to_column_with(whole, column, advice);
        }
        (_, value) => return unfit(&value),
    })
}

fn wanted(column: ColumnType) -> String {
    match column {
        ColumnType::Text => "a text".to_owned(),
        ColumnType::Bool => "a boolean".to_owned(),
        ColumnType::I32 | ColumnType::I64 | ColumnType::F64 => format!("an {column}"),
        other => format!("a {other}"),
    }
}

/// How an expression makes a value of the column's type.
fn conversion(column: ColumnType) -> &'static str {
    match column {
        ColumnType::Text => ": write string(…)",
        ColumnType::I32 | ColumnType::I64 => ": write int(…)",
        ColumnType::F64 => ": write double(…)",
        _ => "",
    }
}

/// A text in a message, cut off where it is long.
pub(crate) fn quoted(text: &str) -> String {
    const MOST: usize = 40;
    match text.char_indices().nth(MOST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

pub(crate) fn timestamp(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|error: readcast_core::TimestampError| error.to_string())
}

pub(crate) fn date(text: &str) -> Result<Date, String> {
    Date::parse_from_str(text, "%Y-%m-%d").map_err(|_| format!("{} is not a date such as 2024-05-20", quoted(text)))
}

/// The number as a decimal. A float counts as the shortest text that it is read from, if that has at most 15 digits, which
/// a float keeps (IEEE 754).
pub(crate) fn decimal(value: &Datum<'_>) -> Result<Decimal, String> {
    let text = match value {
        Datum::Text(text) => text.to_string(),
        Datum::Double(number) => number.to_string(),
        other => return other.as_decimal().ok_or_else(|| format!("{} is not a decimal", other.type_name())),
    };
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    if matches!(value, Datum::Double(_)) && digits > 16 {
        return Err(format!("the float {text} has more digits than a float keeps exactly: round it with round(…)"));
    }
    text.parse().map_err(|error: readcast_core::DecimalError| error.to_string())
}

/// The decimal as an integer, if it is one.
pub(crate) fn integer(number: Decimal) -> Result<i64, String> {
    let whole = number.rescale(0).ok().map(|whole| whole.as_rust_decimal().mantissa());
    whole
        .and_then(|whole| whole.try_into().ok())
        .ok_or_else(|| format!("{number} is not an integer of 64 bits: round it with round(…)"))
}

/// A length of time as CEL writes it: `90s`, `1.5s`.
pub(crate) fn seconds(duration: TimeDelta) -> String {
    let nanos = i128::from(duration.num_seconds()) * 1_000_000_000 + i128::from(duration.subsec_nanos());
    let (sign, nanos) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let (whole, fraction) = (nanos / 1_000_000_000, format!("{:09}", nanos % 1_000_000_000));
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{whole}s"),
        fraction => format!("{sign}{whole}.{fraction}s"),
    }
}
