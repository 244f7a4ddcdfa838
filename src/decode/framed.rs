//! Records whose values stand behind the ids of their schemas, which a registry has.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use smallvec::smallvec;

use super::DecodeError;
use super::message::{Attributes, Body, Message, Messages, NO_VALUE, Reader, json_in_value};
use crate::registry::{Frame, Schema, SchemaRegistry, framed};
use crate::source::{Record, SourceError};

/// Reads the formats `avro`, `protobuf` and `json-schema`. The schema of each value says which it is.
pub(super) struct FramedReader {
    pub(super) registry: Arc<SchemaRegistry>,
}

#[async_trait]
impl Reader for FramedReader {
    fn messages<'r>(&self, record: &'r Record) -> Result<Messages<'r>, DecodeError> {
        let frame = framed(record.value.as_deref().ok_or(NO_VALUE)?, &record.headers)?;
        Ok(smallvec![message(frame, self.registry.schema(frame.id)?)?])
    }

    async fn prepare(&self, records: &[Record]) -> Result<(), SourceError> {
        let id = |record: &Record| Some(framed(record.value.as_deref()?, &record.headers).ok()?.id);
        let mut ids: Vec<_> = records.iter().filter_map(id).collect();
        ids.sort_unstable();
        ids.dedup();
        let unavailable = |reason| SourceError::Unavailable { doing: "asking the schema registry".into(), reason };
        self.registry.fetch(ids).await.map_err(unavailable)
    }
}

fn message(frame: Frame<'_>, schema: Schema) -> Result<Message<'_>, DecodeError> {
    Ok(match schema {
        Schema::Json => Message::of_json(Cow::Borrowed(json_in_value(frame.value())?)),
        #[cfg(feature = "avro")]
        Schema::Avro(schema) => {
            let name = schema.name_of(frame.value()).map(str::to_owned);
            with_schema(name, Body::Avro(readcast_core::Avro::new(frame.value(), schema)))
        }
        #[cfg(feature = "protobuf")]
        Schema::Protobuf(schema) => {
            let (indexes, value) = frame.message()?;
            let message = readcast_core::Protobuf::new(value, &schema, &indexes);
            let message =
                message.map_err(|error| format!("the value does not fit its schema, {}: {error}", frame.id))?;
            with_schema(schema.name_of(&indexes), Body::Protobuf(message))
        }
    })
}

/// A message whose type has this name in its schema.
fn with_schema(name: Option<String>, body: Body<'_>) -> Message<'_> {
    let mut attributes = Attributes::default();
    if let Some(name) = name {
        attributes.push("schema", name);
    }
    Message { attributes, body, data: None }
}
