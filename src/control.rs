//! Control, between the outside and the engine: the state of every projection, and what operators do about it.
//!
//! It takes plain values and returns plain values, or a [`ControlError`]. The command line renders them; another
//! interface may render the same values. Nothing here parses arguments, prints, ends the process or reads the
//! configuration.

mod check;
mod dead_letters;
mod deployment;
mod error;
mod executor;
mod generations;
mod log_loss;
mod operations;
mod rebuild;
mod status;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeSet;
use std::sync::Arc;

use readcast_core::{Definition, Registry, TableSpec};

pub use self::check::{Check, CheckInputs, run_checks};
pub use self::dead_letters::{
    EditPreview, Export, ExportedHeader, ExportedRecord, ListFilter, ParkedDetail, ParkedSummary, ParkedTotal,
};
pub use self::deployment::{Adoption, MigratedProjection};
pub use self::error::{ControlError, ControlErrorKind};
pub use self::executor::{Executor, StoreAccess};
pub use self::generations::{PauseScope, Renamed};
pub use self::operations::{LocalExecutor, RequestedOperation};
pub use self::rebuild::{RebuildRequest, StartPosition};
pub use self::status::{PartitionStatus, Remark, RemarkKind, StatusReport, StatusTotals};
pub use self::text::progress_text;
use crate::store::{GenerationState, GenerationStatus, Peek, Store, declaration_changes, has_files, with_stored};

/// Control over the projections of one store.
pub struct Control {
    registry: Registry,
    store: Arc<dyn Store>,
    access: StoreAccess,
    /// Who asks, as `user@host`: recorded with every operation.
    requested_by: String,
}

impl Control {
    /// Control over `store` by the code that has the projections of `registry`, on behalf of `requested_by`.
    pub fn new(
        registry: Registry,
        store: Arc<dyn Store>,
        access: StoreAccess,
        requested_by: impl Into<String>,
    ) -> Self {
        Self { registry, store, access, requested_by: requested_by.into() }
    }

    /// The same with the versions that projections from files have beside the generations in the store.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer. It is not asked where all projections are code.
    pub async fn with_stored(mut self) -> Result<Self, ControlError> {
        if has_files(&self.registry) {
            self.registry = with_stored(&self.registry, &self.store.generations().await?, &*self.store).await?;
        }
        Ok(self)
    }

    /// The same on behalf of somebody else, if one is named.
    #[must_use]
    pub fn on_behalf_of(self, by: Option<String>) -> Self {
        Self { requested_by: by.unwrap_or(self.requested_by), ..self }
    }

    /// The current definition of a projection.
    ///
    /// # Errors
    /// `NotFound`, with the projections that the code has, when it has no such projection.
    pub fn definition(&self, projection: &str) -> Result<&Definition, ControlError> {
        registered(&self.registry, projection)
    }

    /// What readers see of a table: how many rows it has, and the first `rows` of them.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer.
    pub async fn peek(&self, table: &TableSpec, rows: usize) -> Result<Peek, ControlError> {
        Ok(self.store.peek(table, rows).await?)
    }

    /// Makes sure that the code or the store has the projection.
    ///
    /// # Errors
    /// `NotFound`, with the projections that there are.
    async fn require_known(&self, projection: &str) -> Result<(), ControlError> {
        let stored = self.store.generations().await?;
        self.require_in(&stored, projection)
    }

    /// The same, where `stored` holds the generations of all projections.
    fn require_in(&self, stored: &[GenerationStatus], projection: &str) -> Result<(), ControlError> {
        let names = names(&self.registry).chain(stored.iter().map(|found| found.projection.as_str()));
        let names: BTreeSet<&str> = names.collect();
        if names.contains(projection) { Ok(()) } else { Err(no_such_projection(projection, names)) }
    }

    /// What is recorded of the generations of one projection.
    async fn generations_of(&self, projection: &str) -> Result<Vec<GenerationStatus>, ControlError> {
        let mut generations = self.store.generations().await?;
        generations.retain(|found| found.projection == projection);
        Ok(generations)
    }

    /// The live generation of a projection.
    async fn live_generation(&self, projection: &str) -> Result<GenerationStatus, ControlError> {
        live_of(&self.store.generations().await?, projection).cloned()
    }

    /// The definition that built `live`. Only code that has it makes the same rows again.
    ///
    /// # Errors
    /// `Conflict` when the code has another definition of the projection only.
    fn builder<'a>(&'a self, live: &'a GenerationStatus) -> Result<&'a Definition, ControlError> {
        let name = &live.projection;
        let current = self.definition(name)?;
        let builder = self.registry.versions(name).find(|version| version.hash() == live.definition_hash);
        builder.ok_or_else(|| {
            let (message, next) = definition_change(current, live).unwrap_or_default();
            ControlError::conflict(message).advise(format!("{next}, or type this command with the code that built it"))
        })
    }
}

/// The projection with this name.
///
/// # Errors
/// `NotFound`, with the projections that the code has.
pub fn registered<'a>(registry: &'a Registry, projection: &str) -> Result<&'a Definition, ControlError> {
    registry.get(projection).ok_or_else(|| no_such_projection(projection, names(registry)))
}

fn names(registry: &Registry) -> impl Iterator<Item = &str> {
    registry.definitions().iter().map(Definition::name)
}

fn no_such_projection<'a>(projection: &str, names: impl IntoIterator<Item = &'a str>) -> ControlError {
    let names: BTreeSet<&str> = names.into_iter().collect();
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    ControlError::not_found(format!("there is no projection `{projection}`; there are: {names}"))
}

/// The live generation of a projection among those of all projections.
fn live_of<'a>(generations: &'a [GenerationStatus], projection: &str) -> Result<&'a GenerationStatus, ControlError> {
    let is_live = |found: &&GenerationStatus| found.projection == projection && found.state == GenerationState::Live;
    generations.iter().find(is_live).ok_or_else(|| {
        ControlError::not_found(format!("{projection} has no live generation yet"))
            .advise("`readcast run` builds the first one")
    })
}

/// How the code's definition of a projection differs from the one that built the live generation, and what to do about
/// it. `None` when it does not differ.
fn definition_change(current: &Definition, live: &GenerationStatus) -> Option<(String, String)> {
    let changes = declaration_changes(current, live).join("; ");
    let name = current.name();
    (!changes.is_empty()).then(|| {
        let message = format!("the code defines `{name}` differently from its live generation: {changes}");
        (message, format!("`readcast rebuild {name}`"))
    })
}
