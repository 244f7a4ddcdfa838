//! Whether the process is alive, and whether every projection does its work, in sentences.
//!
//! The supervisor reports each state, and a heartbeat every few seconds. This module asks nothing itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};

use crate::metrics::Metrics;
use crate::store::Generation;

/// How long the supervisor may give no sign of life before the process counts as stuck.
pub const HEARTBEAT_LIMIT: Duration = Duration::from_secs(60);

/// What a projection is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It prepares its tables and joins its consumer group.
    Starting,
    /// It projects events.
    Running,
    /// It has joined its consumer group, which has assigned no partitions to it for a while.
    Waiting {
        /// Which group, for how long, and what may be the cause.
        reason: String,
    },
    /// An operator paused it.
    Paused {
        /// Since when, as the store says.
        since: String,
    },
    /// This code builds its tables, while other instances feed the tables that readers see.
    Building {
        /// How far the build is.
        reason: String,
    },
    /// A later version built what readers see, and other instances feed it. This process feeds a standby.
    Superseded {
        /// What is live, and what this process does.
        reason: String,
    },
    /// No running instance can feed the tables that readers see.
    Orphaned {
        /// Since when, why, and what to do.
        reason: String,
    },
    /// A part of it does not progress although nothing failed, and a new run did not help.
    Stalled {
        /// Which part, and for how long.
        reason: String,
    },
    /// It failed in a way that may pass, and retries.
    Retrying {
        /// How often it has failed in a row.
        attempt: u32,
        /// The last failure.
        reason: String,
    },
    /// It stopped, and needs an operator.
    Halted {
        /// Why the projection stopped.
        reason: String,
        /// What the operator can do.
        advice: String,
    },
    /// It has reached its end, or was asked to stop.
    Stopped,
}

/// How much an answer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Names and states.
    Brief,
    /// Reasons too, which may hold a part of a record.
    Verbose,
}

/// A projection's state, and since when it has been in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it is doing.
    pub state: State,
    /// Since when, for display.
    pub since: SystemTime,
}

/// What is known of one projection.
#[derive(Clone, Debug)]
struct Projection {
    /// The report on the projection as a whole.
    overall: Report,
    /// The generation that readers see, where this process feeds it: its state is the projection's.
    live: Option<Generation>,
    /// The reports on the generations that this process feeds.
    generations: BTreeMap<Generation, Report>,
}

impl Projection {
    fn report(&self) -> &Report {
        self.live.and_then(|live| self.generations.get(&live)).unwrap_or(&self.overall)
    }

    /// The generations whose state is not the projection's.
    fn others(&self) -> impl Iterator<Item = (&Generation, &Report)> {
        self.generations.iter().filter(|(generation, _)| self.live != Some(**generation))
    }
}

/// The health of the process. Clones share it.
#[derive(Clone, Debug)]
pub struct Health {
    metrics: Metrics,
    projections: Arc<Mutex<BTreeMap<String, Projection>>>,
    heartbeat: Arc<Mutex<Instant>>,
}

/// Where the feed of a generation reports its state.
#[derive(Clone, Debug)]
pub struct HealthReporter {
    health: Health,
    projection: Arc<str>,
    generation: Generation,
}

impl HealthReporter {
    /// The generation is in `state` from now on.
    pub fn set(&self, state: State) {
        self.health.change(&self.projection, |projection| {
            let before = projection.generations.remove(&self.generation);
            projection.generations.insert(self.generation, Report::after(before, state));
        });
    }

    /// The state that was reported last.
    pub fn state(&self) -> Option<State> {
        let projections = lock(&self.health.projections);
        let report = projections.get(&*self.projection)?.generations.get(&self.generation)?;
        Some(report.state.clone())
    }
}

