//! What a writer remembers of its last commit, to find the same rows again.
//!
//! A row that is updated leaves its old version behind, and while anybody's older transaction is open (a report, a dump,
//! an abandoned session) none of them can be removed. An index leads to all of them, so what is looked up by its key
//! takes longer with every commit. The writer of a row knows better: it has just put it there.
//!
//! A hint decides nothing. Each statement that takes one has all the conditions of the statement without it, and what it
//! does not find is looked up by its key before anything is made of that.

use std::collections::BTreeMap;

use readcast_core::TopicPartition;

use crate::store::{Advance, LedgerPage};

/// The hints of one connection. They are true of what it has committed, so they are thrown away with anything else.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// Where the row of each checkpoint is in its table: its `ctid`.
    places: BTreeMap<TopicPartition, String>,
    /// Up to which offset pages of the ledger were deleted.
    forgotten: BTreeMap<TopicPartition, i64>,
}

impl Hints {
    /// Takes out where the checkpoints of `advances` are; `None` unless that is known of all of them.
    pub(super) fn take_places(&mut self, advances: &[Advance]) -> Option<Vec<String>> {
        // Of each, whatever comes of the others: it is known again when the commit has succeeded.
        let places: Vec<_> = advances.iter().map(|advance| self.places.remove(&advance.partition)).collect();
        places.into_iter().collect()
    }

    /// Notes where checkpoints are once the transaction is committed.
    pub(super) fn note_places(&mut self, places: Vec<(TopicPartition, String)>) {
        self.places.extend(places);
    }

    /// Up to where there are no pages of the ledger before those that `page` lets go, and that there will be none up to
    /// there once the transaction is committed.
    pub(super) fn forget(&mut self, page: &LedgerPage) -> i64 {
        let forgotten = self.forgotten.insert(page.partition.clone(), page.forget_to);
        // A checkpoint that was moved back begins anew.
        forgotten.filter(|forgotten| *forgotten <= page.forget_to).unwrap_or(i64::MIN)
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
    fn places_are_given_for_all_partitions_of_a_commit_or_for_none() {
        let mut hints = Hints::default();
        assert_eq!(hints.take_places(&[advance(0)]), None);
        let places = || vec![(orders(0), "(0,1)".to_owned()), (orders(1), "(0,2)".to_owned())];
        hints.note_places(places());
        assert_eq!(hints.take_places(&[advance(1), advance(0)]), Some(vec!["(0,2)".into(), "(0,1)".into()]));
        hints.note_places(places());
        assert_eq!(hints.take_places(&[advance(0), advance(2)]), None);
        assert_eq!(hints.take_places(&[advance(0)]), None, "it may have been moved by that commit");
        assert_eq!(hints.take_places(&[advance(1)]), Some(vec!["(0,2)".into()]));
    }

    #[test]
    fn pages_that_were_forgotten_are_not_looked_for_again() {
        let page = |forget_to| LedgerPage { partition: orders(0), to: forget_to + 10, entries: Vec::new(), forget_to };
        let mut hints = Hints::default();
        assert_eq!(hints.forget(&page(5)), i64::MIN);
        assert_eq!(hints.forget(&page(7)), 5);
        assert_eq!(hints.forget(&page(7)), 7);
        assert_eq!(hints.forget(&page(3)), i64::MIN, "the checkpoint was moved back");
        assert_eq!(hints.forget(&page(4)), 3);
    }
}
