//! The room for records that were polled and not taken yet.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A bound in bytes between the polling thread and whoever takes its records.
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

    /// Takes room for records that are already here. May go over the limit, by what one poll gave.
    pub(super) fn take(&self, bytes: usize) {
        self.lock().used += bytes;
    }

    /// Gives back the room of records that were taken on.
    pub(super) fn give_back(&self, bytes: usize) {
        let mut state = self.lock();
        state.used = state.used.saturating_sub(bytes);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits up to `patience` until there is room for more, and says whether there is.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let full = |state: &mut State| state.used >= self.limit && !state.closed;
        let waited = self.changed.wait_timeout_while(self.lock(), patience, full);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !full(&mut state)
    }

    /// Nobody takes records any more.
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
