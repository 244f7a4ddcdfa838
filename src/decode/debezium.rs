//! The records of Debezium: changes of captured tables, and events that its outbox event router moves from a table.
//!
//! Sources: <https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-events> and
//! <https://debezium.io/documentation/reference/stable/transformations/outbox-event-router.html>.

use std::borrow::Cow;

use readcast_core::Payload;
use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::smallvec;

use super::DecodeError;
use super::message::{Attributes, Body, Message, Messages, Reader, json_value, unwrapped};
use crate::source::Record;

/// Reads the format `debezium-outbox`. The payload is JSON, or a text that holds JSON, alone or beside its Connect schema.
pub(super) struct OutboxReader;

/// Reads the format `debezium`: the changes of a captured table.
pub(super) struct ChangeReader;

/// A value beside its Connect schema, as the JSON converter writes it with `schemas.enable`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithSchema<'r> {
    #[serde(borrow, rename = "schema")]
    _schema: &'r RawValue,
    #[serde(borrow)]
    payload: &'r RawValue,
}

/// A change of a row.
#[derive(Deserialize)]
struct RowChange<'r> {
    #[serde(borrow)]
    op: Cow<'r, str>,
    #[serde(borrow)]
    before: Option<&'r RawValue>,
    #[serde(borrow)]
    after: Option<&'r RawValue>,
    source: Captured,
}

/// From where the change is: a table, or a collection of documents.
#[derive(Deserialize)]
struct Captured {
    #[serde(alias = "collection")]
    table: String,
}

impl Reader for OutboxReader {
    fn messages<'r>(&self, record: &'r Record) -> Result<Messages<'r>, DecodeError> {
        Ok(smallvec![Message::of_json(unwrapped(without_schema(json_value(record)?)))])
    }
}

impl Reader for ChangeReader {
    fn messages<'r>(&self, record: &'r Record) -> Result<Messages<'r>, DecodeError> {
        if record.value.is_none() {
            // Debezium writes a tombstone behind each deletion, for compaction.
            return Ok(smallvec![]);
        }
        let body = without_schema(json_value(record)?);
        let RowChange { op, before, after, source } =
            serde_json::from_str(body.get()).map_err(|error| format!("the value is not a change event: {error}"))?;
        let (what, row) = match &*op {
            "c" => ("created", after),
            "u" => ("updated", after),
            "d" => ("deleted", before),
            "r" => ("read", after),
            "t" => ("truncated", None),
            other => return Err(format!("the change event has the unknown `op` `{other}`").into()),
        };
        let mut attributes = Attributes::default();
        attributes.push("type", format!("{}.{what}", source.table));
        attributes.push("table", source.table);
        let row = row.map(|row| Payload::Json(unwrapped(row)));
        Ok(smallvec![Message {
            attributes,
            body: Body::Json(Cow::Borrowed(body)),
            data: Some(row.unwrap_or(Payload::Empty))
        }])
    }
}

/// The payload of a value beside its schema; any other value as it is.
fn without_schema(json: &RawValue) -> &RawValue {
    if !json.get().starts_with('{') {
        return json;
    }
    serde_json::from_str::<WithSchema<'_>>(json.get()).map_or(json, |WithSchema { payload, .. }| payload)
}
