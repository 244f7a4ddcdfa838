//! Functions of numbers.

use readcast_core::Decimal;
use rust_decimal::RoundingStrategy;

use super::{Function, INT, Parameter, int, text};
use crate::datum::{Datum, decimal};
use crate::expression::Kind;

/// The ways to round, by their names in Java's `RoundingMode` and Python's `decimal`.
const MODES: &[&str] = &["half_even", "half_up", "half_down", "up", "down", "ceiling", "floor"];
const MODE: Parameter = Parameter::Word(MODES);
const NUMBER: Parameter = Parameter::Number;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("`abs(x)`: the number without its sign", "abs", &[NUMBER], Kind::Any, |of| match &of[0] {
        Datum::Int(number) => number.checked_abs().map(Datum::Int).ok_or_else(|| "out of range".into()),
        Datum::Decimal(number) if *number < Decimal::ZERO => Ok(Datum::Decimal(-*number)),
        Datum::Double(number) => Ok(Datum::Double(number.abs())),
        other => Ok(other.clone()),
    }),
    Function::new("`round(x, decimals, mode)`: the number with at most so many digits after the point; the mode is `half_even` (the default), `half_up`, `half_down`, `up`, `down`, `ceiling` or `floor`", "round", &[NUMBER, INT, MODE], Kind::Decimal, round).needing(1),
    Function::new("`divide(a, b, decimals, mode)`: a / b, rounded to so many digits after the point", "divide", &[NUMBER, NUMBER, INT, MODE], Kind::Decimal, divide).needing(3),
    Function::new("`scale(x)`: the number of digits after the point", "scale", &[NUMBER], Kind::Int, |of| {
        Ok(Datum::Int(decimal(&of[0])?.as_rust_decimal().normalize().scale().into()))
    }),
];

fn strategy(mode: Option<&Datum<'_>>) -> Result<RoundingStrategy, String> {
    Ok(match mode.map_or(Ok("half_even"), text)? {
        "half_even" => RoundingStrategy::MidpointNearestEven,
        "half_up" => RoundingStrategy::MidpointAwayFromZero,
        "half_down" => RoundingStrategy::MidpointTowardZero,
        "up" => RoundingStrategy::AwayFromZero,
        "down" => RoundingStrategy::ToZero,
        "ceiling" => RoundingStrategy::ToPositiveInfinity,
        "floor" => RoundingStrategy::ToNegativeInfinity,
        other => return Err(format!("`{other}` is not one of {}", MODES.join(", "))),
    })
}

fn decimals(value: Option<&Datum<'_>>) -> Result<u32, String> {
    let number = value.map_or(Ok(0), int)?;
    u32::try_from(number).ok().filter(|number| *number <= 28).ok_or_else(|| format!("{number} is not between 0 and 28"))
}

fn round<'e>(of: &[Datum<'e>]) -> Result<Datum<'e>, String> {
    let (decimals, strategy) = (decimals(of.get(1))?, strategy(of.get(2))?);
    let number = match &of[0] {
        // The digits behind those that a float keeps are rounded away here.
        Datum::Double(number) => rust_decimal::Decimal::from_f64_retain(*number).ok_or("out of range")?,
        other => decimal(other)?.as_rust_decimal(),
    };
    exact(number.round_dp_with_strategy(decimals, strategy))
}

fn divide<'e>(of: &[Datum<'e>]) -> Result<Datum<'e>, String> {
    let (a, b) = (decimal(&of[0])?.as_rust_decimal(), decimal(&of[1])?.as_rust_decimal());
    let (decimals, strategy) = (decimals(of.get(2))?, strategy(of.get(3))?);
    if b.is_zero() {
        return Err("division by zero".into());
    }
    let quotient = a.checked_div(b).ok_or("the quotient is out of range")?;
    // The quotient has 28 digits and is rounded already: it may seem to stand in the middle of two numbers when it does not.
    let remainder = quotient.checked_mul(b).and_then(|product| a.checked_sub(product));
    let is_exact = remainder.is_some_and(|remainder| remainder.is_zero());
    let rounded = quotient.round_dp_with_strategy(decimals, strategy);
    if is_exact || decimals + 1 < quotient.scale() {
        return exact(rounded);
    }
    Err(format!("{a} / {b} has too many digits to be rounded to {decimals} after the point"))
}

/// The number, if it has at most 28 digits.
fn exact<'e>(number: rust_decimal::Decimal) -> Result<Datum<'e>, String> {
    number.to_string().parse().map(Datum::Decimal).map_err(|error: readcast_core::DecimalError| error.to_string())
}
