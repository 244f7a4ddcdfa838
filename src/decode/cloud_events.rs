//! CloudEvents 1.0 in Kafka records: the binary, the structured and the batched mode.
//!
//! Sources: the specification (<https://github.com/cloudevents/spec>, `cloudevents/spec.md`), its bindings
//! `kafka-protocol-binding.md` and `distributed-tracing.md`, and its JSON form `json-format.md`.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::smallvec;

use super::DecodeError;
use super::json::items;
use super::message::{Attributes, Body, Message, Messages, Reader, json_value};
use super::pointers::{json_in, scalar};
use crate::source::Record;

/// What precedes an attribute's name in the name of its header.
const PREFIX: &str = "ce_";
/// The attributes that every event has.
const REQUIRED: [&str; 3] = ["id", "source", "type"];

/// Reads the format `cloudevents`.
pub(super) struct CloudEventsReader;

impl Reader for CloudEventsReader {
    fn messages<'r>(&self, record: &'r Record) -> Result<Messages<'r>, DecodeError> {
        let content_type = record.header("content-type").and_then(|text| std::str::from_utf8(text).ok());
        let media_type = content_type.map(media_type).unwrap_or_default();
        match media_type.as_str() {
            "application/cloudevents-batch+json" => items(json_value(record)?)?.into_iter().map(structured).collect(),
            "application/cloudevents+json" | "application/cloudevents" => {
                Ok(smallvec![structured(json_value(record)?)?])
            }
            other if other.starts_with("application/cloudevents") => {
                Err(format!("CloudEvents in the form `{other}` are not read; their JSON form is").into())
            }
            _ if record.header("ce_specversion").is_some() => Ok(smallvec![binary(record, content_type)?]),
            // Some tools copy records without their headers.
            _ if record.value.is_some() => Ok(smallvec![structured(json_value(record)?)?]),
            _ => Err("neither the headers nor the value hold a CloudEvent".into()),
        }
    }
}

/// The attributes are in headers, the data is the value.
fn binary<'r>(record: &'r Record, content_type: Option<&str>) -> Result<Message<'r>, DecodeError> {
    let mut attributes = Attributes::default();
    for (name, value) in &record.headers {
        if let (Some(name), Some(value)) = (name.strip_prefix(PREFIX), value) {
            let text = std::str::from_utf8(value).map_err(|_| format!("the attribute `{name}` is not UTF-8"))?;
            attributes.push(name, text);
        }
    }
    checked(&attributes)?;
    let body = match record.value.as_deref() {
        Some(value) => Body::Json(data(Cow::Borrowed(value), content_type)?),
        None => Body::None,
    };
    Ok(Message { attributes, body, data: None })
}

/// Attributes and data are members of one JSON object.
fn structured(event: &RawValue) -> Result<Message<'_>, DecodeError> {
    let Members(members) =
        serde_json::from_str(event.get()).map_err(|error| format!("the value is not a CloudEvent: {error}"))?;
    let mut attributes = Attributes::default();
    for (name, value) in &members {
        if let Some(text) = scalar(value).filter(|_| name != "data" && name != "data_base64") {
            attributes.push(name.clone(), text);
        }
    }
    checked(&attributes)?;
    let member = |name: &str| members.iter().find(|(other, _)| other == name).map(|(_, value)| *value);
    let body = match (member("data"), member("data_base64")) {
        (Some(data), _) => Body::Json(Cow::Borrowed(data)),
        (None, Some(encoded)) => {
            let encoded: Cow<'_, str> = scalar(encoded).unwrap_or_default();
            let bytes = STANDARD.decode(&*encoded).map_err(|error| format!("`data_base64`: {error}"))?;
            let content_type = attributes.get("datacontenttype").map(|text| &**text);
            Body::Json(data(Cow::Owned(bytes), content_type)?)
        }
        (None, None) => Body::None,
    };
    Ok(Message { attributes, body, data: None })
}

/// Refuses what is no event of version 1.
fn checked(attributes: &Attributes<'_>) -> Result<(), DecodeError> {
    match attributes.get("specversion") {
        Some(version) if version.starts_with("1.") => {}
        Some(version) => return Err(format!("CloudEvents {version} are not read; version 1.0 is").into()),
        None => return Err("the value is not a CloudEvent: it has no `specversion`".into()),
    }
    match REQUIRED.iter().find(|name| attributes.get(name).is_none()) {
        Some(missing) => Err(format!("the CloudEvent has no attribute `{missing}`").into()),
        None => Ok(()),
    }
}

/// Data of this content type as JSON: that of JSON as it is, a text as a JSON string.
fn data<'r>(bytes: Cow<'r, [u8]>, content_type: Option<&str>) -> Result<Cow<'r, RawValue>, DecodeError> {
    let media_type = media_type(content_type.unwrap_or("application/json"));
    let is_json = media_type.ends_with("/json") || media_type.ends_with("+json");
    if !is_json && !media_type.starts_with("text/") {
        return Err(format!("data of the content type `{media_type}` is not read; JSON and text are").into());
    }
    if is_json {
        let wrong = |error| format!("the data is not JSON: {error}");
        return Ok(match bytes {
            Cow::Borrowed(bytes) => Cow::Borrowed(json_in(bytes).map_err(wrong)?),
            Cow::Owned(bytes) => Cow::Owned(json_in(&bytes).map_err(wrong)?.to_owned()),
        });
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "the data is not UTF-8")?;
    Ok(Cow::Owned(RawValue::from_string(serde_json::to_string(text)?)?))
}

/// `application/json` of `Application/JSON; charset=utf-8`.
fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The members of an object, in order.
struct Members<'r>(Vec<(Cow<'r, str>, &'r RawValue)>);

/// A text that is borrowed if it has no escapes.
#[derive(Deserialize)]
struct Name<'r>(#[serde(borrow)] Cow<'r, str>);

impl<'r> Deserialize<'r> for Members<'r> {
    fn deserialize<D: Deserializer<'r>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'r> Visitor<'r> for MembersVisitor {
            type Value = Members<'r>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'r>>(self, mut map: A) -> Result<Members<'r>, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}
