//! A decoded event.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Position, Timestamp};

/// A decoded event with its coordinates. Its data stays JSON text until a projection asks for it with
/// [`Envelope::data`], so that no digit of a number is lost on the way.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Where the record stood in the log.
    pub position: Position,
    /// The record's key: records of one key are ordered.
    pub key: Option<Bytes>,
    /// The producer's identity of the event.
    pub event_id: String,
    /// What happened, such as `ORDER_PLACED`.
    pub event_type: String,
    /// The version of the event's schema, from 1.
    pub version: u32,
    /// When it happened, as the producer says.
    pub timestamp: Timestamp,
    /// What the event belongs to across services.
    pub correlation_id: Option<String>,
    data: Box<RawValue>,
}

/// The record is no event in the plain JSON form.
#[derive(Debug, thiserror::Error)]
#[error("not an event: {0}")]
pub struct EnvelopeError(#[from] serde_json::Error);

/// The plain JSON form: the fields of an event around its `data`. Unknown fields are ignored.
#[derive(Deserialize)]
struct PlainJson {
    event_id: String,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(default = "first_version")]
    version: u32,
    timestamp: Timestamp,
    correlation_id: Option<String>,
    data: Box<RawValue>,
}

fn first_version() -> u32 {
    1
}

impl Envelope {
    /// Reads an event in the plain JSON form: `event_id`, `type`, `version` (1 when absent), `timestamp`,
    /// `correlation_id` (optional), `data`.
    pub fn from_plain_json(position: Position, key: Option<Bytes>, json: &[u8]) -> Result<Self, EnvelopeError> {
        let PlainJson { event_id, event_type, version, timestamp, correlation_id, data } =
            serde_json::from_slice(json)?;
        Ok(Self { position, key, event_id, event_type, version, timestamp, correlation_id, data })
    }

    /// The event's data as a type of the projection's own.
    pub fn data<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.data.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TopicPartition;

    #[test]
    fn plain_json_is_read_and_what_is_missing_is_named() {
        let read =
            |json: &str| Envelope::from_plain_json(TopicPartition::new("orders", 0).at(7), None, json.as_bytes());
        let json =
            r#"{"event_id":"e1","type":"T","timestamp":"2024-05-20T14:30:00Z","more":[],"data":{"price":49.90}}"#;
        let event = read(json).expect("an event");
        assert_eq!((event.event_type.as_str(), event.version), ("T", 1));
        let missing = read(&json.replace("event_id", "id")).expect_err("no event_id").to_string();
        assert!(missing.contains("event_id"), "{missing}");
    }
}
