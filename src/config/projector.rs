//! The sections `[projector]`, which holds for every projection, and `[projections.NAME]`, which overrides it for one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{ConfigError, unknown};
use super::setting::Setting;

/// What holds for the service as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectorOptions {
    /// What the names of all groups begin with.
    pub app: String,
    /// How long a lane may take to finish what it holds when the service stops.
    pub drain: Duration,
}

/// What holds for one projection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectionOptions {
    /// The group in which its live generation reads: `<app>.<projection>` unless named otherwise.
    pub group: String,
    /// How many lanes share its partitions.
    pub lanes: usize,
    /// How many records one commit takes at most.
    pub batch_records: usize,
    /// How many bytes of records one commit takes, save that one record always fits.
    pub batch_bytes: usize,
    /// How many bytes of records all lanes together may hold.
    pub buffer_bytes: usize,
    /// Whether a definition that changed is rebuilt without being asked for, rather than refused.
    pub rebuild_on_change: bool,
    /// How long a generation that was replaced is fed on, to go back to.
    pub standby: Duration,
    /// How long readers may have to wait for a swap.
    pub swap_lock_timeout: Duration,
    /// How much of a table's rows may be gone after a rebuild, in percent, before it counts as a mistake.
    pub most_lost_percent: usize,
    /// How many records the live generation may lag before a rebuild stands still; 0 for any number.
    pub max_impact: usize,
    /// Whether a rebuild makes the indexes again that users made on the live tables.
    pub keep_indexes: bool,
    /// How long a partition may deliver nothing of what there is before something is done about it.
    pub stall_after: Duration,
    /// How many records may be parked before the projection halts; with 0, at the first that would have to be.
    pub max_parked: usize,
    /// How many records of one key may be parked before the projection halts.
    pub max_parked_per_key: usize,
    /// The most that a record may take in memory, in bytes, before it is parked unread.
    pub max_record_bytes: usize,
    /// How long a projection may take over one record before it is parked.
    pub longest_projection: Duration,
    /// Over how many offsets the id of an event is remembered; 0 for not at all.
    pub duplicate_window: usize,
    /// Where the id of an event stands.
    pub duplicate_id: DuplicateId,
    /// Where a rebuild keeps what does not fit into its memory.
    pub spool_directory: PathBuf,
}

/// Where the id of an event stands, by which it is known when a producer writes it twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DuplicateId {
    /// `body`: in the event itself.
    #[default]
    Body,
    /// `header:NAME`: in a header of the record.
    Header(String),
    /// `sequence:NAME`: in its key, with its number among the events of that key in a header.
    Sequence(String),
}

#[derive(Clone, Debug, Default)]
pub(super) struct ProjectorDraft {
    app: Option<String>,
    drain: Option<Duration>,
    tuning: Tuning,
    projections: BTreeMap<String, ProjectionDraft>,
}

#[derive(Clone, Debug, Default)]
struct ProjectionDraft {
    group: Option<String>,
    tuning: Tuning,
}

/// What can be said for all projections and overridden for one.
#[derive(Clone, Debug, Default)]
struct Tuning {
    lanes: Option<usize>,
    batch_records: Option<usize>,
    batch_bytes: Option<usize>,
    buffer_bytes: Option<usize>,
    rebuild_on_change: Option<bool>,
    standby_seconds: Option<usize>,
    swap_lock_timeout_ms: Option<usize>,
    most_lost_percent: Option<usize>,
    max_impact: Option<usize>,
    keep_indexes: Option<bool>,
    stall_seconds: Option<usize>,
    max_parked: Option<usize>,
    max_parked_per_key: Option<usize>,
    max_record_bytes: Option<usize>,
    projection_seconds: Option<usize>,
    duplicate_window: Option<usize>,
    duplicate_id: Option<DuplicateId>,
    spool_directory: Option<PathBuf>,
}

