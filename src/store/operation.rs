//! Operations that operators request. A request is a row in the store. A running instance takes it and carries it out,
//! so that the requester needs access to the store only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Generation, Selection};

/// A requested operation and its parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Build a new generation and activate it.
    Rebuild(Rebuild),
    /// Refold the log into a scratch generation and compare it with the live one.
    Verify {
        /// The hash of the definition that built the live generation. Only an instance with this definition can carry
        /// out the operation.
        definition_hash: String,
    },
    /// Make readers see a generation that is ready.
    Activate {
        /// Activate the generation even if the comparison objects.
        accept_difference: bool,
        /// As in [`Rebuild::accept_type_change`].
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        accept_type_change: bool,
    },
    /// Make readers see the generation that was live before.
    Rollback,
    /// Drop the generations that readers do not see: standbys and ready ones.
    Retire,
    /// Refold the rows of one record key into the live tables.
    RefoldKey {
        /// The record key, as text.
        key: String,
        /// The hash of the definition that built the live generation. Only an instance with this definition can carry
        /// out the operation.
        definition_hash: String,
    },
    /// Retry or discard parked records.
    DeadLetters(SettleRequest),
    /// Continue after the records that the log has lost.
    AcceptLoss,
    /// Pause the projection. Recorded after it is done.
    Pause,
    /// Resume the projection. Recorded after it is done.
    Resume,
    /// Cancel open operations and abandon what is being built. Recorded after it is done.
    Cancel,
    /// Take back a decision about a record. Recorded after it is done.
    Revoke,
    /// Rename the projection. Recorded after it is done.
    Rename {
        /// The earlier name of the projection.
        from: String,
    },
}

impl Command {
    /// The operation's name on the command line.
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
            Command::Revoke => "dead-letters revoke",
            Command::Rename { .. } => "rename",
        }
    }

    /// The hash of the definition that an instance must have to carry out the operation. `None` if any definition will
    /// do.
    pub fn definition_hash(&self) -> Option<&str> {
        match self {
            Command::Rebuild(Rebuild { definition_hash, .. })
            | Command::Verify { definition_hash }
            | Command::RefoldKey { definition_hash, .. }
            | Command::DeadLetters(SettleRequest { definition_hash, .. }) => Some(definition_hash),
            Command::Activate { .. } | Command::Rollback | Command::Retire | Command::AcceptLoss => None,
            Command::Pause | Command::Resume | Command::Cancel | Command::Revoke | Command::Rename { .. } => None,
        }
    }
}

/// A request to settle parked records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettleRequest {
    /// Which parked sequences to settle.
    pub selection: Selection,
    /// What to do with each of these sequences.
    pub resolution: SettleAction,
    /// The hash of the definition that built the live generation. Only an instance with this definition can carry out
    /// the operation.
    pub definition_hash: String,
    /// Why, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How to settle a parked sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "resolution", rename_all = "snake_case")]
pub enum SettleAction {
    /// Project the records in the order of the log, up to the first that fails again.
    Retry {
        /// The text that replaces the first record's value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        edited: Option<String>,
    },
    /// Leave out the first record, and project those after it up to the first that fails.
    Discard {
        /// Also leave out the records after the first.
        #[serde(default)]
        whole: bool,
    },
}

/// The parameters of a rebuild.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuild {
    /// The hash of the definition to build with. Only an instance with this definition can carry out the operation.
    pub definition_hash: String,
    /// The position in the log where the rebuild begins.
    #[serde(default)]
    pub begin: RebuildStart,
    /// Leave the generation ready, to be activated by `activate`.
    #[serde(default)]
    pub no_activate: bool,
    /// Build even if the log no longer holds all records that the live generation was built from.
    #[serde(default)]
    pub accept_truncated: bool,
    /// Activate the generation even if the comparison objects.
    #[serde(default)]
    pub accept_difference: bool,
    /// Make the generation live even if columns change their types, which breaks readers that have prepared statements.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_type_change: bool,
    /// Create the indexes that users added to the live tables on the new tables. A generation that lacks one of them is
    /// not activated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_indexes: bool,
    /// Pause the build while the live generation lags by more than this number of records. 0 means no limit.
    // Operations in the store have the name of earlier versions.
    #[serde(rename = "max_impact")]
    pub max_live_lag: u64,
}

impl Rebuild {
    /// A rebuild with the definition of this hash: it begins at the earliest offset, is activated unless the comparison
    /// objects, and never pauses for the live generation.
    pub fn of(definition_hash: impl Into<String>) -> Self {
        Self {
            definition_hash: definition_hash.into(),
            begin: RebuildStart::Earliest,
            no_activate: false,
            accept_truncated: false,
            accept_difference: false,
            accept_type_change: false,
            keep_indexes: false,
            max_live_lag: 0,
        }
    }
}

/// The position in the log where a rebuild begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RebuildStart {
    /// The first record that the log holds, with empty tables.
    #[default]
    Earliest,
    /// The live generation's position, with a copy of the live rows: nothing is replayed.
    Live,
    /// These offsets by `topic/partition`, with a copy of the live rows. A partition that is not listed begins at the
    /// live generation's position.
    Offsets(BTreeMap<String, i64>),
}

/// A recorded operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// The number that identifies the operation in the store.
    pub id: i64,
    /// The projection's name.
    pub projection: String,
    /// The requested operation and its parameters.
    pub command: Command,
    /// The operator who requested the operation, as `user@host` if that is known.
    pub requested_by: String,
    /// When the operation was requested, in RFC 3339.
    pub requested_at: String,
    /// The state of the operation.
    pub state: OperationState,
    /// The generation that the operation builds or compares.
    pub generation: Option<Generation>,
    /// The progress, if the operation has begun.
    pub progress: Option<OperationProgress>,
    /// The result of the operation, a sentence.
    pub outcome: Option<String>,
    /// When the operation ended, in RFC 3339.
    pub finished_at: Option<String>,
}

/// The state of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationState {
    /// No instance has begun the operation.
    Requested,
    /// An instance carries the operation out.
    Running,
    /// The operation succeeded.
    Done,
    /// The operation failed; the outcome gives the reason.
    Refused,
    /// An operator cancelled the operation.
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

    /// The state's name in the database.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| name)
    }

    /// The state with the name `name`. `None` if there is none.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, other)| *other == name).map(|(state, _)| *state)
    }

    /// Whether the operation has not ended.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Requested | Self::Running)
    }
}

/// The progress of an operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperationProgress {
    /// The current step, in a few words.
    pub phase: String,
    /// The number of offsets that are processed.
    pub done: u64,
    /// The number of offsets to process in total.
    pub total: u64,
    /// The number of offsets processed per second.
    pub per_second: Option<f64>,
}

impl OperationProgress {
    /// The estimated remaining time in seconds. `None` if the rate is unknown.
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
    /// The hash of the definition.
    pub definition_hash: String,
    /// Whether an instance runs the definition now.
    pub present: bool,
    /// When an instance with the definition was last seen, in RFC 3339.
    pub last_seen: String,
}

/// Whether an instance runs the projection; with a hash, whether an instance runs that definition of it.
pub fn has_running_instance(attendance: &[InstanceHeartbeat], projection: &str, hash: Option<&str>) -> bool {
    attendance.iter().any(|held| {
        held.present && held.projection == projection && hash.is_none_or(|hash| held.definition_hash == hash)
    })
}
