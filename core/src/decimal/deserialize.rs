//! Decimals from JSON, also from the numbers that serde buffers for some shapes of types.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use super::Decimal;

/// The name by which serde_json recognizes a [`RawValue`](serde_json::value::RawValue). Other deserializers take it for
/// the name of an ordinary newtype.
pub const RAW_VALUE: &str = "$serde_json::private::RawValue";
/// The most significant digits that every decimal keeps through a 64-bit float (IEEE 754; `DBL_DIG` in C).
const MAX_FLOAT_DIGITS: usize = 15;

thread_local! {
    /// The floats without their signs from which decimals were recovered since [`noticing_floats`] began.
    static FROM_FLOATS: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

/// The result of `deserialize` from the JSON text `json`, and a number in `json` that a float does not keep, if a decimal
/// was recovered from that float meanwhile.
pub(crate) fn noticing_floats<T>(json: &str, deserialize: impl FnOnce() -> T) -> (T, Option<&str>) {
    let before = FROM_FLOATS.take();
    let deserialized = deserialize();
    let recovered = FROM_FLOATS.replace(before);
    (deserialized, if recovered.is_empty() { None } else { too_long(json, &recovered) })
}

/// The first number of a JSON text that has a fraction or an exponent, more digits than a float keeps, and is read as one of
/// the `recovered` floats.
fn too_long<'a>(json: &'a str, recovered: &[f64]) -> Option<&'a str> {
    let mut rest = json;
    loop {
        let start = rest.find(|next: char| next == '"' || next.is_ascii_digit())?;
        rest = &rest[start..];
        if let Some(text) = rest.strip_prefix('"') {
            rest = after_string(text);
            continue;
        }
        let is_part = |next: char| next.is_ascii_digit() || matches!(next, '.' | 'e' | 'E' | '+' | '-');
        let (number, after) = rest.split_at(rest.find(|next| !is_part(next)).unwrap_or(rest.len()));
        let is_whole = number.bytes().all(|byte| byte.is_ascii_digit());
        let is_recovered = || number.parse().is_ok_and(|number| recovered.contains(&number));
        if !is_whole && significant_digits(number) > MAX_FLOAT_DIGITS && is_recovered() {
            return Some(number);
        }
        rest = after;
    }
}

/// What follows the end of a JSON string, given the text after its opening quote.
fn after_string(text: &str) -> &str {
    let mut bytes = text.bytes().enumerate();
    while let Some((place, byte)) = bytes.next() {
        match byte {
            b'"' => return &text[place + 1..],
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    ""
}

fn significant_digits(number: &str) -> usize {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').len()
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(RAW_VALUE, DecimalVisitor)
    }
}

/// Reads the JSON text of a value.
struct RawText;

impl<'de> DeserializeSeed<'de> for RawText {
    type Value = Decimal;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Decimal, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for RawText {
    type Value = Decimal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        DecimalVisitor.expecting(f)
    }

    fn visit_str<E: Error>(self, raw: &str) -> Result<Decimal, E> {
        let digits = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
        digits.parse().map_err(E::custom)
    }
}

struct DecimalVisitor;

impl<'de> Visitor<'de> for DecimalVisitor {
    type Value = Decimal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal number, or a string that holds one")
    }

    /// serde_json: the text of the value, as the only entry of a map.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Decimal, A::Error> {
        let entry = map.next_entry_seed(PhantomData::<IgnoredAny>, RawText)?;
        entry.map(|(_, decimal)| decimal).ok_or_else(|| A::Error::invalid_type(Unexpected::Map, &self))
    }

    /// Any other deserializer, such as that of a value which serde has buffered.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Decimal, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Decimal, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Decimal, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Decimal, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Decimal, E> {
        FROM_FLOATS.with_borrow_mut(|floats| floats.push(number.abs()));
        // The shortest text of a float is that of the number it was read from, if that has few enough digits.
        let text = number.to_string();
        if significant_digits(&text) > MAX_FLOAT_DIGITS {
            return Err(E::custom(too_many_digits(&text)));
        }
        self.visit_str(&text)
    }
}

