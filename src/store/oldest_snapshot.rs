//! What keeps a store from removing the versions of rows that were replaced.

use std::fmt;

/// Somebody's snapshot, or what comes of one, that keeps a store from removing old versions of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldestSnapshot {
    /// Whose it is, since when, and what comes of it: the beginning of a sentence.
    pub what: String,
    /// What to do about it.
    pub next: String,
    /// How long it has been held, in seconds, where that is known.
    pub seconds: Option<u64>,
}

impl fmt::Display for OldestSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. Next: {}", self.what, self.next)
    }
}
