//! Protobuf messages as values for serde.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat};
use prost_reflect::{DynamicMessage, EnumValueDescriptor, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};
use serde::de::value::{Error, MapDeserializer, SeqDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};

use crate::decimal::RAW_VALUE;

/// A value and its type. A value that is owned is the default of a field that is not set: a scalar, or empty.
pub(super) struct Item<'de> {
    value: Cow<'de, Value>,
    kind: Kind,
}

/// A message that is read in its form in JSON (<https://protobuf.dev/programming-guides/json/>), or as a number.
enum Known {
    /// A text or a number.
    Text(String),
    /// The content of this field in place of the message.
    Content(&'static str),
    /// The one field of several that is set.
    OneOf,
    /// A number for a decimal, a map of fields for anything else.
    Number(String),
    /// No such message.
    Other,
}

impl<'de> Item<'de> {
    pub(super) fn of_message(message: &'de DynamicMessage) -> Message<'de> {
        Message(message)
    }

    /// What has this number in the value's enum.
    fn named(&self, number: i32) -> Option<EnumValueDescriptor> {
        self.kind.as_enum()?.get_value(number)
    }

    fn message(&self) -> Option<&'de DynamicMessage> {
        match self.value {
            Cow::Borrowed(Value::Message(message)) => Some(message),
            _ => None,
        }
    }
}

/// A message as a map of its fields.
#[derive(Clone, Copy)]
pub(super) struct Message<'de>(&'de DynamicMessage);

impl<'de> Message<'de> {
    /// The fields that are set, and the defaults of those that can't be told from such.
    fn fields(self) -> impl Iterator<Item = (Name, Item<'de>)> {
        let fields: Vec<_> = self.0.descriptor().fields().collect();
        fields.into_iter().filter_map(move |field| {
            let is_there = self.0.has_field(&field) || !field.supports_presence();
            let item = || Item { value: self.0.get_field(&field), kind: field.kind() };
            is_there.then(item).map(|item| (Name(field), item))
        })
    }

    fn known(self) -> Known {
        let number = |name: &str| match self.0.get_field_by_name(name).as_deref() {
            Some(Value::I64(number)) => *number,
            Some(Value::I32(number)) => i64::from(*number),
            _ => 0,
        };
        match self.0.descriptor().full_name() {
            "google.protobuf.Timestamp" => {
                let nanos = u32::try_from(number("nanos")).unwrap_or_default();
                let time = DateTime::from_timestamp(number("seconds"), nanos);
                time.map_or(Known::Other, |time| Known::Text(time.to_rfc3339_opts(SecondsFormat::AutoSi, true)))
            }
            "google.protobuf.Duration" => Known::Text(duration(number("seconds"), number("nanos"))),
            "google.type.Money" => Known::Number(fraction(number("units"), number("nanos"))),
            "confluent.type.Decimal" => match self.0.get_field_by_name("value").as_deref() {
                Some(Value::Bytes(bytes)) => unscaled(bytes, number("scale")).map_or(Known::Other, Known::Number),
                _ => Known::Other,
            },
            "google.protobuf.Struct" => Known::Content("fields"),
            "google.protobuf.ListValue" => Known::Content("values"),
            "google.protobuf.Value" => Known::OneOf,
            "google.type.Decimal" => Known::Content("value"),
            name if name.starts_with("google.protobuf.") && name.ends_with("Value") => Known::Content("value"),
            _ => Known::Other,
        }
    }

    /// The field that stands for the whole message.
    fn content(self, name: &str) -> Option<Item<'de>> {
        self.fields().find(|(field, _)| field.0.name() == name).map(|(_, item)| item)
    }

    fn visit_fields<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(MapDeserializer::new(self.fields()))
    }
}

/// A whole number in two's complement, big-endian, as a decimal number with so many decimals. `None` if it has more than 16
/// bytes, or more decimals than a decimal has.
fn unscaled(bytes: &[u8], scale: i64) -> Option<String> {
    let negative = bytes.first().is_some_and(|first| *first >= 0x80);
    let mut number = [if negative { 0xff } else { 0 }; 16];
    let start = number.len().checked_sub(bytes.len())?;
    number[start..].copy_from_slice(bytes);
    let scale = u32::try_from(scale).ok()?;
    let number = rust_decimal::Decimal::try_from_i128_with_scale(i128::from_be_bytes(number), scale);
    number.ok().map(|number| number.to_string())
}

