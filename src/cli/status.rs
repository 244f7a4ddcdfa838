//! `readcast status`: how far every projection is in every partition, what is wrong with it, since when, and what to do
//! next. Reads the store and the log; no running instance is asked.

use std::process::ExitCode;

use comfy_table::{CellAlignment, Table};
use readcast_core::{Definition, TopicPartition};
use serde::Serialize;

use super::connect::{self, Access};
use super::{Context, Output, Refusal};
use crate::source::Extents;
use crate::store::{GenerationStatus, RecordedCheckpoint};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// How the listing is written
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// One partition of one projection.
#[derive(Debug, PartialEq, Serialize)]
struct Line {
    projection: String,
    /// None before the first run.
    generation: Option<i32>,
    /// `live`; `halted` when it stopped at an error; `new` before the first run.
    state: String,
    topic: String,
    partition: i32,
    next_offset: Option<i64>,
    /// None while the log can't be reached.
    end_offset: Option<i64>,
    lag: Option<i64>,
    updated_at: Option<String>,
    last_error: Option<String>,
    last_error_since: Option<String>,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> Result<ExitCode, Refusal> {
    let source = connect::source(&context)?;
    let store = connect::store(&context, Access::Read).await?;
    let generations = store.generations().await.map_err(Refusal::failed)?;
    let mut lines = Vec::new();
    for definition in context.app.registry.definitions() {
        let extents = source.extents(definition.topics()).await.unwrap_or_else(|error| {
            eprintln!("readcast: the ends of the log are unknown: {error}");
            Extents::new()
        });
        lines.extend(lines_of(definition, &generations, &extents));
    }
    match arguments.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&lines).map_err(Refusal::failed)?),
        Output::Table => print(&lines),
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for each partition that the log has or that a checkpoint stands in.
fn lines_of(definition: &Definition, generations: &[GenerationStatus], extents: &Extents) -> Vec<Line> {
    let recorded: Vec<_> = generations.iter().filter(|found| found.projection == definition.name()).collect();
    if recorded.is_empty() {
        return partition_lines(definition.name(), None, extents);
    }
    recorded.into_iter().flat_map(|found| partition_lines(definition.name(), Some(found), extents)).collect()
}

fn partition_lines(projection: &str, generation: Option<&GenerationStatus>, extents: &Extents) -> Vec<Line> {
    let checkpoints = generation.map_or(&[] as &[RecordedCheckpoint], |found| &found.checkpoints);
    let mut partitions: Vec<&TopicPartition> = extents.keys().collect();
    partitions.extend(checkpoints.iter().map(|checkpoint| &checkpoint.partition));
    partitions.sort();
    partitions.dedup();
    let error = generation.and_then(|found| found.last_error.as_ref());
    let state = match (generation, error) {
        (None, _) => "new",
        (Some(_), Some(_)) => "halted",
        (Some(found), None) => &found.state,
    };
    let line = |partition: &TopicPartition| {
        let checkpoint = checkpoints.iter().find(|checkpoint| checkpoint.partition == *partition);
        let next_offset = checkpoint.map(|checkpoint| checkpoint.next_offset);
        let extent = extents.get(partition);
        Line {
            projection: projection.to_owned(),
            generation: generation.map(|found| found.generation.0),
            state: state.to_owned(),
            topic: partition.topic.to_string(),
            partition: partition.partition,
            next_offset,
            end_offset: extent.map(|extent| extent.end),
            lag: extent.map(|extent| extent.end - next_offset.unwrap_or(extent.start)),
            updated_at: checkpoint.map(|checkpoint| checkpoint.updated_at.clone()),
            last_error: error.map(|error| error.text.clone()),
            last_error_since: error.map(|error| error.since.clone()),
        }
    };
    partitions.into_iter().map(line).collect()
}

fn print(lines: &[Line]) {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["PROJECTION", "GEN", "STATE", "TOPIC", "PART", "NEXT", "END", "LAG", "UPDATED"]);
    for column in [1, 4, 5, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    for line in lines {
        table.add_row([
            line.projection.clone(),
            shown(line.generation.map(|generation| generation.to_string())),
            line.state.clone(),
            line.topic.clone(),
            line.partition.to_string(),
            shown(line.next_offset.map(|offset| offset.to_string())),
            shown(line.end_offset.map(|offset| offset.to_string())),
            shown(line.lag.map(|lag| lag.to_string())),
            shown(line.updated_at.clone()),
        ]);
    }
    println!("{table}");
    let mut told = Vec::new();
    for line in lines.iter().filter(|line| line.last_error.is_some()) {
        if !told.contains(&&line.projection) {
            told.push(&line.projection);
            let since = shown(line.last_error_since.clone());
            println!("\n{} is halted since {since}: {}", line.projection, shown(line.last_error.clone()));
        }
    }
}
