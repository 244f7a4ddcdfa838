//! The memory that records between the source and their commit may take.

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::source::Batch;

/// A bound in bytes. Each batch holds a permit from its delivery to a lane until its commit.
pub(super) struct MemoryBudget {
    permits: Arc<Semaphore>,
    bytes: usize,
}

impl MemoryBudget {
    /// At most `bytes`, and at least room for one batch at a time.
    pub(super) fn new(bytes: usize) -> Self {
        // Permits count bytes, and the semaphore's own limit is far above any sensible bound.
        let bytes = bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self { permits: Arc::new(Semaphore::new(bytes)), bytes }
    }

    /// What `batch` takes of the budget. A batch larger than all of it waits until no other is there.
    pub(super) fn cost(&self, batch: &Batch) -> u32 {
        u32::try_from(batch.bytes().min(self.bytes)).unwrap_or(u32::MAX)
    }

    /// Waits until the budget has room for `cost`.
    pub(super) fn acquire(
        &self,
        cost: u32,
    ) -> impl Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + use<> {
        self.permits.clone().acquire_many_owned(cost)
    }

    /// How many bytes are taken.
    pub(super) fn used(&self) -> usize {
        self.bytes - self.permits.available_permits()
    }
}
