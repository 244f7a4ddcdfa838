//! Operators and functions.

use super::{
    CallExpr, Compiler, Expr, Kind, Literal, LiteralValue, Node, Operator, Parsed, Step, Typed, is_optional, operators,
    types,
};
use crate::expression::functions::{self, Function, Parameter};
use crate::expression::node::Search;

/// What is called like a function and is none, because it does not evaluate all of its arguments, or takes a literal.
pub(crate) const SPECIAL: [(&str, &str); 5] = [
    ("has", "`has(data.x)`: whether the field is there"),
    ("coalesce", "`coalesce(a, b, …)`: the first value that is there and not null, else null"),
    ("orValue", "`data.?x.orValue(y)`: `y` where the field is missing or null"),
    ("matches", "`matches(x, 'pattern')`: whether the regular expression matches a part of the text"),
    ("extract", "`extract(x, 'pattern')`: the first match, or its first group if it has one; null without a match"),
];

const BINARY: [(&str, Operator, &str); 12] = [
    (operators::ADD, Operator::Plus, "+"),
    (operators::SUBSTRACT, Operator::Minus, "-"),
    (operators::MULTIPLY, Operator::Times, "*"),
    (operators::DIVIDE, Operator::Over, "/"),
    (operators::MODULO, Operator::Modulo, "%"),
    (operators::EQUALS, Operator::Equal, "=="),
    (operators::NOT_EQUALS, Operator::Unequal, "!="),
    (operators::LESS, Operator::Less, "<"),
    (operators::LESS_EQUALS, Operator::AtMost, "<="),
    (operators::GREATER, Operator::Greater, ">"),
    (operators::GREATER_EQUALS, Operator::AtLeast, ">="),
    (operators::IN, Operator::In, "in"),
];

impl Compiler<'_, '_> {
    pub(super) fn call(&mut self, parsed: &Parsed, call: &CallExpr) -> Typed {
        let name = &*call.func_name;
        let arguments: Vec<&Parsed> = call.target.as_deref().into_iter().chain(&call.args).collect();
        if let Some((_, operator, sign)) = BINARY.iter().find(|(other, ..)| *other == name) {
            return self.binary(parsed, *operator, sign, &arguments);
        }
        match (name, arguments.as_slice()) {
            (operators::LOGICAL_AND, [a, b]) => {
                let sides = [self.boolean(a, "&&"), self.boolean(b, "&&")].map(Box::new);
                let [a, b] = sides;
                Typed::new(Node::And(a, b), Kind::Bool)
            }
            (operators::LOGICAL_OR, [a, b]) => {
                let sides = [self.boolean(a, "||"), self.boolean(b, "||")].map(Box::new);
                let [a, b] = sides;
                Typed::new(Node::Or(a, b), Kind::Bool)
            }
            (operators::LOGICAL_NOT, [of]) => Typed::new(Node::Not(Box::new(self.boolean(of, "!"))), Kind::Bool),
            (operators::NOT_STRICTLY_FALSE, [of]) => self.value(of),
            (operators::NEGATE, [of]) => self.negation(parsed, of),
            (operators::CONDITIONAL, [condition, then, otherwise]) => {
                let condition = self.boolean(condition, "? :");
                let (then, otherwise) = (self.value(then), self.value(otherwise));
                let kind = types::either(then.kind, otherwise.kind);
                Typed::new(Node::If(Box::new((condition, then.node, otherwise.node))), kind)
            }
            (operators::INDEX, [of, at]) => self.item(parsed, of, at, is_optional(of)),
            (operators::OPT_INDEX, [of, at]) => self.item(parsed, of, at, true),
            (operators::OPT_SELECT, [of, name]) => match &name.expr {
                Expr::Literal(LiteralValue::String(name)) => {
                    let of = self.part(of);
                    self.field(parsed, of, name.inner(), true)
                }
                _ => self.refuse(parsed, "the name of a field is expected"),
            },
            ("coalesce", [_, ..]) | ("orValue", [_, _]) => {
                let values: Vec<Typed> = arguments.iter().map(|argument| self.value(argument)).collect();
                // Each step of a path may be missing here.
                for path in values.iter().filter_map(|value| value.place.as_deref()) {
                    (1..=path.len()).for_each(|steps| self.names.optional.read(&path[..steps]));
                }
                let kind = values.iter().map(|value| value.kind).reduce(types::either).unwrap_or(Kind::Any);
                Typed::new(Node::Coalesce(values.into_iter().map(|value| value.node).collect()), kind)
            }
            ("matches", [of, pattern]) => self.search(Search::Matches, of, pattern),
            ("extract", [of, pattern]) => self.search(Search::Extract, of, pattern),
            _ => self.function(parsed, name, &arguments),
        }
    }

    fn binary(&mut self, parsed: &Parsed, operator: Operator, sign: &str, arguments: &[&Parsed]) -> Typed {
        let [a, b] = arguments else { return self.refuse(parsed, format!("`{sign}` takes two values")) };
        let (first, second) = (self.value(a), self.value(b));
        let kind = types::of_operator(operator, first.kind, second.kind).unwrap_or_else(|| {
            self.error(parsed, format!("`{sign}` does not take {} and {}", first.kind, second.kind));
            Kind::Any
        });
        Typed::new(Node::Binary(operator, Box::new((first.node, second.node))), kind)
    }

