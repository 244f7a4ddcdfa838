//! Where the parts of an event stand in a record, and how an event is made from them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use async_trait::async_trait;
use readcast_core::{Envelope, Payload, Position, Timestamp, TraceContext};
use serde_json::value::RawValue;

use super::contract::Contract;
use super::keys::KeyReader;
use super::message::{Attributes, Body, Message, Reader, unwrapped};
#[cfg(feature = "_registry")]
use super::pointers::names;
use super::pointers::{Found, NotAText, Pointers, Slot};
use super::times;
use super::{DecodeError, Decoder, Events};
use crate::config::{Locator, TimeForm, TimeLocator, TopicOptions};
use crate::source::{Record, SourceError};

/// The places of the parts of an event in a format, which the configuration overrules.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) event_type: Option<Locator>,
    pub(super) event_id: Vec<Locator>,
    pub(super) timestamp: TimeLocator,
    pub(super) version: Option<Locator>,
    pub(super) correlation_id: Option<Locator>,
    /// The pointer to the data. `None` for the data that the format finds.
    pub(super) data: Option<String>,
    /// Whether the time at which the record was written is that of an event without one.
    pub(super) falls_back_to_record_time: bool,
    /// Whether a text that holds a JSON object or array is taken for that.
    pub(super) unwraps: bool,
}

/// Finds the messages of records with `reader`, and makes an event of each by `layout`.
pub(super) struct LocatedDecoder {
    pub(super) reader: Box<dyn Reader>,
    pub(super) key: KeyReader,
    pub(super) layout: Layout,
}

/// Makes events from messages.
pub(super) struct Layout {
    pointers: Pointers,
    event_type: Place,
    event_id: Vec<Place>,
    timestamp: Option<(Place, TimeForm)>,
    /// Whether the time at which the record was written is that of an event without one.
    falls_back_to_record_time: bool,
    version: Option<Place>,
    correlation_id: Option<Place>,
    data: Option<DataPlace>,
    unwraps: bool,
    tombstone: Option<String>,
    contract: Option<Contract>,
    types: BTreeMap<String, String>,
}

/// The place of the data in the body.
struct DataPlace {
    slot: Slot,
    /// The names that lead there.
    #[cfg(feature = "_registry")]
    path: std::sync::Arc<[String]>,
}

/// A place, with its slot if it is in the body.
struct Place {
    locator: Locator,
    slot: Option<Slot>,
}

impl Layout {
    /// The layout of a format with these places, as configured. `name` is the topic's, for errors.
    pub(super) fn new(
        name: &str,
        places: Places,
        options: &TopicOptions,
        types: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let mut pointers = Pointers::default();
        let mut place = |locator: &Locator| {
            let slot = if let Locator::Body(pointer) = locator { Some(pointers.add(pointer)) } else { None };
            Place { locator: locator.clone(), slot }
        };
        let event_type = options.event_type.as_ref().or(places.event_type.as_ref()).ok_or_else(|| {
            format!(
                "`topics.{name}.type` is required for the format `{}`: where does the type of an event stand? For example \
                 `header:NAME`, `body:/NAME`, `topic` or `const:TYPE`",
                options.format
            )
        })?;
        let event_id = options.event_id.as_ref().unwrap_or(&places.event_id);
        let timestamp = options.timestamp.as_ref().unwrap_or(&places.timestamp);
        // That of Avro is for its reader.
        let contract = options.schema.as_deref().filter(|_| options.format != "avro");
        let layout = Self {
            event_type: place(event_type),
            event_id: event_id.iter().map(&mut place).collect(),
            timestamp: timestamp.at.as_ref().map(|at| (place(at), timestamp.form)),
            falls_back_to_record_time: options.timestamp.is_none() && places.falls_back_to_record_time,
            version: options.version.as_ref().or(places.version.as_ref()).map(&mut place),
            correlation_id: options.correlation_id.as_ref().or(places.correlation_id.as_ref()).map(&mut place),
            data: options.data.as_ref().or(places.data.as_ref()).map(|pointer| DataPlace {
                slot: pointers.add(pointer),
                #[cfg(feature = "_registry")]
                path: names(pointer).collect(),
            }),
            unwraps: places.unwraps,
            tombstone: options.tombstone.clone(),
            contract: contract.map(|file| Contract::load(name, file)).transpose()?,
            types: types.clone(),
            pointers,
        };
        Ok(layout)
    }

