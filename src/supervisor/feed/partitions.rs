//! The partitions that this process owns, and where each of them stands.

use std::collections::BTreeMap;
use std::collections::btree_map::Iter;

use readcast_core::TopicPartition;

use crate::error::Failure;
use crate::source::{Extents, SourceError, Verdict, verify};
use crate::store::{Checkpoint, Positions};

/// One partition that this process owns.
pub(super) struct OwnedPartition {
    /// The lane that commits its records.
    pub(super) lane: usize,
    /// The end of what its lane was given.
    pub(super) delivered: i64,
    /// The end of what is committed.
    pub(super) next_offset: i64,
    /// The position that was last sent to the log.
    mirrored: Option<i64>,
    /// Which log its records are of, where that is known.
    log_id: Option<String>,
}

/// All of them.
#[derive(Default)]
pub(super) struct OwnedPartitions(BTreeMap<TopicPartition, OwnedPartition>);

impl OwnedPartitions {
    /// Adds a partition at its checkpoint, and returns the one of `lanes` that has the fewest.
    pub(super) fn add(&mut self, checkpoint: &Checkpoint, lanes: usize) -> usize {
        let load = |lane: &usize| self.0.values().filter(|partition| partition.lane == *lane).count();
        let lane = (0..lanes).min_by_key(load).unwrap_or(0);
        let Checkpoint { partition, next_offset, log_id, .. } = checkpoint;
        let (next_offset, log_id) = (*next_offset, log_id.clone());
        let owned = OwnedPartition { lane, delivered: next_offset, next_offset, mirrored: None, log_id };
        self.0.insert(partition.clone(), owned);
        lane
    }

    pub(super) fn remove(&mut self, partition: &TopicPartition) {
        self.0.remove(partition);
    }

    pub(super) fn get(&self, partition: &TopicPartition) -> Option<&OwnedPartition> {
        self.0.get(partition)
    }

    pub(super) fn get_mut(&mut self, partition: &TopicPartition) -> Option<&mut OwnedPartition> {
        self.0.get_mut(partition)
    }

    pub(super) fn iter(&self) -> Iter<'_, TopicPartition, OwnedPartition> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether everything that the log holds of them is committed.
    pub(super) fn are_at_end(&self, extents: &Extents) -> bool {
        let is_at_end = |(partition, owned): (&TopicPartition, &OwnedPartition)| {
            extents.get(partition).is_some_and(|extent| extent.end <= owned.next_offset)
        };
        self.0.iter().all(is_at_end)
    }

    /// Makes sure that the log was neither recreated nor truncated while it was read.
    ///
    /// # Errors
    /// The verdict on the first partition whose log was recreated or truncated. A gap is no error here: records that
    /// the log's client has fetched already are not lost even if the log now begins after them, and the client reports
    /// records that are lost.
    pub(super) fn verify_log(&self, extents: &Extents) -> Result<(), Failure> {
        for (partition, owned) in &self.0 {
            let Some(extent) = extents.get(partition) else { continue };
            match verify(owned.delivered, owned.log_id.as_deref(), extent) {
                Ok(()) | Err(Verdict::Gap { .. }) => {}
                Err(verdict) => return Err(SourceError::Verdict { partition: partition.clone(), verdict }.into()),
            }
        }
        Ok(())
    }

    /// Makes sure that the store still has what was committed.
    ///
    /// # Errors
    /// When a checkpoint is before what was committed: the database was restored to an earlier state. On a quiet log no
    /// commit would notice that.
    pub(super) fn verify_store(&self, stored: &Positions) -> Result<(), Failure> {
        let is_behind = |(partition, next_offset): (&TopicPartition, &i64)| {
            self.0.get(partition).is_some_and(|owned| *next_offset < owned.next_offset)
        };
        let behind: Vec<_> =
            stored.iter().filter(|entry| is_behind(*entry)).map(|(partition, _)| partition.clone()).collect();
        if behind.is_empty() { Ok(()) } else { Err(Failure::Fenced(behind)) }
    }

    /// The positions to send to the log: those that have changed since the last time, or `all`.
    pub(super) fn take_positions_to_mirror(&mut self, all: bool) -> Vec<(TopicPartition, i64)> {
        let mut positions = Vec::new();
        for (partition, owned) in &mut self.0 {
            if all || owned.mirrored != Some(owned.next_offset) {
                owned.mirrored = Some(owned.next_offset);
                positions.push((partition.clone(), owned.next_offset));
            }
        }
        positions
    }
}
