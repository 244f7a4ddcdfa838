//! `readcast run`

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use readcast_core::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connect;
use super::{CommandError, Context, output};
use crate::admin;
use crate::config::ConfigError;
use crate::control::registered;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::schemes::Access;
use crate::supervisor::{self, Outcomes, RunProgress, Shared};
use crate::text::counted;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast run --until-end --only order_summary")]
pub(super) struct Arguments {
    /// Stop at the end that the log has now
    #[arg(long)]
    until_end: bool,
    /// Run only this projection; can be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> Result<ExitCode, CommandError> {
    let registry = selected(&context.app.registry, &arguments.only)?;
    let names: Vec<&str> = registry.definitions().iter().map(|definition| definition.name()).collect();
    let metrics = Metrics::new();
    let shared = Shared {
        source: connect::source(&context).await?,
        store: connect::store(&context, Access::Write).await?,
        health: Health::new(&metrics, names.iter().copied()),
        metrics,
        deployment: connect::deployment(&context)?,
        instance: connect::instance(&context),
        dead_letter_sink: connect::dead_letter_sink(&context)?,
        run_progress: RunProgress::default(),
        stop: CancellationToken::new(),
    };
    let mut helpers = JoinSet::new();
    helpers.spawn(stop_on_signal(shared.stop.clone())?);
    // A bounded run is a batch job: it is not probed, and several of them may run at the same time.
    if !arguments.until_end {
        serve_admin(&context, &shared, &mut helpers).await?;
    }
    let bars = arguments.until_end.then(|| helpers.spawn(show_progress(shared.run_progress.clone())));
    let options = |name: &str| connect::options(&context, name, arguments.until_end);
    let started = Instant::now();
    let endings = supervisor::run(&registry, options, shared.clone(), context.config.projector.drain).await;
    if !arguments.until_end {
        // All projections have halted or stopped. After a halt the process stays, so that /readyz can say why.
        shared.stop.cancelled().await;
    }
    if let Some(bars) = bars {
        bars.abort();
    }
    conclude(&endings, &shared, started.elapsed())
}

fn selected(registry: &Registry, only: &[String]) -> Result<Registry, CommandError> {
    if registry.definitions().is_empty() {
        let problem = "there are no projections: set `path` in `[projections]` to the folder of their files, or pass `--projections`";
        return Err(ConfigError::overall(problem).into());
    }
    for name in only {
        registered(registry, name)?;
    }
    Ok(if only.is_empty() { registry.clone() } else { registry.only(only) })
}

pub(super) fn stop_on_signal(stop: CancellationToken) -> Result<impl Future<Output = ()>, CommandError> {
    let signalled = signalled()?;
    Ok(async move {
        signalled.await;
        tracing::info!("stop requested: finishing the open batches");
        stop.cancel();
    })
}

/// Ready at SIGTERM or Ctrl-C.
pub(super) fn signalled() -> Result<impl Future<Output = ()>, CommandError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(CommandError::failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CommandError::failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

pub(super) async fn serve_admin(
    context: &Context,
    shared: &Shared,
    helpers: &mut JoinSet<()>,
) -> Result<(), CommandError> {
    let options = &context.config.admin;
    let listener = admin::bind(options.listen).await.map_err(CommandError::failed)?;
    let address = listener.local_addr().map_err(CommandError::failed)?;
    tracing::info!("admin server on http://{address}");
    let router = admin::router(shared.health.clone(), shared.metrics.clone(), options.token.clone());
    let stop = shared.stop.clone();
    helpers.spawn(async move {
        if let Err(error) = admin::serve(listener, router, stop).await {
            tracing::error!("the admin server failed: {error}");
        }
    });
    Ok(())
}

/// Progress bars on a terminal, log lines now and then elsewhere.
async fn show_progress(progress: RunProgress) {
    let bars = MultiProgress::new();
    let mut shown = std::collections::BTreeMap::<String, ProgressBar>::new();
    let on_terminal = std::io::stderr().is_terminal();
    let mut tick = tokio::time::interval(if on_terminal { Duration::from_millis(200) } else { Duration::from_secs(5) });
    tick.tick().await;
    loop {
        for (name, current) in progress.snapshot() {
            if !on_terminal {
                tracing::info!(projection = name, done = current.done, total = current.total, "progress");
                continue;
            }
            let bar = shown.entry(name.clone()).or_insert_with(|| bars.add(bar(name)));
            bar.set_length(current.total);
            bar.set_position(current.done);
        }
        tick.tick().await;
    }
}

fn bar(name: String) -> ProgressBar {
    const TEMPLATE: &str = "{prefix:20} {bar:30} {human_pos}/{human_len} events, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style).with_prefix(name)
}

/// Prints how each projection ended.
fn conclude(endings: &Outcomes, shared: &Shared, took: Duration) -> Result<ExitCode, CommandError> {
    let bounded = shared.run_progress.snapshot();
    for (name, ending) in endings {
        match ending {
            Err(failure) => {
                output::message(format_args!("{name} halted: {failure}. Next: {}", failure.disposition().1))
            }
            Ok(()) if bounded.contains_key(name) => {
                let events = counted(shared.metrics.projection(name).records(), "new event");
                output::line(format_args!("{name}: caught up: {events} in {}", rounded(took)))?;
            }
            Ok(()) => {}
        }
    }
    Ok(if endings.iter().any(|(_, ending)| ending.is_err()) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A duration with about three digits, such as `29 ms` or `1.2 s`.
fn rounded(duration: Duration) -> String {
    match duration.as_millis() {
        millis @ ..1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}
