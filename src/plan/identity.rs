//! By what an event is known that a producer wrote twice.

use readcast_core::Envelope;

use crate::source::Record;
use crate::store::Entry;

/// Where the identity of an event stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// In its body: `event_id`.
    #[default]
    Body,
    /// In the header of this name.
    Header(String),
    /// In its key, and its number among the events of that key in the header of this name, in decimal.
    Sequence(String),
}

/// What an event is beside those that were there before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    New,
    /// It was there before.
    Duplicate,
    /// One with its id was there before, and had another content.
    Conflict,
    /// It is new, and not the next of its key.
    Gap,
}

impl Identity {
    /// What the ledger keeps of the event; nothing when it has no identity.
    pub(super) fn entry(&self, record: &Record, event: &Envelope) -> Option<Entry> {
        let content = record.value.as_deref().unwrap_or_default();
        match self {
            Identity::Body => Some(Entry::of_event(record.offset, event.event_id.as_bytes(), content)),
            Identity::Header(name) => Some(Entry::of_event(record.offset, header(record, name)?, content)),
            Identity::Sequence(name) => {
                let number = std::str::from_utf8(header(record, name)?).ok()?.trim().parse().ok()?;
                Some(Entry::numbered(record.offset, record.key.as_deref()?, number))
            }
        }
    }

    /// Judges an event with this `content`, or number, given the `last` one of its id, or key.
    pub(super) fn judge(&self, last: Option<u64>, content: u64) -> Judgement {
        match (self, last) {
            (_, None) => Judgement::New,
            (Identity::Body | Identity::Header(_), Some(last)) if last == content => Judgement::Duplicate,
            (Identity::Body | Identity::Header(_), Some(_)) => Judgement::Conflict,
            (Identity::Sequence(_), Some(last)) if content <= last => Judgement::Duplicate,
            (Identity::Sequence(_), Some(last)) if content == last + 1 => Judgement::New,
            (Identity::Sequence(_), Some(_)) => Judgement::Gap,
        }
    }
}

fn header<'a>(record: &'a Record, name: &str) -> Option<&'a [u8]> {
    record.headers.iter().find(|(other, _)| other == name).and_then(|(_, value)| value.as_deref())
}
