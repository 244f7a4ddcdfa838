//! The recorded state of a generation: one physical build of a projection's tables.

use std::collections::BTreeMap;
use std::fmt;

use readcast_core::{TableSpec, TopicPartition};

use super::{Comparison, ParkedCounts};

/// The number of one physical build of a projection's tables, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Generation(pub i32);

/// The state of a generation: `Building`, `Ready`, `Live`, `Standby` and `Retired` in this order, or `Failed` after one
/// of the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenerationState {
    /// The generation is filled from the log, and never passes the live one.
    Building,
    /// The generation was compared with the live one and waits to be activated. It is fed.
    Ready,
    /// Readers see the generation.
    Live,
    /// Readers saw the generation before the last swap. It is fed, so that a rollback can show it again.
    Standby,
    /// The generation has ended: its tables are dropped, or will be dropped soon.
    Retired,
    /// The generation was abandoned before it was live. Its tables are dropped, or will be dropped soon.
    Failed,
}

impl GenerationState {
    const NAMES: [(GenerationState, &str); 6] = [
        (GenerationState::Building, "building"),
        (GenerationState::Ready, "ready"),
        (GenerationState::Live, "live"),
        (GenerationState::Standby, "standby"),
        (GenerationState::Retired, "retired"),
        (GenerationState::Failed, "failed"),
    ];

    /// The state's name in the database.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| name)
    }

    /// The state with the name `name`. `None` if there is none.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, other)| *other == name).map(|(state, _)| *state)
    }

    /// Whether the generation has tables that are kept up to date.
    pub fn is_fed(self) -> bool {
        matches!(self, Self::Building | Self::Ready | Self::Live | Self::Standby)
    }
}

impl fmt::Display for GenerationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The phases of building a generation, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The log is folded outside of the database, and each row is written once. No feed runs in this phase.
    Load,
    /// The log is replayed without secondary indexes and in large batches.
    Replay,
    /// Secondary indexes are created and statistics are gathered. No feed runs in this phase.
    Index,
    /// The generation follows the live one.
    CatchUp,
    /// The generation is compared with the live one at equal checkpoints.
    Compare,
}

impl Phase {
    const NAMES: [(Phase, &str); 5] = [
        (Phase::Load, "load"),
        (Phase::Replay, "replay"),
        (Phase::Index, "index"),
        (Phase::CatchUp, "catch_up"),
        (Phase::Compare, "compare"),
    ];

    /// Whether instances with the definition feed the generation in this phase.
    pub fn is_fed(self) -> bool {
        matches!(self, Phase::Replay | Phase::CatchUp | Phase::Compare)
    }

    /// The phase's name in the database.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(phase, _)| *phase == self).map_or("", |(_, name)| name)
    }

    /// The phase with the name `name`. `None` if there is none.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, other)| *other == name).map(|(phase, _)| *phase)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().replace('_', " "))
    }
}

/// The recorded state of one generation. Times are in RFC 3339.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationStatus {
    /// The projection's name.
    pub projection: String,
    /// The number of the generation.
    pub generation: Generation,
    /// The state in the life of the generation.
    pub state: GenerationState,
    /// The phase of the build. `None` unless the generation is building.
    pub phase: Option<Phase>,
    /// The hash of the definition that built the generation: [`readcast_core::Definition::hash`].
    pub definition_hash: String,
    /// The version that this definition declares.
    pub version: i32,
    /// The tables that this definition declares.
    pub tables: Vec<TableSpec>,
    /// The text of the file from which this definition was made. `None` if it is code, or the tables are dropped.
    pub source: Option<String>,
    /// Whether that file names a WebAssembly component, which [`StatusStore::component`](super::StatusStore::component) returns.
    pub has_component: bool,
    /// Whether the generation exists only for a comparison with the live one and is never activated.
    pub scratch: bool,
    /// Whether the generation began as a copy of the live rows and replays a part of the log over them.
    pub repeats: bool,
    /// Over how many offsets of each partition the generation recognises duplicates. `None` before it is fed.
    pub duplicate_window: Option<i64>,
    /// When the generation was paused. `None` if it is not paused.
    pub paused_since: Option<String>,
    /// When the generation was created.
    pub created_at: String,
    /// When the generation last became live.
    pub activated_at: Option<String>,
    /// When the feed of a standby ends.
    pub standby_until: Option<String>,
    /// Whether `standby_until` has passed, by the database's clock.
    pub standby_is_over: bool,
    /// The comparison with the generation that was live at that time.
    pub proof: Option<Comparison>,
    /// The error that prevents the generation from progressing. `None` if there is none.
    pub last_error: Option<RecordedError>,
    /// The numbers of parked sequences and records.
    pub parked: ParkedCounts,
    /// Whether the physical tables exist.
    pub has_tables: bool,
    /// The positions of the generation, one for each partition.
    pub checkpoints: Vec<RecordedCheckpoint>,
}

