//! `readcast test NAME --record TOPIC`: a test that is made of the log.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use readcast_core::Projection as _;
use tokio::time::Instant;

use super::super::operate::ProgressDisplay;
use super::super::{CommandError, Context, connect, output};
use super::sample;
use crate::config::DuplicateId;
use crate::decode::{self, Events};
use crate::files::{FileProjection, FilesError, RecordedTest, recorded_test, run_tests};
use crate::source::{Extents, Sampled, Source, records_with_key};
use crate::store::OperationProgress;
use crate::text::{counted, escape};

/// After how long progress is shown.
const QUIET: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(in crate::cli) struct FromLog {
    /// Add a test to the file of NAME: the events that this topic has with the key of `--key`, and the rows that they make now
    #[arg(long, value_name = "TOPIC", requires = "key", conflicts_with = "junit")]
    record: Option<String>,
    /// The key of the records
    #[arg(long, value_name = "KEY", requires = "record")]
    key: Option<String>,
    /// The name of the test [default: key KEY of topic TOPIC]
    #[arg(long, value_name = "TEXT", requires = "record")]
    name: Option<String>,
    /// How many records are taken, the first ones of the key
    #[arg(long, default_value_t = 50, requires = "record", value_parser = clap::value_parser!(u32).range(1..))]
    records: u32,
}

/// What is recorded.
pub(super) struct Recording<'a> {
    topic: &'a str,
    key: &'a str,
    /// The name of the test.
    name: String,
    most: usize,
}

impl FromLog {
    /// What is to be recorded, if anything is.
    pub(super) fn recording(&self) -> Option<Recording<'_>> {
        let (topic, key) = (self.record.as_deref()?, self.key.as_deref()?);
        let name = self.name.clone().unwrap_or_else(|| format!("key {key} of topic {topic}"));
        Some(Recording { topic, key, name, most: self.records as usize })
    }
}

pub(super) async fn run(
    context: &Context,
    names: &[String],
    recording: &Recording<'_>,
) -> Result<ExitCode, CommandError> {
    let [_] = names else {
        return Err(CommandError::failed("--record adds a test to one projection: name that one"));
    };
    let (path, projection) = super::chosen(context, names)?[0];
    check_topic(projection, recording.topic)?;
    let sampled = read(context, recording).await?;
    let (records, left_out) = decoded(context, projection, &sampled);
    print_left_out(&left_out);
    let events: Vec<_> = records.iter().map(|events| &**events).collect();
    let refused = |reason: String| {
        let reason = reason.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        CommandError::Failed(format!("no test is made of the records with key `{}`: {reason}", recording.key))
    };
    let test = recorded_test(projection, &recording.name, &events).map_err(refused)?;
    let path = path.with_extension("test.toml");
    let text = test.added_to(existing(&path)?.as_deref());
    check(projection, &path, &text, &recording.name, refused)?;
    replace(&path, &text)
        .map_err(|error| CommandError::Failed(format!("{} can't be written: {error}", path.display())))?;
    print_left_out(&test.left_out);
    report(&path, &recording.name, &test)?;
    Ok(ExitCode::SUCCESS)
}

fn check_topic(projection: &FileProjection, topic: &str) -> Result<(), CommandError> {
    let topics = projection.topics();
    if topics.iter().any(|read| readcast_core::topic_matches(read, topic)) {
        return Ok(());
    }
    let (name, topics) = (projection.name(), topics.join(", "));
    Err(CommandError::Failed(format!("projection `{name}` does not read topic `{topic}`; it reads {topics}")))
}

/// The records with the key.
async fn read(context: &Context, recording: &Recording<'_>) -> Result<Vec<Sampled>, CommandError> {
    let Recording { topic, key, most, .. } = recording;
    let source = connect::source(context).await?;
    let extents = source.extents(&[topic]).await.map_err(CommandError::failed)?;
    // One more than are taken, to know whether there are more.
    let mut sampled = scan(context, &*source, recording, &extents, most + 1).await?;
    if sampled.is_empty() {
        return Err(CommandError::Failed(format!("topic `{topic}` has no record with key `{key}`")));
    }
    if sampled.len() > *most {
        sampled.truncate(*most);
        let taken = counted(*most as u64, "record");
        output::message(format_args!("the topic has more records with this key: the test has the first {taken}"));
    }
    Ok(sampled)
}

