//! The format of readcast itself.

use readcast_core::{Envelope, Position};

use super::{DecodeError, Decoder, Events};
use crate::source::Record;

/// Reads the format `envelope`: one JSON object with `event_id`, `type`, `timestamp` and `data`. See
/// [`Envelope::from_plain_json`].
#[derive(Clone, Copy, Debug, Default)]
pub struct EnvelopeDecoder;

impl Decoder for EnvelopeDecoder {
    fn decode<'r>(&'r self, position: &Position, record: &'r Record) -> Result<Events<'r>, DecodeError> {
        let value = record.value.as_ref().ok_or("a record without a value (a tombstone) is not an event")?;
        let event = Envelope::from_plain_json(position.clone(), record.key.as_deref(), value)?;
        Ok(event.with_headers(&record.headers).into())
    }
}
