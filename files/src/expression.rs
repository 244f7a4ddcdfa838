//! Expressions: what a file computes from an event.
//!
//! The language is CEL, the Common Expression Language (<https://github.com/google/cel-spec>). The crate `cel` parses it. It is
//! evaluated here, on values that are borrowed from the event and on exact decimals, which CEL does not have.

mod compile;
mod error;
mod evaluate;
mod functions;
mod kind;
mod node;
mod parse;
mod scope;
#[cfg(test)]
mod tests;

pub(crate) use self::compile::Names;
#[cfg(test)]
pub(crate) use self::compile::SPECIAL;
pub(crate) use self::error::{EvaluationError, ExpressionError, nearest};
#[cfg(test)]
pub(crate) use self::functions::function_groups;
pub(crate) use self::kind::Kind;
pub(crate) use self::scope::Scope;

use self::node::Node;
use crate::datum::{Datum, Step};

/// A compiled expression.
#[derive(Clone, Debug)]
pub(crate) struct Expression {
    text: Box<str>,
    node: Node,
    kind: Kind,
    /// Where its value stands in the event's data, if it is a part of it.
    place: Option<Vec<Step>>,
}

impl Expression {
    /// The most bytes of an expression's text.
    pub(crate) const MAX_BYTES: usize = 8_192;

    /// Compiles the text of an expression, in which `names` are known, and adds to them what it reads of the event's data.
    pub(crate) fn compile(text: &str, names: &mut Names) -> Result<Self, Vec<ExpressionError>> {
        compile::compile(text, names)
    }

    /// The text from which it was compiled.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The type of the value, as far as it is known before an event is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Where the value stands in the event's data, if it is a part of it.
    pub(crate) fn place(&self) -> Option<&[Step]> {
        self.place.as_deref()
    }

    /// The value for an event.
    pub(crate) fn evaluate<'e>(&'e self, scope: &mut Scope<'e>) -> Result<Datum<'e>, EvaluationError> {
        self.node.evaluate(scope)
    }

    /// The value, if it does not depend on the event.
    pub(crate) fn constant(&self) -> Option<Datum<'_>> {
        match &self.node {
            Node::Literal(literal) => Some(literal.datum()),
            _ => None,
        }
    }
}
