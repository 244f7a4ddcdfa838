//! Whose database it is, and which tables it has.

use serde::Serialize;

use super::{Control, ControlError, StoreAccess, definition_change, live_of};
use crate::source::Source;
use crate::store::Deployment;

/// A change of the deployment that a database belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adoption {
    /// The deployment that is recorded, if one is.
    pub recorded: Option<Deployment>,
    /// The one that takes its place.
    pub ours: Deployment,
}

/// A projection whose tables exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MigratedProjection {
    /// The name of the projection.
    pub projection: String,
    /// The generation that readers see.
    pub live_generation: i32,
    /// The stable names of its tables.
    pub tables: Vec<String>,
    /// How the code differs from the definition that built the live generation, and what to do about it.
    pub definition_change: Option<String>,
}

impl Control {
    /// Makes sure that the database is that of `ours`.
    ///
    /// # Errors
    /// `Conflict` when it belongs to another deployment.
    pub async fn check_deployment(&self, ours: &Deployment) -> Result<(), ControlError> {
        let recorded = self.store.deployment().await?;
        Ok(ours.is_that_of(recorded.as_ref())?)
    }

    /// Prepares the store for operations: brings readcast's own tables up to date, and checks whose database it is. A
    /// store that another process has locked is left as it is, for that process has done both.
    ///
    /// # Errors
    /// `Conflict` when the database belongs to another deployment.
    pub async fn prepare(&self, ours: &Deployment) -> Result<(), ControlError> {
        if self.access == StoreAccess::LockedByAnother {
            return Ok(());
        }
        self.store.migrate().await?;
        self.check_deployment(ours).await
    }

    /// Creates readcast's own tables and the first generation of each projection, if they are missing.
    ///
    /// # Errors
    /// `Refused` when the name of a table is taken.
    pub async fn migrate(&self) -> Result<Vec<MigratedProjection>, ControlError> {
        self.store.migrate().await?;
        for definition in self.registry.definitions() {
            self.store.prepare(definition).await?;
        }
        let generations = self.store.generations().await?;
        let migrated = self.registry.definitions().iter().map(|definition| {
            let live = live_of(&generations, definition.name())?;
            Ok(MigratedProjection {
                projection: definition.name().to_owned(),
                live_generation: live.generation.0,
                tables: live.tables.iter().map(|table| table.name().to_owned()).collect(),
                definition_change: definition_change(definition, live)
                    .map(|(message, next)| format!("{message}. Next: {next}")),
            })
        });
        migrated.collect()
    }

    /// What [`Control::adopt`] would change. `configured` is the deployment according to the configuration.
    ///
    /// # Errors
    /// `Unavailable` when store or log do not answer.
    pub async fn plan_adoption(&self, source: &dyn Source, configured: Deployment) -> Result<Adoption, ControlError> {
        let cluster_id = source.cluster_id().await?;
        let recorded = self.store.deployment().await?;
        Ok(Adoption { recorded, ours: Deployment { cluster_id, ..configured } })
    }

    /// Records `ours` as the deployment that the database belongs to.
    ///
    /// # Errors
    /// `Conflict` while instances run.
    pub async fn adopt(&self, ours: &Deployment) -> Result<(), ControlError> {
        self.store.migrate().await?;
        Ok(self.store.deploy(ours, true).await?)
    }
}
