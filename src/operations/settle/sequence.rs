//! Settles one sequence after another in one generation.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use readcast_core::{ChangeSet, Definition};

use super::Summary;
use crate::error::Failure;
use crate::operations::OperationReconciler;
use crate::plan::{AllowedChanges, CurrentRecord, Replay, Rules, replay};
use crate::store::{
    Amendment, ParkedIn, ParkedRecord, ParkedSequence, PoisonCause, PoisonClass, SettleAction, Settlement, StoreError,
    WaitingRecords, Writer,
};
use crate::worker::{WatchdogError, with_watchdog};

/// How many records one transaction settles at most.
const MOST_AT_ONCE: usize = 500;

/// Settles one sequence after another in one generation.
pub(super) struct SequenceSettler<'a> {
    pub(super) reconciler: &'a OperationReconciler,
    pub(super) of: ParkedIn<'a>,
    pub(super) definition: &'a Definition,
    pub(super) allowed: AllowedChanges,
    pub(super) action: &'a SettleAction,
    /// The operator who requested it.
    pub(super) by: &'a str,
    pub(super) writer: Box<dyn Writer>,
    pub(super) summary: Summary,
}

impl SequenceSettler<'_> {
    /// Settles the sequence from its front, up to the first record that can't be projected.
    pub(super) async fn settle(&mut self, sequence: &ParkedSequence) -> Result<(), Failure> {
        let (store, mut most) = (self.reconciler.store.clone(), MOST_AT_ONCE);
        loop {
            let waiting = store.waiting(self.of, &sequence.partition, &sequence.id, 0, most).await?;
            if waiting.records.is_empty() {
                self.summary.add_free(sequence);
                return Ok(());
            }
            let settlement = self.settlement(sequence, &waiting).await?;
            let settled = settlement.settled.len();
            match self.writer.settle(&settlement).await {
                Ok(Some(_)) => {
                    self.count(&settlement);
                    if let Some((offset, cause)) = settlement.failed {
                        self.summary.add_failing(sequence, offset, cause.class);
                        return Ok(());
                    }
                    most = MOST_AT_ONCE;
                }
                // The sequence has changed since it was read: it is read again.
                Ok(None) => {}
                Err(StoreError::Unstorable { .. }) if settled > 1 => {
                    tracing::debug!(
                        "the database refused rows of some of {settled} records: fewer are settled at once"
                    );
                    most = settled / 2;
                }
                Err(StoreError::Unstorable { reason, .. }) => {
                    return self.record_unstorable(sequence, settlement, reason).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn count(&mut self, settlement: &Settlement) {
        let is_discard = |(_, amendment): &&(i64, Amendment)| *amendment == Amendment::Discard;
        let discarded = settlement.amendments.iter().filter(is_discard).count() as u64;
        self.summary.discarded += discarded;
        self.summary.projected += settlement.settled.len() as u64 - discarded;
    }

    /// Records that the database refuses the rows of the sequence's first record.
    async fn record_unstorable(
        &mut self,
        sequence: &ParkedSequence,
        settlement: Settlement,
        reason: String,
    ) -> Result<(), Failure> {
        let offset = settlement.settled.first().copied().unwrap_or(sequence.first_offset);
        let failed = Settlement {
            settled: Vec::new(),
            changes: ChangeSet::new(),
            failed: Some((offset, PoisonCause::new(PoisonClass::Unstorable, reason))),
            amendments: Vec::new(),
            ..settlement
        };
        self.writer.settle(&failed).await?;
        self.summary.add_failing(sequence, offset, PoisonClass::Unstorable);
        Ok(())
    }

    /// What becomes of the records that wait at the front of the sequence.
    async fn settlement(&self, sequence: &ParkedSequence, waiting: &WaitingRecords) -> Result<Settlement, Failure> {
        let mut settlement = Settlement {
            partition: sequence.partition.clone(),
            parking_epoch: waiting.parking_epoch,
            settled: Vec::new(),
            changes: ChangeSet::new(),
            failed: None,
            amendments: Vec::new(),
            by: self.by.to_owned(),
        };
        let mut records = waiting.records.clone();
        let discarded = match self.action {
            SettleAction::Discard { whole: true } => records.len(),
            SettleAction::Discard { whole: false } if is_front(&records, sequence) => 1,
            SettleAction::Discard { .. } | SettleAction::Retry { .. } => 0,
        };
        for record in records.drain(..discarded) {
            settlement.settled.push(record.letter.record.offset);
            settlement.amendments.push((record.letter.record.offset, Amendment::Discard));
        }
        let edited = match self.action {
            SettleAction::Retry { edited: Some(text) } if is_front(&records, sequence) => {
                Some(Bytes::from(text.clone()))
            }
            _ => None,
        };
        if let (Some(value), Some(first)) = (&edited, records.first_mut()) {
            first.letter.record.value = Some(value.clone());
        }
        let replayed = self.replay(sequence, records).await?;
        settlement.amendments.extend(self.amendments(&replayed.settled, edited));
        settlement.settled.extend(replayed.settled);
        settlement.changes = replayed.changes;
        settlement.failed = replayed.failed;
        Ok(settlement)
    }

    /// What a later rebuild must know about the records that are projected now, to come to the same rows.
    fn amendments(&self, settled: &[i64], edited: Option<Bytes>) -> Vec<(i64, Amendment)> {
        let mut amendments: Vec<_> = match self.reconciler.record_policy.duplicate_window {
            0 => Vec::new(),
            // A retry projects a record even if its id was there before. A rebuild has to do the same.
            _ => settled.iter().map(|offset| (*offset, Amendment::Accept)).collect(),
        };
        if let (Some(value), Some(first)) = (edited, settled.first()) {
            amendments.retain(|(offset, _)| offset != first);
            amendments.push((*first, Amendment::Replace(value)));
        }
        amendments
    }

    async fn replay(&self, sequence: &ParkedSequence, records: Vec<ParkedRecord>) -> Result<Replay, Failure> {
        let (definition, record_policy) = (self.definition.clone(), self.reconciler.record_policy.clone());
        let (partition, allowed) = (sequence.partition.clone(), self.allowed);
        let work = move |current: &CurrentRecord| {
            let rules = Rules {
                definition: &definition,
                policy: &record_policy,
                allowed,
                known_poison: &BTreeMap::new(),
                parking: None,
                most_applied: usize::MAX,
                current,
            };
            replay(rules, &partition, &records)
        };
        match with_watchdog(Duration::from_millis(self.reconciler.record_policy.longest_projection_ms), work).await {
            Ok(replayed) => Ok(replayed),
            Err(WatchdogError::Hung(position, cause)) => {
                Ok(Replay { failed: Some((position.offset, cause)), ..Replay::default() })
            }
            Err(WatchdogError::Panicked(text)) => Err(Failure::Panicked(text)),
        }
    }
}

/// Whether the first of `records` is still the one with which the sequence began when the operation started.
fn is_front(records: &[ParkedRecord], sequence: &ParkedSequence) -> bool {
    records.first().is_some_and(|record| record.letter.record.offset == sequence.first_offset)
}
