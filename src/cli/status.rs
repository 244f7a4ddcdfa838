//! `readcast status`: how far every projection is in every partition, what is wrong with it, since when, and what to do
//! next. Reads the store and the log; no running instance is asked.

mod remarks;

use std::process::ExitCode;
use std::time::Duration;

use comfy_table::{CellAlignment, Table};
use readcast_core::{Definition, TopicPartition};
use serde::Serialize;

use self::remarks::remarks;
use super::connect;
use super::terminal::{escape, json};
use super::{Context, Output, Refusal};
use crate::schemes::Access;
use crate::source::{Extents, Source};
use crate::store::{GenerationStatus, InstanceHeartbeat, Operation, Phase, RecordedCheckpoint, RecordedNotice};

/// From this age on a snapshot is told of that keeps the store from removing old versions of rows.
pub(super) const OLD_SNAPSHOT: Duration = Duration::from_secs(60);

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
    /// `building`, `ready`, `live` or `standby`, `retired` or `failed` until its tables are dropped; `paused` when an
    /// operator stopped it, `halted` when an error did and `retrying` while one may pass, whichever of those it is;
    /// `new` before the first run.
    state: &'static str,
    /// What is done with it while it is building.
    phase: Option<&'static str>,
    standby_until: Option<String>,
    paused_since: Option<String>,
    /// The open operation that it belongs to.
    operation: Option<i64>,
    topic: String,
    partition: i32,
    next_offset: Option<i64>,
    /// None while the log can't be reached.
    end_offset: Option<i64>,
    lag: Option<i64>,
    updated_at: Option<String>,
    last_error: Option<String>,
    last_error_since: Option<String>,
    /// How often it was tried again, if it is.
    last_error_attempt: Option<u32>,
    /// In all partitions of the generation.
    parked_keys: u64,
    parked_records: u64,
    oldest_parked: Option<String>,
    /// What stops nothing and an operator must know of the generation.
    notices: Vec<RecordedNotice>,
}

/// What is known of one projection.
struct Known<'a> {
    /// As the code declares it.
    definition: &'a Definition,
    /// All versions that the code has.
    hashes: Vec<&'a str>,
    /// How far the log reaches; empty when that is unknown.
    extents: Extents,
    /// What is recorded of its generations that have tables.
    generations: Vec<GenerationStatus>,
    /// Those that are open, and the last one that is not.
    operations: Vec<Operation>,
    /// What stops nothing and an operator must know.
    notices: Vec<RecordedNotice>,
    /// Which instances run, or ran.
    heartbeats: &'a [InstanceHeartbeat],
}

