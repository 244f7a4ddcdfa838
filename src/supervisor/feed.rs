//! The feeding of one generation: a run of its lanes, and another run after a failure that may pass.
//!
//! This file decides what is fed and when a failed run is repeated, and reports both to health and the store. It does
//! not read records: see `feed/run.rs`. Every end of a run except the requested one is a [`Failure`], and leaves no
//! task, no member of the group and no open transaction.

mod budget;
mod check_schedule;
mod checks;
mod decisions;
mod findings;
mod first_records;
mod lanes;
mod monitor;
mod partitions;
mod run;

use std::time::Duration;

use readcast_core::Definition;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::monitor::FeedMonitor;
use super::{Options, Shared};
use crate::error::{Disposition, Failure};
use crate::health::{HealthReporter, State};
use crate::metrics::ProjectionMetrics;
use crate::plan::AllowedChanges;
use crate::retry::{Backoff, in_words};
use crate::store::{Generation, GenerationError, Priority, SharedPriority, StoreError};
use crate::worker::Limits;

/// How long one question to the log or the store may take where no answer is needed to continue.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a run must last to count as a success, which resets the backoff.
const STABLE_RUN: Duration = Duration::from_secs(60);
/// How long a bounded run retries before it gives up.
pub(super) const BOUNDED_RUN_RETRY_LIMIT: Duration = Duration::from_secs(30);
/// The factor by which a lane's transactions are larger while a log is replayed into tables that nobody reads.
const BULK: usize = 4;

/// What is fed, and how.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    /// The definition that built the generation.
    pub(super) definition: Definition,
    /// The number of the generation.
    pub(super) generation: Generation,
    /// Whether the log is replayed into tables that nobody reads yet.
    pub(super) bulk: bool,
    /// Which changes its records may make.
    pub(super) allowed: AllowedChanges,
    /// Pause while the live generation lags by more than this many records; 0 for never.
    pub(super) max_live_lag: u64,
    /// Its rank among the generations that want a connection at this moment.
    pub(super) priority: SharedPriority,
    /// Cancelled to end the feeding.
    pub(super) stop: CancellationToken,
}

impl Feed {
    /// The consumer group: the first generation has the projection's own, each later one another, so that generations do
    /// not take partitions from each other.
    fn group(&self, options: &Options) -> String {
        match self.generation {
            Generation(1) => options.group.clone(),
            Generation(number) => format!("{}.g{number}", options.group),
        }
    }

    fn limits(&self, options: &Options) -> Limits {
        let times = if self.bulk { BULK } else { 1 };
        Limits { records: options.limits.records * times, bytes: options.limits.bytes * times }
    }

    /// Whether readers see the generation at this moment: its lag is the projection's.
    pub(super) fn is_live(&self) -> bool {
        self.priority.get() == Priority::Live
    }

    /// Whether it pauses while the live generation lags.
    fn is_throttled(&self) -> bool {
        self.max_live_lag > 0 && !self.is_live()
    }

    /// The span in which everything about this feed is logged. It is kept at every log level, for it names the projection.
    fn span(&self) -> tracing::Span {
        let (projection, generation) = (self.name(), self.generation.0);
        tracing::error_span!(parent: None, "feed", projection, generation)
    }

    fn name(&self) -> &str {
        self.definition.name()
    }
}

/// What all runs of one feed share.
struct FeedContext {
    feed: Feed,
    options: Options,
    shared: Shared,
    reporter: HealthReporter,
    metrics: ProjectionMetrics,
    /// By what this process is known in the store.
    instance: String,
}

/// What follows a failed run.
enum AfterFailure {
    /// Another run, after a wait.
    Retry(Duration),
    /// Nothing, until an operator has acted.
    Halt,
}

/// Feeds a generation until `feed.stop` is cancelled, until the end of the log where the options ask for that, or until a
/// failure that needs an operator.
///
/// # Errors
/// The failure that halts the generation: one that another run would meet again, or, in a bounded run, one that has not
/// passed within [`BOUNDED_RUN_RETRY_LIMIT`].
pub(super) async fn keep_feeding(feed: Feed, options: Options, shared: Shared) -> Result<(), Failure> {
    use tracing::Instrument;
    let span = feed.span();
    FeedContext::new(feed, options, shared).run_until_stopped().instrument(span).await
}

