//! A log in memory with scripted faults, for tests and simulations.
//!
//! It is deterministic: the same calls in the same order give the same events. The script consists of the methods of
//! [`MemorySource`] that are not part of [`Source`]. A handle is cheap to clone. Its calls take effect at once and wake
//! pending calls of [`Subscription::next`]. The members of a group are numbered from 0 in the order of joining.
//!
//! Not simulated: leader elections and their epochs, transactions, groups whose members read different topics.

mod group;
mod log;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use readcast_core::{Timestamp, TopicPartition, topic_matches};
use tokio::sync::Notify;

use self::group::Group;
use self::log::{Log, Logs};
use super::{Assignment, Extents, Source, SourceError, SourceEvent, Start, Subscription};

/// A log in memory with scripted faults.
#[derive(Clone, Debug, Default)]
pub struct MemorySource {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    logs: Logs,
    groups: BTreeMap<String, Group>,
    /// The number of logs that were ever created. The next log gets this number.
    created: u64,
    failures: usize,
    batch_records: usize,
}

impl Default for State {
    fn default() -> Self {
        Self { logs: Logs::new(), groups: BTreeMap::new(), created: 0, failures: 0, batch_records: 100 }
    }
}

impl State {
    /// The log of a partition. A missing partition is created and assigned in every group.
    fn log(&mut self, topic: &str, partition: i32) -> &mut Log {
        let partition = TopicPartition::new(topic, partition);
        if !self.logs.contains_key(&partition) {
            self.created += 1;
            self.logs.insert(partition.clone(), Log::new(self.created));
            self.groups.values_mut().for_each(|group| group.distribute(&self.logs));
        }
        self.logs.entry(partition).or_default()
    }
}

impl MemorySource {
    /// Appends a record with a value and returns its offset. Creates a missing partition.
    pub fn append(&self, topic: &str, partition: i32, key: Option<&str>, value: impl Into<Bytes>) -> i64 {
        let value = value.into();
        self.change(|state| state.log(topic, partition).append(key, Some(value)))
    }

    /// Creates the missing ones of the partitions 0 to `partitions` - 1 of `topic`.
    pub fn create(&self, topic: &str, partitions: i32) {
        self.change(|state| {
            for partition in 0..partitions {
                state.log(topic, partition);
            }
        });
    }

    /// Appends a tombstone, a record without a value, and returns its offset.
    pub fn append_tombstone(&self, topic: &str, partition: i32, key: Option<&str>) -> i64 {
        self.change(|state| state.log(topic, partition).append(key, None))
    }

    /// Skips an offset, which then never holds a record, like transaction markers and compaction. Returns the offset.
    pub fn skip_offset(&self, topic: &str, partition: i32) -> i64 {
        self.change(|state| state.log(topic, partition).skip())
    }

    /// Deletes the records before the offset `before`, like retention.
    pub fn trim(&self, topic: &str, partition: i32, before: i64) {
        self.change(|state| state.log(topic, partition).trim(before));
    }

    /// Deletes the records from the offset `end` on, like an unclean leader election. Their offsets are reused.
    pub fn truncate(&self, topic: &str, partition: i32, end: i64) {
        self.change(|state| state.log(topic, partition).truncate(end));
    }

    /// Deletes the topic and creates it again, empty, with the same number of partitions.
    pub fn recreate(&self, topic: &str) {
        self.change(|state| {
            for (_, log) in state.logs.iter_mut().filter(|(partition, _)| *partition.topic == *topic) {
                state.created += 1;
                *log = Log::new(state.created);
            }
        });
    }

    /// Makes the next `count` calls of [`Subscription::next`], of any subscription, fail as if the log were
    /// unreachable.
    pub fn fail_next(&self, count: usize) {
        self.change(|state| state.failures = count);
    }

    /// Limits the batches from now on to `records` records.
    pub fn cut_batches(&self, records: usize) {
        self.change(|state| state.batch_records = records);
    }

