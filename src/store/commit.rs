//! The atomic unit of writing, and what becomes of it.

use readcast_core::{ChangeSet, TopicPartition};

use super::{Checkpoint, DeadLetter, LedgerPage, ParkingLimits, StoreError};

/// The atomic unit: what a batch changes, and how far it moves each partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// How far each partition moves, sorted by partition, one each.
    pub advances: Vec<Advance>,
    /// What happens to the rows.
    pub changes: ChangeSet,
    /// The records that are parked, in the order of the log within each partition.
    pub dead_letters: Vec<DeadLetter>,
    /// How much may be parked when these are.
    pub parking_limits: ParkingLimits,
    /// The ids of the events, a page a partition.
    pub ledger: Vec<LedgerPage>,
}

impl Commit {
    /// Whether records after it depend on what it decides.
    pub(crate) fn is_memorable(&self) -> bool {
        !self.dead_letters.is_empty() || !self.ledger.is_empty()
    }

    /// Refuses a commit that moves no checkpoint: it would pass the guard whoever made it.
    pub(super) fn guarded(&self) -> Result<&Self, StoreError> {
        let reason = || "a commit that moves no checkpoint has no guard".to_owned();
        let unguarded = || StoreError::Refused { doing: "committing".into(), reason: reason() };
        if self.advances.is_empty() { Err(unguarded()) } else { Ok(self) }
    }
}

/// One partition's step forward, valid only from exactly where it begins and for the owner that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    /// Which partition.
    pub partition: TopicPartition,
    /// The `next_offset` that the checkpoint must have.
    pub from: i64,
    /// The `next_offset` that it gets.
    pub to: i64,
    /// The owner epoch that it must have.
    pub owner_epoch: i64,
    /// The parking epoch that it must have: the commit was planned with what was parked then.
    pub parking_epoch: i64,
    /// Under which leader of the partition the last record was written, where the log knows such a thing.
    pub leader_epoch: Option<i32>,
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is in the database, now or since an earlier attempt.
    Applied(Written),
    /// Some partitions are held at these offsets, and the commit goes beyond them: nothing was written.
    Held(Vec<(TopicPartition, i64)>),
    /// Somebody else has changed what is parked since the commit was planned: nothing was written.
    Outdated,
    /// More would be parked than may be; which limit it is, in words. Nothing was written.
    Full(String),
    /// Another owner has taken over at least one of the partitions, or its checkpoint was moved: nothing was written.
    Fenced,
}

impl CommitOutcome {
    /// What became of a commit whose guard failed, given the checkpoints as they stand. If all of them stand where the
    /// commit ends, under its own epoch, an earlier attempt succeeded whose answer was lost: nobody else could have moved
    /// them there. If all stand where it begins, the commit met a hold, or was planned under an outdated parking epoch.
    /// Anything else shows another owner.
    pub(super) fn as_seen_in(held: &[Checkpoint], advances: &[Advance]) -> Self {
        let all_stand_at = |place: fn(&Advance) -> i64| {
            advances.iter().all(|advance| {
                held.iter().any(|held| {
                    held.partition == advance.partition
                        && held.next_offset == place(advance)
                        && held.owner_epoch == advance.owner_epoch
                })
            })
        };
        if all_stand_at(|advance| advance.to) {
            CommitOutcome::Applied(Written::default())
        } else if all_stand_at(|advance| advance.from) {
            let is_outdated = |held: &Checkpoint| {
                let advance = advances.iter().find(|advance| advance.partition == held.partition);
                advance.is_some_and(|advance| advance.parking_epoch != held.parking_epoch)
            };
            if held.iter().any(is_outdated) {
                return CommitOutcome::Outdated;
            }
            let holds = held.iter().filter_map(|held| Some((held.partition.clone(), held.hold_at?)));
            CommitOutcome::Held(holds.collect())
        } else {
            CommitOutcome::Fenced
        }
    }
}

/// What a commit did to the tables. Zeros when an earlier attempt had done it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows created, changed or removed.
    pub rows: u64,
    /// Updates that met no row.
    pub missed: u64,
}