    fn boolean(&mut self, parsed: &Parsed, of: &str) -> Node {
        let value = self.value(parsed);
        if !value.kind.may_be(Kind::Bool) {
            self.error(parsed, format!("`{of}` takes a boolean, not {}", value.kind));
        }
        value.node
    }

    fn negation(&mut self, parsed: &Parsed, of: &Parsed) -> Typed {
        let value = self.value(of);
        if !value.kind.is_number() && !matches!(value.kind, Kind::Any | Kind::Duration) {
            self.error(parsed, format!("{} has no negative", value.kind));
        }
        // `-1` is a literal, too. What has no negative of its type fails for each event.
        let node = match value.node {
            Node::Literal(Literal::Int(number)) if number != i64::MIN => Node::Literal(Literal::Int(-number)),
            Node::Literal(Literal::Decimal(number)) => Node::Literal(Literal::Decimal(-number)),
            of => Node::Negate(Box::new(of)),
        };
        Typed::new(node, value.kind)
    }

    fn item(&mut self, parsed: &Parsed, of: &Parsed, at: &Parsed, optional: bool) -> Typed {
        if let Expr::Literal(LiteralValue::String(name)) = &at.expr {
            let of = self.part(of);
            return self.field(parsed, of, name.inner(), optional);
        }
        let (of, at) = (self.part(of), self.value(at));
        let place = of.place.map(|place| [place.as_slice(), &[Step::Items]].concat());
        if let (Some(place), false) = (&place, at.kind == Kind::Int) {
            // It may be the name of a field, so all of the value is kept.
            self.names.shape.read(&place[..place.len() - 1]);
        }
        Typed { node: Node::Item { of: Box::new(of.node), at: Box::new(at.node), optional }, kind: Kind::Any, place }
    }

    fn search(&mut self, search: Search, of: &Parsed, pattern: &Parsed) -> Typed {
        let value = self.value(of);
        if !value.kind.may_be(Kind::Text) {
            self.error(of, format!("a regular expression searches a text, not {}", value.kind));
        }
        let Expr::Literal(LiteralValue::String(text)) = &pattern.expr else {
            return self
                .refuse(pattern, "the regular expression must be a text in quotes, so that it can be compiled once");
        };
        let kind = if search == Search::Matches { Kind::Bool } else { Kind::Any };
        match Search::regex(text.inner()) {
            Ok(regex) => Typed::new(Node::Search(search, Box::new(value.node), regex), kind),
            Err(error) => self.refuse(pattern, error),
        }
    }

    fn function(&mut self, parsed: &Parsed, name: &str, arguments: &[&Parsed]) -> Typed {
        let values: Vec<Typed> = arguments.iter().map(|argument| self.value(argument)).collect();
        let Some(function) = functions::find(name) else {
            let known = functions::functions().map(|function| function.name).chain(SPECIAL.map(|(name, _)| name));
            let error = self.named(parsed, format!("there is no function `{name}`"));
            self.errors.push(error.nearest(name, known.chain(["map", "filter", "all", "exists", "exists_one"])));
            return Typed::new(Node::Literal(Literal::Null), Kind::Any);
        };
        let most = if function.repeats { usize::MAX } else { function.parameters.len() };
        if !(function.needed..=most).contains(&values.len()) {
            let error = self.named(parsed, format!("`{name}` does not take {}", count(values.len())));
            self.errors.push(error.help(function.about));
        }
        for (place, (argument, value)) in arguments.iter().zip(&values).enumerate() {
            self.argument(function, place, argument, value);
        }
        let result = match function.name {
            // The number stays what it is.
            "abs" => values.first().map_or(Kind::Any, |value| value.kind),
            _ => function.result,
        };
        Typed::new(Node::Call(function, values.into_iter().map(|value| value.node).collect()), result)
    }

    fn argument(&mut self, function: &Function, place: usize, parsed: &Parsed, value: &Typed) {
        let Some(parameter) = function.parameter(place) else { return };
        let wrong = match (parameter, &value.node) {
            (Parameter::Of(kind), _) => (!value.kind.may_be(kind)).then(|| format!("takes {kind}, not {}", value.kind)),
            (Parameter::Number, _) => {
                let may_be = value.kind == Kind::Any || value.kind.is_number();
                (!may_be).then(|| format!("takes a number, not {}", value.kind))
            }
            (Parameter::Word(words), Node::Literal(Literal::Text(word))) => {
                (!words.contains(&&**word)).then(|| format!("takes one of {}", words.join(", ")))
            }
            (Parameter::Zone, Node::Literal(Literal::Text(zone))) => functions::zone(zone).err(),
            (Parameter::Word(_) | Parameter::Zone, _) => {
                (!value.kind.may_be(Kind::Text)).then(|| format!("takes a text, not {}", value.kind))
            }
        };
        if let Some(wrong) = wrong {
            let error = self.named(parsed, format!("{}(): {wrong}", function.name));
            self.errors.push(error.help(function.about));
        }
    }
}

fn count(arguments: usize) -> String {
    format!("{arguments} argument{}", if arguments == 1 { "" } else { "s" })
}
