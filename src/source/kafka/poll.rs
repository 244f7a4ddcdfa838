//! The polling thread of one consumer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use readcast_core::TopicPartition;
use tokio::sync::mpsc::UnboundedSender;

use super::Topics;
use super::byte_budget::ByteBudget;
use super::errors::end_of_subscription;
use super::heartbeat::Heartbeat;
use super::log;
use super::native::{ConsumerEvent, Failed, Queue};
use super::pool::Pool;
use super::rebalance::GroupMember;
use crate::source::{Assignment, AssignmentEpoch, Batch, Record, SourceError, SourceEvent};

/// How long a poll waits for the next record, and so how late closing is noticed.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// The same while partitions are about to be started, which the thread has a part in.
const START_TIMEOUT: Duration = Duration::from_millis(10);
/// How long the thread waits for room before it goes back to serving the group without taking records. Short against
/// a session time-out; long enough that partitions are paused, and their prefetched records thrown away, only when
/// the database is really slow.
const PATIENCE: Duration = Duration::from_millis(500);
/// How many records are handed on at once, at the most.
const MOST_RECORDS: usize = 1_000;
/// About how many of their bytes: what is polled is only then counted against the budget.
const MOST_BYTES: usize = 1 << 20;

/// Polls one consumer until nobody takes its records any more.
pub(super) struct Poller {
    consumer: Arc<BaseConsumer<GroupMember>>,
    topics: Topics,
    events: UnboundedSender<Result<SourceEvent, SourceError>>,
    assignment: Arc<Assignment>,
    budget: Arc<ByteBudget>,
    heartbeat: Arc<Heartbeat>,
    /// Polled and not handed on yet, none from before the last rebalance.
    batches: Vec<Batch>,
    /// Where the next batch of each partition begins, under which assignment.
    positions: BTreeMap<TopicPartition, (AssignmentEpoch, i64)>,
    paused: bool,
    /// Where records are copied to.
    pool: Pool,
}

impl Poller {
    pub(super) fn new(
        consumer: Arc<BaseConsumer<GroupMember>>,
        topics: Topics,
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

    /// Dropping the consumer at the end leaves the group.
    pub(super) fn run(mut self) {
        let consumer = self.consumer.clone();
        let queue = Queue::of(&consumer);
        while !self.budget.is_closed() {
            self.heartbeat.beat();
            let has_room = self.budget.wait(PATIENCE);
            // Paused again each time: partitions may have joined since.
            if self.paused || !has_room {
                self.set_paused(!has_room);
            }
            consumer.context().prove(&consumer);
            self.poll_what_is_ready(&queue);
        }
    }

    /// Waits for one event, takes those behind it that are there already, and hands on the records among them.
    fn poll_what_is_ready(&mut self, queue: &Queue<'_>) {
        let mut timeout = if self.consumer.context().is_starting() { START_TIMEOUT } else { POLL_TIMEOUT };
        let mut bytes = 0;
        for _ in 0..MOST_RECORDS {
            if bytes >= MOST_BYTES {
                break;
            }
            let Some(mut event) = queue.poll(timeout) else { break };
            match event.read(&mut self.pool) {
                ConsumerEvent::Record { topic, partition, leader_epoch, record } => {
                    bytes += record.bytes();
                    self.add(&topic, partition, leader_epoch, record);
                }
                ConsumerEvent::Failed(Failed {
                    code: RDKafkaErrorCode::PartitionEOF,
                    partition: Some(partition),
                    offset,
                    ..
                }) => self.at_end(&partition, offset),
                ConsumerEvent::Failed(failed) => self.failed(&failed),
                ConsumerEvent::Assigned(partitions) => self.rebalanced(true, &partitions),
                ConsumerEvent::Taken(partitions) => self.rebalanced(false, &partitions),
                ConsumerEvent::Log { level, facility, text } => log::line(level, &facility, &text),
                ConsumerEvent::Other => {}
            }
            timeout = Duration::ZERO;
        }
        self.hand_on();
    }

    fn add(&mut self, topic: &str, partition: i32, leader_epoch: Option<i32>, record: Record) {
        let partition = self.topics.partition(topic, partition);
        // Records come in runs of one partition, so its batch is nearly always the last.
        if let Some(batch) = self.batches.iter_mut().rev().find(|batch| batch.partition == partition) {
            batch.leader_epoch = leader_epoch;
            batch.to = record.offset + 1;
            return batch.records.push(record);
        }
        // A partition that is no longer ours: what is left of it belongs to its next owner.
        let Some(assignment) = self.assignment.epoch(&partition) else { return };
        if self.consumer.context().is_unproven(&partition) {
            return;
        }
        let from = self.next_offset(&partition, assignment).unwrap_or(record.offset);
        let to = record.offset + 1;
        self.batches.push(Batch { partition, assignment, from, to, records: vec![record], leader_epoch });
    }

    /// One past the last record that was handed on, or where the partition was started.
    fn next_offset(&self, partition: &TopicPartition, assignment: AssignmentEpoch) -> Option<i64> {
        match self.positions.get(partition) {
            Some((epoch, next)) if *epoch == assignment => Some(*next),
            _ => self.consumer.context().started_at(partition),
        }
    }

    fn hand_on(&mut self) {
        for batch in self.batches.drain(..) {
            self.positions.insert(batch.partition.clone(), (batch.assignment, batch.to));
            self.budget.take(batch.bytes());
            let _ = self.events.send(Ok(SourceEvent::Batch(batch)));
        }
    }

    /// Everything up to `offset` has been read. What stands between the last record and that are markers of
    /// transactions, and records of those that were given up: behind us they are no gap when retention removes them.
    fn at_end(&mut self, (topic, partition): &(String, i32), offset: i64) {
        self.hand_on();
        let partition = self.topics.partition(topic, *partition);
        let Some(assignment) = self.assignment.epoch(&partition) else { return };
        if self.consumer.context().is_unproven(&partition) {
            return;
        }
        if let Some(from) = self.next_offset(&partition, assignment).filter(|from| *from < offset) {
            // Under which leader the last of them was written is not known.
            let (partition, records) = (partition.clone(), Vec::new());
            self.batches.push(Batch { partition, assignment, from, to: offset, records, leader_epoch: None });
            self.hand_on();
        }
        let _ = self.events.send(Ok(SourceEvent::AtEnd(partition)));
    }

    fn rebalanced(&mut self, given: bool, partitions: &[(String, i32)]) {
        // Records polled before and after a rebalance must not share a batch.
        self.hand_on();
        let partitions = partitions.iter().map(|(topic, partition)| self.topics.partition(topic, *partition)).collect();
        self.consumer.context().rebalanced(&self.consumer, given, partitions);
    }

    fn failed(&mut self, failed: &Failed) {
        self.hand_on();
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
            Err(error) => tracing::warn!(%error, paused, "fetching could not be paused or resumed"),
        }
    }
}
