//! Parked records, as operators see them, and how they are settled.

use bytes::Bytes;
use readcast_core::{ChangeSet, Timestamp, TopicPartition};
use serde::{Deserialize, Serialize};

use super::{Amendment, DeadLetter, Generation, PoisonCause, PoisonClass, SequenceId};

/// A parked sequence: the parked records of one key in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedSequence {
    /// The partition of the records.
    pub partition: TopicPartition,
    /// The id of the sequence, a digest of the key.
    pub id: SequenceId,
    /// The key of the records. `None` for a record without a key.
    pub key: Option<Bytes>,
    /// The offset of the first record.
    pub first_offset: i64,
    /// The error of the first record. `None` while a retry is running or after it was interrupted.
    pub cause: Option<PoisonCause>,
    /// The number of retries of the first record.
    pub attempts: u32,
    /// When the first record was parked, in RFC 3339.
    pub since: String,
    /// The number of parked records, including the first.
    pub records: u64,
    /// The size of the parked records in bytes.
    pub bytes: u64,
}

/// A parked record in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedRecord {
    /// The record with its error.
    pub letter: DeadLetter,
    /// The number of retries.
    pub attempts: u32,
    /// When the record was parked, in RFC 3339.
    pub parked_at: String,
}

/// The next records of a sequence, in the order of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitingRecords {
    /// The epoch at which the records were read: see
    /// [`PartitionState::parking_epoch`](super::PartitionState::parking_epoch).
    pub parking_epoch: i64,
    /// The parked records, ordered by offset.
    pub records: Vec<ParkedRecord>,
}

/// The settlement of the first records of a parked sequence, in one transaction.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The partition of the sequence.
    pub partition: TopicPartition,
    /// The parking epoch at which the records were read.
    pub parking_epoch: i64,
    /// The offsets of the records that are no longer parked.
    pub settled: Vec<i64>,
    /// The changes of the tables by these records. Empty if they are discarded.
    pub changes: ChangeSet,
    /// The offset and the error of the next record, if it failed again.
    pub failed: Option<(i64, PoisonCause)>,
    /// The decisions that also apply to these records in later generations, by offset.
    pub amendments: Vec<(i64, Amendment)>,
    /// The operator who requested the settlement.
    pub by: String,
    /// Why, in the operator's words.
    pub reason: Option<String>,
}

/// The numbers of parked records of a generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ParkedCounts {
    /// The number of parked sequences.
    pub keys: u64,
    /// The number of parked records.
    pub records: u64,
    /// The number of parked records that are due to be copied to a topic of dead letters.
    pub uncopied: u64,
    /// The number of parked records that could not be copied although others could.
    pub uncopyable: u64,
    /// When the oldest record was parked, in RFC 3339.
    pub oldest: Option<String>,
}

/// Selects parked sequences: those that match every field that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// The record key, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The position of the sequence's first record, as `topic/partition@offset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// The class of the first record's error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<PoisonClass>,
    /// Sequences that were parked at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Sequences that were parked before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Selection {
    /// Whether the selection includes `sequence`.
    pub fn matches(&self, sequence: &ParkedSequence) -> bool {
        let key = |key: &String| sequence.key.as_deref() == Some(key.as_bytes());
        let first = |first: &String| *first == sequence.partition.at(sequence.first_offset).to_string();
        let class = |class: &PoisonClass| sequence.cause.as_ref().is_some_and(|cause| cause.class == *class);
        // Earlier versions wrote times without milliseconds, so the texts are not comparable.
        let parked: Option<Timestamp> = sequence.since.parse().ok();
        self.key.as_ref().is_none_or(key)
            && self.first.as_ref().is_none_or(first)
            && self.class.as_ref().is_none_or(class)
            && self.since.is_none_or(|since| parked.is_some_and(|parked| parked >= since))
            && self.until.is_none_or(|until| parked.is_some_and(|parked| parked < until))
    }
}

/// The generation whose parked records are meant.
#[derive(Clone, Copy, Debug)]
pub struct ParkedIn<'a> {
    /// The projection's name.
    pub projection: &'a str,
    /// The number of the generation.
    pub generation: Generation,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Record;

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
        // A sequence without a key, or without a known cause, matches neither selection.
        let bare = ParkedSequence { key: None, cause: None, ..sequence() };
        assert!(any().matches(&bare));
        assert!(!Selection { key: text(""), ..any() }.matches(&bare));
        assert!(!Selection { class: Some(PoisonClass::Undecodable), ..any() }.matches(&bare));
    }
}
