//! The partitions of a lane: where each stands, and what was decided about its records.

use std::collections::BTreeMap;
use std::sync::Arc;

use readcast_core::TopicPartition;

use super::PendingBatches;
use crate::plan::PartitionCursor;
use crate::source::{Assignment, AssignmentEpoch, Batch};
use crate::store::{Checkpoint, Commit, PartitionState};

/// The partitions of one lane.
#[derive(Default)]
pub(super) struct LanePartitions(BTreeMap<TopicPartition, LanePartition>);

struct LanePartition {
    assignment: AssignmentEpoch,
    cursor: PartitionCursor,
    /// What was decided about its records; read from the store while it is `None`.
    state: Option<Arc<PartitionState>>,
}

impl LanePartitions {
    pub(super) fn add(&mut self, checkpoint: Checkpoint, assignment: AssignmentEpoch) {
        let Checkpoint { partition, next_offset, owner_epoch, .. } = checkpoint;
        let cursor = PartitionCursor { next_offset, owner_epoch, hold_at: None };
        self.0.insert(partition, LanePartition { assignment, cursor, state: None });
    }

    /// Whether the batch was read under the assignment by which this process owns its partition now.
    pub(super) fn own(&self, batch: &Batch, now: &Assignment) -> bool {
        let owned_under = self.0.get(&batch.partition).map(|partition| partition.assignment);
        owned_under == Some(batch.assignment) && now.holds(&batch.partition, batch.assignment)
    }

    /// The batch with where its partition stands, once that partition's state is known.
    pub(super) fn with_state(&self, batch: &Arc<Batch>) -> Option<(Arc<Batch>, PartitionCursor, Arc<PartitionState>)> {
        let partition = self.0.get(&batch.partition)?;
        Some((batch.clone(), partition.cursor, partition.state.clone()?))
    }

    /// The partitions of these batches whose state is not known.
    pub(super) fn without_state(&self, batches: &PendingBatches) -> Vec<TopicPartition> {
        let mut unknown: Vec<TopicPartition> = batches.iter().map(|(batch, _)| batch.partition.clone()).collect();
        unknown.retain(|partition| self.0.get(partition).is_some_and(|partition| partition.state.is_none()));
        unknown.sort();
        unknown.dedup();
        unknown
    }

    pub(super) fn set_states(&mut self, states: impl IntoIterator<Item = (TopicPartition, PartitionState)>) {
        for (partition, state) in states {
            if let Some(partition) = self.0.get_mut(&partition) {
                partition.state = Some(Arc::new(state));
            }
        }
    }

    /// An operator has changed what is parked: all states are read again.
    pub(super) fn forget_states(&mut self) {
        self.0.values_mut().for_each(|partition| partition.state = None);
    }

    /// These partitions are held at these offsets.
    pub(super) fn hold(&mut self, holds: impl IntoIterator<Item = (TopicPartition, i64)>) {
        for (partition, hold_at) in holds {
            if let Some(partition) = self.0.get_mut(&partition) {
                partition.cursor.hold_at = Some(hold_at);
            }
        }
    }

    /// The next commit tells which holds are still there.
    pub(super) fn forget_holds(&mut self) {
        self.0.values_mut().for_each(|partition| partition.cursor.hold_at = None);
    }

    /// Takes into account what a commit has decided.
    pub(super) fn advance(&mut self, commit: &Commit) {
        for advance in &commit.advances {
            if let Some(partition) = self.0.get_mut(&advance.partition) {
                partition.cursor.next_offset = advance.to;
                if let Some(state) = partition.state.as_mut().filter(|_| commit.is_memorable()) {
                    Arc::make_mut(state).record(&advance.partition, commit);
                }
            }
        }
    }

    /// Removes the records that are committed, so that none is counted twice.
    pub(super) fn drop_committed(&self, batches: &mut PendingBatches) {
        for (batch, _) in batches {
            if let Some(partition) = self.0.get(&batch.partition) {
                let next_offset = partition.cursor.next_offset;
                Arc::make_mut(batch).records.retain(|record| record.offset >= next_offset);
            }
        }
    }
}
