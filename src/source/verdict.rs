//! What is wrong with a log, computed from checkpoints and extents. Pure.
//!
//! This module decides what is wrong and what an operator can do about it. It does not read the log and does not act.

use std::collections::BTreeSet;

use readcast_core::TopicPartition;

use super::{Extent, Extents};

/// What is wrong with a log. Each verdict halts the projection; nothing is skipped silently.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Verdict {
    /// Records that were never read are no longer in the log.
    #[error("gap [{from}, {to}): the log begins at {to}, but the checkpoint is at {from}")]
    Gap {
        /// The first missing offset: the checkpoint.
        from: i64,
        /// The first offset of the log.
        to: i64,
    },
    /// Records that were read are no longer at the end of the log. Other records may have their offsets now.
    #[error("truncated: [{end}, {next_offset}) was read, and is no longer in the log")]
    Truncated {
        /// The position of the checkpoint: the next offset to read.
        next_offset: i64,
        /// The offset up to which the log is unchanged: its end, or the first offset of other records.
        end: i64,
    },
    /// Another log has the same name, for example because the topic was deleted and created again.
    #[error("recreated: this is another log of the same name (expected {was}, found {is})")]
    Recreated {
        /// The id of the log that was read.
        was: String,
        /// The id of the log now.
        is: String,
    },
    /// The topic has fewer partitions than were read.
    #[error("partitions shrunk: the topic had {had} partitions and now has {has}")]
    PartitionsShrunk {
        /// The number of partitions before: one more than the highest number with a checkpoint.
        had: usize,
        /// The number of partitions now.
        has: usize,
    },
}

impl Verdict {
    /// A stable name for metrics and scripts.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Gap { .. } => "gap",
            Verdict::Truncated { .. } => "truncated",
            Verdict::Recreated { .. } => "recreated",
            Verdict::PartitionsShrunk { .. } => "partitions_shrunk",
        }
    }

    /// What the operator should do next.
    pub fn advice(&self) -> &'static str {
        match self {
            Verdict::Gap { .. } => {
                "the records in the gap were never projected, and a rebuild can't recover them: restore them to the log at \
                 their offsets if a copy exists, and restart; otherwise run `readcast accept-loss NAME`, which continues at \
                 the beginning of the log (`--dry-run` shows the effect)"
            }
            Verdict::Truncated { .. } => {
                "the tables contain records that the log has lost: run `readcast accept-loss NAME`, which keeps the tables \
                 and continues at the truncation (`--dry-run` shows the effect); then, if the tables must contain only what \
                 the log still holds, run `readcast rebuild NAME --accept-truncated --accept-difference`"
            }
            Verdict::Recreated { .. } => {
                "if the topic was recreated on purpose, run `readcast accept-loss NAME`, which keeps the tables and \
                 continues at the beginning of the new log (`--dry-run` shows the effect), and then, if the tables must \
                 contain only the new log, `readcast rebuild NAME --accept-truncated --accept-difference`; otherwise \
                 correct the address or the topic and run `readcast check`"
            }
            Verdict::PartitionsShrunk { .. } => {
                "run `readcast check`: if the partitions are only unavailable, restore them and restart; if they were \
                 deleted, keys have moved between the remaining partitions: run `readcast accept-loss NAME`, which keeps \
                 the tables and deletes the checkpoints of those partitions (`--dry-run` shows the effect), and then \
                 `readcast rebuild NAME --accept-truncated --accept-difference`"
            }
        }
    }
}

/// The position up to which a partition was read, and the log of which it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPosition {
    /// The partition that was read.
    pub partition: TopicPartition,
    /// The first offset that was not read.
    pub next_offset: i64,
    /// The id of the log that was read, if the source has one.
    pub log_id: Option<String>,
}

