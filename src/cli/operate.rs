//! How a command that takes a while is carried out. It becomes a row of the store, which an instance that runs the
//! projection takes. When nobody runs it, and we are to wait, the projection is run here until the row is done.

mod watch;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use readcast_core::Definition;
use tokio_util::sync::CancellationToken;

use self::watch::ProgressDisplay;
pub(super) use self::watch::described;
use super::connect::{self, StoreAccess};
use super::run::signalled;
use super::terminal::escape;
use super::{Context, Refusal, no_such};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::store::{
    Command, GenerationState, GenerationStatus, InstanceHeartbeat, Operation, OperationState, Store, StoreError,
    declaration_changes, has_running_instance,
};
use crate::supervisor::{self, Outcomes, RunProgress, Shared};

/// How often whoever waits for another process makes sure that there still is one.
const RECONSIDER_EVERY: Duration = Duration::from_secs(3);
/// How long after the end of our own run its reason may take to show.
const A_LAST_LOOK: Duration = Duration::from_secs(1);

/// Whoever types a command about one projection, with the store at hand.
pub(super) struct Operator<'a> {
    pub(super) context: &'a Context,
    pub(super) projection: &'a str,
    pub(super) store: Arc<dyn Store>,
    access: StoreAccess,
}

/// Who will carry out an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Executor {
    /// An instance that runs.
    Theirs,
    /// Nobody else: we may.
    Ours,
    /// Another process has the store and another definition of the projection: nobody, until one with ours runs.
    Nobodys,
}

impl<'a> Operator<'a> {
    pub(super) async fn at(context: &'a Context, projection: &'a str) -> Result<Self, Refusal> {
        let (store, access) = connect::control(context).await?;
        Ok(Self { context, projection, store, access })
    }

    /// What is recorded of the projection's generations.
    pub(super) async fn generations(&self) -> Result<Vec<GenerationStatus>, Refusal> {
        let mut generations = self.store.generations().await.map_err(Refusal::failed)?;
        generations.retain(|found| found.projection == self.projection);
        Ok(generations)
    }

    /// Refuses a name that neither the code nor the store knows.
    pub(super) async fn known(&self) -> Result<(), Refusal> {
        let stored = self.store.generations().await.map_err(Refusal::failed)?;
        known(self.context, &stored, self.projection)
    }

    /// Leaves the command in the store, and returns its number.
    pub(super) async fn request(&self, command: &Command) -> Result<i64, Refusal> {
        let by = &self.context.config.operator;
        self.store.request(self.projection, command, by).await.map_err(Refusal::failed)
    }

    pub(super) async fn executor(&self, command: &Command) -> Result<Executor, StoreError> {
        let heartbeats = self.store.heartbeats().await?;
        Ok(executor(self.access, &heartbeats, self.projection, command.definition_hash()))
    }

    /// Asks for the command and waits until it is done, refused or cancelled; carries it out here if nobody else will.
    pub(super) async fn see_through(&mut self, command: &Command) -> Result<Operation, Refusal> {
        let id = self.request(command).await?;
        let interrupted = signalled()?;
        tokio::pin!(interrupted);
        loop {
            let executor = self.executor(command).await.map_err(Refusal::failed)?;
            let mut watch = ProgressDisplay::new(self.store.clone(), self.projection, id);
            if executor == Executor::Ours {
                watch.forgive_the_past().await?;
            }
            let watching = async {
                tokio::select! {
                    ended = watch.until_it_ends() => ended,
                    () = &mut interrupted => Err(interrupted_at(self.projection, id)),
                }
            };
            match executor {
                Executor::Ours => return self.work_during(watching).await,
                Executor::Nobodys => tracing::warn!(
                    projection = self.projection,
                    "the process that has the store runs another definition: waiting until one with ours runs"
                ),
                Executor::Theirs => {}
            }
            let left_alone = left_alone(self.context, self.store.clone(), self.access, self.projection, command);
            let (store, access) = tokio::select! {
                ended = watching => return ended,
                left_alone = left_alone => left_alone,
            };
            (self.store, self.access) = (store, access);
        }
    }

