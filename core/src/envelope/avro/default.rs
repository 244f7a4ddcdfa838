//! Types by their names, and the defaults of fields, which schemas have as JSON.
//!
//! Source: the Avro specification, "Complex Types", "Records",
//! <https://avro.apache.org/docs/1.12.0/specification/#schema-record>.

use std::collections::HashMap;

use apache_avro::Schema;
use serde_json::Value;

use super::kind::Kind;
use super::resolution::put_long;

/// The types of a schema that have names, by their full names.
#[derive(Clone, Debug, Default)]
pub(super) struct Named<'s>(HashMap<String, &'s Schema>);

impl<'s> Named<'s> {
    pub(super) fn of(schemas: impl IntoIterator<Item = &'s Schema>) -> Self {
        let mut named = Self::default();
        schemas.into_iter().for_each(|schema| named.add(schema));
        named
    }

    fn add(&mut self, schema: &'s Schema) {
        if matches!(schema, Schema::Ref { .. }) {
            return;
        }
        if let Some(name) = schema.name() {
            self.0.insert(name.fullname(None), schema);
        }
        match Kind::of(schema) {
            Kind::Array(inner) | Kind::Map(inner) => self.add(inner),
            Kind::Union(variants) => variants.iter().for_each(|variant| self.add(variant)),
            Kind::Record(fields) => fields.iter().for_each(|field| self.add(&field.schema)),
            _ => {}
        }
    }

    /// The type itself where `schema` is only its name.
    pub(super) fn deref(&self, schema: &'s Schema) -> Result<&'s Schema, String> {
        match schema {
            Schema::Ref { name } => {
                let name = name.fullname(None);
                self.0.get(&name).copied().ok_or_else(|| format!("there is no type `{name}`"))
            }
            schema => Ok(schema),
        }
    }

    /// The default of a field of this type, encoded. `None` if it is no value of the type.
    pub(super) fn encode(&self, default: &Value, schema: &'s Schema) -> Option<Vec<u8>> {
        let mut output = Vec::new();
        self.put(default, schema, &mut output)?;
        Some(output)
    }

    fn put(&self, value: &Value, schema: &'s Schema, output: &mut Vec<u8>) -> Option<()> {
        let schema = self.deref(schema).ok()?;
        match Kind::of(schema) {
            Kind::Null => value.as_null()?,
            Kind::Boolean => output.push(u8::from(value.as_bool()?)),
            Kind::Int => put_long(i32::try_from(value.as_i64()?).ok()?.into(), output),
            Kind::Long => put_long(value.as_i64()?, output),
            Kind::Float => output.extend_from_slice(&(value.as_f64()? as f32).to_le_bytes()),
            Kind::Double => output.extend_from_slice(&value.as_f64()?.to_le_bytes()),
            Kind::String => put_counted(value.as_str()?.as_bytes(), output),
            Kind::Bytes => put_counted(&bytes(value)?, output),
            Kind::Fixed(size) => output.extend_from_slice(&Some(bytes(value)?).filter(|bytes| bytes.len() == size)?),
            Kind::Enum(symbols, _) => {
                let place = symbols.iter().position(|symbol| value.as_str() == Some(symbol))?;
                put_long(place as i64, output);
            }
            Kind::Array(item) => {
                let items = value.as_array()?;
                put_count(items.len(), output);
                items.iter().try_for_each(|value| self.put(value, item, output))?;
                put_long(0, output);
            }
            Kind::Map(inner) => {
                let entries = value.as_object()?;
                put_count(entries.len(), output);
                entries.iter().try_for_each(|(key, value)| {
                    put_counted(key.as_bytes(), output);
                    self.put(value, inner, output)
                })?;
                put_long(0, output);
            }
            Kind::Record(fields) => {
                let value = value.as_object()?;
                fields.iter().try_for_each(|field| {
                    let value = value.get(&field.name).or(field.default.as_ref())?;
                    self.put(value, &field.schema, output)
                })?;
            }
            // The first variant that takes it.
            Kind::Union(variants) => {
                let encoded = variants.iter().enumerate().find_map(|(place, variant)| {
                    let mut encoded = Vec::new();
                    put_long(place as i64, &mut encoded);
                    self.put(value, variant, &mut encoded).map(|()| encoded)
                });
                output.extend_from_slice(&encoded?);
            }
            Kind::Name => return None,
        }
        Some(())
    }
}

/// The bytes whose values are the code points of a text.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    value.as_str()?.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

fn put_counted(bytes: &[u8], output: &mut Vec<u8>) {
    put_long(bytes.len() as i64, output);
    output.extend_from_slice(bytes);
}

/// The head of a block. Behind it stands an empty one, the end. An empty array or map has only its end.
fn put_count(count: usize, output: &mut Vec<u8>) {
    if count > 0 {
        put_long(count as i64, output);
    }
}
