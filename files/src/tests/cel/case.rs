//! The cases of the suite as values of expressions.

use std::path::Path;

use chrono::TimeDelta;
use readcast_core::Timestamp;

use super::textproto::{self, Message, Value};
use crate::datum::{Datum, number};

/// A case of the suite.
pub(super) struct Case {
    /// The file, the section and the case: `basic/self_eval_zeroish/self_eval_int_zero`.
    pub(super) name: String,
    pub(super) expression: String,
    /// The variables, or what of them has no value here.
    pub(super) bindings: Result<Vec<(String, Datum<'static>)>, &'static str>,
    pub(super) expected: Expected,
}

/// What CEL says of an expression.
#[derive(Debug)]
pub(super) enum Expected {
    Value(Datum<'static>),
    Error,
    /// What has no value here.
    Foreign(&'static str),
}

/// Every case, in the order of the files' names.
pub(super) fn all() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cel-spec");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|_| {
            panic!("the conformance cases of CEL are missing: run scripts/cel-spec, which fetches them")
        })
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "textproto"))
        .collect();
    paths.sort();
    paths.iter().flat_map(|path| of_file(&std::fs::read_to_string(path).expect("a file"))).collect()
}

fn of_file(text: &str) -> Vec<Case> {
    let file = textproto::parse(text);
    let mut cases = Vec::new();
    for section in file.messages("section") {
        for test in section.messages("test") {
            let name = [file.text("name"), section.text("name"), test.text("name")].join("/");
            let expected = expected(test);
            cases.push(Case { name, expression: test.text("expr"), bindings: bindings(test), expected });
        }
    }
    cases
}

fn bindings(test: &Message) -> Result<Vec<(String, Datum<'static>)>, &'static str> {
    let each = |binding: &Message| {
        let name = binding.text("key");
        if name.contains('.') {
            return Err("a name with a point");
        }
        let value = binding.messages("value").flat_map(|value| value.messages("value")).next();
        Ok((name, datum(value.expect("a value"))?))
    };
    test.messages("bindings").map(each).collect()
}

fn expected(test: &Message) -> Expected {
    if test.has("eval_error") || test.has("any_eval_errors") {
        return Expected::Error;
    }
    let results = test.messages("typed_result").flat_map(|typed| typed.messages("result"));
    let value = match test.messages("value").chain(results).next() {
        Some(value) => datum(value),
        None if test.has("typed_result") => Err("no value"),
        None => Ok(Datum::Bool(true)),
    };
    value.map_or_else(Expected::Foreign, Expected::Value)
}

/// The value of a message `cel.expr.Value`, or what there is none of here.
fn datum(message: &Message) -> Result<Datum<'static>, &'static str> {
    let (kind, value) = message.fields().next().unwrap_or_else(|| panic!("{message:?} has no value"));
    Ok(match kind {
        "null_value" => Datum::Null,
        "bool_value" => Datum::Bool(value.text() == "true"),
        "int64_value" => Datum::Int(value.text().parse().expect("an integer")),
        "uint64_value" => number(&value.text()).expect("an integer"),
        "double_value" => Datum::Double(value.text().parse().expect("a float")),
        "string_value" => Datum::Text(value.text().into()),
        "bytes_value" => Datum::Bytes(value.bytes().to_vec().into()),
        "list_value" => Datum::list(value.message().messages("values").map(datum).collect::<Result<_, _>>()?),
        "map_value" => Datum::map(value.message().messages("entries").map(entry).collect::<Result<_, _>>()?),
        "object_value" => object(value)?,
        "type_value" => return Err("a type"),
        "enum_value" => return Err("an enumeration"),
        other => panic!("{other} is not known"),
    })
}

fn entry(entry: &Message) -> Result<(std::borrow::Cow<'static, str>, Datum<'static>), &'static str> {
    let of = |name: &str| datum(entry.messages(name).next().expect("an entry"));
    match of("key")? {
        Datum::Text(name) => Ok((name, of("value")?)),
        _ => Err("the names of a map are texts"),
    }
}

fn object(any: &Value) -> Result<Datum<'static>, &'static str> {
    let (name, value) = any.message().fields().next().expect("a message");
    let number = |field: &str| value.message().text(field).parse::<i64>().unwrap_or(0);
    let (seconds, nanos) = (number("seconds"), number("nanos"));
    match name.rsplit('/').next() {
        Some("google.protobuf.Timestamp") => {
            assert!(nanos % 1_000 == 0, "no time has nanoseconds");
            Ok(Datum::Time(Timestamp::from_micros(seconds * 1_000_000 + nanos / 1_000).expect("a time")))
        }
        Some("google.protobuf.Duration") => {
            Ok(Datum::Duration(TimeDelta::seconds(seconds) + TimeDelta::nanoseconds(nanos)))
        }
        _ => Err("a message of Protobuf"),
    }
}
