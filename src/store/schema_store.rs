//! The tables: readcast's own and the read tables.

use async_trait::async_trait;
use readcast_core::Definition;

use super::{Dependent, Deployment, Generation, GenerationStatus, StoreError, SwapImpact, UserAddition};

/// Creates tables, and compares the tables in the database with their declarations.
#[async_trait]
pub trait SchemaStore: Send + Sync {
    /// Creates readcast's own tables, or brings them up to date.
    async fn migrate(&self) -> Result<(), StoreError>;

    /// Creates the first generation of a projection as `definition` declares it, unless it has a live one.
    ///
    /// # Errors
    /// [`StoreError::Definition`] if the name of a table is taken; then nothing is created.
    async fn prepare(&self, definition: &Definition) -> Result<(), StoreError>;

    /// The differences between the tables of a generation and `definition`, which built it, and between the live
    /// generation's stable names and the views that readcast created: a sentence for each alteration.
    async fn alterations(&self, definition: &Definition, generation: Generation) -> Result<Vec<String>, StoreError>;

    /// The reasons why [`SchemaStore::prepare`] would refuse to create the tables of `definition`: a sentence for each
    /// name that is taken.
    async fn name_conflicts(&self, definition: &Definition) -> Result<Vec<String>, StoreError>;

    /// The deployment that the database belongs to. `None` before the first one ran.
    async fn deployment(&self) -> Result<Option<Deployment>, StoreError>;

    /// Records that the database belongs to `ours`, and moves the stable names to its schema. With `adopt`, `ours` may
    /// replace another deployment of which no instance runs.
    ///
    /// # Errors
    /// [`StoreError::Deployment`] if the database belongs to another deployment.
    async fn deploy(&self, ours: &Deployment, adopt: bool) -> Result<(), StoreError>;

    /// The effect of replacing the live tables by those of `next`.
    async fn swap_impact(&self, live: &GenerationStatus, next: &Definition) -> Result<SwapImpact, StoreError>;

    /// The objects that users added to the live tables and their stable names, and the effect of a swap to the tables
    /// of `next` on them.
    async fn additions(&self, live: &GenerationStatus, next: &Definition) -> Result<Vec<UserAddition>, StoreError>;

    /// The objects of users that depend on the tables of a generation or read them. An object precedes the objects that
    /// it depends on.
    async fn dependents(&self, of: &GenerationStatus) -> Result<Vec<Dependent>, StoreError>;
}