    /// Whether the id of an event is the place of its record.
    fn names_by_position(&self) -> bool {
        matches!(self.event_id.as_slice(), [Place { locator: Locator::Position, .. }])
    }

    /// The event of a record without a value, if those have a type.
    fn of_tombstone<'r>(&'r self, at: At<'_, 'r>) -> Option<Result<Envelope<'r>, DecodeError>> {
        let event_type = self.tombstone.as_deref().filter(|_| at.record.value.is_none())?;
        let (attributes, found) = (Attributes::default(), None);
        let parts = Parts { at, attributes: &attributes, found };
        Some(self.event(&parts, Some(event_type), Payload::Empty))
    }

    fn of_message<'r>(&'r self, at: At<'_, 'r>, message: Message<'r>) -> Result<Envelope<'r>, DecodeError> {
        let Message { attributes, body, data } = message;
        match body {
            Body::None => {
                let parts = Parts { at, attributes: &attributes, found: None };
                self.event(&parts, None, data.unwrap_or(Payload::Empty))
            }
            Body::Json(Cow::Borrowed(body)) => self.of_json(at, &attributes, body, data),
            Body::Json(Cow::Owned(body)) if data.is_none() && self.pointers.is_empty() => {
                let parts = Parts { at, attributes: &attributes, found: None };
                let held = match self.payload(&body) {
                    Payload::Json(Cow::Owned(held)) => held,
                    _ => body,
                };
                self.event(&parts, None, Payload::Json(Cow::Owned(held)))
            }
            // The event must not borrow from a body that ends here.
            Body::Json(Cow::Owned(body)) => {
                let event = self.of_json(at, &attributes, &body, data)?;
                Ok(detached(event, at.record))
            }
            #[cfg(feature = "avro")]
            Body::Avro(avro) => {
                let is_sought = !self.pointers.is_empty();
                let found = is_sought.then(|| self.pointers.texts(|seed| avro.read(seed))).transpose()?;
                let avro = if let Some(data) = &self.data { avro.at(data.path.clone()) } else { avro };
                self.event(&Parts { at, attributes: &attributes, found }, None, Payload::Avro(avro))
            }
            #[cfg(feature = "protobuf")]
            Body::Protobuf(message) => {
                let is_sought = !self.pointers.is_empty();
                let found = is_sought.then(|| self.pointers.texts(|seed| message.read(seed))).transpose()?;
                let message = if let Some(data) = &self.data { message.at(data.path.clone()) } else { message };
                self.event(&Parts { at, attributes: &attributes, found }, None, Payload::Protobuf(message))
            }
        }
    }

    /// The event of a message with this body. The body may live shorter than the record.
    fn of_json<'j>(
        &'j self,
        at: At<'_, 'j>,
        attributes: &Attributes<'j>,
        body: &'j RawValue,
        data: Option<Payload<'j>>,
    ) -> Result<Envelope<'j>, DecodeError> {
        let found = self.pointers.find(body)?;
        let data = match (&self.data, data) {
            (Some(data), _) => {
                self.payload(found.json(data.slot).ok_or("the event has no data at the place of `data`")?)
            }
            (None, Some(data)) => data,
            (None, None) => self.payload(body),
        };
        self.event(&Parts { at, attributes, found: Some(found) }, None, data)
    }

    fn payload<'j>(&self, json: &'j RawValue) -> Payload<'j> {
        Payload::Json(if self.unwraps { unwrapped(json) } else { Cow::Borrowed(json) })
    }

    fn event<'j>(
        &'j self,
        parts: &Parts<'_, 'j>,
        event_type: Option<&'j str>,
        payload: Payload<'j>,
    ) -> Result<Envelope<'j>, DecodeError> {
        let At { position, record, .. } = parts.at;
        if let (Some(contract), Payload::Json(data)) = (&self.contract, &payload) {
            contract.check(data)?;
        }
        let event_type = match event_type {
            Some(event_type) => Cow::Borrowed(event_type),
            None => parts.text(&self.event_type)?.ok_or_else(|| missing("type", &self.event_type))?,
        };
        let event_type = match self.types.get(&*event_type) {
            Some(known) => Cow::Borrowed(known.as_str()),
            None => event_type,
        };
        let (id, timestamp) = (self.id(parts)?, self.time(parts)?);
        let event = Envelope::new(position.clone(), record.key.as_deref(), id, event_type, timestamp, payload);
        let version = self.version.as_ref().map(|place| version(place, parts)).transpose()?.flatten();
        let correlation_id = self.correlation_id.as_ref().map(|place| parts.text(place)).transpose()?.flatten();
        let trace = parts.attributes.get("traceparent").map(|traceparent| TraceContext {
            traceparent: traceparent.clone(),
            tracestate: parts.attributes.get("tracestate").cloned(),
        });
        let version = version.unwrap_or(event.version);
        let key_payload = parts.at.key.clone();
        Ok(Envelope { version, correlation_id, trace, key_payload, ..event }.with_headers(&record.headers))
    }

    /// The texts of all places, or nothing if one is missing: then a second copy can't be recognised. A tombstone whose id
    /// would be in its value is named by its position.
    fn id<'j>(&self, parts: &Parts<'_, 'j>) -> Result<Cow<'j, str>, DecodeError> {
        if parts.at.record.value.is_none() && self.event_id.iter().any(|place| place.slot.is_some()) {
            return Ok(Cow::Owned(parts.at.position.to_string()));
        }
        if let [place] = self.event_id.as_slice() {
            return Ok(parts.text(place)?.unwrap_or_default());
        }
        let mut id = String::new();
        for place in &self.event_id {
            let Some(text) = parts.text(place)? else { return Ok(Cow::default()) };
            // Escaped, so that different texts never make the same id.
            id.push_str(if id.is_empty() { "" } else { "|" });
            id.push_str(&text.replace('\\', r"\\").replace('|', r"\|"));
        }
        Ok(Cow::Owned(id))
    }

    fn time(&self, parts: &Parts<'_, '_>) -> Result<Timestamp, DecodeError> {
        if let Some((place, form)) = &self.timestamp {
            match parts.text(place)? {
                Some(text) => return times::parse(&text, *form).map_err(|error| at_place(place, error)),
                None if self.falls_back_to_record_time || parts.at.record.value.is_none() => {}
                None => return Err(missing("time", place)),
            }
        }
        let millis = parts.at.record.timestamp.ok_or(
            "the log has no time for the record: set `timestamp` of its topic to the place of the time in the event",
        )?;
        let micros = millis.checked_mul(1_000).and_then(Timestamp::from_micros);
        micros.ok_or_else(|| format!("the time of the record, {millis} ms, is out of range").into())
    }
}

