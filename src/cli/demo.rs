//! `readcast demo`: sample events in a log of files, projected into a SQLite file while the terminal shows it. No server and
//! no network: only the log and the store differ from a real deployment.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use comfy_table::Table;
use readcast_core::{Definition, Registry, TableSpec};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::generate::{self, Log, Pace};
use super::run::{serve_admin, stop_on_signal};
use super::{CommandError, Context, connect, output};
use crate::app::{Sample, SampleEvents};
use crate::control::{Control, PartitionStatus, StoreAccess};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::source::Source;
use crate::source::file::{Appender, FileSource};
use crate::store::Deployment;
use crate::store::sqlite::Sqlite;
use crate::supervisor::{self, Options, Outcomes, RunProgress, Shared};
use crate::text::counted;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast demo --dir demo")]
pub(super) struct Arguments {
    /// Events per second; 0 for as many as possible
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// How many events; 0 to write until Ctrl-C
    #[arg(long, default_value_t = 20_000)]
    events: u64,
    /// The folder of the log and the database [default: a new temporary folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The seed of the events: the same seed gives the same events
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

const PARTITIONS: i32 = 4;

pub(super) async fn run(mut context: Context, sample: Sample, arguments: Arguments) -> Result<ExitCode, CommandError> {
    if let Some(projections) = context.app.demo {
        context.app.registry = projections();
    }
    let folders = DemoFolders::new(arguments.dir)?;
    let registry = &context.app.registry;
    let metrics = Metrics::new();
    let shared = Shared {
        source: Arc::new(FileSource::new(folders.events())),
        store: Arc::new(Sqlite::open(&folders.database()).await.map_err(CommandError::failed)?),
        health: Health::new(&metrics, registry.definitions().iter().map(|definition| definition.name())),
        metrics,
        deployment: Deployment { app: context.config.projector.app.clone(), ..Deployment::default() },
        instance: connect::instance(&context),
        dead_letter_sink: None,
        run_progress: RunProgress::default(),
        stop: CancellationToken::new(),
    };
    folders.write_projections(registry)?;
    let log = Appender::open(&folders.events(), sample.topic, PARTITIONS).map_err(CommandError::failed)?;
    let written_before = folders.events_written(&*shared.source, sample.topic).await;
    folders.introduce(written_before)?;
    let mut helpers = JoinSet::new();
    helpers.spawn(stop_on_signal(shared.stop.clone())?);
    serve_admin(&context, &shared, &mut helpers).await.unwrap_or_else(|_| {
        output::message("the admin port is in use: this demo runs without the admin server");
    });

    let started = Instant::now();
    let mut screen = Screen::new(&context, &shared, started);
    let endings = {
        let pace = Pace { rate: arguments.rate, events: arguments.events };
        // A demo that continues in the same folder continues in the same sequence of events.
        let skipped = usize::try_from(written_before).unwrap_or(usize::MAX);
        let events = Box::new((sample.events)(arguments.seed).skip(skipped));
        let options = |name: &str| connect::options(&context, name, false);
        let work = work(registry, options, &shared, Log::File(log), events, pace);
        tokio::pin!(work);
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        loop {
            tokio::select! {
                endings = &mut work => break endings?,
                _ = tick.tick() => {
                    screen.draw().await?;
                    if output::is_closed() {
                        shared.stop.cancel();
                    }
                }
            }
        }
    };
    screen.draw().await?;
    screen.conclude(&endings, &folders).await?;
    Ok(if endings.iter().all(|(_, ending)| ending.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Projects while the events are written, and then to the end of them.
async fn work(
    registry: &Registry,
    options: impl Fn(&str) -> Options + Copy,
    shared: &Shared,
    log: Log,
    events: SampleEvents,
    pace: Pace,
) -> Result<Outcomes, CommandError> {
    let live = Shared { stop: shared.stop.child_token(), ..shared.clone() };
    let writing = async {
        let written = generate::write(log, events, pace, shared.stop.clone()).await;
        live.stop.cancel();
        written
    };
    let projecting = supervisor::run(registry, options, live.clone(), Duration::from_secs(10));
    let (written, endings) = tokio::join!(writing, projecting);
    written?;
    if endings.iter().any(|(_, ending)| ending.is_err()) {
        return Ok(endings);
    }
    let to_the_end = |name: &str| Options { until_end: true, ..options(name) };
    let last = Shared { stop: CancellationToken::new(), ..shared.clone() };
    Ok(supervisor::run(registry, to_the_end, last, Duration::from_secs(10)).await)
}

/// The folder that a demo keeps everything in.
struct DemoFolders(PathBuf);

impl DemoFolders {
    fn new(chosen: Option<PathBuf>) -> Result<Self, CommandError> {
        let path = chosen.unwrap_or_else(|| std::env::temp_dir().join(format!("readcast-demo-{}", std::process::id())));
        std::fs::create_dir_all(&path).map_err(|error| CommandError::failed(format!("{}: {error}", path.display())))?;
        Ok(Self(path))
    }

    fn events(&self) -> PathBuf {
        self.0.join("events")
    }

    fn database(&self) -> PathBuf {
        self.0.join("read.db")
    }

    fn projections(&self) -> PathBuf {
        self.0.join("projections")
    }

    /// Writes the files of projections that are none, so that they can be read, changed and run. A changed one is kept.
    fn write_projections(&self, registry: &Registry) -> Result<(), CommandError> {
        let failed = |path: &Path, error: std::io::Error| CommandError::failed(format!("{}: {error}", path.display()));
        let folder = self.projections();
        for source in registry.definitions().iter().filter_map(Definition::source) {
            std::fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
            let path = folder.join(source.path);
            if !path.exists() {
                std::fs::write(&path, source.text).map_err(|error| failed(&path, error))?;
            }
        }
        Ok(())
    }

    async fn events_written(&self, source: &dyn Source, topic: &str) -> u64 {
        let extents = source.extents(&[topic]).await.unwrap_or_default();
        extents.values().map(|extent| extent.end.unsigned_abs()).sum()
    }

    fn introduce(&self, written_before: u64) -> Result<(), CommandError> {
        output::line("Sample events, projected while they are written.")?;
        output::line(format_args!("  log       {}/<topic>/<partition>.ndjson", self.events().display()))?;
        output::line(format_args!("  database  {}", self.database().display()))?;
        if self.projections().exists() {
            output::line(format_args!("  files     {}/*.toml", self.projections().display()))?;
        }
        if written_before > 0 {
            output::line(format_args!("  continuing after {}", counted(written_before, "earlier event")))?;
        }
        output::line("")
    }
}

/// What the terminal shows while the demo runs.
struct Screen {
    tables: Vec<TableSpec>,
    control: Control,
    source: Arc<dyn Source>,
    started: Instant,
    /// When it was last drawn, and how many events were projected then.
    last: (Instant, u64),
    /// How many lines were drawn then.
    lines: usize,
}

impl Screen {
    fn new(context: &Context, shared: &Shared, started: Instant) -> Self {
        let definitions = context.app.registry.definitions();
        Self {
            tables: definitions.iter().flat_map(|definition| definition.tables().to_vec()).collect(),
            control: connect::control_over(context, shared.store.clone(), StoreAccess::Shared),
            source: shared.source.clone(),
            started,
            last: (started, 0),
            lines: 0,
        }
    }

    /// Draws where everything is; on a terminal, over what was drawn before.
    async fn draw(&mut self) -> Result<(), CommandError> {
        let (done, end) = self.offsets().await;
        let (last_at, last_done) = self.last;
        let seconds = last_at.elapsed().as_secs_f64();
        let rate = if seconds > 0.0 { done.saturating_sub(last_done) as f64 / seconds } else { 0.0 };
        self.last = (Instant::now(), done);
        let mut lines = vec![format!(
            "{:5.1} s   {done} of {end} events projected, {rate:.0} per second, lag {}",
            self.started.elapsed().as_secs_f64(),
            end.saturating_sub(done)
        )];
        for table in &self.tables {
            let count = self.control.peek(table, 0).await.map(|peek| peek.count).unwrap_or_default();
            lines.push(format!("          {:<16} {count:>9} rows", table.name()));
        }
        let text = if std::io::stdout().is_terminal() {
            let up = if self.lines > 0 { format!("\x1b[{}A", self.lines) } else { String::new() };
            let lines: Vec<String> = lines.iter().map(|line| format!("\x1b[2K{line}")).collect();
            format!("{up}{}", lines.join("\n"))
        } else {
            lines.join("\n")
        };
        self.lines = lines.len();
        output::line(text)
    }

    /// How many events are projected, and how many there are, over all projections.
    async fn offsets(&self) -> (u64, u64) {
        let Ok(report) = self.control.status(&*self.source, &[]).await else { return (0, 0) };
        let sum = |offset: fn(&PartitionStatus) -> Option<i64>| -> u64 {
            report.partitions.iter().filter_map(offset).map(i64::unsigned_abs).sum()
        };
        (sum(|status| status.next_offset), sum(|status| status.end_offset))
    }

    /// Prints a few rows of each table, and what to try next.
    async fn conclude(&self, endings: &Outcomes, folders: &DemoFolders) -> Result<(), CommandError> {
        for (name, ending) in endings {
            if let Err(failure) = ending {
                output::message(format_args!("{name} halted: {failure}. Next: {}", failure.disposition().1));
            }
        }
        for spec in &self.tables {
            let peek = self.control.peek(spec, 3).await?;
            let mut table = Table::new();
            table.load_style(comfy_table::presets::ASCII_BORDERS_ONLY_CONDENSED);
            table.set_header(spec.columns().iter().map(|column| column.name()));
            for row in peek.rows {
                table.add_row(row.into_iter().map(|cell| cell.unwrap_or_else(|| "NULL".into())));
            }
            output::line(format_args!("\n{} ({})\n{table}", spec.name(), counted(peek.count, "row")))?;
        }
        let (database, events) = (folders.database(), folders.events());
        let (database, events) = (database.display(), events.display());
        if let Some(table) = self.tables.first() {
            let query = format!("SELECT * FROM {} LIMIT 5", table.name());
            output::line(format_args!("\nQuery the tables with any SQLite client:\n  sqlite3 {database} '{query}'"))?;
        }
        let of_files = folders.projections();
        let of_files = if of_files.exists() { format!(" --projections {}", of_files.display()) } else { String::new() };
        let status = format!("readcast status --source file:{events} --store sqlite:{database}{of_files}");
        output::line(format_args!("Show how far each projection is:\n  {status}"))?;
        let demo = folders.0.display();
        output::line(format_args!("Continue with the same log and database:\n  readcast demo --dir {demo}"))
    }
}
