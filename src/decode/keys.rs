//! The keys of records, where a topic gives them a format.

use std::borrow::Cow;

use readcast_core::Payload;

use super::DecodeError;
use super::pointers::json_in;
use super::registry::KeySchemas;
use crate::config::KeyFormat;
use crate::source::{Record, SourceError};

/// Reads the keys of a topic's records.
pub(super) enum KeyReader {
    /// Keys are texts or bytes, which need no reading.
    Plain,
    Json,
    /// A registry has the schema of each key.
    Framed(KeySchemas),
}

impl KeyReader {
    pub(super) fn new(format: KeyFormat, schemas: impl FnOnce() -> Result<KeySchemas, String>) -> Result<Self, String> {
        Ok(match format {
            KeyFormat::Plain => Self::Plain,
            KeyFormat::Json => Self::Json,
            KeyFormat::Registry => Self::Framed(schemas()?),
        })
    }

    /// What the key says. Nothing of a record without one.
    pub(super) fn payload<'r>(&self, record: &'r Record) -> Result<Payload<'r>, DecodeError> {
        let Some(key) = record.key.as_deref() else { return Ok(Payload::Empty) };
        match self {
            Self::Plain => Ok(Payload::Empty),
            Self::Json => {
                let json = json_in(key).map_err(|error| format!("the key is not JSON: {error}"))?;
                Ok(Payload::Json(Cow::Borrowed(json)))
            }
            Self::Framed(schemas) => schemas.payload(record).map_err(|error| format!("the key: {error}").into()),
        }
    }

    /// Fetches the schemas of the keys.
    pub(super) async fn prepare(&self, records: &[Record]) -> Result<(), SourceError> {
        match self {
            Self::Framed(schemas) => schemas.prepare(records).await,
            Self::Plain | Self::Json => Ok(()),
        }
    }
}