pub(super) async fn run(context: Context, arguments: Arguments) -> Result<ExitCode, Refusal> {
    let source = connect::source(&context).await?;
    let store = connect::store(&context, Access::Read).await?;
    let generations = store.generations().await.map_err(Refusal::failed)?;
    let heartbeats = store.heartbeats().await.map_err(Refusal::failed)?;
    let notices = store.notices().await.map_err(Refusal::failed)?;
    let mut known = Vec::new();
    for definition in context.app.registry.definitions() {
        let name = definition.name();
        let ours = generations.iter().filter(|found| found.projection == name && found.has_tables);
        known.push(Known {
            definition,
            hashes: context.app.registry.versions(name).map(Definition::hash).collect(),
            extents: extents(&*source, definition).await,
            generations: ours.cloned().collect(),
            operations: store.operations(name, 1).await.map_err(Refusal::failed)?,
            notices: notices.iter().filter(|notice| notice.projection == name).cloned().collect(),
            heartbeats: &heartbeats,
        });
    }
    let recorded = store.deployment().await.map_err(Refusal::failed)?;
    let another = connect::deployment(&context)?.is_that_of(recorded.as_ref()).err();
    let oldest_snapshot = store.oldest_snapshot(OLD_SNAPSHOT).await.unwrap_or_else(|error| {
        eprintln!("readcast: the oldest snapshot is unknown: {error}");
        None
    });
    let lines: Vec<Line> = known.iter().flat_map(lines_of).collect();
    match arguments.output {
        Output::Json => println!("{}", json(&lines)?),
        Output::Table => {
            print(&lines);
            if let Some(another) = another {
                println!("\n{}", connect::advised(another.into()));
            }
            known.iter().flat_map(remarks).for_each(|remark| println!("\n{remark}"));
            // It names what others have named.
            oldest_snapshot.iter().for_each(|held| println!("\n{}", escape(&held.to_string())));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn extents(source: &dyn Source, definition: &Definition) -> Extents {
    source.extents(definition.topics()).await.unwrap_or_else(|error| {
        eprintln!("readcast: the ends of the log are unknown: {error}");
        Extents::new()
    })
}

/// A line for each partition that the log has or that a checkpoint stands in, of each generation.
fn lines_of(known: &Known<'_>) -> Vec<Line> {
    if known.generations.is_empty() {
        return partition_lines(known, None);
    }
    known.generations.iter().flat_map(|found| partition_lines(known, Some(found))).collect()
}

/// The open operation that builds or compares the generation.
fn operation_on<'a>(operations: &'a [Operation], generation: &GenerationStatus) -> Option<&'a Operation> {
    let mut open = operations.iter().filter(|operation| operation.state.is_open());
    open.find(|operation| operation.generation == Some(generation.generation))
}

fn partition_lines(known: &Known<'_>, generation: Option<&GenerationStatus>) -> Vec<Line> {
    let extents = &known.extents;
    let checkpoints = generation.map_or(&[] as &[RecordedCheckpoint], |found| &found.checkpoints);
    let mut partitions: Vec<&TopicPartition> = extents.keys().collect();
    partitions.extend(checkpoints.iter().map(|checkpoint| &checkpoint.partition));
    partitions.sort();
    partitions.dedup();
    let error = generation.and_then(|found| found.last_error.as_ref());
    let paused_since = generation.and_then(|found| found.paused_since.clone());
    let parked = generation.map(|found| found.parked.clone()).unwrap_or_default();
    let ours = |notice: &&RecordedNotice| generation.is_some_and(|found| found.generation == notice.generation);
    let notices: Vec<_> = known.notices.iter().filter(ours).cloned().collect();
    let line = |partition: &TopicPartition| {
        let checkpoint = checkpoints.iter().find(|checkpoint| checkpoint.partition == *partition);
        let next_offset = checkpoint.map(|checkpoint| checkpoint.next_offset);
        let extent = extents.get(partition);
        Line {
            projection: known.definition.name().to_owned(),
            generation: generation.map(|found| found.generation.0),
            state: generation.map_or("new", state),
            phase: generation.and_then(|found| found.phase).map(Phase::name),
            standby_until: generation.and_then(|found| found.standby_until.clone()),
            paused_since: paused_since.clone(),
            operation: generation.and_then(|found| operation_on(&known.operations, found)).map(|open| open.id),
            topic: partition.topic.to_string(),
            partition: partition.partition,
            next_offset,
            end_offset: extent.map(|extent| extent.end),
            lag: extent.map(|extent| extent.end - next_offset.unwrap_or(extent.start)),
            updated_at: checkpoint.map(|checkpoint| checkpoint.updated_at.clone()),
            last_error: error.map(|error| error.text.clone()),
            last_error_since: error.map(|error| error.since.clone()),
            last_error_attempt: error.and_then(|error| error.attempt),
            parked_keys: parked.keys,
            parked_records: parked.records,
            oldest_parked: parked.oldest.clone(),
            notices: notices.clone(),
        }
    };
    partitions.into_iter().map(line).collect()
}

/// How a generation fares, in a word.
fn state(generation: &GenerationStatus) -> &'static str {
    match &generation.last_error {
        Some(error) if error.attempt.is_none() => "halted",
        _ if generation.paused_since.is_some() => "paused",
        Some(_) => "retrying",
        None => generation.state.name(),
    }
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
            shown_state(line),
            line.topic.clone(),
            line.partition.to_string(),
            shown(line.next_offset.map(|offset| offset.to_string())),
            shown(line.end_offset.map(|offset| offset.to_string())),
            shown(line.lag.map(|lag| lag.to_string())),
            shown(line.updated_at.clone()),
        ]);
    }
    println!("{table}");
}

/// The state, with what belongs to it.
fn shown_state(line: &Line) -> String {
    match (line.state, line.phase, &line.standby_until) {
        ("building", Some(phase), _) => format!("building ({})", phase.replace('_', " ")),
        ("standby", _, Some(until)) => format!("standby until {until}"),
        (state, _, _) => state.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::RecordedError;

    #[test]
    fn only_what_waits_for_a_person_is_halted() {
        let error = |attempt| {
            Some(RecordedError { text: "text".into(), since: "noon".into(), attempt, ..RecordedError::default() })
        };
        let state = |last_error, paused: bool| {
            let paused_since = paused.then(|| "noon".to_owned());
            state(&GenerationStatus { last_error, paused_since, ..GenerationStatus::live_at(&[]) })
        };
        assert_eq!([state(None, false), state(None, true)], ["live", "paused"]);
        assert_eq!([state(error(None), false), state(error(None), true)], ["halted", "halted"]);
        assert_eq!([state(error(Some(1)), false), state(error(Some(1)), true)], ["retrying", "paused"]);
    }
}
