//! `readcast dead-letters`: what is parked, why, and what becomes of it.

mod export;
mod list;
mod selection;
mod settle;
mod show;
mod total;

use std::process::ExitCode;

use self::selection::position;
use super::{Context, Refusal};
use crate::store::{GenerationStatus, ParkedIn, ParkedSequence, Selection, Store};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Which keys are parked, why, and since when
    List(list::Arguments),
    /// All that is known of one parked key
    Show(show::Arguments),
    /// Project parked records after all, in the order of the log, as far as that goes
    Retry(settle::Retry),
    /// Leave the first record of each parked key out for good, and project those behind it
    Discard(settle::Discard),
    /// Write parked records out, one JSON object a line
    Export(export::Arguments),
}

pub(super) async fn run(context: Context, command: Command) -> Result<ExitCode, Refusal> {
    match command {
        Command::List(arguments) => list::run(&context, arguments).await,
        Command::Show(arguments) => show::run(&context, arguments).await,
        Command::Retry(arguments) => settle::retry(&context, arguments).await,
        Command::Discard(arguments) => settle::discard(&context, arguments).await,
        Command::Export(arguments) => export::run(&context, arguments).await,
    }
}

/// Where the dead letters of a generation are looked for.
fn of(generation: &GenerationStatus) -> ParkedIn<'_> {
    ParkedIn { projection: &generation.projection, generation: generation.generation }
}

/// What is parked in a generation, as far as it is meant. A position that was typed must be that of something.
async fn parked(
    store: &dyn Store,
    generation: &GenerationStatus,
    selection: &Selection,
) -> Result<Vec<ParkedSequence>, Refusal> {
    let mut sequences = store.parked(of(generation)).await.map_err(Refusal::failed)?;
    sequences.retain(|sequence| selection.matches(sequence));
    match &selection.first {
        Some(first) if sequences.is_empty() => {
            let name = &generation.projection;
            let told = format!("{name}: nothing that is parked begins at {first}, or fits besides");
            Err(Refusal::Failed(format!("{told}. See what is parked: `readcast dead-letters list {name}`")))
        }
        _ => Ok(sequences),
    }
}

/// The position of the record that the others of the sequence wait for.
fn first_of(sequence: &ParkedSequence) -> String {
    sequence.partition.at(sequence.first_offset).to_string()
}

/// What is wrong with the first record of a sequence; `-` while a retry is under way, or was cut short.
fn class_of(sequence: &ParkedSequence) -> &'static str {
    sequence.cause.as_ref().map_or("-", |cause| cause.class.name())
}
