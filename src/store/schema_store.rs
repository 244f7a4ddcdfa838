//! Tables: readcast's own and those that readers see.

use async_trait::async_trait;
use readcast_core::Definition;

use super::{Dependent, Deployment, Generation, GenerationStatus, StoreError, SwapImpact, UserAddition};

/// Creates tables, and compares what stands in the database with what was declared.
#[async_trait]
pub trait SchemaStore: Send + Sync {
    /// Creates readcast's own tables, or brings them up to date.
    async fn migrate(&self) -> Result<(), StoreError>;

    /// Creates the first generation of a projection as `definition` declares it, unless there is a live one.
    ///
    /// # Errors
    /// [`StoreError::Definition`] when the name of a table is taken; nothing is created then.
    async fn prepare(&self, definition: &Definition) -> Result<(), StoreError>;

    /// How the tables of a generation differ from `definition`, which built it, and how the live generation's stable names
    /// differ from the views that readcast made: a sentence for each thing that somebody altered.
    async fn alterations(&self, definition: &Definition, generation: Generation) -> Result<Vec<String>, StoreError>;

    /// Why [`SchemaStore::prepare`] would refuse to create the tables of `definition`: a sentence for each name that is
    /// taken.
    async fn name_conflicts(&self, definition: &Definition) -> Result<Vec<String>, StoreError>;

    /// The deployment that the database belongs to; `None` before the first one ran.
    async fn deployment(&self) -> Result<Option<Deployment>, StoreError>;

    /// Records that `ours` runs in this database from now on. The stable names move to its schema. With `adopt`, it replaces
    /// another deployment, of which no instance may run.
    ///
    /// # Errors
    /// [`StoreError::Deployment`] when the database belongs to another deployment.
    async fn deploy(&self, ours: &Deployment, adopt: bool) -> Result<(), StoreError>;

    /// What replacing the live tables by those of `next` would meet.
    async fn swap_impact(&self, live: &GenerationStatus, next: &Definition) -> Result<SwapImpact, StoreError>;

    /// What users added to the live tables and to their stable names, and what becomes of it in a swap to the tables of
    /// `next`.
    async fn additions(&self, live: &GenerationStatus, next: &Definition) -> Result<Vec<UserAddition>, StoreError>;

    /// Objects of users that depend on the tables of a generation, or read them. Those that depend on others come first.
    async fn dependents(&self, of: &GenerationStatus) -> Result<Vec<Dependent>, StoreError>;
}
