//! `readcast dead-letters list`: a line for each parked key. Neither payloads nor what was said about them.

use std::process::ExitCode;

use comfy_table::{CellAlignment, Table};
use indicatif::HumanBytes;
use serde::Serialize;

use super::selection::Flags;
use super::total::Total;
use super::{class_of, first_of, parked};
use crate::cli::connect;
use crate::cli::operate::{known, live};
use crate::cli::terminal::{glimpse, json};
use crate::cli::{Context, Output, Refusal};
use crate::schemes::Access;
use crate::store::{Generation, GenerationState, GenerationStatus, ParkedSequence};

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The projection; without it, all of them
    name: Option<String>,
    #[command(flatten)]
    flags: Flags,
    /// Of another generation than the one that readers see
    #[arg(long, value_name = "NUMBER", requires = "name")]
    generation: Option<i32>,
    /// How the listing is written
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// One parked key.
#[derive(Debug, Serialize)]
struct Line {
    projection: String,
    generation: i32,
    /// The position of its first record.
    first: String,
    topic: String,
    partition: i32,
    offset: i64,
    /// As text, shortened; none where the record has none.
    key: Option<String>,
    /// None while a retry is under way, or was cut short.
    class: Option<&'static str>,
    since: String,
    attempts: u32,
    records: u64,
    bytes: u64,
}

pub(super) async fn run(context: &Context, arguments: Arguments) -> Result<ExitCode, Refusal> {
    let store = connect::store(context, Access::Read).await?;
    let generations = store.generations().await.map_err(Refusal::failed)?;
    let name = arguments.name.as_deref();
    let selection = arguments.flags.selection();
    let mut found = Vec::new();
    for generation in looked_at(context, &generations, name, arguments.generation)? {
        let sequences = parked(&*store, generation, &selection).await?;
        found.extend(sequences.into_iter().map(|sequence| (generation, sequence)));
    }
    match arguments.output {
        Output::Json => {
            let lines: Vec<Line> = found.iter().map(|(generation, sequence)| line(generation, sequence)).collect();
            println!("{}", json(&lines)?);
        }
        Output::Table => print(&found),
    }
    Ok(ExitCode::SUCCESS)
}

/// The generations that are meant.
fn looked_at<'a>(
    context: &Context,
    generations: &'a [GenerationStatus],
    name: Option<&str>,
    number: Option<i32>,
) -> Result<Vec<&'a GenerationStatus>, Refusal> {
    let Some(name) = name else {
        return Ok(generations.iter().filter(|found| found.state == GenerationState::Live).collect());
    };
    known(context, generations, name)?;
    let Some(number) = number else { return Ok(vec![live(generations, name, "list")?]) };
    let mut of_name = generations.iter().filter(|found| found.projection == name);
    let found = of_name.find(|found| found.generation == Generation(number));
    let none = || Refusal::Failed(format!("{name} has no generation {number}: see `readcast status`"));
    Ok(vec![found.ok_or_else(none)?])
}

fn line(generation: &GenerationStatus, sequence: &ParkedSequence) -> Line {
    /// Enough to know it by.
    const KEY_CHARACTERS: usize = 40;
    Line {
        projection: generation.projection.clone(),
        generation: generation.generation.0,
        first: first_of(sequence),
        topic: sequence.partition.topic.to_string(),
        partition: sequence.partition.partition,
        offset: sequence.first_offset,
        key: sequence.key.as_deref().map(|key| glimpse(key, KEY_CHARACTERS)),
        class: sequence.cause.as_ref().map(|cause| cause.class.name()),
        since: sequence.since.clone(),
        attempts: sequence.attempts,
        records: sequence.records,
        bytes: sequence.bytes,
    }
}

fn print(found: &[(&GenerationStatus, ParkedSequence)]) {
    let [(generation, oldest), ..] = found else {
        println!("nothing is parked");
        return;
    };
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["PROJECTION", "FIRST", "KEY", "CLASS", "SINCE", "ATTEMPTS", "WAITING", "BYTES"]);
    for column in [5, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for (generation, sequence) in found {
        let Line { projection, first, key, since, attempts, records, bytes, .. } = line(generation, sequence);
        let key = key.unwrap_or_else(|| "-".to_owned());
        let (attempts, records, bytes) = (attempts.to_string(), records.to_string(), HumanBytes(bytes).to_string());
        table.add_row([projection, first, key, class_of(sequence).to_owned(), since, attempts, records, bytes]);
    }
    println!("{table}");
    let total: Total = found.iter().map(|(_, sequence)| sequence).collect();
    let (name, first) = (&generation.projection, first_of(oldest));
    println!("\n{total}. Next: `readcast dead-letters show {name} {first}`");
}
