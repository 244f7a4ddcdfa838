//! The tree of a compiled expression.

use std::borrow::Cow;

use readcast_core::Decimal;
use regex::Regex;

use super::functions::Function;
use crate::datum::Datum;

/// A part of an expression.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Literal(Literal),
    /// A field of a field … of a variable. Most columns are one of these. The first name is that of the variable.
    Path(Root, Vec<String>),
    /// A field of another value. Where it is optional, a missing one is null.
    Field {
        of: Box<Node>,
        name: String,
        optional: bool,
    },
    /// Whether a value has a field. Where it is optional, null has none.
    Has {
        of: Box<Node>,
        name: String,
        optional: bool,
    },
    /// An item of a list by its number from 0, or a field of a map by its name.
    Item {
        of: Box<Node>,
        at: Box<Node>,
        optional: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    If(Box<(Node, Node, Node)>),
    Binary(Operator, Box<(Node, Node)>),
    Call(&'static Function, Vec<Node>),
    /// A function of a text and a regular expression.
    Search(Search, Box<Node>, Regex),
    /// The first value that is there and not null.
    Coalesce(Vec<Node>),
    /// A loop over the items of a list or the names of a map.
    Loop(Box<Loop>),
    /// The list in a variable with one more item. The variable is left empty.
    Append(usize, Box<Node>),
}

/// Where a path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// A part of the event.
    Event(Part),
    /// The variable at this place of the stack.
    Local(usize),
}

/// A part of an event, as expressions name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Data,
    Key,
    Type,
    Version,
    Time,
    Headers,
    Position,
    EventId,
    CorrelationId,
}

impl Part {
    /// Every part by its name.
    pub(super) const ALL: [(&str, Part); 9] = [
        ("data", Part::Data),
        ("key", Part::Key),
        ("type", Part::Type),
        ("version", Part::Version),
        ("time", Part::Time),
        ("headers", Part::Headers),
        ("position", Part::Position),
        ("event_id", Part::EventId),
        ("correlation_id", Part::CorrelationId),
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Plus,
    Minus,
    Times,
    Over,
    Modulo,
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    In,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// Whether the expression matches a part of the text.
    Matches,
    /// The first match, or its first group if it has one; null without a match.
    Extract,
}

/// CEL's comprehension: `accumulator` is first `initial`, then for each item what `step` makes of it.
#[derive(Clone, Debug)]
pub(super) struct Loop {
    pub(super) range: Node,
    pub(super) initial: Node,
    /// Ends the loop when it is false.
    pub(super) condition: Node,
    pub(super) step: Node,
    pub(super) result: Node,
}

/// A value that stands in the text of an expression.
#[derive(Clone, Debug)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Decimal(Decimal),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Literal {
    pub(super) fn datum(&self) -> Datum<'_> {
        match self {
            Self::Null => Datum::Null,
            Self::Bool(value) => Datum::Bool(*value),
            Self::Int(number) => Datum::Int(*number),
            Self::Decimal(number) => Datum::Decimal(*number),
            Self::Double(number) => Datum::Double(*number),
            Self::Text(text) => Datum::Text(Cow::Borrowed(text)),
            Self::Bytes(bytes) => Datum::Bytes(Cow::Borrowed(bytes)),
        }
    }
}
