//! What a format finds in a record, before the parts of an event are looked up in it.

use std::borrow::Cow;

use async_trait::async_trait;
use readcast_core::Payload;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::DecodeError;
use super::pointers::json_in;
use crate::source::{Record, SourceError};

/// Finds the messages in the records of one format.
#[async_trait]
pub(super) trait Reader: Send + Sync {
    /// The messages in `record`, in order; nearly always one.
    ///
    /// # Errors
    /// Why the record is not in this format.
    fn messages<'r>(&self, record: &'r Record) -> Result<Messages<'r>, DecodeError>;

    /// What `record` tells of records that can't be read: a sentence for each.
    fn doubts(&self, _record: &Record) -> Vec<String> {
        Vec::new()
    }

    /// Fetches what reading these records needs, such as their schemas.
    async fn prepare(&self, _records: &[Record]) -> Result<(), SourceError> {
        Ok(())
    }
}

/// The messages of a record.
pub(super) type Messages<'r> = SmallVec<[Message<'r>; 1]>;

/// One message, which becomes an event.
#[derive(Debug, Default)]
pub(super) struct Message<'r> {
    /// What the format says about the event, by names.
    pub(super) attributes: Attributes<'r>,
    /// In what the pointers of the configuration are looked up.
    pub(super) body: Body<'r>,
    /// The data of the event, unless the configuration has a pointer to it. `None` if that is the body.
    pub(super) data: Option<Payload<'r>>,
}

/// The body of a message, in its format.
#[derive(Debug, Default)]
pub(super) enum Body<'r> {
    #[default]
    None,
    Json(Cow<'r, RawValue>),
    #[cfg(feature = "avro")]
    Avro(readcast_core::Avro<'r>),
    #[cfg(feature = "protobuf")]
    Protobuf(readcast_core::Protobuf),
}

/// Names with their texts.
#[derive(Debug, Default)]
pub(super) struct Attributes<'r>(Vec<(Cow<'r, str>, Cow<'r, str>)>);

impl<'r> Attributes<'r> {
    pub(super) fn push(&mut self, name: impl Into<Cow<'r, str>>, text: impl Into<Cow<'r, str>>) {
        self.0.push((name.into(), text.into()));
    }

    /// The text of the attribute `name`, unless it is missing or empty.
    pub(super) fn get(&self, name: &str) -> Option<&Cow<'r, str>> {
        let (_, text) = self.0.iter().rfind(|(other, _)| other == name)?;
        Some(text).filter(|text| !text.is_empty())
    }
}

impl<'r> Message<'r> {
    /// A message without attributes, whose data is its body.
    pub(super) fn of_json(body: Cow<'r, RawValue>) -> Self {
        Self { body: Body::Json(body), ..Self::default() }
    }
}

/// The value of the record as JSON.
pub(super) fn json_value(record: &Record) -> Result<&RawValue, DecodeError> {
    json_in_value(record.value.as_deref().ok_or(NO_VALUE)?)
}

/// A value, or what of it follows a frame, as JSON.
pub(super) fn json_in_value(value: &[u8]) -> Result<&RawValue, DecodeError> {
    json_in(value).map_err(|error| format!("the value is not JSON: {error}").into())
}

/// Why a tombstone is refused.
pub(super) const NO_VALUE: &str = "a record without a value (a tombstone) is not an event; if it means something, give it a \
                                   type with `tombstone` in the settings of its topic";

/// The JSON object or array that a JSON string holds as text; any other value as it is.
pub(super) fn unwrapped(json: &RawValue) -> Cow<'_, RawValue> {
    let held = || {
        let text: String = serde_json::from_str(json.get()).ok()?;
        text.trim_start().starts_with(['{', '[']).then(|| RawValue::from_string(text).ok()).flatten()
    };
    let is_text = json.get().starts_with('"');
    is_text.then(held).flatten().map_or(Cow::Borrowed(json), Cow::Owned)
}
