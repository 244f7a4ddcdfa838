//! The times that producers write.

use readcast_core::Timestamp;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::config::TimeForm;

/// The time that `text` means. What is finer than a microsecond is cut off.
///
/// # Errors
/// A text that says what was expected.
pub(super) fn parse(text: &str, form: TimeForm) -> Result<Timestamp, String> {
    match form {
        TimeForm::Rfc3339 => text.trim().parse().map_err(|error| match text.trim().parse::<Decimal>() {
            Ok(_) => format!("{error}; for a number since 1970, write its unit: `as millis`"),
            Err(_) => format!("{error}"),
        }),
        TimeForm::Epoch { per_second } => {
            let count = text.trim().parse::<Decimal>().ok();
            let micros = count.and_then(|count| count.checked_mul(1_000_000.into())?.checked_div(per_second.into()));
            let time = micros.and_then(|micros| Timestamp::from_micros(micros.floor().to_i64()?));
            time.ok_or_else(|| format!("`{}` is not a number since 1970", text.chars().take(64).collect::<String>()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_unit() {
        let epoch = |text: &str, per_second| parse(text, TimeForm::Epoch { per_second }).map(|time| time.to_string());
        let expected = Ok("2024-05-20T14:30:00.123456Z".to_owned());
        assert_eq!(epoch("1716215400.123456789", 1), expected, "as Java's Instant in Jackson");
        assert_eq!(epoch("1716215400123.456", 1_000), expected);
        assert_eq!(epoch("1716215400123456", 1_000_000), expected);
        assert_eq!(epoch("1716215400123456789", 1_000_000_000), expected);
        assert_eq!(epoch("-1", 1_000_000), Ok("1969-12-31T23:59:59.999999Z".into()));
        for text in ["", "now", "1e400", "99999999999999999999", "79228162514264337593543950335"] {
            assert!(epoch(text, 1).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_in_place_of_rfc_3339_needs_a_unit() {
        assert!(parse(" 2024-05-20T14:30:00+02:00", TimeForm::Rfc3339).is_ok());
        let error = parse("1716215400123", TimeForm::Rfc3339).unwrap_err();
        assert!(error.ends_with("write its unit: `as millis`"), "{error}");
    }
}
