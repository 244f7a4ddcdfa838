//! The types of operators and of the parts of an event.

use crate::expression::kind::Kind;
use crate::expression::node::{Node, Operator, Part, Root};

/// The type of a part of the event.
pub(super) fn of_part(part: Part) -> Kind {
    match part {
        Part::Type | Part::EventId => Kind::Text,
        Part::Version => Kind::Int,
        Part::Time => Kind::Time,
        Part::Headers | Part::Position => Kind::Map,
        // The key may be bytes, and either may be missing.
        Part::Data | Part::Key | Part::CorrelationId => Kind::Any,
    }
}

/// The type of the field `name` of a value.
pub(super) fn of_field(of: &Node, name: &str) -> Kind {
    match (of, name) {
        (Node::Path(Root::Event(Part::Position), names), "topic") if names.len() == 1 => Kind::Text,
        (Node::Path(Root::Event(Part::Position), names), "partition" | "offset") if names.len() == 1 => Kind::Int,
        _ => Kind::Any,
    }
}

/// The type of a value that has one of two types.
pub(super) fn either(a: Kind, b: Kind) -> Kind {
    match (a, b) {
        (a, b) if a == b => a,
        (Kind::Null, other) | (other, Kind::Null) => other,
        _ => Kind::Any,
    }
}

/// The type of what an operator makes of two values, or `None` if it does not take them.
pub(super) fn of_operator(operator: Operator, a: Kind, b: Kind) -> Option<Kind> {
    use Kind::{Any, Bool, Bytes, Date, Decimal, Double, Duration, Int, List, Map, Null, Text, Time};
    match operator {
        Operator::Equal | Operator::Unequal => Some(Bool),
        Operator::In => (b.may_be(List) || b.may_be(Map)).then_some(Bool),
        Operator::Less | Operator::AtMost | Operator::Greater | Operator::AtLeast => {
            let has_order = |kind| !matches!(kind, Null | List | Map);
            (a.may_be(b) && has_order(a) && has_order(b)).then_some(Bool)
        }
        _ => match (operator, a, b) {
            (_, Any, Any) => Some(Any),
            (_, Any, known) | (_, known, Any) => arithmetic(operator, known).then_some(Any),
            (Operator::Modulo, Int, Int) => Some(Int),
            (Operator::Modulo, _, _) => None,
            (_, Int, Int) => Some(Int),
            (_, Double, b) if b.is_number() => Some(Double),
            (_, a, Double) if a.is_number() => Some(Double),
            (_, a, b) if a.is_number() && b.is_number() => Some(Decimal),
            (Operator::Plus, a, b) if a == b && matches!(a, Text | Bytes | List | Duration) => Some(a),
            (Operator::Plus, Time, Duration) | (Operator::Plus, Duration, Time) => Some(Time),
            (Operator::Minus, Time, Duration) => Some(Time),
            (Operator::Minus, Time, Time) | (Operator::Minus, Date, Date) | (Operator::Minus, Duration, Duration) => {
                Some(Duration)
            }
            _ => None,
        },
    }
}

/// Whether an operator may take a value of this type on either side.
fn arithmetic(operator: Operator, kind: Kind) -> bool {
    use Kind::{Bytes, Date, Duration, Int, List, Text, Time};
    match operator {
        Operator::Plus => kind.is_number() || matches!(kind, Text | Bytes | List | Time | Duration),
        Operator::Minus => kind.is_number() || matches!(kind, Time | Date | Duration),
        Operator::Modulo => kind == Int,
        _ => kind.is_number(),
    }
}
