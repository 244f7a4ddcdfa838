//! Exact decimals, from the digits of a JSON text to a database column. No step converts to a float, and no operation
//! rounds: a result that does not fit is an error.

mod deserialize;

use std::fmt;
use std::ops::Neg;
use std::str::FromStr;

pub use deserialize::RAW_VALUE;
pub(crate) use deserialize::{noticing_floats, too_many_digits};
use serde::{Serialize, Serializer};

/// An exact decimal of at most 28 significant digits, at most 28 of them after the decimal point.
///
/// `Deserialize` reads the digits of the JSON text, a number or a string that holds one. Inside `#[serde(flatten)]`,
/// `#[serde(untagged)]` and internally tagged enums serde buffers a number with a fraction as a float; its digits are
/// recovered if it has at most 15, which a float keeps, and refused otherwise. Strings are exact everywhere.
///
/// ```
/// use readcast_core::Decimal;
///
/// let price: Decimal = "49.99".parse()?;
/// assert_eq!(price.checked_mul(2)?.to_string(), "99.98");
/// assert!(price.rescale(1).is_err(), "nothing is rounded");
/// # Ok::<(), readcast_core::DecimalError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(rust_decimal::Decimal);

/// Why a text is not a decimal, or a result not exact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// The text is not a decimal number, or has more digits than [`Decimal`] holds.
    #[error("`{0}` is not a decimal of at most 28 digits")]
    NotADecimal(String),
    /// The exact result has more than 28 digits, or more digits after the decimal point than its column.
    #[error("{0} does not fit exactly")]
    Inexact(&'static str),
}

impl Decimal {
    /// The most digits of a number. `rust_decimal` holds a few numbers of 29 digits; a column of 28 digits does not.
    const MAX_DIGITS: u32 = 28;
    /// The number zero, with scale 0.
    pub const ZERO: Self = Self(rust_decimal::Decimal::ZERO);

    /// `mantissa` × 10^-`scale`: `Decimal::new(4999, 2)` is 49.99.
    ///
    /// # Panics
    /// When `scale` is above 28.
    pub fn new(mantissa: i64, scale: u32) -> Self {
        Self(rust_decimal::Decimal::new(mantissa, scale))
    }

    /// The exact sum.
    ///
    /// # Errors
    /// [`DecimalError::Inexact`] if the sum has more than 28 digits.
    pub fn checked_add(self, other: Self) -> Result<Self, DecimalError> {
        let scale = self.0.scale().max(other.0.scale());
        let digits = self.digits_at(scale).zip(other.digits_at(scale));
        Self::checked(digits.and_then(|(a, b)| a.checked_add(b)), scale).ok_or(DecimalError::Inexact("the sum"))
    }

    /// The exact difference.
    ///
    /// # Errors
    /// [`DecimalError::Inexact`] if the difference has more than 28 digits.
    pub fn checked_sub(self, other: Self) -> Result<Self, DecimalError> {
        self.checked_add(-other)
    }

    /// The exact product.
    ///
    /// # Errors
    /// [`DecimalError::Inexact`] if the product has more than 28 digits.
    pub fn checked_mul(self, factor: impl Into<Self>) -> Result<Self, DecimalError> {
        let factor = factor.into();
        if self.0.is_zero() || factor.0.is_zero() {
            return Ok(Self::ZERO);
        }
        let digits = self.0.mantissa().checked_mul(factor.0.mantissa());
        Self::checked(digits, self.0.scale() + factor.0.scale()).ok_or(DecimalError::Inexact("the product"))
    }

    /// The same number with exactly `scale` digits after the decimal point.
    ///
    /// # Errors
    /// [`DecimalError::Inexact`] if the number has more digits after the point, or 28 digits do not suffice.
    pub fn rescale(self, scale: u8) -> Result<Self, DecimalError> {
        let digits = self.digits_at(scale.into());
        Self::checked(digits, scale.into()).ok_or(DecimalError::Inexact("the number"))
    }

    /// The number of digits after the decimal point, without zeros at the end.
    pub(crate) fn decimals(self) -> u32 {
        self.0.normalize().scale()
    }

    /// The number in units of 10^-`scale`. `None` if it is not a multiple of the unit.
    fn digits_at(self, scale: u32) -> Option<i128> {
        let (digits, own) = (self.0.mantissa(), self.0.scale());
        let power = 10_i128.checked_pow(own.abs_diff(scale))?;
        if scale >= own { digits.checked_mul(power) } else { (digits % power == 0).then_some(digits / power) }
    }

    /// `digits` × 10^-`scale`. `None` if that exceeds the limits of this type.
    fn checked(digits: Option<i128>, scale: u32) -> Option<Self> {
        let digits = digits.filter(|digits| digits.unsigned_abs() < 10_u128.pow(Self::MAX_DIGITS))?;
        rust_decimal::Decimal::try_from_i128_with_scale(digits, scale).ok().map(Self)
    }

