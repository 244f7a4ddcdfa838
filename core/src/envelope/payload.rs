//! The data of an event, in the format in which it was published.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::DeserializeSeed;
use serde::de::value::UnitDeserializer;
use serde_json::value::RawValue;

use crate::decimal;

/// What an event says, in the format in which it was published. [`Envelope::data`](crate::Envelope::data) deserializes
/// it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Payload<'a> {
    /// Nothing: the record has no value. It deserializes as `()`, and as `None` into an option.
    Empty,
    /// JSON text, borrowed from the record or made by the decoder.
    Json(Cow<'a, RawValue>),
    /// A value in Avro's binary encoding, with its schema.
    #[cfg(feature = "avro")]
    Avro(super::Avro<'a>),
    /// A message in Protobuf's binary encoding, decoded by its descriptor.
    #[cfg(feature = "protobuf")]
    Protobuf(super::Protobuf),
}

/// The data of an event does not have the form of the type that a projection asked for, or is not in its format. The
/// message names the field.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DataError(String);

impl DataError {
    pub(super) fn new(reason: impl Display) -> Self {
        Self(reason.to_string())
    }
}

impl<'a> Payload<'a> {
    /// The payload with this JSON text.
    ///
    /// # Errors
    /// When `text` is not one JSON value.
    pub fn json(text: impl Into<Cow<'a, str>>) -> Result<Self, DataError> {
        let json = match text.into() {
            Cow::Borrowed(text) => serde_json::from_str(text).map(Cow::Borrowed),
            Cow::Owned(text) => RawValue::from_string(text).map(Cow::Owned),
        };
        json.map(Self::Json).map_err(DataError::new)
    }

    /// The data, deserialized into a type.
    ///
    /// # Errors
    /// If the data does not have the form of `T`. The message names the field.
    pub fn deserialize<'s, T: Deserialize<'s>>(&'s self) -> Result<T, DataError> {
        self.read(PhantomData)
    }

    /// The data, deserialized by a seed.
    ///
    /// # Errors
    /// As for [`deserialize`](Self::deserialize).
    pub fn read<'s, S: DeserializeSeed<'s>>(&'s self, seed: S) -> Result<S::Value, DataError> {
        match self {
            Self::Empty => seed
                .deserialize(UnitDeserializer::<serde::de::value::Error>::new())
                .map_err(|error| DataError::new(format!("the event has no data: {error}"))),
            Self::Json(json) => from_json(json.get(), seed),
            #[cfg(feature = "avro")]
            Self::Avro(avro) => avro.read_data(seed),
            #[cfg(feature = "protobuf")]
            Self::Protobuf(message) => message.read_data(seed),
        }
    }

    /// The same payload, which borrows nothing.
    pub fn into_owned(self) -> Payload<'static> {
        match self {
            Self::Empty => Payload::Empty,
            Self::Json(json) => Payload::Json(Cow::Owned(json.into_owned())),
            #[cfg(feature = "avro")]
            Self::Avro(avro) => Payload::Avro(avro.into_owned()),
            #[cfg(feature = "protobuf")]
            Self::Protobuf(message) => Payload::Protobuf(message),
        }
    }
}

/// The data as JSON, for people. Decimals of a binary encoding are shown as texts.
impl fmt::Display for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("nothing"),
            Self::Json(json) => f.write_str(json.get()),
            #[cfg(any(feature = "avro", feature = "protobuf"))]
            binary => match binary.deserialize::<serde_json::Value>() {
                Ok(value) => value.fmt(f),
                Err(_) => f.write_str("(it has no form in JSON)"),
            },
        }
    }
}

fn from_json<'s, S: DeserializeSeed<'s>>(json: &'s str, seed: S) -> Result<S::Value, DataError> {
    let read = || {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let data = seed.deserialize(&mut deserializer)?;
        deserializer.end().map(|()| data)
    };
    match decimal::noticing_floats(json, read) {
        (Ok(_), Some(number)) => Err(DataError::new(decimal::too_many_digits(number))),
        (data, _) => data.map_err(DataError::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_borrowed_or_made() {
        fn price(text: impl Into<Cow<'static, str>>) -> Result<f64, DataError> {
            Ok(Payload::json(text)?.deserialize::<[f64; 1]>()?[0])
        }
        assert_eq!(price("[49.9]").expect("JSON"), 49.9);
        assert_eq!(price(String::from("[1]")).expect("JSON"), 1.0);
        assert!(price("[1").is_err() && price(String::from("[1] 2")).is_err());
    }

    #[test]
    fn a_tombstone_has_no_data() {
        assert!(Payload::Empty.deserialize::<()>().is_ok());
        assert!(matches!(Payload::Empty.deserialize::<Option<u8>>(), Ok(None)));
        let refused = Payload::Empty.deserialize::<u8>().expect_err("no number").to_string();
        assert!(refused.starts_with("the event has no data: "), "{refused}");
    }

    #[test]
    fn a_number_that_would_lose_a_digit_in_the_type_is_refused() {
        #[derive(Deserialize)]
        struct Priced {
            price: crate::Decimal,
        }
        #[derive(Deserialize)]
        struct Flat {
            #[serde(flatten)]
            priced: Priced,
        }
        let payload = |text: &'static str| Payload::json(text).expect("JSON");
        let long = payload(r#"{"price":0.1000000000000000055}"#);
        assert!(long.deserialize::<Priced>().is_ok_and(|read| read.price.to_string() == "0.1000000000000000055"));
        let refused = long.deserialize::<Flat>().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.starts_with("0.1000000000000000055 has more than 15 digits"), "{refused}");
        let short = payload(r#"{"price":12.10,"note":"0.1000000000000000055"}"#);
        assert!(short.deserialize::<Flat>().is_ok_and(|read| read.priced.price.to_string() == "12.1"));
    }
}