impl GenerationStatus {
    /// The generation to which a rollback returns: of the standbys the one that was live last, which is kept longest.
    pub fn latest_standby<'a>(statuses: impl IntoIterator<Item = &'a Self>) -> Option<&'a Self> {
        let standbys = statuses.into_iter().filter(|status| status.state == GenerationState::Standby);
        standbys.max_by_key(|status| status.standby_until.clone())
    }

    /// A live generation of `p` that is at these offsets of `orders`.
    #[cfg(test)]
    pub(crate) fn live_at(next_offsets: &[(i32, i64)]) -> Self {
        let checkpoint = |(partition, next_offset): &(i32, i64)| RecordedCheckpoint {
            partition: TopicPartition::new("orders", *partition),
            start_offset: Some(0),
            next_offset: *next_offset,
            owner_epoch: 1,
            parking_epoch: 0,
            log_id: None,
            leader_epoch: None,
            updated_at: String::new(),
        };
        Self {
            projection: "p".into(),
            generation: Generation(1),
            state: GenerationState::Live,
            phase: None,
            definition_hash: "h".into(),
            version: 1,
            tables: Vec::new(),
            source: None,
            has_component: false,
            scratch: false,
            repeats: false,
            duplicate_window: None,
            paused_since: None,
            created_at: String::new(),
            activated_at: None,
            standby_until: None,
            standby_is_over: false,
            proof: None,
            last_error: None,
            parked: ParkedCounts::default(),
            has_tables: true,
            checkpoints: next_offsets.iter().map(checkpoint).collect(),
        }
    }

    /// The next offset of every partition in which the generation has a checkpoint.
    pub fn positions(&self) -> BTreeMap<&TopicPartition, i64> {
        self.checkpoints.iter().map(|held| (&held.partition, held.next_offset)).collect()
    }

    /// Whether the generation has halted until an operator acts.
    pub fn is_halted(&self) -> bool {
        self.last_error.as_ref().is_some_and(|error| error.attempt.is_none())
    }

    /// The number of offsets between this generation and `live`, summed over all partitions. `None` if this generation
    /// lacks a partition of `live`.
    pub fn behind(&self, live: &GenerationStatus) -> Option<i64> {
        let ours = self.positions();
        let behind = live.checkpoints.iter().map(|held| Some((held.next_offset - ours.get(&held.partition)?).max(0)));
        behind.sum()
    }
}

/// An error that prevents a generation from progressing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationError {
    /// The error message.
    pub text: String,
    /// The number of retries so far, or 0 while the other partitions continue. `None` if the generation has halted
    /// until an operator acts.
    pub attempt: Option<u32>,
}

/// An error that prevents a generation from progressing, as recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedError {
    /// The error message.
    pub text: String,
    /// When the error first occurred, in RFC 3339.
    pub since: String,
    /// The number of retries so far. `None` if the generation has halted.
    pub attempt: Option<u32>,
    /// The instance that recorded the error. `None` if it is unknown.
    pub by: Option<String>,
    /// Whether that instance runs.
    pub by_present: bool,
}

impl RecordedError {
    /// Whether `instance` must clear the error when it finds none: it recorded the error, or the instance that recorded
    /// it no longer runs.
    pub fn is_for(&self, instance: &str) -> bool {
        !self.by_present || self.by.as_deref() == Some(instance)
    }
}

/// A checkpoint as recorded in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedCheckpoint {
    /// The partition of the log that the position is in.
    pub partition: TopicPartition,
    /// The first offset that the log held when the generation began. `None` if it is unknown.
    pub start_offset: Option<i64>,
    /// The next offset to read.
    pub next_offset: i64,
    /// The epoch of the last owner.
    pub owner_epoch: i64,
    /// The epoch of the parked records: see [`Checkpoint::parking_epoch`](super::Checkpoint::parking_epoch).
    pub parking_epoch: i64,
    /// The identity of the log (the topic's id in Kafka). `None` if it is unknown.
    pub log_id: Option<String>,
    /// The leader epoch of the record before `next_offset`. `None` if it is unknown.
    pub leader_epoch: Option<i32>,
    /// When the checkpoint last moved, in RFC 3339.
    pub updated_at: String,
}
