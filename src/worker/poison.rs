//! What a lane knows of records that can't be projected, from one attempt to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use readcast_core::Position;

use super::bisection::Bisection;
use crate::plan::{Plan, RecordPolicy};
use crate::store::{Commit, PoisonCause, PoisonClass, StoreError};

/// Records that can't be projected.
#[derive(Default)]
pub(super) struct PoisonState {
    /// The search for a record whose rows the database refuses.
    pub(super) bisection: Bisection,
    /// The records found, each with what is wrong with it. The next plan parks them.
    pub(super) found: Arc<BTreeMap<Position, PoisonCause>>,
    /// The limit that keeps more records from being parked, if it is reached.
    pub(super) full: Option<String>,
    /// How many threads are caught in the projection.
    pub(super) abandoned_threads: usize,
}

impl PoisonState {
    pub(super) fn add(&mut self, position: Position, cause: PoisonCause) {
        Arc::make_mut(&mut self.found).insert(position, cause);
    }

    /// The database refused the rows of `plan`.
    ///
    /// # Errors
    /// When no record of the plan made any rows: the database refuses something else.
    pub(super) fn refused(&mut self, plan: Plan, doing: String, reason: String) -> Result<(), StoreError> {
        match plan.last_applied {
            Some(position) if self.bisection.refused(plan.tally.applied) => {
                self.add(position, PoisonCause::new(PoisonClass::Unstorable, reason));
                Ok(())
            }
            Some(_) => Ok(()),
            None => Err(StoreError::Refused { doing, reason }),
        }
    }
}

/// Logs which keys were parked. What is wrong with the records is in the store and not in the log, for it may hold a part
/// of a record.
pub(crate) fn log_parked(policy: &RecordPolicy, commit: &Commit) {
    for letter in &commit.dead_letters {
        let Some(cause) = &letter.cause else { continue };
        let position = letter.partition.at(letter.record.offset);
        let correlation_id = policy.correlation_id(&position, &letter.record);
        tracing::warn!(%position, correlation_id, class = cause.class.name(), "record parked, and later records of its key");
    }
}
