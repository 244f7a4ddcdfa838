//! What a swap is asked for with, what it meets, and what becomes of it.

use std::time::Duration;

use super::GenerationStatus;

/// What a swap is to do.
#[derive(Clone, Copy, Debug)]
pub struct Swap<'a> {
    /// The generation that readers see.
    pub live: &'a GenerationStatus,
    /// The generation that they see next.
    pub next: &'a GenerationStatus,
    /// How long the old generation is still fed, so that a rollback can show it again.
    pub standby_for: Duration,
    /// How long readers may have to wait for the swap. It is given up rather than make them wait longer.
    pub lock_timeout: Duration,
    /// The open operation that asked for it. It ends in the same transaction, so that a swap is not made twice, and not
    /// after it was cancelled.
    pub operation: i64,
    /// How it ends, in a sentence.
    pub outcome: &'a str,
}

/// What became of a swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwapOutcome {
    /// Readers see the new generation, now or since an earlier attempt.
    Done,
    /// It would have taken readers back in the log, or its checkpoints are missing: nothing changed.
    Behind,
    /// Another transaction has locked the tables for too long: nothing changed.
    Busy,
}

/// What a swap affects around the live tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwapImpact {
    /// What the live tables take on disk, in bytes.
    pub bytes: u64,
    /// Privileges that were granted on the stable names, a sentence each. They survive a swap.
    pub grants: Vec<String>,
    /// Views and other objects of users that are made of the stable names.
    pub dependents: Vec<String>,
    /// Why the stable names can't be changed in place, a sentence each: a column is gone or has another type. The views
    /// are created anew then, which `dependents` would prevent.
    pub incompatible: Vec<String>,
}