    /// Revokes every partition of the group and assigns it to the next member. A single member gets its partitions back
    /// under a new epoch.
    pub fn rebalance(&self, group: &str) {
        self.change_group(group, Group::rebalance);
    }

    /// Removes a member from the group without its knowledge and assigns its partitions to the others. The member
    /// continues to read them until [`MemorySource::tell_lost`].
    pub fn lose(&self, group: &str, member: usize) {
        self.change_group(group, |group, logs| group.lose(member, logs));
    }

    /// Tells a removed member that it lost its partitions. The member joins again.
    pub fn tell_lost(&self, group: &str, member: usize) {
        self.change_group(group, |group, logs| group.tell_lost(member, logs));
    }

    /// Ends a member like a crash of its process. Its partitions go to the others, and its subscription gets no further
    /// event. Dropping or closing a subscription has the same effect.
    pub fn crash(&self, group: &str, member: usize) {
        self.change_group(group, |group, logs| group.leave(member, logs));
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.shared.changed.notify_waiters();
        result
    }

    fn change_group(&self, group: &str, change: impl FnOnce(&mut Group, &Logs)) {
        self.change(|state| {
            if let Some(group) = state.groups.get_mut(group) {
                change(group, &state.logs);
            }
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Source for MemorySource {
    async fn extents(&self, topics: &[&str]) -> Result<Extents, SourceError> {
        let state = self.state();
        let has = |topic: &str| state.logs.keys().any(|partition| topic_matches(topic, &partition.topic));
        if let Some(missing) = topics.iter().find(|topic| !has(topic)) {
            return Err(SourceError::NoTopic((*missing).to_owned()));
        }
        let is_asked = |partition: &TopicPartition| topics.iter().any(|topic| topic_matches(topic, &partition.topic));
        let asked = state.logs.iter().filter(|(partition, _)| is_asked(partition));
        Ok(asked.map(|(partition, log)| (partition.clone(), log.extent())).collect())
    }

    async fn offsets_at(&self, _topics: &[&str], at: Timestamp) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
        let reason = "a log in memory stores no times".to_owned();
        Err(SourceError::Refused { doing: format!("finding the records that were written at {at}"), reason })
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>, SourceError> {
        let (member, assignment) = self.change(|state| {
            let joined = state.groups.entry(group.to_owned()).or_insert_with(|| Group::new(topics));
            joined.join(&state.logs)
        });
        Ok(Box::new(MemorySubscription { source: self.clone(), group: group.to_owned(), member, assignment }))
    }
}

/// The handle of one member. Its state is part of the group, so that a script can change it.
struct MemorySubscription {
    source: MemorySource,
    group: String,
    member: usize,
    assignment: Arc<Assignment>,
}

#[async_trait]
impl Subscription for MemorySubscription {
    async fn next(&mut self) -> Result<SourceEvent, SourceError> {
        loop {
            // Created before the poll, so that a change between the poll and the await is not missed.
            let changed = self.source.shared.changed.notified();
            if let Some(event) = self.poll()? {
                return Ok(event);
            }
            changed.await;
        }
    }

    async fn start(&mut self, starts: &[Start]) -> Result<(), SourceError> {
        self.source.change_group(&self.group, |group, _| group.start(self.member, starts));
        Ok(())
    }

    fn assignment(&self) -> Arc<Assignment> {
        Arc::clone(&self.assignment)
    }

    async fn close(self: Box<Self>) {}
}

impl MemorySubscription {
    fn poll(&self) -> Result<Option<SourceEvent>, SourceError> {
        let mut state = self.source.state();
        if state.failures > 0 {
            state.failures -= 1;
            return Err(SourceError::Unavailable {
                doing: "reading".to_owned(),
                reason: "scripted failure".to_owned(),
            });
        }
        let State { logs, groups, batch_records, .. } = &mut *state;
        groups.get_mut(&self.group).map_or(Ok(None), |group| group.poll(self.member, logs, *batch_records))
    }
}

impl Drop for MemorySubscription {
    fn drop(&mut self) {
        self.source.crash(&self.group, self.member);
    }
}
