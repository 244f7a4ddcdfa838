//! Random expressions: each is a text of CEL, and a function that computes the same without it.

use std::rc::Rc;

use super::{Dice, Event, money};

/// An expression and its meaning.
#[derive(Clone)]
pub(crate) struct Meant<T> {
    pub(crate) text: String,
    meaning: Rc<dyn Fn(&Event) -> T>,
}

impl<T> Meant<T> {
    fn new(text: impl Into<String>, meaning: impl Fn(&Event) -> T + 'static) -> Self {
        Self { text: text.into(), meaning: Rc::new(meaning) }
    }

    pub(crate) fn of(&self, event: &Event) -> T {
        (self.meaning)(event)
    }
}

/// An integer.
pub(crate) fn int(dice: &mut Dice, depth: usize) -> Meant<i64> {
    let number = dice.number();
    match dice.below(if depth == 0 { 4 } else { 8 }) {
        0 => Meant::new(number.to_string(), move |_| number),
        1 => Meant::new("data.n", |event| event.n),
        2 => Meant::new("size(data.list)", |event| event.list.len() as i64),
        3 => Meant::new("sum(data.list.map(x, x.k))", |event| event.list.iter().map(|(k, _)| k).sum()),
        4 => {
            let (a, b) = (int(dice, depth - 1), int(dice, depth - 1));
            Meant::new(format!("({} + {})", a.text, b.text), move |event| a.of(event) + b.of(event))
        }
        5 => {
            let a = int(dice, depth - 1);
            Meant::new(format!("-({}) * 3", a.text), move |event| -a.of(event) * 3)
        }
        6 => {
            let (condition, a, b) = (boolean(dice, depth - 1), int(dice, depth - 1), int(dice, depth - 1));
            Meant::new(format!("({} ? {} : {})", condition.text, a.text, b.text), move |event| {
                if condition.of(event) { a.of(event) } else { b.of(event) }
            })
        }
        _ => Meant::new("data.list.filter(x, x.k > 10).size()", |event| {
            event.list.iter().filter(|(k, _)| *k > 10).count() as i64
        }),
    }
}

/// A decimal, as cents.
pub(crate) fn decimal(dice: &mut Dice, depth: usize) -> Meant<i64> {
    let cents = dice.number();
    match dice.below(if depth == 0 { 3 } else { 7 }) {
        0 => Meant::new(money(cents), move |_| cents),
        1 => Meant::new("data.d", |event| event.cents),
        2 => Meant::new(format!("coalesce(data.opt, {})", money(cents)), move |event| event.opt.unwrap_or(cents)),
        3 => {
            let (a, b) = (decimal(dice, depth - 1), decimal(dice, depth - 1));
            Meant::new(format!("({} - {})", a.text, b.text), move |event| a.of(event) - b.of(event))
        }
        4 => {
            let (a, b) = (decimal(dice, depth - 1), int(dice, 0));
            Meant::new(format!("({} * ({}))", a.text, b.text), move |event| a.of(event) * b.of(event))
        }
        5 => {
            Meant::new("decimal(sum(data.list.map(x, x.v * x.k)))", |event| event.list.iter().map(|(k, v)| k * v).sum())
        }
        _ => {
            let (a, b) = (decimal(dice, depth - 1), decimal(dice, depth - 1));
            Meant::new(format!("greatest({}, {})", a.text, b.text), move |event| a.of(event).max(b.of(event)))
        }
    }
}

/// A text.
pub(crate) fn text(dice: &mut Dice, depth: usize) -> Meant<String> {
    match dice.below(if depth == 0 { 3 } else { 6 }) {
        0 => Meant::new("'it is \\'x\\''", |_| "it is 'x'".to_owned()),
        1 => Meant::new("data.t", |event| event.t.clone()),
        2 => Meant::new("type", |event| event.kind.to_owned()),
        3 => {
            let (a, b) = (text(dice, depth - 1), text(dice, depth - 1));
            Meant::new(format!("{} + {}", a.text, b.text), move |event| a.of(event) + &b.of(event))
        }
        4 => {
            let a = text(dice, depth - 1);
            Meant::new(format!("({}).upper()", a.text), move |event| a.of(event).to_uppercase())
        }
        _ => {
            let a = int(dice, depth - 1);
            Meant::new(format!("string({})", a.text), move |event| a.of(event).to_string())
        }
    }
}

/// A condition.
pub(crate) fn boolean(dice: &mut Dice, depth: usize) -> Meant<bool> {
    match dice.below(if depth == 0 { 3 } else { 6 }) {
        0 => Meant::new("has(data.opt)", |event| event.opt.is_some()),
        1 => Meant::new("data.t == 'beta'", |event| event.t == "beta"),
        2 => Meant::new("data.list.exists(x, x.k < 0)", |event| event.list.iter().any(|(k, _)| *k < 0)),
        3 => {
            let (a, b) = (int(dice, depth - 1), int(dice, depth - 1));
            Meant::new(format!("{} < {}", a.text, b.text), move |event| a.of(event) < b.of(event))
        }
        4 => {
            let (a, b) = (boolean(dice, depth - 1), boolean(dice, depth - 1));
            Meant::new(format!("(!({}) || ({}))", a.text, b.text), move |event| !a.of(event) || b.of(event))
        }
        _ => {
            let (a, b) = (decimal(dice, depth - 1), decimal(dice, depth - 1));
            Meant::new(format!("({} >= {} && true)", a.text, b.text), move |event| a.of(event) >= b.of(event))
        }
    }
}
