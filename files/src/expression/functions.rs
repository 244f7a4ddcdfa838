//! The functions of expressions, in one table. Each may be called on its first argument: `lower(x)` is `x.lower()`.

mod lists;
mod numbers;
mod texts;
mod times;
mod values;

pub(super) use self::times::zone;
use std::fmt;

use super::kind::Kind;
use crate::datum::Datum;

/// A function of expressions.
pub(crate) struct Function {
    /// What expressions call it.
    pub(crate) name: &'static str,
    /// What it takes.
    pub(crate) parameters: &'static [Parameter],
    /// The number of parameters that must be given. The last one may be repeated if there are more arguments than parameters.
    pub(crate) needed: usize,
    /// Whether the last parameter may be given any number of times.
    pub(crate) repeats: bool,
    /// The type of its value.
    pub(crate) result: Kind,
    body: Body,
    /// The call and its value, for people.
    pub(crate) about: &'static str,
}

type Body = for<'e, 'a> fn(&'a [Datum<'e>]) -> Result<Datum<'e>, String>;

/// What a function takes in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    /// A value of this type.
    Of(Kind),
    /// A number of any kind.
    Number,
    /// One of these words.
    Word(&'static [&'static str]),
    /// The name of a time zone.
    Zone,
}

impl Function {
    const fn new(
        about: &'static str,
        name: &'static str,
        parameters: &'static [Parameter],
        result: Kind,
        body: Body,
    ) -> Self {
        Self { name, parameters, needed: parameters.len(), repeats: false, result, body, about }
    }

    /// With fewer arguments that must be given.
    const fn needing(self, needed: usize) -> Self {
        Self { needed, ..self }
    }

    /// With any number of arguments of the last kind.
    const fn repeating(self) -> Self {
        Self { repeats: true, ..self }
    }

    pub(super) fn call<'e>(&self, arguments: &[Datum<'e>]) -> Result<Datum<'e>, String> {
        (self.body)(arguments).map_err(|error| format!("{}(): {error}", self.name))
    }

    /// What the argument at `place` may be.
    pub(crate) fn parameter(&self, place: usize) -> Option<Parameter> {
        let last = self.parameters.last().filter(|_| self.repeats);
        self.parameters.get(place).or(last).copied()
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Every function, in the order of the reference.
pub(crate) fn functions() -> impl Iterator<Item = &'static Function> {
    function_groups().into_iter().flat_map(|(_, functions)| functions)
}

/// The functions by what they are for.
pub(crate) fn function_groups() -> [(&'static str, &'static [Function]); 5] {
    [
        ("Conversion", values::FUNCTIONS),
        ("Texts", texts::FUNCTIONS),
        ("Numbers", numbers::FUNCTIONS),
        ("Times", times::FUNCTIONS),
        ("Lists", lists::FUNCTIONS),
    ]
}

/// The function of this name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    functions().find(|function| function.name == name)
}

const ANY: Parameter = Parameter::Of(Kind::Any);
const TEXT: Parameter = Parameter::Of(Kind::Text);
const INT: Parameter = Parameter::Of(Kind::Int);
const LIST: Parameter = Parameter::Of(Kind::List);

fn text<'a>(value: &'a Datum<'_>) -> Result<&'a str, String> {
    match value {
        Datum::Text(text) => Ok(text),
        other => Err(format!("takes a text, not {}", other.type_name())),
    }
}

fn int(value: &Datum<'_>) -> Result<i64, String> {
    match value {
        Datum::Int(number) => Ok(*number),
        other => Err(format!("takes an integer, not {}", other.type_name())),
    }
}

fn list<'a, 'e>(value: &'a Datum<'e>) -> Result<&'a [Datum<'e>], String> {
    match value {
        Datum::List(items) => Ok(items),
        other => Err(format!("takes a list, not {}", other.type_name())),
    }
}

/// The place that a number counts from 0, if it is within `length`.
fn place(value: &Datum<'_>, length: usize) -> Result<usize, String> {
    let number = int(value)?;
    let place = usize::try_from(number).ok().filter(|place| *place <= length);
    place.ok_or_else(|| format!("{number} is not between 0 and {length}"))
}
