//! Cases from outside of this repository: a folder of folders `NN-name`, each with a program `repro` that is told in its
//! environment where `READCAST`, `KAFKA` and `PG` are, and ends with 0 if readcast does what is right. `scripts/cases` runs it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::process::configuration;
use crate::support::servers;

/// In seconds; no case takes nearly as long.
const LIMIT: &str = "600";

/// Cases of which both are right: that it works, or that a declaration is refused with these words.
const REFUSED_WHEN_DECLARED: [(&str, &str); 1] = [("21-", "has a name that generations of table")];

struct Outcome {
    name: String,
    /// None: it had to be ended.
    code: Option<i32>,
    took: Duration,
    /// The last line that it printed.
    said: String,
}

impl Outcome {
    fn is_right(&self) -> bool {
        let refused = |(case, words): &(&str, &str)| self.name.starts_with(case) && self.said.contains(words);
        self.code == Some(0) || REFUSED_WHEN_DECLARED.iter().any(refused)
    }

    fn verdict(&self) -> &'static str {
        match self.code {
            _ if self.is_right() => "right",
            Some(77) => "can't tell",
            _ => "FAULT",
        }
    }
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The cases of the folder, but for those whose names begin with one of the texts in READCAST_CASES_SKIP.
fn cases(folder: &Path) -> Vec<PathBuf> {
    let skip = setting("READCAST_CASES_SKIP").unwrap_or_default();
    let skipped = |name: &str| skip.split_whitespace().any(|beginning| name.starts_with(beginning));
    let folders = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut cases: Vec<_> =
        folders.map(|entry| entry.unwrap().path()).filter(|case| case.join("repro").is_file()).collect();
    cases.retain(|case| !skipped(&name(case)));
    cases.sort();
    assert!(!cases.is_empty(), "{} has no folder with a `repro` in it", folder.display());
    cases
}

fn name(case: &Path) -> String {
    case.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The program under test. A case that brings projections of its own, in Rust, needs the one that has them registered.
fn program(case: &Path) -> PathBuf {
    let ours = PathBuf::from(setting("READCAST").unwrap_or_else(|| env!("CARGO_BIN_EXE_shop").to_owned()));
    let files = std::fs::read_dir(case).unwrap().map(|entry| entry.unwrap().path());
    let brings_projections = files.into_iter().any(|file| file.extension().is_some_and(|extension| extension == "rs"));
    if brings_projections { ours.with_file_name("examples").join("cases") } else { ours }
}

async fn run(case: &Path, kafka: &str, postgres: &str) -> Outcome {
    let begun = Instant::now();
    let mut command = Command::new("timeout");
    command.arg(LIMIT).arg(case.join("repro")).stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    for name in configuration() {
        command.env_remove(name);
    }
    command.env("READCAST", program(case)).env("KAFKA", kafka).env("PG", postgres);
    let output = command.output().await.expect("every Linux has `timeout`");
    let said = String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned();
    let outcome = Outcome { name: name(case), code: output.status.code(), took: begun.elapsed(), said };
    println!("{:10} {:32} {:6.1} s  {}", outcome.verdict(), outcome.name, outcome.took.as_secs_f64(), outcome.said);
    outcome
}

#[tokio::test]
#[ignore = "it needs a folder of cases: scripts/cases FOLDER"]
async fn every_case_ends_with_0() {
    let folder = setting("READCAST_CASES").expect("READCAST_CASES names the folder of the cases");
    let jobs = setting("READCAST_CASES_JOBS").map_or(4, |jobs| jobs.parse().unwrap());
    let kafka = Arc::new(servers::kafka_that_creates_topics().await);
    let postgres = &servers::postgres().await.address;
    let places = Arc::new(Semaphore::new(jobs));
    let mut running = JoinSet::new();
    for case in cases(Path::new(&folder)) {
        let (kafka, places) = (Arc::clone(&kafka), Arc::clone(&places));
        running.spawn(async move {
            let _place = places.acquire().await.expect("it is never closed");
            run(&case, &kafka.address, postgres).await
        });
    }
    let outcomes = running.join_all().await;
    let wrong: Vec<&str> = outcomes.iter().filter(|case| !case.is_right()).map(|case| case.name.as_str()).collect();
    println!("{} of {} cases are right", outcomes.len() - wrong.len(), outcomes.len());
    assert!(wrong.is_empty(), "not right: {}", wrong.join(", "));
}
