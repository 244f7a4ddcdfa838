//! The value of an expression for an event.

use std::cmp::Ordering;
use std::sync::Arc;

use super::EvaluationError;
use super::node::{Loop, Node, Operator, Part, Root, Search};
use super::scope::Scope;
use crate::datum::{Datum, decimal, integer, quoted};

type Evaluated<'e> = Result<Datum<'e>, EvaluationError>;

impl Node {
    pub(super) fn evaluate<'e>(&'e self, scope: &mut Scope<'e>) -> Evaluated<'e> {
        match self {
            Node::Literal(literal) => Ok(literal.datum()),
            Node::Path(root, names) => path(*root, names, scope),
            Node::Field { of, name, optional } => {
                let value = of.evaluate(scope)?;
                field(&value, name, *optional).cloned_or_null(|| name.clone())
            }
            Node::Has { of, name, optional } => match field(&of.evaluate(scope)?, name, *optional) {
                Found::Value(_) => Ok(Datum::Bool(true)),
                Found::Nothing | Found::Missing => Ok(Datum::Bool(false)),
                Found::NoFields(reason) => fail(reason),
            },
            Node::Item { of, at, optional } => {
                let (value, at) = (of.evaluate(scope)?, at.evaluate(scope)?);
                item(&value, &at, *optional)
            }
            Node::List(items) => {
                items.iter().map(|item| item.evaluate(scope)).collect::<Result<_, _>>().map(Datum::list)
            }
            Node::Map(entries) => {
                let mut fields = Vec::with_capacity(entries.len());
                for (name, value) in entries {
                    let Datum::Text(name) = name.evaluate(scope)? else { return fail("the names of a map are texts") };
                    fields.push((name, value.evaluate(scope)?));
                }
                Ok(Datum::map(fields))
            }
            Node::Not(of) => Ok(Datum::Bool(!truth(of.evaluate(scope)?, "!")?)),
            Node::Negate(of) => Ok(of.evaluate(scope)?.negated()?),
            Node::And(a, b) => decided(false, "&&", a, b, scope),
            Node::Or(a, b) => decided(true, "||", a, b, scope),
            Node::If(parts) => {
                let (condition, then, otherwise) = &**parts;
                if truth(condition.evaluate(scope)?, "? :")? { then } else { otherwise }.evaluate(scope)
            }
            Node::Binary(operator, sides) => {
                let (a, b) = (sides.0.evaluate(scope)?, sides.1.evaluate(scope)?);
                binary(*operator, a, b, scope)
            }
            Node::Call(function, arguments) => {
                let arguments: Vec<_> = arguments.iter().map(|node| node.evaluate(scope)).collect::<Result<_, _>>()?;
                scope.spend(1 + arguments.iter().map(size).sum::<usize>())?;
                let value = function.call(&arguments)?;
                scope.spend(size(&value))?;
                Ok(value)
            }
            Node::Search(search, of, regex) => self::search(*search, of.evaluate(scope)?, regex, scope),
            Node::Coalesce(nodes) => coalesce(nodes, scope),
            Node::Loop(parts) => repeat(parts, scope),
            Node::Append(place, item) => {
                let item = item.evaluate(scope)?;
                let mut list = std::mem::take(&mut scope.locals[*place]);
                if let Datum::List(items) = &mut list {
                    Arc::make_mut(items).push(item);
                }
                Ok(list)
            }
        }
    }
}

fn fail<T>(reason: impl Into<String>) -> Result<T, EvaluationError> {
    Err(EvaluationError::Failed(reason.into()))
}

/// What was found at a name.
enum Found<'d, 'e> {
    Value(&'d Datum<'e>),
    /// Nothing, where that is allowed.
    Nothing,
    Missing,
    /// The value has no names.
    NoFields(String),
}

impl<'e> Found<'_, 'e> {
    fn cloned_or_null(self, path: impl FnOnce() -> String) -> Evaluated<'e> {
        match self {
            Found::Value(value) => Ok(value.clone()),
            Found::Nothing => Ok(Datum::Null),
            Found::Missing => Err(EvaluationError::Missing(path())),
            Found::NoFields(reason) => Err(EvaluationError::Failed(reason)),
        }
    }
}

