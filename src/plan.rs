//! From records to a commit: a pure function, without I/O and without a clock.

mod current_record;
mod identity;
mod order_audit;
mod partition_plan;
mod project;
mod record_policy;
mod replay;
mod unhandled;

use std::collections::BTreeMap;
use std::ops::AddAssign;

use readcast_core::{AffectedRow, Change, Definition, Envelope, Position, TopicPartition};

pub use self::current_record::CurrentRecord;
pub(crate) use self::identity::DuplicateClass;
pub use self::identity::Identity;
pub use self::order_audit::{OrderAudit, OrderDependence};
use self::partition_plan::PartitionPlan;
pub use self::record_policy::RecordPolicy;
pub use self::replay::{Replay, replay};
pub use self::unhandled::{UnhandledTypes, is_handled_by_now};
use crate::decode::{self, Decoder, Events};
use crate::source::{Batch, Record};
use crate::store::{
    Amendment, Commit, DeadLetter, ParkingLimits, PartitionState, PoisonCause, PoisonClass, SequenceId,
};

/// What records become: a commit, and the record at which planning had to stop, if any.
#[derive(Debug, Default)]
pub struct Plan {
    /// All that can be written.
    pub commit: Commit,
    /// How many records ended in which way.
    pub tally: Tally,
    /// The first record that can neither be projected nor parked. The commit has neither this record nor a later one.
    pub poison: Option<Poison>,
    /// Whether records were left out because their partition is held.
    pub held: bool,
    /// Whether records were left out because `Rules::most_applied` was reached.
    pub cut: bool,
    /// The last record whose changes are in the commit.
    pub last_applied: Option<Position>,
    /// Events of types that no projection handles.
    pub unhandled: UnhandledTypes,
    /// The operations on rows, where [`Rules::audits_order`] asks for them.
    pub order: OrderAudit,
}

/// Every record that was read ends as exactly one of these, or as the poison at which planning stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Its changes are in the commit.
    pub applied: u64,
    /// The projection does not subscribe to its type.
    pub not_subscribed: u64,
    /// An event with its id came before.
    pub duplicates: u64,
    /// It is poison, or a later record of a key that is parked: a dead letter of the commit.
    pub parked: u64,
    /// An operator decided to leave it out.
    pub discarded: u64,
    /// It is before the checkpoint: applied earlier, delivered again.
    pub already_applied: u64,
    /// Beside the others: how many events were not the next of their key, where events are numbered.
    pub gaps: u64,
    /// Beside the others: how many events that the projection subscribes to had no identity, where one is configured.
    pub unidentified: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, next: Tally) {
        let Tally { applied, not_subscribed, duplicates, parked, discarded, already_applied, gaps, unidentified } =
            next;
        self.applied += applied;
        self.not_subscribed += not_subscribed;
        self.duplicates += duplicates;
        self.parked += parked;
        self.discarded += discarded;
        self.already_applied += already_applied;
        self.gaps += gaps;
        self.unidentified += unidentified;
    }
}

/// A record that can't be projected.
///
/// Its display leaves out the reason, which may hold a part of the record: see [`Poison::in_full`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("poison at {position}: {}", cause.class)]
pub struct Poison {
    /// The partition and the offset of the record.
    pub position: Position,
    /// The error of the record.
    pub cause: PoisonCause,
    /// The correlation id of its event, where that can be decoded: for the log.
    pub correlation_id: Option<String>,
}

impl Poison {
    /// With the reason.
    pub fn in_full(&self) -> String {
        format!("{self}: {}", self.cause.reason)
    }
}

/// Where a partition stands, and the owner epoch under which it may be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionCursor {
    /// The next offset to read.
    pub next_offset: i64,
    /// The epoch of our claim.
    pub owner_epoch: i64,
    /// The last known hold of the partition: records from this offset on wait.
    pub hold_at: Option<i64>,
}

/// Which changes a record may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedChanges {
    /// All changes, without a restriction.
    All,
    /// Only changes that leave a row the same when they are made again: the tables began as a copy that holds them
    /// already.
    Repeatable,
}

