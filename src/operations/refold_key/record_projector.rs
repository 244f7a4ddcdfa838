//! Projects records of the log without writing anything.

use std::collections::BTreeMap;

use readcast_core::{Change, Definition, Position, TopicPartition};

use crate::decode::decode;
use crate::error::Failure;
use crate::operations::OperationReconciler;
use crate::operations::log_reader::LogReader;
use crate::source::{Record, SourceError};
use crate::store::{Amendment, Positions};

/// Projects records of the log as the live generation did.
pub(super) struct RecordProjector<'a> {
    pub(super) reconciler: &'a OperationReconciler,
    pub(super) definition: &'a Definition,
    /// What operators decided about records.
    pub(super) amendments: BTreeMap<Position, Amendment>,
}

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
        let event = decode(self.reconciler.record_policy.decoders.of(&position.topic), &position, record)?;
        match self.definition.subscribes(&event.event_type) {
            true => self.definition.project(&event).map_err(|error| error.to_string()),
            false => Ok(Vec::new()),
        }
    }

    /// Calls `each` with every record from one position to another.
    pub(super) async fn read(
        &self,
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
            batch.records.iter().try_for_each(|record| each(&batch.partition, record))?;
        }
        reader.close().await;
        Ok(())
    }
}

fn stopped() -> SourceError {
    SourceError::Unavailable { doing: "reading the log".into(), reason: "this process stops".into() }
}