impl FeedContext {
    fn new(feed: Feed, options: Options, shared: Shared) -> Self {
        Self {
            reporter: shared.health.reporter(feed.name(), feed.generation),
            metrics: shared.metrics.projection(feed.name()),
            instance: options.instance(),
            feed,
            options,
            shared,
        }
    }

    async fn run_until_stopped(&self) -> Result<(), Failure> {
        let mut backoff = Backoff::new(self.options.seed, Duration::from_millis(200), Duration::from_secs(15));
        let give_up_at = self.options.until_end.then(|| Instant::now() + BOUNDED_RUN_RETRY_LIMIT);
        let mut monitor = FeedMonitor::new(self.options.stall_after);
        loop {
            self.reporter.set(State::Starting);
            let begun = Instant::now();
            let outcome = run::run(self, &mut monitor).await;
            monitor.findings.flush(self).await;
            let Err(failure) = outcome else {
                self.clear_error().await;
                self.reporter.set(State::Stopped);
                return Ok(());
            };
            if begun.elapsed() >= STABLE_RUN {
                backoff.reset();
            }
            // A failure after a stop has no consequence: the tables may have been dropped under the run.
            if !self.feed.stop.is_cancelled() {
                match self.failed(&failure, &mut backoff, give_up_at).await {
                    AfterFailure::Halt => return Err(failure),
                    AfterFailure::Retry(wait) => tokio::select! {
                        () = self.feed.stop.cancelled() => {}
                        () = tokio::time::sleep(wait) => continue,
                    },
                }
            }
            self.clear_error().await;
            return Ok(());
        }
    }

    /// Decides what follows the failure, and tells the log, health and the store.
    async fn failed(&self, failure: &Failure, backoff: &mut Backoff, give_up_at: Option<Instant>) -> AfterFailure {
        let wait = backoff.next_wait();
        let attempt = backoff.attempt();
        let (disposition, advice) = failure.disposition();
        if disposition != Disposition::Retry {
            self.record_error(&halt_record(failure)).await;
        }
        let is_too_late = give_up_at.is_some_and(|give_up_at| Instant::now() + wait > give_up_at);
        if disposition != Disposition::Retry || is_too_late {
            let (correlation_id, runbook) = (failure.correlation_id(), failure.runbook());
            tracing::error!(correlation_id, advice, runbook, "halted: {failure}");
            self.reporter.set(State::Halted { reason: failure.in_full(), advice: advice.to_owned() });
            return AfterFailure::Halt;
        }
        tracing::warn!(
            attempt,
            advice,
            runbook = failure.runbook(),
            "feed failed; retrying in {}: {failure}",
            in_words(wait)
        );
        self.metrics.retried();
        let reason = format!("{failure}. Next: {advice}");
        self.record_error(&GenerationError { text: reason.clone(), attempt: Some(attempt) }).await;
        self.reporter.set(State::Retrying { attempt, reason });
        AfterFailure::Retry(wait)
    }

    /// Records in the store the error that stops the generation, for `readcast status`. Best effort: where the
    /// store itself has failed, the record is written again for as long as the failure lasts.
    async fn record_error(&self, error: &GenerationError) {
        let store = &self.shared.store;
        self.best_effort(store.record_error(self.feed.name(), self.feed.generation, &self.instance, error)).await;
    }

    /// Records in the store that this instance knows of nothing that keeps the generation from progressing. Best effort:
    /// an instance that finds the old error in the store while the generation is well clears it again.
    async fn clear_error(&self) {
        let store = &self.shared.store;
        self.best_effort(store.clear_error(self.feed.name(), self.feed.generation, &self.instance)).await;
    }

    async fn best_effort(&self, write: impl Future<Output = Result<(), StoreError>>) {
        match tokio::time::timeout(QUESTION_TIMEOUT, write).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("the generation's state was not recorded: {error}"),
            Err(_) => tracing::debug!("the generation's state was not recorded within {}", in_words(QUESTION_TIMEOUT)),
        }
    }
}

/// What the store records of a generation that `failure` has halted.
pub(super) fn halt_record(failure: &Failure) -> GenerationError {
    let (_, advice) = failure.disposition();
    GenerationError { text: format!("{}. Next: {advice}", failure.in_full()), attempt: None }
}
