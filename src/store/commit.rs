//! A commit, the atomic unit of writing, and its outcome.

use readcast_core::{ChangeSet, TopicPartition};

use super::{Checkpoint, DeadLetter, LedgerPage, ParkingLimits, StoreError};

/// The atomic unit of writing: the changes of a batch, and the new position in each partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// The new position in each partition, sorted by partition, one entry for each.
    pub advances: Vec<Advance>,
    /// The changes of the rows.
    pub changes: ChangeSet,
    /// The records to park, in the order of the log within each partition.
    pub dead_letters: Vec<DeadLetter>,
    /// The limits on parked records, including those of this commit.
    pub parking_limits: ParkingLimits,
    /// The ids of the events, one page for each partition.
    pub ledger: Vec<LedgerPage>,
}

impl Commit {
    /// Whether the commit contains dead letters or event ids, on which later records depend.
    pub(crate) fn is_memorable(&self) -> bool {
        !self.dead_letters.is_empty() || !self.ledger.is_empty()
    }

    /// Refuses a commit that moves no checkpoint: the guard could not fence an outdated owner.
    pub(super) fn guarded(&self) -> Result<&Self, StoreError> {
        let reason = || "a commit that moves no checkpoint has no guard".to_owned();
        let unguarded = || StoreError::Refused { doing: "committing".into(), reason: reason() };
        if self.advances.is_empty() { Err(unguarded()) } else { Ok(self) }
    }
}

/// The move of one checkpoint. It is valid only from exactly `from` and for the owner with `owner_epoch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    /// The partition whose checkpoint moves.
    pub partition: TopicPartition,
    /// The `next_offset` that the checkpoint must have before the commit.
    pub from: i64,
    /// The `next_offset` that the checkpoint has after the commit.
    pub to: i64,
    /// The owner epoch that the checkpoint must have.
    pub owner_epoch: i64,
    /// The parking epoch that the checkpoint must have: the commit was planned with the records that were parked then.
    pub parking_epoch: i64,
    /// The leader epoch of the last record. `None` if the log has no leader epochs.
    pub leader_epoch: Option<i32>,
}

/// The outcome of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The commit is in the database, written by this attempt or by an earlier one.
    Applied(Written),
    /// Nothing was written: the commit ends beyond the hold of these partitions, at these offsets.
    Held(Vec<(TopicPartition, i64)>),
    /// Nothing was written: the parked records have changed since the commit was planned, without this owner.
    Outdated,
    /// Nothing was written: the commit would exceed this limit on parked records.
    Full(String),
    /// Nothing was written: another owner has claimed at least one of the partitions, or a checkpoint was moved.
    Fenced,
}

impl CommitOutcome {
    /// The outcome of a commit whose guard failed, derived from the checkpoints. If all checkpoints are at the commit's
    /// end with its owner epoch, an earlier attempt succeeded and its response was lost: only this owner can have moved
    /// them. If all are at the commit's beginning, the commit met a hold or was planned under an outdated parking
    /// epoch. Otherwise another owner has taken over.
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

/// The effect of a commit on the tables. Zeros if an earlier attempt wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The number of rows created, changed or removed.
    pub rows: u64,
    /// The number of updates that matched no row.
    pub missed: u64,
}
