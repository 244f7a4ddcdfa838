//! What is recorded of a generation: one physical build of a projection's tables.

use std::collections::BTreeMap;
use std::fmt;

use readcast_core::{TableSpec, TopicPartition};

use super::{Comparison, ParkedCounts};

/// The number of one physical build of a projection's tables, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Generation(pub i32);

/// Where a generation is in its life: `Building`, `Ready`, `Live`, `Standby`, `Retired` in this order, or `Failed` after
/// one of the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenerationState {
    /// It is filled from the log, and never runs ahead of the live one.
    Building,
    /// It was compared with the live one, and waits to be activated. It is fed.
    Ready,
    /// Readers see it.
    Live,
    /// Readers saw it until lately. It is fed, so that they can go back to it.
    Standby,
    /// Its tables are gone, or are about to be.
    Retired,
    /// It was given up before it was live; its tables are gone, or are about to be.
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

    /// As it stands in the database.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| name)
    }

    /// The state with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, other)| *other == name).map(|(state, _)| *state)
    }

    /// Whether it has tables that are kept up to date.
    pub fn is_fed(self) -> bool {
        matches!(self, Self::Building | Self::Ready | Self::Live | Self::Standby)
    }
}

impl fmt::Display for GenerationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is done with a generation that is building, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The log is folded outside of the database, and each row is written once. It is not fed meanwhile.
    Load,
    /// The log is replayed, without secondary indexes and in large batches.
    Replay,
    /// Secondary indexes are created, and statistics gathered. It is not fed meanwhile.
    Index,
    /// It follows the live generation.
    CatchUp,
    /// It is compared with the live generation, at equal checkpoints.
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

    /// Whether it is fed by those who have its definition, as other generations are.
    pub fn is_fed(self) -> bool {
        matches!(self, Phase::Replay | Phase::CatchUp | Phase::Compare)
    }

    /// As it stands in the database.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(phase, _)| *phase == self).map_or("", |(_, name)| name)
    }

    /// The phase with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, other)| *other == name).map(|(phase, _)| *phase)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().replace('_', " "))
    }
}

/// What is recorded of one generation. Times are in RFC 3339.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationStatus {
    /// The projection's name.
    pub projection: String,
    /// Which generation.
    pub generation: Generation,
    /// Where it is in its life.
    pub state: GenerationState,
    /// What is done with it while it is building.
    pub phase: Option<Phase>,
    /// Which definition built it: [`readcast_core::Definition::hash`].
    pub definition_hash: String,
    /// The version that this definition declared.
    pub version: i32,
    /// The tables as that definition declared them.
    pub tables: Vec<TableSpec>,
    /// Built to compare the live one with, and never activated.
    pub scratch: bool,
    /// It began as a copy of the live rows and replays a part of the log over them.
    pub repeats: bool,
    /// Since when it is paused, if it is.
    pub paused_since: Option<String>,
    /// When it began.
    pub created_at: String,
    /// When readers last came to see it.
    pub activated_at: Option<String>,
    /// Until when a standby is fed.
    pub standby_until: Option<String>,
    /// Whether that time is over, by the database's clock.
    pub standby_is_over: bool,
    /// How it compared with the generation that was live then.
    pub proof: Option<Comparison>,
    /// What keeps it from going on, if anything does.
    pub last_error: Option<RecordedError>,
    /// What is parked.
    pub parked: ParkedCounts,
    /// Whether it has physical tables.
    pub has_tables: bool,
    /// How far it is.
    pub checkpoints: Vec<RecordedCheckpoint>,
}

impl GenerationStatus {
    /// A live generation of `p` that stands at these offsets of `orders`.
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
            scratch: false,
            repeats: false,
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

    /// The next offset of every partition that it has a checkpoint in.
    pub fn positions(&self) -> BTreeMap<&TopicPartition, i64> {
        self.checkpoints.iter().map(|held| (&held.partition, held.next_offset)).collect()
    }

    /// Whether it has halted until a person acts.
    pub fn is_halted(&self) -> bool {
        self.last_error.as_ref().is_some_and(|error| error.attempt.is_none())
    }

    /// How many offsets this generation is behind `live`, over all partitions; `None` while it lacks a partition that
    /// `live` has.
    pub fn behind(&self, live: &GenerationStatus) -> Option<i64> {
        let ours = self.positions();
        let behind = live.checkpoints.iter().map(|held| Some((held.next_offset - ours.get(&held.partition)?).max(0)));
        behind.sum()
    }
}

/// What keeps a generation from going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationError {
    /// What is wrong.
    pub text: String,
    /// How often it was tried again, or 0 while the other partitions go on; `None` when it has halted until a person acts.
    pub attempt: Option<u32>,
}

/// What keeps a generation from going on, as it is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedError {
    /// What is wrong.
    pub text: String,
    /// Since when, in RFC 3339.
    pub since: String,
    /// How often it was tried again, if it is.
    pub attempt: Option<u32>,
    /// The instance that recorded it, where that is known.
    pub by: Option<String>,
    /// Whether that instance runs.
    pub by_present: bool,
}

impl RecordedError {
    /// Whether `instance` clears it when it finds no error any more: `instance` recorded it, or the instance that did does
    /// not run any more.
    pub fn is_for(&self, instance: &str) -> bool {
        !self.by_present || self.by.as_deref() == Some(instance)
    }
}

/// A checkpoint as it stands in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedCheckpoint {
    /// Which partition.
    pub partition: TopicPartition,
    /// The first offset that was there when the generation began, where that is known.
    pub start_offset: Option<i64>,
    /// The next offset to read.
    pub next_offset: i64,
    /// The epoch of its last owner.
    pub owner_epoch: i64,
    /// See [`Checkpoint::parking_epoch`](super::Checkpoint::parking_epoch).
    pub parking_epoch: i64,
    /// Which log it points into, where that is known.
    pub log_id: Option<String>,
    /// Under which leader of the partition the record before it was written, where that is known.
    pub leader_epoch: Option<i32>,
    /// When it last moved, in RFC 3339.
    pub updated_at: String,
}
