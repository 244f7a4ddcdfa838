//! The settings that decide how the generations of a projection begin and end.

use std::path::PathBuf;
use std::time::Duration;

use crate::store::Command;

/// What happens when the code declares something else than what the live tables were built by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnChange {
    /// The projection halts, and its state names what changed.
    #[default]
    Refuse,
    /// The projection is rebuilt, and the new generation becomes live when it compares well.
    Rebuild,
}

/// How the generations of a projection begin and end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What happens when the definition changed.
    pub on_change: OnChange,
    /// How long a generation that was live is kept up to date, so that a rollback can return to it.
    pub standby_for: Duration,
    /// How long a swap may make readers wait.
    pub lock_timeout: Duration,
    /// The share of a table's rows, in percent, that a rebuild may lose before it needs an operator's decision.
    pub max_row_loss_percent: u64,
    /// A rebuild pauses while the live generation lags by more than this many records; 0 means that it never pauses.
    pub max_live_lag: u64,
    /// Whether a rebuild that changed code requests keeps the indexes that users made.
    pub keep_indexes: bool,
    /// The directory for what a rebuild can't keep in memory.
    pub spool_directory: PathBuf,
}

impl Policy {
    /// By how many records the live generation may lag before the build that `command` requested pauses.
    pub fn max_live_lag_of(&self, command: Option<&Command>) -> u64 {
        match command {
            Some(Command::Rebuild(rebuild)) => rebuild.max_live_lag,
            _ => self.max_live_lag,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            on_change: OnChange::Refuse,
            standby_for: Duration::from_secs(24 * 60 * 60),
            lock_timeout: Duration::from_millis(100),
            max_row_loss_percent: 5,
            max_live_lag: 10_000,
            keep_indexes: false,
            spool_directory: "/tmp".into(),
        }
    }
}
