//! Which record a plan is at, so that a record that the projection does not finish is known.

use std::sync::{Mutex, PoisonError};

use readcast_core::{Position, TopicPartition};

/// The record that a plan is at. Shared between the thread that plans and the watchdog.
#[derive(Debug, Default)]
pub struct CurrentRecord(Mutex<Option<(TopicPartition, i64)>>);

impl CurrentRecord {
    /// The plan begins with this record.
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