impl Health {
    /// Every one of `projections` starts. States also show in the `metrics`.
    pub fn new<'a>(metrics: &Metrics, projections: impl IntoIterator<Item = &'a str>) -> Self {
        let heartbeat = Arc::new(Mutex::new(Instant::now()));
        let health = Self { metrics: metrics.clone(), projections: Arc::default(), heartbeat };
        projections.into_iter().for_each(|name| health.set(name, State::Starting));
        health
    }

    /// The projection `name` is in `state` from now on; or still, if only the details changed.
    pub fn set(&self, name: &str, state: State) {
        self.change(name, |projection| {
            projection.overall = Report::after(Some(projection.report().clone()), state);
            projection.live = None;
        });
    }

    /// The state of the projection `name` is from now on that of `live`, which readers see and which is fed here.
    pub fn serve(&self, name: &str, live: Generation) {
        self.change(name, |projection| {
            // What kept the generation from being fed has passed.
            if projection.overall.state.is_failure() {
                projection.overall = Report::after(None, State::Starting);
            }
            projection.live = Some(live);
        });
    }

    /// This process no longer feeds the generation.
    pub fn forget(&self, name: &str, generation: Generation) {
        self.change(name, |projection| drop(projection.generations.remove(&generation)));
    }

    /// The reporter of one generation of `name`.
    pub fn reporter(&self, name: &str, generation: Generation) -> HealthReporter {
        HealthReporter { health: self.clone(), projection: name.into(), generation }
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Projection)) {
        let mut projections = lock(&self.projections);
        let projection = projections.entry(name.to_owned()).or_insert_with(|| Projection {
            overall: Report::after(None, State::Starting),
            live: None,
            generations: BTreeMap::new(),
        });
        change(projection);
        self.metrics.projection(name).state(projection.report().state.name(), &State::NAMES);
    }

    /// Every projection's state.
    pub fn reports(&self) -> BTreeMap<String, Report> {
        lock(&self.projections).iter().map(|(name, projection)| (name.clone(), projection.report().clone())).collect()
    }

    /// The supervisor gives a sign of life.
    pub fn beat(&self) {
        *lock(&self.heartbeat) = Instant::now();
    }

    /// Whether the process is alive, in words. Neither lag nor a projection's failure counts: a restart cures neither.
    pub fn liveness(&self) -> Result<String, String> {
        self.liveness_at(Instant::now())
    }

    fn liveness_at(&self, now: Instant) -> Result<String, String> {
        let silent = now.saturating_duration_since(*lock(&self.heartbeat));
        if silent <= HEARTBEAT_LIMIT {
            return Ok("alive\n".into());
        }
        Err(format!("stuck: the supervisor has given no sign of life for {} s\n", silent.as_secs()))
    }

    /// Whether every projection does its work, in words: a line each.
    pub fn readiness(&self, detail: Detail) -> Result<String, String> {
        let projections = lock(&self.projections);
        let ready = projections.values().all(|projection| projection.report().state.is_ready());
        let mut text = if ready { "ready\n" } else { "not ready\n" }.to_owned();
        for (name, projection) in &*projections {
            let report = projection.report();
            text += &match detail {
                Detail::Brief => format!("{name}: {}\n", report.state.name()),
                Detail::Verbose => format!("{name}: {report}\n"),
            };
            // The state of a rebuild is shown, and decides nothing: readers are served.
            for (generation, report) in projection.others().filter(|_| detail == Detail::Verbose) {
                text += &format!("{name} generation {}: {report}\n", generation.0);
            }
        }
        if ready { Ok(text) } else { Err(text) }
    }
}

impl Report {
    /// `state` from now on; or still, if it has been in it and only the details changed.
    fn after(before: Option<Report>, state: State) -> Self {
        let before = before.filter(|report| report.state.name() == state.name());
        let since = before.map_or_else(SystemTime::now, |report| report.since);
        Report { state, since }
    }
}

impl State {
    pub(crate) const NAMES: [&'static str; 11] = [
        "starting",
        "waiting",
        "running",
        "paused",
        "building",
        "superseded",
        "orphaned",
        "stalled",
        "retrying",
        "halted",
        "stopped",
    ];

    /// The state's name, as metrics and pages show it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Waiting { .. } => "waiting",
            Self::Running => "running",
            Self::Paused { .. } => "paused",
            Self::Building { .. } => "building",
            Self::Superseded { .. } => "superseded",
            Self::Orphaned { .. } => "orphaned",
            Self::Stalled { .. } => "stalled",
            Self::Retrying { .. } => "retrying",
            Self::Halted { .. } => "halted",
            Self::Stopped => "stopped",
        }
    }

    /// Whether something failed or is stalled.
    fn is_failure(&self) -> bool {
        matches!(self, Self::Stalled { .. } | Self::Retrying { .. } | Self::Halted { .. })
    }

    fn is_ready(&self) -> bool {
        match self {
            // An operator wants it paused.
            Self::Running | Self::Stopped | Self::Paused { .. } | Self::Superseded { .. } => true,
            // Readers are served, and a restart cures nothing. A member without partitions may be a spare one.
            Self::Stalled { .. } | Self::Waiting { .. } => true,
            // While an instance that builds is not ready, a rolling deployment keeps those that feed what readers see.
            Self::Starting | Self::Building { .. } | Self::Orphaned { .. } => false,
            Self::Retrying { .. } | Self::Halted { .. } => false,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = DateTime::<Utc>::from(self.since).to_rfc3339_opts(SecondsFormat::Secs, true);
        write!(f, "{} since {since}", self.state.name())?;
        match &self.state {
            State::Starting | State::Running | State::Stopped => Ok(()),
            State::Paused { since } => write!(f, " (paused at {since})"),
            State::Waiting { reason }
            | State::Building { reason }
            | State::Superseded { reason }
            | State::Orphaned { reason }
            | State::Stalled { reason } => write!(f, ": {}", line(reason)),
            State::Retrying { attempt, reason } => write!(f, ", attempt {attempt}: {}", line(reason)),
            State::Halted { reason, advice } => write!(f, ": {}. Next: {}", line(reason), line(advice)),
        }
    }
}

/// One line, without the full stop that the sentence around it sets.
fn line(text: &str) -> String {
    text.trim_end().trim_end_matches('.').replace(['\r', '\n'], " ")
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
