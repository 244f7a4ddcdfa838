//! What a log did to us, told from where we stand and how far it reaches: pure.
//!
//! It decides what is wrong and what an operator can do about it, and knows nothing of who asks the log or of what is
//! done with the answer.

use std::collections::BTreeSet;

use readcast_core::TopicPartition;

use super::{Extent, Extents};

/// What a log did to us: each stops the projection, and none is ever skipped in silence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Verdict {
    /// Records that we have not read are gone.
    #[error("gap [{from}, {to}): the log begins at {to}, the checkpoint stands at {from}")]
    Gap {
        /// The first offset that is gone.
        from: i64,
        /// The log's first offset now.
        to: i64,
    },
    /// Records that we have read are gone from the end, and others may have taken their offsets.
    #[error("truncated: [{end}, {next_offset}) was read, and is no longer in the log")]
    Truncated {
        /// Our checkpoint.
        next_offset: i64,
        /// Up to where the log is still the one that we read: its end, or where other records begin.
        end: i64,
    },
    /// It is another log of the same name.
    #[error("recreated: this is another log of the same name (it was {was}, it is {is})")]
    Recreated {
        /// What the checkpoint says.
        was: String,
        /// What the log says.
        is: String,
    },
    /// The topic is there with fewer partitions than we have read.
    #[error("partitions shrunk: there are {has}, and there were {had}")]
    PartitionsShrunk {
        /// How many there were, by the highest number of those that have a checkpoint.
        had: usize,
        /// How many there are.
        has: usize,
    },
}

impl Verdict {
    /// A name that stays the same, for figures and scripts.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Gap { .. } => "gap",
            Verdict::Truncated { .. } => "truncated",
            Verdict::Recreated { .. } => "recreated",
            Verdict::PartitionsShrunk { .. } => "partitions_shrunk",
        }
    }

    /// What the operator does next.
    pub fn advice(&self) -> &'static str {
        match self {
            Verdict::Gap { .. } => {
                "the records in the gap were never projected, and a rebuild would not bring them back: restore them to the \
                 log at their offsets if there is a copy of it, and restart; else type `readcast accept-loss NAME`, which \
                 goes on where the log begins (`--dry-run` shows it first)"
            }
            Verdict::Truncated { .. } => {
                "the tables hold what the log has lost: type `readcast accept-loss NAME`, which keeps them and goes on where \
                 the logs part (`--dry-run` shows it first); then, for tables of what the log still has alone, `readcast \
                 rebuild NAME --accept-truncated --accept-difference`"
            }
            Verdict::Recreated { .. } => {
                "if the topic was meant to begin anew, type `readcast accept-loss NAME`, which keeps the tables and goes on \
                 where the new log begins (`--dry-run` shows it first), and then, for tables of the new log alone, `readcast \
                 rebuild NAME --accept-truncated --accept-difference`; if not, correct the address or the topic, and see \
                 `readcast check`"
            }
            Verdict::PartitionsShrunk { .. } => {
                "see `readcast check`: if partitions only can't be seen at the moment, bring them back and restart; if they \
                 are gone for good, keys have moved between those that are left: type `readcast accept-loss NAME`, which \
                 keeps the tables and forgets those partitions (`--dry-run` shows it first), and then `readcast rebuild NAME \
                 --accept-truncated --accept-difference`"
            }
        }
    }
}

/// A checkpoint, as far as the log is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Which partition.
    pub partition: TopicPartition,
    /// The first offset that was not read.
    pub next_offset: i64,
    /// Which log it was, where the source knows such a thing.
    pub log_id: Option<String>,
}

/// Compares a checkpoint with the log that it points into.
///
/// Holes are no gap: what a log was compacted of and the markers that it keeps for itself lie behind its beginning. What
/// lay before its beginning can't be told any more, so an empty log that begins behind the checkpoint has a gap too.
pub fn verify(next_offset: i64, log_id: Option<&str>, extent: &Extent) -> Result<(), Verdict> {
    match (log_id, &extent.log_id) {
        (Some(was), Some(is)) if was != is => Err(Verdict::Recreated { was: was.into(), is: is.clone() }),
        _ if next_offset < extent.start => Err(Verdict::Gap { from: next_offset, to: extent.start }),
        _ if next_offset > extent.end => Err(Verdict::Truncated { next_offset, end: extent.end }),
        _ => Ok(()),
    }
}

