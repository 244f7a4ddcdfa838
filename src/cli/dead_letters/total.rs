//! How much some parked sequences are, all together. Pure.

use std::collections::BTreeMap;
use std::fmt;

use indicatif::HumanBytes;

use super::class_of;
use crate::store::ParkedSequence;
use crate::text::counted;

/// How much some parked sequences are.
#[derive(Debug, Default)]
pub(super) struct Total {
    keys: u64,
    records: u64,
    bytes: u64,
    /// How many keys, by what is wrong with the first record.
    by_class: BTreeMap<&'static str, u64>,
}

impl<'a> FromIterator<&'a ParkedSequence> for Total {
    fn from_iter<I: IntoIterator<Item = &'a ParkedSequence>>(sequences: I) -> Self {
        let mut total = Self::default();
        for sequence in sequences {
            total.keys += 1;
            total.records += sequence.records;
            total.bytes += sequence.bytes;
            *total.by_class.entry(class_of(sequence)).or_default() += 1;
        }
        total
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys, records, bytes, by_class } = self;
        let classes: Vec<String> = by_class.iter().map(|(class, keys)| format!("{class} {keys}")).collect();
        let (keys, records) = (counted(*keys, "key"), counted(*records, "record"));
        write!(f, "{keys}, {records}, {} ({})", HumanBytes(*bytes), classes.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use readcast_core::TopicPartition;

    use super::*;
    use crate::source::Record;
    use crate::store::{PoisonCause, PoisonClass, SequenceId};

    #[test]
    fn a_total_is_told_with_its_classes() {
        let sequence = |class: Option<PoisonClass>, records| ParkedSequence {
            partition: TopicPartition::new("orders", 0),
            id: SequenceId::of(&Record::default()),
            key: None,
            first_offset: 0,
            cause: class.map(|class| PoisonCause::new(class, "text")),
            attempts: 0,
            since: String::new(),
            records,
            bytes: 1024,
        };
        let (one, other) = (sequence(Some(PoisonClass::Panicked), 1_000), sequence(None, 1));
        assert_eq!([&one].into_iter().collect::<Total>().to_string(), "1 key, 1,000 records, 1.00 KiB (panicked 1)");
        let all = [&one, &other, &one].into_iter().collect::<Total>().to_string();
        assert_eq!(all, "3 keys, 2,001 records, 3.00 KiB (- 1, panicked 2)");
    }
}
