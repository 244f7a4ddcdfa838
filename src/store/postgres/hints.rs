//! The physical locations of rows that a writer has committed, to find the same rows faster.
//!
//! Each update leaves a dead version of the row. While an older transaction is open (a report, a dump, an abandoned
//! session), dead versions can't be removed. An index refers to all of them, so a lookup by key takes longer with each
//! commit. The writer of a row knows its current location.
//!
//! A hint decides nothing. Each statement with a hint has all the conditions of the statement without it. A row that is
//! not found by its hint is looked up by its key before it counts as missing.

use std::collections::BTreeMap;

use readcast_core::TopicPartition;

use crate::store::{Advance, LedgerPage};

/// The hints of one connection. They describe its last commit, and are discarded after any other outcome.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// The `ctid` of each checkpoint's row.
    places: BTreeMap<TopicPartition, String>,
    /// The offset up to which the pages of the ledger are deleted.
    deleted_to: BTreeMap<TopicPartition, i64>,
}

impl Hints {
    /// Removes and returns the locations of the checkpoints of `advances`. `None` unless all are known.
    pub(super) fn take_places(&mut self, advances: &[Advance]) -> Option<Vec<String>> {
        // Removed even if another is missing: a successful commit adds them again.
        let places: Vec<_> = advances.iter().map(|advance| self.places.remove(&advance.partition)).collect();
        places.into_iter().collect()
    }

    /// Adds the locations of checkpoints after the commit.
    pub(super) fn note_places(&mut self, places: Vec<(TopicPartition, String)>) {
        self.places.extend(places);
    }

    /// The offset up to which earlier commits have deleted pages of the ledger. Records that the pages before the limit
    /// of `page` are deleted when the transaction commits.
    pub(super) fn forget(&mut self, page: &LedgerPage) -> i64 {
        let deleted_to = self.deleted_to.insert(page.partition.clone(), page.forget_to);
        // A checkpoint that was moved back starts again without a hint.
        deleted_to.filter(|deleted_to| *deleted_to <= page.forget_to).unwrap_or(i64::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(partition: i32) -> TopicPartition {
        TopicPartition::new("orders", partition)
    }

    fn advance(partition: i32) -> Advance {
        Advance { partition: orders(partition), from: 0, to: 1, owner_epoch: 1, parking_epoch: 0, leader_epoch: None }
    }

    #[test]
    fn locations_are_returned_for_all_partitions_of_a_commit_or_for_none() {
        let mut hints = Hints::default();
        assert_eq!(hints.take_places(&[advance(0)]), None);
        let places = || vec![(orders(0), "(0,1)".to_owned()), (orders(1), "(0,2)".to_owned())];
        hints.note_places(places());
        assert_eq!(hints.take_places(&[advance(1), advance(0)]), Some(vec!["(0,2)".into(), "(0,1)".into()]));
        hints.note_places(places());
        assert_eq!(hints.take_places(&[advance(0), advance(2)]), None);
        assert_eq!(hints.take_places(&[advance(0)]), None, "that commit may have moved the row");
        assert_eq!(hints.take_places(&[advance(1)]), Some(vec!["(0,2)".into()]));
    }

    #[test]
    fn deleted_pages_are_not_searched_again() {
        let page = |forget_to| LedgerPage { partition: orders(0), to: forget_to + 10, entries: Vec::new(), forget_to };
        let mut hints = Hints::default();
        assert_eq!(hints.forget(&page(5)), i64::MIN);
        assert_eq!(hints.forget(&page(7)), 5);
        assert_eq!(hints.forget(&page(7)), 7);
        assert_eq!(hints.forget(&page(3)), i64::MIN, "the checkpoint was moved back");
        assert_eq!(hints.forget(&page(4)), 3);
    }
}
