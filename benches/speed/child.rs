//! Runs each measurement of readcast in a separate process: this executable, started with a [`Job`] as its argument.
//! Thus the measured memory is that of the service alone, and earlier measurements do not affect the allocator or the
//! runtime.

pub(crate) mod by_hand;
mod process;
mod project;
pub(crate) mod read;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use readcast::internals::config::{Config, Environment, Overrides};
use readcast::internals::plan::RecordPolicy;
use readcast::internals::source::file::FileSource;
use readcast::internals::source::kafka::KafkaSource;
use readcast::internals::store::postgres::Postgres;
use readcast::internals::store::sqlite::Sqlite;
use readcast::source::Source;
use readcast::store::{Store, WindowSize};
use readcast_core::Registry;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;

use self::project::Projector;
use crate::{clones, flat};

/// The first argument of a process that runs a job.
const MARK: &str = "do";

/// The work of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) work: Work,
    pub(crate) log: LogAddress,
    pub(crate) store: Option<StoreAddress>,
    pub(crate) projections: Projections,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Project from the checkpoints of the store to the current end of the log.
    Project,
    /// The same without a duplicate window.
    ProjectDuplicates,
    /// Project until standard input ends.
    Follow,
    /// Rebuild every projection of a store that has projected everything.
    Rebuild,
    /// Read and decode this number of events, and discard them.
    Read { events: usize },
    /// Project this number of events with a hand-written loop.
    ByHand { events: usize },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum LogAddress {
    Kafka { bootstrap: String, prefix: String },
    Files(PathBuf),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum StoreAddress {
    Postgres(String),
    Sqlite(PathBuf),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Projections {
    /// This projection of the example shop.
    One(String),
    /// This projection of the example shop, in its file.
    File(String),
    /// All projections of the example shop.
    All,
    /// This number of projections that each count the sales of every product, in separate tables.
    Clones(usize),
    /// Orders with a column of their customer, copied by a reference or left out.
    Mailing { copies: bool },
    /// Flat rows, written as they are.
    Flat,
}

/// The result of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The time from joining the group, or from the request of the rebuild, to the last commit.
    pub(crate) seconds: f64,
    /// The CPU time of the process, user and system.
    pub(crate) cpu_seconds: f64,
    /// The peak of the resident memory.
    pub(crate) peak_mib: f64,
    /// The progress over time, if the job projects.
    pub(crate) progress: Vec<Sample>,
}

/// The progress of a run at one moment.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    /// The number of events that the slowest projection has committed.
    pub(crate) events: u64,
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_mib: f64,
}

impl LogAddress {
    pub(crate) fn open(&self, config: &Config) -> Arc<dyn Source> {
        match self {
            LogAddress::Kafka { bootstrap, prefix } => {
                let properties = [("bootstrap.servers".to_owned(), bootstrap.clone())];
                Arc::new(KafkaSource::new(properties, prefix, config.projection("order_summary").buffer_bytes))
            }
            LogAddress::Files(folder) => Arc::new(FileSource::new(folder)),
        }
    }
}

impl StoreAddress {
    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        match self {
            StoreAddress::Postgres(url) => Arc::new(Postgres::new(url.parse().unwrap(), "public")),
            StoreAddress::Sqlite(path) => Arc::new(Sqlite::open(path).await.unwrap()),
        }
    }
}

impl Projections {
    pub(crate) fn registry(&self) -> Registry {
        match self {
            Projections::One(name) => readcast_projections::registry().only(std::slice::from_ref(name)),
            Projections::File(name) => crate::of_files::registry(name),
            Projections::All => readcast_projections::registry(),
            Projections::Clones(count) => clones::registry(*count),
            Projections::Mailing { copies } => crate::references::registry(*copies),
            Projections::Flat => flat::registry(),
        }
    }
}

/// The default configuration.
pub(crate) fn defaults(registry: &Registry) -> Config {
    let names: Vec<&str> = registry.definitions().iter().map(|definition| definition.name()).collect();
    let no_file = Overrides { config: Some("/dev/null".into()), ..Overrides::default() };
    Config::load(&no_file, &Environment::default(), &names).unwrap()
}

/// The job of this process, if it was started for one.
pub(crate) fn job() -> Option<Job> {
    let mut arguments = std::env::args().skip(1);
    let job = (arguments.next()? == MARK).then(|| arguments.next().unwrap())?;
    Some(serde_json::from_str(&job).unwrap())
}

/// Runs the job, and prints the result to standard output.
pub(crate) async fn run(job: Job) {
    let stop = CancellationToken::new();
    watch_standard_input(matches!(job.work, Work::Follow).then(|| stop.clone()));
    let done = work(&job, stop).await;
    let (cpu_seconds, peak_mib) = (process::cpu_seconds(), process::peak_mib());
    let outcome = Outcome { seconds: done.seconds, cpu_seconds, peak_mib, progress: done.progress };
    println!("{}", serde_json::to_string(&outcome).unwrap());
}

/// The part of the result that the work itself reports.
#[derive(Default)]
struct Done {
    seconds: f64,
    progress: Vec<Sample>,
}

async fn work(job: &Job, stop: CancellationToken) -> Done {
    let registry = job.projections.registry();
    let config = defaults(&registry);
    if let Work::ByHand { events } = job.work {
        return by_hand::run(&job.log, job.store.as_ref().unwrap(), events).await;
    }
    let source = job.log.open(&config);
    if let Work::Read { events } = job.work {
        return read::run(&*source, events).await;
    }
    let store = job.store.as_ref().unwrap().open().await;
    let mut record_policy = RecordPolicy::default();
    if matches!(job.work, Work::ProjectDuplicates) {
        record_policy.duplicate_window = WindowSize::Offsets(0);
    }
    if matches!(job.projections, Projections::Flat) {
        record_policy.decoders = flat::decoders();
    }
    let projector = Projector { registry, config, source, store, record_policy: Arc::new(record_policy), stop };
    match job.work {
        Work::Rebuild => projector.rebuild().await,
        Work::Follow => projector.follow().await,
        _ => projector.project().await,
    }
}

/// Waits until the parent closes standard input. Then `stop` is cancelled; without a `stop` the process exits at once,
/// because nobody reads its result.
fn watch_standard_input(stop: Option<CancellationToken>) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        match stop {
            Some(stop) => stop.cancel(),
            None => std::process::exit(1),
        }
    });
}

/// A process that runs a job. It ends with this process.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Job {
    /// Starts a process for the job and waits for its result.
    pub(crate) async fn run(&self) -> Outcome {
        self.start().wait().await
    }

    /// Starts a process for the job.
    pub(crate) fn start(&self) -> Running {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(MARK).arg(serde_json::to_string(self).unwrap()).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Running { stdin: child.stdin.take(), child }
    }
}

impl Running {
    /// Waits for the result.
    async fn wait(mut self) -> Outcome {
        let mut said = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut said).await.unwrap();
        let status = self.child.wait().await.unwrap();
        let outcome = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
        outcome.unwrap_or_else(|| panic!("a process that measures ended with {status} and said: {said}"))
    }

    /// Ends a job that follows the log, and waits for its result.
    pub(crate) async fn stop(mut self) -> Outcome {
        drop(self.stdin.take());
        self.wait().await
    }
}
