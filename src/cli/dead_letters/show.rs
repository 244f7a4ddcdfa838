//! `readcast dead-letters show`: all that is known of one parked key. What its records hold is masked unless it is
//! asked for.

use std::process::ExitCode;

use indicatif::HumanBytes;
use readcast_core::{Position, Timestamp};

use super::{class_of, first_of, of, parked, position};
use crate::cli::connect;
use crate::cli::operate::{known, live};
use crate::cli::terminal::escape;
use crate::cli::{Context, Refusal};
use crate::schemes::Access;
use crate::source::Header;
use crate::store::{GenerationStatus, ParkedRecord, ParkedSequence, Selection};
use crate::text::counted;

/// How many positions are named of those that wait.
const NAMED: usize = 20;

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The projection
    name: String,
    /// Where its first record stands, as TOPIC/PARTITION@OFFSET
    #[arg(value_name = "POSITION", value_parser = position)]
    first: Position,
    /// Show key, value and headers too
    #[arg(long)]
    payload: bool,
}

pub(super) async fn run(context: &Context, arguments: Arguments) -> Result<ExitCode, Refusal> {
    let Arguments { name, first, payload } = arguments;
    let store = connect::store(context, Access::Read).await?;
    let generations = store.generations().await.map_err(Refusal::failed)?;
    known(context, &generations, &name)?;
    let live = live(&generations, &name, "show")?;
    let selection = Selection { first: Some(first.to_string()), ..Selection::default() };
    for sequence in parked(&*store, live, &selection).await? {
        let waiting = store.waiting(of(live), &sequence.partition, &sequence.id, sequence.first_offset, NAMED + 1);
        let waiting = waiting.await.map_err(Refusal::failed)?;
        if let [first, behind @ ..] = waiting.records.as_slice() {
            print(&Shown { live, sequence: &sequence, first, behind, payload });
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Shown<'a> {
    live: &'a GenerationStatus,
    sequence: &'a ParkedSequence,
    /// The record that the others wait for.
    first: &'a ParkedRecord,
    /// The first of the others.
    behind: &'a [ParkedRecord],
    payload: bool,
}

/// Without a table, which would make every line as long as the longest: a payload may be of any length.
fn print(shown: &Shown<'_>) {
    for (what, lines) in sections(shown) {
        let names = std::iter::once(what).chain(std::iter::repeat(""));
        names.zip(lines).for_each(|(name, line)| println!(" {name:<10}  {line}"));
    }
}

/// What there is to say, by what it is about. Sections without a line are not shown.
fn sections(shown: &Shown<'_>) -> Vec<(&'static str, Vec<String>)> {
    let Shown { live, sequence, first, .. } = shown;
    let record = &first.letter.record;
    let cause = first.letter.cause.as_ref();
    let written = record.timestamp.and_then(|millis| Timestamp::from_micros(millis.checked_mul(1000)?));
    let headers = record.headers.iter().map(|header| shown.header(header));
    let total = format!("{}, {}", counted(sequence.records, "record"), HumanBytes(sequence.bytes));
    vec![
        ("PROJECTION", vec![format!("{}, generation {}", live.projection, live.generation.0)]),
        ("FIRST", vec![first_of(sequence)]),
        ("CLASS", vec![class_of(sequence).to_owned()]),
        ("REASON", cause.map(|cause| escape(&cause.reason)).into_iter().collect()),
        ("PARKED", vec![first.parked_at.clone()]),
        ("ATTEMPTS", vec![first.attempts.to_string()]),
        ("WRITTEN", written.map(|written| written.to_string()).into_iter().collect()),
        ("KEY", vec![shown.part(record.key.as_deref())]),
        ("VALUE", vec![shown.part(record.value.as_deref())]),
        ("HEADERS", headers.collect()),
        ("WAITING", vec![total]),
        ("BEHIND IT", behind(shown)),
        ("ADVICE", cause.map(|cause| cause.class.disposition().1.to_owned()).into_iter().collect()),
        ("NEXT", next(shown)),
    ]
}

impl Shown<'_> {
    /// A part of a record: how large it is or, where that is asked for, what it is.
    fn part(&self, part: Option<&[u8]>) -> String {
        match part {
            None => "none".to_owned(),
            Some(bytes) if self.payload => escape(&String::from_utf8_lossy(bytes)),
            Some(bytes) => format!("{} bytes; --payload shows them", bytes.len()),
        }
    }

    fn header(&self, (name, value): &Header) -> String {
        format!("{}: {}", escape(name), self.part(value.as_deref()))
    }
}

/// Where the records stand that wait behind the first.
fn behind(shown: &Shown<'_>) -> Vec<String> {
    let at = |record: &ParkedRecord| shown.sequence.partition.at(record.letter.record.offset).to_string();
    let more = shown.sequence.records.saturating_sub(1 + shown.behind.len() as u64);
    let more = (more > 0).then(|| format!("and {more} more"));
    shown.behind.iter().map(at).chain(more).collect()
}

fn next(shown: &Shown<'_>) -> Vec<String> {
    let (name, first) = (&shown.live.projection, first_of(shown.sequence));
    vec![
        format!("`readcast dead-letters retry {name} --first {first}`, with `--edit FILE` for another value"),
        format!("`readcast dead-letters discard {name} --first {first}` leaves it out for good"),
    ]
}
