//! Operations that take a while: requested, carried out by an instance that runs or by this process, and waited for.

mod local;
mod wait;

use readcast_core::Definition;

pub use self::local::LocalExecutor;
use self::wait::Waiting;
use super::{Control, ControlError, Executor};
use crate::store::{
    Command, Comparison, GenerationState, Operation, OperationProgress, OperationState, Rebuild, StoreError,
    with_stored,
};

/// An operation that was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestedOperation {
    /// The number that identifies the operation in the store.
    pub id: i64,
    /// Who carries it out, as things are now.
    pub executor: Executor,
}

impl Control {
    /// Requests an operation, and does not wait for it.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer.
    pub async fn request(&self, projection: &str, command: &Command) -> Result<RequestedOperation, ControlError> {
        let id = self.store.request(projection, command, &self.requested_by).await?;
        Ok(RequestedOperation { id, executor: self.executor(projection, command).await? })
    }

    async fn executor(&self, projection: &str, command: &Command) -> Result<Executor, StoreError> {
        let heartbeats = self.store.heartbeats().await?;
        Ok(Executor::of(self.access, &heartbeats, projection, command.definition_hash()))
    }

    /// Makes what `file` declares live: returns to the generation that readers saw before, if that declares the same, and
    /// builds another one if not. What was being built for an earlier content of the file is cancelled. Whatever the
    /// comparison says, the generation becomes live. Returns the operation's number; `None` where there is nothing to do, or
    /// where there is no generation yet.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer.
    pub async fn deploy(&self, file: &Definition) -> Result<Option<i64>, ControlError> {
        let name = file.name();
        if !self.store.operations(name, 0).await?.is_empty() {
            self.store.cancel(name, &self.requested_by).await?;
        }
        let generations = self.generations_of(name).await?;
        let registry = with_stored(&self.registry, &generations, &*self.store).await?;
        let Some(wanted) = registry.versions(name).find(|version| version.declares_like(file)) else { return Ok(None) };
        let of_wanted = |state: GenerationState| {
            generations.iter().any(|found| found.state == state && found.definition_hash == wanted.hash())
        };
        if generations.is_empty() || of_wanted(GenerationState::Live) {
            return Ok(None);
        }
        let rebuild =
            Rebuild { accept_difference: true, accept_type_change: true, ..Rebuild::of(wanted.hash().to_owned()) };
        let command = if of_wanted(GenerationState::Standby) { Command::Rollback } else { Command::Rebuild(rebuild) };
        Ok(Some(self.store.request(name, &command, &self.requested_by).await?))
    }

    /// The last operations on a projection that have ended, of those behind the one numbered `after`, in the order of their
    /// numbers.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer.
    pub async fn ended_after(&self, projection: &str, after: i64) -> Result<Vec<Operation>, ControlError> {
        const MOST: usize = 20;
        let mut operations = self.store.operations(projection, MOST).await?;
        operations.retain(|operation| operation.id > after && !operation.state.is_open());
        operations.sort_by_key(|operation| operation.id);
        Ok(operations)
    }

    /// Requests an operation and waits until it is done, refused or cancelled. This process carries it out as long as no
    /// instance does. `on_progress` is called a few times a second.
    ///
    /// # Errors
    /// `Refused` when the generation that it builds halts, or when `interrupted` is ready first; `Unavailable` when the
    /// store does not answer for half a minute. The operation stays open.
    pub async fn carry_out(
        &mut self,
        projection: &str,
        command: &Command,
        local: &impl LocalExecutor,
        interrupted: impl Future<Output = ()>,
        mut on_progress: impl FnMut(&OperationProgress),
    ) -> Result<Operation, ControlError> {
        let id = self.store.request(projection, command, &self.requested_by).await?;
        tokio::pin!(interrupted);
        loop {
            let executor = self.executor(projection, command).await?;
            let mut waiting = Waiting::new(&self.store, projection, id);
            if executor == Executor::ThisProcess {
                waiting.ignore_earlier_errors().await?;
            }
            let ended = async {
                tokio::select! {
                    ended = waiting.for_the_end(&mut on_progress) => ended,
                    () = &mut interrupted => Err(stopped_waiting(projection, id)),
                }
            };
            match executor {
                Executor::ThisProcess => return self.run_until(local, projection, ended).await,
                Executor::Nobody => tracing::warn!(
                    projection,
                    "the process that has locked the store runs another definition: waiting for one that runs this one"
                ),
                Executor::RunningInstance => {}
            }
            let (store, access) = tokio::select! {
                ended = ended => return ended,
                free = self.until_this_process_may(local, projection, command) => free,
            };
            (self.store, self.access) = (store, access);
        }
    }

    /// The operation that continues after records that the log has lost.
    ///
    /// # Errors
    /// `NotFound` when the code has no such projection, or when it has no live generation.
    pub async fn accept_loss_command(&self, projection: &str) -> Result<Command, ControlError> {
        self.definition(projection)?;
        self.live_generation(projection).await?;
        Ok(Command::AcceptLoss)
    }

    /// The operation that drops what readers do not see.
    ///
    /// # Errors
    /// `NotFound` when neither the code nor the store has the projection.
    pub async fn retire_command(&self, projection: &str) -> Result<Command, ControlError> {
        self.require_known(projection).await?;
        Ok(Command::Retire)
    }

    /// The operation that compares the live generation with a fresh fold of the log.
    ///
    /// # Errors
    /// `NotFound` when there is no live generation; `Conflict` when other code built it.
    pub async fn verify_command(&self, projection: &str) -> Result<Command, ControlError> {
        let live = self.live_generation(projection).await?;
        Ok(Command::Verify { definition_hash: self.builder(&live)?.hash().to_owned() })
    }

    /// How the generation that `operation` built compared with the live one, if it came to that.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer.
    pub async fn comparison(&self, operation: &Operation) -> Result<Option<Comparison>, ControlError> {
        let Some(generation) = operation.generation else { return Ok(None) };
        let generations = self.generations_of(&operation.projection).await?;
        Ok(generations.into_iter().find(|found| found.generation == generation).and_then(|found| found.proof))
    }
}

impl Operation {
    /// The outcome of an operation that has ended.
    ///
    /// # Errors
    /// `Refused` when it was refused or cancelled.
    pub fn into_outcome(self) -> Result<String, ControlError> {
        let Self { id, projection, command, state, outcome, .. } = self;
        if state == OperationState::Done {
            return Ok(outcome.unwrap_or_else(|| "done".to_owned()));
        }
        let outcome = outcome.unwrap_or_else(|| "no reason was recorded".to_owned());
        let (command, state) = (command.name(), state.name());
        Err(ControlError::refused(format!("{projection}: operation {id} (`{command}`) was {state}: {outcome}")))
    }
}

fn stopped_waiting(projection: &str, id: i64) -> ControlError {
    ControlError::refused(format!(
        "{projection}: stopped waiting; operation {id} stays open, for an instance that runs"
    ))
    .advise(format!("`readcast status {projection}`, or `readcast cancel {projection}`"))
}
