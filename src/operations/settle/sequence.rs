//! Settles one sequence after another in one generation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use readcast_core::{ChangeSet, Definition, Position};

use super::Summary;
use crate::error::Failure;
use crate::plan::{AllowedChanges, CurrentRecord, RecordPolicy, Replay, Rules, replay};
use crate::store::{
    Amendment, ParkedIn, ParkedRecord, ParkedSequence, PoisonCause, PoisonClass, SettleAction, Settlement, Store,
    StoreError, WaitingRecords, Writer,
};
use crate::worker::{WatchdogError, with_watchdog};

/// How many records one transaction settles at most.
const MOST_AT_ONCE: usize = 500;

/// Where the decisions about records come from.
#[derive(Clone, Copy)]
pub(super) enum Resolution<'a> {
    /// An operator requests the same for each sequence.
    Requested(&'a SettleAction),
    /// They were made earlier, about another generation.
    Decided(&'a BTreeMap<Position, Amendment>),
}

/// Settles one sequence after another in one generation.
pub(super) struct SequenceSettler<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) record_policy: &'a Arc<RecordPolicy>,
    pub(super) of: ParkedIn<'a>,
    pub(super) definition: &'a Definition,
    pub(super) allowed: AllowedChanges,
    pub(super) resolution: Resolution<'a>,
    /// The operator who decided.
    pub(super) by: &'a str,
    /// Why, in the operator's words.
    pub(super) reason: Option<&'a str>,
    pub(super) writer: Box<dyn Writer>,
    pub(super) summary: Summary,
}

impl SequenceSettler<'_> {
    /// Settles the sequence from its front, up to the first record that can't be projected.
    pub(super) async fn settle(&mut self, sequence: &ParkedSequence) -> Result<(), Failure> {
        let (store, mut most) = (self.store, MOST_AT_ONCE);
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
            reason: self.reason.map(ToOwned::to_owned),
        };
        let decisions = self.decisions(sequence, &waiting.records);
        let mut records = Vec::new();
        for mut record in waiting.records.iter().cloned() {
            let offset = record.letter.record.offset;
            match decisions.get(&offset) {
                Some(Amendment::Discard) => {
                    settlement.settled.push(offset);
                    settlement.amendments.push((offset, Amendment::Discard));
                    continue;
                }
                Some(Amendment::Replace(value)) => record.letter.record.value = Some(value.clone()),
                Some(Amendment::Accept) | None => {}
            }
            records.push(record);
        }
        let replayed = self.replay(sequence, records).await?;
        settlement.amendments.extend(self.amendments(&replayed.settled, &decisions));
        settlement.settled.extend(replayed.settled);
        settlement.changes = replayed.changes;
        settlement.failed = replayed.failed;
        Ok(settlement)
    }

    /// What is decided about these records of the sequence, by offset.
    fn decisions(&self, sequence: &ParkedSequence, records: &[ParkedRecord]) -> BTreeMap<i64, Amendment> {
        let offsets = records.iter().map(|record| record.letter.record.offset);
        // Somebody else may have settled the record with which the sequence began.
        let front = offsets.clone().take(1).filter(|offset| *offset == sequence.first_offset);
        match self.resolution {
            Resolution::Requested(SettleAction::Discard { whole: true }) => {
                offsets.map(|offset| (offset, Amendment::Discard)).collect()
            }
            Resolution::Requested(SettleAction::Discard { whole: false }) => {
                front.map(|offset| (offset, Amendment::Discard)).collect()
            }
            Resolution::Requested(SettleAction::Retry { edited: Some(text) }) => {
                front.map(|offset| (offset, Amendment::Replace(Bytes::from(text.clone())))).collect()
            }
            Resolution::Requested(SettleAction::Retry { edited: None }) => BTreeMap::new(),
            Resolution::Decided(decided) => {
                let of = |offset| Some((offset, decided.get(&sequence.partition.at(offset))?.clone()));
                offsets.filter_map(of).collect()
            }
        }
    }

    /// What a later rebuild must know about the records that are projected now, to come to the same rows.
    fn amendments(&self, settled: &[i64], decisions: &BTreeMap<i64, Amendment>) -> Vec<(i64, Amendment)> {
        // A retry projects a record even if its id was there before. A rebuild has to do the same.
        let accepts = !self.record_policy.duplicate_window.is_off();
        let amendment = |offset: &i64| match decisions.get(offset) {
            Some(Amendment::Replace(value)) => Some((*offset, Amendment::Replace(value.clone()))),
            _ => accepts.then_some((*offset, Amendment::Accept)),
        };
        settled.iter().filter_map(amendment).collect()
    }

    async fn replay(&self, sequence: &ParkedSequence, records: Vec<ParkedRecord>) -> Result<Replay, Failure> {
        let letters: Vec<_> = records.iter().map(|record| record.letter.record.clone()).collect();
        self.record_policy.decoders.prepare(&sequence.partition.topic, &letters).await?;
        let (definition, record_policy) = (self.definition.clone(), self.record_policy.clone());
        let (partition, allowed) = (sequence.partition.clone(), self.allowed);
        let work = move |current: &CurrentRecord| {
            let rules = Rules {
                definition: &definition,
                policy: &record_policy,
                allowed,
                known_poison: &BTreeMap::new(),
                parking: None,
                most_applied: usize::MAX,
                audits_order: false,
                current,
            };
            replay(rules, &partition, &records)
        };
        match with_watchdog(Duration::from_millis(self.record_policy.longest_projection_ms), work).await {
            Ok(replayed) => Ok(replayed),
            Err(WatchdogError::Hung(position, cause)) => {
                Ok(Replay { failed: Some((position.offset, cause)), ..Replay::default() })
            }
            Err(WatchdogError::Panicked(text)) => Err(Failure::Panicked(text)),
        }
    }
}
