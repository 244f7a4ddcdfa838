//! The figures: a table as they come, and a file at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::Measured;

/// Medians of one case.
#[derive(Serialize)]
pub(crate) struct Figures {
    case: &'static str,
    events: usize,
    events_per_s: f64,
    rebuild_events_per_s: f64,
    ceiling_events_per_s: f64,
    ratio: f64,
}

impl Figures {
    pub(crate) fn of(case: &'static str, events: usize, measured: &Measured) -> Self {
        let (live, ceiling) = (Spread::of(events, &measured.live), Spread::of(events, &measured.ceiling));
        let rebuild = Spread::of(events, &measured.rebuild);
        Self {
            case,
            events,
            events_per_s: live.median.round(),
            rebuild_events_per_s: rebuild.median.round(),
            ceiling_events_per_s: ceiling.median.round(),
            ratio: (live.median / ceiling.median * 1000.0).round() / 1000.0,
        }
    }
}

/// Events a second, over several runs.
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(events: usize, runs: &[Duration]) -> Self {
        let mut rates: Vec<f64> = runs.iter().map(|took| events as f64 / took.as_secs_f64()).collect();
        rates.sort_by(f64::total_cmp);
        Self { least: rates[0], median: rates[rates.len() / 2], most: rates[rates.len() - 1] }
    }

    fn show(&self) -> String {
        format!("{} ({}..{})", whole(self.median), whole(self.least), whole(self.most))
    }
}

pub(crate) struct Report(Vec<Figures>);

impl Report {
    pub(crate) fn begin() -> Self {
        let heads = ["case", "events", "live events/s", "rebuild events/s", "ceiling events/s", "ratio", "idle s"];
        line(heads.map(str::to_owned));
        Self(Vec::new())
    }

    /// Prints a case, its extremes in parentheses behind the medians.
    pub(crate) fn add(&mut self, figures: Figures, measured: &Measured) {
        let mut idle = measured.idle.clone();
        idle.sort();
        line([
            figures.case.to_owned(),
            whole(figures.events as f64),
            Spread::of(figures.events, &measured.live).show(),
            Spread::of(figures.events, &measured.rebuild).show(),
            Spread::of(figures.events, &measured.ceiling).show(),
            format!("{:.2}", figures.ratio),
            format!("{:.2}", idle[idle.len() / 2].as_secs_f64()),
        ]);
        self.0.push(figures);
    }

    /// Writes `target/bench/throughput.json`.
    pub(crate) fn end(self) {
        let path = file();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, serde_json::to_string_pretty(&self.0).unwrap() + "\n").unwrap();
        println!("written to {}", path.display());
    }
}

fn line([case, events, live, rebuild, ceiling, ratio, idle]: [String; 7]) {
    println!("{case:<30} {events:>9} {live:>26} {rebuild:>26} {ceiling:>34} {ratio:>6} {idle:>7}");
}

/// In the target directory, wherever that is.
fn file() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench").join("throughput.json")
}

/// A whole number with its thousands apart.
fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}
