//! Waits for the end of an operation and reports its progress.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::control::ControlError;
use crate::store::{GenerationState, Operation, OperationProgress, RecordedError, Store, StoreError};

/// How often the operation is read.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How long the store may fail to answer before the wait ends. The operation stays open.
const MAX_SILENCE: Duration = Duration::from_secs(30);

/// A wait for the end of an operation.
pub(super) struct Waiting {
    store: Arc<dyn Store>,
    projection: String,
    id: i64,
    /// Since when the errors stand that an earlier run has recorded.
    earlier_errors: Vec<String>,
    /// Since when the store has not answered.
    silent_since: Option<Instant>,
}

impl Waiting {
    pub(super) fn new(store: &Arc<dyn Store>, projection: &str, id: i64) -> Self {
        let (store, projection) = (Arc::clone(store), projection.to_owned());
        Self { store, projection, id, earlier_errors: Vec::new(), silent_since: None }
    }

    /// Ignores the errors that are recorded now: this process may succeed where an earlier run has failed.
    pub(super) async fn ignore_earlier_errors(&mut self) -> Result<(), StoreError> {
        let generations = self.store.generations().await?;
        self.earlier_errors = generations.into_iter().filter_map(|found| Some(found.last_error?.since)).collect();
        Ok(())
    }

    /// Waits until the operation is done, refused or cancelled, or until the generation that it builds halts.
    pub(super) async fn for_the_end(
        &mut self,
        on_progress: &mut impl FnMut(&OperationProgress),
    ) -> Result<Operation, ControlError> {
        let mut tick = tokio::time::interval(POLL_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            match self.poll().await {
                Ok((operation, _)) if !operation.state.is_open() => return Ok(operation),
                Ok((_, Some(error))) => return Err(self.halted(&error)),
                Ok((operation, None)) => {
                    self.silent_since = None;
                    on_progress(&operation.progress.unwrap_or_else(not_started));
                }
                // The executor of the operation waits for the store as well.
                Err(error) if error.may_pass() => {
                    if self.silent_since.get_or_insert_with(Instant::now).elapsed() > MAX_SILENCE {
                        return Err(self.gave_up(error));
                    }
                    on_progress(&OperationProgress { phase: error.to_string(), ..OperationProgress::default() });
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The operation, and why the generation that it builds has halted, if it has.
    async fn poll(&self) -> Result<(Operation, Option<RecordedError>), StoreError> {
        /// It may have ended, and others after it.
        const FINISHED: usize = 20;
        let operations = self.store.operations(&self.projection, FINISHED).await?;
        let missing = || StoreError::Refused {
            doing: format!("reading operation {}", self.id),
            reason: "it is not in the store any more".into(),
        };
        let operation = operations.into_iter().find(|operation| operation.id == self.id).ok_or_else(missing)?;
        let Some(generation) = operation.generation else { return Ok((operation, None)) };
        let generations = self.store.generations().await?;
        let built = generations.into_iter().find(|found| {
            found.projection == self.projection
                && found.generation == generation
                && found.state == GenerationState::Building
        });
        // An error that is tried again is waited for.
        let halted = |error: &RecordedError| error.attempt.is_none() && !self.earlier_errors.contains(&error.since);
        Ok((operation, built.and_then(|built| built.last_error).filter(halted)))
    }

    fn halted(&self, error: &RecordedError) -> ControlError {
        let Self { projection, id, .. } = self;
        let RecordedError { text, since, .. } = error;
        ControlError::refused(format!("{projection}: operation {id} halted at {since} and stays open: {text}"))
            .advise(format!("correct that and start again, or `readcast cancel {projection}`"))
    }

    fn gave_up(&self, error: StoreError) -> ControlError {
        let (id, seconds) = (self.id, MAX_SILENCE.as_secs());
        ControlError::from(error)
            .prefixed(&format!("operation {id} stays open; the store has not answered for {seconds} s"))
    }
}

fn not_started() -> OperationProgress {
    OperationProgress { phase: "waiting to start".into(), ..OperationProgress::default() }
}