/// Why a number of this many digits is refused in a buffered value.
pub(crate) fn too_many_digits(number: &str) -> String {
    format!(
        "{number} has more than {MAX_FLOAT_DIGITS} digits, which serde does not keep in an untagged, internally tagged or \
         flattened type: send the number as a string, or deserialize it without that"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(untagged)]
    enum Untagged {
        Priced { price: Decimal },
        Bare(Decimal),
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(tag = "kind")]
    enum Tagged {
        Sold { price: Decimal, rate: f64 },
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Flat {
        #[serde(flatten)]
        priced: Priced,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Priced {
        price: Decimal,
    }

    fn decimal(text: &str) -> Decimal {
        text.parse().expect("a decimal")
    }

    #[test]
    fn every_shape_of_a_type_gives_the_same_decimal() {
        let longest_of_a_float = "1234567890123.45";
        for text in ["12.10", "0.1", "-0.30", "1e2", "0", "-7", "18446744073709551615", longest_of_a_float, "0.000001"]
        {
            let expected = decimal(text);
            for price in [text.to_owned(), format!("\"{text}\"")] {
                let object = format!(r#"{{"kind":"Sold","rate":0.5,"price":{price}}}"#);
                assert_eq!(
                    serde_json::from_str::<Priced>(&object).map(|read| read.price).ok(),
                    Some(expected),
                    "{price}"
                );
                assert_eq!(serde_json::from_str(&object).ok(), Some(Untagged::Priced { price: expected }), "{price}");
                assert_eq!(serde_json::from_str(&price).ok(), Some(Untagged::Bare(expected)), "{price}");
                assert_eq!(
                    serde_json::from_str(&object).ok(),
                    Some(Tagged::Sold { price: expected, rate: 0.5 }),
                    "{price}"
                );
                assert_eq!(
                    serde_json::from_str(&object).ok(),
                    Some(Flat { priced: Priced { price: expected } }),
                    "{price}"
                );
                assert_eq!(
                    serde_json::from_value::<Priced>(serde_json::from_str(&object).expect("JSON"))
                        .ok()
                        .map(|read| read.price),
                    Some(expected)
                );
            }
        }
    }

    #[test]
    fn a_number_that_a_float_does_not_keep_is_refused_where_it_is_buffered() {
        let long = r#"{"price":12345678901234567.89}"#;
        assert!(serde_json::from_str::<Priced>(long).is_ok_and(|read| read.price == decimal("12345678901234567.89")));
        let refused = serde_json::from_str::<Flat>(long).expect_err("a float has other digits").to_string();
        assert!(refused.contains("more than 15 digits"), "{refused}");
        // The nearest float has a short text.
        let disguised = r#"{"note":"a \"1.0000000000000000001\"","price":0.1000000000000000055}"#;
        let (read, number) = noticing_floats(disguised, || serde_json::from_str::<Flat>(disguised));
        assert_eq!((read.is_ok(), number), (true, Some("0.1000000000000000055")));
        let (_, number) = noticing_floats(disguised, || serde_json::from_str::<Priced>(disguised));
        assert_eq!(number, None, "the digits were read");
        // A coordinate beside it is a float by itself.
        let beside = r#"{"latitude":52.520006599999998,"price":0.1}"#;
        let (read, number) = noticing_floats(beside, || serde_json::from_str::<Flat>(beside));
        assert_eq!((read.is_ok(), number), (true, None));
        let negative = r#"{"price":-0.1000000000000000055}"#;
        let (_, number) = noticing_floats(negative, || serde_json::from_str::<Flat>(negative));
        assert_eq!(number, Some("0.1000000000000000055"));
    }

    #[test]
    fn what_is_no_number_is_named() {
        for (json, named) in [("true", "boolean `true`"), ("[]", "sequence"), ("\"ten\"", "`ten` is not a decimal")] {
            let error =
                serde_json::from_str::<Flat>(&format!(r#"{{"price":{json}}}"#)).expect_err("no number").to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