async fn scan(
    context: &Context,
    source: &dyn Source,
    recording: &Recording<'_>,
    extents: &Extents,
    most: usize,
) -> Result<Vec<Sampled>, CommandError> {
    let Recording { topic, key, .. } = recording;
    let offsets = extents.values().map(|extent| u64::try_from(extent.end - extent.start).unwrap_or_default());
    let (total, began, mut display) = (offsets.sum(), Instant::now(), ProgressDisplay::new(topic));
    let mut progress = |done| {
        if began.elapsed() >= QUIET {
            display.show(&OperationProgress { phase: "reading the log".into(), done, total, per_second: None });
        }
    };
    let group = sample::group(context, "test");
    let read = records_with_key(source, &group, topic, extents, key.as_bytes(), most, &mut progress).await;
    read.map_err(CommandError::failed)
}

/// The events of each record, and what is left out of them.
fn decoded<'r>(
    context: &'r Context,
    projection: &FileProjection,
    sampled: &'r [Sampled],
) -> (Vec<Events<'r>>, Vec<String>) {
    let options = context.config.projection(projection.name());
    let skips_duplicates = options.duplicate_id == DuplicateId::Body && options.duplicate_window != Some(0);
    let (mut records, mut left_out, mut ids) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (partition, record) in sampled {
        let position = partition.at(record.offset);
        let events = match decode::decode(context.decoders.of(&partition.topic), &position, record) {
            Ok(events) => events,
            Err(reason) => {
                left_out.push(format!("{position}, which holds no event: {reason}"));
                continue;
            }
        };
        let ids_of_record: Vec<String> = events.iter().map(|event| event.event_id.to_string()).collect();
        if skips_duplicates && !events.are_named_by_position() && !ids.insert((partition, ids_of_record)) {
            left_out.push(format!("{position}, which repeats the id of an event before it"));
            continue;
        }
        records.push(events);
    }
    (records, left_out)
}

fn print_left_out(left_out: &[String]) {
    left_out.iter().for_each(|what| output::message(format_args!("left out: {}", escape(what))));
}

/// The text of the file of tests, if there is one.
fn existing(path: &Path) -> Result<Option<String>, CommandError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CommandError::Failed(format!("{} can't be read: {error}", path.display()))),
    }
}

/// Runs the tests of the file as it would be written, whose last one is new.
fn check(
    projection: &FileProjection,
    path: &Path,
    text: &str,
    name: &str,
    refused: impl Fn(String) -> CommandError,
) -> Result<(), CommandError> {
    let outcomes = run_tests(projection, &path.display().to_string(), text).map_err(FilesError::Wrong)?;
    let of_name = || outcomes.iter().filter(|outcome| outcome.name == name);
    if let (Some(other), 2..) = (of_name().next(), of_name().count()) {
        let reason = format!("there is a test `{name}` at {}: write another name with --name", other.place);
        return Err(CommandError::Failed(reason));
    }
    match outcomes.last().and_then(|added| added.failure.clone()) {
        Some(failure) => Err(refused(format!("it would not pass: {failure}"))),
        None => Ok(()),
    }
}

/// Replaces the file as a whole: a reader finds the old text or the new one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // A link to a file stays one.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let beside = path.with_extension("toml.new");
    let written = std::fs::write(&beside, text).and_then(|()| {
        if let Ok(existing) = path.metadata() {
            std::fs::set_permissions(&beside, existing.permissions())?;
        }
        std::fs::rename(&beside, &path)
    });
    written.inspect_err(|_| drop(std::fs::remove_file(&beside)))
}

fn report(path: &Path, name: &str, test: &RecordedTest) -> Result<(), CommandError> {
    let RecordedTest { events, dead_letters, .. } = test;
    let dead_letters = match dead_letters {
        0 => String::new(),
        some => format!(", of which {} a dead letter", if *some == 1 { "1 is".into() } else { format!("{some} are") }),
    };
    let events = counted(*events as u64, "event");
    output::line(format_args!("added test `{}` to {}: {events}{dead_letters}", escape(name), path.display()))
}
