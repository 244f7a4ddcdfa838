//! The members of a group, and which of them has which partition.
//!
//! Partitions are dealt out in turn, in order, to the members that the group believes in. It knows of records only how
//! to deliver them.

use std::collections::VecDeque;
use std::sync::Arc;

use readcast_core::TopicPartition;

use super::log::Logs;
use crate::source::{Assignment, AssignmentEpoch, Batch, SourceError, SourceEvent, Start, verify};

#[derive(Debug)]
pub(super) struct Group {
    topics: Vec<String>,
    members: Vec<GroupMember>,
    /// Which of the members gets the first partition; grows with every rebalance.
    first: usize,
}

#[derive(Debug, Default)]
struct GroupMember {
    standing: PartitionCursor,
    assignment: Arc<Assignment>,
    /// What it was not told yet.
    events: VecDeque<SourceEvent>,
    /// What it believes to have, the one delivered last at the end.
    readings: Vec<Reading>,
}

#[derive(Debug, Default, PartialEq)]
enum PartitionCursor {
    #[default]
    Joined,
    /// Given up by the group without knowing it.
    Zombie,
    Gone,
}

#[derive(Debug)]
struct Reading {
    partition: TopicPartition,
    epoch: AssignmentEpoch,
    /// Which log it was when it was assigned.
    log_id: String,
    /// None before the start.
    next_offset: Option<i64>,
    end_told: bool,
}

impl Group {
    pub(super) fn new(topics: &[&str]) -> Self {
        Self { topics: topics.iter().map(|&topic| topic.to_owned()).collect(), members: Vec::new(), first: 0 }
    }

    /// One more member: its number, and its assignment.
    pub(super) fn join(&mut self, logs: &Logs) -> (usize, Arc<Assignment>) {
        let member = GroupMember::default();
        let assignment = Arc::clone(&member.assignment);
        self.members.push(member);
        self.deal(logs);
        let number = self.members.len() - 1;
        let events = &mut self.members[number].events;
        if events.is_empty() {
            events.push_back(SourceEvent::Assigned(Vec::new()));
        }
        (number, assignment)
    }

    /// Brings every member that has joined to its share. What it keeps is left alone.
    pub(super) fn deal(&mut self, logs: &Logs) {
        let joined = self.members.iter().filter(|member| member.standing == PartitionCursor::Joined).count();
        let ours = logs.keys().filter(|partition| self.topics.iter().any(|topic| **topic == *partition.topic));
        let mut shares = vec![Vec::new(); joined];
        for (number, partition) in ours.enumerate().take_while(|_| joined > 0) {
            shares[(number + self.first) % joined].push(partition.clone());
        }
        let members = self.members.iter_mut().filter(|member| member.standing == PartitionCursor::Joined);
        for (member, share) in members.zip(shares) {
            let revoked = member.give_up(&share);
            member.events.extend((!revoked.is_empty()).then_some(SourceEvent::Revoked(revoked)));
            member.take(share, logs);
        }
    }

    pub(super) fn rebalance(&mut self, logs: &Logs) {
        for member in self.members.iter_mut().filter(|member| member.standing == PartitionCursor::Joined) {
            let revoked = member.give_up(&[]);
            member.events.extend((!revoked.is_empty()).then_some(SourceEvent::Revoked(revoked)));
        }
        self.first += 1;
        self.deal(logs);
    }

    pub(super) fn lose(&mut self, member: usize, logs: &Logs) {
        self.members[member].standing = PartitionCursor::Zombie;
        self.deal(logs);
    }

    pub(super) fn tell_lost(&mut self, member: usize, logs: &Logs) {
        let member = &mut self.members[member];
        if member.standing == PartitionCursor::Zombie {
            member.standing = PartitionCursor::Joined;
            let lost = member.give_up(&[]);
            member.events.push_back(SourceEvent::Lost(lost));
            self.deal(logs);
        }
    }

    pub(super) fn leave(&mut self, member: usize, logs: &Logs) {
        self.members[member] = GroupMember { standing: PartitionCursor::Gone, ..GroupMember::default() };
        self.deal(logs);
    }

    pub(super) fn start(&mut self, member: usize, starts: &[Start]) {
        for reading in &mut self.members[member].readings {
            if let Some(start) = starts.iter().find(|start| start.partition == reading.partition) {
                reading.next_offset = Some(start.next_offset);
                reading.end_told = false;
            }
        }
    }

    /// What there is to tell the member now, if anything.
    pub(super) fn poll(
        &mut self,
        member: usize,
        logs: &Logs,
        batch_records: usize,
    ) -> Result<Option<SourceEvent>, SourceError> {
        let GroupMember { events, readings, .. } = &mut self.members[member];
        if let Some(event) = events.pop_front() {
            return Ok(Some(event));
        }
        for (place, reading) in readings.iter_mut().enumerate() {
            if let Some(event) = reading.poll(logs, batch_records)? {
                readings[place..].rotate_left(1);
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}

impl GroupMember {
    /// Takes away all but `kept`.
    fn give_up(&mut self, kept: &[TopicPartition]) -> Vec<TopicPartition> {
        let gone = self.readings.extract_if(.., |reading| !kept.contains(&reading.partition));
        let gone: Vec<TopicPartition> = gone.map(|reading| reading.partition).collect();
        self.assignment.remove(&gone);
        gone
    }

    /// Gives it those of `share` that it does not have.
    fn take(&mut self, mut share: Vec<TopicPartition>, logs: &Logs) {
        share.retain(|partition| !self.readings.iter().any(|reading| reading.partition == *partition));
        if share.is_empty() {
            return;
        }
        let epoch = self.assignment.add(&share);
        self.readings.extend(share.iter().map(|partition| Reading {
            partition: partition.clone(),
            epoch,
            log_id: logs[partition].id(),
            next_offset: None,
            end_told: false,
        }));
        self.events.push_back(SourceEvent::Assigned(share));
    }
}

impl Reading {
    fn poll(&mut self, logs: &Logs, batch_records: usize) -> Result<Option<SourceEvent>, SourceError> {
        let Some(next_offset) = self.next_offset else { return Ok(None) };
        let partition = self.partition.clone();
        let log = &logs[&partition];
        verify(next_offset, Some(&self.log_id), &log.extent())
            .map_err(|verdict| SourceError::Verdict { partition: partition.clone(), verdict })?;
        let records = log.read(next_offset, batch_records);
        if let Some(last) = records.last().cloned() {
            self.next_offset = Some(last.offset + 1);
            self.end_told = false;
            return Ok(Some(SourceEvent::Batch(Batch {
                partition,
                assignment: self.epoch,
                from: next_offset,
                to: last.offset + 1,
                records,
                leader_epoch: None,
            })));
        }
        let told = std::mem::replace(&mut self.end_told, true);
        Ok((!told).then_some(SourceEvent::AtEnd(partition)))
    }
}