fn field<'d, 'e>(value: &'d Datum<'e>, name: &str, optional: bool) -> Found<'d, 'e> {
    match value {
        Datum::Map(fields) => match fields.get(name) {
            Some(value) => Found::Value(value),
            None if optional => Found::Nothing,
            None => Found::Missing,
        },
        Datum::Null if optional => Found::Nothing,
        other => Found::NoFields(no_fields(other, name)),
    }
}

fn no_fields(value: &Datum<'_>, name: &str) -> String {
    format!("{} has no field `{name}`", value.type_name())
}

fn path<'e>(root: Root, names: &'e [String], scope: &Scope<'e>) -> Evaluated<'e> {
    let of_event;
    let mut at = match root {
        Root::Event(Part::Data) => scope.data(),
        Root::Event(part) => {
            of_event = scope.part(part)?;
            &of_event
        }
        Root::Local(place) => &scope.locals[place],
    };
    for (place, name) in names.iter().enumerate().skip(1) {
        at = match field(at, name, false) {
            Found::Value(value) => value,
            Found::NoFields(reason) => return fail(format!("`{}`: {reason}", names[..place].join("."))),
            Found::Missing | Found::Nothing => return Err(EvaluationError::Missing(names[..=place].join("."))),
        };
    }
    Ok(at.clone())
}

fn item<'e>(value: &Datum<'e>, at: &Datum<'_>, optional: bool) -> Evaluated<'e> {
    match (value, at) {
        (Datum::List(items), Datum::Int(_) | Datum::Decimal(_) | Datum::Double(_)) => {
            let place = integer(decimal(at)?)?;
            match usize::try_from(place).ok().and_then(|place| items.get(place)) {
                Some(item) => Ok(item.clone()),
                None if optional => Ok(Datum::Null),
                None => fail(format!("a list of {} has no item {place}", items.len())),
            }
        }
        (Datum::Map(_) | Datum::Null, Datum::Text(name)) => {
            field(value, name, optional).cloned_or_null(|| name.to_string())
        }
        (Datum::Null, _) if optional => Ok(Datum::Null),
        (value, at) => fail(format!("{} has no item at {}", value.type_name(), at.type_name())),
    }
}

fn truth(value: Datum<'_>, of: &str) -> Result<bool, EvaluationError> {
    match value {
        Datum::Bool(value) => Ok(value),
        other => fail(format!("`{of}` takes booleans, not {}", other.type_name())),
    }
}

/// `a && b` (decided by false) or `a || b` (decided by true). A side that decides makes an error of the other one
/// irrelevant (CEL's specification, "Logical operators").
fn decided<'e>(by: bool, of: &str, a: &'e Node, b: &'e Node, scope: &mut Scope<'e>) -> Evaluated<'e> {
    let mut side = |node: &'e Node| node.evaluate(scope).and_then(|value| truth(value, of));
    let first = side(a);
    if first == Ok(by) {
        return Ok(Datum::Bool(by));
    }
    match side(b) {
        Ok(second) if second == by => Ok(Datum::Bool(by)),
        second => first.and(second).map(Datum::Bool),
    }
}

fn binary<'e>(operator: Operator, a: Datum<'e>, b: Datum<'e>, scope: &mut Scope<'e>) -> Evaluated<'e> {
    scope.spend(1 + size(&a) + size(&b))?;
    let ordered = |holds: fn(Ordering) -> bool| match a.compare(&b) {
        Some(order) => Ok(Datum::Bool(holds(order))),
        // One of them is NaN.
        None if a.as_float().is_some() && b.as_float().is_some() => Ok(Datum::Bool(false)),
        None => fail(format!("{} and {} have no order", a.type_name(), b.type_name())),
    };
    match operator {
        Operator::Equal => Ok(Datum::Bool(a.equals(&b))),
        Operator::Unequal => Ok(Datum::Bool(!a.equals(&b))),
        Operator::Less => ordered(Ordering::is_lt),
        Operator::AtMost => ordered(Ordering::is_le),
        Operator::Greater => ordered(Ordering::is_gt),
        Operator::AtLeast => ordered(Ordering::is_ge),
        Operator::In => Ok(Datum::Bool(b.contains(&a)?)),
        Operator::Minus => Ok(a.minus(b)?),
        Operator::Times => Ok(a.times(b)?),
        Operator::Over => Ok(a.over(b)?),
        Operator::Modulo => Ok(a.modulo(b)?),
        Operator::Plus => Ok(a.plus(b)?),
    }
}

