//! The polling thread of one consumer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use readcast_core::TopicPartition;
use tokio::sync::mpsc::UnboundedSender;

use super::TopicNames;
use super::byte_budget::ByteBudget;
use super::errors::end_of_subscription;
use super::heartbeat::Heartbeat;
use super::log;
use super::native::{ClientError, ConsumerEvent, Queue};
use super::pool::Pool;
use super::rebalance::GroupMember;
use crate::source::{Assignment, AssignmentEpoch, Batch, Record, SourceError, SourceEvent};

/// How long a poll waits for the next event. A closed subscription is detected after this time.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// The same while partitions start: the thread has to validate their starts.
const START_TIMEOUT: Duration = Duration::from_millis(10);
/// How long the thread waits for budget before it serves the group without taking records. Much shorter than a session
/// time-out. Long enough that partitions are paused, which discards their prefetched records, only if the database is
/// slow.
const BUDGET_TIMEOUT: Duration = Duration::from_millis(500);
/// The most records of one poll.
const MAX_RECORDS: usize = 1_000;
/// The approximate limit of one poll in bytes. Polled records are counted in the budget after the poll.
const MAX_BYTES: usize = 1 << 20;

/// Polls one consumer until its subscription is closed.
pub(super) struct Poller {
    consumer: Arc<BaseConsumer<GroupMember>>,
    topics: TopicNames,
    events: UnboundedSender<Result<SourceEvent, SourceError>>,
    assignment: Arc<Assignment>,
    budget: Arc<ByteBudget>,
    heartbeat: Arc<Heartbeat>,
    /// Polled records that were not sent yet. All were polled after the last rebalance.
    batches: Vec<Batch>,
    /// The first offset of the next batch of each partition, and the assignment to which it belongs.
    positions: BTreeMap<TopicPartition, (AssignmentEpoch, i64)>,
    paused: bool,
    /// The memory into which records are copied.
    pool: Pool,
}

impl Poller {
    pub(super) fn new(
        consumer: Arc<BaseConsumer<GroupMember>>,
        topics: TopicNames,
        events: UnboundedSender<Result<SourceEvent, SourceError>>,
        assignment: Arc<Assignment>,
        budget: Arc<ByteBudget>,
        heartbeat: Arc<Heartbeat>,
    ) -> Self {
        Self {
            consumer,
            topics,
            events,
            assignment,
            budget,
            heartbeat,
            batches: Vec::new(),
            positions: BTreeMap::new(),
            paused: false,
            pool: Pool::default(),
        }
    }

    /// Polls until the subscription is closed. Dropping the consumer at the end leaves the group.
    pub(super) fn run(mut self) {
        let consumer = self.consumer.clone();
        let queue = Queue::of(&consumer);
        while !self.budget.is_closed() {
            self.heartbeat.beat();
            let has_budget = self.budget.wait(BUDGET_TIMEOUT);
            // Paused again in each round, because partitions may have been added.
            if self.paused || !has_budget {
                self.set_paused(!has_budget);
            }
            consumer.context().validate_starts(&consumer);
            self.poll_ready_events(&queue);
        }
    }

    /// Waits for one event, takes the events that are ready after it, and sends their records.
    fn poll_ready_events(&mut self, queue: &Queue<'_>) {
        let mut timeout = if self.consumer.context().is_starting() { START_TIMEOUT } else { POLL_TIMEOUT };
        let mut bytes = 0;
        for _ in 0..MAX_RECORDS {
            if bytes >= MAX_BYTES {
                break;
            }
            let Some(mut event) = queue.poll(timeout) else { break };
            match event.read(&mut self.pool) {
                ConsumerEvent::Record { topic, partition, leader_epoch, record } => {
                    bytes += record.bytes();
                    self.add(&topic, partition, leader_epoch, record);
                }
                ConsumerEvent::Failed(ClientError {
                    code: RDKafkaErrorCode::PartitionEOF,
                    partition: Some(partition),
                    offset,
                    ..
                }) => self.at_end(&partition, offset),
                ConsumerEvent::Failed(failed) => self.failed(&failed),
                ConsumerEvent::Assigned(partitions) => self.rebalanced(true, &partitions),
                ConsumerEvent::Revoked(partitions) => self.rebalanced(false, &partitions),
                ConsumerEvent::Log { level, facility, text } => log::line(level, &facility, &text),
                ConsumerEvent::Other => {}
            }
            timeout = Duration::ZERO;
        }
        self.send_batches();
    }

