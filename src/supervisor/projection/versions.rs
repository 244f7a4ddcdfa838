//! The versions of a projection that this process can feed: those that it was started with, and the files with which generations
//! are stored.

use readcast_core::{Definition, Registry};

use crate::store::{GenerationStatus, Store, StoreError, superseded_file, with_stored};

/// The versions of one projection.
pub(super) struct Versions {
    /// What this process was started with.
    registered: Registry,
    /// The hashes of the generations whose files are known.
    stored: Vec<String>,
    /// The highest version: what is built now is built by it.
    current: Definition,
    all: Vec<Definition>,
}

impl Versions {
    /// `registered` has the projection of `current` alone, in all its versions.
    pub(super) fn new(registered: Registry, current: Definition) -> Self {
        let all = registered.versions(current.name()).cloned().collect();
        Self { registered, stored: Vec::new(), current, all }
    }

    pub(super) fn current(&self) -> &Definition {
        &self.current
    }

    /// All versions, the highest first.
    pub(super) fn all(&self) -> &[Definition] {
        &self.all
    }

    /// Takes the files with which generations are stored for versions, so that this process feeds what another file has built,
    /// and what instances with a newer file build.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(super) async fn learn(&mut self, statuses: &[GenerationStatus], store: &dyn Store) -> Result<(), StoreError> {
        let with_source = statuses.iter().filter(|status| status.source.is_some());
        let stored: Vec<String> = with_source.map(|status| status.definition_hash.clone()).collect();
        if stored == self.stored {
            return Ok(());
        }
        let registry = with_stored(&self.registered, statuses, store).await?;
        let name = self.current.name().to_owned();
        self.all = registry.versions(&name).cloned().collect();
        if let Some(superseded) = self.registered.get(&name).and_then(|file| superseded_file(file, &registry)) {
            tracing::warn!("{superseded}");
        }
        self.current = registry.get(&name).unwrap_or(&self.current).clone();
        self.stored = stored;
        Ok(())
    }
}
