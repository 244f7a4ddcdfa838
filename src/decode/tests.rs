//! Records of each format, as configured in a file.

mod cloud_events;
#[cfg(feature = "json-schema")]
mod contract;
mod debezium;
mod json;
mod json_suite;
mod settings;

use bytes::Bytes;
use readcast_core::{Envelope, TopicPartition};

use super::*;
use crate::config::{Config, Environment, Overrides};

/// The decoders that `[topics.NAME]` sections configure.
fn configured(file: &str) -> Result<Decoders, String> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("readcast.toml");
    std::fs::write(&path, file).expect("a file");
    let overrides = Overrides { config: Some(path), ..Overrides::default() };
    let environment: Environment = [].into_iter().collect::<Vec<(&str, String)>>().into_iter().collect();
    let shorter =
        |error: &dyn std::fmt::Display| error.to_string().replace(&format!("{}/", directory.path().display()), "");
    let config = Config::load(&overrides, &environment, &[]).map_err(|error| shorter(&error))?;
    Formats::default().decoders(config.topics(), config.other_topics(), &config.registry)
}

/// A record at `accounts/0@7` that was written at 2024-05-20T14:30:00Z, with these headers.
fn record(value: &str, headers: &[(&str, &str)]) -> Record {
    let header = |(name, text): &(&str, &str)| ((*name).to_owned(), Some(Bytes::from((*text).to_owned())));
    Record {
        offset: 7,
        key: Some(Bytes::from_static(b"a1")),
        value: Some(Bytes::from(value.to_owned())),
        headers: headers.iter().map(header).collect(),
        timestamp: Some(1_716_215_400_000),
        remark: None,
    }
}

fn tombstone(headers: &[(&str, &str)]) -> Record {
    Record { value: None, ..record("", headers) }
}

/// The events of a record of the topic `accounts`, a line each: id, type, version, time, correlation id, data.
fn read(settings: &str, record: &Record) -> Result<Vec<String>, String> {
    let decoders = configured(&format!("[topics.accounts]\n{settings}"))?;
    let position = TopicPartition::new("accounts", 0).at(record.offset);
    let events = decode(decoders.of("accounts"), &position, record)?;
    Ok(events.iter().map(shown).collect())
}

fn shown(event: &Envelope<'_>) -> String {
    let Envelope { event_id, event_type, version, timestamp, payload: data, .. } = event;
    let time = timestamp.to_string().replace(".000000", "");
    format!("{event_id} {event_type} v{version} {time} {} {data}", event.correlation_id.as_deref().unwrap_or("-"))
}

/// The one event of a record.
fn one(settings: &str, record: &Record) -> String {
    let events = read(settings, record).unwrap_or_else(|error| panic!("{error}"));
    let [event] = events.as_slice() else { panic!("{events:?}") };
    event.clone()
}

fn refused(settings: &str, record: &Record) -> String {
    read(settings, record).expect_err("no event")
}

fn reason(decoder: &dyn Decoder, record: &Record) -> String {
    decode(decoder, &TopicPartition::new("orders", 0).at(0), record).map(drop).unwrap_err()
}

#[test]
fn an_error_includes_what_the_source_remarked_about_the_record() {
    let reason =
        |remark| reason(&EnvelopeDecoder, &Record { value: Some("neither".into()), remark, ..Record::default() });
    let plain = reason(None);
    assert_eq!(reason(Some("the line has no tab")), format!("{plain}; the line has no tab"));
}

#[test]
fn a_panic_of_a_decoder_is_an_error() {
    fn panics<'r>(_: &Position, _: &'r Record) -> Result<Envelope<'r>, DecodeError> {
        panic!("out of letters")
    }
    assert_eq!(reason(&panics, &Record::default()), "the decoder panicked: out of letters");
}