/// What decides about every record, the same for all.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// What is projected.
    pub definition: &'a Definition,
    /// How the records are read.
    pub policy: &'a RecordPolicy,
    /// Which changes they may make.
    pub allowed: AllowedChanges,
    /// Records that are known to be poison: the database refused their rows, or the projection did not finish them.
    pub known_poison: &'a BTreeMap<Position, PoisonCause>,
    /// How much may be parked; `None` to stop at the first record that would have to be.
    pub parking: Option<ParkingLimits>,
    /// The maximum number of records to apply.
    pub most_applied: usize,
    /// Whether the plan tells which rows depend on the order between partitions.
    pub audits_order: bool,
    /// Where the plan shows how far it is.
    pub current: &'a CurrentRecord,
}

/// A batch does not begin where the one before it ended: records between them were lost between the log and the lane.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("records are missing: {partition} is at offset {expected}, and the next batch begins at {found}")]
pub struct OutOfStep {
    /// The partition of the missing records.
    pub partition: TopicPartition,
    /// The next offset to read.
    pub expected: i64,
    /// The offset at which the batch begins.
    pub found: i64,
}

/// Plans the commit of `batches`, given where each batch's partition stands and what was decided about its records.
///
/// # Errors
/// When a batch begins behind the end of the one before it: no record is skipped in silence.
pub fn plan<'a>(
    rules: Rules<'_>,
    batches: impl IntoIterator<Item = (&'a Batch, PartitionCursor, &'a PartitionState)>,
) -> Result<Plan, OutOfStep> {
    let mut plan = Plan::default();
    let mut drafts = BTreeMap::<&TopicPartition, PartitionPlan<'_>>::new();
    for (batch, cursor, state) in batches {
        let is_held = |offset: i64| cursor.hold_at.is_some_and(|hold| offset >= hold);
        if is_held(batch.from) {
            plan.held = true;
            continue;
        }
        let decoder = || rules.policy.decoders.of(&batch.partition.topic);
        let draft =
            drafts.entry(&batch.partition).or_insert_with(|| PartitionPlan::new(batch, cursor, state, decoder()));
        draft.verify_continuity(batch)?;
        let free = batch.records.iter().take_while(|record| !is_held(record.offset)).count();
        plan.held |= free < batch.records.len();
        if !plan.add_all(rules, &batch.records[..free], draft) {
            break;
        }
        plan.held |= is_held(batch.to - 1);
        draft.end_batch(batch, cursor);
    }
    for draft in drafts.into_values().filter(PartitionPlan::advances) {
        let (advance, page) = draft.finish();
        plan.commit.advances.push(advance);
        plan.commit.ledger.extend(page);
    }
    plan.commit.parking_limits = rules.parking.unwrap_or_default();
    Ok(plan)
}

/// What becomes of one record.
enum RecordOutcome {
    Applied(Vec<Change>),
    NotSubscribed,
    Duplicate,
    Discarded,
    /// With what is wrong with it, or nothing when it waits for an earlier one.
    Parked(Option<PoisonCause>),
}

impl Plan {
    /// Adds records of one partition, as many as possible. `false` when planning has to stop.
    fn add_all(&mut self, rules: Rules<'_>, records: &[Record], draft: &mut PartitionPlan<'_>) -> bool {
        for record in records {
            if record.offset < draft.advance.to {
                self.tally.already_applied += 1;
                continue;
            }
            if self.tally.applied >= rules.most_applied as u64 {
                self.cut = true;
                return false;
            }
            rules.current.set(draft.partition(), record.offset);
            if let Err(poison) = self.add(rules, record, draft) {
                self.poison = Some(poison);
                return false;
            }
            draft.advance.to = record.offset + 1;
        }
        true
    }

    fn add(&mut self, rules: Rules<'_>, record: &Record, draft: &mut PartitionPlan<'_>) -> Result<(), Poison> {
        let position = draft.partition().at(record.offset);
        match rules.outcome(record, &position, draft, self) {
            RecordOutcome::Applied(changes) => {
                let tables = rules.definition.tables();
                if rules.audits_order {
                    self.order.add(draft.partition(), &changes);
                }
                changes.into_iter().for_each(|change| self.commit.changes.push(change, tables));
                self.tally.applied += 1;
                self.last_applied = Some(position);
            }
            RecordOutcome::NotSubscribed => self.tally.not_subscribed += 1,
            RecordOutcome::Duplicate => self.tally.duplicates += 1,
            RecordOutcome::Discarded => self.tally.discarded += 1,
            RecordOutcome::Parked(cause) => {
                let stays = cause.as_ref().is_some_and(|cause| cause.class == PoisonClass::Unrepeatable);
                if stays || rules.parking.is_none() {
                    let waits =
                        || PoisonCause::new(PoisonClass::Unprojectable, "an earlier record of its key is parked");
                    let correlation_id = rules.policy.correlation_id(&position, record);
                    return Err(Poison { position, cause: cause.unwrap_or_else(waits), correlation_id });
                }
                let affected = rules.affected(draft.decoder, record, &position);
                self.commit.dead_letters.push(draft.park(record, cause, affected));
                self.tally.parked += 1;
            }
        }
        Ok(())
    }
}