    /// Runs the projection for as long as `watching` takes.
    async fn work_during(
        &self,
        watching: impl Future<Output = Result<Operation, Refusal>>,
    ) -> Result<Operation, Refusal> {
        let Context { app, config, .. } = self.context;
        if app.registry.get(self.projection).is_none() {
            let name = self.projection;
            let problem = format!("no instance that has `{name}` runs, and this code does not have it either");
            return Err(Refusal::Failed(format!("{problem}: it is done when one runs")));
        }
        let metrics = Metrics::new();
        let shared = Shared {
            source: connect::source(self.context).await?,
            store: self.store.clone(),
            health: Health::new(&metrics, [self.projection]),
            metrics,
            deployment: connect::deployment(self.context)?,
            instance: connect::instance(self.context),
            dead_letter_sink: None,
            run_progress: RunProgress::default(),
            stop: CancellationToken::new(),
        };
        let registry = app.registry.only(&[self.projection.to_owned()]);
        let options = |name: &str| connect::options(self.context, name, false);
        let running = supervisor::run(&registry, options, shared.clone(), config.projector.drain);
        tokio::pin!(running, watching);
        tokio::select! {
            seen = &mut watching => {
                shared.stop.cancel();
                running.await;
                seen
            }
            endings = &mut running => {
                // It halted. Mostly that shows in the store, and better.
                let seen = tokio::time::timeout(A_LAST_LOOK, watching).await;
                seen.unwrap_or_else(|_| Err(halted(&endings)))
            }
        }
    }
}

/// Returns when nobody is left to carry the command out, with the store as we have it then.
async fn left_alone(
    context: &Context,
    mut store: Arc<dyn Store>,
    mut access: StoreAccess,
    projection: &str,
    command: &Command,
) -> (Arc<dyn Store>, StoreAccess) {
    loop {
        tokio::time::sleep(RECONSIDER_EVERY).await;
        if access == StoreAccess::Beside
            && let Some(ours) = connect::alone(context).await
        {
            (store, access) = (ours, StoreAccess::Alone);
        }
        // While the store is away nobody knows, and whoever carries it out waits as well.
        let Ok(heartbeats) = store.heartbeats().await else { continue };
        if executor(access, &heartbeats, projection, command.definition_hash()) == Executor::Ours {
            return (store, access);
        }
    }
}

fn executor(access: StoreAccess, heartbeats: &[InstanceHeartbeat], projection: &str, hash: Option<&str>) -> Executor {
    match access {
        StoreAccess::Alone => Executor::Ours,
        _ if has_running_instance(heartbeats, projection, hash) => Executor::Theirs,
        StoreAccess::AsNoted => Executor::Ours,
        StoreAccess::Beside if has_running_instance(heartbeats, projection, None) => Executor::Nobodys,
        // It has only just begun, and will say so.
        StoreAccess::Beside => Executor::Theirs,
    }
}

/// Says how an operation ended, and turns that into an exit code.
pub(super) fn conclude(operation: &Operation) -> Result<ExitCode, Refusal> {
    let outcome = operation.outcome.as_deref().unwrap_or("it did not say why");
    let (name, command) = (&operation.projection, operation.command.name());
    if operation.state == OperationState::Done {
        println!("{name}: {}", escape(operation.outcome.as_deref().unwrap_or("done")));
        return Ok(ExitCode::SUCCESS);
    }
    Err(Refusal::Failed(format!("{name}: `{command}` was {}: {outcome}", operation.state.name())))
}

/// Refuses a name that neither the code nor the store knows.
pub(super) fn known(context: &Context, stored: &[GenerationStatus], projection: &str) -> Result<(), Refusal> {
    let registered = context.app.registry.definitions().iter().map(Definition::name);
    let known: Vec<&str> = registered.chain(stored.iter().map(|found| found.projection.as_str())).collect();
    if known.contains(&projection) { Ok(()) } else { Err(no_such(projection, known)) }
}

