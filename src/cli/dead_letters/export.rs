//! `readcast dead-letters export`: parked records, byte for byte, one JSON object a line.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use readcast_core::Timestamp;
use serde::Serialize;

use super::selection::Flags;
use super::{of, parked};
use crate::cli::connect;
use crate::cli::operate::{known, live};
use crate::cli::terminal::json_line;
use crate::cli::{Context, Refusal};
use crate::schemes::Access;
use crate::store::{ParkedRecord, ParkedSequence};

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The projection
    name: String,
    #[command(flatten)]
    flags: Flags,
}

/// One parked record. What is missing in the record is null.
#[derive(Serialize)]
struct Line<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    /// In RFC 3339.
    timestamp: Option<Timestamp>,
    /// In base64, as all bytes.
    key: Option<String>,
    value: Option<String>,
    headers: Vec<Header<'a>>,
    /// The same as text, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_text: Option<&'a str>,
    /// What is wrong with it; null when it only waits for an earlier one.
    class: Option<&'static str>,
    reason: Option<&'a str>,
    attempts: u32,
    parked_at: &'a str,
}

#[derive(Serialize)]
struct Header<'a> {
    name: &'a str,
    value: Option<String>,
}

pub(super) async fn run(context: &Context, arguments: Arguments) -> Result<ExitCode, Refusal> {
    let Arguments { name, flags } = arguments;
    let store = connect::store(context, Access::Read).await?;
    let generations = store.generations().await.map_err(Refusal::failed)?;
    known(context, &generations, &name)?;
    let live = live(&generations, &name, "export")?;
    for sequence in parked(&*store, live, &flags.selection()).await? {
        let (partition, mut from) = (&sequence.partition, sequence.first_offset);
        loop {
            let page = store.waiting(of(live), partition, &sequence.id, from, page_length(&sequence)).await;
            let records = page.map_err(Refusal::failed)?.records;
            let Some(last) = records.last() else { break };
            from = last.letter.record.offset + 1;
            if !write(&records)? {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// How many records of a sequence are read at once: about as many as fit into a few megabytes.
fn page_length(sequence: &ParkedSequence) -> usize {
    const PAGE_BYTES: u64 = 8 << 20;
    let each = (sequence.bytes / sequence.records.max(1)).max(1);
    usize::try_from(PAGE_BYTES / each).unwrap_or(usize::MAX).clamp(1, 500)
}

/// `false` when nobody reads any further.
fn write(records: &[ParkedRecord]) -> Result<bool, Refusal> {
    let mut out = std::io::stdout().lock();
    for record in records {
        match writeln!(out, "{}", json_line(&line(record))?) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(false),
            Err(error) => return Err(Refusal::failed(error)),
        }
    }
    Ok(true)
}

fn line(parked: &ParkedRecord) -> Line<'_> {
    let (letter, record) = (&parked.letter, &parked.letter.record);
    let base64 = |bytes: &[u8]| STANDARD.encode(bytes);
    Line {
        topic: &letter.partition.topic,
        partition: letter.partition.partition,
        offset: record.offset,
        timestamp: record.timestamp.and_then(|millis| Timestamp::from_micros(millis.checked_mul(1000)?)),
        key: record.key.as_deref().map(base64),
        value: record.value.as_deref().map(base64),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| Header { name, value: value.as_deref().map(base64) })
            .collect(),
        key_text: record.key.as_deref().and_then(|key| str::from_utf8(key).ok()),
        value_text: record.value.as_deref().and_then(|value| str::from_utf8(value).ok()),
        class: letter.cause.as_ref().map(|cause| cause.class.name()),
        reason: letter.cause.as_ref().map(|cause| cause.reason.as_str()),
        attempts: parked.attempts,
        parked_at: &parked.parked_at,
    }
}
