//! Where a plan shows which record it is at, so that one that the projection does not get done with is known.

use std::sync::{Mutex, PoisonError};

use readcast_core::{Position, TopicPartition};

/// The record that a plan is at. Shared between who plans and who watches.
#[derive(Debug, Default)]
pub struct CurrentRecord(Mutex<Option<(TopicPartition, i64)>>);

impl CurrentRecord {
    /// The plan has come to this record.
    pub(super) fn set(&self, partition: &TopicPartition, offset: i64) {
        let mut at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *at {
            Some((of, last)) if of == partition => *last = offset,
            at => *at = Some((partition.clone(), offset)),
        }
    }

    /// The record that the plan is at, or was at last.
    pub fn at(&self) -> Option<Position> {
        let at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        at.as_ref().map(|(partition, offset)| partition.at(*offset))
    }
}