/// Compares all checkpoints of a projection with the logs that they point into: each one that is bad, with its verdict.
/// Of the partitions that a topic no longer has, the first is named for all. Topics that `extents` does not cover at all
/// are passed over.
pub fn examine(checkpoints: &[Known], extents: &Extents) -> Vec<(TopicPartition, Verdict)> {
    let mut found: Vec<_> = checkpoints.iter().filter_map(|known| against(known, extents)).collect();
    let topics: BTreeSet<_> = checkpoints.iter().map(|known| &known.partition.topic).collect();
    found.extend(topics.into_iter().filter_map(|topic| shrunk(topic, checkpoints, extents)));
    found
}

/// The partitions that came to topics of which we have read others. No verdict: they are read from their beginning.
pub fn added(checkpoints: &[Known], extents: &Extents) -> Vec<TopicPartition> {
    let topics: BTreeSet<_> = checkpoints.iter().map(|known| &known.partition.topic).collect();
    let known: BTreeSet<_> = checkpoints.iter().map(|known| &known.partition).collect();
    let new = extents.keys().filter(|partition| topics.contains(&partition.topic) && !known.contains(partition));
    new.cloned().collect()
}

fn against(known: &Known, extents: &Extents) -> Option<(TopicPartition, Verdict)> {
    let extent = extents.get(&known.partition)?;
    let verdict = verify(known.next_offset, known.log_id.as_deref(), extent).err()?;
    Some((known.partition.clone(), verdict))
}

