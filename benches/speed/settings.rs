//! Reads from the command line and the environment what to measure, and with how many runs and events.

/// The number of runs of each figure, in turns with its baseline.
const RUNS: usize = 3;
const EVENTS: usize = 600_000;
const GROWTH_EVENTS: usize = 5_000_000;

pub(crate) struct Settings {
    /// Parts of names that select groups and cases. Empty selects all.
    names: Vec<String>,
    pub(crate) runs: usize,
    /// The number of events of a throughput measurement.
    pub(crate) events: usize,
    /// The number of events of the longest log.
    pub(crate) growth_events: usize,
}

impl Settings {
    pub(crate) fn read(names: Vec<String>) -> Self {
        Self {
            names,
            runs: number("READCAST_BENCH_RUNS", RUNS),
            events: number("READCAST_BENCH_EVENTS", EVENTS),
            growth_events: number("READCAST_BENCH_GROWTH_EVENTS", GROWTH_EVENTS),
        }
    }

    /// Whether the case `case` of the group `group` is selected.
    pub(crate) fn want(&self, group: &str, case: &str) -> bool {
        let full = format!("{group}/{case}");
        self.names.is_empty() || self.names.iter().any(|name| full.contains(name.as_str()))
    }

    /// Whether any case of the group is selected.
    pub(crate) fn want_any(&self, group: &str, cases: &[&str]) -> bool {
        cases.iter().any(|case| self.want(group, case))
    }

    /// Whether the number of events is less than the default: a trial whose figures mean little.
    pub(crate) fn is_trial(&self) -> bool {
        self.events < EVENTS
    }

    /// This number of events, or fewer in a trial.
    pub(crate) fn at_most(&self, events: usize) -> usize {
        if self.is_trial() { events.min(self.events) } else { events }
    }
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |number| {
        let positive = number.parse().ok().filter(|number| *number > 0);
        positive.unwrap_or_else(|| panic!("{variable} is a number from 1 on"))
    })
}
