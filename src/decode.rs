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
    /// The record is a tombstone: it has no value.
    #[error("a record without a value (a tombstone) is not an event")]
    Tombstone,
    /// Its value is not in the expected format.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The same, of a record about which the source remarked something.
    #[error("{0}; {1}")]
    Remarked(EnvelopeError, &'static str),
}

impl Format {
    /// The event in `record`, which stands at `position`.
    pub fn decode<'a>(self, position: &Position, record: &'a Record) -> Result<Envelope<'a>, DecodeError> {
        let value = record.value.as_ref().ok_or(DecodeError::Tombstone)?;
        match self {
            Format::PlainJson => {
                let event = Envelope::from_plain_json(position.clone(), record.key.as_deref(), value);
                event.map_err(|error| match record.remark {
                    Some(remark) => DecodeError::Remarked(error, remark),
                    None => error.into(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use readcast_core::TopicPartition;

    use super::*;

    #[test]
    fn an_error_includes_what_the_source_remarked_about_the_record() {
        let position = TopicPartition::new("orders", 0).at(0);
        let reason = |remark| {
            let record = Record { value: Some("neither".into()), remark, ..Record::default() };
            Format::PlainJson.decode(&position, &record).map(drop).unwrap_err().to_string()
        };
        let plain = reason(None);
        assert_eq!(reason(Some("the line has no tab")), format!("{plain}; the line has no tab"));
    }
}
