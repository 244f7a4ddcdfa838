//! Records whose values stand behind the ids of their schemas, which a registry has.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use readcast_core::Payload;
use smallvec::smallvec;

use super::DecodeError;
use super::message::{Attributes, Body, Message, Messages, NO_VALUE, Reader, json_in_value};
use crate::config::TopicOptions;
use crate::registry::{Frame, OF_VALUE, Schema, SchemaId, SchemaRegistry, framed};
use crate::source::{Record, SourceError};

/// Reads the formats `avro`, `protobuf` and `json-schema`. The schema of each value says which it is.
pub(super) struct FramedReader {
    registry: Arc<SchemaRegistry>,
    /// The schema to which values of Avro are resolved. Without one, each is read as it was written.
    #[cfg(feature = "avro")]
    reader_schema: Option<readcast_core::AvroReaderSchema>,
}

impl FramedReader {
    /// # Errors
    /// When the topic has a schema for its reader that can't be used.
    pub(super) fn new(
        registry: Arc<SchemaRegistry>,
        #[cfg_attr(not(feature = "avro"), expect(unused_variables))] topic: &TopicOptions,
    ) -> Result<Self, String> {
        Ok(Self {
            registry,
            #[cfg(feature = "avro")]
            reader_schema: topic.schema.as_deref().filter(|_| topic.format == "avro").map(reader_schema).transpose()?,
        })
    }

    fn message<'r>(&self, frame: Frame<'r>) -> Result<Message<'r>, DecodeError> {
        match payload(&self.registry, frame)? {
            Payload::Json(json) => Ok(Message::of_json(json)),
            #[cfg(feature = "avro")]
            Payload::Avro(written) => {
                let avro = match &self.reader_schema {
                    Some(reader_schema) => reader_schema.resolve(&written)?,
                    None => written,
                };
                Ok(with_schema(avro.type_name().map(str::to_owned), Body::Avro(avro)))
            }
            #[cfg(feature = "protobuf")]
            Payload::Protobuf(message) => Ok(with_schema(Some(message.type_name()), Body::Protobuf(message))),
            other => Ok(Message { data: Some(other), ..Message::default() }),
        }
    }
}

/// The value or the key in the frame, as its schema says. The schema is fetched before.
pub(super) fn payload<'r>(registry: &SchemaRegistry, frame: Frame<'r>) -> Result<Payload<'r>, DecodeError> {
    Ok(match registry.schema(frame.id)? {
        Schema::Json => Payload::Json(Cow::Borrowed(json_in_value(frame.value())?)),
        #[cfg(feature = "avro")]
        Schema::Avro(schema) => Payload::Avro(readcast_core::Avro::new(frame.value(), schema)),
        #[cfg(feature = "protobuf")]
        Schema::Protobuf(schema) => {
            let (indexes, value) = frame.message()?;
            let message = readcast_core::Protobuf::new(value, &schema, &indexes);
            Payload::Protobuf(
                message.map_err(|error| format!("the value does not fit its schema, {}: {error}", frame.id))?,
            )
        }
    })
}

/// Fetches the schemas with these ids.
pub(super) async fn fetch(registry: &SchemaRegistry, mut ids: Vec<SchemaId>) -> Result<(), SourceError> {
    ids.sort_unstable();
    ids.dedup();
    let unavailable = |reason| SourceError::Unavailable { doing: "asking the schema registry".into(), reason };
    registry.fetch(ids).await.map_err(unavailable)
}

/// The schema in the file.
#[cfg(feature = "avro")]
fn reader_schema(file: &std::path::Path) -> Result<readcast_core::AvroReaderSchema, String> {
    let problem = |error: &dyn std::fmt::Display| format!("its `schema`, {}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| problem(&error))?;
    readcast_core::AvroReaderSchema::parse(file.display().to_string(), &text).map_err(|error| problem(&error))
}

#[async_trait]
impl Reader for FramedReader {
    fn messages<'r>(&self, record: &'r Record) -> Result<Messages<'r>, DecodeError> {
        let frame = framed(record.value.as_deref().ok_or(NO_VALUE)?, &record.headers, OF_VALUE)?;
        Ok(smallvec![self.message(frame)?])
    }

    #[cfg(feature = "avro")]
    fn doubts(&self, record: &Record) -> Vec<String> {
        let written = schema_id(record).and_then(|id| Some((id, self.registry.schema(id).ok()?)));
        match (&self.reader_schema, written) {
            (Some(reader_schema), Some((id, Schema::Avro(schema)))) => {
                reader_schema.refusals(&schema).iter().map(|refusal| format!("schema {id}: {refusal}")).collect()
            }
            _ => Vec::new(),
        }
    }

    async fn prepare(&self, records: &[Record]) -> Result<(), SourceError> {
        fetch(&self.registry, records.iter().filter_map(schema_id).collect()).await
    }
}

/// The id of the schema of a record's value, if it has one.
fn schema_id(record: &Record) -> Option<SchemaId> {
    Some(framed(record.value.as_deref()?, &record.headers, OF_VALUE).ok()?.id)
}

/// A message whose type has this name in its schema.
fn with_schema(name: Option<String>, body: Body<'_>) -> Message<'_> {
    let mut attributes = Attributes::default();
    if let Some(name) = name {
        attributes.push("schema", name);
    }
    Message { attributes, body, data: None }
}
