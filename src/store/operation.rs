//! What operators ask for. A command is a row that a running instance takes and carries out, so that whoever asks needs
//! nothing but the store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Generation, Selection};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Build a new generation, and activate it.
    Rebuild(Rebuild),
    /// Refold the log into a scratch generation and compare it with the live one.
    Verify {
        /// The definition that built the live generation. Only an instance that has it can carry this out.
        definition_hash: String,
    },
    /// Let readers see a generation that is ready.
    Activate {
        /// Activate it whatever the comparison found.
        accept_difference: bool,
    },
    /// Let readers see the generation that they saw before.
    Rollback,
    /// Drop what readers do not see: standbys, and generations that are ready.
    Retire,
    /// Refold the rows of one record key into the live tables.
    RefoldKey {
        /// The record key.
        key: String,
        /// The definition that built the live generation. Only an instance that has it can carry this out.
        definition_hash: String,
    },
    /// Try parked records again, or leave them out.
    DeadLetters(SettleRequest),
    /// Continue behind what the log has lost.
    AcceptLoss,
    /// Recorded once it is done: the projection is paused.
    Pause,
    /// Recorded once it is done: the projection is resumed.
    Resume,
    /// Recorded once it is done: what was being built is given up.
    Cancel,
    /// Recorded once it is done: the projection has another name.
    Rename {
        /// Its name before.
        from: String,
    },
}

impl Command {
    /// Its name as it is typed.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Rebuild(_) => "rebuild",
            Command::Verify { .. } => "verify",
            Command::Activate { .. } => "activate",
            Command::Rollback => "rollback",
            Command::Retire => "retire",
            Command::RefoldKey { .. } => "rebuild --key",
            Command::DeadLetters(SettleRequest { resolution: SettleAction::Retry { .. }, .. }) => "dead-letters retry",
            Command::DeadLetters(SettleRequest { resolution: SettleAction::Discard { .. }, .. }) => {
                "dead-letters discard"
            }
            Command::AcceptLoss => "accept-loss",
            Command::Pause => "pause",
            Command::Resume => "resume",
            Command::Cancel => "cancel",
            Command::Rename { .. } => "rename",
        }
    }

    /// The definition that an instance must have to carry it out, where it matters.
    pub fn definition_hash(&self) -> Option<&str> {
        match self {
            Command::Rebuild(Rebuild { definition_hash, .. })
            | Command::Verify { definition_hash }
            | Command::RefoldKey { definition_hash, .. }
            | Command::DeadLetters(SettleRequest { definition_hash, .. }) => Some(definition_hash),
            Command::Activate { .. } | Command::Rollback | Command::Retire | Command::AcceptLoss => None,
            Command::Pause | Command::Resume | Command::Cancel | Command::Rename { .. } => None,
        }
    }
}

/// What is to become of parked records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettleRequest {
    /// Which sequences.
    pub selection: Selection,
    /// What becomes of them.
    pub resolution: SettleAction,
    /// The definition that built the live generation. Only an instance that has it can carry this out.
    pub definition_hash: String,
}

/// What becomes of a parked sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "resolution", rename_all = "snake_case")]
pub enum SettleAction {
    /// Its records are projected, in the order of the log, as far as that goes.
    Retry {
        /// The text that replaces the first record's value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        edited: Option<String>,
    },
    /// Its first record is left out, and those behind it are projected as far as that goes.
    Discard {
        /// Leave out those behind it too.
        #[serde(default)]
        whole: bool,
    },
}

/// How a generation is to be built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuild {
    /// The definition to build with. Only an instance that has it can carry this out.
    pub definition_hash: String,
    /// Where in the log it begins.
    #[serde(default)]
    pub begin: RebuildStart,
    /// Leave it ready, for `activate`.
    #[serde(default)]
    pub no_activate: bool,
    /// Build it even if the log no longer holds everything that the live generation was built from.
    #[serde(default)]
    pub accept_truncated: bool,
    /// Activate it whatever the comparison finds.
    #[serde(default)]
    pub accept_difference: bool,
    /// Give the new tables the indexes that users made on the live ones, and activate nothing that lacks one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_indexes: bool,
    /// Pause the build while the live generation lags by more than this many records; 0 for never.
    // Operations in the store have the name of earlier versions.
    #[serde(rename = "max_impact")]
    pub max_live_lag: u64,
}

