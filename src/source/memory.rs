//! A log in memory that does to its readers what a script says: for tests and simulations.
//!
//! Nothing happens here by chance or by time: the same calls in the same order give the same events. The script is
//! everything that [`MemorySource`] can do besides being a [`Source`]; a handle is cheap to clone and acts at once, and
//! whoever waits in [`Subscription::next`] is woken. Members of a group are numbered from 0 in the order of joining.
//!
//! Left out: elections of a leader with their epochs, transactions of producers, groups whose members differ in topics.

mod group;
mod log;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use readcast_core::{Timestamp, TopicPartition};
use tokio::sync::Notify;

use self::group::Group;
use self::log::{Log, Logs};
use super::{Assignment, Extents, Source, SourceError, SourceEvent, Start, Subscription};

/// A log in memory, and the script of its faults.
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
    /// How many logs were ever created, which numbers them.
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
    /// The log of a partition, which is created, and dealt out to every group, if there is none.
    fn log(&mut self, topic: &str, partition: i32) -> &mut Log {
        let partition = TopicPartition::new(topic, partition);
        if !self.logs.contains_key(&partition) {
            self.created += 1;
            self.logs.insert(partition.clone(), Log::new(self.created));
            self.groups.values_mut().for_each(|group| group.deal(&self.logs));
        }
        self.logs.entry(partition).or_default()
    }
}

impl MemorySource {
    /// Adds a record with a value; a partition that does not exist comes to be. Returns the record's offset.
    pub fn append(&self, topic: &str, partition: i32, key: Option<&str>, value: impl Into<Bytes>) -> i64 {
        let value = value.into();
        self.change(|state| state.log(topic, partition).append(key, Some(value)))
    }

    /// Makes sure that `topic` has the partitions 0 to `partitions` - 1.
    pub fn create(&self, topic: &str, partitions: i32) {
        self.change(|state| {
            for partition in 0..partitions {
                state.log(topic, partition);
            }
        });
    }

    /// Adds a tombstone: a record without a value.
    pub fn append_tombstone(&self, topic: &str, partition: i32, key: Option<&str>) -> i64 {
        self.change(|state| state.log(topic, partition).append(key, None))
    }

    /// Lets an offset pass that will never hold a record, as markers of transactions and compaction do.
    pub fn skip_offset(&self, topic: &str, partition: i32) -> i64 {
        self.change(|state| state.log(topic, partition).skip())
    }

    /// Retention: the records before `before` are gone.
    pub fn trim(&self, topic: &str, partition: i32, before: i64) {
        self.change(|state| state.log(topic, partition).trim(before));
    }

    /// The records from `end` on are gone, as after an unclean election. Their offsets will be given again.
    pub fn truncate(&self, topic: &str, partition: i32, end: i64) {
        self.change(|state| state.log(topic, partition).truncate(end));
    }

    /// The topic is deleted and created again, empty, with as many partitions.
    pub fn recreate(&self, topic: &str) {
        self.change(|state| {
            for (_, log) in state.logs.iter_mut().filter(|(partition, _)| *partition.topic == *topic) {
                state.created += 1;
                *log = Log::new(state.created);
            }
        });
    }

    /// The next `count` calls of `next`, by whomever, fail as if the log could not be reached.
    pub fn fail_next(&self, count: usize) {
        self.change(|state| state.failures = count);
    }

    /// At most `records` go into a batch from now on.
    pub fn cut_batches(&self, records: usize) {
        self.change(|state| state.batch_records = records);
    }

    /// Revokes every partition of the group, in good order, and assigns it to the next member: to the same, under a new
    /// epoch, where there is only one.
    pub fn rebalance(&self, group: &str) {
        self.change_group(group, Group::rebalance);
    }

    /// The group gives up a member and deals its partitions to the others, while the member goes on and believes that
    /// they are its own, until [`MemorySource::tell_lost`].
    pub fn lose(&self, group: &str, member: usize) {
        self.change_group(group, |group, logs| group.lose(member, logs));
    }

    /// A member that was given up learns of it, and joins again.
    pub fn tell_lost(&self, group: &str, member: usize) {
        self.change_group(group, |group, logs| group.tell_lost(member, logs));
    }

    /// A member's process dies: its partitions go to the others, and its subscription never hears of anything again.
    /// Dropping or closing a subscription does the same.
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
        let has = |topic: &str| state.logs.keys().any(|partition| *partition.topic == *topic);
        if let Some(missing) = topics.iter().find(|topic| !has(topic)) {
            return Err(SourceError::NoTopic((*missing).to_owned()));
        }
        let asked = state.logs.iter().filter(|(partition, _)| topics.contains(&&*partition.topic));
        Ok(asked.map(|(partition, log)| (partition.clone(), log.extent())).collect())
    }

    async fn offsets_at(&self, _topics: &[&str], at: Timestamp) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
        let reason = "a log in memory keeps no times".to_owned();
        Err(SourceError::Refused { doing: format!("looking for what was written at {at}"), reason })
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>, SourceError> {
        let (member, assignment) = self.change(|state| {
            let joined = state.groups.entry(group.to_owned()).or_insert_with(|| Group::new(topics));
            joined.join(&state.logs)
        });
        Ok(Box::new(MemorySubscription { source: self.clone(), group: group.to_owned(), member, assignment }))
    }
}

/// One member's view; all that it is lies with its group, so that a script can act on it.
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
            // Made before looking: what happens between looking and waiting wakes it too.
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
            return Err(SourceError::Unavailable { doing: "reading".to_owned(), reason: "scripted".to_owned() });
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
