//! Events as components see them.

use std::borrow::Cow;

use readcast_core::{Envelope, Payload};

use super::bindings::{Event, Header};
use crate::datum::{Shape, to_json};

/// The texts of an event that it does not hold itself.
pub(super) struct Texts<'e> {
    time: String,
    data: Cow<'e, str>,
    key_data: Option<Cow<'e, str>>,
}

impl<'e> Texts<'e> {
    pub(super) fn of(event: &'e Envelope<'_>) -> Result<Self, String> {
        let key_data = match &event.key_payload {
            Payload::Empty => None,
            payload => Some(json(payload).map_err(|error| format!("the key: {error}"))?),
        };
        Ok(Self { time: event.timestamp.to_string(), data: json(&event.payload)?, key_data })
    }

    pub(super) fn headers(&self, event: &'e Envelope<'_>) -> Vec<Header<'e>> {
        event.headers.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect()
    }

    pub(super) fn with<'a>(&'a self, event: &'a Envelope<'_>, headers: &'a [Header<'a>]) -> Event<'a> {
        Event {
            id: &event.event_id,
            type_: &event.event_type,
            version: event.version,
            time: &self.time,
            topic: &event.position.topic,
            partition: event.position.partition,
            offset: event.position.offset,
            key: event.key,
            key_data: self.key_data.as_deref(),
            correlation_id: event.correlation_id.as_deref(),
            headers,
            data: &self.data,
        }
    }
}

/// The payload as JSON text with all digits of its numbers.
fn json<'p>(payload: &'p Payload<'_>) -> Result<Cow<'p, str>, String> {
    match payload {
        Payload::Empty => Ok("null".into()),
        Payload::Json(json) => Ok(json.get().into()),
        // Avro and Protobuf, which may be left out of the build.
        payload => {
            let read = payload.read(Shape::WHOLE).map_err(|error| error.to_string())?;
            to_json(&read).map(Cow::Owned)
        }
    }
}
