//! Limits the bytes of records that were polled but not taken by the subscription yet.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A budget in bytes that the polling thread reserves and the subscription releases.
pub(super) struct ByteBudget {
    limit: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    used: usize,
    closed: bool,
}

impl ByteBudget {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Reserves bytes for records that were polled already. May exceed the limit by the records of one poll.
    pub(super) fn take(&self, bytes: usize) {
        self.lock().used += bytes;
    }

    /// Releases the bytes of records that the subscription took.
    pub(super) fn release(&self, bytes: usize) {
        let mut state = self.lock();
        state.used = state.used.saturating_sub(bytes);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until less than the limit is reserved, for `patience` at most. Returns whether that is so.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let full = |state: &mut State| state.used >= self.limit && !state.closed;
        let waited = self.changed.wait_timeout_while(self.lock(), patience, full);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !full(&mut state)
    }

    /// Closes the budget: the subscription takes no more records.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
