//! A decoded event.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Position, Timestamp, decimal};

/// A decoded event with its position in the log. It borrows from the record's bytes; only texts with escapes are
/// copied.
///
/// The data stays JSON text until a projection deserializes it with [`data`](Self::data), so no digit of a number is
/// lost.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// The record's position in the log.
    pub position: Position,
    /// The record's key, if it has one. The records of one key in one partition are ordered.
    pub key: Option<&'a [u8]>,
    /// The id that the producer gave the event. A second event with the same id is a duplicate.
    pub event_id: Cow<'a, str>,
    /// The type of the event, such as `ORDER_PLACED`.
    pub event_type: Cow<'a, str>,
    /// The version of the event's schema, from 1.
    pub version: u32,
    /// When the event happened, by the producer's clock.
    pub timestamp: Timestamp,
    /// The id that connects the events of one process across services.
    pub correlation_id: Option<Cow<'a, str>>,
    data: Cow<'a, RawValue>,
}

/// The record is not an event in the plain JSON form, or its data is not JSON.
#[derive(Debug, thiserror::Error)]
#[error("the record is not an event: {0}")]
pub struct EnvelopeError(#[from] serde_json::Error);

/// The plain JSON form: the fields of an event beside its `data`. Unknown fields are ignored.
#[derive(Deserialize)]
struct PlainJson<'a> {
    #[serde(borrow)]
    event_id: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    event_type: Cow<'a, str>,
    #[serde(default = "first_version")]
    version: u32,
    timestamp: Timestamp,
    #[serde(borrow)]
    correlation_id: Option<Text<'a>>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// A text of an optional field: serde does not borrow a `Cow` inside an `Option`.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn first_version() -> u32 {
    1
}

impl<'a> Envelope<'a> {
    /// An event of version 1 without a correlation id, for decoders of other formats. `data` is JSON text, borrowed from the
    /// record or made by the decoder.
    ///
    /// # Errors
    /// When `data` is not one JSON value.
    pub fn new(
        position: Position,
        key: Option<&'a [u8]>,
        event_id: impl Into<Cow<'a, str>>,
        event_type: impl Into<Cow<'a, str>>,
        timestamp: Timestamp,
        data: impl Into<Cow<'a, str>>,
    ) -> Result<Self, EnvelopeError> {
        let (event_id, event_type) = (event_id.into(), event_type.into());
        let data = match data.into() {
            Cow::Borrowed(text) => Cow::Borrowed(serde_json::from_str(text)?),
            Cow::Owned(text) => Cow::Owned(RawValue::from_string(text)?),
        };
        Ok(Self {
            position,
            key,
            event_id,
            event_type,
            version: first_version(),
            timestamp,
            correlation_id: None,
            data,
        })
    }

    /// Decodes an event in the plain JSON form: an object with `event_id`, `type`, `version` (1 if absent), `timestamp`,
    /// `correlation_id` (optional) and `data`.
    ///
    /// # Errors
    /// If `json` is not such an object. The message names the field.
    ///
    /// ```
    /// use readcast_core::{Envelope, TopicPartition};
    ///
    /// let json = br#"{"event_id":"e1","type":"VISITED","timestamp":"2024-05-20T14:30:00Z","data":"/home"}"#;
    /// let event = Envelope::from_plain_json(TopicPartition::new("site", 0).at(7), None, json)?;
    /// assert_eq!((&*event.event_type, event.version), ("VISITED", 1));
    /// assert_eq!(event.data::<&str>()?, "/home");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_plain_json(position: Position, key: Option<&'a [u8]>, json: &'a [u8]) -> Result<Self, EnvelopeError> {
        let PlainJson { event_id, event_type, version, timestamp, correlation_id, data } =
            // One UTF-8 check of all bytes is faster than one for each text. It may fail: ignored fields may hold any
            // bytes.
            std::str::from_utf8(json).map_or_else(|_| serde_json::from_slice(json), serde_json::from_str)?;
        let correlation_id = correlation_id.map(|Text(id)| id);
        Ok(Self { position, key, event_id, event_type, version, timestamp, correlation_id, data: Cow::Borrowed(data) })
    }

    /// The event's data, deserialized into a type of the projection. The type may borrow texts from the record.
    ///
    /// # Errors
    /// If the data does not have the form of `T`. The message names the field.
    pub fn data<'s, T: Deserialize<'s>>(&'s self) -> Result<T, serde_json::Error> {
        let json = self.data.get();
        match decimal::noticing_floats(json, || serde_json::from_str(json)) {
            (Ok(_), Some(number)) => Err(serde::de::Error::custom(decimal::too_many_digits(number))),
            (data, _) => data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TopicPartition;

    #[test]
    fn plain_json_is_decoded_and_a_missing_field_is_named() {
        fn read(json: &str) -> Result<Envelope<'_>, EnvelopeError> {
            Envelope::from_plain_json(TopicPartition::new("orders", 0).at(7), None, json.as_bytes())
        }
        let json =
            r#"{"event_id":"e1","type":"T","timestamp":"2024-05-20T14:30:00Z","more":[],"data":{"price":49.90}}"#;
        let event = read(json).expect("an event");
        assert_eq!((&*event.event_type, event.version), ("T", 1));
        assert!(matches!(event.event_id, Cow::Borrowed("e1")), "a text without escapes is borrowed");
        let escaped = json.replace("e1", r"\u0065\n");
        assert_eq!(read(&escaped).expect("an event").event_id, "e\n");
        let missing = read(&json.replace("event_id", "id")).expect_err("no event_id").to_string();
        assert!(missing.contains("event_id"), "{missing}");
    }

    #[test]
    fn an_event_of_another_format_has_data_that_is_borrowed_or_made() {
        fn price(data: impl Into<Cow<'static, str>>) -> Result<f64, EnvelopeError> {
            let position = TopicPartition::new("orders", 0).at(7);
            let timestamp = Timestamp::from_micros(0).expect("a time");
            let event = Envelope::new(position, None, "e1", "T", timestamp, data)?;
            Ok(event.data::<[f64; 1]>()?[0])
        }
        assert_eq!(price("[49.9]").expect("JSON"), 49.9);
        assert_eq!(price(String::from("[1]")).expect("JSON"), 1.0);
        assert!(price("[1").is_err() && price(String::from("[1] 2")).is_err());
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
        let position = TopicPartition::new("orders", 0).at(7);
        let timestamp = Timestamp::from_micros(0).expect("a time");
        let event =
            |data: &'static str| Envelope::new(position.clone(), None, "e1", "T", timestamp, data).expect("JSON");
        let long = event(r#"{"price":0.1000000000000000055}"#);
        assert!(long.data::<Priced>().is_ok_and(|read| read.price.to_string() == "0.1000000000000000055"));
        let refused = long.data::<Flat>().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.starts_with("0.1000000000000000055 has more than 15 digits"), "{refused}");
        let short = event(r#"{"price":12.10,"note":"0.1000000000000000055"}"#);
        assert!(short.data::<Flat>().is_ok_and(|read| read.priced.price.to_string() == "12.1"));
    }
}
