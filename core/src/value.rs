//! The value of one cell, and the rules by which it fits a column.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Column, ColumnType, Date, Decimal, Json, Presence, Timestamp, Uuid};

/// The value of one cell.
///
/// Values come from Rust types with `into`; `None` becomes [`Null`](Self::Null):
///
/// ```
/// use readcast_core::Value;
///
/// assert_eq!(Value::from("a"), Value::Text("a".into()));
/// assert_eq!(Value::from(None::<i64>), Value::Null);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Value {
    /// No value: NULL in SQL.
    Null,
    /// Text without U+0000.
    Text(String),
    /// A boolean, true or false.
    Bool(bool),
    /// A 32-bit integer.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// A finite 64-bit float.
    F64(f64),
    /// An exact decimal.
    Decimal(Decimal),
    /// A point in time in UTC, in microseconds.
    Timestamp(Timestamp),
    /// A calendar date.
    Date(Date),
    /// A UUID of any version.
    Uuid(Uuid),
    /// A JSON document.
    Json(Json),
    /// A byte string.
    Bytes(Vec<u8>),
}

/// Why a value does not fit its column.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The value has another type than its column.
    #[error("column `{column}` holds {expected}, not {found}")]
    Type {
        /// The column's name.
        column: String,
        /// The column's type.
        expected: ColumnType,
        /// The value's type.
        found: &'static str,
    },
    /// The value is NULL, but the column is never NULL.
    #[error("column `{0}` is never NULL")]
    Null(String),
    /// The text holds U+0000, which Postgres does not store.
    #[error("the text for column `{0}` holds U+0000, which Postgres does not store")]
    Nul(String),
    /// The number is infinite or NaN.
    #[error("the number for column `{0}` is not finite")]
    NotFinite(String),
    /// The number has more digits after the decimal point than the column holds. Nothing is rounded.
    #[error("{number} has {} decimals; `{column}` holds {scale}", .number.decimals())]
    Decimals {
        /// The column's name.
        column: String,
        /// The number, which is not rounded.
        number: Decimal,
        /// The number of digits after the decimal point that the column holds.
        scale: u8,
    },
    /// With the column's digits after the decimal point, the number has more than 28 digits.
    #[error("{number} has more than 28 digits with the {scale} decimals of `{column}`")]
    Digits {
        /// The column's name.
        column: String,
        /// The number, which is not rounded.
        number: Decimal,
        /// The number of digits after the decimal point that the column holds.
        scale: u8,
    },
}

impl Value {
    /// The value as `column` holds it. An `I32` fits an `I64` column, and integers fit a decimal column. Decimals get
    /// the column's scale.
    ///
    /// # Errors
    /// Any other value whose type differs from the column's, and any value that one of the stores would refuse or round.
    pub fn fit(self, column: &Column) -> Result<Self, ValueError> {
        let name = || column.name().to_owned();
        let decimal = |number: Decimal, scale| {
            number.rescale(scale).map(Value::Decimal).map_err(|_| {
                if number.decimals() > u32::from(scale) {
                    ValueError::Decimals { column: name(), number, scale }
                } else {
                    ValueError::Digits { column: name(), number, scale }
                }
            })
        };
        match (column.column_type(), self) {
            (_, Value::Null) if *column.presence() == Presence::Nullable => Ok(Value::Null),
            (_, Value::Null) => Err(ValueError::Null(name())),
            (ColumnType::Text, Value::Text(text)) if text.contains('\0') => Err(ValueError::Nul(name())),
            (ColumnType::F64, Value::F64(number)) if !number.is_finite() => Err(ValueError::NotFinite(name())),
            // SQLite does not store a negative zero.
            (ColumnType::F64, Value::F64(number)) => Ok(Value::F64(number + 0.0)),
            (ColumnType::I64, Value::I32(number)) => Ok(Value::I64(number.into())),
            (ColumnType::Decimal { scale }, Value::Decimal(number)) => decimal(number, scale),
            (ColumnType::Decimal { scale }, Value::I32(number)) => decimal(i64::from(number).into(), scale),
            (ColumnType::Decimal { scale }, Value::I64(number)) => decimal(number.into(), scale),
            (ColumnType::Text, value @ Value::Text(_))
            | (ColumnType::Bool, value @ Value::Bool(_))
            | (ColumnType::I32, value @ Value::I32(_))
            | (ColumnType::I64, value @ Value::I64(_))
            | (ColumnType::Timestamp, value @ Value::Timestamp(_))
            | (ColumnType::Date, value @ Value::Date(_))
            | (ColumnType::Uuid, value @ Value::Uuid(_))
            | (ColumnType::Json, value @ Value::Json(_))
            | (ColumnType::Bytes, value @ Value::Bytes(_)) => Ok(value),
            (expected, value) => Err(ValueError::Type { column: name(), expected, found: value.type_name() }),
        }
    }

