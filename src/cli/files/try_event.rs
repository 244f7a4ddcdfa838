//! `readcast try`

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use readcast_core::{Envelope, Registry, TopicPartition};
use serde_json::value::RawValue;

use super::super::position::position;
use super::super::{CommandError, Context, connect, output};
use super::sample;
use crate::decode;
use crate::files::FileProjection;
use crate::source::{Extents, first_records};
use crate::text::escape;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast try order_summary --at orders/3@1200\n  \
    echo '{\"type\":\"ORDER_PAID\",\"data\":{\"order_id\":\"o1\"}}' | readcast try order_summary")]
pub(in crate::cli) struct Arguments {
    /// The projection that gets the event
    name: String,
    /// A file with the event as JSON: `type` and `data`, and `event_id`, `version` and `timestamp` where they matter
    /// [default: standard input]
    event: Option<PathBuf>,
    /// The place of a record in the log, in place of a file
    #[arg(long, value_name = "TOPIC/PARTITION@OFFSET", conflicts_with = "event")]
    at: Option<String>,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> Result<ExitCode, CommandError> {
    let (_, projection) = super::chosen(&context, std::slice::from_ref(&arguments.name))?[0];
    if let Some(at) = &arguments.at {
        return at_position(&context, projection, at).await;
    }
    let text = match &arguments.event {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| CommandError::Failed(format!("{} can't be read: {error}", path.display())))?,
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(CommandError::failed)?;
            text
        }
    };
    let text = completed(&text).map_err(|error| CommandError::Failed(format!("the event is not valid: {error}")))?;
    let position = TopicPartition::new("none", 0).at(0);
    let event = Envelope::from_plain_json(position, None, text.as_bytes()).map_err(CommandError::failed)?;
    Ok(code(show(projection, &event)?))
}

fn code(is_projected: bool) -> ExitCode {
    if is_projected { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The event with an id and a time if it has none.
fn completed(text: &str) -> Result<String, serde_json::Error> {
    let mut event: std::collections::BTreeMap<String, Box<RawValue>> = serde_json::from_str(text)?;
    for (name, default) in [("event_id", "\"none\""), ("timestamp", "\"2024-01-01T00:00:00Z\""), ("data", "null")] {
        if !event.contains_key(name) {
            event.insert(name.to_owned(), RawValue::from_string(default.to_owned())?);
        }
    }
    serde_json::to_string(&event)
}

async fn at_position(context: &Context, projection: &FileProjection, at: &str) -> Result<ExitCode, CommandError> {
    let position = position(at).map_err(CommandError::Failed)?;
    let (topic, offset) = (&*position.topic, position.offset);
    let partition = TopicPartition::new(topic, position.partition);
    let source = connect::source(context).await?;
    let extents = source.extents(&[topic]).await.map_err(CommandError::failed)?;
    let extent = extents.get(&partition).filter(|extent| (extent.start..extent.end).contains(&offset));
    let Some(mut extent) = extent.cloned() else {
        return Err(CommandError::Failed(format!("the log has no record {at}")));
    };
    (extent.start, extent.end) = (offset, offset + 1);
    let only = Extents::from([(partition, extent)]);
    let group = sample::group(context, "try");
    let sampled = first_records(&*source, &group, &[topic], &only, 1).await.map_err(CommandError::failed)?;
    let Some((_, record)) = sampled.iter().find(|(_, record)| record.offset == offset) else {
        return Err(CommandError::Failed(format!("the log has no record {at}")));
    };
    let events = decode::decode(context.decoders.of(topic), &position, record).map_err(CommandError::Failed)?;
    let mut all_are_projected = true;
    for event in events.iter() {
        // One event that can't be projected makes the record a dead letter.
        all_are_projected &= show(projection, event)?;
    }
    Ok(code(all_are_projected))
}

/// Prints the rules with their values, then the changes, or why the event is a dead letter. Returns whether it is none.
fn show(projection: &FileProjection, event: &Envelope<'_>) -> Result<bool, CommandError> {
    let Envelope { position, event_type, version, .. } = event;
    output::line(format_args!("{position} {}, version {version}", escape(event_type)))?;
    for line in projection.explain(event).unwrap_or_else(|error| vec![format!("error: {error}")]) {
        output::line(escape(&line))?;
    }
    let registry = Registry::new().register(projection.clone());
    let definition = &registry.definitions()[0];
    if !definition.subscribes(&event.event_type) {
        return Ok(true);
    }
    match definition.project(event) {
        Ok(changes) => {
            output::line("\nchanges:")?;
            for change in changes {
                output::line(format_args!("  {}", escape(&change.described(definition.tables()))))?;
            }
            Ok(true)
        }
        Err(reason) => {
            output::line(format_args!("\ndead letter: {}", escape(&reason.to_string())))?;
            Ok(false)
        }
    }
}