/// The live generation of the projection, or a refusal to do `what` with it.
pub(super) fn live<'a>(
    generations: &'a [GenerationStatus],
    projection: &str,
    what: &str,
) -> Result<&'a GenerationStatus, Refusal> {
    let is_live = |found: &&GenerationStatus| found.projection == projection && found.state == GenerationState::Live;
    generations.iter().find(is_live).ok_or_else(|| {
        Refusal::Failed(format!("there is nothing to {what} yet: `readcast run` builds the first generation"))
    })
}

/// The definition that built the live generation, which the code must have to make the same rows again.
pub(super) fn builder<'a>(context: &'a Context, live: &'a GenerationStatus) -> Result<&'a Definition, Refusal> {
    let name = &live.projection;
    let registry = &context.app.registry;
    let builder = registry.versions(name).find(|version| version.hash() == live.definition_hash);
    builder.ok_or_else(|| match registry.get(name).and_then(|current| changed(current, live)) {
        Some(changed) => Refusal::Failed(format!("{changed}, or the same command with the code that built it")),
        None => no_such(name, registry.definitions().iter().map(Definition::name)),
    })
}

/// That the code declares a projection otherwise than what built the tables that readers see, and what to do then.
pub(super) fn changed(current: &Definition, live: &GenerationStatus) -> Option<String> {
    let changes = declaration_changes(current, live).join("; ");
    let name = current.name();
    let told = format!("the code declares another `{name}` than the live generation: {changes}");
    (!changes.is_empty()).then(|| format!("{told}. Next: `readcast rebuild {name}`"))
}

fn interrupted_at(projection: &str, id: i64) -> Refusal {
    Refusal::Failed(format!(
        "stopped waiting; operation {id} goes on if an instance runs, or with the next one: see `readcast status`, or \
         take it back with `readcast cancel {projection}`"
    ))
}

fn halted(endings: &Outcomes) -> Refusal {
    let failed = endings.iter().filter_map(|(name, ending)| Some((name, ending.as_ref().err()?)));
    let text = failed.map(|(name, failure)| format!("{name} halted: {failure}. Next: {}", failure.disposition().1));
    Refusal::Failed(text.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeats(hash: &str, present: bool) -> InstanceHeartbeat {
        let last_seen = "2026-01-01T00:00:00Z".to_owned();
        InstanceHeartbeat { projection: "p".into(), definition_hash: hash.into(), present, last_seen }
    }

    #[test]
    fn whoever_runs_with_the_definition_carries_it_out() {
        let there = [heartbeats("new", true), heartbeats("old", false)];
        let asked = |access, hash| executor(access, &there, "p", hash);
        assert_eq!(asked(StoreAccess::AsNoted, Some("new")), Executor::Theirs);
        assert_eq!(asked(StoreAccess::AsNoted, None), Executor::Theirs);
        assert_eq!(asked(StoreAccess::Beside, Some("new")), Executor::Theirs);
    }

    #[test]
    fn where_nobody_can_we_do_unless_another_has_the_store() {
        let there = [heartbeats("new", true), heartbeats("old", false)];
        assert_eq!(executor(StoreAccess::AsNoted, &there, "p", Some("old")), Executor::Ours);
        assert_eq!(executor(StoreAccess::AsNoted, &there, "q", None), Executor::Ours);
        assert_eq!(
            executor(StoreAccess::Alone, &there, "p", Some("new")),
            Executor::Ours,
            "what it noted is out of date"
        );
        assert_eq!(executor(StoreAccess::Beside, &there, "p", Some("old")), Executor::Nobodys);
        assert_eq!(executor(StoreAccess::Beside, &[], "p", Some("old")), Executor::Theirs);
    }
}