/// Compares a position with the extent of its log.
///
/// Holes inside the log are not a gap: compacted records and transaction markers lie after the log's beginning. Whether
/// there were records before the beginning is unknown, so an empty log that begins after the position has a gap.
///
/// # Errors
/// The verdict, if the log can't be read on from the position. A different log id takes precedence over the offsets.
pub fn verify(next_offset: i64, log_id: Option<&str>, extent: &Extent) -> Result<(), Verdict> {
    match (log_id, &extent.log_id) {
        (Some(was), Some(is)) if was != is => Err(Verdict::Recreated { was: was.into(), is: is.clone() }),
        _ if next_offset < extent.start => Err(Verdict::Gap { from: next_offset, to: extent.start }),
        _ if next_offset > extent.end => Err(Verdict::Truncated { next_offset, end: extent.end }),
        _ => Ok(()),
    }
}

/// Compares all positions of a projection with the extents of their logs. Returns each partition that is wrong with its
/// verdict. The missing partitions of a topic give one verdict, under the first of them. Topics that `extents` does not
/// contain are ignored.
pub fn verify_all(checkpoints: &[ReadPosition], extents: &Extents) -> Vec<(TopicPartition, Verdict)> {
    let mut found: Vec<_> = checkpoints.iter().filter_map(|position| verdict_on(position, extents)).collect();
    let topics: BTreeSet<_> = checkpoints.iter().map(|position| &position.partition.topic).collect();
    found.extend(topics.into_iter().filter_map(|topic| shrunk(topic, checkpoints, extents)));
    found
}

/// The partitions without a position in topics that have other positions. They are new, and are read from their
/// beginning.
pub fn new_partitions(checkpoints: &[ReadPosition], extents: &Extents) -> Vec<TopicPartition> {
    let topics: BTreeSet<_> = checkpoints.iter().map(|position| &position.partition.topic).collect();
    let known: BTreeSet<_> = checkpoints.iter().map(|position| &position.partition).collect();
    let new = extents.keys().filter(|partition| topics.contains(&partition.topic) && !known.contains(partition));
    new.cloned().collect()
}

fn verdict_on(position: &ReadPosition, extents: &Extents) -> Option<(TopicPartition, Verdict)> {
    let extent = extents.get(&position.partition)?;
    let verdict = verify(position.next_offset, position.log_id.as_deref(), extent).err()?;
    Some((position.partition.clone(), verdict))
}

