//! Dead letters: records that could not be projected, and those behind them of the same key, which wait for them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use bytes::Bytes;
use readcast_core::{ChangeSet, Timestamp, TopicPartition};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Commit, DuplicateWindow, Generation};
use crate::source::{Header, Record};

/// Why a record is poison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoisonClass {
    /// It is no event in the form that was expected.
    Undecodable,
    /// The projection refused it, or its tables can't take what the projection made of it.
    Unprojectable,
    /// The projection panicked over it.
    Panicked,
    /// The projection did not come to an end over it.
    Exhausted,
    /// The database refused the rows that it makes.
    Unstorable,
    /// It is larger than the projection takes.
    Oversized,
    /// An event with its id, and another content, was there before.
    ConflictingDuplicate,
    /// Its changes can't be repeated over the copy that the generation began as.
    Unrepeatable,
}

impl PoisonClass {
    /// Every class, with its name as it stands in the database and as operators type it.
    pub const NAMES: [(PoisonClass, &'static str); 8] = [
        (PoisonClass::Undecodable, "undecodable"),
        (PoisonClass::Unprojectable, "unprojectable"),
        (PoisonClass::Panicked, "panicked"),
        (PoisonClass::Exhausted, "exhausted"),
        (PoisonClass::Unstorable, "unstorable"),
        (PoisonClass::Oversized, "oversized"),
        (PoisonClass::ConflictingDuplicate, "conflicting_duplicate"),
        (PoisonClass::Unrepeatable, "unrepeatable"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(class, _)| *class == self).map_or("", |(_, name)| name)
    }

    /// The class with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, other)| *other == name).map(|(class, _)| *class)
    }
}

impl fmt::Display for PoisonClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoisonCause {
    /// Of which kind it is.
    pub class: PoisonClass,
    /// In words, which may hold something of the record: for operators' eyes, and for no log.
    pub reason: String,
}

impl PoisonCause {
    /// A cause of this class.
    pub fn new(class: PoisonClass, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into() }
    }
}

/// What the records of one key have in common within their partition: a digest of the key, for keys may be as large as
/// records. A record without a key is a sequence of its own.
///
/// Kafka orders the records of a key within a partition and nowhere else, so a sequence does not reach beyond it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(String);

impl SequenceId {
    /// The sequence to which `record` belongs.
    pub fn of(record: &Record) -> Self {
        match &record.key {
            Some(key) => {
                let digest = Sha256::digest(key);
                Self(digest.iter().take(16).fold(String::with_capacity(32), |mut hex, byte| {
                    let _ = write!(hex, "{byte:02x}");
                    hex
                }))
            }
            None => Self(format!("@{}", record.offset)),
        }
    }

    /// As it stands in the database.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn recorded(text: String) -> Self {
        Self(text)
    }
}

/// A record that is parked instead of projected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it stood, with its offset in the record.
    pub partition: TopicPartition,
    /// The record, byte for byte.
    pub record: Record,
    /// The records that it waits with.
    pub sequence: SequenceId,
    /// What is wrong with it; nothing when it only waits for an earlier record of its key.
    pub cause: Option<PoisonCause>,
}

/// How much may be parked. What goes beyond it halts the projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkingLimits {
    /// Records of all keys together, in one generation; with 0, nothing is ever parked.
    pub records: u64,
    /// Records of one key.
    pub of_one_key: u64,
}

impl ParkingLimits {
    /// Which limit these counts go beyond, in words.
    pub(super) fn exceeded(&self, records: u64, of_one_key: u64) -> Option<String> {
        if records > self.records {
            return Some(format!("`max_parked` is {}", self.records));
        }
        (of_one_key > self.of_one_key).then(|| format!("`max_parked_per_key` is {}", self.of_one_key))
    }
}

impl Default for ParkingLimits {
    fn default() -> Self {
        Self { records: 10_000, of_one_key: 1_000 }
    }
}

/// What an operator decided about one record, for this and every later generation of a projection: without it a rebuild
/// would come to other rows than the operator did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amendment {
    /// It is projected with another value.
    Replace(Bytes),
    /// It is projected although its id was there before.
    Accept,
    /// It is left out.
    Discard,
}

