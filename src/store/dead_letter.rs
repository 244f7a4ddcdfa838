//! Dead letters: records that could not be projected, and later records of the same keys, which wait for them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use bytes::Bytes;
use readcast_core::{AffectedRow, Position, TopicPartition};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Commit, DuplicateWindow};
use crate::source::{Header, Record};

/// The class of error that makes a record poison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoisonClass {
    /// The record is not an event in the expected format.
    Undecodable,
    /// The projection refused the event, or returned changes that its tables can't hold.
    Unprojectable,
    /// The projection panicked.
    Panicked,
    /// The projection exceeded its limit on one event.
    Exhausted,
    /// The database refused the rows.
    Unstorable,
    /// The record is larger than the projection's limit.
    Oversized,
    /// An earlier event has the same id and other content.
    ConflictingDuplicate,
    /// The event's changes can't be repeated on the copy that the generation began as.
    Unrepeatable,
}

impl PoisonClass {
    /// All classes with the names that the database and the command line use.
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

    /// The class's name in the database, in JSON and on the command line.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(class, _)| *class == self).map_or("", |(_, name)| name)
    }

    /// The class with the name `name`. `None` if there is none.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, other)| *other == name).map(|(class, _)| *class)
    }
}

impl fmt::Display for PoisonClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The error of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoisonCause {
    /// The class of the error.
    pub class: PoisonClass,
    /// The error message. It may quote the record, so it is displayed to operators and never logged.
    pub reason: String,
}

impl PoisonCause {
    /// A cause of class `class` with the message `reason`.
    pub fn new(class: PoisonClass, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into() }
    }
}

/// Identifies the records of one key within their partition. It is a digest of the key, because a key may be as large
/// as a record. A record without a key is a sequence of its own.
///
/// Kafka orders the records of a key only within a partition, so a sequence belongs to one partition.
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

    /// The text of the id, as the database stores it.
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
    /// The partition of the record. The offset is in `record`.
    pub partition: TopicPartition,
    /// The record with its original bytes.
    pub record: Record,
    /// The sequence of the record.
    pub sequence: SequenceId,
    /// The error of the record. `None` if the record only waits for an earlier record of its sequence.
    pub cause: Option<PoisonCause>,
    /// The rows that it would have changed, as far as its projection names them.
    pub affected: Vec<AffectedRow>,
}

impl DeadLetter {
    /// The rows that it would have changed, as the store keeps them. `None` if none is known.
    pub(super) fn affected_json(&self) -> Option<serde_json::Value> {
        let row = |row: &AffectedRow| serde_json::json!({"table": row.table, "key": row.key});
        (!self.affected.is_empty()).then(|| self.affected.iter().map(row).collect())
    }
}

/// The limits on parked records. A projection that would exceed them halts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkingLimits {
    /// The maximum number of records of all keys together in one generation. With 0 no record is parked.
    pub records: u64,
    /// The maximum number of records of one key.
    pub of_one_key: u64,
}

impl ParkingLimits {
    /// The limit that these counts exceed, as text.
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

/// An operator's decision about one record. It applies to this and every later generation of a projection: without it,
/// a rebuild would produce other rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amendment {
    /// Project the record with this value instead of its own.
    Replace(Bytes),
    /// Project the record although an earlier event has its id.
    Accept,
    /// Leave the record out.
    Discard,
}

impl Amendment {
    /// The name of the decision.
    pub fn action(&self) -> &'static str {
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

/// An operator's decision, as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The position of the record.
    pub position: Position,
    /// What was decided.
    pub amendment: Amendment,
    /// Who decided it.
    pub by: String,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// When, in RFC 3339.
    pub at: String,
}

/// The decisions about the earlier records of one partition on which later records depend.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartitionState {
    /// Incremented by every change that the owner of the partition does not make itself. A commit that was planned
    /// under an earlier epoch is refused.
    pub parking_epoch: i64,
    /// The parked sequences. Later records of them are parked as well.
    pub parked: BTreeSet<SequenceId>,
    /// The decisions of operators, by offset.
    pub amendments: BTreeMap<i64, Amendment>,
    /// The ids of the last events.
    pub window: DuplicateWindow,
}

impl PartitionState {
    /// Adds the dead letters and event ids of a commit for `partition`.
    pub(crate) fn record(&mut self, partition: &TopicPartition, commit: &Commit) {
        let letters = commit.dead_letters.iter().filter(|letter| letter.partition == *partition);
        self.parked.extend(letters.map(|letter| letter.sequence.clone()));
        let pages = commit.ledger.iter().filter(|page| page.partition == *partition);
        pages.flat_map(|page| &page.entries).for_each(|entry| self.window.add(*entry));
    }
}

/// Headers as the database stores them: each name and each value after its length in four bytes (big-endian). A missing
/// value has the length -1. `None` if there are no headers.
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

/// The headers in the bytes that [`headers_to_bytes`] wrote.
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
