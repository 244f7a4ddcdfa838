//! A bounded run: the live generation is fed to the end of the log, and nothing else is done.

use std::time::Duration;

use readcast_core::{Definition, Registry};
use tokio::time::Instant;

use super::situation::definition_changed;
use crate::error::{Disposition, Failure};
use crate::health::State;
use crate::plan::AllowedChanges;
use crate::retry::{Backoff, in_words};
use crate::store::{GenerationState, GenerationStatus, Priority, StoreError, with_stored};
use crate::supervisor::feed::{BOUNDED_RUN_RETRY_LIMIT, Feed, keep_feeding};
use crate::supervisor::{Options, Shared};

/// Feeds the live generation to the end that the log has now. Operations wait for an instance that keeps running.
///
/// # Errors
/// The failure that ended the run, after the retries that it allows.
pub(super) async fn run(
    current: &Definition,
    registered: &Registry,
    options: Options,
    shared: Shared,
) -> Result<(), Failure> {
    let name = current.name();
    let halted = |failure: Failure| {
        let advice = failure.disposition().1.to_owned();
        shared.health.set(name, State::Halted { reason: failure.to_string(), advice });
        Err(failure)
    };
    let live = match find_live(current, &options, &shared).await {
        Ok(Some(live)) => live,
        Ok(None) => return Ok(()),
        Err(failure) => return halted(failure),
    };
    let registry = with_stored(registered, std::slice::from_ref(&live), &*shared.store).await?;
    let Some(definition) = registry.versions(name).find(|version| version.hash() == live.definition_hash) else {
        return halted(definition_changed(current, &live).into());
    };
    let feed = Feed {
        definition: definition.clone(),
        generation: live.generation,
        bulk: false,
        allowed: AllowedChanges::All,
        max_live_lag: 0,
        priority: Priority::Live.into(),
        stop: shared.stop.clone(),
    };
    shared.health.serve(name, live.generation);
    keep_feeding(feed, options, shared).await
}

/// The live generation, with its tables; `None` when the process is asked to stop before that is known.
async fn find_live(
    definition: &Definition,
    options: &Options,
    shared: &Shared,
) -> Result<Option<GenerationStatus>, Failure> {
    let give_up_at = Instant::now() + BOUNDED_RUN_RETRY_LIMIT;
    let mut backoff = Backoff::new(options.seed, Duration::from_millis(200), Duration::from_secs(5));
    loop {
        let failure = match live_generation(definition, shared).await {
            Ok(live) => return Ok(Some(live)),
            Err(error) => Failure::from(error),
        };
        let (disposition, advice) = failure.disposition();
        if disposition != Disposition::Retry || Instant::now() > give_up_at {
            return Err(failure);
        }
        let wait = backoff.next_wait();
        tracing::warn!(advice, "preparing the tables failed; retrying in {}: {failure}", in_words(wait));
        let state = State::Retrying { attempt: backoff.attempt(), reason: failure.to_string() };
        shared.health.set(definition.name(), state);
        tokio::select! {
            () = shared.stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn live_generation(definition: &Definition, shared: &Shared) -> Result<GenerationStatus, StoreError> {
    shared.deploy().await?;
    shared.store.prepare(definition).await?;
    let statuses = shared.store.generations().await?;
    let is_live =
        |status: &GenerationStatus| status.projection == definition.name() && status.state == GenerationState::Live;
    statuses.into_iter().find(is_live).ok_or_else(|| StoreError::Unavailable {
        doing: format!("looking for the tables of `{}`", definition.name()),
        reason: "they are not there yet".into(),
    })
}
