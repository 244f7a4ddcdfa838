//! `readcast test`

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use readcast_core::Projection as _;

use super::super::{CommandError, Context, output};
use super::record;
use crate::files::{FilesError, TestOutcome, run_tests};
use crate::text::counted;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast test order_summary --junit report.xml\n  \
    readcast test order_summary --record orders --key ord_1")]
pub(in crate::cli) struct Arguments {
    /// The projections to test [default: all of the folder]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Write a report in the form of JUnit to this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    record: record::FromLog,
}

/// The tests of one projection.
struct Tested {
    name: String,
    /// The path of the file of tests.
    path: PathBuf,
    /// What became of each test. `None` if there is no such file.
    outcomes: Option<Vec<TestOutcome>>,
}

pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<ExitCode, CommandError> {
    if let Some(recording) = arguments.record.recording() {
        return record::run(context, &arguments.names, &recording).await;
    }
    run_all(context, &arguments.names, arguments.junit.as_deref())
}

/// Runs the tests of these projections, or of all, and prints what became of them.
pub(super) fn run_all(context: &Context, names: &[String], junit: Option<&Path>) -> Result<ExitCode, CommandError> {
    let mut all = Vec::new();
    for (path, projection) in super::chosen(context, names)? {
        let (name, path) = (projection.name().to_owned(), path.with_extension("test.toml"));
        let outcomes = match std::fs::read_to_string(&path) {
            Ok(text) => {
                let outcomes = run_tests(projection, &path.display().to_string(), &text);
                Some(outcomes.map_err(FilesError::Wrong)?)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(CommandError::Failed(format!("{} can't be read: {error}", path.display()))),
        };
        all.push(Tested { name, path, outcomes });
    }
    if let Some(path) = junit {
        write_report(path, &all)?;
    }
    output::line(shown(&all))?;
    let failed =
        all.iter().flat_map(|tested| tested.outcomes.iter().flatten()).any(|outcome| outcome.failure.is_some());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn shown(all: &[Tested]) -> String {
    let mut text = String::new();
    let (mut tests, mut failed) = (0, 0);
    for Tested { name, path, outcomes } in all {
        let Some(outcomes) = outcomes else {
            let _ = writeln!(text, "none    {name}: there is no {}", path.display());
            continue;
        };
        for TestOutcome { name: test, place, failure } in outcomes {
            tests += 1;
            let _ = match failure {
                None => writeln!(text, "ok      {name}: {test}"),
                Some(failure) => {
                    failed += 1;
                    writeln!(text, "FAILED  {name}: {test} ({place})\n{}", failure.trim_end().replace('\n', "\n    "))
                }
            };
        }
    }
    let _ = write!(text, "{}, {failed} failed", counted(tests, "test"));
    text
}

fn write_report(path: &Path, all: &[Tested]) -> Result<(), CommandError> {
    let mut report = Report::new("readcast test");
    for Tested { name, outcomes, .. } in all {
        let mut suite = TestSuite::new(name.as_str());
        for TestOutcome { name: test, failure, .. } in outcomes.iter().flatten() {
            let status = match failure {
                None => TestCaseStatus::success(),
                Some(failure) => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status.set_message(failure.as_str());
                    status
                }
            };
            suite.add_test_case(TestCase::new(test.as_str(), status));
        }
        report.add_test_suite(suite);
    }
    let failed = |error: &dyn std::fmt::Display| CommandError::Failed(format!("{}: {error}", path.display()));
    let xml = report.to_string().map_err(|error| failed(&error))?;
    std::fs::write(path, xml).map_err(|error| failed(&error))
}
