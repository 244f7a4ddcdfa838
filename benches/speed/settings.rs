//! What is measured, and how long it takes: from the command line and the environment.

/// How often each figure is taken, by turns with its baseline.
const RUNS: usize = 3;
const EVENTS: usize = 600_000;
const GROWTH_EVENTS: usize = 5_000_000;

pub(crate) struct Settings {
    /// Only what has one of these in its name; everything where there is none.
    names: Vec<String>,
    pub(crate) runs: usize,
    /// How many events a throughput is measured with.
    pub(crate) events: usize,
    /// How many events the longest log has.
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

    /// Whether the case `case` of the group `group` is to be measured.
    pub(crate) fn want(&self, group: &str, case: &str) -> bool {
        let full = format!("{group}/{case}");
        self.names.is_empty() || self.names.iter().any(|name| full.contains(name.as_str()))
    }

    /// Whether any of its cases is.
    pub(crate) fn want_any(&self, group: &str, cases: &[&str]) -> bool {
        cases.iter().any(|case| self.want(group, case))
    }

    /// Whether fewer events than by default are asked for: a look at whether all works, whose figures mean little.
    pub(crate) fn is_trial(&self) -> bool {
        self.events < EVENTS
    }

    /// At most so many events: fewer in a trial.
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
