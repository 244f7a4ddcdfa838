//! A source whose batches come with all that their decoders need.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use readcast_core::{Timestamp, TopicPartition};

use super::Decoders;
use crate::source::{Assignment, Batch, Extents, Source, SourceError, SourceEvent, Start, Subscription};

/// Lets the decoders prepare for each batch before it is delivered. Then planning is pure and waits for nothing.
pub(crate) struct PreparedSource {
    source: Arc<dyn Source>,
    decoders: Decoders,
}

impl PreparedSource {
    /// `source`, for records that `decoders` read.
    pub(crate) fn new(source: Arc<dyn Source>, decoders: Decoders) -> Self {
        Self { source, decoders }
    }
}

#[async_trait]
impl Source for PreparedSource {
    async fn extents(&self, topics: &[&str]) -> Result<Extents, SourceError> {
        self.source.extents(topics).await
    }

    async fn cluster_id(&self) -> Result<Option<String>, SourceError> {
        self.source.cluster_id().await
    }

    async fn offsets_at(&self, topics: &[&str], at: Timestamp) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
        self.source.offsets_at(topics, at).await
    }

    async fn forms(&self, topics: &[&str]) -> Result<Vec<String>, SourceError> {
        self.source.forms(topics).await
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>, SourceError> {
        let subscription = self.source.subscribe(group, topics).await?;
        Ok(Box::new(PreparedSubscription { subscription, decoders: self.decoders.clone(), unprepared: None }))
    }

    async fn leave_groups(&self) {
        self.source.leave_groups().await;
    }
}

struct PreparedSubscription {
    subscription: Box<dyn Subscription>,
    decoders: Decoders,
    /// The batch for which the decoders are not prepared yet. It is kept here, so that neither an error nor a dropped call
    /// loses it.
    unprepared: Option<Batch>,
}

#[async_trait]
impl Subscription for PreparedSubscription {
    async fn next(&mut self) -> Result<SourceEvent, SourceError> {
        loop {
            if let Some(batch) = &self.unprepared {
                self.decoders.prepare(&batch.partition.topic, &batch.records).await?;
            }
            if let Some(batch) = self.unprepared.take() {
                return Ok(SourceEvent::Batch(batch));
            }
            match self.subscription.next().await? {
                SourceEvent::Batch(batch) => self.unprepared = Some(batch),
                other => return Ok(other),
            }
        }
    }

    async fn start(&mut self, starts: &[Start]) -> Result<(), SourceError> {
        self.subscription.start(starts).await
    }

    fn assignment(&self) -> Arc<Assignment> {
        self.subscription.assignment()
    }

    fn heartbeat_age(&self) -> Duration {
        self.subscription.heartbeat_age()
    }

    fn mirror(&mut self, next_offsets: &[(TopicPartition, i64)]) {
        self.subscription.mirror(next_offsets);
    }

    async fn close(self: Box<Self>) {
        self.subscription.close().await;
    }
}
