//! Events without an identity: the lanes count them, and the feed reports the count to the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::{FeedContext, QUESTION_TIMEOUT};

/// The minimum time between two reports to the store.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// The events without an identity that the store does not know of.
#[derive(Debug, Default)]
pub(super) struct Unidentified {
    count: Arc<AtomicU64>,
    warned: bool,
    reported_at: Option<Instant>,
}

impl Unidentified {
    /// The counter that the lanes increment.
    pub(super) fn counter(&self) -> &Arc<AtomicU64> {
        &self.count
    }

    /// Reports the count, at most once every [`REPORT_INTERVAL`].
    pub(super) async fn report(&mut self, context: &FeedContext) {
        if self.reported_at.is_none_or(|reported_at| reported_at.elapsed() >= REPORT_INTERVAL) {
            self.flush(context).await;
        }
    }

    /// Reports the count now. A count that the store does not take is reported the next time.
    pub(super) async fn flush(&mut self, context: &FeedContext) {
        let count = self.count.swap(0, Ordering::Relaxed);
        if count == 0 {
            return;
        }
        self.reported_at = Some(Instant::now());
        let FeedContext { feed, options, shared, instance, .. } = context;
        let notice = options.record_policy.identity.notice(count);
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(next = notice.next, "{}", notice.text);
        }
        let noted = shared.store.record_notice(feed.name(), feed.generation, instance, &notice);
        if !matches!(tokio::time::timeout(QUESTION_TIMEOUT, noted).await, Ok(Ok(()))) {
            self.count.fetch_add(count, Ordering::Relaxed);
        }
    }
}
