//! What takes effect at once: pause, resume, cancel and rename. Each is one transaction of the store.

use super::{Control, ControlError};
use crate::store::has_running_instance;

/// Which generations of a projection are paused or resumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PauseScope {
    /// All of them: readers see no new events.
    #[default]
    Projection,
    /// Those that a rebuild builds: readers notice nothing.
    Rebuild,
}

/// What a rename has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// An instance still runs the projection under its old name. It has to be restarted with code that has the new one.
    pub runs_under_old_name: bool,
}

impl Control {
    /// Stops feeding the generations in `scope`. Returns how many were not paused before.
    ///
    /// # Errors
    /// `NotFound` when neither the code nor the store has the projection.
    pub async fn pause(&self, projection: &str, scope: PauseScope) -> Result<u64, ControlError> {
        self.set_paused(projection, scope, true).await
    }

    /// Feeds the generations in `scope` again. Returns how many were paused before.
    ///
    /// # Errors
    /// `NotFound` when neither the code nor the store has the projection.
    pub async fn resume(&self, projection: &str, scope: PauseScope) -> Result<u64, ControlError> {
        self.set_paused(projection, scope, false).await
    }

    async fn set_paused(&self, projection: &str, scope: PauseScope, paused: bool) -> Result<u64, ControlError> {
        self.require_known(projection).await?;
        let rebuild_only = scope == PauseScope::Rebuild;
        Ok(self.store.pause(projection, paused, rebuild_only, &self.requested_by).await?)
    }

    /// Cancels every open operation on the projection, and abandons what is building or ready. Returns how many
    /// operations and generations that were.
    ///
    /// # Errors
    /// `NotFound` when neither the code nor the store has the projection.
    pub async fn cancel(&self, projection: &str) -> Result<u64, ControlError> {
        self.require_known(projection).await?;
        Ok(self.store.cancel(projection, &self.requested_by).await?)
    }

    /// Moves the generations, checkpoints and operations of the projection `old` to the name `new`.
    ///
    /// # Errors
    /// `NotFound` when neither the code nor the store has `old`; `Refused` when `new` has generations already.
    pub async fn rename(&self, old: &str, new: &str) -> Result<Renamed, ControlError> {
        self.require_known(old).await?;
        self.store.rename(old, new, &self.requested_by).await?;
        let heartbeats = self.store.heartbeats().await?;
        Ok(Renamed { runs_under_old_name: has_running_instance(&heartbeats, old, None) })
    }
}
