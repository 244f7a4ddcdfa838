//! The members of a group and the assignment of partitions to them.
//!
//! Partitions are distributed round-robin, in order, to the members that the group considers alive.

use std::collections::VecDeque;
use std::sync::Arc;

use readcast_core::{TopicPartition, topic_matches};

use super::log::Logs;
use crate::source::{Assignment, AssignmentEpoch, Batch, SourceError, SourceEvent, Start, verify};

#[derive(Debug)]
pub(super) struct Group {
    topics: Vec<String>,
    members: Vec<GroupMember>,
    /// The number of the member that gets the first partition. Every rebalance increments it.
    first: usize,
}

#[derive(Debug, Default)]
struct GroupMember {
    membership: Membership,
    assignment: Arc<Assignment>,
    /// The events that wait for the member.
    events: VecDeque<SourceEvent>,
    /// The partitions that the member reads. The one that was delivered last is at the end.
    cursors: Vec<Cursor>,
}

#[derive(Debug, Default, PartialEq)]
enum Membership {
    #[default]
    Joined,
    /// Removed by the group without its knowledge.
    Zombie,
    Gone,
}

#[derive(Debug)]
struct Cursor {
    partition: TopicPartition,
    epoch: AssignmentEpoch,
    /// The id of the log at the assignment.
    log_id: String,
    /// `None` before the start.
    next_offset: Option<i64>,
    end_reported: bool,
}

impl Group {
    pub(super) fn new(topics: &[&str]) -> Self {
        Self { topics: topics.iter().map(|&topic| topic.to_owned()).collect(), members: Vec::new(), first: 0 }
    }

    /// Adds a member. Returns its number and its assignment.
    pub(super) fn join(&mut self, logs: &Logs) -> (usize, Arc<Assignment>) {
        let member = GroupMember::default();
        let assignment = Arc::clone(&member.assignment);
        self.members.push(member);
        self.distribute(logs);
        let number = self.members.len() - 1;
        let events = &mut self.members[number].events;
        if events.is_empty() {
            events.push_back(SourceEvent::Assigned(Vec::new()));
        }
        (number, assignment)
    }

    /// Gives every joined member its share of the partitions. Partitions that a member keeps are not interrupted.
    pub(super) fn distribute(&mut self, logs: &Logs) {
        let joined = self.members.iter().filter(|member| member.membership == Membership::Joined).count();
        let subscribed =
            logs.keys().filter(|partition| self.topics.iter().any(|topic| topic_matches(topic, &partition.topic)));
        let mut shares = vec![Vec::new(); joined];
        for (number, partition) in subscribed.enumerate().take_while(|_| joined > 0) {
            shares[(number + self.first) % joined].push(partition.clone());
        }
        let members = self.members.iter_mut().filter(|member| member.membership == Membership::Joined);
        for (member, share) in members.zip(shares) {
            let revoked = member.give_up(&share);
            member.events.extend((!revoked.is_empty()).then_some(SourceEvent::Revoked(revoked)));
            member.take(share, logs);
        }
    }

    pub(super) fn rebalance(&mut self, logs: &Logs) {
        for member in self.members.iter_mut().filter(|member| member.membership == Membership::Joined) {
            let revoked = member.give_up(&[]);
            member.events.extend((!revoked.is_empty()).then_some(SourceEvent::Revoked(revoked)));
        }
        self.first += 1;
        self.distribute(logs);
    }

    pub(super) fn lose(&mut self, member: usize, logs: &Logs) {
        self.members[member].membership = Membership::Zombie;
        self.distribute(logs);
    }

    pub(super) fn tell_lost(&mut self, member: usize, logs: &Logs) {
        let member = &mut self.members[member];
        if member.membership == Membership::Zombie {
            member.membership = Membership::Joined;
            let lost = member.give_up(&[]);
            member.events.push_back(SourceEvent::Lost(lost));
            self.distribute(logs);
        }
    }

    pub(super) fn leave(&mut self, member: usize, logs: &Logs) {
        self.members[member] = GroupMember { membership: Membership::Gone, ..GroupMember::default() };
        self.distribute(logs);
    }

    pub(super) fn start(&mut self, member: usize, starts: &[Start]) {
        for cursor in &mut self.members[member].cursors {
            if let Some(start) = starts.iter().find(|start| start.partition == cursor.partition) {
                cursor.next_offset = Some(start.next_offset);
                cursor.end_reported = false;
            }
        }
    }

    /// The next event of the member. `None` if there is nothing new.
    pub(super) fn poll(
        &mut self,
        member: usize,
        logs: &Logs,
        batch_records: usize,
    ) -> Result<Option<SourceEvent>, SourceError> {
        let GroupMember { events, cursors, .. } = &mut self.members[member];
        if let Some(event) = events.pop_front() {
            return Ok(Some(event));
        }
        for (index, cursor) in cursors.iter_mut().enumerate() {
            if let Some(event) = cursor.poll(logs, batch_records)? {
                cursors[index..].rotate_left(1);
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}

impl GroupMember {
    /// Removes all partitions but `kept`, and returns them.
    fn give_up(&mut self, kept: &[TopicPartition]) -> Vec<TopicPartition> {
        let removed = self.cursors.extract_if(.., |cursor| !kept.contains(&cursor.partition));
        let removed: Vec<TopicPartition> = removed.map(|cursor| cursor.partition).collect();
        self.assignment.remove(&removed);
        removed
    }

    /// Adds those partitions of `share` that the member does not have.
    fn take(&mut self, mut share: Vec<TopicPartition>, logs: &Logs) {
        share.retain(|partition| !self.cursors.iter().any(|cursor| cursor.partition == *partition));
        if share.is_empty() {
            return;
        }
        let epoch = self.assignment.add(&share);
        self.cursors.extend(share.iter().map(|partition| Cursor {
            partition: partition.clone(),
            epoch,
            log_id: logs[partition].id(),
            next_offset: None,
            end_reported: false,
        }));
        self.events.push_back(SourceEvent::Assigned(share));
    }
}

impl Cursor {
    fn poll(&mut self, logs: &Logs, batch_records: usize) -> Result<Option<SourceEvent>, SourceError> {
        let Some(next_offset) = self.next_offset else { return Ok(None) };
        let partition = self.partition.clone();
        let log = &logs[&partition];
        verify(next_offset, Some(&self.log_id), &log.extent())
            .map_err(|verdict| SourceError::Verdict { partition: partition.clone(), verdict })?;
        let records = log.read(next_offset, batch_records);
        if let Some(last) = records.last().cloned() {
            self.next_offset = Some(last.offset + 1);
            self.end_reported = false;
            return Ok(Some(SourceEvent::Batch(Batch {
                partition,
                assignment: self.epoch,
                from: next_offset,
                to: last.offset + 1,
                records,
                leader_epoch: None,
            })));
        }
        let reported = std::mem::replace(&mut self.end_reported, true);
        Ok((!reported).then_some(SourceEvent::AtEnd(partition)))
    }
}
