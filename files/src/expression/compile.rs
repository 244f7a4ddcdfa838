//! From the parsed text of an expression to the tree that is evaluated. Types are checked as far as they are known.

mod calls;
mod types;

use std::ops::Range;

#[cfg(test)]
pub(crate) use self::calls::SPECIAL;
use super::Expression;
use super::error::ExpressionError;
use super::kind::Kind;
use super::node::{Literal, Loop, Node, Operator, Part, Root};
use super::parse::{self, CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, Parsed, Source, operators};
use crate::datum::{Datum, Shape, Step, number};
use readcast_core::Decimal;

/// The names that an expression may use beside the parts of the event, and what expressions read of its data.
#[derive(Debug, Default)]
pub(crate) struct Names {
    locals: Vec<Local>,
    pub(crate) shape: Shape,
    /// What of the data an expression allows to be missing.
    pub(crate) optional: Shape,
}

/// A variable of a loop or of a rule.
#[derive(Clone, Debug)]
struct Local {
    name: String,
    kind: Kind,
    place: Option<Vec<Step>>,
}

impl Names {
    /// Adds a variable. It has the value that [`Scope::push`](super::Scope::push) gives it, and `place` is where that stands in
    /// the event's data.
    pub(crate) fn push(&mut self, name: &str, kind: Kind, place: Option<Vec<Step>>) {
        self.locals.push(Local { name: name.to_owned(), kind, place });
    }
}

/// A part of an expression with what is known of its value.
struct Typed {
    node: Node,
    kind: Kind,
    place: Option<Vec<Step>>,
}

impl Typed {
    fn new(node: Node, kind: Kind) -> Self {
        Self { node, kind, place: None }
    }
}

pub(super) fn compile(text: &str, names: &mut Names) -> Result<Expression, Vec<ExpressionError>> {
    let (parsed, source) = parse::parse(text)?;
    let depth = names.locals.len();
    let mut compiler = Compiler { source, names, errors: Vec::new() };
    let compiled = compiler.value(&parsed);
    let errors = compiler.errors;
    names.locals.truncate(depth);
    let Typed { node, kind, place } = compiled;
    if errors.is_empty() { Ok(Expression { text: text.into(), node, kind, place }) } else { Err(errors) }
}

struct Compiler<'c, 't> {
    source: Source<'t>,
    names: &'c mut Names,
    errors: Vec<ExpressionError>,
}

impl Compiler<'_, '_> {
    /// A value that is read as a whole.
    fn value(&mut self, parsed: &Parsed) -> Typed {
        let part = self.part(parsed);
        if let Some(place) = &part.place {
            self.names.shape.read(place);
        }
        part
    }

    /// A value of which only a part may be read.
    fn part(&mut self, parsed: &Parsed) -> Typed {
        match &parsed.expr {
            Expr::Ident(name) => self.variable(parsed, name),
            Expr::Literal(literal) => self.literal(parsed, literal),
            Expr::Select(select) if select.test => {
                let of = self.part(&select.operand);
                if let Some(place) = &of.place {
                    let place = [place.as_slice(), &[Step::Field(select.field.clone())]].concat();
                    self.names.shape.read(&place);
                    self.names.optional.read(&place);
                }
                let optional = is_optional(&select.operand);
                Typed::new(Node::Has { of: Box::new(of.node), name: select.field.clone(), optional }, Kind::Bool)
            }
            Expr::Select(select) => {
                let of = self.part(&select.operand);
                self.field(parsed, of, &select.field, is_optional(&select.operand))
            }
            Expr::Call(call) => self.call(parsed, call),
            Expr::List(list) => {
                if !list.optional_indices.is_empty() {
                    self.error(parsed, "optional items of lists are not supported");
                }
                Typed::new(Node::List(list.elements.iter().map(|item| self.value(item).node).collect()), Kind::List)
            }
            Expr::Map(map) => {
                let entries = map.entries.iter().filter_map(|entry| self.entry(&entry.expr)).collect();
                Typed::new(Node::Map(entries), Kind::Map)
            }
            Expr::Comprehension(parts) => self.comprehension(parts),
            Expr::Struct(_) => self.refuse(parsed, "messages of Protobuf can't be made"),
            Expr::Unspecified => self.refuse(parsed, "the expression is empty"),
        }
    }

    fn entry(&mut self, entry: &EntryExpr) -> Option<(Node, Node)> {
        let EntryExpr::MapEntry(entry) = entry else { return None };
        let name = self.value(&entry.key);
        if !name.kind.may_be(Kind::Text) {
            self.error(&entry.key, format!("the names of a map are texts, not {}", name.kind));
        }
        Some((name.node, self.value(&entry.value).node))
    }

    fn variable(&mut self, parsed: &Parsed, name: &str) -> Typed {
        if let Some(place) = self.names.locals.iter().rposition(|local| local.name == name) {
            let Local { kind, place: within, .. } = self.names.locals[place].clone();
            return Typed { node: Node::Path(Root::Local(place), vec![name.to_owned()]), kind, place: within };
        }
        let Some((_, part)) = Part::ALL.into_iter().find(|(other, _)| *other == name) else {
            let known = Part::ALL.map(|(name, _)| name);
            let locals: Vec<String> = self.names.locals.iter().map(|local| local.name.clone()).collect();
            let known = known.into_iter().chain(locals.iter().map(String::as_str));
            let all = "known are data, key, type, version, time, headers, position, event_id and correlation_id; a text stands in \
                       quotes: 'text'";
            let mut error = self.named(parsed, format!("`{name}` is not known")).nearest(name, known);
            error.help.get_or_insert_with(|| all.to_owned());
            self.errors.push(error);
            return Typed::new(Node::Literal(Literal::Null), Kind::Any);
        };
        let place = (part == Part::Data).then(Vec::new);
        Typed { node: Node::Path(Root::Event(part), vec![name.to_owned()]), kind: types::of_part(part), place }
    }

