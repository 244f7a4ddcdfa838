//! From a record's bytes to events: the trait of decoders, and which decoder reads which topic.

mod cloud_events;
mod contract;
mod debezium;
mod envelope;
mod events;
mod formats;
#[cfg(feature = "_registry")]
mod framed;
mod json;
mod keys;
mod layout;
mod message;
mod pointers;
mod prepared_source;
mod registry;
#[cfg(test)]
mod tests;
mod times;

use std::any::Any;
use std::error::Error;
use std::panic::AssertUnwindSafe;

use async_trait::async_trait;
use readcast_core::{Envelope, Position};

pub use self::envelope::EnvelopeDecoder;
pub use self::events::Events;
pub use self::formats::{Decoders, Formats};
pub(crate) use self::prepared_source::PreparedSource;
use crate::source::{Record, SourceError};

/// Reads the records of a topic as events.
///
/// A decoder is a pure function of the record: it does no I/O, reads no clock and keeps no state between records. Then a
/// rebuild reads the same events as the live run. What a decoder needs from elsewhere, and what never changes, it fetches in
/// [`prepare`](Self::prepare).
#[async_trait]
pub trait Decoder: Send + Sync {
    /// The events in `record`, which stands at `position`, in order. Nearly always that is one. The changes of all of them
    /// are applied, or the whole record is a dead letter.
    ///
    /// # Errors
    /// Why the record holds no events. The record is then a dead letter. The reason is stored and shown to operators, and
    /// is in no log.
    fn decode<'r>(&'r self, position: &Position, record: &'r Record) -> Result<Events<'r>, DecodeError>;

    /// What `record` tells of events that can't be read, such as values that its schema allows: a sentence for each. `readcast
    /// check` shows it.
    fn doubts(&self, _record: &Record) -> Vec<String> {
        Vec::new()
    }

    /// Fetches what decoding these records needs, such as their schemas. Called before they are decoded.
    ///
    /// # Errors
    /// When that can't be fetched now. The records wait, and the call is made again.
    async fn prepare(&self, _records: &[Record]) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Why a record is not an event. Any error and any text becomes one by `?` or `into()`.
pub type DecodeError = Box<dyn Error + Send + Sync>;

/// A function that reads the one event of a record is a decoder.
impl<F> Decoder for F
where
    F: for<'r> Fn(&Position, &'r Record) -> Result<Envelope<'r>, DecodeError> + Send + Sync,
{
    fn decode<'r>(&'r self, position: &Position, record: &'r Record) -> Result<Events<'r>, DecodeError> {
        self(position, record).map(Events::from)
    }
}

/// Decodes by `decoder`. A panic is an error like any other. An error ends with the source's remark about the record, where
/// there is one.
pub(crate) fn decode<'r>(
    decoder: &'r dyn Decoder,
    position: &Position,
    record: &'r Record,
) -> Result<Events<'r>, String> {
    // Nothing that a panic could leave half done outlives this call: a decoder keeps no state.
    let decoded = std::panic::catch_unwind(AssertUnwindSafe(|| decoder.decode(position, record)));
    let reason = match decoded {
        Ok(Ok(events)) => return Ok(events),
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
