//! Projects records of the log without writing anything.

use std::collections::BTreeMap;

use readcast_core::{Change, Definition, Position, TopicPartition};

use crate::decode::decode;
use crate::error::Failure;
use crate::operations::OperationReconciler;
use crate::operations::log_reader::LogReader;
use crate::plan::DuplicateClass;
use crate::source::{Record, SourceError};
use crate::store::{Amendment, DuplicateWindow, LedgerEntry, Positions};

/// Projects records of the log as the live generation did.
pub(super) struct RecordProjector<'a> {
    pub(super) reconciler: &'a OperationReconciler,
    pub(super) definition: &'a Definition,
    /// What operators decided about records.
    pub(super) amendments: BTreeMap<Position, Amendment>,
    /// Over how many offsets the live generation recognises duplicates.
    pub(super) duplicate_window: i64,
}

/// The events that a reading of the log has met, of each partition.
pub(super) type DuplicateWindows = BTreeMap<TopicPartition, DuplicateWindow>;

impl RecordProjector<'_> {
    /// What the record changes, or why it is poison.
    pub(super) fn project(&self, partition: &TopicPartition, record: &Record) -> Result<Vec<Change>, String> {
        let position = partition.at(record.offset);
        let replaced = match self.amendments.get(&position) {
            Some(Amendment::Discard) => return Ok(Vec::new()),
            Some(Amendment::Replace(value)) => {
                Some(Record { value: Some(value.clone()), remark: None, ..record.clone() })
            }
            Some(Amendment::Accept) | None => None,
        };
        let record = replaced.as_ref().unwrap_or(record);
        let events = decode(self.reconciler.record_policy.decoders.of(&position.topic), &position, record)?;
        let mut changes = Vec::new();
        for event in events.iter().filter(|event| self.definition.subscribes(&event.event_type)) {
            changes.extend(self.definition.project(event).map_err(|error| error.to_string())?);
        }
        Ok(changes)
    }

    /// Whether the live generation left the record out, because an event with its id came before.
    fn is_left_out(&self, met: &mut DuplicateWindows, partition: &TopicPartition, record: &Record) -> bool {
        let (policy, position) = (&self.reconciler.record_policy, partition.at(record.offset));
        let amendment = self.amendments.get(&position);
        let is_read = record.bytes() <= policy.max_record_bytes && amendment != Some(&Amendment::Discard);
        if self.duplicate_window == 0 || !is_read {
            return false;
        }
        let Ok(events) = decode(policy.decoders.of(&position.topic), &position, record) else { return false };
        let window = met.entry(partition.clone()).or_insert_with(|| DuplicateWindow::new(self.duplicate_window));
        let last = |entry: &LedgerEntry| window.last(&entry.id, entry.offset);
        let (class, new) = policy.identity.classify_duplicate(record, &events, last);
        new.into_iter().for_each(|entry| window.add(entry));
        class == DuplicateClass::Duplicate || (class == DuplicateClass::Conflict && amendment.is_none())
    }

    /// Calls `each` with every record from one position to another, but for duplicates. Of the records before the first
    /// position, `met` knows the ids.
    pub(super) async fn read(
        &self,
        met: &mut DuplicateWindows,
        from: &Positions,
        to: &Positions,
        mut each: impl FnMut(&TopicPartition, &Record) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Some(mut reader) = LogReader::open(self.reconciler, self.definition, from, to).await? else {
            return Ok(());
        };
        loop {
            let batch = tokio::select! {
                () = self.reconciler.stop.cancelled() => return Err(stopped().into()),
                batch = reader.next() => batch?,
            };
            let Some(batch) = batch else { break };
            for record in &batch.records {
                if !self.is_left_out(met, &batch.partition, record) {
                    each(&batch.partition, record)?;
                }
            }
        }
        reader.close().await;
        Ok(())
    }
}

fn stopped() -> SourceError {
    SourceError::Unavailable { doing: "reading the log".into(), reason: "this process stops".into() }
}
