//! How far a bounded run has to go, and how far it is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use readcast_core::TopicPartition;

use crate::source::Extents;

/// The offsets that a bounded run has to reach.
#[derive(Debug)]
pub(super) struct Goal {
    /// What is left: where each partition stands, and where it has to get.
    left: BTreeMap<TopicPartition, (i64, i64)>,
    /// How many offsets the partitions that got there had to go.
    reached: u64,
}

impl Goal {
    /// The ends that the log has now.
    pub(super) fn ends_of(extents: &Extents) -> Self {
        let left = extents.iter().map(|(partition, extent)| (partition.clone(), (extent.start, extent.end)));
        let mut goal = Self { left: left.collect(), reached: 0 };
        goal.settle();
        goal
    }

    /// The partition stands here.
    pub(super) fn stands(&mut self, partition: &TopicPartition, next_offset: i64) {
        if let Some((standing, _)) = self.left.get_mut(partition) {
            *standing = next_offset;
        }
        self.settle();
    }

    /// All that the partition holds ends at this offset: what the log counts beyond it are no records. (A transactional
    /// producer's markers take offsets, so a partition's end can be an offset that no record ever has.)
    pub(super) fn ends_at(&mut self, partition: &TopicPartition, end: i64) {
        if let Some((_, goal)) = self.left.get_mut(partition) {
            *goal = end.min(*goal);
        }
        self.settle();
    }

    pub(super) fn is_reached(&self) -> bool {
        self.left.is_empty()
    }

    pub(super) fn progress(&self) -> Progress {
        let offsets = |offsets: fn(&(i64, i64)) -> i64| -> u64 {
            self.left.values().map(|pair| u64::try_from(offsets(pair)).unwrap_or(0)).sum()
        };
        let done = self.reached + offsets(|(standing, _)| *standing);
        Progress { done, total: self.reached + offsets(|(_, goal)| *goal) }
    }

    fn settle(&mut self) {
        self.left.retain(|_, (standing, goal)| {
            let left = standing < goal;
            if !left {
                self.reached += u64::try_from(*goal).unwrap_or(0);
            }
            left
        });
    }
}

/// How far a projection is on its way, in offsets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many are behind it.
    pub done: u64,
    /// How many there are.
    pub total: u64,
}

/// How far every projection of a bounded run is, for whoever shows it.
#[derive(Clone, Debug, Default)]
pub struct Goals(Arc<Mutex<BTreeMap<String, Progress>>>);

impl Goals {
    pub(super) fn set(&self, projection: &str, progress: Progress) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(projection.to_owned(), progress);
    }

    /// By projection.
    pub fn snapshot(&self) -> BTreeMap<String, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Extent;

    #[test]
    fn a_goal_is_reached_when_every_partition_is_there() {
        let partition = |number| TopicPartition::new("orders", number);
        let extent = |end| Extent { end, ..Extent::default() };
        let mut goal = Goal::ends_of(&Extents::from([
            (partition(0), extent(10)),
            (partition(1), extent(0)),
            (partition(2), extent(5)),
        ]));
        assert_eq!(goal.left.len(), 2, "an empty partition is there already");
        goal.stands(&partition(0), 9);
        assert!(!goal.is_reached());
        assert_eq!(goal.progress(), Progress { done: 9, total: 15 });
        goal.stands(&partition(0), 12);
        goal.ends_at(&partition(2), 4);
        goal.stands(&partition(2), 4);
        assert!(goal.is_reached());
    }
}
