//! What the log has lost of what was still to be read, and how to go on behind it.

use readcast_core::TopicPartition;

use crate::source::{Extents, Verdict, verify};
use crate::store::{CheckpointMove, GenerationStatus};

/// A checkpoint that points to where the log can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Where the checkpoint goes.
    pub step: CheckpointMove,
    /// What is lost, in words.
    pub what: String,
}

/// What is lost to the generations that are fed, given how far the log reaches; and how each could go on.
pub fn losses<'a>(statuses: impl IntoIterator<Item = &'a GenerationStatus>, extents: &Extents) -> Vec<Loss> {
    let fed = statuses.into_iter().filter(|status| status.state.is_fed());
    fed.flat_map(|status| of_generation(status, extents)).collect()
}

fn of_generation(status: &GenerationStatus, extents: &Extents) -> Vec<Loss> {
    let found_out = status.last_error.as_ref().filter(|_| status.is_halted()).and_then(|error| cut_off(&error.text));
    let loss = |partition: &TopicPartition, to, what| Loss {
        step: CheckpointMove { generation: status.generation, partition: partition.clone(), to },
        what: format!("{partition} of generation {}: {what}", status.generation.0),
    };
    let checkpoints = status.checkpoints.iter().filter_map(|held| {
        let Some(extent) = extents.get(&held.partition) else {
            return Some(loss(&held.partition, None, "the partition is gone, and its checkpoint goes".to_owned()));
        };
        let regrown = found_out.as_ref().filter(|(partition, _)| *partition == held.partition.to_string());
        let (to, what) = match verify(held.next_offset, held.log_id.as_deref(), extent) {
            Err(Verdict::Gap { from, to }) => (to, format!("{} records are gone, [{from}, {to})", to - from)),
            Err(Verdict::Truncated { next_offset, end }) => {
                (end, format!("the log was cut off: it goes on at {end}, and was read up to {next_offset}"))
            }
            Err(verdict) => (extent.start, format!("{verdict}: it is read from its beginning at {}", extent.start)),
            Ok(()) => {
                let end = regrown?.1.clamp(extent.start, held.next_offset);
                (end, format!("the log was cut off at {end} and grew again: it is read from there on"))
            }
        };
        Some(loss(&held.partition, Some((to, extent.log_id.clone())), what))
    });
    checkpoints.collect()
}

/// The partition and the offset at which it was cut off, from what was recorded of a verdict. A log that was cut off and
/// grew again looks whole by its offsets: that somebody found it out while reading is all there is to see.
fn cut_off(recorded: &str) -> Option<(String, i64)> {
    let (partition, rest) = recorded.split_once(": truncated: [")?;
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
        let place = |loss: Loss| (loss.step.partition.partition, loss.step.to.map(|(next_offset, _)| next_offset));
        losses([status], extents).into_iter().map(place).collect()
    }

    #[test]
    fn checkpoints_go_to_where_the_log_can_be_read_again() {
        let live = GenerationStatus::live_at(&[(0, 10), (1, 20), (2, 30), (3, 5)]);
        let extents = extents([(0, 0, 50), (1, 25, 50), (2, 0, 28)]);
        assert_eq!(moves(&live, &extents), [(1, Some(25)), (2, Some(28)), (3, None)]);
    }

    #[test]
    fn a_log_that_grew_again_is_read_from_where_it_was_cut_off() {
        let verdict = Verdict::Truncated { next_offset: 20, end: 12 };
        let text = SourceError::Verdict { partition: orders(1), verdict }.to_string();
        let error = |attempt| {
            Some(RecordedError { text: text.clone(), since: String::new(), attempt, ..RecordedError::default() })
        };
        let live = GenerationStatus { last_error: error(None), ..GenerationStatus::live_at(&[(0, 10), (1, 20)]) };
        let extents = extents([(0, 0, 50), (1, 0, 50)]);
        assert_eq!(moves(&live, &extents), [(1, Some(12))]);
        let goes_on = GenerationStatus { last_error: error(Some(3)), ..live };
        assert_eq!(moves(&goes_on, &extents), []);
    }
}
