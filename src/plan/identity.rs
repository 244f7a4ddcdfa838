//! How an event is recognised that a producer wrote twice.

use std::borrow::Cow;

use crate::decode::Events;
use crate::source::Record;
use crate::store::{LedgerEntry, Notice, NoticeKind};

/// Where the identity of an event is.
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

/// How an event compares with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DuplicateClass {
    /// No event with its id came before.
    New,
    /// The same event came before.
    Duplicate,
    /// An event with its id and another content came before.
    Conflict,
    /// It is new, and not the next of its key.
    Gap,
    /// It has no identity, so this can't be known.
    Unknown,
}

impl Identity {
    /// What the ledger keeps of the event; nothing when it has no identity.
    fn entry(&self, record: &Record, events: &Events<'_>) -> Option<LedgerEntry> {
        let content = record.value.as_deref().unwrap_or_default();
        match self {
            Identity::Body => Some(LedgerEntry::of_event(record.offset, combined_id(events)?.as_bytes(), content)),
            Identity::Header(name) => Some(LedgerEntry::of_event(record.offset, record.header(name)?, content)),
            Identity::Sequence(name) => {
                let number = std::str::from_utf8(record.header(name)?).ok()?.trim().parse().ok()?;
                Some(LedgerEntry::numbered(record.offset, record.key.as_deref()?, number))
            }
        }
    }

    /// The notice to operators that `count` events had no identity.
    pub fn notice(&self, count: u64) -> Notice {
        let (what, cure) = match self {
            Identity::Body => ("their `event_id` is empty".to_owned(), "set it"),
            Identity::Header(name) => (format!("their header `{name}` is missing or empty"), "set that header"),
            Identity::Sequence(name) => {
                (format!("they have no key, or no number in their header `{name}`"), "set key and header")
            }
        };
        Notice {
            kind: NoticeKind::EventsWithoutIdentity,
            subject: String::new(),
            text: format!("events without an identity are projected, and so are duplicates of them: {what}"),
            next: format!(
                "let the producer {cure}, or correct `duplicate_id`; this notice ends after a day without another such event"
            ),
            count,
        }
    }

    /// Compares the events in `record` with those before them, of which `last` gives the content, or number, of the last one
    /// of their id, or key. With what the ledger has to remember of them, where they are new. The events of one record are
    /// recognised as a whole.
    pub(crate) fn classify_duplicate(
        &self,
        record: &Record,
        events: &Events<'_>,
        last: impl FnOnce(&LedgerEntry) -> Option<u64>,
    ) -> (DuplicateClass, Option<LedgerEntry>) {
        if *self == Identity::Body && events.are_named_by_position() {
            return (DuplicateClass::New, None);
        }
        let Some(entry) = self.entry(record, events) else { return (DuplicateClass::Unknown, None) };
        let class = self.compare(last(&entry), &entry, record);
        let is_new = matches!(class, DuplicateClass::New | DuplicateClass::Gap);
        (class, is_new.then_some(entry))
    }

    fn compare(&self, last: Option<u64>, entry: &LedgerEntry, record: &Record) -> DuplicateClass {
        match (self, last) {
            (_, None) => DuplicateClass::New,
            (Identity::Body | Identity::Header(_), Some(last)) => {
                let is_same = entry.has_content(last, record.value.as_deref().unwrap_or_default());
                if is_same { DuplicateClass::Duplicate } else { DuplicateClass::Conflict }
            }
            (Identity::Sequence(_), Some(last)) if entry.content <= last => DuplicateClass::Duplicate,
            (Identity::Sequence(_), Some(last)) if entry.content == last + 1 => DuplicateClass::New,
            (Identity::Sequence(_), Some(_)) => DuplicateClass::Gap,
        }
    }
}

