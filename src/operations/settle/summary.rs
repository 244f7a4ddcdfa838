//! What became of the sequences that an operation selected, in a sentence for operators. Pure.

use bytes::Bytes;
use readcast_core::Position;

use crate::store::{ParkedSequence, PoisonClass};
use crate::text::{counted, glimpse};

/// How many keys a sentence names.
const NAMED: usize = 5;
/// How many characters of a key are shown.
const KEY_CHARACTERS: usize = 40;

/// What became of the sequences that an operation selected. Its sentence names keys, so no log may hold it.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) projected: u64,
    pub(super) discarded: u64,
    free: Keys,
    failing: Keys,
    /// The position of the first record that still fails.
    first_failing: Option<Position>,
}

/// Keys, of which the first few are named.
#[derive(Debug, Default)]
struct Keys {
    count: u64,
    named: Vec<String>,
}

impl Keys {
    fn add(&mut self, name: String) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(name);
        }
    }

    /// The names, and how many more there are.
    fn list(&self) -> String {
        let more = self.count - self.named.len() as u64;
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        self.named.join(", ") + &more
    }
}

impl Summary {
    /// No record of the sequence is parked any more.
    pub(super) fn add_free(&mut self, sequence: &ParkedSequence) {
        // A record without a key has kept no other waiting.
        if let Some(key) = &sequence.key {
            self.free.add(shown(key));
        }
    }

    /// The record of the sequence at `offset` can't be projected.
    pub(super) fn add_failing(&mut self, sequence: &ParkedSequence, offset: i64, class: PoisonClass) {
        let position = sequence.partition.at(offset);
        self.failing.add(match &sequence.key {
            Some(key) => format!("{} at {position} ({class})", shown(key)),
            None => format!("no key at {position} ({class})"),
        });
        self.first_failing.get_or_insert(position);
    }

    /// How many records were projected, how many discarded, and how many keys still fail.
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        (self.projected, self.discarded, self.failing.count)
    }

    /// What happened, and what to type where keys still fail.
    pub(super) fn sentence(&self, projection: &str) -> String {
        let mut parts = Vec::new();
        match self.failing.count {
            0 => {}
            1 => parts.push(format!("1 key still fails: {}", self.failing.list())),
            _ => parts.push(format!("{} still fail: {}", counted(self.failing.count, "key"), self.failing.list())),
        }
        match (self.discarded, self.projected) {
            (0, 0) => {}
            (0, projected) => parts.push(format!("projected {}", counted(projected, "record"))),
            (discarded, 0) => parts.push(format!("discarded {}", counted(discarded, "record"))),
            (discarded, projected) => {
                let behind = if discarded == 1 { "it" } else { "them" };
                parts.push(format!("discarded {}", counted(discarded, "record")));
                parts.push(format!("{} behind {behind} projected", counted(projected, "record")));
            }
        }
        match self.free.count {
            0 => {}
            1 => parts.push(format!("key {} is free", self.free.list())),
            _ => parts.push(format!("{} are free: {}", counted(self.free.count, "key"), self.free.list())),
        }
        match (&self.first_failing, parts.is_empty()) {
            (_, true) => "no parked record matches, so nothing changed".into(),
            (None, false) => parts.join("; "),
            (Some(first), false) => {
                format!("{}. Next: `readcast dead-letters show {projection} {first}` shows why", parts.join("; "))
            }
        }
    }
}

fn shown(key: &Bytes) -> String {
    glimpse(key, KEY_CHARACTERS)
}

#[cfg(test)]
mod tests {
    use readcast_core::TopicPartition;

    use super::*;
    use crate::source::Record;
    use crate::store::SequenceId;

    fn sequence(key: Option<&'static str>) -> ParkedSequence {
        ParkedSequence {
            partition: TopicPartition::new("orders", 0),
            id: SequenceId::of(&Record::default()),
            key: key.map(|key| Bytes::from_static(key.as_bytes())),
            first_offset: 10,
            cause: None,
            attempts: 0,
            since: String::new(),
            records: 1,
            bytes: 1,
        }
    }

    #[test]
    fn what_is_free_is_named_with_what_became_of_its_records() {
        let mut summary = Summary { discarded: 1, projected: 19, ..Summary::default() };
        summary.add_free(&sequence(Some("acc-9")));
        let expected = "discarded 1 record; 19 records behind it projected; key acc-9 is free";
        assert_eq!(summary.sentence("p"), expected);
        summary.add_free(&sequence(Some("acc-\u{1b}[2J")));
        assert!(summary.sentence("p").ends_with("2 keys are free: acc-9, acc-\\u{1b}[2J"), "{summary:?}");
        let retried = Summary { projected: 1_190, ..Summary::default() };
        assert_eq!(retried.sentence("p"), "projected 1,190 records");
    }

    #[test]
    fn what_still_fails_is_named_first_a_few_keys_at_most() {
        let mut summary = Summary::default();
        summary.add_failing(&sequence(Some("acc-9")), 12, PoisonClass::Unprojectable);
        let next = "Next: `readcast dead-letters show p orders/0@12` shows why";
        assert_eq!(summary.sentence("p"), format!("1 key still fails: acc-9 at orders/0@12 (unprojectable). {next}"));
        for _ in 0..7 {
            summary.add_failing(&sequence(None), 13, PoisonClass::Undecodable);
        }
        let sentence = summary.sentence("p");
        assert!(sentence.starts_with("8 keys still fail: acc-9 at orders/0@12"), "{sentence}");
        assert!(sentence.contains("no key at orders/0@13 (undecodable) and 3 more. Next"), "{sentence}");
    }

    #[test]
    fn where_nothing_matches_nothing_changed() {
        assert_eq!(Summary::default().sentence("p"), "no parked record matches, so nothing changed");
    }
}
