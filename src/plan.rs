//! From records to a commit: a pure function, without I/O and without a clock.

use readcast_core::{Cell, Change, ChangeSet, Definition, Position, RowChange, TopicPartition};

use crate::decode::Format;
use crate::source::{Batch, Record};
use crate::store::{Advance, Commit};

/// What records become: a commit, and the record at which planning had to stop, if any.
#[derive(Debug, Default)]
pub struct Plan {
    /// All that can be written.
    pub commit: Commit,
    /// What every record ended as.
    pub tally: Tally,
    /// The first record that can't be projected. Neither it nor anything behind it in the plan is in the commit.
    pub poison: Option<Poison>,
    /// Whether records were left out because their partition is held.
    pub held: bool,
}

/// Every record that was read ends as exactly one of these, or as poison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Its changes are in the commit.
    pub applied: u64,
    /// The projection does not take its type.
    pub not_subscribed: u64,
    /// It stands before the checkpoint: applied earlier, delivered again.
    pub already_applied: u64,
}

/// A record that can't be projected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("poison at {position}: {cause}")]
pub struct Poison {
    /// Which record.
    pub position: Position,
    /// What is wrong with it.
    pub cause: String,
}

/// Where a partition stands, and the owner epoch under which it may be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The next offset to read.
    pub next_offset: i64,
    /// The epoch of our claim.
    pub owner_epoch: i64,
    /// Where the partition is held, as far as we know: records from this offset on wait.
    pub hold_at: Option<i64>,
}

/// What may be made of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Every change.
    All,
    /// Only changes that leave a row the same when they are made once more: the tables began as a copy that holds
    /// them already.
    Repeatable,
}

/// A batch does not begin where the one before it ended: records between them were lost on the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("records are missing: {partition} stands at {expected}, and the next batch begins at {found}")]
pub struct OutOfStep {
    /// Which partition.
    pub partition: TopicPartition,
    /// Where we are.
    pub expected: i64,
    /// Where the batch begins.
    pub found: i64,
}

/// Plans the commit of `batches`, given where each batch's partition stands.
///
/// # Errors
/// When a batch begins behind the end of the one before it: nothing is skipped in silence.
pub fn plan<'a>(
    definition: &Definition,
    format: Format,
    allowed: Allowed,
    batches: impl IntoIterator<Item = (&'a Batch, Standing)>,
) -> Result<Plan, OutOfStep> {
    let mut plan = Plan::default();
    for (batch, standing) in batches {
        let is_held = |offset: i64| standing.hold_at.is_some_and(|hold| offset >= hold);
        if is_held(batch.from) {
            plan.held = true;
            continue;
        }
        let mut advance = plan.take_advance(&batch.partition, standing);
        if batch.from > advance.to {
            return Err(OutOfStep { partition: advance.partition, expected: advance.to, found: batch.from });
        }
        let free = batch.records.iter().take_while(|record| !is_held(record.offset)).count();
        plan.held |= free < batch.records.len();
        let mut free = batch.records[..free].iter();
        let poison = free.find_map(|record| plan.add(definition, format, allowed, record, &mut advance).err());
        plan.commit.advances.push(advance);
        if poison.is_some() {
            plan.poison = poison;
            break;
        }
    }
    plan.commit.advances.retain(|advance| advance.to > advance.from);
    plan.commit.advances.sort_by(|a, b| a.partition.cmp(&b.partition));
    Ok(plan)
}

impl Plan {
    /// The advance of `partition` so far, taken out of the commit.
    fn take_advance(&mut self, partition: &TopicPartition, standing: Standing) -> Advance {
        let advances = &mut self.commit.advances;
        let Standing { next_offset, owner_epoch, .. } = standing;
        match advances.iter().position(|advance| advance.partition == *partition) {
            Some(place) => advances.swap_remove(place),
            None => Advance { partition: partition.clone(), from: next_offset, to: next_offset, owner_epoch },
        }
    }

    fn add(
        &mut self,
        definition: &Definition,
        format: Format,
        allowed: Allowed,
        record: &Record,
        advance: &mut Advance,
    ) -> Result<(), Poison> {
        if record.offset < advance.to {
            self.tally.already_applied += 1;
            return Ok(());
        }
        let poison = |cause: String| Poison { position: advance.partition.at(record.offset), cause };
        let event = format.decode(&advance.partition, record).map_err(|error| poison(error.to_string()))?;
        if definition.subscribes(&event.event_type) {
            let changes = definition.project(&event).map_err(|error| poison(error.to_string()))?;
            if allowed == Allowed::Repeatable {
                changes.iter().try_for_each(repeatable).map_err(|what| poison(what.to_owned()))?;
            }
            let set: &mut ChangeSet = &mut self.commit.changes;
            changes.into_iter().for_each(|change| set.push(change, definition.tables()));
            self.tally.applied += 1;
        } else {
            self.tally.not_subscribed += 1;
        }
        advance.to = record.offset + 1;
        Ok(())
    }
}

/// Whether a change that was made before can be made again over rows that later changes have already formed. What is set
/// comes out as the last change says; what is added up, compared or found by the contents of rows does not.
fn repeatable(change: &Change) -> Result<(), &'static str> {
    const UNREPEATABLE: &str = "it adds to, compares or appends to what a row holds, which can't be repeated over a copy \
                                of the live rows: cancel this rebuild, and rebuild from the earliest offset";
    const FAN_OUT: &str = "it changes rows found by what they hold, which can't be repeated over a copy of the live rows: \
                           cancel this rebuild, and rebuild from the earliest offset";
    let cells = match change {
        Change::Where { .. } => return Err(FAN_OUT),
        Change::ReplaceChildren { .. } | Change::Row { change: RowChange::Delete, .. } => return Ok(()),
        Change::Row { change: RowChange::Upsert(cells) | RowChange::Update(cells), .. } => cells,
    };
    let set = |cell: &Option<Cell>| matches!(cell, None | Some(Cell::Set(_)));
    if cells.as_slice().iter().all(set) { Ok(()) } else { Err(UNREPEATABLE) }
}
