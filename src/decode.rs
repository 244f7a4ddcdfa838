//! From a record's bytes to an event: the trait of decoders, ours, and which decoder reads which topic.

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use readcast_core::{Envelope, Position};

use crate::source::Record;

/// Reads the records of a topic as events.
///
/// A decoder is a pure function of the record: it does no I/O, reads no clock and keeps no state between records. Then a
/// rebuild reads the same events as the live run.
pub trait Decoder: Send + Sync {
    /// The event in `record`, which stands at `position`.
    ///
    /// # Errors
    /// Why the record is not an event. The record is then a dead letter. The reason is stored and shown to operators, and
    /// is in no log.
    fn decode<'r>(&self, position: &Position, record: &'r Record) -> Result<Envelope<'r>, DecodeError>;
}

/// Why a record is not an event. Any error and any text becomes one by `?` or `into()`.
pub type DecodeError = Box<dyn Error + Send + Sync>;

/// Reads the format `envelope`: one JSON object with `event_id`, `type`, `timestamp` and `data`. See
/// [`Envelope::from_plain_json`].
#[derive(Clone, Copy, Debug, Default)]
pub struct EnvelopeDecoder;

impl Decoder for EnvelopeDecoder {
    fn decode<'r>(&self, position: &Position, record: &'r Record) -> Result<Envelope<'r>, DecodeError> {
        let value = record.value.as_ref().ok_or("a record without a value (a tombstone) is not an event")?;
        Ok(Envelope::from_plain_json(position.clone(), record.key.as_deref(), value)?)
    }
}

/// Decodes by `decoder`. A panic is an error like any other. An error ends with the source's remark about the record, where
/// there is one.
pub(crate) fn decode<'r>(
    decoder: &dyn Decoder,
    position: &Position,
    record: &'r Record,
) -> Result<Envelope<'r>, String> {
    // Nothing that a panic could leave half done outlives this call: a decoder keeps no state.
    let decoded = std::panic::catch_unwind(AssertUnwindSafe(|| decoder.decode(position, record)));
    let reason = match decoded {
        Ok(Ok(event)) => return Ok(event),
        Ok(Err(error)) => error.to_string(),
        Err(thrown) => format!("the decoder panicked: {}", words(&*thrown)),
    };
    Err(match record.remark {
        Some(remark) => format!("{reason}; {remark}"),
        None => reason,
    })
}

/// The message of a panic.
fn words(thrown: &(dyn Any + Send)) -> &str {
    let text = thrown.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| thrown.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// The decoders of a program, by the names that `format` in `[topics.NAME]` gives them.
#[derive(Clone)]
pub(crate) struct Formats(BTreeMap<String, Arc<dyn Decoder>>);

impl Default for Formats {
    fn default() -> Self {
        Self([(Self::DEFAULT.to_owned(), Arc::new(EnvelopeDecoder) as Arc<dyn Decoder>)].into())
    }
}

impl Formats {
    /// The format of topics that have no `format` setting.
    pub(crate) const DEFAULT: &'static str = "envelope";

    /// # Panics
    /// When the name is there already.
    pub(crate) fn add(&mut self, name: &str, decoder: Arc<dyn Decoder>) {
        let earlier = self.0.insert(name.to_owned(), decoder);
        assert!(earlier.is_none(), "the format `{name}` is registered twice");
    }

    /// Which decoder reads which topic, given topics and the names of their formats.
    ///
    /// # Errors
    /// A sentence that names the formats that there are, when one of the names is unknown.
    pub(crate) fn decoders<'t>(
        &self,
        formats: impl IntoIterator<Item = (&'t str, &'t str)>,
    ) -> Result<Decoders, String> {
        let mut decoders = Decoders::default();
        for (topic, name) in formats {
            let Some(decoder) = self.0.get(name) else {
                let known = self.0.keys().map(String::as_str).collect::<Vec<_>>().join("`, `");
                return Err(format!("`topics.{topic}.format` is `{name}`, which is unknown; there are `{known}`"));
            };
            decoders.0.insert(topic.to_owned(), decoder.clone());
        }
        Ok(decoders)
    }
}

/// The decoder of each topic: the [`EnvelopeDecoder`] unless another one is configured.
#[derive(Clone, Default)]
pub struct Decoders(BTreeMap<String, Arc<dyn Decoder>>);

impl Decoders {
    /// The decoder of a topic, by the name that projections use.
    pub fn of(&self, topic: &str) -> &dyn Decoder {
        self.0.get(topic).map_or(&EnvelopeDecoder, |decoder| &**decoder)
    }
}

impl fmt::Debug for Decoders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use readcast_core::TopicPartition;

    use super::*;

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
        struct Panics;
        impl Decoder for Panics {
            fn decode<'r>(&self, _: &Position, _: &'r Record) -> Result<Envelope<'r>, DecodeError> {
                panic!("out of letters")
            }
        }
        assert_eq!(reason(&Panics, &Record::default()), "the decoder panicked: out of letters");
    }

    #[test]
    fn an_unknown_format_is_refused_with_those_that_there_are() {
        let mut formats = Formats::default();
        formats.add("message", Arc::new(EnvelopeDecoder));
        let refused = formats.decoders([("loans", "avro")]).unwrap_err();
        assert_eq!(refused, "`topics.loans.format` is `avro`, which is unknown; there are `envelope`, `message`");
        assert!(formats.decoders([("loans", "message")]).is_ok());
    }
}
