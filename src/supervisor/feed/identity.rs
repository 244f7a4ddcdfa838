//! Events without an identity: the lanes count them, and the feed tells of them now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::{Feed, TICK};
use crate::supervisor::{Options, Shared};

/// How often the store is told at most.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// How many events without an identity the store has not been told of.
#[derive(Debug, Default)]
pub(super) struct Unidentified {
    count: Arc<AtomicU64>,
    warned: bool,
    told_at: Option<Instant>,
}

impl Unidentified {
    /// Where lanes count.
    pub(super) fn counter(&self) -> Arc<AtomicU64> {
        self.count.clone()
    }

    /// Tells of what was counted, unless that was done a moment ago.
    pub(super) async fn tell(&mut self, feed: &Feed, options: &Options, shared: &Shared) {
        if self.told_at.is_none_or(|told_at| told_at.elapsed() >= TELL_EVERY) {
            self.tell_now(feed, options, shared).await;
        }
    }

    /// Tells of what was counted. What can't be told now is told the next time.
    pub(super) async fn tell_now(&mut self, feed: &Feed, options: &Options, shared: &Shared) {
        let count = self.count.swap(0, Ordering::Relaxed);
        if count == 0 {
            return;
        }
        self.told_at = Some(Instant::now());
        let notice = options.record_policy.identity.notice(count);
        if !std::mem::replace(&mut self.warned, true) {
            let (projection, generation, next) = (feed.name(), feed.generation.0, &notice.next);
            tracing::warn!(projection, generation, next, "{}", notice.text);
        }
        let instance = options.instance();
        let noted = shared.store.record_notice(feed.name(), feed.generation, &instance, &notice);
        if !matches!(tokio::time::timeout(TICK, noted).await, Ok(Ok(()))) {
            self.count.fetch_add(count, Ordering::Relaxed);
        }
    }
}
