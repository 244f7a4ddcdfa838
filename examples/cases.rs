//! The program with projections that are hard on a store beside the shop's, for bug-report cases that need them:
//! `wide`, a table of 900 columns, and `clash`, a table with the name of another one's first generation. A registry with
//! `clash` is refused whatever it is asked for, so it is there only where the command line names it.

use std::process::ExitCode;

use readcast::{App, Sample};
use readcast_core::{Changes, ColumnType, Envelope, Projection, ProjectionError, TableSpec};
use readcast_projections::sample::{Orders, TOPIC};
use serde::Deserialize;

/// How many flags [`Wide`] has.
const FLAGS: usize = 900;

fn main() -> ExitCode {
    let mut registry = readcast_projections::registry().register(Wide);
    if std::env::args().any(|argument| argument == "clash") {
        registry = registry.register(Clash);
    }
    let sample = Sample { topic: TOPIC, events: |seed| Box::new(Orders::new(seed)) };
    App::new().registry(registry).sample(sample).run()
}

/// 900 flags of a thing.
struct Wide;

#[derive(Deserialize)]
struct Flags {
    id: String,
    on: bool,
}

impl Projection for Wide {
    fn name(&self) -> &str {
        "wide"
    }

    fn topics(&self) -> &[&str] {
        &["wide"]
    }

    fn event_types(&self) -> &[&str] {
        &["FLAGS"]
    }

    fn tables(&self) -> Vec<TableSpec> {
        let table = TableSpec::new("wide_flags").key("id", ColumnType::Text);
        vec![(0..FLAGS).fold(table, |table, n| table.nullable(format!("f{n}"), ColumnType::Bool))]
    }

    fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        let flags: Flags = event.data()?;
        let row = changes.upsert("wide_flags", [flags.id]);
        (0..FLAGS).fold(row, |row, n| row.set(&format!("f{n}"), flags.on));
        Ok(())
    }
}

/// Counts words twice.
struct Clash;

#[derive(Deserialize)]
struct Word {
    id: String,
}

impl Projection for Clash {
    fn name(&self) -> &str {
        "clash"
    }

    fn topics(&self) -> &[&str] {
        &["clash"]
    }

    fn event_types(&self) -> &[&str] {
        &["WORD"]
    }

    fn tables(&self) -> Vec<TableSpec> {
        let table = |name: &str| TableSpec::new(name).key("id", ColumnType::Text).with_default("n", ColumnType::I64, 0);
        vec![table("clash"), table("clash_g1")]
    }

    fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        let word: Word = event.data()?;
        for name in ["clash", "clash_g1"] {
            changes.upsert(name, [word.id.as_str()]).add("n", 1);
        }
        Ok(())
    }
}