/// The id of the event, or of several together. `None` if there is none, or one has no id.
fn combined_id<'e>(events: &'e Events<'_>) -> Option<Cow<'e, str>> {
    if events.is_empty() || events.iter().any(|event| event.event_id.is_empty()) {
        return None;
    }
    match &**events {
        [event] => Some(Cow::Borrowed(&event.event_id)),
        events => Some(Cow::Owned(events.iter().map(|event| &*event.event_id).collect::<Vec<_>>().join("\n"))),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use readcast_core::{Envelope, TopicPartition};

    use super::*;

    const EVENT: &[u8] = br#"{"event_id":"e1","type":"T","timestamp":"2024-05-20T14:30:00Z","data":1}"#;

    fn record(key: Option<&'static [u8]>, headers: &[(&str, &'static [u8])]) -> Record {
        let header = |(name, value): &(&str, &'static [u8])| ((*name).to_owned(), Some(Bytes::from_static(value)));
        let headers = headers.iter().map(header).collect();
        Record {
            key: key.map(Bytes::from_static),
            value: Some(Bytes::from_static(EVENT)),
            headers,
            ..Record::default()
        }
    }

    #[test]
    fn an_empty_id_in_the_body_is_none() {
        const NAMELESS: &[u8] = br#"{"event_id":"","type":"T","timestamp":"2024-05-20T14:30:00Z","data":1}"#;
        let record = Record { value: Some(Bytes::from_static(NAMELESS)), ..record(None, &[]) };
        let event =
            Envelope::from_plain_json(TopicPartition::new("orders", 0).at(0), None, NAMELESS).expect("an event");
        assert_eq!(Identity::Body.entry(&record, &event.into()), None);
    }

    fn entry(identity: &Identity, record: &Record) -> Option<LedgerEntry> {
        let position = TopicPartition::new("orders", 0).at(record.offset);
        let event = Envelope::from_plain_json(position, record.key.as_deref(), EVENT).expect("an event");
        identity.entry(record, &event.into())
    }

    fn classified(identity: &Identity, last: Option<u64>, content: u64) -> DuplicateClass {
        identity.compare(last, &LedgerEntry::numbered(0, b"k", content), &record(None, &[]))
    }

    #[test]
    fn the_event_id_is_in_the_body_or_in_a_header() {
        let of = |id: &[u8]| Some(LedgerEntry::of_event(0, id, EVENT));
        let header = Identity::Header("id".into());
        assert_eq!(entry(&Identity::Body, &record(None, &[("id", b"h1")])), of(b"e1"));
        assert_eq!(entry(&header, &record(None, &[("other", b"x"), ("id", b"h1")])), of(b"h1"));
        assert_eq!(entry(&header, &record(None, &[])), None);
        assert_eq!(entry(&header, &record(None, &[("Id", b"h1"), ("id ", b"h1")])), None, "misspelt");
        assert_eq!(entry(&header, &record(None, &[("id", b"")])), None, "empty");
        assert_eq!(entry(&header, &record(None, &[("id", b"h1"), ("x", b"x"), ("id", b"h2")])), of(b"h2"), "doubled");
        assert_eq!(entry(&header, &record(None, &[("id", b"h1"), ("id", b"")])), None, "the last one counts");
        assert_eq!(classified(&header, None, 7), DuplicateClass::New);
        assert_eq!(classified(&header, Some(7), 7), DuplicateClass::Duplicate);
        assert_eq!(classified(&header, Some(8), 7), DuplicateClass::Conflict);
    }

    #[test]
    fn ids_that_are_positions_take_no_memory() {
        let record = record(None, &[]);
        let event = Envelope::from_plain_json(TopicPartition::new("orders", 0).at(0), None, EVENT).expect("an event");
        let classified = |events: Events<'_>| Identity::Body.classify_duplicate(&record, &events, |_| None);
        assert!(matches!(classified(event.clone().into()), (DuplicateClass::New, Some(_))));
        assert_eq!(classified(Events::from(event.clone()).named_by_position()), (DuplicateClass::New, None));
        let several = |ids: [&str; 2]| -> Events<'_> {
            ids.map(|id| Envelope { event_id: id.to_owned().into(), ..event.clone() }).into_iter().collect()
        };
        let id = |ids| classified(several(ids)).1.map(|entry| entry.id);
        assert!(id(["a", "b"]) != id(["a", "c"]) && id(["a", "b"]).is_some(), "a record is the events that it holds");
        assert_eq!(classified(several(["a", ""])), (DuplicateClass::Unknown, None));
    }

    #[test]
    fn events_numbered_by_key_are_in_order_repeated_or_with_a_gap() {
        let sequence = Identity::Sequence("n".into());
        let numbered = Some(LedgerEntry::numbered(0, b"k", 7));
        assert_eq!(entry(&sequence, &record(Some(b"k"), &[("n", b" 7 ")])), numbered);
        for unnumbered in [record(None, &[("n", b"7")]), record(Some(b"k"), &[]), record(Some(b"k"), &[("n", b"x")])] {
            assert_eq!(entry(&sequence, &unnumbered), None);
        }
        assert_eq!(classified(&sequence, None, 7), DuplicateClass::New);
        assert_eq!(classified(&sequence, Some(6), 7), DuplicateClass::New);
        assert_eq!(classified(&sequence, Some(7), 7), DuplicateClass::Duplicate);
        assert_eq!(classified(&sequence, Some(9), 7), DuplicateClass::Duplicate);
        assert_eq!(classified(&sequence, Some(5), 7), DuplicateClass::Gap);
    }
}
