//! `accept-loss`: moves checkpoints from offsets that the log has lost to offsets at which it can be read again.

use std::collections::BTreeSet;

use readcast_core::TopicPartition;

use super::reconciler::Next;
use super::step::OperationStep;
use crate::error::Failure;
use crate::source::{Extents, Verdict, verify};
use crate::store::{CheckpointMove, GenerationStatus, OperationState};
use crate::text::counted;

/// A checkpoint from which the log can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableCheckpoint {
    /// Where reading can resume.
    pub resume_at: CheckpointMove,
    /// A sentence that names the partition, what is lost, and where reading can resume.
    pub description: String,
}

pub(super) async fn run(step: &mut OperationStep<'_>) -> Result<Next, Failure> {
    let topics: BTreeSet<&str> = step.live.checkpoints.iter().map(|held| &*held.partition.topic).collect();
    let extents = step.reconciler.source.extents(&topics.into_iter().collect::<Vec<_>>()).await?;
    let unreadable = unreadable_checkpoints(step.statuses, &extents);
    if unreadable.is_empty() {
        let outcome = "the log has lost no records that were still to be read";
        return step.finish(OperationState::Refused, outcome).await;
    }
    let (moves, descriptions): (Vec<CheckpointMove>, Vec<String>) =
        unreadable.into_iter().map(|checkpoint| (checkpoint.resume_at, checkpoint.description)).unzip();
    let outcome = descriptions.join("; ");
    tracing::warn!("an operator accepted a loss: {outcome}");
    step.lead.resume_at(&moves, step.operation.id, &outcome).await?;
    Ok(Next::Step)
}

/// The checkpoints of the generations that are fed from which the log can't be read, given how far the log reaches.
pub fn unreadable_checkpoints<'a>(
    statuses: impl IntoIterator<Item = &'a GenerationStatus>,
    extents: &Extents,
) -> Vec<UnreadableCheckpoint> {
    let fed = statuses.into_iter().filter(|status| status.state.is_fed());
    fed.flat_map(|status| unreadable_in(status, extents)).collect()
}

fn unreadable_in(status: &GenerationStatus, extents: &Extents) -> Vec<UnreadableCheckpoint> {
    let error = status.last_error.as_ref().filter(|_| status.is_halted());
    let recorded = error.and_then(|error| recorded_truncation(&error.text));
    let unreadable = |partition: &TopicPartition, to, what| UnreadableCheckpoint {
        resume_at: CheckpointMove { generation: status.generation, partition: partition.clone(), to },
        description: format!("{partition} of generation {}: {what}", status.generation.0),
    };
    let checkpoints = status.checkpoints.iter().filter_map(|checkpoint| {
        let partition = &checkpoint.partition;
        let Some(extent) = extents.get(partition) else {
            let what = "the log no longer has this partition; its checkpoint can only be deleted".to_owned();
            return Some(unreadable(partition, None, what));
        };
        let (to, what) = match verify(checkpoint.next_offset, checkpoint.log_id.as_deref(), extent) {
            Err(Verdict::Gap { from, to }) => (
                to,
                format!("{} [{from}, {to}) are lost; reading can resume at {to}", counted(from.abs_diff(to), "offset")),
            ),
            Err(Verdict::Truncated { next_offset, end }) => (
                end,
                format!(
                    "the log was truncated at {end} and had been read up to {next_offset}; reading can resume at {end}"
                ),
            ),
            Err(verdict) => {
                (extent.start, format!("{verdict}; reading can resume at the log's beginning, {}", extent.start))
            }
            Ok(()) => {
                let (_, end) = recorded.as_ref().filter(|(truncated, _)| *truncated == partition.to_string())?;
                let end = (*end).clamp(extent.start, checkpoint.next_offset);
                (end, format!("the log was truncated at {end} and has grown again; reading can resume at {end}"))
            }
        };
        Some(unreadable(partition, Some((to, extent.log_id.clone())), what))
    });
    checkpoints.collect()
}

/// The partition and the offset of a truncation, read from the error that a feed recorded. When a truncated log has grown
/// again, its extents look as if nothing had happened: only that record shows it.
fn recorded_truncation(error: &str) -> Option<(String, i64)> {
    let (partition, rest) = error.split_once(": truncated: [")?;
    let (end, _) = rest.split_once(',')?;
    Some((partition.rsplit(' ').next()?.to_owned(), end.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Extent, SourceError};
    use crate::store::RecordedError;

    fn orders(partition: i32) -> TopicPartition {
        TopicPartition::new("orders", partition)
    }

    fn extents<const N: usize>(of: [(i32, i64, i64); N]) -> Extents {
        let extent = |start, end| Extent { start, end, log_id: None };
        of.into_iter().map(|(partition, start, end)| (orders(partition), extent(start, end))).collect()
    }

    fn moves(status: &GenerationStatus, extents: &Extents) -> Vec<(i32, Option<i64>)> {
        let unreadable = unreadable_checkpoints([status], extents).into_iter().map(|checkpoint| checkpoint.resume_at);
        unreadable.map(|moved| (moved.partition.partition, moved.to.map(|(next_offset, _)| next_offset))).collect()
    }

    #[test]
    fn checkpoints_go_to_where_the_log_can_be_read_again() {
        let live = GenerationStatus::live_at(&[(0, 10), (1, 20), (2, 30), (3, 5)]);
        let extents = extents([(0, 0, 50), (1, 25, 50), (2, 0, 28)]);
        assert_eq!(moves(&live, &extents), [(1, Some(25)), (2, Some(28)), (3, None)]);
        let descriptions: Vec<String> =
            unreadable_checkpoints([&live], &extents).into_iter().map(|checkpoint| checkpoint.description).collect();
        let expected = [
            "orders/1 of generation 1: 5 offsets [20, 25) are lost; reading can resume at 25",
            "orders/2 of generation 1: the log was truncated at 28 and had been read up to 30; reading can resume at 28",
            "orders/3 of generation 1: the log no longer has this partition; its checkpoint can only be deleted",
        ];
        assert_eq!(descriptions, expected);
    }

    #[test]
    fn a_log_that_grew_again_is_read_from_where_it_was_truncated() {
        let verdict = Verdict::Truncated { next_offset: 20, end: 12 };
        let text = SourceError::Verdict { partition: orders(1), verdict }.to_string();
        let error = |attempt| {
            Some(RecordedError { text: text.clone(), since: String::new(), attempt, ..RecordedError::default() })
        };
        let live = GenerationStatus { last_error: error(None), ..GenerationStatus::live_at(&[(0, 10), (1, 20)]) };
        let extents = extents([(0, 0, 50), (1, 0, 50)]);
        assert_eq!(moves(&live, &extents), [(1, Some(12))]);
        let retrying = GenerationStatus { last_error: error(Some(3)), ..live };
        assert_eq!(moves(&retrying, &extents), []);
    }
}
