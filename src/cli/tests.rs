//! What can be typed, and a program with a log and a format of its own, from the command line to the rows.

#[cfg(feature = "avro")]
mod formats;

use std::path::Path;
use std::sync::Arc;

use readcast_core::{
    Changes, ColumnType, Envelope, Payload, Position, Projection, ProjectionError, TableSpec, Timestamp,
};

use super::*;
use crate::decode::DecodeError;
use crate::source::memory::MemorySource;
use crate::source::{Record, Source};
use crate::store::StatusStore as _;
use crate::store::sqlite::Sqlite;

fn commands(app: &App) -> Vec<String> {
    command_line(app).get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

#[test]
fn a_program_without_a_sample_has_no_demo_and_generates_nothing() {
    let without = commands(&App::new());
    assert!(without.iter().any(|name| name == "run"));
    assert!(!without.iter().any(|name| ["demo", "generate"].contains(&name.as_str())), "{without:?}");
    let sample = Sample { topic: "orders", events: |_| Box::new(std::iter::empty()) };
    let with = commands(&App::new().sample(sample));
    assert_eq!(with.len(), without.len() + 2);
}

#[test]
fn help_shows_the_program_as_its_team_calls_it() {
    let app = App::new().name("library").version("1.4.0").about("The read models of a library");
    let mut command_line = command_line(&app);
    assert_eq!(command_line.render_version(), "library 1.4.0\n");
    let help = command_line.render_help().to_string();
    assert!(help.contains("The read models of a library") && help.contains("Usage: library"), "{help}");
}

#[test]
fn the_command_line_is_consistent() {
    command_line(&App::new()).debug_assert();
}

/// Counts how often each word occurs.
struct Words;

impl Projection for Words {
    fn name(&self) -> &str {
        "words"
    }

    fn topics(&self) -> &[&str] {
        &["words"]
    }

    fn event_types(&self) -> &[&str] {
        &["SAID"]
    }

    fn tables(&self) -> Vec<TableSpec> {
        vec![TableSpec::new("words").key("word", ColumnType::Text).with_default("times", ColumnType::I64, 0)]
    }

    fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        let word: String = event.data()?;
        changes.upsert("words", [word]).add("times", 1);
        Ok(())
    }
}

/// A record is a word, and nothing else.
fn read_word<'r>(position: &Position, record: &'r Record) -> Result<Envelope<'r>, DecodeError> {
    let word = std::str::from_utf8(record.value.as_deref().unwrap_or_default())?;
    let time = Timestamp::from_micros(0).ok_or("1970 is a year")?;
    let data = Payload::json(serde_json::to_string(word)?)?;
    Ok(Envelope::new(position.clone(), None, position.to_string(), "SAID", time, data))
}

/// The program over `log`, whose URL is `memory://…`.
fn app(log: &MemorySource) -> App {
    let log = log.clone();
    let open = move |_| {
        let source: Arc<dyn Source> = Arc::new(log.clone());
        std::future::ready(Ok(source))
    };
    App::new().projection(Words).with_source("memory", open).with_decoder("word", read_word)
}

/// Runs `app` in `folder` to the end of the log at `source`, with this configuration file.
async fn run(app: App, folder: &Path, source: &str, file: &str) -> Result<ExitCode, String> {
    let (command, context) = typed_in(app, folder, source, file)?;
    run_command(command, context).await.map_err(told)
}

/// What was typed to run `app` in `folder` to the end of the log at `source`.
fn typed_in(app: App, folder: &Path, source: &str, file: &str) -> Result<(Command, Context), String> {
    let configuration = folder.join("readcast.toml");
    std::fs::write(&configuration, file).unwrap();
    let database = format!("sqlite:{}", folder.join("read.db").display());
    let configuration = configuration.display().to_string();
    let arguments =
        ["words", "run", "--until-end", "--config", &configuration, "--source", source, "--store", &database];
    let (command, flags) = typed(&app, arguments.map(OsString::from)).map_err(|error| error.to_string())?;
    let context = prepared(Start { app, flags }, &command).map_err(told)?;
    let Typed::Common(command) = command else { panic!("`run` needs no sample") };
    Ok((command, context))
}

fn told(refusal: CommandError) -> String {
    match refusal {
        CommandError::Config(error) => format!("78: {error}"),
        CommandError::Failed(problem) => problem,
        CommandError::Files(problem) => problem.to_string(),
    }
}

/// The words in the database, each with its count.
async fn words(store: &Sqlite) -> Vec<String> {
    let rows = store.peek(&Words.tables()[0], 9).await.unwrap().rows;
    let mut rows: Vec<String> = rows.into_iter().map(|row| row.into_iter().flatten().collect()).collect();
    rows.sort();
    rows
}

const FORMAT: &str = "[topics.words]\nformat = 'word'";

#[tokio::test]
async fn a_log_and_a_format_of_the_programs_own_become_rows() {
    let (log, folder) = (MemorySource::default(), tempfile::tempdir().unwrap());
    for word in ["to", "be", "or", "not", "to", "be"] {
        log.append("words", 0, None, word);
    }
    assert_eq!(run(app(&log), folder.path(), "memory://here", FORMAT).await, Ok(ExitCode::SUCCESS));
    let store = Sqlite::open_read_only(&folder.path().join("read.db")).await.unwrap();
    assert_eq!(words(&store).await, ["be2", "not1", "or1", "to2"]);
}

#[tokio::test]
async fn unknown_schemes_and_formats_are_refused_with_those_that_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let refused =
        async |source, file| run(app(&MemorySource::default()), folder.path(), source, file).await.unwrap_err();
    let scheme = refused("nats://somewhere", FORMAT).await;
    assert_eq!(scheme, "78: --source: unknown scheme `nats`; there are `file`, `kafka`, `memory`");
    let format = refused("memory://here", "[topics.words]\nformat = 'bson'").await;
    assert_eq!(
        format,
        "78: `topics.words.format` is `bson`, which is unknown; there are `envelope`, `json`, `cloudevents`, `debezium`, `debezium-outbox`, `avro`, `protobuf`, `json-schema`, `word`"
    );
    let topic = refused("memory://here", "[topics.wrods]\nformat = 'word'").await;
    assert_eq!(topic, "78: [topics]: unknown topic `wrods`; did you mean `words`?");
}
