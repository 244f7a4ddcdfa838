//! Our side of the consumer group.
//!
//! Partitions that the group gives us are announced, and assigned to the consumer only once their checkpoints are known
//! ([`GroupMember::start`]): each exactly once and at the right offset, without waiting for the database in a callback.
//! librdkafka waits with its next step of the rebalance until then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use readcast_core::TopicPartition;
use tokio::sync::mpsc::UnboundedSender;

use super::Topics;
use super::log::ToTracing;
use crate::source::{Assignment, SourceError, SourceEvent, Start};

/// How long a seek may take: it asks nobody, the rest comes later.
const SEEK_TIMEOUT: Duration = Duration::from_secs(1);

/// What one member of the group knows of its partitions.
pub(super) struct GroupMember {
    topics: Topics,
    assignment: Arc<Assignment>,
    /// Ours, but not started yet. Its lock is held across every call that assigns, so that a start and a revocation
    /// can't cross.
    waiting: Mutex<BTreeSet<TopicPartition>>,
    /// Where each was started.
    started: Mutex<BTreeMap<TopicPartition, i64>>,
    /// Those of them whose start librdkafka has not begun to compare with the log. Nothing of them counts until then.
    unproven: Mutex<BTreeMap<TopicPartition, Start>>,
    events: UnboundedSender<Result<SourceEvent, SourceError>>,
}

impl GroupMember {
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
            unproven: Mutex::default(),
            events,
        }
    }

    /// Assigns the partitions to the consumer, each at its offset, as far as they still wait for it.
    pub(super) fn start(&self, consumer: &BaseConsumer<Self>, starts: &[Start]) -> KafkaResult<()> {
        let mut waiting = self.waiting();
        let starts: Vec<_> = starts.iter().filter(|start| waiting.contains(&start.partition)).collect();
        if starts.is_empty() {
            return Ok(());
        }
        self.started().extend(starts.iter().map(|start| (start.partition.clone(), start.next_offset)));
        // Known before anything can be fetched. An epoch says nothing of a log of which nothing was read.
        let provable = starts.iter().filter(|start| start.leader_epoch.is_some() && start.next_offset > 0);
        self.unproven().extend(provable.map(|&start| (start.partition.clone(), start.clone())));
        consumer.incremental_assign(&self.topics.starts(starts.iter().copied()))?;
        waiting.retain(|partition| !starts.iter().any(|start| start.partition == *partition));
        Ok(())
    }

    /// Has librdkafka compare each new start with the leader epochs of the log (KIP-320) before it fetches from there: it
    /// does so at a seek and whenever a leader changes, and not when a partition is assigned. For the polling thread, for
    /// a record that was polled before the seek must not be taken for one behind it.
    pub(super) fn prove(&self, consumer: &BaseConsumer<Self>) {
        use RDKafkaErrorCode::{State, UnknownPartition};
        let mut unproven = self.unproven();
        if unproven.is_empty() {
            return;
        }
        let sought = consumer.seek_partitions(self.topics.starts(unproven.values()), SEEK_TIMEOUT);
        let sought = match &sought {
            Ok(list) => list.elements(),
            Err(error) => return tracing::warn!(%error, "partitions were not sought, and will be once more"),
        };
        for element in sought {
            let partition = self.topics.partition(element.topic(), element.partition());
            match element.error().map_err(|error| error.rdkafka_error_code()) {
                Ok(()) => drop(unproven.remove(&partition)),
                // Assigned, but not begun yet: librdkafka waits until others have been given up.
                Err(Some(State | UnknownPartition)) => {}
                Err(code) => tracing::warn!(%partition, ?code, "a partition was not sought, and will be once more"),
            }
        }
    }

    /// Whether what is delivered of the partition comes from before its start was compared with the log.
    pub(super) fn is_unproven(&self, partition: &TopicPartition) -> bool {
        self.unproven().contains_key(partition)
    }

    /// Whether partitions are about to be started.
    pub(super) fn is_starting(&self) -> bool {
        !self.waiting().is_empty() || !self.unproven().is_empty()
    }

    /// The group gave us partitions, or took them.
    pub(super) fn rebalanced(&self, consumer: &BaseConsumer<Self>, given: bool, partitions: Vec<TopicPartition>) {
        let shown = partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let done = if given {
            tracing::info!(partitions = shown, "partitions assigned");
            self.assigned(consumer, partitions)
        } else {
            tracing::info!(partitions = shown, "partitions revoked");
            self.revoked(consumer, partitions)
        };
        if let Err(error) = done {
            let doing = "taking part in a rebalance".into();
            let _ = self.events.send(Err(SourceError::Unavailable { doing, reason: error.to_string() }));
        }
    }

    fn assigned(&self, consumer: &BaseConsumer<Self>, partitions: Vec<TopicPartition>) -> KafkaResult<()> {
        if partitions.is_empty() {
            // No checkpoint to wait for: the rebalance continues at once.
            consumer.incremental_assign(&TopicPartitionList::new())?;
            self.announce(SourceEvent::Assigned(partitions));
            return Ok(());
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
        self.unproven().retain(|partition, _| !partitions.contains(partition));
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

    fn unproven(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, Start>> {
        self.unproven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConsumerContext for GroupMember {
    /// Called while the consumer is closed, and instead of the binding's own, which assigns at once and ignores errors.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = list.elements().iter().map(|at| self.topics.partition(at.topic(), at.partition())).collect();
        self.rebalanced(consumer, kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS, partitions);
    }
}

impl ClientContext for GroupMember {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        ToTracing.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        ToTracing.error(error, reason);
    }
}
