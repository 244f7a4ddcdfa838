//! `readcast demo`: the whole of it at work, with no server and no network.
//!
//! A made-up shop's orders go into a log of files, the registered projections project them into a SQLite file, and the
//! terminal shows it live. Only the log and the store differ from a real deployment.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use comfy_table::Table;
use readcast_core::{Registry, TableSpec};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::generate::{self, Log, Pace};
use super::run::{serve_admin, stop_on_signal};
use super::{Context, Refusal, connect};
use crate::app::{Sample, SampleEvents};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::source::Source;
use crate::source::file::{Appender, FileSource};
use crate::store::sqlite::Sqlite;
use crate::store::{Deployment, GenerationState};
use crate::supervisor::{self, Options, Outcomes, RunProgress, Shared};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// How many events a second; 0 for as many as there is time for
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// How many events in all; 0 to go on until Ctrl-C
    #[arg(long, default_value_t = 20_000)]
    events: u64,
    /// Where the log and the database are kept [default: a new folder below the system's temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What the events are drawn from; the same seed gives the same events
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

const PARTITIONS: i32 = 4;

pub(super) async fn run(context: Context, sample: Sample, arguments: Arguments) -> Result<ExitCode, Refusal> {
    let place = DemoFolders::new(arguments.dir)?;
    let registry = &context.app.registry;
    let metrics = Metrics::new();
    let shared = Shared {
        source: Arc::new(FileSource::new(place.events())),
        store: Arc::new(Sqlite::open(&place.database()).await.map_err(Refusal::failed)?),
        health: Health::new(&metrics, registry.definitions().iter().map(|definition| definition.name())),
        metrics,
        deployment: Deployment { app: context.config.projector.app.clone(), ..Deployment::default() },
        instance: connect::instance(&context),
        dead_letter_sink: None,
        run_progress: RunProgress::default(),
        stop: CancellationToken::new(),
    };
    let log = Appender::open(&place.events(), sample.topic, PARTITIONS).map_err(Refusal::failed)?;
    let written_before = place.events_written(&*shared.source, sample.topic).await;
    place.introduce(written_before);
    let mut aside = JoinSet::new();
    aside.spawn(stop_on_signal(shared.stop.clone())?);
    serve_admin(&context, &shared, &mut aside).await.unwrap_or_else(|_| {
        eprintln!("(another program has the admin port: this demo goes without)");
    });

    let begun = Instant::now();
    let mut screen = Screen::new(registry, &shared, begun);
    let endings = {
        let pace = Pace { rate: arguments.rate, events: arguments.events };
        // A demo that goes on in a folder of its own goes on in the stream of events too.
        let skipped = usize::try_from(written_before).unwrap_or(usize::MAX);
        let events = Box::new((sample.events)(arguments.seed).skip(skipped));
        let options = |name: &str| connect::options(&context, name, false);
        let work = work(registry, options, &shared, Log::File(log), events, pace);
        tokio::pin!(work);
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        loop {
            tokio::select! {
                endings = &mut work => break endings?,
                _ = tick.tick() => screen.show().await,
            }
        }
    };
    screen.show().await;
    screen.conclude(&endings, &place).await?;
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
) -> Result<Outcomes, Refusal> {
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
    fn new(chosen: Option<PathBuf>) -> Result<Self, Refusal> {
        let path = chosen.unwrap_or_else(|| std::env::temp_dir().join(format!("readcast-demo-{}", std::process::id())));
        std::fs::create_dir_all(&path).map_err(|error| Refusal::failed(format!("{}: {error}", path.display())))?;
        Ok(Self(path))
    }

    fn events(&self) -> PathBuf {
        self.0.join("events")
    }

    fn database(&self) -> PathBuf {
        self.0.join("read.db")
    }

    async fn events_written(&self, source: &dyn Source, topic: &str) -> u64 {
        let extents = source.extents(&[topic]).await.unwrap_or_default();
        extents.values().map(|extent| extent.end.unsigned_abs()).sum()
    }

    fn introduce(&self, written_before: u64) {
        println!("A made-up shop's orders, projected live.");
        println!("  log       {}/<topic>/<partition>.ndjson", shown(&self.events()));
        println!("  database  {}", shown(&self.database()));
        if written_before > 0 {
            println!("  going on after {written_before} events that are there already");
        }
        println!();
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// What the terminal shows while it runs.
struct Screen<'a> {
    tables: Vec<TableSpec>,
    registry: &'a Registry,
    shared: &'a Shared,
    begun: Instant,
    /// When it was last shown, and how many offsets were behind us then.
    last: (Instant, u64),
    lines: usize,
}

impl<'a> Screen<'a> {
    fn new(registry: &'a Registry, shared: &'a Shared, begun: Instant) -> Self {
        let tables = registry.definitions().iter().flat_map(|definition| definition.tables().to_vec()).collect();
        Self { tables, registry, shared, begun, last: (begun, 0), lines: 0 }
    }

    /// Shows where everything is, over what was shown before when this is a terminal.
    async fn show(&mut self) {
        let (done, end) = self.offsets().await;
        let (then, done_then) = self.last;
        let seconds = then.elapsed().as_secs_f64();
        let rate = if seconds > 0.0 { done.saturating_sub(done_then) as f64 / seconds } else { 0.0 };
        self.last = (Instant::now(), done);
        let mut lines = vec![format!(
            "{:5.1} s   {done} of {end} events projected, {rate:.0} a second, lag {}",
            self.begun.elapsed().as_secs_f64(),
            end.saturating_sub(done)
        )];
        for table in &self.tables {
            let count = self.shared.store.peek(table, 0).await.map(|peek| peek.count).unwrap_or_default();
            lines.push(format!("          {:<16} {count:>9} rows", table.name()));
        }
        let mut out = std::io::stdout().lock();
        if out.is_terminal() {
            let up = if self.lines > 0 { format!("\x1b[{}A", self.lines) } else { String::new() };
            let text: String = lines.iter().map(|line| format!("\x1b[2K{line}\n")).collect();
            let _ = write!(out, "{up}{text}");
        } else {
            let _ = writeln!(out, "{}", lines.join("\n"));
        }
        let _ = out.flush();
        self.lines = lines.len();
    }

    /// How many offsets are behind the projections, and how many there are, over all of them.
    async fn offsets(&self) -> (u64, u64) {
        let generations = self.shared.store.generations().await.unwrap_or_default();
        let live = generations.iter().filter(|generation| generation.state == GenerationState::Live);
        let checkpoints = live.flat_map(|generation| &generation.checkpoints);
        let done = checkpoints.map(|checkpoint| checkpoint.next_offset.unsigned_abs()).sum();
        let mut end = 0;
        for definition in self.registry.definitions() {
            let extents = self.shared.source.extents(definition.topics()).await.unwrap_or_default();
            end += extents.values().map(|extent| extent.end.unsigned_abs()).sum::<u64>();
        }
        (done, end)
    }

    /// A few rows of each table, and where to look next.
    async fn conclude(&self, endings: &Outcomes, place: &DemoFolders) -> Result<(), Refusal> {
        for (name, ending) in endings {
            if let Err(failure) = ending {
                eprintln!("readcast: {name} halted: {failure}. Next: {}", failure.disposition().1);
            }
        }
        for spec in &self.tables {
            let peek = self.shared.store.peek(spec, 3).await.map_err(Refusal::failed)?;
            let mut table = Table::new();
            table.load_style(comfy_table::presets::ASCII_BORDERS_ONLY_CONDENSED);
            table.set_header(spec.columns().iter().map(|column| column.name()));
            for row in peek.rows {
                table.add_row(row.into_iter().map(|cell| cell.unwrap_or_else(|| "NULL".into())));
            }
            println!("\n{} ({} rows)\n{table}", spec.name(), peek.count);
        }
        let database = shown(&place.database());
        println!("\nLook around with any SQLite client:");
        println!("  sqlite3 {database} 'SELECT status, count(*), sum(item_count) FROM order_summary GROUP BY status'");
        println!("See how far each projection is:");
        println!("  readcast status --source file:{} --store sqlite:{database}", shown(&place.events()));
        println!("Go on with the same log and database:");
        println!("  readcast demo --dir {}", shown(&place.0));
        Ok(())
    }
}
