//! The polling thread of one consumer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use readcast_core::TopicPartition;
use tokio::sync::mpsc::UnboundedSender;

use super::rebalance::Member;
use super::room::Room;
use super::{Topics, classify};
use crate::source::{Assignment, AssignmentEpoch, Batch, Record, SourceError, SourceEvent};

/// How long a poll waits for the next record, and so how late closing is noticed.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// How long the thread waits for room before it goes back to serving the group without taking records. Short against
/// a session time-out; long enough that partitions are paused, and their prefetched records thrown away, only when
/// the database is really slow.
const PATIENCE: Duration = Duration::from_millis(500);
/// How many records are handed on at once, at the most.
const MOST_RECORDS: usize = 1_000;

/// Polls one consumer until nobody takes its records any more.
pub(super) struct Poller {
    consumer: Arc<BaseConsumer<Member>>,
    topics: Topics,
    events: UnboundedSender<Result<SourceEvent, SourceError>>,
    assignment: Arc<Assignment>,
    room: Arc<Room>,
    /// Polled and not handed on yet, none from before the last rebalance.
    batches: Vec<Batch>,
    rebalances: u64,
    /// Where the next batch of each partition begins, under which assignment.
    positions: BTreeMap<TopicPartition, (AssignmentEpoch, i64)>,
    paused: bool,
}

impl Poller {
    pub(super) fn new(
        consumer: Arc<BaseConsumer<Member>>,
        topics: Topics,
        events: UnboundedSender<Result<SourceEvent, SourceError>>,
        assignment: Arc<Assignment>,
        room: Arc<Room>,
    ) -> Self {
        Self {
            consumer,
            topics,
            events,
            assignment,
            room,
            batches: Vec::new(),
            rebalances: 0,
            positions: BTreeMap::new(),
            paused: false,
        }
    }

    /// Dropping the consumer at the end leaves the group.
    pub(super) fn run(mut self) {
        while !self.room.is_closed() {
            let has_room = self.room.wait(PATIENCE);
            // Paused again each time: partitions may have joined since.
            if self.paused || !has_room {
                self.set_paused(!has_room);
            }
            self.poll_what_is_ready();
        }
    }

    /// Waits for one record, takes those behind it that are there already, and hands them on.
    fn poll_what_is_ready(&mut self) {
        let consumer = self.consumer.clone();
        let mut timeout = POLL_TIMEOUT;
        for _ in 0..MOST_RECORDS {
            let polled = consumer.poll(timeout);
            if self.rebalances != consumer.context().rebalances() {
                self.hand_on();
                self.rebalances = consumer.context().rebalances();
            }
            match polled {
                None => break,
                Some(Ok(message)) => self.add(&message),
                Some(Err(KafkaError::PartitionEOF(partition))) => self.at_end(partition),
                Some(Err(error)) => self.failed(&error),
            }
            timeout = Duration::ZERO;
        }
        self.hand_on();
    }

    fn add(&mut self, message: &impl Message) {
        let copied = |part: Option<&[u8]>| part.map(Bytes::copy_from_slice);
        let record = Record {
            offset: message.offset(),
            key: copied(message.key()),
            value: copied(message.payload()),
            ..Record::default()
        };
        let partition = self.topics.partition(message.topic(), message.partition());
        // Records come in runs of one partition, so its batch is nearly always the last.
        if let Some(batch) = self.batches.iter_mut().rev().find(|batch| batch.partition == partition) {
            return batch.records.push(record);
        }
        // A partition that is no longer ours: what is left of it belongs to its next owner.
        let Some(assignment) = self.assignment.epoch(&partition) else { return };
        let from = match self.positions.get(&partition) {
            Some((epoch, next)) if *epoch == assignment => Some(*next),
            _ => self.consumer.context().started_at(&partition),
        };
        let from = from.unwrap_or(record.offset);
        self.batches.push(Batch { partition, assignment, from, records: vec![record], leader_epoch: None });
    }

    fn hand_on(&mut self) {
        for batch in self.batches.drain(..) {
            if let Some(last) = batch.records.last() {
                self.positions.insert(batch.partition.clone(), (batch.assignment, last.offset + 1));
            }
            self.room.take(batch.bytes());
            let _ = self.events.send(Ok(SourceEvent::Batch(batch)));
        }
    }

    /// librdkafka says which partition has ended, and not of which topic: with several topics that have it, nobody can
    /// tell, and nothing is said.
    fn at_end(&mut self, partition: i32) {
        self.hand_on();
        let mut ended = self.assignment.partitions();
        ended.retain(|ours| ours.partition == partition);
        if let [only] = ended.as_slice() {
            let _ = self.events.send(Ok(SourceEvent::AtEnd(only.clone())));
        }
    }

    /// librdkafka recovers from nearly everything by itself. What it does not recover from ends the subscription.
    fn failed(&mut self, error: &KafkaError) {
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        // Comes once; the partition is then silent for good. The next start finds out what the log has lost.
        let off_the_log = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset);
        // The topic was deleted under us. The next start tells which.
        let gone = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition)
        );
        let error = classify("reading from Kafka", error);
        if fatal || off_the_log || gone || matches!(error, SourceError::Refused { .. }) {
            self.hand_on();
            let _ = self.events.send(Err(error));
        } else {
            tracing::warn!("{error}");
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
