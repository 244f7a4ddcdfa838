//! `readcast dev`: the projections run, and what a saved file declares becomes live at once.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use readcast_core::{Definition, Registry};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::super::run::stop_on_signal;
use super::super::verify::show_comparison;
use super::super::{CommandError, Context, Start, Typed, connect, output, prepared};
use super::{Command, test};
use crate::control::{Control, StoreAccess};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::operations::{OnChange, Policy};
use crate::schemes::Access;
use crate::store::{Operation, Store};
use crate::supervisor::{self, Options, RunProgress, Shared};
use crate::text::{counted, escape};

/// How often the folder and the operations are looked at.
const TICK: Duration = Duration::from_millis(250);

pub(super) async fn run(mut context: Context) -> Result<ExitCode, CommandError> {
    let folder = super::configured(&context)?.to_owned();
    let store = connect::store(&context, Access::Write).await?;
    let stop = CancellationToken::new();
    let mut helpers = JoinSet::new();
    helpers.spawn(stop_on_signal(stop.clone())?);
    let mut saved = Saved::new(folder);
    let mut changed = names(&context.app.registry);
    output::line(format_args!(
        "watching {}, {}: what you save becomes live. Ctrl-C ends",
        saved.folder.display(),
        counted(changed.len() as u64, "projection")
    ))?;
    loop {
        let next = until_changed(&context, &store, &changed, &mut saved, &stop).await?;
        let Some(next) = next else { return Ok(ExitCode::SUCCESS) };
        (context, changed) = (next.context, next.changed);
    }
}

/// What a saved file has led to.
struct Next {
    context: Context,
    /// The projections whose files declare something else.
    changed: BTreeSet<String>,
}

/// Runs the projections until their files declare something else. `None` when the process has to end.
async fn until_changed(
    context: &Context,
    store: &Arc<dyn Store>,
    changed: &BTreeSet<String>,
    saved: &mut Saved,
    stop: &CancellationToken,
) -> Result<Option<Next>, CommandError> {
    let control = connect::control_over(context, store.clone(), StoreAccess::Exclusive);
    control.prepare(&connect::deployment(context)?).await?;
    let registry = &context.app.registry;
    for definition in registry.definitions().iter().filter(|found| changed.contains(found.name())) {
        control.deploy(definition).await?;
    }
    let shared = shared(context, store.clone(), stop.child_token()).await?;
    let (options, end) = (|name: &str| options(context, name), shared.stop.clone());
    let projecting = supervisor::run(registry, options, shared, context.config.projector.drain);
    let watching = async {
        let next = tokio::select! {
            next = saved.next(context) => next.map(Some),
            never = show_endings(&control, names(registry)) => never.map(|never| match never {}),
            () = end.cancelled() => Ok(None),
        };
        end.cancel();
        next
    };
    let (endings, next) = tokio::join!(projecting, watching);
    for (name, ending) in endings {
        if let Err(failure) = ending {
            output::message(format_args!("{name} halted: {failure}. Next: {}", failure.disposition().1));
        }
    }
    next
}

async fn shared(context: &Context, store: Arc<dyn Store>, stop: CancellationToken) -> Result<Shared, CommandError> {
    let metrics = Metrics::new();
    Ok(Shared {
        source: connect::source(context).await?,
        store,
        health: Health::new(&metrics, context.app.registry.definitions().iter().map(Definition::name)),
        metrics,
        deployment: connect::deployment(context)?,
        instance: connect::instance(context),
        dead_letter_sink: connect::dead_letter_sink(context)?,
        run_progress: RunProgress::default(),
        stop,
    })
}

/// As configured, but for what is done about a change: it is deployed here, in whichever direction it goes.
fn options(context: &Context, name: &str) -> Options {
    let options = connect::options(context, name, false);
    Options { policy: Policy { on_change: OnChange::Refuse, ..options.policy }, ..options }
}