/// The verdict on the missing partitions of `topic`. `None` if none is missing, or if the remaining partitions show
/// already that this is another log.
fn shrunk(topic: &str, checkpoints: &[ReadPosition], extents: &Extents) -> Option<(TopicPartition, Verdict)> {
    let left = extents.keys().filter(|partition| *partition.topic == *topic).count();
    let read = checkpoints.iter().filter(|position| *position.partition.topic == *topic);
    let missing = read.clone().filter(|position| !extents.contains_key(&position.partition));
    let first = missing.map(|position| &position.partition).min()?;
    let recreated =
        |position: &ReadPosition| matches!(verdict_on(position, extents), Some((_, Verdict::Recreated { .. })));
    if left == 0 || read.clone().any(recreated) {
        return None;
    }
    let highest = read.map(|position| position.partition.partition).max()?;
    let had = usize::try_from(highest).ok()? + 1;
    Some((first.clone(), Verdict::PartitionsShrunk { had, has: left }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(partition: i32) -> TopicPartition {
        TopicPartition::new("orders", partition)
    }

    fn position(partition: i32, next_offset: i64, log_id: &str) -> ReadPosition {
        ReadPosition { partition: orders(partition), next_offset, log_id: Some(log_id.to_owned()) }
    }

    fn extent(start: i64, end: i64, log_id: &str) -> Extent {
        Extent { start, end, log_id: Some(log_id.to_owned()) }
    }

    fn verdict(next_offset: i64, start: i64, end: i64) -> Result<(), Verdict> {
        verify(next_offset, None, &Extent { start, end, log_id: None })
    }

    #[test]
    fn a_position_within_its_log_is_valid_up_to_both_ends() {
        for next_offset in [3, 4, 9] {
            assert_eq!(verdict(next_offset, 3, 9), Ok(()));
        }
        assert_eq!(verdict(2, 3, 9), Err(Verdict::Gap { from: 2, to: 3 }));
        assert_eq!(verdict(10, 3, 9), Err(Verdict::Truncated { next_offset: 10, end: 9 }));
    }

    #[test]
    fn an_empty_log_has_a_gap_only_if_it_begins_after_the_position() {
        assert_eq!(verdict(50, 100, 100), Err(Verdict::Gap { from: 50, to: 100 }));
        assert_eq!(verdict(100, 100, 100), Ok(()));
        assert_eq!(verdict(0, 0, 0), Ok(()));
    }

    #[test]
    fn a_different_log_takes_precedence_over_offsets_if_both_ids_are_known() {
        let is = extent(100, 200, "b");
        let recreated = Verdict::Recreated { was: "a".to_owned(), is: "b".to_owned() };
        assert_eq!(verify(50, Some("a"), &is), Err(recreated));
        assert_eq!(verify(150, None, &is), Ok(()));
        assert_eq!(verify(150, Some("a"), &Extent { log_id: None, ..is }), Ok(()));
    }

    #[test]
    fn only_invalid_positions_have_a_verdict() {
        let checkpoints = [position(0, 5, "a"), position(1, 5, "a"), position(2, 5, "a")];
        let extents = Extents::from([
            (orders(0), extent(7, 9, "a")),
            (orders(1), extent(0, 9, "a")),
            (orders(2), extent(0, 4, "a")),
        ]);
        let expected =
            [(orders(0), Verdict::Gap { from: 5, to: 7 }), (orders(2), Verdict::Truncated { next_offset: 5, end: 4 })];
        assert_eq!(verify_all(&checkpoints, &extents), expected);
        assert_eq!(new_partitions(&checkpoints, &extents), []);
    }

    #[test]
    fn missing_partitions_give_one_verdict_under_the_first_of_them() {
        let checkpoints = [position(3, 5, "a"), position(0, 5, "a"), position(2, 5, "a")];
        let extents = Extents::from([(orders(0), extent(0, 9, "a")), (orders(1), extent(0, 9, "a"))]);
        let shrunk = Verdict::PartitionsShrunk { had: 4, has: 2 };
        assert_eq!(verify_all(&checkpoints, &extents), [(orders(2), shrunk)]);
        assert_eq!(new_partitions(&checkpoints, &extents), [orders(1)]);
    }

    #[test]
    fn fewer_partitions_of_another_log_are_another_log() {
        let checkpoints = [position(0, 5, "a"), position(1, 5, "a")];
        let extents = Extents::from([(orders(0), extent(0, 9, "b"))]);
        let recreated = Verdict::Recreated { was: "a".to_owned(), is: "b".to_owned() };
        assert_eq!(verify_all(&checkpoints, &extents), [(orders(0), recreated)]);
    }

    #[test]
    fn new_partitions_have_no_verdict_and_only_topics_with_positions_have_them() {
        let checkpoints = [position(0, 5, "a")];
        let extents = Extents::from([
            (orders(0), extent(0, 9, "a")),
            (orders(1), extent(0, 9, "a")),
            (TopicPartition::new("payments", 0), extent(0, 9, "p")),
        ]);
        assert_eq!(verify_all(&checkpoints, &extents), []);
        assert_eq!(new_partitions(&checkpoints, &extents), [orders(1)]);
        assert_eq!(new_partitions(&[], &extents), []);
    }

    #[test]
    fn topics_without_extents_are_ignored() {
        assert_eq!(verify_all(&[position(0, 5, "a")], &Extents::new()), []);
    }

    #[test]
    fn every_verdict_begins_with_its_name_and_advises_a_command() {
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
