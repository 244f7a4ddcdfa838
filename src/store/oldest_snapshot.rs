//! Reports old snapshots, which prevent a store from removing old row versions.

use std::fmt;

/// A snapshot, or its consequence, that prevents a store from removing old row versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldestSnapshot {
    /// The holder, the time and the consequence of the snapshot: complete sentences, before `next`.
    pub what: String,
    /// What the operator must do.
    pub next: String,
    /// The age of the snapshot in seconds. `None` if it is unknown.
    pub seconds: Option<u64>,
}

impl fmt::Display for OldestSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. Next: {}", self.what, self.next)
    }
}