/// Prints what becomes of the operations that end from now on.
async fn show_endings(control: &Control, names: BTreeSet<String>) -> Result<Infallible, CommandError> {
    let mut seen = BTreeMap::<String, i64>::new();
    for name in &names {
        let ended = control.ended_after(name, 0).await.unwrap_or_default();
        seen.insert(name.clone(), ended.last().map_or(0, |operation| operation.id));
    }
    loop {
        tokio::time::sleep(TICK).await;
        for (name, seen) in &mut seen {
            // A store that does not answer is asked again; that it doesn't is in the log.
            for operation in control.ended_after(name, *seen).await.unwrap_or_default() {
                *seen = operation.id;
                show_ending(control, operation).await?;
            }
        }
    }
}

async fn show_ending(control: &Control, operation: Operation) -> Result<(), CommandError> {
    let comparison = control.comparison(&operation).await.unwrap_or_default();
    let projection = operation.projection.clone();
    match operation.into_outcome() {
        Ok(outcome) => output::line(format_args!("{projection}: {}", escape(&outcome)))?,
        Err(error) => output::message(error),
    }
    match comparison {
        Some(comparison) => show_comparison(&comparison),
        None => Ok(()),
    }
}

fn names(registry: &Registry) -> BTreeSet<String> {
    registry.definitions().iter().map(|definition| definition.name().to_owned()).collect()
}

/// The files of the folder, as they were last seen: when each was written, and its size in bytes.
type Files = BTreeMap<PathBuf, (SystemTime, u64)>;

/// The folder of projections.
struct Saved {
    folder: PathBuf,
    seen: Files,
}

impl Saved {
    fn new(folder: PathBuf) -> Self {
        Self { seen: files(&folder), folder }
    }

    /// Waits until the files declare something else than those of `before`. Mistakes in them, and what their tests say, are
    /// shown meanwhile.
    async fn next(&mut self, before: &Context) -> Result<Next, CommandError> {
        loop {
            let written = self.written().await;
            let context = match again(before.start.clone()) {
                Ok(context) => context,
                Err(error) => {
                    output::message(error);
                    continue;
                }
            };
            let changed = changed(&before.app.registry, &context.app.registry);
            let all = names(&context.app.registry);
            let tested = all.iter().filter(|name| written.contains(*name) || changed.contains(*name));
            show_tests(&context, &tested.cloned().collect::<Vec<_>>())?;
            if !changed.is_empty() || all != names(&before.app.registry) {
                return Ok(Next { context, changed });
            }
        }
    }

    /// Waits until files were written, and returns the first parts of their names: those of projections.
    ///
    /// The folder is read again and again, because not every file system tells of changes: those of containers and of other
    /// machines do not. A file is taken once it looks the same twice, so that none is read while it is written.
    async fn written(&mut self) -> BTreeSet<String> {
        let mut last = files(&self.folder);
        loop {
            tokio::time::sleep(TICK).await;
            let now = files(&self.folder);
            if now == last && now != self.seen {
                let other = |path: &&PathBuf| self.seen.get(*path) != now.get(*path);
                let written = now.keys().chain(self.seen.keys()).filter(other).filter_map(|path| first_part(path));
                let written = written.collect();
                self.seen = now;
                return written;
            }
            last = now;
        }
    }
}

fn first_part(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    name.split('.').next().map(str::to_owned)
}

/// The files of the folder. A folder that can't be read has none, which is shown when it is loaded.
fn files(folder: &Path) -> Files {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let file = |entry: std::fs::DirEntry| {
        let metadata = entry.metadata().ok()?;
        Some((entry.path(), (metadata.modified().ok()?, metadata.len())))
    };
    entries.filter_map(file).collect()
}

/// The context as a new start would make it.
fn again(start: Start) -> Result<Context, CommandError> {
    prepared(start, &Typed::OfFiles(Command::Dev))
}

/// The projections of `now` that `before` lacks or declares differently.
fn changed(before: &Registry, now: &Registry) -> BTreeSet<String> {
    let is_same = |now: &&Definition| before.get(now.name()).is_some_and(|before| before.declares_like(now));
    now.definitions().iter().filter(|now| !is_same(now)).map(|now| now.name().to_owned()).collect()
}

fn show_tests(context: &Context, names: &[String]) -> Result<(), CommandError> {
    if names.is_empty() {
        return Ok(());
    }
    match test::run_all(context, names, None) {
        Ok(_) => Ok(()),
        // Mistakes in the tests.
        Err(error) => {
            output::message(error);
            Ok(())
        }
    }
}
