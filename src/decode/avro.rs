//! Records whose values are Avro, with schemas from a registry.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use readcast_core::{Avro, Payload};
use smallvec::smallvec;

use super::DecodeError;
use super::message::{Attributes, Body, Message, Messages, NO_VALUE, Reader, json_in_value};
use crate::registry::{Schema, SchemaRegistry, framed};
use crate::source::{Record, SourceError};

/// Reads the formats `avro` and `json-schema`: a value behind the id of its schema.
pub(super) struct RegistryReader {
    pub(super) registry: Arc<SchemaRegistry>,
}

#[async_trait]
impl Reader for RegistryReader {
    fn messages<'r>(&self, record: &'r Record) -> Result<Messages<'r>, DecodeError> {
        let (id, data) = framed(record.value.as_deref().ok_or(NO_VALUE)?, &record.headers)?;
        Ok(smallvec![match self.registry.schema(id)? {
            Schema::Json => Message::of_json(Cow::Borrowed(json_in_value(data)?)),
            Schema::Avro(schema) => {
                let mut attributes = Attributes::default();
                if let Some(name) = schema.name_of(data) {
                    attributes.push("schema", name.to_owned());
                }
                let avro = Avro::new(data, schema)
                    .map_err(|error| format!("the value does not fit its schema, {id}: {error}"))?;
                Message { attributes, body: Body::Avro(avro), data: None::<Payload<'r>> }
            }
        }])
    }

    async fn prepare(&self, records: &[Record]) -> Result<(), SourceError> {
        let id = |record: &Record| Some(framed(record.value.as_deref()?, &record.headers).ok()?.0);
        let mut ids: Vec<_> = records.iter().filter_map(id).collect();
        ids.sort_unstable();
        ids.dedup();
        let unavailable = |reason| SourceError::Unavailable { doing: "asking the schema registry".into(), reason };
        self.registry.fetch(ids).await.map_err(unavailable)
    }
}
