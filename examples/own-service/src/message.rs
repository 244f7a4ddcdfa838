//! The form of the library's messages: `{"header": {"id": …, "type": …, "at": …}, "body": {…}}`.

use std::borrow::Cow;

use readcast::source::Record;
use readcast::{DecodeError, Envelope, Payload, Position, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Message<'r> {
    #[serde(borrow)]
    header: Header<'r>,
    /// Projections read it: here it stays text.
    #[serde(borrow)]
    body: &'r RawValue,
}

#[derive(Deserialize)]
struct Header<'r> {
    #[serde(borrow)]
    id: Cow<'r, str>,
    #[serde(borrow, rename = "type")]
    event_type: Cow<'r, str>,
    at: Timestamp,
}

/// Reads the type, the id and the time of an event from the header of its message, and its data from the body.
pub fn read<'r>(position: &Position, record: &'r Record) -> Result<Envelope<'r>, DecodeError> {
    let value = record.value.as_deref().ok_or("a message without a value")?;
    let Message { header, body } = serde_json::from_slice(value)?;
    let (key, body) = (record.key.as_deref(), Payload::Json(Cow::Borrowed(body)));
    Ok(Envelope::new(position.clone(), key, header.id, header.event_type, header.at, body))
}

#[cfg(test)]
mod tests {
    use readcast::TopicPartition;

    use super::*;

    fn decode(value: &'static str) -> Result<String, String> {
        let record = Record { value: Some(value.into()), ..Record::default() };
        let event = read(&TopicPartition::new("loans", 0).at(0), &record);
        event.map(|event| format!("{} {}", event.event_id, event.event_type)).map_err(|error| error.to_string())
    }

    #[test]
    fn id_and_type_come_from_the_header() {
        let message = r#"{"header":{"id":"m1","type":"BookLent","at":"2024-03-01T10:00:00Z"},"body":{}}"#;
        assert_eq!(decode(message).unwrap(), "m1 BookLent");
    }

    #[test]
    fn a_message_without_a_header_is_not_an_event() {
        assert!(decode(r#"{"body":{}}"#).unwrap_err().contains("header"));
    }
}
