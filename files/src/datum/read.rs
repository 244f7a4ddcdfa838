//! Values from the data of an event in any format.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use readcast_core::{Decimal, RAW_VALUE};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Datum, Fields, Shape};

/// Reads the parts of a value that the shape names.
impl<'e> DeserializeSeed<'e> for &'e Shape {
    type Value = Datum<'e>;

    fn deserialize<D: Deserializer<'e>>(self, deserializer: D) -> Result<Datum<'e>, D::Error> {
        if self.whole { Whole::default().deserialize(deserializer) } else { deserializer.deserialize_any(Parts(self)) }
    }
}

/// The most levels of lists and maps within each other, as for [`Json`](readcast_core::Json).
const MAX_DEPTH: u8 = 127;

/// Reads all of a value. In JSON it asks for the text, which has every digit of a number.
#[derive(Default)]
struct Whole {
    /// The number of lists and maps around the value.
    depth: u8,
}

impl<'e> DeserializeSeed<'e> for Whole {
    type Value = Datum<'e>;

    fn deserialize<D: Deserializer<'e>>(self, deserializer: D) -> Result<Datum<'e>, D::Error> {
        deserializer.deserialize_newtype_struct(RAW_VALUE, Contents { depth: self.depth, may_be_text: true })
    }
}

/// The value of a JSON text within `depth` lists and maps.
fn of_json<E: Error>(text: &str, depth: u8) -> Result<Datum<'_>, E> {
    let containing = || {
        serde_json::Deserializer::from_str(text)
            .deserialize_any(Contents { depth, may_be_text: false })
            .map_err(E::custom)
    };
    match text.as_bytes() {
        b"null" => Ok(Datum::Null),
        b"true" => Ok(Datum::Bool(true)),
        b"false" => Ok(Datum::Bool(false)),
        [b'"', plain @ .., b'"'] if !plain.contains(&b'\\') => Ok(Datum::Text(text[1..text.len() - 1].into())),
        [b'"' | b'[' | b'{', ..] => containing(),
        _ => number(text).ok_or_else(|| E::custom(format_args!("the number {text} is out of range"))),
    }
}

/// The value of a JSON text from anywhere.
pub(crate) fn json_value(text: &str) -> Result<Datum<'_>, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Whole::default().deserialize(&mut deserializer);
    value.and_then(|value| deserializer.end().map(|()| value)).map_err(|error| format!("the text is not JSON: {error}"))
}

/// The number that a text of digits is, without the loss of a digit: a float only where no decimal holds it.
pub(crate) fn number(text: &str) -> Option<Datum<'static>> {
    let whole = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if let Some(number) = whole.then(|| text.parse().ok()).flatten() {
        return Some(Datum::Int(number));
    }
    if let Ok(number) = text.parse::<Decimal>() {
        return Some(Datum::Decimal(number));
    }
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(Datum::Double)
}

/// Visits a value of which all is read.
struct Contents {
    depth: u8,
    /// Whether the text of the value was asked for, which serde_json gives as the only entry of a map.
    may_be_text: bool,
}

impl Contents {
    /// What reads the values in this one.
    fn inner<E: Error>(&self) -> Result<impl Fn() -> Whole + use<E>, E> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH {
            return Err(E::custom(format_args!("lists and maps are nested more than {MAX_DEPTH} levels deep")));
        }
        Ok(move || Whole { depth })
    }
}

/// Visits a value of which parts are read.
struct Parts<'e>(&'e Shape);

