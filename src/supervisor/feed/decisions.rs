//! Follows operators' decisions in a generation that readers do not see.

use std::collections::BTreeSet;
use std::time::Duration;

use readcast_core::Position;
use tokio::time::Instant;

use super::FeedContext;
use crate::operations::{FollowedGeneration, follow_decisions};
use crate::store::ParkedIn;

/// How often the store is asked for decisions.
const INTERVAL: Duration = Duration::from_secs(5);

/// The decisions that this feed has tried to follow.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    tried: BTreeSet<Position>,
    asked_at: Option<Instant>,
}

impl Decisions {
    /// Follows what is open, at most once every [`INTERVAL`]. A failure has no consequence: it is tried again.
    pub(super) async fn follow(&mut self, context: &FeedContext) {
        let FeedContext { feed, options, shared, .. } = context;
        if feed.is_live() || self.asked_at.is_some_and(|asked_at| asked_at.elapsed() < INTERVAL) {
            return;
        }
        self.asked_at = Some(Instant::now());
        let generation = FollowedGeneration {
            of: ParkedIn { projection: feed.name(), generation: feed.generation },
            definition: &feed.definition,
            allowed: feed.allowed,
            record_policy: &options.record_policy,
        };
        if let Err(failure) = follow_decisions(&*shared.store, &generation, &mut self.tried).await {
            tracing::debug!("operators' decisions were not followed: {failure}");
        }
    }
}
