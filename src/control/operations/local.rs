//! This process carries out operations itself: it runs their projection for as long as they take.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use readcast_core::Registry;
use tokio_util::sync::CancellationToken;

use crate::control::{Control, ControlError, Executor, StoreAccess};
use crate::store::{Command, Operation, Store};
use crate::supervisor::Outcomes;

/// How often is checked whether this process may carry out an operation that waits for another process.
const RECHECK_INTERVAL: Duration = Duration::from_secs(3);
/// How long after the end of the run the store may take to show how the operation ended.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(1);

/// How this process runs projections and gets hold of the store, if it has to carry out an operation.
#[async_trait]
pub trait LocalExecutor: Sync {
    /// Runs the projections of `registry` until all have ended or `stop` is cancelled.
    async fn run(
        &self,
        registry: Registry,
        store: Arc<dyn Store>,
        stop: CancellationToken,
    ) -> Result<Outcomes, ControlError>;

    /// Locks the store for this process. `None` while another process has locked it, and where stores are not locked.
    async fn lock_store(&self) -> Option<Arc<dyn Store>>;
}

impl Control {
    /// Runs the projection until `ended` is ready.
    pub(super) async fn run_until(
        &self,
        local: &impl LocalExecutor,
        projection: &str,
        ended: impl Future<Output = Result<Operation, ControlError>>,
    ) -> Result<Operation, ControlError> {
        if self.registry.get(projection).is_none() {
            let message = format!("no running instance has `{projection}`, and this code does not have it either");
            return Err(ControlError::conflict(message).advise("start an instance that has it: it takes the operation"));
        }
        let stop = CancellationToken::new();
        let running = local.run(self.registry.only(&[projection.to_owned()]), self.store.clone(), stop.clone());
        tokio::pin!(running, ended);
        tokio::select! {
            ended = &mut ended => {
                stop.cancel();
                running.await?;
                ended
            }
            endings = &mut running => {
                let endings = endings?;
                // The run has halted. The store mostly shows why, and with more of the reason.
                let ended = tokio::time::timeout(OUTCOME_TIMEOUT, ended).await;
                ended.unwrap_or_else(|_| Err(first_failure(projection, &endings)))
            }
        }
    }

    /// Returns when this process may carry out the operation, with the store as it has it then.
    pub(super) async fn until_this_process_may(
        &self,
        local: &impl LocalExecutor,
        projection: &str,
        command: &Command,
    ) -> (Arc<dyn Store>, StoreAccess) {
        let (mut store, mut access) = (self.store.clone(), self.access);
        loop {
            tokio::time::sleep(RECHECK_INTERVAL).await;
            if access == StoreAccess::LockedByAnother
                && let Some(locked) = local.lock_store().await
            {
                (store, access) = (locked, StoreAccess::Exclusive);
            }
            // A store that does not answer says nothing about the instances.
            let Ok(heartbeats) = store.heartbeats().await else { continue };
            if Executor::of(access, &heartbeats, projection, command.definition_hash()) == Executor::ThisProcess {
                return (store, access);
            }
        }
    }
}

fn first_failure(projection: &str, endings: &Outcomes) -> ControlError {
    let mut failures = endings.iter().filter_map(|(name, ending)| Some((name, ending.as_ref().err()?)));
    match failures.next() {
        Some((name, failure)) => ControlError::halted(name, failure),
        None => ControlError::refused(format!("{projection} ended before the operation did")),
    }
}
