//! Reads the log from one position to another, in a consumer group of its own.

use readcast_core::{Definition, TopicPartition};

use super::OperationReconciler;
use crate::error::Failure;
use crate::source::{Batch, SourceError, SourceEvent, Start, Subscription};
use crate::store::{GenerationStatus, Positions};

/// The next offset of every partition in which the generation has a checkpoint.
pub(super) fn positions_of(status: &GenerationStatus) -> Positions {
    status.checkpoints.iter().map(|checkpoint| (checkpoint.partition.clone(), checkpoint.next_offset)).collect()
}

/// Reads every partition from one offset to another.
pub(super) struct LogReader {
    subscription: Box<dyn Subscription>,
    from: Positions,
    /// Assigned partitions that are not started yet.
    starting: Vec<Start>,
    /// The ends of the partitions that are not read to their end yet.
    ends: Positions,
}

impl LogReader {
    /// Joins a consumer group of one member, which gets all partitions and stores no offsets. `None` when no partition ends
    /// behind its start. A partition without a start is read from offset 0.
    pub(super) async fn open(
        reconciler: &OperationReconciler,
        definition: &Definition,
        from: &Positions,
        to: &Positions,
    ) -> Result<Option<Self>, Failure> {
        let start = |partition: &TopicPartition| from.get(partition).copied().unwrap_or(0);
        let ends: Positions =
            to.iter().filter(|(partition, to)| start(partition) < **to).map(|(p, to)| (p.clone(), *to)).collect();
        if ends.is_empty() {
            return Ok(None);
        }
        let group = format!("{}.reading.{:016x}", reconciler.group, fastrand::u64(..));
        let subscription = reconciler.source.subscribe(&group, definition.topics()).await?;
        Ok(Some(Self { subscription, from: from.clone(), starting: Vec::new(), ends }))
    }

    /// The next records, none of them behind its partition's end; `None` after the last. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Batch>, Failure> {
        while !self.ends.is_empty() {
            // A partition delivers nothing before it is started, so a start that was dropped half-way is made again.
            if !self.starting.is_empty() {
                self.subscription.start(&self.starting).await?;
                self.starting.clear();
            }
            match self.subscription.next().await? {
                SourceEvent::Assigned(partitions) => {
                    let from = |partition: &TopicPartition| self.from.get(partition).copied().unwrap_or(0);
                    let start = |partition: TopicPartition| Start::at(partition.clone(), from(&partition));
                    self.starting.extend(partitions.into_iter().map(start));
                }
                SourceEvent::Batch(batch) => {
                    if let Some(batch) = self.clipped(batch) {
                        return Ok(Some(batch));
                    }
                }
                // Offsets between the last record and the end hold no records.
                SourceEvent::AtEnd(partition) => drop(self.ends.remove(&partition)),
                SourceEvent::Revoked(_) | SourceEvent::Lost(_) => {
                    let reason = "the partitions were revoked".into();
                    return Err(SourceError::Unavailable { doing: "reading the log".into(), reason }.into());
                }
            }
        }
        Ok(None)
    }

    /// The batch without what is behind its partition's end; `None` when that was reached before.
    fn clipped(&mut self, mut batch: Batch) -> Option<Batch> {
        let end = *self.ends.get(&batch.partition)?;
        if batch.to >= end {
            self.ends.remove(&batch.partition);
            batch.to = end;
            batch.records.retain(|record| record.offset < end);
        }
        Some(batch)
    }

    /// Leaves the group.
    pub(super) async fn close(self) {
        self.subscription.close().await;
    }
}
