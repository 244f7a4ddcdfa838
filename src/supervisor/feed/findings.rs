//! What lanes find in events that stops nothing: the feed logs it once, and reports it to the store as notices.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{FeedContext, QUESTION_TIMEOUT};
use crate::plan::UnhandledTypes;
use crate::store::{Notice, NoticeKind};
use crate::worker::{EventFindings, Found};

/// The minimum time between two reports to the store.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Findings that the store does not know of.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: Arc<EventFindings>,
    /// What the log has already.
    logged: BTreeSet<(NoticeKind, String)>,
    reported_at: Option<Instant>,
}

impl Findings {
    /// Where lanes leave what they find.
    pub(super) fn found(&self) -> &Arc<EventFindings> {
        &self.found
    }

    /// Reports what there is, at most once every [`REPORT_INTERVAL`].
    pub(super) async fn report(&mut self, context: &FeedContext) {
        if self.reported_at.is_none_or(|reported_at| reported_at.elapsed() >= REPORT_INTERVAL) {
            self.flush(context).await;
        }
    }

    /// Reports what there is now. What the store does not take is reported the next time.
    pub(super) async fn flush(&mut self, context: &FeedContext) {
        let Found { unidentified, mut unhandled } = self.found.take();
        // A generation that nobody reads replays what the live one has counted.
        if !context.feed.is_live() {
            unhandled = UnhandledTypes::default();
        }
        let mut left = Found::default();
        if unidentified > 0 && !self.note(context, &context.options.record_policy.identity.notice(unidentified)).await {
            left.unidentified = unidentified;
        }
        for notice in unhandled.notices() {
            if !self.note(context, &notice).await {
                // Those that the store has taken are counted again, which is better than not at all.
                left.unhandled = unhandled;
                break;
            }
        }
        self.found.put_back(left);
    }

    /// Whether the store has taken the notice.
    async fn note(&mut self, context: &FeedContext, notice: &Notice) -> bool {
        self.reported_at = Some(Instant::now());
        let FeedContext { feed, shared, instance, .. } = context;
        if self.logged.insert((notice.kind, notice.subject.clone())) {
            tracing::warn!(next = notice.next, "{}", notice.text);
        }
        let noted = shared.store.record_notice(feed.name(), feed.generation, instance, notice);
        matches!(tokio::time::timeout(QUESTION_TIMEOUT, noted).await, Ok(Ok(())))
    }
}