/// What a value takes, in bytes, items or fields.
fn size(value: &Datum<'_>) -> usize {
    match value {
        Datum::Text(text) => text.len(),
        Datum::Bytes(bytes) => bytes.len(),
        Datum::List(items) => items.len(),
        Datum::Map(fields) => fields.0.len(),
        _ => 0,
    }
}

fn search<'e>(search: Search, of: Datum<'e>, regex: &regex::Regex, scope: &mut Scope<'e>) -> Evaluated<'e> {
    let Datum::Text(text) = &of else {
        return fail(format!("a regular expression searches a text, not {}", of.type_name()));
    };
    scope.spend(text.len())?;
    Ok(match search {
        Search::Matches => Datum::Bool(regex.is_match(text)),
        Search::Extract => match regex.captures(text) {
            Some(found) => {
                Datum::Text(found.get(1).or(found.get(0)).map_or("", |part| part.as_str()).to_owned().into())
            }
            None => Datum::Null,
        },
    })
}

fn coalesce<'e>(nodes: &'e [Node], scope: &mut Scope<'e>) -> Evaluated<'e> {
    for node in nodes {
        match node.evaluate(scope) {
            Ok(Datum::Null) | Err(EvaluationError::Missing(_)) => {}
            found => return found,
        }
    }
    Ok(Datum::Null)
}

fn repeat<'e>(parts: &'e Loop, scope: &mut Scope<'e>) -> Evaluated<'e> {
    let range = parts.range.evaluate(scope)?;
    let items = match &range {
        Datum::List(items) => items.clone(),
        Datum::Map(fields) => Arc::new(fields.names().map(|name| Datum::Text(name.clone())).collect()),
        other => return fail(format!("{} has no items", other.type_name())),
    };
    let initial = parts.initial.evaluate(scope)?;
    let depth = scope.locals.len();
    scope.push(initial);
    let result = each(parts, &items, scope).and_then(|()| parts.result.evaluate(scope));
    scope.locals.truncate(depth);
    result
}

/// Runs the steps. An error of `all` and `exists` counts only if no other item decides (CEL's specification, "Macros").
fn each<'e>(parts: &'e Loop, items: &[Datum<'e>], scope: &mut Scope<'e>) -> Result<(), EvaluationError> {
    let accumulator = scope.locals.len() - 1;
    let absorbs = matches!(parts.step, Node::And(..) | Node::Or(..));
    let mut failed = None;
    for item in items {
        scope.spend(1)?;
        scope.push(item.clone());
        let next = parts.condition.evaluate(scope).and_then(|condition| match condition {
            Datum::Bool(false) => Ok(None),
            _ => parts.step.evaluate(scope).map(Some),
        });
        scope.pop();
        match next {
            Ok(None) => return Ok(()),
            Ok(Some(next)) => scope.locals[accumulator] = next,
            Err(error) if absorbs => failed = failed.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    let is_decided = match (&parts.step, &scope.locals[accumulator]) {
        (Node::And(..), Datum::Bool(value)) => !value,
        (_, Datum::Bool(value)) => *value,
        _ => true,
    };
    failed.filter(|_| !is_decided).map_or(Ok(()), Err)
}

impl Search {
    /// The regular expression of a literal.
    pub(super) fn regex(pattern: &str) -> Result<regex::Regex, String> {
        const MOST_BYTES: usize = 1 << 20;
        let regex = regex::RegexBuilder::new(pattern).size_limit(MOST_BYTES).build();
        regex.map_err(|error| format!("{} is not a regular expression: {error}", quoted(pattern)))
    }
}
