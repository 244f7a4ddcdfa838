//! Which decoder reads which topic.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use readcast_core::{is_topic_pattern, topic_matches};

use super::cloud_events::CloudEventsReader;
use super::debezium::{ChangeReader, OutboxReader};
use super::json::JsonReader;
use super::keys::KeyReader;
use super::layout::{Layout, LocatedDecoder, Places};
use super::message::Reader;
use super::registry::Registry;
use super::{Decoder, EnvelopeDecoder};
use crate::config::{Locator, RegistryOptions, TimeForm, TimeLocator, Topic, TopicOptions};
use crate::source::{Record, SourceError};

/// The formats that readcast reads by itself.
const BUILT_IN: [&str; 8] =
    [ENVELOPE, "json", "cloudevents", "debezium", "debezium-outbox", "avro", "protobuf", "json-schema"];
/// The format of topics that have no `format` setting.
const ENVELOPE: &str = "envelope";

/// The decoders that a program adds, by the names that `format` in `[topics.NAME]` gives them.
#[derive(Clone, Default)]
pub struct Formats(BTreeMap<String, Arc<dyn Decoder>>);

impl Formats {
    /// # Panics
    /// When the name is there already.
    pub(crate) fn add(&mut self, name: &str, decoder: Arc<dyn Decoder>) {
        let earlier = self.0.insert(name.to_owned(), decoder);
        assert!(earlier.is_none() && !BUILT_IN.contains(&name), "the format `{name}` is registered twice");
    }

    /// Which decoder reads which topic, given the settings of topics by names or patterns, those of all others, and those of
    /// the schema registry.
    ///
    /// # Errors
    /// A sentence that names what is wrong with a setting.
    pub fn decoders<'t>(
        &self,
        topics: impl IntoIterator<Item = (&'t String, &'t Topic)>,
        other: &Topic,
        registry: &RegistryOptions,
    ) -> Result<Decoders, String> {
        let registry = Registry::new(registry)?;
        let decoder = |(name, topic): (&'t String, &Topic)| {
            let is_plain = topic.types.is_empty()
                && topic.options == TopicOptions { format: topic.options.format.clone(), ..other.options.clone() };
            Ok((name.clone(), self.decoder(name, topic, is_plain, &registry)?))
        };
        let mut decoders = topics.into_iter().map(decoder).collect::<Result<Vec<_>, String>>()?;
        // A name before a pattern, and of patterns the longest: that is the most exact one.
        decoders.sort_by_key(|(name, _)| (is_topic_pattern(name), std::cmp::Reverse(name.len())));
        Ok(Decoders { of_topics: decoders, registry })
    }

    /// The decoder of a topic. `is_plain` says that it has no setting beside its format.
    fn decoder(
        &self,
        name: &str,
        topic: &Topic,
        is_plain: bool,
        registry: &Registry,
    ) -> Result<Arc<dyn Decoder>, String> {
        let Topic { options, types } = topic;
        let format = options.format.as_str();
        if let Some(decoder) = self.0.get(format) {
            let message =
                || format!("`topics.{name}`: only `format` has an effect with the program's own format `{format}`");
            return is_plain.then(|| decoder.clone()).ok_or_else(message);
        }
        if format == ENVELOPE && is_plain {
            return Ok(Arc::new(EnvelopeDecoder));
        }
        let (places, reader) = match format {
            "avro" | "protobuf" | "json-schema" => {
                let reader = registry
                    .reader(options)
                    .map_err(|problem| format!("`topics.{name}.format` is `{format}`: {problem}"))?;
                Some((places_with_schema(format), reader))
            }
            _ => built_in(options),
        }
        .ok_or_else(|| {
            let known: Vec<&str> = BUILT_IN.into_iter().chain(self.0.keys().map(String::as_str)).collect();
            format!("`topics.{name}.format` is `{format}`, which is unknown; there are `{}`", known.join("`, `"))
        })?;
        check_places(name, options)?;
        let key = KeyReader::new(options.key, || registry.key_schemas());
        let key = key.map_err(|problem| format!("`topics.{name}.key`: {problem}"))?;
        Ok(Arc::new(LocatedDecoder { reader, key, layout: Layout::new(name, places, options, types)? }))
    }
}