#[async_trait]
impl Decoder for LocatedDecoder {
    async fn prepare(&self, records: &[Record]) -> Result<(), SourceError> {
        self.reader.prepare(records).await?;
        self.key.prepare(records).await
    }

    fn doubts(&self, record: &Record) -> Vec<String> {
        self.reader.doubts(record)
    }

    fn decode<'r>(&'r self, position: &Position, record: &'r Record) -> Result<Events<'r>, DecodeError> {
        let key = self.key.payload(record)?;
        let at = |place| At { position, record, place, key: &key };
        let events: Events<'r> = match self.layout.of_tombstone(at(0)) {
            Some(event) => event?.into(),
            None => {
                let messages = self.reader.messages(record)?.into_iter().enumerate();
                messages.map(|(place, message)| self.layout.of_message(at(place), message)).collect::<Result<_, _>>()?
            }
        };
        Ok(if self.layout.names_by_position() { events.named_by_position() } else { events })
    }
}

/// A message's place in the log.
#[derive(Clone, Copy)]
struct At<'p, 'r> {
    position: &'p Position,
    record: &'r Record,
    /// Which of the record's messages it is, from 0.
    place: usize,
    /// What the record's key says, where keys have a format.
    key: &'p Payload<'r>,
}

/// In what the parts of an event are looked up.
struct Parts<'p, 'j> {
    at: At<'p, 'j>,
    attributes: &'p Attributes<'j>,
    found: Option<Found<'j>>,
}