impl Amendment {
    pub(super) fn action(&self) -> &'static str {
        match self {
            Amendment::Replace(_) => "replace",
            Amendment::Accept => "accept",
            Amendment::Discard => "discard",
        }
    }

    pub(super) fn value(&self) -> Option<&Bytes> {
        if let Amendment::Replace(value) = self { Some(value) } else { None }
    }

    pub(super) fn recorded(action: &str, value: Option<Vec<u8>>) -> Option<Self> {
        match action {
            "replace" => value.map(|value| Amendment::Replace(value.into())),
            "accept" => Some(Amendment::Accept),
            "discard" => Some(Amendment::Discard),
            _ => None,
        }
    }
}

/// What was decided earlier about the records of one partition, and is needed to decide about the next ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartitionState {
    /// Raised whenever somebody but the owner of the partition changes any of this: a commit that was planned with an
    /// earlier one is refused.
    pub parking_epoch: i64,
    /// The sequences that are parked: what comes next of them is parked behind them.
    pub parked: BTreeSet<SequenceId>,
    /// What operators decided, by offset.
    pub amendments: BTreeMap<i64, Amendment>,
    /// The ids of the last records.
    pub window: DuplicateWindow,
}

impl PartitionState {
    /// Takes note of what a commit has decided about the partition.
    pub(crate) fn record(&mut self, partition: &TopicPartition, commit: &Commit) {
        let letters = commit.dead_letters.iter().filter(|letter| letter.partition == *partition);
        self.parked.extend(letters.map(|letter| letter.sequence.clone()));
        let pages = commit.ledger.iter().filter(|page| page.partition == *partition);
        pages.flat_map(|page| &page.entries).for_each(|entry| self.window.add(*entry));
    }
}

/// The records of one sequence, waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedSequence {
    /// In which partition.
    pub partition: TopicPartition,
    /// Which sequence.
    pub id: SequenceId,
    /// The key of its records.
    pub key: Option<Bytes>,
    /// The offset of the first of them.
    pub first_offset: i64,
    /// What was wrong with the first; nothing while a retry is under way, or was cut short.
    pub cause: Option<PoisonCause>,
    /// How often the first was tried again.
    pub attempts: u32,
    /// When the first was parked, in RFC 3339.
    pub since: String,
    /// How many records wait, the first included.
    pub records: u64,
    /// What they take, in bytes.
    pub bytes: u64,
}

/// A parked record as it stands in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedRecord {
    /// The record, and what is wrong with it.
    pub letter: DeadLetter,
    /// How often it was tried again.
    pub attempts: u32,
    /// When it was parked, in RFC 3339.
    pub parked_at: String,
}

/// The next records of a sequence, in the order of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitingRecords {
    /// See [`PartitionState::parking_epoch`]: settled is what was read under it.
    pub parking_epoch: i64,
    /// The records.
    pub records: Vec<ParkedRecord>,
}

/// What becomes of the first records of a parked sequence, in one transaction.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The sequence's partition.
    pub partition: TopicPartition,
    /// The epoch under which the records were read.
    pub parking_epoch: i64,
    /// The offsets of the records that wait no longer.
    pub settled: Vec<i64>,
    /// What they change in the tables; nothing when they are discarded.
    pub changes: ChangeSet,
    /// The record behind them that could not be projected this time either, by its offset.
    pub failed: Option<(i64, PoisonCause)>,
    /// What is to be remembered for later generations, by offset.
    pub amendments: Vec<(i64, Amendment)>,
    /// Who asked for it.
    pub by: String,
}

/// How much is parked in a generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ParkedCounts {
    /// How many sequences.
    pub keys: u64,
    /// How many records.
    pub records: u64,
    /// How many of them are to be copied to a topic of dead letters now.
    pub uncopied: u64,
    /// How many of them could not be copied there although others could.
    pub uncopyable: u64,
    /// When the oldest was parked, in RFC 3339.
    pub oldest: Option<String>,
}