/// Where the parts of an event stand in a format, and how its records are read.
fn built_in(options: &TopicOptions) -> Option<(Places, Box<dyn Reader>)> {
    let attribute = |name: &str| Locator::Attribute(name.to_owned());
    let header = |name: &str| Locator::Header(name.to_owned());
    let body = |pointer: &str| Locator::Body(pointer.to_owned());
    let time = |at, form| TimeLocator { at, form };
    let millis = TimeForm::Epoch { per_second: 1_000 };
    let unnamed = unnamed();
    let json = || Box::new(JsonReader::new(options.events.as_deref()));
    Some(match options.format.as_str() {
        ENVELOPE => {
            let places = Places {
                event_type: Some(body("/type")),
                event_id: vec![body("/event_id")],
                timestamp: time(Some(body("/timestamp")), TimeForm::Rfc3339),
                version: Some(body("/version")),
                correlation_id: Some(body("/correlation_id")),
                data: Some("/data".to_owned()),
                falls_back_to_record_time: false,
                unwraps: false,
            };
            (places, json())
        }
        "json" => (unnamed, json()),
        "cloudevents" => {
            let places = Places {
                event_type: Some(attribute("type")),
                // Ids are unique within their source.
                event_id: vec![attribute("source"), attribute("id")],
                timestamp: time(Some(attribute("time")), TimeForm::Rfc3339),
                correlation_id: Some(attribute("correlationid")),
                ..unnamed
            };
            (places, Box::new(CloudEventsReader))
        }
        "debezium" => {
            let places = Places {
                event_type: Some(attribute("type")),
                timestamp: time(Some(body("/source/ts_ms")), millis),
                ..unnamed
            };
            (places, Box::new(ChangeReader))
        }
        "debezium-outbox" => {
            let places = Places { event_type: Some(header("eventType")), event_id: vec![header("id")], ..unnamed };
            (places, Box::new(OutboxReader))
        }
        _ => return None,
    })
}

/// The places of a format that says nothing about an event.
fn unnamed() -> Places {
    Places {
        event_type: None,
        event_id: vec![Locator::Position],
        timestamp: TimeLocator { at: None, form: TimeForm::Rfc3339 },
        version: None,
        correlation_id: None,
        data: None,
        falls_back_to_record_time: true,
        unwraps: true,
    }
}

/// The places of a format with schemas. A value of Avro or Protobuf has a type with a name.
fn places_with_schema(format: &str) -> Places {
    let event_type = (format != "json-schema").then(|| Locator::Attribute("schema".to_owned()));
    Places { event_type, ..unnamed() }
}

/// Refuses places that records of the format do not have.
fn check_places(name: &str, options: &TopicOptions) -> Result<(), String> {
    let TopicOptions { format, event_type, event_id, timestamp, version, correlation_id, events, .. } = options;
    if events.is_some() && !["json", ENVELOPE].contains(&format.as_str()) {
        return Err(format!("`topics.{name}.events` has no effect with the format `{format}`"));
    }
    if options.schema.is_some() && format == "protobuf" {
        return Err(format!("`topics.{name}.schema` has no effect with the format `{format}`"));
    }
    let time = timestamp.as_ref().and_then(|time| time.at.as_ref());
    let places = [event_type.as_ref(), time, version.as_ref(), correlation_id.as_ref()];
    let mut places = places.into_iter().flatten().chain(event_id.iter().flatten());
    let attribute = places.find(|place| matches!(place, Locator::Attribute(_)));
    match attribute.filter(|_| !["cloudevents", "debezium", "avro", "protobuf"].contains(&format.as_str())) {
        Some(attribute) => Err(format!("`topics.{name}`: records of the format `{format}` have no `{attribute}`")),
        None => Ok(()),
    }
}

/// The decoder of each topic: the [`EnvelopeDecoder`] unless another one is configured.
#[derive(Clone, Default)]
pub struct Decoders {
    /// By names and patterns of topics, the most exact first.
    of_topics: Vec<(String, Arc<dyn Decoder>)>,
    registry: Registry,
}

impl Decoders {
    /// The decoder of a topic, by the name that projections use.
    pub fn of(&self, topic: &str) -> &dyn Decoder {
        let decoder = self.of_topics.iter().find(|(pattern, _)| topic_matches(pattern, topic));
        decoder.map_or(&EnvelopeDecoder, |(_, decoder)| &**decoder)
    }

    /// Fetches what decoding these records of a topic needs.
    ///
    /// # Errors
    /// When that can't be fetched now.
    pub async fn prepare(&self, topic: &str, records: &[Record]) -> Result<(), SourceError> {
        self.of(topic).prepare(records).await
    }

    /// Asks whether the schema registry answers, if one is configured.
    pub async fn check_registry(&self) -> Option<Result<String, String>> {
        self.registry.check().await
    }
}

impl fmt::Debug for Decoders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.of_topics.iter().map(|(pattern, _)| pattern)).finish()
    }
}