const TUNING: [&str; 18] = [
    "lanes",
    "batch_records",
    "batch_bytes",
    "buffer_bytes",
    "on_change",
    "standby_seconds",
    "swap_lock_timeout_ms",
    "most_lost_percent",
    "max_impact",
    "keep_indexes",
    "stall_seconds",
    "max_parked",
    "max_parked_per_key",
    "max_record_bytes",
    "projection_seconds",
    "duplicate_window",
    "duplicate_id",
    "spool_directory",
];
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
const DAY: usize = 24 * 60 * 60;

impl ProjectorDraft {
    pub(super) fn set(&mut self, name: &str, setting: &Setting) -> Result<(), ConfigError> {
        match name {
            "app" => self.app = Some(group_name(setting)?),
            "drain_seconds" => self.drain = Some(Duration::from_secs(setting.whole(0..=3600)? as u64)),
            _ => self.tuning.set(name, setting, &["app", "drain_seconds"])?,
        }
        Ok(())
    }

    /// A key of `[projections.NAME]`, or the section itself; `registered` is every name there can be.
    pub(super) fn set_projection(
        &mut self,
        name: &str,
        setting: &Setting,
        registered: &[&str],
    ) -> Result<(), ConfigError> {
        let (projection, key) = name.split_once('.').unwrap_or((name, ""));
        if !registered.contains(&projection) {
            let problem = unknown("projection", projection, registered.iter().copied());
            return Err(ConfigError::at(&setting.key_at, problem));
        }
        let draft = self.projections.entry(projection.to_owned()).or_default();
        match key {
            "" if setting.is_table() => {}
            "" => return Err(setting.not("a section")),
            "group" => draft.group = Some(group_name(setting)?),
            _ => draft.tuning.set(key, setting, &["group"])?,
        }
        Ok(())
    }

    pub(super) fn options(&self) -> ProjectorOptions {
        ProjectorOptions { app: self.app().to_owned(), drain: self.drain.unwrap_or(Duration::from_secs(10)) }
    }

    pub(super) fn projection(&self, name: &str) -> ProjectionOptions {
        let own = self.projections.get(name).cloned().unwrap_or_default();
        let pick = |of: fn(&Tuning) -> Option<usize>, default| of(&own.tuning).or(of(&self.tuning)).unwrap_or(default);
        let duplicate_id = own.tuning.duplicate_id.as_ref().or(self.tuning.duplicate_id.as_ref());
        let spool_directory = own.tuning.spool_directory.as_ref().or(self.tuning.spool_directory.as_ref());
        let keep_indexes = own.tuning.keep_indexes.or(self.tuning.keep_indexes);
        let rebuild_on_change = own.tuning.rebuild_on_change.or(self.tuning.rebuild_on_change);
        ProjectionOptions {
            group: own.group.clone().unwrap_or_else(|| format!("{}.{name}", self.app())),
            lanes: pick(|tuning| tuning.lanes, 2),
            batch_records: pick(|tuning| tuning.batch_records, 10_000),
            batch_bytes: pick(|tuning| tuning.batch_bytes, 8 * MIB),
            buffer_bytes: pick(|tuning| tuning.buffer_bytes, 32 * MIB),
            rebuild_on_change: rebuild_on_change.unwrap_or(false),
            standby: Duration::from_secs(pick(|tuning| tuning.standby_seconds, DAY) as u64),
            swap_lock_timeout: Duration::from_millis(pick(|tuning| tuning.swap_lock_timeout_ms, 100) as u64),
            most_lost_percent: pick(|tuning| tuning.most_lost_percent, 5),
            max_impact: pick(|tuning| tuning.max_impact, 10_000),
            keep_indexes: keep_indexes.unwrap_or(false),
            stall_after: Duration::from_secs(pick(|tuning| tuning.stall_seconds, 60) as u64),
            max_parked: pick(|tuning| tuning.max_parked, 10_000),
            max_parked_per_key: pick(|tuning| tuning.max_parked_per_key, 1_000),
            max_record_bytes: pick(|tuning| tuning.max_record_bytes, 16 * MIB),
            longest_projection: Duration::from_secs(pick(|tuning| tuning.projection_seconds, 10) as u64),
            duplicate_window: pick(|tuning| tuning.duplicate_window, 0),
            duplicate_id: duplicate_id.cloned().unwrap_or_default(),
            spool_directory: spool_directory.cloned().unwrap_or_else(std::env::temp_dir),
        }
    }

