//! Functions that make a value of one type from one of another.

use std::borrow::Cow;

use chrono::TimeDelta;
use sha2::{Digest, Sha256};

use super::{ANY, Function, TEXT, text};
use crate::datum::{self, Datum, json_value, quoted, to_json};
use crate::expression::Kind;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("`string(x)`: the value as text", "string", &[ANY], Kind::Text, string),
    Function::new(
        "`int(x)`: a number without a fraction, a text of digits, a boolean, or the seconds of a time",
        "int",
        &[ANY],
        Kind::Int,
        int,
    ),
    Function::new(
        "`decimal(x)`: a number, or a text that holds one, exactly",
        "decimal",
        &[ANY],
        Kind::Decimal,
        |of| datum::decimal(&of[0]).map(Datum::Decimal),
    ),
    Function::new(
        "`double(x)`: a number, or a text that holds one, as a 64-bit float",
        "double",
        &[ANY],
        Kind::Double,
        double,
    ),
    Function::new("`uint(x)`: as `int(x)`, and not negative", "uint", &[ANY], Kind::Int, |of| match int(of)? {
        Datum::Int(number) if number < 0 => Err(format!("{number} is negative")),
        number => Ok(number),
    }),
    Function::new(
        "`bool(x)`: a boolean, or a text: `true`, `t` or `1`, and `false`, `f` or `0`",
        "bool",
        &[ANY],
        Kind::Bool,
        boolean,
    ),
    Function::new("`dyn(x)`: the value, whose type is checked for each event", "dyn", &[ANY], Kind::Any, |of| {
        Ok(of[0].clone())
    }),
    Function::new("`bytes(x)`: the UTF-8 bytes of a text", "bytes", &[ANY], Kind::Bytes, |of| {
        Ok(Datum::Bytes(match &of[0] {
            Datum::Bytes(bytes) => bytes.clone(),
            other => Cow::Owned(text(other)?.as_bytes().to_owned()),
        }))
    }),
    Function::new("`json(x)`: the value as JSON text", "json", &[ANY], Kind::Text, |of| {
        to_json(&of[0]).map(|json| Datum::Text(json.into()))
    }),
    Function::new("`parse_json(x)`: the value of a JSON text", "parse_json", &[TEXT], Kind::Any, parse_json),
    Function::new(
        "`sha256(x)`: the SHA-256 digest of a text or of bytes, in 64 hexadecimal digits",
        "sha256",
        &[ANY],
        Kind::Text,
        sha256,
    ),
    Function::new(
        "`type_of(x)`: the type of the value: `null`, `bool`, `int`, `decimal`, `double`, `string`, `bytes`, `timestamp`, `date`, `duration`, `list` or `map`",
        "type_of",
        &[ANY],
        Kind::Text,
        |of| Ok(Datum::Text(name(&of[0]).into())),
    ),
];

type Computed<'e> = Result<Datum<'e>, String>;

fn string<'e>(of: &[Datum<'e>]) -> Computed<'e> {
    Ok(Datum::Text(match &of[0] {
        Datum::Text(text) => text.clone(),
        Datum::Bool(value) => value.to_string().into(),
        Datum::Int(number) => number.to_string().into(),
        Datum::Decimal(number) => number.to_string().into(),
        Datum::Double(number) => number.to_string().into(),
        Datum::Time(time) => time.to_string().into(),
        Datum::Date(date) => date.to_string().into(),
        Datum::Duration(duration) => datum::seconds(*duration).into(),
        Datum::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned().into(),
            Err(_) => return Err("the bytes are not UTF-8".into()),
        },
        other @ (Datum::Null | Datum::List(_) | Datum::Map(_)) => {
            return Err(format!("{} has no text: write json(…)", other.type_name()));
        }
    }))
}