impl<'j> Parts<'_, 'j> {
    /// The text at a place, unless it is missing or empty.
    fn text(&self, place: &Place) -> Result<Option<Cow<'j, str>>, DecodeError> {
        let At { position, record, place: index, key } = self.at;
        let utf8 = |bytes: &'j [u8]| {
            std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| at_place(place, "it is not UTF-8"))
        };
        let text = match &place.locator {
            Locator::Header(name) => record.header(name).map(utf8).transpose()?,
            Locator::Key if !matches!(key, Payload::Empty) => {
                Some(Cow::Owned(scalar(key).map_err(|error| at_place(place, error))?))
            }
            Locator::Key => record.key.as_deref().map(utf8).transpose()?,
            Locator::Attribute(name) => self.attributes.get(name).cloned(),
            Locator::Topic => Some(Cow::Owned(position.topic.to_string())),
            Locator::Position if index == 0 => Some(Cow::Owned(position.to_string())),
            Locator::Position => Some(Cow::Owned(format!("{position}#{index}"))),
            Locator::Const(text) => Some(Cow::Owned(text.clone())),
            Locator::Body(_) => {
                let found = place.slot.zip(self.found.as_ref()).map(|(slot, found)| found.text(slot));
                found.transpose().map_err(|NotAText| at_place(place, "it is not a text or a number"))?.flatten()
            }
        };
        Ok(text.filter(|text| !text.is_empty()))
    }
}

fn version(place: &Place, parts: &Parts<'_, '_>) -> Result<Option<u32>, DecodeError> {
    let Some(text) = parts.text(place)? else { return Ok(None) };
    let number = text.trim().parse().map_err(|_| at_place(place, "the version is not a whole number"))?;
    Ok(Some(number))
}

fn missing(what: &str, place: &Place) -> DecodeError {
    format!("the event has no {what}: `{}` is missing or empty", place.locator).into()
}

fn at_place(place: &Place, problem: impl std::fmt::Display) -> DecodeError {
    format!("`{}`: {problem}", place.locator).into()
}

/// The text or the number that a key is.
fn scalar(key: &Payload<'_>) -> Result<String, String> {
    match key.deserialize() {
        Ok(serde_json::Value::String(text)) => Ok(text),
        Ok(serde_json::Value::Number(number)) => Ok(number.to_string()),
        Ok(_) => Err("the key is not a text or a number".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The event with texts and data of its own, but for what it has from the record.
fn detached<'r>(event: Envelope<'_>, record: &'r Record) -> Envelope<'r> {
    fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
        Cow::Owned(text.into_owned())
    }
    let (id, event_type) = (owned(event.event_id), owned(event.event_type));
    let detached = Envelope::new(
        event.position,
        record.key.as_deref(),
        id,
        event_type,
        event.timestamp,
        event.payload.into_owned(),
    );
    let correlation_id = event.correlation_id.map(owned);
    let trace = event.trace.map(|TraceContext { traceparent, tracestate }| TraceContext {
        traceparent: owned(traceparent),
        tracestate: tracestate.map(owned),
    });
    let key_payload = event.key_payload.into_owned();
    Envelope { version: event.version, correlation_id, trace, key_payload, ..detached }.with_headers(&record.headers)
}
