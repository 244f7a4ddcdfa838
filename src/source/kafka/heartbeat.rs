//! The sign of life that the polling thread gives.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When the thread was last seen.
pub(super) struct Heartbeat {
    born: Instant,
    /// In milliseconds after `born`.
    last: AtomicU64,
}

impl Heartbeat {
    pub(super) fn new() -> Self {
        Self { born: Instant::now(), last: AtomicU64::new(0) }
    }

    /// The thread is alive.
    pub(super) fn beat(&self) {
        self.last.store(self.age(), Ordering::Relaxed);
    }

    /// How long ago it last was.
    pub(super) fn since(&self) -> Duration {
        Duration::from_millis(self.age().saturating_sub(self.last.load(Ordering::Relaxed)))
    }

    fn age(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
