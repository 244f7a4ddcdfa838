//! The schema with which a program reads, whatever a value was written with.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use apache_avro::Schema;

use super::resolution::Resolution;
use super::{Avro, AvroSchema, DataError};

/// The schema that values are resolved to, by the rules of the Avro specification ("Schema Resolution"): fields are found by
/// their names and aliases, missing ones have their defaults, numbers become wider ones.
///
/// Stricter than the rules: two logical types that differ do not match, such as decimals of different scales, because their values
/// would mean something else. Of a reader's union the variant of the writer's own type is taken before one to which it could be
/// promoted.
#[derive(Debug)]
pub struct AvroReaderSchema {
    schema: AvroSchema,
    model: Schema,
    /// By the ids of the writers' schemas. Each is made once.
    resolutions: RwLock<HashMap<String, Arc<Result<Resolution, String>>>>,
}

impl AvroReaderSchema {
    /// Parses the JSON text of a schema. `id` is what errors call it.
    ///
    /// # Errors
    /// When it is not a schema.
    pub fn parse(id: impl Into<String>, text: &str) -> Result<Self, DataError> {
        let model = Schema::parse_str(text).map_err(DataError::new)?;
        Ok(Self { schema: AvroSchema::parse(id, text, &[])?, model, resolutions: RwLock::default() })
    }

    /// What was written as a value of this schema.
    ///
    /// # Errors
    /// When it is no value of the schema with which it was written, or this schema has no such value.
    pub fn resolve(&self, written: &Avro<'_>) -> Result<Avro<'static>, DataError> {
        let resolution = self.resolution(&written.schema);
        let rewritten =
            resolution.as_ref().as_ref().map_err(Clone::clone).and_then(|made| made.rewrite(&written.bytes));
        let bytes = rewritten.map_err(|reason| {
            let (writer, reader) = (&written.schema.0.id, &self.schema.0.id);
            DataError::new(format!("the value, written with the schema {writer}, can't be read as {reader}: {reason}"))
        })?;
        Ok(Avro::new(bytes, self.schema.clone()))
    }

    /// Which values of `writer`, or whether all of them, this schema has no place for: a sentence for each, none if it takes all.
    pub fn refusals(&self, writer: &AvroSchema) -> Vec<String> {
        match self.resolution(writer).as_ref() {
            Ok(resolution) => resolution.refusals().into_iter().map(str::to_owned).collect(),
            Err(reason) => vec![reason.clone()],
        }
    }

    fn resolution(&self, writer: &AvroSchema) -> Arc<Result<Resolution, String>> {
        let id = &writer.0.id;
        let known = self.resolutions.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        known.unwrap_or_else(|| {
            let made = Arc::new(self.resolution_of(writer));
            self.resolutions.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), made.clone());
            made
        })
    }

    fn resolution_of(&self, writer: &AvroSchema) -> Result<Resolution, String> {
        let parsed = Schema::parse_str_with_list(&writer.0.text, &writer.0.references);
        let (schema, mut schemas) = parsed.map_err(|error| error.to_string())?;
        schemas.push(schema);
        Resolution::new(&schemas, &self.model)
    }
}