fn int<'e>(of: &[Datum<'e>]) -> Computed<'e> {
    Ok(Datum::Int(match &of[0] {
        Datum::Int(number) => *number,
        Datum::Bool(value) => i64::from(*value),
        Datum::Decimal(number) => datum::integer(*number)?,
        Datum::Double(_) => datum::integer(datum::decimal(&of[0])?)?,
        Datum::Time(time) => time.as_micros().div_euclid(1_000_000),
        Datum::Duration(duration) => duration.num_seconds(),
        Datum::Text(text) => text.parse().map_err(|_| format!("{} is not an integer of 64 bits", quoted(text)))?,
        other => return Err(format!("{} is not a number", other.type_name())),
    }))
}

fn double<'e>(of: &[Datum<'e>]) -> Computed<'e> {
    let number = match &of[0] {
        Datum::Text(text) => text.parse().ok(),
        other => other.as_float(),
    };
    number.map(Datum::Double).ok_or_else(|| format!("{} is not a number", of[0].type_name()))
}

fn boolean<'e>(of: &[Datum<'e>]) -> Computed<'e> {
    match &of[0] {
        Datum::Bool(value) => Ok(Datum::Bool(*value)),
        Datum::Text(text) => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(Datum::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(Datum::Bool(false)),
            _ => Err(format!("{} is neither true nor false", quoted(text))),
        },
        other => Err(format!("{} is neither true nor false", other.type_name())),
    }
}

fn parse_json<'e>(of: &[Datum<'e>]) -> Computed<'e> {
    json_value(text(&of[0])?).map(owned)
}

/// The value, which borrows nothing.
fn owned(value: Datum<'_>) -> Datum<'static> {
    match value {
        Datum::Null => Datum::Null,
        Datum::Bool(value) => Datum::Bool(value),
        Datum::Int(number) => Datum::Int(number),
        Datum::Decimal(number) => Datum::Decimal(number),
        Datum::Double(number) => Datum::Double(number),
        Datum::Text(text) => Datum::Text(text.into_owned().into()),
        Datum::Bytes(bytes) => Datum::Bytes(bytes.into_owned().into()),
        Datum::Time(time) => Datum::Time(time),
        Datum::Date(date) => Datum::Date(date),
        Datum::Duration(duration) => Datum::Duration(duration),
        Datum::List(items) => Datum::list(items.iter().cloned().map(owned).collect()),
        Datum::Map(fields) => {
            let fields = fields.0.iter().cloned();
            Datum::map(fields.map(|(name, value)| (name.into_owned().into(), owned(value))).collect())
        }
    }
}

fn sha256<'e>(of: &[Datum<'e>]) -> Computed<'e> {
    let digest = match &of[0] {
        Datum::Bytes(bytes) => Sha256::digest(bytes),
        other => Sha256::digest(text(other)?),
    };
    Ok(Datum::Text(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()))
}

fn name(value: &Datum<'_>) -> &'static str {
    match value {
        Datum::Null => "null",
        Datum::Bool(_) => "bool",
        Datum::Int(_) => "int",
        Datum::Decimal(_) => "decimal",
        Datum::Double(_) => "double",
        Datum::Text(_) => "string",
        Datum::Bytes(_) => "bytes",
        Datum::Time(_) => "timestamp",
        Datum::Date(_) => "date",
        Datum::Duration(_) => "duration",
        Datum::List(_) => "list",
        Datum::Map(_) => "map",
    }
}

/// A length of time of the form `1h30m`, `1.5s` or `250ms`, as CEL has it.
pub(super) fn duration(text: &str) -> Result<TimeDelta, String> {
    const UNITS: [(&str, f64); 6] = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];
    let wrong = || format!("{} is not a duration such as 1h30m or 1.5s", quoted(text));
    let (negative, mut rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let mut nanos = 0.0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|next: char| !next.is_ascii_digit() && next != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = rest[digits..].find(|next: char| next.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        let (_, each) = UNITS.iter().find(|(name, _)| *name == &rest[digits..unit]).ok_or_else(wrong)?;
        nanos += number * each;
        rest = &rest[unit..];
    }
    // Beyond 2^53 nanoseconds, about 104 days, a float loses nanoseconds; times here have microseconds.
    if nanos > i64::MAX as f64 {
        return Err(format!("{} is longer than 292 years", quoted(text)));
    }
    Ok(TimeDelta::nanoseconds(if negative { -nanos } else { nanos } as i64))
}
