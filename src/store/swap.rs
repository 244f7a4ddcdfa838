//! The parameters, the effects and the outcome of a swap.

use std::time::Duration;

use super::GenerationStatus;

/// The parameters of a swap.
#[derive(Clone, Copy, Debug)]
pub struct Swap<'a> {
    /// The generation that readers see before the swap.
    pub live: &'a GenerationStatus,
    /// The generation that readers see after the swap.
    pub next: &'a GenerationStatus,
    /// How long the old generation is still fed, so that a rollback can activate it again.
    pub standby_for: Duration,
    /// The maximum time that readers wait for the swap. If it needs longer, it is abandoned.
    pub lock_timeout: Duration,
    /// The open operation that requested the swap. It ends in the same transaction, so that a swap is made at most
    /// once, and never after a cancellation.
    pub operation: i64,
    /// The outcome of the operation, a sentence.
    pub outcome: &'a str,
}

/// The outcome of a swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwapOutcome {
    /// Readers see the new generation, because of this attempt or an earlier one.
    Done,
    /// Nothing changed: the swap would have moved readers back in the log, or the new generation lacks checkpoints.
    Behind,
    /// Nothing changed: another transaction kept the tables locked for too long.
    Busy,
}

/// The objects around the live tables that a swap affects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwapImpact {
    /// The size of the live tables on disk, in bytes.
    pub bytes: u64,
    /// Privileges that were granted on the stable names, a sentence each. A swap keeps them.
    pub grants: Vec<String>,
    /// Views and other objects of users that depend on the stable names.
    pub dependents: Vec<String>,
    /// The reasons why the views with the stable names can't be replaced in place, a sentence each: a column is removed
    /// or changes its type. The swap must then drop and create the views, which is impossible while they have
    /// `dependents`.
    pub incompatible: Vec<String>,
}
