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
use super::{Context, Refusal, registered};
use crate::admin;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::schemes::Access;

use crate::supervisor::{self, Outcomes, RunProgress, Shared};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// End at the positions that the log has at the start
    #[arg(long)]
    until_end: bool,
    /// Run this projection alone; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> Result<ExitCode, Refusal> {
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
    let mut aside = JoinSet::new();
    aside.spawn(stop_on_signal(shared.stop.clone())?);
    // A bounded run is a batch job: it serves nobody, and several of them may run beside each other.
    if !arguments.until_end {
        serve_admin(&context, &shared, &mut aside).await?;
    }
    let bars = arguments.until_end.then(|| aside.spawn(show_progress(shared.run_progress.clone())));
    let options = |name: &str| connect::options(&context, name, arguments.until_end);
    let begun = Instant::now();
    let endings = supervisor::run(&registry, options, shared.clone(), context.config.projector.drain).await;
    if !arguments.until_end {
        // Every projection has halted, or was asked to stop. Halted ones wait here, so that /readyz can tell why.
        shared.stop.cancelled().await;
    }
    if let Some(bars) = bars {
        bars.abort();
    }
    Ok(conclude(context.app.name, &endings, &shared.run_progress, begun.elapsed()))
}

fn selected(registry: &Registry, only: &[String]) -> Result<Registry, Refusal> {
    for name in only {
        registered(registry, name)?;
    }
    Ok(if only.is_empty() { registry.clone() } else { registry.only(only) })
}

pub(super) fn stop_on_signal(stop: CancellationToken) -> Result<impl Future<Output = ()>, Refusal> {
    let signalled = signalled()?;
    Ok(async move {
        signalled.await;
        tracing::info!("asked to stop: draining");
        stop.cancel();
    })
}

/// Ends at SIGTERM or Ctrl-C.
pub(super) fn signalled() -> Result<impl Future<Output = ()>, Refusal> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Refusal::failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Refusal::failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

pub(super) async fn serve_admin(context: &Context, shared: &Shared, aside: &mut JoinSet<()>) -> Result<(), Refusal> {
    let options = &context.config.admin;
    let listener = admin::bind(options.listen).await.map_err(Refusal::failed)?;
    let address = listener.local_addr().map_err(Refusal::failed)?;
    tracing::info!("admin server on http://{address}");
    let router = admin::router(shared.health.clone(), shared.metrics.clone(), options.token.clone());
    let stop = shared.stop.clone();
    aside.spawn(async move {
        if let Err(error) = admin::serve(listener, router, stop).await {
            tracing::error!("the admin server has ended: {error}");
        }
    });
    Ok(())
}

/// Bars on a terminal, a line now and then elsewhere.
async fn show_progress(goals: RunProgress) {
    let bars = MultiProgress::new();
    let mut shown = std::collections::BTreeMap::<String, ProgressBar>::new();
    let on_terminal = std::io::stderr().is_terminal();
    let mut tick = tokio::time::interval(if on_terminal { Duration::from_millis(200) } else { Duration::from_secs(5) });
    tick.tick().await;
    loop {
        for (name, progress) in goals.snapshot() {
            if !on_terminal {
                tracing::info!(projection = name, done = progress.done, total = progress.total, "progress");
                continue;
            }
            let bar = shown.entry(name.clone()).or_insert_with(|| bars.add(bar(name)));
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        }
        tick.tick().await;
    }
}

fn bar(name: String) -> ProgressBar {
    const TEMPLATE: &str = "{prefix:20} {bar:30} {human_pos}/{human_len} events, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style).with_prefix(name)
}

/// Says how each projection ended, and turns that into an exit code.
fn conclude(program: &str, endings: &Outcomes, progress: &RunProgress, took: Duration) -> ExitCode {
    let goals = progress.snapshot();
    for (name, ending) in endings {
        match (ending, goals.get(name)) {
            (Err(failure), _) => {
                let (_, advice) = failure.disposition();
                eprintln!("{program}: {name} halted: {failure}. Next: {advice}");
            }
            (Ok(()), Some(progress)) => {
                println!("{name}: {} events behind it after {took:.1?}", progress.done);
            }
            (Ok(()), None) => {}
        }
    }
    if endings.iter().any(|(_, ending)| ending.is_err()) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
