//! The log, read from one place to another without anything being written.

use std::collections::BTreeMap;

use readcast_core::{Definition, TopicPartition};

use super::OperationReconciler;
use crate::error::Failure;
use crate::source::{Batch, SourceError, SourceEvent, Start, Subscription};
use crate::store::GenerationStatus;

/// Places in the log, one a partition.
pub(super) type Places = BTreeMap<TopicPartition, i64>;

/// Where a generation stands.
pub(super) fn places(status: &GenerationStatus) -> Places {
    status.checkpoints.iter().map(|held| (held.partition.clone(), held.next_offset)).collect()
}

/// Reads every partition from one place to another.
pub(super) struct Reading {
    subscription: Box<dyn Subscription>,
    from: Places,
    /// Partitions that are ours and not started yet.
    starting: Vec<Start>,
    /// Where each partition ends that has not come there.
    left: Places,
}

impl Reading {
    /// Joins a group of its own, which gets all partitions and leaves nothing behind. `None` when there is nothing to read.
    pub(super) async fn begin(
        reconciler: &OperationReconciler,
        definition: &Definition,
        from: &Places,
        to: &Places,
    ) -> Result<Option<Self>, Failure> {
        let start = |partition: &TopicPartition| from.get(partition).copied().unwrap_or(0);
        let left: Places =
            to.iter().filter(|(partition, to)| start(partition) < **to).map(|(p, to)| (p.clone(), *to)).collect();
        if left.is_empty() {
            return Ok(None);
        }
        let group = format!("{}.reading.{:016x}", reconciler.group, fastrand::u64(..));
        let subscription = reconciler.source.subscribe(&group, definition.topics()).await?;
        Ok(Some(Self { subscription, from: from.clone(), starting: Vec::new(), left }))
    }

    /// The next records, none of them behind the end; `None` when all is read. May be cancelled without losing anything.
    pub(super) async fn next(&mut self) -> Result<Option<Batch>, Failure> {
        while !self.left.is_empty() {
            // Nothing of them comes before that, so a start that was cancelled is made again.
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
                    if let Some(batch) = self.up_to_the_end(batch) {
                        return Ok(Some(batch));
                    }
                }
                // What is missing before the end are no records.
                SourceEvent::AtEnd(partition) => drop(self.left.remove(&partition)),
                SourceEvent::Revoked(_) | SourceEvent::Lost(_) => {
                    let reason = "it was interrupted".into();
                    return Err(SourceError::Unavailable { doing: "reading the log again".into(), reason }.into());
                }
            }
        }
        Ok(None)
    }

    fn up_to_the_end(&mut self, mut batch: Batch) -> Option<Batch> {
        let to = *self.left.get(&batch.partition)?;
        if batch.to >= to {
            self.left.remove(&batch.partition);
            batch.to = to;
            batch.records.retain(|record| record.offset < to);
        }
        Some(batch)
    }

    /// Leaves the group.
    pub(super) async fn end(self) {
        self.subscription.close().await;
    }
}
