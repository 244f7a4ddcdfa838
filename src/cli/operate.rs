//! Commands that take a while: requests an operation, shows its progress, and prints its outcome.

mod progress;

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use readcast_core::Registry;
use tokio_util::sync::CancellationToken;

pub(super) use self::progress::ProgressDisplay;
use super::run::signalled;
use super::{CommandError, Context, connect, output};
use crate::control::{Control, ControlError, ControlErrorKind, LocalExecutor};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::store::{Command, Operation, Store};
use crate::supervisor::{self, Outcomes, RunProgress, Shared};
use crate::text::escape;

/// Carries out an operation, here if no instance does, and prints its outcome.
pub(super) async fn operate(
    context: &Context,
    mut control: Control,
    projection: &str,
    command: &Command,
) -> Result<ExitCode, CommandError> {
    let operation = carry_out(context, &mut control, projection, command).await?;
    conclude(operation)
}

/// Carries out an operation, in this process if no instance does, and shows its progress until it ends.
pub(super) async fn carry_out(
    context: &Context,
    control: &mut Control,
    projection: &str,
    command: &Command,
) -> Result<Operation, CommandError> {
    let mut display = ProgressDisplay::new(projection);
    let interrupted = signalled()?;
    let shown = |progress: &_| display.show(progress);
    Ok(control.carry_out(projection, command, context, interrupted, shown).await?)
}

/// Prints the outcome of an operation.
pub(super) fn conclude(operation: Operation) -> Result<ExitCode, CommandError> {
    let projection = operation.projection.clone();
    let outcome = operation.into_outcome()?;
    output::line(format_args!("{projection}: {}", escape(&outcome)))?;
    Ok(ExitCode::SUCCESS)
}

#[async_trait]
impl LocalExecutor for Context {
    async fn run(
        &self,
        registry: Registry,
        store: Arc<dyn Store>,
        stop: CancellationToken,
    ) -> Result<Outcomes, ControlError> {
        let unavailable = |error: CommandError| ControlError::new(ControlErrorKind::Unavailable, error.to_string());
        let metrics = Metrics::new();
        let shared = Shared {
            source: connect::source(self).await.map_err(unavailable)?,
            store,
            health: Health::new(&metrics, registry.definitions().iter().map(|definition| definition.name())),
            metrics,
            deployment: connect::deployment(self).map_err(unavailable)?,
            instance: connect::instance(self),
            dead_letter_sink: None,
            run_progress: RunProgress::default(),
            stop,
        };
        let options = |name: &str| connect::options(self, name, false);
        Ok(supervisor::run(&registry, options, shared, self.config.projector.drain).await)
    }

    async fn lock_store(&self) -> Option<Arc<dyn Store>> {
        connect::lock_store(self).await
    }
}
