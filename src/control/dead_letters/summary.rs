//! Summaries of parked keys and totals of several of them, without payloads and error messages.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::store::{GenerationStatus, ParkedSequence, PoisonClass};

/// One parked key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParkedSummary {
    /// The projection's name.
    pub projection: String,
    /// The generation in which the key is parked.
    pub generation: i32,
    /// The position of its first record, as `topic/partition@offset`.
    pub first: String,
    /// The topic of that position.
    pub topic: String,
    /// The partition of that position.
    pub partition: i32,
    /// The offset of that position.
    pub offset: i64,
    /// The key as text, shortened; none where the record has none.
    pub key: Option<String>,
    /// Why the first record is parked. None while a retry is under way or was cut short.
    pub class: Option<PoisonClass>,
    /// When the first record was parked, in RFC 3339.
    pub since: String,
    /// How often the first record was tried again.
    pub attempts: u32,
    /// How many records are parked, the first one included.
    pub records: u64,
    /// What these records take, in bytes.
    pub bytes: u64,
}

impl ParkedSummary {
    pub(super) fn new(generation: &GenerationStatus, sequence: &ParkedSequence) -> Self {
        /// Enough to recognize a key.
        const KEY_CHARACTERS: usize = 40;
        Self {
            projection: generation.projection.clone(),
            generation: generation.generation.0,
            first: sequence.partition.at(sequence.first_offset).to_string(),
            topic: sequence.partition.topic.to_string(),
            partition: sequence.partition.partition,
            offset: sequence.first_offset,
            key: sequence.key.as_deref().map(|key| excerpt(key, KEY_CHARACTERS)),
            class: sequence.cause.as_ref().map(|cause| cause.class),
            since: sequence.since.clone(),
            attempts: sequence.attempts,
            records: sequence.records,
            bytes: sequence.bytes,
        }
    }
}

/// The beginning of `bytes` as text, of at most `most` characters.
fn excerpt(bytes: &[u8], most: usize) -> String {
    // No character takes more than four bytes.
    let beginning = String::from_utf8_lossy(bytes.get(..4 * (most + 1)).unwrap_or(bytes));
    match beginning.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &beginning[..end]),
        None => beginning.into_owned(),
    }
}

/// How much some parked keys are together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ParkedTotal {
    /// How many keys.
    pub keys: u64,
    /// How many records.
    pub records: u64,
    /// What the records take, in bytes.
    pub bytes: u64,
    /// How many keys, by the class of the first record; `-` while that is being retried.
    pub by_class: BTreeMap<&'static str, u64>,
}

impl ParkedTotal {
    fn add(mut self, class: Option<PoisonClass>, records: u64, bytes: u64) -> Self {
        self.keys += 1;
        self.records += records;
        self.bytes += bytes;
        *self.by_class.entry(class.map_or("-", PoisonClass::name)).or_default() += 1;
        self
    }
}

impl<'a> FromIterator<&'a ParkedSummary> for ParkedTotal {
    fn from_iter<I: IntoIterator<Item = &'a ParkedSummary>>(keys: I) -> Self {
        keys.into_iter().fold(Self::default(), |total, key| total.add(key.class, key.records, key.bytes))
    }
}

impl<'a> FromIterator<&'a ParkedSequence> for ParkedTotal {
    fn from_iter<I: IntoIterator<Item = &'a ParkedSequence>>(keys: I) -> Self {
        let class = |key: &ParkedSequence| key.cause.as_ref().map(|cause| cause.class);
        keys.into_iter().fold(Self::default(), |total, key| total.add(class(key), key.records, key.bytes))
    }
}

#[cfg(test)]
mod tests {
    use readcast_core::TopicPartition;

    use super::*;
    use crate::source::Record;
    use crate::store::{PoisonCause, SequenceId};

    fn sequence(class: Option<PoisonClass>, records: u64) -> ParkedSequence {
        ParkedSequence {
            partition: TopicPartition::new("orders", 3),
            id: SequenceId::of(&Record::default()),
            key: None,
            first_offset: 17,
            cause: class.map(|class| PoisonCause::new(class, "text")),
            attempts: 0,
            since: String::new(),
            records,
            bytes: 1024,
        }
    }

    #[test]
    fn a_total_counts_keys_by_class() {
        let (one, other) = (sequence(Some(PoisonClass::Panicked), 1_000), sequence(None, 1));
        let total = [&one, &other, &one].into_iter().collect::<ParkedTotal>();
        assert_eq!((total.keys, total.records, total.bytes), (3, 2_001, 3_072));
        assert_eq!(total.by_class, BTreeMap::from([("-", 1), ("panicked", 2)]));
        let live = GenerationStatus::live_at(&[]);
        let summaries = [&one, &other, &one].map(|sequence| ParkedSummary::new(&live, sequence));
        assert_eq!(summaries.iter().collect::<ParkedTotal>(), total);
        assert_eq!(summaries[0].first, "orders/3@17");
    }

    #[test]
    fn a_long_key_is_shortened_visibly() {
        assert_eq!(excerpt(b"ord_1", 5), "ord_1");
        assert_eq!(excerpt("örd_12".as_bytes(), 5), "örd_1…");
        assert_eq!(excerpt(b"\xff\x00", 5), "\u{fffd}\0");
        assert_eq!(excerpt(&[b'x'; 1000], 3), "xxx…");
    }
}