/// Units with billionths of them, as a decimal number without trailing zeros.
pub(super) fn fraction(units: i64, nanos: i64) -> String {
    nine_decimals(units, nanos).trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Seconds with 0, 3, 6 or 9 decimals.
fn duration(seconds: i64, nanos: i64) -> String {
    let text = nine_decimals(seconds, nanos);
    format!("{}s", text.trim_end_matches("000").trim_end_matches('.'))
}

fn nine_decimals(units: i64, nanos: i64) -> String {
    let sign = if units < 0 || nanos < 0 { "-" } else { "" };
    format!("{sign}{}.{:09}", units.unsigned_abs(), nanos.unsigned_abs())
}

impl<'de> Deserializer<'de> for Message<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.known() {
            Known::Text(text) => visitor.visit_string(text),
            Known::Content(name) => match self.content(name) {
                Some(content) => content.deserialize_any(visitor),
                None => visitor.visit_unit(),
            },
            Known::OneOf => match self.0.fields().next() {
                Some((field, value)) if field.name() != "null_value" => {
                    Item { value: Cow::Borrowed(value), kind: field.kind() }.deserialize_any(visitor)
                }
                _ => visitor.visit_unit(),
            },
            Known::Number(_) | Known::Other => self.visit_fields(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        match self.known() {
            // A decimal asks for the text of its value.
            Known::Number(text) if name == RAW_VALUE => {
                visitor.visit_newtype_struct(StringDeserializer::<Error>::new(text))
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.known() {
            Known::Content(_) | Known::OneOf => self.deserialize_any(visitor),
            _ => self.visit_fields(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let is_null = matches!(self.known(), Known::OneOf)
            && self.0.fields().next().is_none_or(|(field, _)| field.name() == "null_value");
        if is_null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}

impl<'de> Deserializer<'de> for Item<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &*self.value {
            Value::Bool(value) => return visitor.visit_bool(*value),
            Value::I32(number) => return visitor.visit_i32(*number),
            Value::I64(number) => return visitor.visit_i64(*number),
            Value::U32(number) => return visitor.visit_u32(*number),
            Value::U64(number) => return visitor.visit_u64(*number),
            Value::F32(number) => return visitor.visit_f32(*number),
            Value::F64(number) => return visitor.visit_f64(*number),
            Value::EnumNumber(number) => {
                return match self.named(*number) {
                    Some(named) => visitor.visit_str(named.name()),
                    None => visitor.visit_i32(*number),
                };
            }
            _ => {}
        }
        let Cow::Borrowed(value) = self.value else { return empty(&self.value, visitor) };
        match value {
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Bytes(bytes) => visitor.visit_string(STANDARD.encode(bytes)),
            Value::Message(message) => Message(message).deserialize_any(visitor),
            Value::List(items) => {
                let item = |value| Item { value: Cow::Borrowed(value), kind: self.kind.clone() };
                visitor.visit_seq(SeqDeserializer::new(items.iter().map(item)))
            }
            Value::Map(map) => {
                let kind = self.kind.as_message().map(|entry| entry.map_entry_value_field().kind());
                // In an order of their own, entries would come differently in every process.
                let mut entries: Vec<(&MapKey, &Value)> = map.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                let kind = kind.unwrap_or(Kind::Bool);
                let item = |(key, value)| (Key(key), Item { value: Cow::Borrowed(value), kind: kind.clone() });
                visitor.visit_map(MapDeserializer::new(entries.into_iter().map(item)))
            }
            _ => visitor.visit_unit(),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        match self.message() {
            Some(message) => Message(message).deserialize_newtype_struct(name, visitor),
            None => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.message() {
            Some(message) => Message(message).deserialize_struct(name, fields, visitor),
            None => self.deserialize_any(visitor),
        }
    }

    /// Bytes where they are asked for; elsewhere they are a text in base64, as in JSON.
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Cow::Borrowed(Value::Bytes(bytes)) => visitor.visit_borrowed_bytes(bytes),
            Cow::Owned(Value::Bytes(bytes)) => visitor.visit_bytes(&bytes),
            value => Self { value, ..self }.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.message() {
            Some(message) => Message(message).deserialize_option(visitor),
            None => visitor.visit_some(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &*self.value {
            Value::EnumNumber(number) => match self.named(*number) {
                Some(named) => visitor.visit_enum(named.name().to_owned().into_deserializer()),
                None => visitor.visit_i32(*number),
            },
            Value::String(text) => visitor.visit_enum(text.clone().into_deserializer()),
            _ => match self.message() {
                Some(message) => Message(message).deserialize_enum(name, variants, visitor),
                None => self.deserialize_any(visitor),
            },
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string unit unit_struct seq tuple tuple_struct map
        identifier ignored_any
    }
}

/// The default of a field that is not a number.
fn empty<'de, V: Visitor<'de>>(value: &Value, visitor: V) -> Result<V::Value, Error> {
    match value {
        Value::String(text) => visitor.visit_str(text),
        Value::Bytes(_) => visitor.visit_str(""),
        Value::List(_) => visitor.visit_seq(SeqDeserializer::<_, Error>::new(std::iter::empty::<u8>())),
        Value::Map(_) => visitor.visit_map(NoFields),
        _ => visitor.visit_unit(),
    }
}

struct NoFields;

impl<'de> MapAccess<'de> for NoFields {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, _: K) -> Result<Option<K::Value>, Error> {
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(().into_deserializer())
    }
}

/// The name of a field.
struct Name(FieldDescriptor);

impl<'de> Deserializer<'de> for Name {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.0.name())
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for Name {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The key of a map.
struct Key<'de>(&'de MapKey);

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            MapKey::Bool(value) => visitor.visit_bool(*value),
            MapKey::I32(number) => visitor.visit_i32(*number),
            MapKey::I64(number) => visitor.visit_i64(*number),
            MapKey::U32(number) => visitor.visit_u32(*number),
            MapKey::U64(number) => visitor.visit_u64(*number),
            MapKey::String(text) => visitor.visit_borrowed_str(text),
        }
    }

    /// The names of fields and keys that are read as texts.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            MapKey::Bool(value) => visitor.visit_string(value.to_string()),
            MapKey::I32(number) => visitor.visit_string(number.to_string()),
            MapKey::I64(number) => visitor.visit_string(number.to_string()),
            MapKey::U32(number) => visitor.visit_string(number.to_string()),
            MapKey::U64(number) => visitor.visit_string(number.to_string()),
            MapKey::String(text) => visitor.visit_borrowed_str(text),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf option unit unit_struct newtype_struct seq
        tuple tuple_struct map struct enum ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for Item<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> IntoDeserializer<'de, Error> for Key<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