    fn field(&mut self, parsed: &Parsed, of: Typed, name: &str, optional: bool) -> Typed {
        if !of.kind.may_be(Kind::Map) {
            self.error(parsed, format!("{} has no field `{name}`", of.kind));
        }
        let place = of.place.map(|place| [place.as_slice(), &[Step::Field(name.to_owned())]].concat());
        if let (Some(place), true) = (&place, optional) {
            self.names.optional.read(place);
        }
        let kind = types::of_field(&of.node, name);
        let node = match of.node {
            Node::Path(root, mut names) if !optional => {
                names.push(name.to_owned());
                Node::Path(root, names)
            }
            of => Node::Field { of: Box::new(of), name: name.to_owned(), optional },
        };
        Typed { node, kind, place }
    }

    fn literal(&mut self, parsed: &Parsed, literal: &LiteralValue) -> Typed {
        let (literal, kind) = match literal {
            LiteralValue::Null => (Literal::Null, Kind::Null),
            LiteralValue::Boolean(value) => (Literal::Bool(*value.inner()), Kind::Bool),
            LiteralValue::Int(number) => (Literal::Int(*number.inner()), Kind::Int),
            LiteralValue::UInt(number) => match i64::try_from(*number.inner()) {
                Ok(number) => (Literal::Int(number), Kind::Int),
                // As such a number in the event's data.
                Err(_) => {
                    let number = number.inner().to_string().parse().expect("20 digits are a decimal");
                    (Literal::Decimal(number), Kind::Decimal)
                }
            },
            // The digits of the text, of which the parser has made a float. A sign is no part of its place.
            LiteralValue::Double(float) => match number(self.source.text(parsed)) {
                Some(Datum::Decimal(number)) if *float.inner() < 0.0 && number > Decimal::ZERO => {
                    (Literal::Decimal(-number), Kind::Decimal)
                }
                Some(Datum::Decimal(number)) => (Literal::Decimal(number), Kind::Decimal),
                _ => (Literal::Double(*float.inner()), Kind::Double),
            },
            LiteralValue::String(text) => (Literal::Text(text.inner().to_owned()), Kind::Text),
            LiteralValue::Bytes(bytes) => (Literal::Bytes(bytes.inner().to_vec()), Kind::Bytes),
        };
        Typed::new(Node::Literal(literal), kind)
    }

    /// What a macro of CEL is expanded to.
    fn comprehension(&mut self, parts: &ComprehensionExpr) -> Typed {
        let range = self.part(&parts.iter_range);
        if !range.kind.may_be(Kind::List) && !range.kind.may_be(Kind::Map) {
            self.error(&parts.iter_range, format!("{} has no items", range.kind));
        }
        let place = range.place.map(|place| [place.as_slice(), &[Step::Items]].concat());
        if let Some(place) = &place {
            self.names.shape.part(place);
        }
        let initial = self.value(&parts.accu_init);
        let accumulator = self.names.locals.len();
        self.names.push(&parts.accu_var, Kind::Any, None);
        self.names.push(&parts.iter_var, Kind::Any, place);
        let (condition, step) = (self.value(&parts.loop_cond), self.value(&parts.loop_step));
        self.names.locals.pop();
        let result = self.value(&parts.result);
        self.names.locals.pop();
        let kind = if matches!(result.node, Node::Binary(Operator::Equal, _)) { Kind::Bool } else { initial.kind };
        let step = appending(step.node, accumulator);
        let parts =
            Loop { range: range.node, initial: initial.node, condition: condition.node, step, result: result.node };
        Typed::new(Node::Loop(Box::new(parts)), kind)
    }

    fn error(&mut self, parsed: &Parsed, message: impl Into<String>) {
        self.errors.push(self.named(parsed, message));
    }

    fn named(&self, parsed: &Parsed, message: impl Into<String>) -> ExpressionError {
        ExpressionError::new(self.span(parsed), message)
    }

    fn refuse(&mut self, parsed: &Parsed, message: impl Into<String>) -> Typed {
        self.error(parsed, message);
        Typed::new(Node::Literal(Literal::Null), Kind::Any)
    }

    /// The place of an operand, or of the whole expression of which it is the first.
    fn span(&self, parsed: &Parsed) -> Range<usize> {
        self.source.span(parsed)
    }
}

/// Whether a value is optional, so that its fields are: `data.?customer.name`.
fn is_optional(parsed: &Parsed) -> bool {
    match &parsed.expr {
        Expr::Call(call) => matches!(&*call.func_name, operators::OPT_SELECT | operators::OPT_INDEX),
        Expr::Select(select) => is_optional(&select.operand),
        _ => false,
    }
}

/// `list + [item]` as one step that moves the list, which CEL's `map` and `filter` need to take linear time.
fn appending(step: Node, accumulator: usize) -> Node {
    match step {
        Node::Binary(Operator::Plus, sides) => match *sides {
            (Node::Path(Root::Local(place), names), Node::List(mut items))
                if place == accumulator && names.len() == 1 && items.len() == 1 =>
            {
                Node::Append(accumulator, Box::new(items.remove(0)))
            }
            sides => Node::Binary(Operator::Plus, Box::new(sides)),
        },
        Node::If(parts) => {
            let (condition, then, otherwise) = *parts;
            Node::If(Box::new((condition, appending(then, accumulator), otherwise)))
        }
        other => other,
    }
}