impl Rebuild {
    /// A rebuild with the definition of this hash: from the earliest offset, activated unless the comparison objects, and
    /// never paused for the live generation.
    pub fn of(definition_hash: impl Into<String>) -> Self {
        Self {
            definition_hash: definition_hash.into(),
            begin: RebuildStart::Earliest,
            no_activate: false,
            accept_truncated: false,
            accept_difference: false,
            keep_indexes: false,
            max_live_lag: 0,
        }
    }
}

/// Where in the log a rebuild begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RebuildStart {
    /// At the first record that the log holds, with empty tables.
    #[default]
    Earliest,
    /// With a copy of the live rows, where the live generation stands: nothing is replayed.
    Live,
    /// With a copy of the live rows, at these offsets by `topic/partition`; partitions not named, where the live
    /// generation stands.
    Offsets(BTreeMap<String, i64>),
}

/// An operation that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Its number.
    pub id: i64,
    /// The projection's name.
    pub projection: String,
    /// What was asked for.
    pub command: Command,
    /// Who asked.
    pub requested_by: String,
    /// When, in RFC 3339.
    pub requested_at: String,
    /// What became of it.
    pub state: OperationState,
    /// The generation that it builds or compares.
    pub generation: Option<Generation>,
    /// How far it is.
    pub progress: Option<OperationProgress>,
    /// How it ended, in a sentence.
    pub outcome: Option<String>,
    /// When it ended, in RFC 3339.
    pub finished_at: Option<String>,
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationState {
    /// No instance has begun it yet.
    Requested,
    /// It is being carried out.
    Running,
    /// It did what was asked for.
    Done,
    /// It did not do what was asked for; the outcome says why.
    Refused,
    /// An operator cancelled it.
    Cancelled,
}

impl OperationState {
    const NAMES: [(OperationState, &str); 5] = [
        (OperationState::Requested, "requested"),
        (OperationState::Running, "running"),
        (OperationState::Done, "done"),
        (OperationState::Refused, "refused"),
        (OperationState::Cancelled, "cancelled"),
    ];

    /// As it stands in the database.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| name)
    }

    /// The state with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, other)| *other == name).map(|(state, _)| *state)
    }

    /// Whether it is not finished yet.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Requested | Self::Running)
    }
}

/// How far an operation is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperationProgress {
    /// What is done at the moment, in a few words.
    pub phase: String,
    /// How many offsets are done.
    pub done: u64,
    /// How many offsets there are.
    pub total: u64,
    /// How many offsets are done in a second.
    pub per_second: Option<f64>,
}

impl OperationProgress {
    /// How long the rest takes at this rate, in seconds.
    pub fn seconds_left(&self) -> Option<f64> {
        let rate = self.per_second.filter(|rate| *rate > 0.0)?;
        Some(self.total.saturating_sub(self.done) as f64 / rate)
    }
}

/// A definition that an instance runs, or ran during the last day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceHeartbeat {
    /// The projection's name.
    pub projection: String,
    /// The definition's hash.
    pub definition_hash: String,
    /// Whether an instance runs it now.
    pub present: bool,
    /// When an instance that runs it was last seen, in RFC 3339.
    pub last_seen: String,
}

/// Whether an instance runs the projection; with a hash, whether one runs that definition of it.
pub fn has_running_instance(attendance: &[InstanceHeartbeat], projection: &str, hash: Option<&str>) -> bool {
    attendance.iter().any(|held| {
        held.present && held.projection == projection && hash.is_none_or(|hash| held.definition_hash == hash)
    })
}