    fn add(&mut self, topic: &str, partition: i32, leader_epoch: Option<i32>, record: Record) {
        let partition = self.topics.partition(topic, partition);
        // Records arrive in runs of one partition, so the batch is nearly always the last one.
        if let Some(batch) = self.batches.iter_mut().rev().find(|batch| batch.partition == partition) {
            batch.leader_epoch = leader_epoch;
            batch.to = record.offset + 1;
            return batch.records.push(record);
        }
        // A partition that was revoked: its next owner reads these records.
        let Some(assignment) = self.assignment.epoch(&partition) else { return };
        if self.consumer.context().is_unvalidated(&partition) {
            return;
        }
        let from = self.next_offset(&partition, assignment).unwrap_or(record.offset);
        let to = record.offset + 1;
        self.batches.push(Batch { partition, assignment, from, to, records: vec![record], leader_epoch });
    }

    /// The offset after the last batch that was sent, or the partition's start.
    fn next_offset(&self, partition: &TopicPartition, assignment: AssignmentEpoch) -> Option<i64> {
        match self.positions.get(partition) {
            Some((epoch, next)) if *epoch == assignment => Some(*next),
            _ => self.consumer.context().started_at(partition),
        }
    }

    fn send_batches(&mut self) {
        for batch in self.batches.drain(..) {
            self.positions.insert(batch.partition.clone(), (batch.assignment, batch.to));
            self.budget.take(batch.bytes());
            let _ = self.events.send(Ok(SourceEvent::Batch(batch)));
        }
    }

    /// Handles the end of a partition at `offset`. The offsets between the last record and the end hold transaction
    /// markers and records of aborted transactions. An empty batch passes them, so that retention of them is not a gap
    /// later.
    fn at_end(&mut self, (topic, partition): &(String, i32), offset: i64) {
        self.send_batches();
        let partition = self.topics.partition(topic, *partition);
        let Some(assignment) = self.assignment.epoch(&partition) else { return };
        if self.consumer.context().is_unvalidated(&partition) {
            return;
        }
        if let Some(from) = self.next_offset(&partition, assignment).filter(|from| *from < offset) {
            // The leader epoch of the last offset is unknown.
            let (partition, records) = (partition.clone(), Vec::new());
            self.batches.push(Batch { partition, assignment, from, to: offset, records, leader_epoch: None });
            self.send_batches();
        }
        let _ = self.events.send(Ok(SourceEvent::AtEnd(partition)));
    }

    fn rebalanced(&mut self, assigned: bool, partitions: &[(String, i32)]) {
        // Records polled before and after a rebalance must not share a batch.
        self.send_batches();
        let partitions = partitions.iter().map(|(topic, partition)| self.topics.partition(topic, *partition)).collect();
        self.consumer.context().rebalanced(&self.consumer, assigned, partitions);
    }

    fn failed(&mut self, failed: &ClientError) {
        self.send_batches();
        let partition = failed.partition.as_ref().map(|(topic, partition)| self.topics.partition(topic, *partition));
        let owned = partition.as_ref().and_then(|partition| Some((partition, self.assignment.epoch(partition)?)));
        let next_offset = owned.and_then(|(partition, assignment)| self.next_offset(partition, assignment));
        match end_of_subscription(failed, partition, next_offset) {
            Some(error) => {
                let _ = self.events.send(Err(error));
            }
            None => tracing::warn!(partition = ?failed.partition, code = ?failed.code, "Kafka: {}", failed.reason),
        }
    }

    fn set_paused(&mut self, paused: bool) {
        let changed = self.consumer.assignment().and_then(|assigned| match paused {
            true => self.consumer.pause(&assigned),
            false => self.consumer.resume(&assigned),
        });
        match changed {
            Ok(()) => self.paused = paused,
            Err(error) => tracing::warn!(%error, paused, "could not pause or resume fetching"),
        }
    }
}
