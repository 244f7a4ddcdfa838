//! Records whose values are JSON.

use std::borrow::Cow;

use serde_json::value::RawValue;
use smallvec::smallvec;

use super::DecodeError;
use super::message::{Message, Messages, Reader, json_value};
use super::pointers::{Pointers, Slot};
use crate::source::Record;

/// Reads the format `json`: each value is an event, or holds an array of them.
pub(super) struct JsonReader {
    events: Option<(Pointers, Slot)>,
}

impl JsonReader {
    /// `events` is the pointer to the array of events, if a record holds several.
    pub(super) fn new(events: Option<&str>) -> Self {
        let located = |pointer| {
            let mut pointers = Pointers::default();
            let slot = pointers.add(pointer);
            (pointers, slot)
        };
        Self { events: events.map(located) }
    }
}

impl Reader for JsonReader {
    fn messages<'r>(&self, record: &'r Record) -> Result<Messages<'r>, DecodeError> {
        let json = json_value(record)?;
        let Some((pointers, slot)) = &self.events else { return Ok(smallvec![Message::of_json(Cow::Borrowed(json))]) };
        let events = pointers.find(json)?.json(*slot).ok_or("the record has nothing at the place of `events`")?;
        Ok(items(events)?.into_iter().map(Cow::Borrowed).map(Message::of_json).collect())
    }
}

/// The items of an array.
pub(super) fn items(json: &RawValue) -> Result<Vec<&RawValue>, DecodeError> {
    serde_json::from_str(json.get()).map_err(|error| format!("no array of events: {error}").into())
}