/// Which parked sequences an operator means: those that fit all of what is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// The record key, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The position of the sequence's first record, as `topic/partition@offset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// What is wrong with the first record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<PoisonClass>,
    /// Parked at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Parked before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Selection {
    /// Whether `sequence` is meant.
    pub fn matches(&self, sequence: &ParkedSequence) -> bool {
        let key = |key: &String| sequence.key.as_deref() == Some(key.as_bytes());
        let first = |first: &String| *first == sequence.partition.at(sequence.first_offset).to_string();
        let class = |class: &PoisonClass| sequence.cause.as_ref().is_some_and(|cause| cause.class == *class);
        // The stores write it with a second's digits or without them, so texts do not compare.
        let parked: Option<Timestamp> = sequence.since.parse().ok();
        self.key.as_ref().is_none_or(key)
            && self.first.as_ref().is_none_or(first)
            && self.class.as_ref().is_none_or(class)
            && self.since.is_none_or(|since| parked.is_some_and(|parked| parked >= since))
            && self.until.is_none_or(|until| parked.is_some_and(|parked| parked < until))
    }
}

/// Where parked sequences are looked for.
#[derive(Clone, Copy, Debug)]
pub struct ParkedIn<'a> {
    /// The projection's name.
    pub projection: &'a str,
    /// Which generation.
    pub generation: Generation,
}

/// Headers as they stand in the database: each name and each value behind its length in four bytes, the most
/// significant first; a value that is missing has the length -1. Nothing when there are none.
pub(super) fn headers_to_bytes(headers: &[Header]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut put = |part: Option<&[u8]>| {
        let length = part.map_or(-1, |part| i32::try_from(part.len()).unwrap_or(i32::MAX));
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(part.unwrap_or_default());
    };
    for (name, value) in headers {
        put(Some(name.as_bytes()));
        put(value.as_deref());
    }
    (!headers.is_empty()).then_some(bytes)
}

