//! The heartbeat of the polling thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time of the last heartbeat, readable from any thread.
pub(super) struct Heartbeat {
    created: Instant,
    /// Milliseconds after `created`.
    last: AtomicU64,
}

impl Heartbeat {
    pub(super) fn new() -> Self {
        Self { created: Instant::now(), last: AtomicU64::new(0) }
    }

    /// Records a heartbeat now.
    pub(super) fn beat(&self) {
        self.last.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    /// The time since the last heartbeat.
    pub(super) fn age(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms().saturating_sub(self.last.load(Ordering::Relaxed)))
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
