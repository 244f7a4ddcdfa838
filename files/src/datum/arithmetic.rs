//! Arithmetic on values. Integers and decimals are exact: a result that does not fit is an error, and nothing is rounded.

use std::sync::Arc;

use chrono::TimeDelta;
use readcast_core::{Decimal, DecimalError, Timestamp};

use super::{Datum, Fields};

type Computed<'e> = Result<Datum<'e>, String>;

impl<'e> Datum<'e> {
    /// The sum of numbers, the time after a duration, or one text, byte string or list behind the other.
    pub(crate) fn plus(self, other: Self) -> Computed<'e> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.checked_add(b).map(Self::Int).ok_or_else(overflow),
            (Self::Text(a), Self::Text(b)) => Ok(Self::Text((a.into_owned() + &b).into())),
            (Self::Bytes(a), Self::Bytes(b)) => Ok(Self::Bytes([a, b].concat().into())),
            (Self::List(mut a), Self::List(b)) => {
                Arc::make_mut(&mut a).extend(b.iter().cloned());
                Ok(Self::List(a))
            }
            (Self::Duration(a), Self::Duration(b)) => a.checked_add(&b).map(Self::Duration).ok_or_else(overflow),
            (Self::Time(time), Self::Duration(by)) | (Self::Duration(by), Self::Time(time)) => shifted(time, by),
            (a, b) => numbers("+", a, b, Decimal::checked_add, |a, b| a + b),
        }
    }

    /// The difference of numbers or times, or the time before a duration.
    pub(crate) fn minus(self, other: Self) -> Computed<'e> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.checked_sub(b).map(Self::Int).ok_or_else(overflow),
            (Self::Duration(a), Self::Duration(b)) => a.checked_sub(&b).map(Self::Duration).ok_or_else(overflow),
            (Self::Time(time), Self::Duration(by)) => shifted(time, -by),
            (Self::Time(a), Self::Time(b)) => Ok(Self::Duration(a.as_datetime() - b.as_datetime())),
            (Self::Date(a), Self::Date(b)) => Ok(Self::Duration(a - b)),
            (a, b) => numbers("-", a, b, Decimal::checked_sub, |a, b| a - b),
        }
    }

    /// The product of numbers.
    pub(crate) fn times(self, other: Self) -> Computed<'e> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.checked_mul(b).map(Self::Int).ok_or_else(overflow),
            (a, b) => numbers("*", a, b, |a, b| a.checked_mul(b), |a, b| a * b),
        }
    }

    /// The quotient: of integers without its fraction, of decimals if it is exact.
    pub(crate) fn over(self, other: Self) -> Computed<'e> {
        match (self, other) {
            (Self::Int(_), Self::Int(0)) => Err("division by zero".into()),
            (Self::Int(a), Self::Int(b)) => a.checked_div(b).map(Self::Int).ok_or_else(overflow),
            (a, b) => match (a.as_decimal(), b.as_decimal()) {
                (Some(a), Some(b)) => exact_quotient(a, b).map(Self::Decimal),
                _ => numbers("/", a, b, |a, _| Ok(a), |a, b| a / b),
            },
        }
    }

    /// The remainder of integers.
    pub(crate) fn modulo(self, other: Self) -> Computed<'e> {
        match (self, other) {
            (Self::Int(_), Self::Int(0)) => Err("division by zero".into()),
            (Self::Int(a), Self::Int(b)) => a.checked_rem(b).map(Self::Int).ok_or_else(overflow),
            (a, b) => Err(misfit("%", &a, &b)),
        }
    }

    /// The number or duration with the other sign.
    pub(crate) fn negated(self) -> Computed<'e> {
        match self {
            Self::Int(number) => number.checked_neg().map(Self::Int).ok_or_else(overflow),
            Self::Decimal(number) => Ok(Self::Decimal(-number)),
            Self::Double(number) => Ok(Self::Double(-number)),
            Self::Duration(duration) => Ok(Self::Duration(-duration)),
            other => Err(format!("{} has no negative", other.type_name())),
        }
    }

    /// Whether a list holds the value, or a map has a field of that name.
    pub(crate) fn contains(&self, value: &Self) -> Result<bool, String> {
        match (self, value) {
            (Self::List(items), value) => Ok(items.iter().any(|item| item.equals(value))),
            (Self::Map(fields), Self::Text(name)) => Ok(Fields::get(fields, name).is_some()),
            (Self::Map(_), _) => Ok(false),
            (other, value) => {
                Err(format!("{} in {}: `in` takes a list or a map", value.type_name(), other.type_name()))
            }
        }
    }
}

fn numbers<'e>(
    operator: &str,
    a: Datum<'e>,
    b: Datum<'e>,
    exact: impl FnOnce(Decimal, Decimal) -> Result<Decimal, DecimalError>,
    float: impl FnOnce(f64, f64) -> f64,
) -> Computed<'e> {
    if let (Some(a), Some(b)) = (a.as_decimal(), b.as_decimal()) {
        return exact(a, b).map(Datum::Decimal).map_err(|error| error.to_string());
    }
    match (a.as_float(), b.as_float()) {
        (Some(a), Some(b)) => Ok(Datum::Double(float(a, b))),
        _ => Err(misfit(operator, &a, &b)),
    }
}

/// Why an operator does not take two values, with what to write where a text may hold a number.
fn misfit(operator: &str, a: &Datum<'_>, b: &Datum<'_>) -> String {
    let mixed = matches!((a, b), (Datum::Text(_), _) | (_, Datum::Text(_)));
    let advice = if mixed {
        ": write decimal(…) or int(…) for a text that holds a number, string(…) for a text"
    } else {
        ""
    };
    format!("`{operator}` does not take {} and {}{advice}", a.type_name(), b.type_name())
}

fn overflow() -> String {
    "the result is out of the range of a 64-bit integer".into()
}

fn shifted<'e>(time: Timestamp, by: TimeDelta) -> Computed<'e> {
    let micros = by.num_microseconds().and_then(|by| time.as_micros().checked_add(by));
    let time = micros.and_then(Timestamp::from_micros);
    time.map(Datum::Time).ok_or_else(|| "the time is outside of the years 0 to 9999".into())
}

fn exact_quotient(a: Decimal, b: Decimal) -> Result<Decimal, String> {
    if b == Decimal::ZERO {
        return Err("division by zero".into());
    }
    let quotient = a.as_rust_decimal().checked_div(b.as_rust_decimal()).map(|quotient| quotient.normalize().into());
    quotient
        .filter(|quotient: &Decimal| quotient.checked_mul(b) == Ok(a))
        .ok_or_else(|| format!("{a} / {b} has no exact result: write divide({a}, {b}, DECIMALS, \"half_even\")"))
}
