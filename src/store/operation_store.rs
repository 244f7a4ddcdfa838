//! What operators ask for, and who carries it out.

use async_trait::async_trait;

use super::{Chore, Command, Leadership, Operation, StoreError};

/// Records operations, and gives out the rights to carry them out.
#[async_trait]
pub trait OperationStore: Send + Sync {
    /// Asks for an operation, and returns its number: that of the open one, if the same is open already.
    async fn request(&self, projection: &str, command: &Command, by: &str) -> Result<i64, StoreError>;

    /// The operations on a projection, by number: those that are open, and the last `finished` of the others. Empty before
    /// the first migration.
    async fn operations(&self, projection: &str, finished: usize) -> Result<Vec<Operation>, StoreError>;

    /// Pauses the generations of a projection, or resumes them; with `building`, only those that are being built. How many
    /// generations changed.
    async fn pause(&self, projection: &str, paused: bool, building: bool, by: &str) -> Result<u64, StoreError>;

    /// Cancels every open operation on the projection, and gives up the generations that are building or ready. How many
    /// operations and generations that were.
    async fn cancel(&self, projection: &str, by: &str) -> Result<u64, StoreError>;

    /// Gives a projection another name, with its generations, checkpoints and operations.
    ///
    /// # Errors
    /// Refused when the new name has generations already, or the old one has none.
    async fn rename(&self, from: &str, to: &str, by: &str) -> Result<(), StoreError>;

    /// The right to do a chore for a projection, which one instance has at a time, beside the instance that leads.
    /// `None` while another instance has it. Of the steps of a [`Leadership`] it is for [`Leadership::end_overdue`] and
    /// [`Leadership::drop_tables`].
    async fn chore(&self, projection: &str, chore: Chore) -> Result<Option<Box<dyn Leadership>>, StoreError>;

    /// The right to change the generations of a projection, which one instance has at a time. `None` while another instance
    /// has it. It ends when the value is dropped, or its process dies.
    async fn try_lead(&self, projection: &str) -> Result<Option<Box<dyn Leadership>>, StoreError>;
}