    /// The number as the type that database drivers take.
    pub fn as_rust_decimal(self) -> rust_decimal::Decimal {
        self.0
    }

    /// `digits` × 10^`exponent`, exactly.
    fn shifted(mut digits: rust_decimal::Decimal, exponent: i32) -> Option<rust_decimal::Decimal> {
        let scale = i32::try_from(digits.scale()).ok()?.checked_sub(exponent)?;
        if digits.is_zero() {
            return Some(rust_decimal::Decimal::ZERO);
        }
        let whole_zeros = u32::try_from(scale.min(0).checked_neg()?).ok()?;
        digits.set_scale(scale.max(0).try_into().ok()?).ok()?;
        let power = 10_i64.checked_pow(whole_zeros).filter(|_| whole_zeros <= 18);
        digits.checked_mul(power?.into()).filter(|product| product.scale() == digits.scale())
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.parse().ok()),
            None => (text, Some(0)),
        };
        rust_decimal::Decimal::from_str_exact(digits)
            .ok()
            .zip(exponent)
            .and_then(|(digits, exponent)| Self::shifted(digits, exponent))
            .and_then(|number| Self::checked(Some(number.mantissa()), number.scale()))
            .ok_or_else(|| DecimalError::NotADecimal(text.chars().take(64).collect()))
    }
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Self {
        Self(number.into())
    }
}

impl From<rust_decimal::Decimal> for Decimal {
    fn from(mut number: rust_decimal::Decimal) -> Self {
        // `rust_decimal` has a negative zero, with another text.
        if number.is_zero() {
            number.set_sign_positive(true);
        }
        Self(number)
    }
}

impl Neg for Decimal {
    type Output = Self;

    fn neg(self) -> Self {
        (-self.0).into()
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().expect("a decimal")
    }

    #[test]
    fn digits_survive_from_json_text() {
        for text in ["49.99", "0.1", "-0.30", "9007199254740993", "1234567890123456789012345.678"] {
            let read: Decimal = serde_json::from_str(text).expect("a decimal");
            assert_eq!(read.to_string(), text);
            let quoted: Decimal = serde_json::from_str(&format!("\"{text}\"")).expect("a decimal in a string");
            assert_eq!(quoted, read);
        }
    }

    #[test]
    fn exponents_are_exact_or_refused() {
        assert_eq!(decimal("1.5e3").to_string(), "1500");
        assert_eq!(decimal("15e-3").to_string(), "0.015");
        assert_eq!(decimal("0e999"), Decimal::ZERO);
        for text in ["1e400", "1e-29", "NaN", "", "1e", "0x1", "12345678901234567890123456789012"] {
            assert!(text.parse::<Decimal>().is_err(), "{text} was taken for a decimal");
        }
    }

    #[test]
    fn arithmetic_never_rounds() {
        assert_eq!(decimal("0.1").checked_add(decimal("0.2")), Ok(decimal("0.3")));
        assert_eq!(decimal("49.99").checked_mul(2), Ok(decimal("99.98")));
        let widest = decimal("999999999999999999999999999.9");
        assert!(widest.checked_add(widest).is_err());
        assert!(widest.checked_mul(decimal("0.13")).is_err());
        assert!(decimal("1.005").rescale(2).is_err());
        assert_eq!(decimal("1").rescale(2).map(|number| number.to_string()), Ok("1.00".into()));
        assert!(widest.rescale(9).is_err());
    }

    #[test]
    fn zero_has_no_sign_and_fits_any_scale() {
        for zero in [-Decimal::ZERO, -decimal("0.00"), -Decimal::new(0, 2), (-rust_decimal::Decimal::ZERO).into()] {
            assert_eq!(zero.rescale(2).map(|zero| zero.to_string()), Ok("0.00".into()));
            assert_eq!(zero.to_string().strip_prefix('-'), None);
        }
        assert_eq!(decimal("5").checked_add(Decimal::new(0, 2)), Ok(decimal("5")));
        assert_eq!(Decimal::new(0, 2).checked_sub(decimal("5")), Ok(decimal("-5")));
    }

    #[test]
    fn twenty_eight_digits_are_the_limit_of_every_result() {
        let (most, tiny) = (decimal("99999999999999999999999999.99"), decimal("0.01"));
        assert!(most.checked_add(-tiny).is_ok_and(|less| less.checked_add(tiny) == Ok(most)));
        assert!(most.checked_add(tiny).is_err());
        assert!((-most).checked_sub(tiny).is_err());
        assert!(decimal("10000000000000000000000000").checked_mul(1000).is_err());
        assert!(decimal("100000000000000000000000000").rescale(2).is_err());
        for text in ["10000000000000000000000000000", "1e28", "12345678901234567890123456789"] {
            assert!(text.parse::<Decimal>().is_err(), "{text} has 29 digits");
        }
    }
}