/// The headers that [`headers_to_bytes`] wrote.
pub(super) fn headers_from_bytes(mut bytes: &[u8]) -> Vec<Header> {
    let mut take = || {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        let (part, rest) = rest.split_at_checked(usize::try_from(length).unwrap_or(0))?;
        bytes = rest;
        Some((length >= 0).then(|| Bytes::copy_from_slice(part)))
    };
    let mut headers = Vec::new();
    while let (Some(Some(name)), Some(value)) = (take(), take()) {
        headers.push((String::from_utf8_lossy(&name).into_owned(), value));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_they_were_written() {
        let header = |name: &str, value: Option<&'static [u8]>| (name.to_owned(), value.map(Bytes::from_static));
        let headers = vec![header("a", Some(b"\0\xff")), header("a", None), header("", Some(b""))];
        assert_eq!(headers_from_bytes(&headers_to_bytes(&headers).expect("some")), headers);
        assert_eq!(headers_to_bytes(&[]), None);
        assert_eq!(headers_from_bytes(&[]), []);
    }

    #[test]
    fn a_selection_compares_times_however_a_store_writes_them() {
        let parked = |since: &str| ParkedSequence {
            partition: TopicPartition::new("orders", 0),
            id: SequenceId::of(&Record::default()),
            key: None,
            first_offset: 0,
            cause: None,
            attempts: 0,
            since: since.into(),
            records: 1,
            bytes: 0,
        };
        let noon: Option<Timestamp> = "2026-01-01T13:00:00+01:00".parse().ok();
        let since = Selection { since: noon, ..Selection::default() };
        let until = Selection { until: noon, ..Selection::default() };
        let at = |text: &str| (since.matches(&parked(text)), until.matches(&parked(text)));
        for text in ["2026-01-01T12:00:00Z", "2026-01-01T12:00:00.000Z", "2026-01-01T12:00:00.001Z"] {
            assert_eq!(at(text), (true, false), "{text}");
        }
        for text in ["2026-01-01T11:59:59Z", "2026-01-01T11:59:59.999Z"] {
            assert_eq!(at(text), (false, true), "{text}");
        }
        assert_eq!(at("what is no time is never meant"), (false, false));
        assert!(Selection::default().matches(&parked("")));
    }

    #[test]
    fn headers_that_were_cut_off_are_read_as_far_as_they_go() {
        let headers =
            [("a".to_owned(), Some(Bytes::from_static(b"1"))), ("b".to_owned(), Some(Bytes::from_static(b"2")))];
        let bytes = headers_to_bytes(&headers).expect("some");
        for length in 0..bytes.len() {
            assert_eq!(headers_from_bytes(&bytes[..length]), headers[..length / 10], "{length} bytes");
        }
    }

    #[test]
    fn classes_are_found_by_their_names() {
        for (class, name) in PoisonClass::NAMES {
            assert_eq!((PoisonClass::named(name), class.to_string().as_str()), (Some(class), name));
            assert_eq!(serde_json::to_value(class).expect("a name"), name);
        }
        assert_eq!(PoisonClass::named("harmless"), None);
    }

    #[test]
    fn amendments_are_read_as_they_were_recorded() {
        for amendment in [Amendment::Replace(Bytes::from_static(b"\0")), Amendment::Accept, Amendment::Discard] {
            let value = amendment.value().map(|value| value.to_vec());
            assert_eq!(Amendment::recorded(amendment.action(), value), Some(amendment));
        }
        assert_eq!(Amendment::recorded("replace", None), None);
        assert_eq!(Amendment::recorded("forget", None), None);
    }

    #[test]
    fn what_is_at_a_limit_does_not_exceed_it() {
        let limits = ParkingLimits { records: 5, of_one_key: 2 };
        assert_eq!(limits.exceeded(5, 2), None);
        assert!(limits.exceeded(6, 2).is_some_and(|limit| limit.contains("`max_parked` is 5")));
        assert!(limits.exceeded(5, 3).is_some_and(|limit| limit.contains("`max_parked_per_key` is 2")));
        assert_eq!(ParkingLimits { records: 0, of_one_key: 0 }.exceeded(0, 0), None);
    }

    fn sequence() -> ParkedSequence {
        ParkedSequence {
            partition: TopicPartition::new("orders", 3),
            id: SequenceId::recorded("digest".into()),
            key: Some(Bytes::from_static(b"ord_1")),
            first_offset: 41,
            cause: Some(PoisonCause::new(PoisonClass::Undecodable, "no JSON")),
            attempts: 0,
            since: "2024-05-20T14:30:00.000Z".into(),
            records: 1,
            bytes: 9,
        }
    }

    #[test]
    fn a_selection_means_the_sequences_that_fit_all_of_it() {
        let text = |text: &str| Some(text.to_owned());
        let time = |text: &str| text.parse().ok();
        let any = Selection::default;
        let all = Selection {
            key: text("ord_1"),
            first: text("orders/3@41"),
            class: Some(PoisonClass::Undecodable),
            since: time("2024-05-20T14:30:00.000Z"),
            until: time("2024-05-20T14:30:00.001Z"),
        };
        assert!(any().matches(&sequence()) && all.matches(&sequence()));
        for other in [
            Selection { key: text("ord_10"), ..all.clone() },
            Selection { key: text(""), ..all.clone() },
            Selection { first: text("orders/3@42"), ..all.clone() },
            Selection { first: text("orders/4@41"), ..all.clone() },
            Selection { class: Some(PoisonClass::Unprojectable), ..all.clone() },
            Selection { since: time("2024-05-20T14:30:00.001Z"), ..all.clone() },
            Selection { until: time("2024-05-20T14:30:00.000Z"), ..all.clone() },
        ] {
            assert!(!other.matches(&sequence()), "{other:?}");
        }
        // What has no key, or no cause that is known, is meant by neither.
        let bare = ParkedSequence { key: None, cause: None, ..sequence() };
        assert!(any().matches(&bare));
        assert!(!Selection { key: text(""), ..any() }.matches(&bare));
        assert!(!Selection { class: Some(PoisonClass::Undecodable), ..any() }.matches(&bare));
    }

    #[test]
    fn records_of_one_key_are_one_sequence_and_those_without_one_stand_alone() {
        let of = |offset, key: Option<&'static [u8]>| {
            SequenceId::of(&Record { offset, key: key.map(Bytes::from_static), ..Record::default() })
        };
        assert_eq!(of(1, Some(b"k")), of(2, Some(b"k")));
        assert_ne!(of(1, Some(b"k")), of(1, Some(b"l")));
        assert_ne!(of(1, None), of(2, None));
        assert_ne!(of(1, None), of(1, Some(b"@1")));
    }
}
