//! Operations that operators request, and the rights to carry them out.

use async_trait::async_trait;

use super::{Chore, Command, Leadership, Operation, StoreError};

/// Records operations and grants the rights to carry them out.
#[async_trait]
pub trait OperationStore: Send + Sync {
    /// Requests an operation and returns its number. If the same operation is open already, returns that one's number.
    async fn request(&self, projection: &str, command: &Command, by: &str) -> Result<i64, StoreError>;

    /// The operations on a projection, by number: all open ones and the last `finished` others. Empty before the first
    /// migration.
    async fn operations(&self, projection: &str, finished: usize) -> Result<Vec<Operation>, StoreError>;

    /// Pauses the generations of a projection, or resumes them; with `building`, only those that are being built.
    /// Returns the number of generations that changed.
    async fn pause(&self, projection: &str, paused: bool, building: bool, by: &str) -> Result<u64, StoreError>;

    /// Cancels every open operation on the projection and abandons the generations that are building or ready. Returns
    /// the number of operations and generations.
    async fn cancel(&self, projection: &str, by: &str) -> Result<u64, StoreError>;

    /// Renames a projection, with its generations, checkpoints and operations.
    ///
    /// # Errors
    /// Refused if the new name has generations already, or the old one has none.
    async fn rename(&self, from: &str, to: &str, by: &str) -> Result<(), StoreError>;

    /// Takes the right to do a chore for a projection. One instance has this right at a time, in parallel with the
    /// leader. `None` if another instance has it. The chore may use the steps [`Leadership::end_overdue`] and
    /// [`Leadership::drop_tables`].
    async fn chore(&self, projection: &str, chore: Chore) -> Result<Option<Box<dyn Leadership>>, StoreError>;

    /// Takes the right to change the generations of a projection. One instance has this right at a time. `None` if
    /// another instance has it. It ends when the value is dropped or the process dies.
    async fn try_lead(&self, projection: &str) -> Result<Option<Box<dyn Leadership>>, StoreError>;
}
