//! An operation that is waited for: looked at until it has ended, and shown meanwhile.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior};

use crate::cli::Refusal;
use crate::store::{GenerationState, Operation, OperationProgress, RecordedError, Store, StoreError};

/// How often an operation is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long the store may fail to answer before the wait is given up. The operation is not.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// An operation that is waited for.
pub(super) struct ProgressDisplay {
    store: Arc<dyn Store>,
    projection: String,
    id: i64,
    shown: Shown,
    /// When the errors began that an earlier run has left.
    past: Vec<String>,
    /// Since when the store has not answered.
    silent_since: Option<Instant>,
}

impl ProgressDisplay {
    pub(super) fn new(store: Arc<dyn Store>, projection: &str, id: i64) -> Self {
        Self {
            store,
            projection: projection.to_owned(),
            id,
            shown: Shown::new(projection),
            past: Vec::new(),
            silent_since: None,
        }
    }

    /// Errors that are recorded already are those of an earlier run: ours may do better.
    pub(super) async fn forgive_the_past(&mut self) -> Result<(), Refusal> {
        let generations = self.store.generations().await.map_err(Refusal::failed)?;
        self.past = generations.into_iter().filter_map(|found| Some(found.last_error?.since)).collect();
        Ok(())
    }

    /// Waits until the operation is done, refused or cancelled, or until what it builds has halted.
    pub(super) async fn until_it_ends(&mut self) -> Result<Operation, Refusal> {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let looked = self.look().await;
            if looked.is_ok() {
                self.silent_since = None;
            }
            match looked {
                Ok((operation, _)) if !operation.state.is_open() => return Ok(operation),
                Ok((_, Some(error))) => {
                    let Self { projection, id, .. } = self;
                    let RecordedError { text, since, .. } = error;
                    let choice = format!(
                        "operation {id} stays open: correct that and start again, or `readcast cancel {projection}`"
                    );
                    return Err(Refusal::Failed(format!("{projection} is halted since {since}: {text}; {choice}")));
                }
                Ok((operation, None)) => self.shown.show(&operation.progress.unwrap_or_else(not_taken_yet)),
                // Whoever carries it out waits for the store as well.
                Err(error) if error.may_pass() => {
                    if self.silent_since.get_or_insert_with(Instant::now).elapsed() > LONGEST_SILENCE {
                        let told = format!("the store has not answered for {} s: {error}", LONGEST_SILENCE.as_secs());
                        return Err(Refusal::Failed(format!("{told}. Operation {} stays open", self.id)));
                    }
                    let phase = error.to_string();
                    self.shown.show(&OperationProgress { phase, ..OperationProgress::default() });
                }
                Err(refused) => return Err(Refusal::failed(refused)),
            }
        }
    }

    /// The operation as it stands, and why the generation that it builds has halted, if it has.
    async fn look(&self) -> Result<(Operation, Option<RecordedError>), StoreError> {
        /// It may have ended, and others after it.
        const FINISHED: usize = 20;
        let operations = self.store.operations(&self.projection, FINISHED).await?;
        let gone = || StoreError::Refused {
            doing: format!("looking for operation {}", self.id),
            reason: "it is not in the store any more".into(),
        };
        let operation = operations.into_iter().find(|operation| operation.id == self.id).ok_or_else(gone)?;
        let Some(generation) = operation.generation else { return Ok((operation, None)) };
        let generations = self.store.generations().await?;
        let built = generations.into_iter().find(|found| {
            found.projection == self.projection
                && found.generation == generation
                && found.state == GenerationState::Building
        });
        // What is tried again by itself is waited for.
        let halted = |error: &RecordedError| error.attempt.is_none() && !self.past.contains(&error.since);
        Ok((operation, built.and_then(|built| built.last_error).filter(halted)))
    }
}

fn not_taken_yet() -> OperationProgress {
    OperationProgress { phase: "waiting to be taken".into(), ..OperationProgress::default() }
}

/// How far it is: a bar on a terminal, a line now and then elsewhere.
struct Shown {
    projection: String,
    bar: Option<ProgressBar>,
    told_at: Option<Instant>,
}

impl Shown {
    fn new(projection: &str) -> Self {
        const TEMPLATE: &str = "{prefix:20} {bar:30} {msg}";
        let on_terminal = std::io::stderr().is_terminal();
        let bar = on_terminal.then(|| {
            let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(0).with_style(style).with_prefix(projection.to_owned())
        });
        Self { projection: projection.to_owned(), bar, told_at: None }
    }

    fn show(&mut self, progress: &OperationProgress) {
        const TELL_EVERY: Duration = Duration::from_secs(5);
        if let Some(bar) = &self.bar {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
            bar.set_message(described(progress));
        } else if self.told_at.is_none_or(|told_at| told_at.elapsed() >= TELL_EVERY) {
            self.told_at = Some(Instant::now());
            tracing::info!(projection = self.projection, "{}", described(progress));
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How far an operation is, in words.
pub(in crate::cli) fn described(progress: &OperationProgress) -> String {
    let mut words = vec![progress.phase.clone()];
    if let Some(percent) = (progress.done * 100).checked_div(progress.total) {
        words.push(format!("{} of {} ({percent} %)", HumanCount(progress.done), HumanCount(progress.total)));
    }
    if let Some(rate) = progress.per_second {
        words.push(format!("{} a second", HumanCount(rate as u64)));
    }
    let left = progress.seconds_left().filter(|_| progress.done < progress.total);
    if let Some(left) = left.and_then(|left| Duration::try_from_secs_f64(left).ok()) {
        words.push(format!("{} left", HumanDuration(left)));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_as_far_as_it_is_known() {
        let phase = || "replay".to_owned();
        assert_eq!(described(&OperationProgress { phase: phase(), ..OperationProgress::default() }), "replay");
        let known = OperationProgress { phase: phase(), done: 1_200, total: 5_000, per_second: Some(100.0) };
        assert_eq!(described(&known), "replay, 1,200 of 5,000 (24 %), 100 a second, 38 seconds left");
        let there = OperationProgress { done: 5_000, ..known };
        assert_eq!(described(&there), "replay, 5,000 of 5,000 (100 %), 100 a second");
    }
}
