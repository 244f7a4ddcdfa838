//! Whether the log still holds the records that a rebuild would replay. Pure.

use std::fmt;

use readcast_core::TopicPartition;

use crate::source::{Extents, verify};
use crate::store::GenerationStatus;
use crate::text::counted;

/// Records of one partition from which the live generation was built, and which the log no longer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostHistory {
    /// The partition of the lost records.
    pub partition: TopicPartition,
    /// The offset at which the live generation began.
    pub from: i64,
    /// The offset at which the log begins now.
    pub to: i64,
}

impl fmt::Display for LostHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, from, to } = self;
        write!(f, "{partition}: [{from}, {to}) is gone, {}", counted(from.abs_diff(*to), "offset"))
    }
}

/// What a rebuild from the earliest offset would lack: in each partition the records between the offset at which the live
/// generation began and the offset at which the log begins now. In a partition without a checkpoint it began at 0.
pub fn lost_history(extents: &Extents, live: Option<&GenerationStatus>) -> Vec<LostHistory> {
    let began = |partition: &TopicPartition| {
        let checkpoint = live.and_then(|live| live.checkpoints.iter().find(|held| held.partition == *partition));
        checkpoint.and_then(|checkpoint| checkpoint.start_offset).unwrap_or(0)
    };
    let of_partitions = extents.iter().map(|(partition, extent)| LostHistory {
        partition: partition.clone(),
        from: began(partition),
        to: extent.start,
    });
    of_partitions.filter(|lost| lost.to > lost.from).collect()
}

/// The beginning of a sentence that names what a rebuild from the earliest offset would lack. `None` if that is nothing.
pub fn truncated_history(extents: &Extents, live: &GenerationStatus) -> Option<String> {
    let lost: Vec<String> = lost_history(extents, Some(live)).iter().map(ToString::to_string).collect();
    (!lost.is_empty()).then(|| {
        let lost = lost.join("; ");
        format!("truncated history: the log no longer holds all records from which the live tables were built ({lost})")
    })
}

/// The first checkpoint from which the log can't be read, and why. Partitions that the log does not have are not examined.
pub fn unreadable_position(status: &GenerationStatus, extents: &Extents) -> Option<String> {
    status.checkpoints.iter().find_map(|checkpoint| {
        let extent = extents.get(&checkpoint.partition)?;
        let verdict = verify(checkpoint.next_offset, checkpoint.log_id.as_deref(), extent).err()?;
        Some(format!("{}: {verdict}", checkpoint.partition))
    })
}
