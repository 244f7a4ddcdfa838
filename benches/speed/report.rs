//! Prints the results as they arrive, and writes a file for each group of cases when it is complete.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::row::Row;

/// The results of one group of cases.
#[derive(Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) group: String,
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
    /// The figures along an axis, for plots.
    pub(crate) series: Vec<Series>,
    /// The duration of the measurements of the group.
    pub(crate) seconds: f64,
    #[serde(skip, default = "Instant::now")]
    begun: Instant,
}

/// Figures along an axis.
#[derive(Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) axis: String,
    pub(crate) points: Vec<Point>,
}

/// The medians of all runs at one point of an axis.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) at: f64,
    pub(crate) events_per_s: f64,
    /// The CPU time of the service for all events.
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_mib: f64,
}

impl Report {
    pub(crate) async fn begin(group: &str) -> Self {
        println!("\n{group}");
        let (group, machine, begun) = (group.to_owned(), Machine::look().await, Instant::now());
        Self { group, machine, rows: Vec::new(), series: Vec::new(), seconds: 0.0, begun }
    }

    /// Prints a row and adds it to the results.
    pub(crate) fn add(&mut self, row: Row) {
        let ratio = row.ratio().map_or(String::new(), |ratio| format!(", {ratio} x"));
        let target =
            row.target.map_or(String::new(), |target| format!("   target {}: {}", target.show(), row.verdict()));
        let baseline = row.baseline().map_or(String::new(), |baseline| format!(" beside {baseline}"));
        println!("  {}\n    {}{baseline}{ratio}{target}", row.case, row.figure());
        if !row.note.is_empty() {
            println!("    {}", row.note);
        }
        self.rows.push(row);
    }

    /// Writes `target/bench/<group>.json`.
    pub(crate) fn end(mut self) {
        self.seconds = self.begun.elapsed().as_secs_f64();
        let path = folder().join(format!("{}.json", self.group));
        fs::create_dir_all(folder()).unwrap();
        fs::write(&path, serde_json::to_string_pretty(&self).unwrap() + "\n").unwrap();
        println!("  written to {} after {:.0} s", path.display(), self.seconds);
    }

    /// The last results of a group, if there are any.
    pub(crate) fn last(group: &str) -> Option<Self> {
        let text = fs::read_to_string(folder().join(format!("{group}.json"))).ok()?;
        Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{group}.json: {error}: measure it again")))
    }
}

/// The path of a group's file in the target directory.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench")
}
