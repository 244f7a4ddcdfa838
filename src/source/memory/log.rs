//! The records of one partition in memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use readcast_core::TopicPartition;

use crate::source::{Extent, Record};

/// The logs of all partitions.
pub(super) type Logs = BTreeMap<TopicPartition, Log>;

#[derive(Debug, Default)]
pub(super) struct Log {
    number: u64,
    start: i64,
    end: i64,
    records: BTreeMap<i64, Record>,
}

impl Log {
    /// An empty log with the number `number`.
    pub(super) fn new(number: u64) -> Self {
        Self { number, ..Self::default() }
    }

    pub(super) fn extent(&self) -> Extent {
        Extent { start: self.start, end: self.end, log_id: Some(self.id()) }
    }

    pub(super) fn id(&self) -> String {
        format!("log-{}", self.number)
    }

    pub(super) fn append(&mut self, key: Option<&str>, value: Option<Bytes>) -> i64 {
        let offset = self.skip();
        let key = key.map(|key| Bytes::copy_from_slice(key.as_bytes()));
        self.records.insert(offset, Record { offset, key, value, ..Record::default() });
        offset
    }

    pub(super) fn skip(&mut self) -> i64 {
        self.end += 1;
        self.end - 1
    }

    pub(super) fn trim(&mut self, before: i64) {
        self.start = before.clamp(self.start, self.end);
        self.records = self.records.split_off(&self.start);
    }

    pub(super) fn truncate(&mut self, end: i64) {
        self.end = end.clamp(self.start, self.end);
        self.records.split_off(&self.end);
    }

    /// At most `count` records from `next_offset` on.
    pub(super) fn read(&self, next_offset: i64, count: usize) -> Vec<Record> {
        self.records.range(next_offset..).take(count).map(|(_, record)| record.clone()).collect()
    }
}