    /// What no single value can show to be wrong.
    pub(super) fn check(&self, registered: &[&str]) -> Result<(), ConfigError> {
        let mut groups = BTreeMap::new();
        for name in registered {
            let ProjectionOptions { group, batch_bytes, buffer_bytes, .. } = self.projection(name);
            if buffer_bytes < batch_bytes {
                return Err(ConfigError::overall(format!(
                    "projection `{name}`: `buffer_bytes` ({buffer_bytes}) must not be less than `batch_bytes` \
                     ({batch_bytes}), or no batch is ever full"
                )));
            }
            if let Some(other) = groups.insert(group.clone(), name) {
                return Err(ConfigError::overall(format!(
                    "projections `{other}` and `{name}` share the group `{group}`: each would read only half of the log"
                )));
            }
        }
        Ok(())
    }

    fn app(&self) -> &str {
        self.app.as_deref().unwrap_or("readcast")
    }
}

impl Tuning {
    fn set(&mut self, name: &str, setting: &Setting, others: &[&str]) -> Result<(), ConfigError> {
        match name {
            "lanes" => self.lanes = Some(setting.whole(1..=64)?),
            "batch_records" => self.batch_records = Some(setting.whole(1..=1_000_000)?),
            "batch_bytes" => self.batch_bytes = Some(setting.bytes(KIB..=GIB)?),
            "buffer_bytes" => self.buffer_bytes = Some(setting.bytes(KIB..=64 * GIB)?),
            "on_change" => self.rebuild_on_change = Some(on_change(setting)?),
            "standby_seconds" => self.standby_seconds = Some(setting.whole(0..=30 * DAY)?),
            "swap_lock_timeout_ms" => self.swap_lock_timeout_ms = Some(setting.whole(10..=10_000)?),
            "most_lost_percent" => self.most_lost_percent = Some(setting.whole(0..=100)?),
            "max_impact" => self.max_impact = Some(setting.whole(0..=1_000_000_000_000)?),
            "keep_indexes" => self.keep_indexes = Some(setting.boolean()?),
            "stall_seconds" => self.stall_seconds = Some(setting.whole(1..=DAY)?),
            "max_parked" => self.max_parked = Some(setting.whole(0..=1_000_000_000)?),
            "max_parked_per_key" => self.max_parked_per_key = Some(setting.whole(1..=1_000_000_000)?),
            "max_record_bytes" => self.max_record_bytes = Some(setting.bytes(KIB..=GIB)?),
            "projection_seconds" => self.projection_seconds = Some(setting.whole(1..=3600)?),
            "duplicate_window" => self.duplicate_window = Some(setting.whole(0..=10_000_000)?),
            "duplicate_id" => self.duplicate_id = Some(duplicate_id(setting)?),
            "spool_directory" => self.spool_directory = Some(setting.text()?.into()),
            _ => return Err(setting.unknown(name, others.iter().copied().chain(TUNING))),
        }
        Ok(())
    }
}

/// Whether a definition that changed is rebuilt.
fn on_change(setting: &Setting) -> Result<bool, ConfigError> {
    match setting.text()? {
        "refuse" => Ok(false),
        "rebuild" => Ok(true),
        _ => Err(setting.not("`refuse` or `rebuild`")),
    }
}

fn duplicate_id(setting: &Setting) -> Result<DuplicateId, ConfigError> {
    match setting.text()?.split_once(':') {
        None if setting.text()? == "body" => Ok(DuplicateId::Body),
        Some(("header", name)) if !name.is_empty() => Ok(DuplicateId::Header(name.to_owned())),
        Some(("sequence", name)) if !name.is_empty() => Ok(DuplicateId::Sequence(name.to_owned())),
        _ => Err(setting.not("`body`, `header:NAME` or `sequence:NAME`")),
    }
}

/// A name that Kafka takes for a group without ado.
fn group_name(setting: &Setting) -> Result<String, ConfigError> {
    let valid = |text: &str| text.len() <= 200 && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    setting.text_where("a name of letters, digits, `.`, `_` and `-`", valid)
}
