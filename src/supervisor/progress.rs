//! How far a bounded run has to go, and how far it is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use readcast_core::TopicPartition;

use crate::source::Extents;

/// The offsets that a bounded run has to reach.
#[derive(Debug)]
pub(super) struct TargetOffsets {
    /// The partitions that are not there yet: where each stands, and its target.
    open: BTreeMap<TopicPartition, (i64, i64)>,
    /// The sum of the targets that are reached.
    reached: u64,
}

impl TargetOffsets {
    /// The ends that the log has now.
    pub(super) fn ends_of(extents: &Extents) -> Self {
        let open = extents.iter().map(|(partition, extent)| (partition.clone(), (extent.start, extent.end)));
        let mut target = Self { open: open.collect(), reached: 0 };
        target.close_reached();
        target
    }

    /// The partition stands at `next_offset`.
    pub(super) fn reached(&mut self, partition: &TopicPartition, next_offset: i64) {
        if let Some((position, _)) = self.open.get_mut(partition) {
            *position = next_offset;
        }
        self.close_reached();
    }

    /// All that the partition holds ends at this offset: the offsets beyond it are no records. (A transactional producer's
    /// markers take offsets, so a partition's end can be an offset that no record ever has.)
    pub(super) fn ends_at(&mut self, partition: &TopicPartition, end: i64) {
        if let Some((_, target)) = self.open.get_mut(partition) {
            *target = end.min(*target);
        }
        self.close_reached();
    }

    /// Whether every partition is at its target.
    pub(super) fn are_reached(&self) -> bool {
        self.open.is_empty()
    }

    /// The sum over all partitions.
    pub(super) fn progress(&self) -> Progress {
        let sum = |offset: fn(&(i64, i64)) -> i64| -> u64 {
            self.open.values().map(|pair| u64::try_from(offset(pair)).unwrap_or(0)).sum()
        };
        let done = self.reached + sum(|(position, _)| *position);
        Progress { done, total: self.reached + sum(|(_, target)| *target) }
    }

    fn close_reached(&mut self) {
        self.open.retain(|_, (position, target)| {
            let is_open = position < target;
            if !is_open {
                self.reached += u64::try_from(*target).unwrap_or(0);
            }
            is_open
        });
    }
}

/// How far a projection is on its way, in offsets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many are projected.
    pub done: u64,
    /// How many there are.
    pub total: u64,
}

/// How far every projection of a bounded run is, for a display. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct RunProgress(Arc<Mutex<BTreeMap<String, Progress>>>);

impl RunProgress {
    pub(super) fn set(&self, projection: &str, progress: Progress) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(projection.to_owned(), progress);
    }

    /// The progress of each projection, by name.
    pub fn snapshot(&self) -> BTreeMap<String, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Extent;

    #[test]
    fn a_target_is_reached_when_every_partition_is_there() {
        let partition = |number| TopicPartition::new("orders", number);
        let extent = |end| Extent { end, ..Extent::default() };
        let mut target = TargetOffsets::ends_of(&Extents::from([
            (partition(0), extent(10)),
            (partition(1), extent(0)),
            (partition(2), extent(5)),
        ]));
        assert_eq!(target.open.len(), 2, "an empty partition is there already");
        target.reached(&partition(0), 9);
        assert!(!target.are_reached());
        assert_eq!(target.progress(), Progress { done: 9, total: 15 });
        target.reached(&partition(0), 12);
        target.ends_at(&partition(2), 4);
        target.reached(&partition(2), 4);
        assert!(target.are_reached());
    }
}
