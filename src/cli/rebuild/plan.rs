//! `readcast rebuild --plan`: what a rebuild would take. Changes nothing.

use std::process::ExitCode;
use std::time::Duration;

use comfy_table::Table;
use indicatif::{HumanBytes, HumanCount, HumanDuration};

use super::{Arguments, asked};
use crate::cli::connect;
use crate::cli::operate::live;
use crate::cli::terminal::escape_lines;
use crate::cli::{Context, Output, Refusal, registered};
use crate::operations::preview::{PreviewInputs, RebuildNeed, RebuildPreview};
use crate::schemes::Access;

/// How many operations are searched for an earlier rebuild.
const HISTORY: usize = 100;

pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<ExitCode, Refusal> {
    let name = &arguments.name;
    let definition = registered(&context.app.registry, name)?;
    let source = connect::source(context).await?;
    let store = connect::store(context, Access::Read).await?;
    let generations = store.generations().await.map_err(Refusal::failed)?;
    let live = live(&generations, name, "rebuild")?;
    let with_tables =
        generations.iter().filter(|found| found.projection == *name && found.has_tables).collect::<Vec<_>>();
    let mut dependents = Vec::new();
    for generation in with_tables {
        dependents.extend(store.dependents(generation).await.map_err(Refusal::failed)?);
    }
    let found = PreviewInputs {
        live,
        dependents: &dependents,
        extents: &source.extents(definition.topics()).await.map_err(Refusal::failed)?,
        operations: &store.operations(name, HISTORY).await.map_err(Refusal::failed)?,
        swap_impact: &store.swap_impact(live, definition).await.map_err(Refusal::failed)?,
        additions: &store.additions(live, definition).await.map_err(Refusal::failed)?,
    };
    let preview = RebuildPreview::of(&asked(context, arguments, live).await?, definition, found);
    match arguments.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&preview).map_err(Refusal::failed)?),
        Output::Table => print(&preview),
    }
    Ok(if preview.refusals.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(preview: &RebuildPreview) {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    for (what, sentences) in sections(preview) {
        // The name of a section stands beside its first line.
        let names = std::iter::once(what).chain(std::iter::repeat(""));
        for (name, sentence) in names.zip(sentences) {
            table.add_row([name, &sentence]);
        }
    }
    println!("{table}");
}

/// What there is to say, by what it is about. Sections without a sentence are not shown.
fn sections(preview: &RebuildPreview) -> Vec<(&'static str, Vec<String>)> {
    let RebuildPreview { projection, live_generation, .. } = preview;
    let reads = preview.reads.iter().map(|read| {
        let records = HumanCount(u64::try_from(read.to - read.from).unwrap_or(0));
        format!("{}/{}: [{}, {}), {records} offsets", read.topic, read.partition, read.from, read.to)
    });
    let total = format!("{} offsets in all", HumanCount(preview.records));
    let disk = format!("about {} more, until the old generation is dropped", HumanBytes(preview.bytes));
    vec![
        ("PROJECTION", vec![format!("{projection}; readers see generation {live_generation}")]),
        ("CHANGED", preview.changes.clone()),
        ("NEEDED", vec![needed(&preview.need)]),
        ("READS", reads.chain([total]).collect()),
        ("TAKES", vec![time(preview.seconds)]),
        ("DISK", vec![disk]),
        ("GONE", preview.forgotten.clone()),
        ("DEPENDENTS", preview.dependents.clone()),
        ("IN THE WAY", preview.in_the_way.clone()),
        ("VIEWS", preview.incompatible.clone()),
        ("ADDED", preview.additions.iter().map(|added| escape_lines(&added.sentence())).collect()),
        ("REFUSED", preview.refusals.clone()),
    ]
}

fn needed(need: &RebuildNeed) -> String {
    match need {
        RebuildNeed::Nothing => {
            "no: the code declares what built the live generation; it would only repair rows".into()
        }
        RebuildNeed::CopyIsEnough(reason) => format!("not all of it: {reason}"),
        RebuildNeed::Full => "yes: the log has to be replayed".into(),
    }
}

fn time(seconds: Option<f64>) -> String {
    match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        Some(time) => format!("about {} at the rate of the last rebuild", HumanDuration(time)),
        None => "unknown: no rebuild has run yet".into(),
    }
}
