//! `readcast dead-letters show`. The contents of records are masked unless they are asked for.

use std::process::ExitCode;

use indicatif::HumanBytes;
use readcast_core::{Position, Timestamp};

use crate::cli::position::position;
use crate::cli::{CommandError, Context, connect, output};
use crate::control::ParkedDetail;
use crate::source::Header;
use crate::store::PoisonClass;
use crate::text::{counted, escape};

/// How many positions of waiting records are shown.
const MOST_WAITING: usize = 20;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast dead-letters show order_summary orders/3@17 --payload")]
pub(in crate::cli) struct Arguments {
    /// The name of the projection
    name: String,
    /// The position of the first record of the key, as TOPIC/PARTITION@OFFSET
    #[arg(value_name = "POSITION", value_parser = position)]
    first: Position,
    /// Show key, value and headers too
    #[arg(long)]
    payload: bool,
}

pub(super) async fn run(context: &Context, arguments: Arguments) -> Result<ExitCode, CommandError> {
    let Arguments { name, first, payload } = arguments;
    let control = connect::reader(context).await?;
    let detail = control.dead_letter(&name, &first.to_string(), MOST_WAITING).await?;
    // No table: it would make every line as long as the longest, and a payload may have any length.
    for (section, lines) in sections(&detail, payload) {
        let sections = std::iter::once(section).chain(std::iter::repeat(""));
        for (section, line) in sections.zip(lines) {
            output::line(format_args!(" {section:<10}  {line}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The sections of the output, each with its lines. A section without lines is not shown.
fn sections(detail: &ParkedDetail, payload: bool) -> Vec<(&'static str, Vec<String>)> {
    let ParkedDetail { summary, first, .. } = detail;
    let (record, cause) = (&first.letter.record, first.letter.cause.as_ref());
    let written = record.timestamp.and_then(|millis| Timestamp::from_micros(millis.checked_mul(1000)?));
    let headers = record.headers.iter().map(|header| header_text(header, payload));
    let total = format!("{}, {}", counted(summary.records, "record"), HumanBytes(summary.bytes));
    vec![
        ("PROJECTION", vec![format!("{}, generation {}", summary.projection, summary.generation)]),
        ("FIRST", vec![summary.first.clone()]),
        ("CLASS", vec![summary.class.map_or("-", PoisonClass::name).to_owned()]),
        ("REASON", cause.map(|cause| escape(&cause.reason)).into_iter().collect()),
        ("PARKED", vec![first.parked_at.clone()]),
        ("ATTEMPTS", vec![first.attempts.to_string()]),
        ("WRITTEN", written.map(|written| written.to_string()).into_iter().collect()),
        ("KEY", vec![bytes_text(record.key.as_deref(), payload)]),
        ("VALUE", vec![bytes_text(record.value.as_deref(), payload)]),
        ("HEADERS", headers.collect()),
        ("RECORDS", vec![total]),
        ("WAITING", waiting(detail)),
        ("ADVICE", cause.map(|cause| cause.class.disposition().1.to_owned()).into_iter().collect()),
        ("NEXT", next(detail)),
    ]
}

/// A part of a record: its size or, with `payload`, its text.
fn bytes_text(bytes: Option<&[u8]>, payload: bool) -> String {
    match bytes {
        None => "none".to_owned(),
        Some(bytes) if payload => escape(&String::from_utf8_lossy(bytes)),
        Some(bytes) => format!("{}; --payload shows them", counted(bytes.len() as u64, "byte")),
    }
}

fn header_text((name, value): &Header, payload: bool) -> String {
    format!("{}: {}", escape(name), bytes_text(value.as_deref(), payload))
}

/// The positions of the records that wait behind the first.
fn waiting(detail: &ParkedDetail) -> Vec<String> {
    let more = detail.summary.records.saturating_sub(1 + detail.waiting.len() as u64);
    let more = (more > 0).then(|| format!("and {more} more"));
    detail.waiting.iter().cloned().chain(more).collect()
}

fn next(detail: &ParkedDetail) -> Vec<String> {
    let (name, first) = (&detail.summary.projection, &detail.summary.first);
    vec![
        format!("`readcast dead-letters retry {name} --first {first}`; `--edit FILE` replaces the value"),
        format!("`readcast dead-letters discard {name} --first {first}` leaves the record out permanently"),
    ]
}