    /// Whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The exact sum of two numbers of one type. NULL counts as 0. `None` if the sum is out of range.
    pub(crate) fn plus(&self, other: &Value) -> Option<Value> {
        match (self, other) {
            (Value::Null, number) | (number, Value::Null) => Some(number.clone()),
            (Value::I32(a), Value::I32(b)) => a.checked_add(*b).map(Value::I32),
            (Value::I64(a), Value::I64(b)) => a.checked_add(*b).map(Value::I64),
            (Value::Decimal(a), Value::Decimal(b)) => a.checked_add(*b).ok().map(Value::Decimal),
            _ => None,
        }
    }

    /// The greater of the two. NULL is less than every value.
    pub(crate) fn greater(&self, other: &Value) -> Value {
        if other > self { other.clone() } else { self.clone() }
    }

    /// The lesser of the two. A NULL is ignored: the result is the other value.
    pub(crate) fn lesser(&self, other: &Value) -> Value {
        if self.is_null() || other < self && !other.is_null() { other.clone() } else { self.clone() }
    }

    fn rank(&self) -> u8 {
        match self {
            Value::Null => 0,
            Value::Text(_) => 1,
            Value::Bool(_) => 2,
            Value::I32(_) => 3,
            Value::I64(_) => 4,
            Value::F64(_) => 5,
            Value::Decimal(_) => 6,
            Value::Timestamp(_) => 7,
            Value::Date(_) => 8,
            Value::Uuid(_) => 9,
            Value::Json(_) => 10,
            Value::Bytes(_) => 11,
        }
    }

    fn type_name(&self) -> &'static str {
        const NAMES: [&str; 12] =
            ["NULL", "text", "bool", "i32", "i64", "f64", "decimal", "timestamp", "date", "uuid", "json", "bytes"];
        NAMES[usize::from(self.rank())]
    }
}

/// A total order, in which stores write rows: NULL first, texts by their bytes, floats by IEEE 754 totalOrder. Values
/// of different types are ordered by type.
impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::I32(a), Value::I32(b)) => a.cmp(b),
            (Value::I64(a), Value::I64(b)) => a.cmp(b),
            (Value::F64(a), Value::F64(b)) => a.total_cmp(b),
            (Value::Decimal(a), Value::Decimal(b)) => a.cmp(b),
            (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
            (Value::Date(a), Value::Date(b)) => a.cmp(b),
            (Value::Uuid(a), Value::Uuid(b)) => a.cmp(b),
            (Value::Json(a), Value::Json(b)) => a.cmp(b),
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.pad("NULL"),
            Value::Text(text) => f.pad(text),
            Value::Bool(bool) => bool.fmt(f),
            Value::I32(number) => number.fmt(f),
            Value::I64(number) => number.fmt(f),
            Value::F64(number) => number.fmt(f),
            Value::Decimal(number) => number.fmt(f),
            Value::Timestamp(time) => time.fmt(f),
            Value::Date(date) => write!(f, "{date}"),
            Value::Uuid(uuid) => write!(f, "{uuid}"),
            Value::Json(json) => json.fmt(f),
            Value::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

macro_rules! value_from {
    ($($type:ty => $variant:ident),+ $(,)?) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Value::$variant(value.into())
            }
        })+
    };
}

value_from! {
    &str => Text, String => Text, &String => Text, bool => Bool, i32 => I32, i64 => I64, f64 => F64,
    Decimal => Decimal, Timestamp => Timestamp, Date => Date, Uuid => Uuid, Json => Json, Vec<u8> => Bytes,
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}
