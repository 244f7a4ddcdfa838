//! The part of a plan that concerns one partition.

use std::collections::BTreeSet;

use readcast_core::{AffectedRow, TopicPartition};

use super::identity::{DuplicateClass, Identity};
use super::{DeadLetter, OutOfStep, PartitionCursor, PartitionState, PoisonCause, SequenceId};
use crate::decode::{Decoder, Events};
use crate::source::{Batch, Record};
use crate::store::{Advance, DuplicateWindow, LedgerEntry, LedgerPage};

pub(super) struct PartitionPlan<'a> {
    pub(super) advance: Advance,
    pub(super) state: &'a PartitionState,
    /// The decoder of the partition's topic.
    pub(super) decoder: &'a dyn Decoder,
    /// The sequences that this plan parks.
    parked: BTreeSet<SequenceId>,
    /// The ids that this plan adds to the ledger, in order.
    entries: Vec<LedgerEntry>,
    seen: DuplicateWindow,
}

impl<'a> PartitionPlan<'a> {
    pub(super) fn new(
        batch: &Batch,
        cursor: PartitionCursor,
        state: &'a PartitionState,
        decoder: &'a dyn Decoder,
    ) -> Self {
        let PartitionCursor { next_offset, owner_epoch, .. } = cursor;
        let advance = Advance {
            partition: batch.partition.clone(),
            from: next_offset,
            to: next_offset,
            owner_epoch,
            parking_epoch: state.parking_epoch,
            leader_epoch: None,
        };
        Self {
            advance,
            state,
            decoder,
            parked: BTreeSet::new(),
            entries: Vec::new(),
            seen: DuplicateWindow::new(state.window.offsets()),
        }
    }

    pub(super) fn partition(&self) -> &TopicPartition {
        &self.advance.partition
    }

    /// Makes sure that no record was lost before the batch.
    pub(super) fn verify_continuity(&self, batch: &Batch) -> Result<(), OutOfStep> {
        let expected = self.advance.to;
        if batch.from <= expected {
            return Ok(());
        }
        Err(OutOfStep { partition: batch.partition.clone(), expected, found: batch.from })
    }

    /// All records of the batch are planned, except those that are held.
    pub(super) fn end_batch(&mut self, batch: &Batch, cursor: PartitionCursor) {
        let to = cursor.hold_at.map_or(batch.to, |hold| batch.to.min(hold));
        self.advance.to = self.advance.to.max(to);
        if self.advance.to == batch.to {
            self.advance.leader_epoch = batch.leader_epoch;
        }
    }

    /// Whether an earlier record of the same key is parked.
    pub(super) fn is_behind_parked(&self, record: &Record) -> bool {
        if record.key.is_none() || (self.parked.is_empty() && self.state.parked.is_empty()) {
            return false;
        }
        let sequence = SequenceId::of(record);
        self.parked.contains(&sequence) || self.state.parked.contains(&sequence)
    }

    pub(super) fn park(
        &mut self,
        record: &Record,
        cause: Option<PoisonCause>,
        affected: Vec<AffectedRow>,
    ) -> DeadLetter {
        let sequence = SequenceId::of(record);
        self.parked.insert(sequence.clone());
        DeadLetter { partition: self.partition().clone(), record: record.clone(), sequence, cause, affected }
    }

    /// Compares the events of the record with those before them, and adds them to those where they are new.
    pub(super) fn classify_duplicate(
        &mut self,
        identity: &Identity,
        record: &Record,
        events: &Events<'_>,
    ) -> DuplicateClass {
        let window = &self.state.window;
        if window.offsets() == 0 {
            return DuplicateClass::New;
        }
        let last = |entry: &LedgerEntry| {
            self.seen.last(&entry.id, entry.offset).or_else(|| window.last(&entry.id, entry.offset))
        };
        let (class, new) = identity.classify_duplicate(record, events, last);
        if let Some(entry) = new {
            self.seen.add(entry);
            self.entries.push(entry);
        }
        class
    }

    pub(super) fn advances(&self) -> bool {
        self.advance.to > self.advance.from
    }

    pub(super) fn finish(mut self) -> (Advance, Option<LedgerPage>) {
        let (window, to) = (self.state.window.offsets(), self.advance.to);
        // The record at which planning had to stop is met again, and then is no duplicate of itself.
        self.entries.retain(|entry| entry.offset < to);
        let page =
            |entries| LedgerPage { partition: self.advance.partition.clone(), to, entries, forget_to: to - window };
        let page = (!self.entries.is_empty()).then_some(self.entries).map(page);
        (self.advance, page)
    }
}