impl Rules<'_> {
    fn outcome(
        &self,
        record: &Record,
        position: &Position,
        draft: &mut PartitionPlan<'_>,
        plan: &mut Plan,
    ) -> RecordOutcome {
        let amendment = draft.state.amendments.get(&record.offset);
        if amendment == Some(&Amendment::Discard) {
            return RecordOutcome::Discarded;
        }
        let replaced;
        let decoded = self.decode(draft.decoder, record, position);
        // A duplicate is recognised by what was written, whatever an operator replaced it with.
        let occurrence =
            decoded.as_ref().ok().map(|events| draft.classify_duplicate(&self.policy.identity, record, events));
        if occurrence == Some(DuplicateClass::Gap) {
            plan.tally.gaps += 1;
        }
        let decoded = match amendment {
            Some(Amendment::Replace(value)) => {
                replaced = Record { value: Some(value.clone()), remark: None, ..record.clone() };
                self.decode(draft.decoder, &replaced, position)
            }
            _ => decoded,
        };
        for event in decoded.iter().flat_map(|events| events.iter()).filter(|event| !self.subscribes(event)) {
            let unhandled = self.policy.unhandled_type(self.definition, event);
            plan.unhandled.extend(unhandled.map(|event_type| (event_type, position.clone())));
        }
        let subscribed = |events: &Events<'_>| events.iter().any(|event| self.subscribes(event));
        if occurrence == Some(DuplicateClass::Unknown) && decoded.as_ref().is_ok_and(subscribed) {
            plan.tally.unidentified += 1;
        }
        match (&decoded, occurrence) {
            (Ok(events), _) if !subscribed(events) => RecordOutcome::NotSubscribed,
            (_, Some(DuplicateClass::Duplicate)) => RecordOutcome::Duplicate,
            _ if draft.is_behind_parked(record) => RecordOutcome::Parked(None),
            (_, Some(DuplicateClass::Conflict)) if amendment.is_none() => {
                let reason = "an event with this id and another content came before";
                RecordOutcome::Parked(Some(PoisonCause::new(PoisonClass::ConflictingDuplicate, reason)))
            }
            _ => match decoded.and_then(|events| self.project(&events)) {
                Ok(changes) => RecordOutcome::Applied(changes),
                Err(cause) => RecordOutcome::Parked(Some(cause)),
            },
        }
    }

    /// The rows that a record which is parked would have changed, as far as its projection names them.
    fn affected(&self, decoder: &dyn Decoder, record: &Record, position: &Position) -> Vec<AffectedRow> {
        let events = self.read(decoder, record, position).unwrap_or_default();
        let events = events.iter().filter(|event| self.subscribes(event));
        events.flat_map(|event| self.definition.affected(event)).collect()
    }

    fn subscribes(&self, event: &Envelope<'_>) -> bool {
        self.definition.subscribes(&event.event_type)
    }

    fn decode<'r>(
        &self,
        decoder: &'r dyn Decoder,
        record: &'r Record,
        position: &Position,
    ) -> Result<Events<'r>, PoisonCause> {
        if let Some(cause) = self.known_poison.get(position) {
            return Err(cause.clone());
        }
        self.read(decoder, record, position)
    }

    /// The events in the record, whatever is known of it.
    fn read<'r>(
        &self,
        decoder: &'r dyn Decoder,
        record: &'r Record,
        position: &Position,
    ) -> Result<Events<'r>, PoisonCause> {
        if record.bytes() > self.policy.max_record_bytes {
            let reason = format!("{} bytes; `max_record_bytes` is {}", record.bytes(), self.policy.max_record_bytes);
            return Err(PoisonCause::new(PoisonClass::Oversized, reason));
        }
        let decoded = decode::decode(decoder, position, record);
        decoded.map_err(|reason| PoisonCause::new(PoisonClass::Undecodable, reason))
    }
}
