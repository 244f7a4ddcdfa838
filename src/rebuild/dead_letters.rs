//! Parked records, tried again or left out as operators ask for.
//!
//! A sequence is settled from its front, some records a transaction, each under the parking epoch under which they were
//! read. Whoever owns the partition meanwhile parks what comes next behind them, until none is left: then the next
//! commit, which knows no more than that something has changed, finds the key free.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use readcast_core::{ChangeSet, Definition};

use super::OperationReconciler;
use crate::error::Failure;
use crate::plan::{AllowedChanges, CurrentRecord, Replay, Rules, replay};
use crate::store::{
    Amendment, GenerationState, GenerationStatus, Leadership, Operation, OperationProgress, ParkedIn, ParkedRecord,
    ParkedSequence, PoisonCause, PoisonClass, Priority, SettleAction, SettleRequest, Settlement, StoreError,
    WaitingRecords, Writer,
};
use crate::worker::{WatchdogError, with_watchdog};

/// How many records are settled in one transaction at most.
const MOST_AT_ONCE: usize = 500;

/// What became of the sequences that were meant.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// How many sequences wait no longer.
    freed: u64,
    /// How many records wait no longer.
    settled: u64,
    /// Where others still wait, and for what.
    stuck: Vec<String>,
}

impl Outcome {
    /// In a sentence.
    pub(super) fn sentence(&self) -> String {
        const SHOWN: usize = 5;
        let mut text = format!("free again: {}; no longer waiting: {}", keys(self.freed), records(self.settled));
        if !self.stuck.is_empty() {
            let more = self.stuck.len().saturating_sub(SHOWN);
            let shown = self.stuck.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
            text += &format!("; still waiting: {}, {shown}", keys(self.stuck.len() as u64));
            text += &if more > 0 { format!(" and {more} more") } else { String::new() };
        }
        text
    }

    /// Whether everything that was meant is settled.
    pub(super) fn is_complete(&self) -> bool {
        self.stuck.is_empty()
    }
}

fn keys(count: u64) -> String {
    format!("{count} {}", if count == 1 { "key" } else { "keys" })
}

fn records(count: u64) -> String {
    format!("{count} {}", if count == 1 { "record" } else { "records" })
}

/// Settles what `resolve` asks for in every generation that this process can feed. What it says is of the live one.
pub(super) async fn resolve(
    reconciler: &OperationReconciler,
    lead: &mut dyn Leadership,
    operation: &Operation,
    statuses: &[GenerationStatus],
    resolve: &SettleRequest,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    for status in statuses.iter().filter(|status| status.state.is_fed() && status.has_tables) {
        let Some(definition) = reconciler.version(&status.definition_hash) else { continue };
        let of = ParkedIn { projection: &status.projection, generation: status.generation };
        let mut sequences = reconciler.store.parked(of).await?;
        sequences.retain(|sequence| resolve.selection.matches(sequence));
        let mut settling = Settling {
            reconciler,
            of,
            definition,
            allowed: if status.repeats { AllowedChanges::Repeatable } else { AllowedChanges::All },
            resolution: &resolve.resolution,
            by: &operation.requested_by,
            writer: reconciler.store.writer(definition, status.generation, Priority::Operation.into()).await?,
            outcome: Outcome::default(),
        };
        for (done, sequence) in sequences.iter().enumerate() {
            if reconciler.stop.is_cancelled() || !is_open(reconciler, operation).await? {
                break;
            }
            settling.sequence(sequence).await?;
            let progress = OperationProgress {
                phase: "settling".into(),
                done: done as u64 + 1,
                total: sequences.len() as u64,
                per_second: None,
            };
            lead.progress(operation.id, &progress).await?;
        }
        if status.state == GenerationState::Live {
            outcome = settling.outcome;
        }
    }
    Ok(outcome)
}

async fn is_open(reconciler: &OperationReconciler, operation: &Operation) -> Result<bool, StoreError> {
    let open = reconciler.store.operations(reconciler.name(), 0).await?;
    Ok(open.iter().any(|other| other.id == operation.id))
}

/// The settling of sequences of one generation.
struct Settling<'a> {
    reconciler: &'a OperationReconciler,
    of: ParkedIn<'a>,
    definition: &'a Definition,
    allowed: AllowedChanges,
    resolution: &'a SettleAction,
    by: &'a str,
    writer: Box<dyn Writer>,
    outcome: Outcome,
}

impl Settling<'_> {
    /// Settles a sequence from its front, as far as that goes.
    async fn sequence(&mut self, sequence: &ParkedSequence) -> Result<(), Failure> {
        let (store, mut most) = (self.reconciler.store.clone(), MOST_AT_ONCE);
        loop {
            let waiting = store.waiting(self.of, &sequence.partition, &sequence.id, 0, most).await?;
            if waiting.records.is_empty() {
                self.outcome.freed += 1;
                return Ok(());
            }
            let settlement = self.settlement(sequence, &waiting).await?;
            let settled = settlement.settled.len();
            match self.writer.settle(&settlement).await {
                Ok(Some(_)) => {
                    self.outcome.settled += settled as u64;
                    if let Some((offset, cause)) = settlement.failed {
                        let position = sequence.partition.at(offset);
                        self.outcome.stuck.push(format!("{position} ({})", cause.class));
                        return Ok(());
                    }
                    most = MOST_AT_ONCE;
                }
                // It has changed since it was read.
                Ok(None) => {}
                Err(StoreError::Unstorable { reason, .. }) if settled > 1 => {
                    tracing::debug!(reason, "the database refused some of {settled} records");
                    most = settled / 2;
                }
                Err(StoreError::Unstorable { reason, .. }) => return self.refused(sequence, settlement, reason).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Notes that the database refuses the rows of the first record.
    async fn refused(
        &mut self,
        sequence: &ParkedSequence,
        settlement: Settlement,
        reason: String,
    ) -> Result<(), Failure> {
        let offset = settlement.settled.first().copied().unwrap_or(sequence.first_offset);
        let noted = Settlement {
            settled: Vec::new(),
            changes: ChangeSet::new(),
            failed: Some((offset, PoisonCause::new(PoisonClass::Unstorable, reason))),
            amendments: Vec::new(),
            ..settlement
        };
        self.writer.settle(&noted).await?;
        self.outcome.stuck.push(format!("{} ({})", sequence.partition.at(offset), PoisonClass::Unstorable));
        Ok(())
    }

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
        let discarded = match self.resolution {
            SettleAction::Discard { whole: true } => records.len(),
            SettleAction::Discard { whole: false } if is_first(&records, sequence) => 1,
            SettleAction::Discard { .. } | SettleAction::Retry { .. } => 0,
        };
        for record in records.drain(..discarded) {
            settlement.settled.push(record.letter.record.offset);
            settlement.amendments.push((record.letter.record.offset, Amendment::Discard));
        }
        let edited = match self.resolution {
            SettleAction::Retry { edited: Some(text) } if is_first(&records, sequence) => {
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

    /// What a rebuild must know of records that are projected now.
    fn amendments(&self, settled: &[i64], edited: Option<Bytes>) -> Vec<(i64, Amendment)> {
        let mut amendments: Vec<_> = match self.reconciler.record_policy.duplicate_window {
            0 => Vec::new(),
            // Their ids may have been there before: that is decided now.
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

fn is_first(records: &[ParkedRecord], sequence: &ParkedSequence) -> bool {
    records.first().is_some_and(|record| record.letter.record.offset == sequence.first_offset)
}
