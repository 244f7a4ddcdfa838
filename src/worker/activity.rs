//! What a lane does at this moment, for its supervisor.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What a lane does, and since when. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct LaneActivity(Arc<Mutex<Option<(String, Instant)>>>);

impl LaneActivity {
    /// Does `work`, and displays it as `what` until it ends.
    pub(super) async fn during<T>(&self, what: String, work: impl Future<Output = T>) -> T {
        self.set(Some((what, Instant::now())));
        let done = work.await;
        self.set(None);
        done
    }

    /// What the lane does, and for how long; `None` while it waits for records.
    pub fn now(&self) -> Option<(String, Duration)> {
        let activity = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        activity.as_ref().map(|(what, since)| (what.clone(), since.elapsed()))
    }

    fn set(&self, activity: Option<(String, Instant)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = activity;
    }
}