/// The visits that do not depend on what is read of a value.
macro_rules! scalars {
    () => {
        type Value = Datum<'e>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a value")
        }

        fn visit_bool<E>(self, value: bool) -> Result<Datum<'e>, E> {
            Ok(Datum::Bool(value))
        }

        fn visit_i64<E>(self, number: i64) -> Result<Datum<'e>, E> {
            Ok(Datum::Int(number))
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<Datum<'e>, E> {
            Ok(i64::try_from(number).map_or_else(
                |_| Datum::Decimal(number.to_string().parse().expect("20 digits are a decimal")),
                Datum::Int,
            ))
        }

        fn visit_f64<E: Error>(self, number: f64) -> Result<Datum<'e>, E> {
            Ok(Datum::Double(number))
        }

        fn visit_str<E>(self, text: &str) -> Result<Datum<'e>, E> {
            Ok(Datum::Text(Cow::Owned(text.to_owned())))
        }

        fn visit_borrowed_str<E>(self, text: &'e str) -> Result<Datum<'e>, E> {
            Ok(Datum::Text(Cow::Borrowed(text)))
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Datum<'e>, E> {
            Ok(Datum::Bytes(Cow::Owned(bytes.to_owned())))
        }

        fn visit_borrowed_bytes<E>(self, bytes: &'e [u8]) -> Result<Datum<'e>, E> {
            Ok(Datum::Bytes(Cow::Borrowed(bytes)))
        }

        fn visit_unit<E>(self) -> Result<Datum<'e>, E> {
            Ok(Datum::Null)
        }

        fn visit_none<E>(self) -> Result<Datum<'e>, E> {
            Ok(Datum::Null)
        }

        fn visit_some<D: Deserializer<'e>>(self, deserializer: D) -> Result<Datum<'e>, D::Error> {
            deserializer.deserialize_any(self)
        }

        fn visit_newtype_struct<D: Deserializer<'e>>(self, deserializer: D) -> Result<Datum<'e>, D::Error> {
            deserializer.deserialize_any(self)
        }
    };
}

impl<'e> Visitor<'e> for Contents {
    scalars!();

    fn visit_seq<A: SeqAccess<'e>>(self, mut seq: A) -> Result<Datum<'e>, A::Error> {
        let inner = self.inner()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner())? {
            items.push(item);
        }
        Ok(Datum::list(items))
    }

    fn visit_map<A: MapAccess<'e>>(self, mut map: A) -> Result<Datum<'e>, A::Error> {
        let mut fields = Vec::new();
        let mut next = map.next_key_seed(Name)?;
        if self.may_be_text && next.as_deref() == Some(RAW_VALUE) {
            return of_json(map.next_value()?, self.depth);
        }
        let inner = self.inner()?;
        while let Some(name) = next {
            fields.push((name, map.next_value_seed(inner())?));
            next = map.next_key_seed(Name)?;
        }
        Ok(Datum::Map(Arc::new(Fields(fields))))
    }
}

impl<'e> Visitor<'e> for Parts<'e> {
    scalars!();

    fn visit_seq<A: SeqAccess<'e>>(self, mut seq: A) -> Result<Datum<'e>, A::Error> {
        let mut items = Vec::new();
        let Some(shape) = self.0.items.as_deref() else {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Datum::list(items));
        };
        while let Some(item) = seq.next_element_seed(shape)? {
            items.push(item);
        }
        Ok(Datum::list(items))
    }

    fn visit_map<A: MapAccess<'e>>(self, mut map: A) -> Result<Datum<'e>, A::Error> {
        if self.0.items.is_some() {
            // A loop over the names of the map, of which each counts.
            return Contents { depth: 0, may_be_text: false }.visit_map(map);
        }
        let mut fields = Vec::with_capacity(self.0.fields.len());
        while let Some(place) = map.next_key_seed(OneOf(self.0))? {
            match place {
                Some(place) => {
                    let (name, shape) = &self.0.fields[place];
                    fields.push((Cow::Borrowed(name.as_str()), map.next_value_seed(shape)?));
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Datum::Map(Arc::new(Fields(fields))))
    }
}

/// Reads the name of a field.
struct Name;

impl<'e> DeserializeSeed<'e> for Name {
    type Value = Cow<'e, str>;

    fn deserialize<D: Deserializer<'e>>(self, deserializer: D) -> Result<Cow<'e, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'e> Visitor<'e> for Name {
    type Value = Cow<'e, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'e, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }

    fn visit_borrowed_str<E>(self, name: &'e str) -> Result<Cow<'e, str>, E> {
        Ok(Cow::Borrowed(name))
    }
}

/// Finds the place of a name among the fields that are read.
struct OneOf<'s>(&'s Shape);

impl<'e> DeserializeSeed<'e> for OneOf<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'e>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for OneOf<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Name.expecting(f)
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.fields.iter().position(|(other, _)| other == name))
    }
}
