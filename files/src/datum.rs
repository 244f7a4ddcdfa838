//! The values that expressions compute with.

mod arithmetic;
mod column;
mod json;
mod read;
mod shape;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use chrono::TimeDelta;
use readcast_core::{Date, Decimal, Timestamp};

#[cfg(feature = "wasm")]
pub(crate) use self::column::to_column_with;
pub(crate) use self::column::{date, decimal, integer, quoted, seconds, timestamp, to_column};
pub(crate) use self::json::to_json;
pub(crate) use self::read::{json_value, number};
pub(crate) use self::shape::{Shape, Step};

/// A value of an expression. It borrows texts from the event or from the expression.
///
/// Numbers with a fraction are exact decimals. Only what a decimal does not hold, and what was written as a float of a binary
/// format, is a [`Double`](Self::Double).
#[derive(Clone, Debug, Default)]
pub enum Datum<'e> {
    /// No value: NULL in a column.
    #[default]
    Null,
    /// A boolean, true or false.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// An exact decimal.
    Decimal(Decimal),
    /// A 64-bit float.
    Double(f64),
    /// A text in Unicode.
    Text(Cow<'e, str>),
    /// A byte string.
    Bytes(Cow<'e, [u8]>),
    /// A point in time, in microseconds.
    Time(Timestamp),
    /// A calendar date.
    Date(Date),
    /// A length of time.
    Duration(TimeDelta),
    /// Values in an order.
    List(Arc<Vec<Datum<'e>>>),
    /// Values by their names.
    Map(Arc<Fields<'e>>),
}

/// The fields of a map. The last one of a name counts, as in JSON.
#[derive(Clone, Debug, Default)]
pub struct Fields<'e>(pub(crate) Vec<(Cow<'e, str>, Datum<'e>)>);

impl<'e> Fields<'e> {
    pub(crate) fn get(&self, name: &str) -> Option<&Datum<'e>> {
        self.0.iter().rfind(|(other, _)| other == name).map(|(_, value)| value)
    }

    /// The names, each once, in the order of the first field of each.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Cow<'e, str>> {
        let first = |(place, (name, _)): &(usize, &(Cow<'e, str>, _))| !self.0[..*place].iter().any(|(n, _)| n == name);
        self.0.iter().enumerate().filter(first).map(|(_, (name, _))| name)
    }
}

impl<'e> Datum<'e> {
    pub(crate) fn list(items: Vec<Datum<'e>>) -> Self {
        Self::List(Arc::new(items))
    }

    pub(crate) fn map(fields: Vec<(Cow<'e, str>, Datum<'e>)>) -> Self {
        Self::Map(Arc::new(Fields(fields)))
    }

    /// What messages call the type of the value.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Decimal(_) => "a decimal",
            Self::Double(_) => "a float",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::Time(_) => "a timestamp",
            Self::Date(_) => "a date",
            Self::Duration(_) => "a duration",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    /// The order of two values, if they have one: numbers of all kinds among each other, and values of one type.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        Some(match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            (Self::Time(a), Self::Time(b)) => a.cmp(b),
            (Self::Date(a), Self::Date(b)) => a.cmp(b),
            (Self::Duration(a), Self::Duration(b)) => a.cmp(b),
            (a, b) => match (a.as_decimal(), b.as_decimal()) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => return a.as_float()?.partial_cmp(&b.as_float()?),
            },
        })
    }

    /// Whether two values are equal. Values of different types are not; numbers are compared by what they count.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::List(a), Self::List(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.equals(b)),
            (Self::Map(a), Self::Map(b)) => {
                let within = |a: &Fields<'_>, b: &Fields<'_>| {
                    a.names().all(|name| a.get(name).zip(b.get(name)).is_some_and(|(a, b)| a.equals(b)))
                };
                a.names().count() == b.names().count() && within(a, b)
            }
            (a, b) => a.compare(b) == Some(Ordering::Equal),
        }
    }

    /// The number, if it is an integer or a decimal.
    pub(crate) fn as_decimal(&self) -> Option<Decimal> {
        match self {
            Self::Int(number) => Some((*number).into()),
            Self::Decimal(number) => Some(*number),
            _ => None,
        }
    }

    /// The number as a float.
    pub(crate) fn as_float(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Decimal(number) => number.to_string().parse().ok(),
            Self::Double(number) => Some(*number),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