/// What there is to say of the partitions that `topic` no longer has. Nothing if those that it has tell already that it
/// is another log.
fn shrunk(topic: &str, checkpoints: &[Known], extents: &Extents) -> Option<(TopicPartition, Verdict)> {
    let left = extents.keys().filter(|partition| *partition.topic == *topic).count();
    let ours = checkpoints.iter().filter(|known| *known.partition.topic == *topic);
    let missing = ours.clone().filter(|known| !extents.contains_key(&known.partition));
    let first = missing.map(|known| &known.partition).min()?;
    let recreated = |known: &Known| matches!(against(known, extents), Some((_, Verdict::Recreated { .. })));
    if left == 0 || ours.clone().any(recreated) {
        return None;
    }
    let highest = ours.map(|known| known.partition.partition).max()?;
    let had = usize::try_from(highest).ok()? + 1;
    Some((first.clone(), Verdict::PartitionsShrunk { had, has: left }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(partition: i32) -> TopicPartition {
        TopicPartition::new("orders", partition)
    }

    fn known(partition: i32, next_offset: i64, log_id: &str) -> Known {
        Known { partition: orders(partition), next_offset, log_id: Some(log_id.to_owned()) }
    }

    fn extent(start: i64, end: i64, log_id: &str) -> Extent {
        Extent { start, end, log_id: Some(log_id.to_owned()) }
    }

    fn verdict(next_offset: i64, start: i64, end: i64) -> Result<(), Verdict> {
        verify(next_offset, None, &Extent { start, end, log_id: None })
    }

    #[test]
    fn a_checkpoint_within_its_log_is_good_up_to_both_ends_of_it() {
        for next_offset in [3, 4, 9] {
            assert_eq!(verdict(next_offset, 3, 9), Ok(()));
        }
        assert_eq!(verdict(2, 3, 9), Err(Verdict::Gap { from: 2, to: 3 }));
        assert_eq!(verdict(10, 3, 9), Err(Verdict::Truncated { next_offset: 10, end: 9 }));
    }

    #[test]
    fn fault_18_an_empty_log_that_begins_behind_us_has_a_gap_and_one_that_ends_where_we_stand_has_none() {
        assert_eq!(verdict(50, 100, 100), Err(Verdict::Gap { from: 50, to: 100 }));
        assert_eq!(verdict(100, 100, 100), Ok(()));
        assert_eq!(verdict(0, 0, 0), Ok(()));
    }

    #[test]
    fn another_log_is_told_before_anything_about_offsets_and_only_where_both_are_known() {
        let is = extent(100, 200, "b");
        let recreated = Verdict::Recreated { was: "a".to_owned(), is: "b".to_owned() };
        assert_eq!(verify(50, Some("a"), &is), Err(recreated));
        assert_eq!(verify(150, None, &is), Ok(()));
        assert_eq!(verify(150, Some("a"), &Extent { log_id: None, ..is }), Ok(()));
    }

    #[test]
    fn every_bad_checkpoint_is_told_and_the_good_ones_are_not() {
        let checkpoints = [known(0, 5, "a"), known(1, 5, "a"), known(2, 5, "a")];
        let extents = Extents::from([
            (orders(0), extent(7, 9, "a")),
            (orders(1), extent(0, 9, "a")),
            (orders(2), extent(0, 4, "a")),
        ]);
        let expected =
            [(orders(0), Verdict::Gap { from: 5, to: 7 }), (orders(2), Verdict::Truncated { next_offset: 5, end: 4 })];
        assert_eq!(examine(&checkpoints, &extents), expected);
        assert_eq!(added(&checkpoints, &extents), []);
    }

    #[test]
    fn fault_16_partitions_that_are_gone_are_told_once_for_the_first_of_them() {
        let checkpoints = [known(3, 5, "a"), known(0, 5, "a"), known(2, 5, "a")];
        let extents = Extents::from([(orders(0), extent(0, 9, "a")), (orders(1), extent(0, 9, "a"))]);
        let shrunk = Verdict::PartitionsShrunk { had: 4, has: 2 };
        assert_eq!(examine(&checkpoints, &extents), [(orders(2), shrunk)]);
        assert_eq!(added(&checkpoints, &extents), [orders(1)]);
    }

    #[test]
    fn fault_16_fewer_partitions_of_another_log_are_another_log() {
        let checkpoints = [known(0, 5, "a"), known(1, 5, "a")];
        let extents = Extents::from([(orders(0), extent(0, 9, "b"))]);
        let recreated = Verdict::Recreated { was: "a".to_owned(), is: "b".to_owned() };
        assert_eq!(examine(&checkpoints, &extents), [(orders(0), recreated)]);
    }

    #[test]
    fn fault_19_partitions_that_came_are_no_verdict_and_a_topic_without_a_checkpoint_has_none_that_came() {
        let checkpoints = [known(0, 5, "a")];
        let extents = Extents::from([
            (orders(0), extent(0, 9, "a")),
            (orders(1), extent(0, 9, "a")),
            (TopicPartition::new("payments", 0), extent(0, 9, "p")),
        ]);
        assert_eq!(examine(&checkpoints, &extents), []);
        assert_eq!(added(&checkpoints, &extents), [orders(1)]);
        assert_eq!(added(&[], &extents), []);
    }

    #[test]
    fn topics_that_were_not_asked_for_are_passed_over() {
        assert_eq!(examine(&[known(0, 5, "a")], &Extents::new()), []);
    }

    #[test]
    fn every_verdict_has_a_name_begins_its_sentence_with_it_and_says_what_to_type() {
        let text = String::new;
        let cases = [
            (Verdict::Gap { from: 1, to: 2 }, "gap"),
            (Verdict::Truncated { next_offset: 2, end: 1 }, "truncated"),
            (Verdict::Recreated { was: text(), is: text() }, "recreated"),
            (Verdict::PartitionsShrunk { had: 2, has: 1 }, "partitions_shrunk"),
        ];
        for (verdict, name) in cases {
            assert_eq!(verdict.name(), name);
            assert!(verdict.to_string().starts_with(&name.replace('_', " ")), "{verdict}");
            assert!(verdict.advice().contains("`readcast accept-loss NAME`"), "{name}");
            assert!(verdict.advice().contains("`--dry-run`"), "{name}");
        }
    }
}
