//! From a record's bytes to an event.

use readcast_core::{Envelope, EnvelopeError, Position};

use crate::source::Record;

/// How the values of records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object with `event_id`, `type`, `timestamp` and `data`.
    #[default]
    PlainJson,
}

/// Why a record is no event.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The record has no value.
    #[error("a record without a value (a tombstone) is not an event")]
    Tombstone,
    /// Its value is not in the form that was expected.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

impl Format {
    /// The event in `record`, which stands at `position`.
    pub fn decode<'a>(self, position: &Position, record: &'a Record) -> Result<Envelope<'a>, DecodeError> {
        let value = record.value.as_ref().ok_or(DecodeError::Tombstone)?;
        match self {
            Format::PlainJson => Ok(Envelope::from_plain_json(position.clone(), record.key.as_deref(), value)?),
        }
    }
}
