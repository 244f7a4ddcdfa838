//! `readcast rebuild --plan`

use std::process::ExitCode;
use std::time::Duration;

use comfy_table::Table;
use indicatif::{HumanBytes, HumanDuration};

use crate::cli::terminal::{escape_lines, json};
use crate::cli::{CommandError, Context, Output, connect, output};
use crate::control::{RebuildRequest, registered};
use crate::operations::preview::{RebuildNeed, RebuildPreview};
use crate::store::UserAddition;
use crate::text::counted;

pub(super) async fn run(
    context: &Context,
    name: &str,
    request: &RebuildRequest,
    format: Output,
) -> Result<ExitCode, CommandError> {
    registered(&context.app.registry, name)?;
    let source = connect::source(context).await?;
    let preview = connect::reader(context).await?.preview_rebuild(&*source, name, request).await?;
    match format {
        Output::Json => output::line(json(&preview)?)?,
        Output::Table => output::line(table(&preview))?,
    }
    Ok(if preview.refusals.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn table(preview: &RebuildPreview) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    for (what, sentences) in sections(preview) {
        // The name of a section is beside its first line.
        let names = std::iter::once(what).chain(std::iter::repeat(""));
        for (name, sentence) in names.zip(sentences) {
            table.add_row([name, &escape_lines(&sentence)]);
        }
    }
    table
}

/// The sections of the plan, each with its lines. A section without lines is not shown.
fn sections(preview: &RebuildPreview) -> Vec<(&'static str, Vec<String>)> {
    let RebuildPreview { projection, live_generation, .. } = preview;
    let reads = preview.reads.iter().map(|read| {
        let offsets = counted(u64::try_from(read.to - read.from).unwrap_or(0), "offset");
        format!("{}/{}: [{}, {}), {offsets}", read.topic, read.partition, read.from, read.to)
    });
    let total = format!("{} in all", counted(preview.records, "offset"));
    let disk = format!("about {} more until the old generation is dropped", HumanBytes(preview.bytes));
    vec![
        ("PROJECTION", vec![format!("{projection}; generation {live_generation} is live")]),
        ("CHANGED", preview.changes.clone()),
        ("NEEDED", vec![needed(&preview.need)]),
        ("READS", reads.chain([total]).collect()),
        ("TAKES", vec![time(preview.seconds)]),
        ("DISK", vec![disk]),
        ("GONE", preview.forgotten.clone()),
        ("DEPENDENTS", preview.dependents.clone()),
        ("IN THE WAY", preview.in_the_way.clone()),
        ("VIEWS", preview.incompatible.clone()),
        ("TYPES", preview.type_changes.clone()),
        ("ADDED", preview.additions.iter().map(UserAddition::sentence).collect()),
        ("REFUSED", preview.refusals.clone()),
    ]
}

fn needed(need: &RebuildNeed) -> String {
    match need {
        RebuildNeed::Nothing => {
            "no: the code has the definition that built the live generation; a rebuild only repairs rows".into()
        }
        RebuildNeed::CopyIsEnough(reason) => format!("partly: {reason}"),
        RebuildNeed::Full => "yes: the whole log has to be replayed".into(),
    }
}

fn time(seconds: Option<f64>) -> String {
    match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        Some(time) => format!("about {} at the rate of the last rebuild", HumanDuration(time)),
        None => "unknown: no rebuild has run yet".into(),
    }
}
