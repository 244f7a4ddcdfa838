//! One member of the consumer group.
//!
//! Partitions that the group assigns are announced first. They are assigned to the consumer after their checkpoints are
//! known ([`GroupMember::start`]), each once and at its offset, so that no callback waits for the database. librdkafka
//! delays the next step of the rebalance until then.

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

use super::TopicNames;
use super::log::ToTracing;
use crate::source::{Assignment, SourceError, SourceEvent, Start};

/// The time limit of a seek. A seek sends no request; the validation follows asynchronously.
const SEEK_TIMEOUT: Duration = Duration::from_secs(1);

/// The partitions of one member of the group.
pub(super) struct GroupMember {
    topics: TopicNames,
    assignment: Arc<Assignment>,
    /// Partitions that are assigned but not started. The lock is held during every call that changes the consumer's
    /// assignment, so that a start and a revocation do not interleave.
    waiting: Mutex<BTreeSet<TopicPartition>>,
    /// The start offset of each started partition.
    started: Mutex<BTreeMap<TopicPartition, i64>>,
    /// Started partitions whose position librdkafka has not begun to validate against the log. Their records are
    /// discarded.
    unvalidated: Mutex<BTreeMap<TopicPartition, Start>>,
    events: UnboundedSender<Result<SourceEvent, SourceError>>,
}

impl GroupMember {
    pub(super) fn new(
        topics: TopicNames,
        assignment: Arc<Assignment>,
        events: UnboundedSender<Result<SourceEvent, SourceError>>,
    ) -> Self {
        Self {
            topics,
            assignment,
            waiting: Mutex::default(),
            started: Mutex::default(),
            unvalidated: Mutex::default(),
            events,
        }
    }

    /// Assigns those of the partitions that still wait to the consumer, each at its offset.
    pub(super) fn start(&self, consumer: &BaseConsumer<Self>, starts: &[Start]) -> KafkaResult<()> {
        let mut waiting = self.waiting();
        let starts: Vec<_> = starts.iter().filter(|start| waiting.contains(&start.partition)).collect();
        if starts.is_empty() {
            return Ok(());
        }
        self.started().extend(starts.iter().map(|start| (start.partition.clone(), start.next_offset)));
        // Registered before the first fetch. At offset 0 nothing was read, so there is no epoch to validate.
        let to_validate = starts.iter().filter(|start| start.leader_epoch.is_some() && start.next_offset > 0);
        self.unvalidated().extend(to_validate.map(|&start| (start.partition.clone(), start.clone())));
        consumer.incremental_assign(&self.topics.starts(starts.iter().copied()))?;
        waiting.retain(|partition| !starts.iter().any(|start| start.partition == *partition));
        Ok(())
    }

    /// Makes librdkafka validate each new start against the leader epochs of the log (KIP-320) before it fetches from
    /// there. librdkafka validates a position at a seek and after a leader change, but not at an assignment.
    ///
    /// Only the polling thread may call this: a record that was polled before the seek must not count as one after it.
    pub(super) fn validate_starts(&self, consumer: &BaseConsumer<Self>) {
        use RDKafkaErrorCode::{State, UnknownPartition};
        let mut unvalidated = self.unvalidated();
        if unvalidated.is_empty() {
            return;
        }
        let result = consumer.seek_partitions(self.topics.starts(unvalidated.values()), SEEK_TIMEOUT);
        let seeks = match &result {
            Ok(list) => list.elements(),
            Err(error) => return tracing::warn!(%error, "could not validate the start of partitions; trying again"),
        };
        for element in seeks {
            let partition = self.topics.partition(element.topic(), element.partition());
            match element.error().map_err(|error| error.rdkafka_error_code()) {
                Ok(()) => drop(unvalidated.remove(&partition)),
                // Assigned but not active: librdkafka waits until other partitions are revoked.
                Err(Some(State | UnknownPartition)) => {}
                Err(code) => {
                    tracing::warn!(%partition, ?code, "could not validate the start of a partition; trying again")
                }
            }
        }
    }

    /// Whether records of the partition were polled before its start was validated.
    pub(super) fn is_unvalidated(&self, partition: &TopicPartition) -> bool {
        self.unvalidated().contains_key(partition)
    }

    /// Whether partitions wait for their start or its validation.
    pub(super) fn is_starting(&self) -> bool {
        !self.waiting().is_empty() || !self.unvalidated().is_empty()
    }

    /// Handles a rebalance of the group, which assigns or revokes `partitions`.
    pub(super) fn rebalanced(&self, consumer: &BaseConsumer<Self>, assigned: bool, partitions: Vec<TopicPartition>) {
        let shown = partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let done = if assigned {
            tracing::info!(partitions = shown, "partitions assigned");
            self.assigned(consumer, partitions)
        } else {
            tracing::info!(partitions = shown, "partitions revoked");
            self.revoked(consumer, partitions)
        };
        if let Err(error) = done {
            let doing = "rebalancing the consumer group".into();
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
        self.unvalidated().retain(|partition, _| !partitions.contains(partition));
        let never_started: Vec<_> = partitions
            .iter()
            .filter(|partition| waiting.remove(partition))
            .map(|partition| (partition.clone(), 0))
            .collect();
        // librdkafka refuses to unassign a partition that was never assigned, and then waits forever.
        if !never_started.is_empty() {
            consumer.incremental_assign(&self.topics.offsets(&never_started))?;
        }
        let list: Vec<_> = partitions.iter().map(|partition| (partition.clone(), 0)).collect();
        let unassigned = consumer.incremental_unassign(&self.topics.offsets(&list));
        self.announce(if lost { SourceEvent::Lost(partitions) } else { SourceEvent::Revoked(partitions) });
        unassigned
    }

    /// The offset at which the partition was last started.
    pub(super) fn started_at(&self, partition: &TopicPartition) -> Option<i64> {
        self.started().get(partition).copied()
    }

    fn started(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, i64>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, event: SourceEvent) {
        // Fails only while the subscription closes.
        let _ = self.events.send(Ok(event));
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeSet<TopicPartition>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unvalidated(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, Start>> {
        self.unvalidated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConsumerContext for GroupMember {
    /// Called while the consumer closes. It replaces the binding's implementation, which assigns at once and ignores
    /// errors.
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
