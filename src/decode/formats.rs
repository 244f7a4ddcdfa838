//! Which decoder reads which topic.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{Decoder, EnvelopeDecoder};

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
    use super::*;

    #[test]
    fn an_unknown_format_is_refused_with_those_that_there_are() {
        let mut formats = Formats::default();
        formats.add("message", Arc::new(EnvelopeDecoder));
        let refused = formats.decoders([("loans", "avro")]).unwrap_err();
        assert_eq!(refused, "`topics.loans.format` is `avro`, which is unknown; there are `envelope`, `message`");
        assert!(formats.decoders([("loans", "message")]).is_ok());
    }
}
