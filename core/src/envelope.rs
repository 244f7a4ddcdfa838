//! A decoded event.

#[cfg(feature = "avro")]
mod avro;
mod headers;
#[cfg(any(feature = "avro", feature = "protobuf"))]
mod path;
mod payload;
#[cfg(feature = "protobuf")]
mod protobuf;

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeSeed;
use serde_json::value::RawValue;

#[cfg(feature = "avro")]
pub use self::avro::{Avro, AvroReaderSchema, AvroSchema};
pub use self::headers::{Header, TraceContext, header};
pub use self::payload::{DataError, Payload};
#[cfg(feature = "protobuf")]
pub use self::protobuf::{Protobuf, ProtobufSchema};
use crate::{Position, Timestamp};

/// A decoded event with its position in the log, in whatever format it was published. It borrows from the record's bytes;
/// only texts with escapes are copied.
///
/// The data stays in its format until a projection deserializes it with [`data`](Self::data), so no digit of a number is
/// lost.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// The record's position in the log.
    pub position: Position,
    /// The record's key, if it has one. The records of one key in one partition are ordered.
    pub key: Option<&'a [u8]>,
    /// The record's headers, in order. A name may occur several times.
    pub headers: &'a [Header],
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
    /// The trace to which the producer's work belongs.
    pub trace: Option<TraceContext<'a>>,
    /// What the event says, in the format in which it was published.
    pub payload: Payload<'a>,
    /// What the record's key says, if the keys of the topic have a format; else [`Payload::Empty`].
    pub key_payload: Payload<'a>,
}

/// The record is not an event in the plain JSON form.
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
    /// An event of version 1 without headers, correlation id and trace, for decoders.
    pub fn new(
        position: Position,
        key: Option<&'a [u8]>,
        event_id: impl Into<Cow<'a, str>>,
        event_type: impl Into<Cow<'a, str>>,
        timestamp: Timestamp,
        payload: Payload<'a>,
    ) -> Self {
        Self {
            position,
            key,
            headers: &[],
            event_id: event_id.into(),
            event_type: event_type.into(),
            version: first_version(),
            timestamp,
            correlation_id: None,
            trace: None,
            payload,
            key_payload: Payload::Empty,
        }
    }

    /// The event with the headers of its record, and with the trace context that they hold.
    #[must_use]
    pub fn with_headers(self, headers: &'a [Header]) -> Self {
        Self { headers, trace: TraceContext::in_headers(headers).or(self.trace), ..self }
    }

    /// The value of the record's header `name`, as [`header`] finds it.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        header(self.headers, name)
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
        let payload = Payload::Json(Cow::Borrowed(data));
        Ok(Self { version, correlation_id, ..Self::new(position, key, event_id, event_type, timestamp, payload) })
    }

    /// The event's data, deserialized into a type of the projection. The type may borrow texts from the record.
    ///
    /// # Errors
    /// If the data does not have the form of `T`. The message names the field.
    pub fn data<'s, T: Deserialize<'s>>(&'s self) -> Result<T, DataError> {
        self.payload.deserialize()
    }

    /// The record's key, deserialized into a type of the projection, if the keys of the topic have a format. It is all that a
    /// tombstone says.
    ///
    /// # Errors
    /// If the key does not have the form of `T`, or its topic has no format for keys.
    pub fn key_data<'s, T: Deserialize<'s>>(&'s self) -> Result<T, DataError> {
        self.key_payload.deserialize()
    }

    /// The event's data, deserialized by a seed, for types that are known when the program runs.
    ///
    /// # Errors
    /// As for [`data`](Self::data).
    pub fn data_by<'s, S: DeserializeSeed<'s>>(&'s self, seed: S) -> Result<S::Value, DataError> {
        self.payload.read(seed)
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
    fn the_last_header_of_a_name_counts_and_an_empty_one_is_missing() {
        let headers = [("id", "a"), ("traceparent", "00-1-2-01"), ("id", "b"), ("empty", "x"), ("empty", "")]
            .map(|(name, value)| (name.to_owned(), Some(value.into())));
        let timestamp = Timestamp::from_micros(0).expect("a time");
        let position = TopicPartition::new("orders", 0).at(7);
        let event = Envelope::new(position, None, "e1", "T", timestamp, Payload::Empty).with_headers(&headers);
        assert_eq!((event.header("id"), event.header("empty"), event.header("Id")), (Some(&b"b"[..]), None, None));
        assert_eq!(event.trace.map(|trace| trace.traceparent), Some(Cow::Borrowed("00-1-2-01")));
    }
}
