//! Our side of the consumer group.
//!
//! Partitions that the group gives us are announced, and assigned to the consumer only once their checkpoints are known
//! ([`Member::start`]): each exactly once and at the right offset, with no seek, and without waiting for the database
//! in a callback. librdkafka waits with its next step of the rebalance until then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use readcast_core::TopicPartition;
use tokio::sync::mpsc::UnboundedSender;

use super::Topics;
use super::log::ToTracing;
use crate::source::{Assignment, SourceError, SourceEvent, Start};

/// What one member of the group knows of its partitions.
pub(super) struct Member {
    topics: Topics,
    assignment: Arc<Assignment>,
    /// Ours, but not started yet. Its lock is held across every call that assigns, so that a start and a revocation
    /// can't cross.
    waiting: Mutex<BTreeSet<TopicPartition>>,
    /// Where each was started.
    started: Mutex<BTreeMap<TopicPartition, i64>>,
    /// Counts the rebalances.
    rebalances: AtomicU64,
    events: UnboundedSender<Result<SourceEvent, SourceError>>,
}

impl Member {
    pub(super) fn new(
        topics: Topics,
        assignment: Arc<Assignment>,
        events: UnboundedSender<Result<SourceEvent, SourceError>>,
    ) -> Self {
        Self {
            topics,
            assignment,
            waiting: Mutex::default(),
            started: Mutex::default(),
            rebalances: AtomicU64::new(0),
            events,
        }
    }

    /// Assigns the partitions to the consumer, each at its offset, as far as they still wait for it.
    pub(super) fn start(&self, consumer: &BaseConsumer<Self>, starts: &[Start]) -> KafkaResult<()> {
        let mut waiting = self.waiting();
        let starts = starts.iter().filter(|start| waiting.contains(&start.partition));
        let starts: Vec<_> = starts.map(|start| (start.partition.clone(), start.next_offset)).collect();
        if starts.is_empty() {
            return Ok(());
        }
        self.started().extend(starts.iter().cloned());
        consumer.incremental_assign(&self.topics.offsets(&starts))?;
        waiting.retain(|partition| !starts.iter().any(|(started, _)| started == partition));
        Ok(())
    }

    fn assigned(&self, consumer: &BaseConsumer<Self>, partitions: Vec<TopicPartition>) -> KafkaResult<()> {
        if partitions.is_empty() {
            // Nothing to wait for: the rebalance goes on.
            return consumer.incremental_assign(&TopicPartitionList::new());
        }
        self.waiting().extend(partitions.iter().cloned());
        self.assignment.add(&partitions);
        self.announce(SourceEvent::Assigned(partitions));
        Ok(())
    }

    fn revoked(&self, consumer: &BaseConsumer<Self>, partitions: Vec<TopicPartition>) -> KafkaResult<()> {
        self.assignment.remove(&partitions);
        let lost = consumer.assignment_lost();
        let mut waiting = self.waiting();
        let never_started: Vec<_> = partitions
            .iter()
            .filter(|partition| waiting.remove(partition))
            .map(|partition| (partition.clone(), 0))
            .collect();
        // What was never assigned to the consumer can't be taken from it: librdkafka would refuse, and wait for good.
        if !never_started.is_empty() {
            consumer.incremental_assign(&self.topics.offsets(&never_started))?;
        }
        let list: Vec<_> = partitions.iter().map(|partition| (partition.clone(), 0)).collect();
        let unassigned = consumer.incremental_unassign(&self.topics.offsets(&list));
        self.announce(if lost { SourceEvent::Lost(partitions) } else { SourceEvent::Revoked(partitions) });
        unassigned
    }

    /// Where the partition was last started.
    pub(super) fn started_at(&self, partition: &TopicPartition) -> Option<i64> {
        self.started().get(partition).copied()
    }

    /// How many rebalances there have been. Records polled before and after one must not share a batch.
    pub(super) fn rebalances(&self) -> u64 {
        self.rebalances.load(Ordering::SeqCst)
    }

    fn started(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, i64>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, event: SourceEvent) {
        // Nobody listens any more while the subscription is being closed.
        let _ = self.events.send(Ok(event));
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeSet<TopicPartition>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConsumerContext for Member {
    /// Instead of the binding's own, which assigns at once and ignores errors.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: Vec<_> =
            list.elements().iter().map(|element| self.topics.partition(element.topic(), element.partition())).collect();
        self.rebalances.fetch_add(1, Ordering::SeqCst);
        let shown = partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let done = match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                tracing::info!(partitions = shown, "the group gave us partitions");
                self.assigned(consumer, partitions)
            }
            _ => {
                tracing::info!(partitions = shown, "the group took partitions from us");
                self.revoked(consumer, partitions)
            }
        };
        if let Err(error) = done {
            let doing = "taking part in a rebalance".into();
            let _ = self.events.send(Err(SourceError::Unavailable { doing, reason: error.to_string() }));
        }
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        ToTracing.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        ToTracing.error(error, reason);
    }
}
