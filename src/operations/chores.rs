//! Chores: work without a command, which never delays an operation.
//!
//! Each chore is a task of its own, for one round at a time, with a lock of its own: one instance does it, and the others
//! look again later. A failure becomes a [`Notice`] where an operator can do something about it, and is tried again after
//! waits that grow, for each generation separately: one that can't be done delays no other.

mod attempts;
mod dead_letter_copier;
mod table_dropper;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::Span;

pub use self::dead_letter_copier::DeadLetterCopier;
pub use self::table_dropper::TableDropper;
use crate::store::{Chore, Generation, Leadership, Notice, NoticeKind, Store, StoreError};

/// The projection for which chores are done, and the instance that does them.
#[derive(Clone)]
pub struct ChoreContext {
    /// The database of the projection.
    pub store: Arc<dyn Store>,
    /// The projection's name.
    pub projection: String,
    /// The id of this instance in the store.
    pub instance: String,
    /// The seed of random waits.
    pub seed: u64,
    /// Ends the round that is under way.
    pub stop: CancellationToken,
}

impl ChoreContext {
    async fn note(&self, generation: Generation, notice: &Notice) -> Result<(), StoreError> {
        self.store.record_notice(&self.projection, generation, &self.instance, notice).await
    }

    async fn withdraw(&self, generation: Generation, kind: NoticeKind) -> Result<(), StoreError> {
        self.store.clear_notice(&self.projection, generation, kind, "").await
    }

    /// The lock of a chore. `None` while another instance has it.
    async fn lock(&self, chore: Chore) -> Result<Option<Box<dyn Leadership>>, StoreError> {
        self.store.chore(&self.projection, chore).await
    }

    /// The span of a round. Of level error, so that no filter takes its fields from a line that it lets through.
    fn span(&self, chore: &'static str) -> Span {
        tracing::error_span!("chore", projection = self.projection, chore)
    }
}
