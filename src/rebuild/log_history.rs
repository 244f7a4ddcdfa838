//! Whether the log still holds what a rebuild would replay. Pure.

use std::fmt;

use readcast_core::TopicPartition;

use crate::source::{Extents, verify};
use crate::store::GenerationStatus;

/// Records that the live generation was built from, and that the log no longer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostHistory {
    /// Which partition.
    pub partition: TopicPartition,
    /// Where the live generation began.
    pub from: i64,
    /// Where the log begins now.
    pub to: i64,
}

impl fmt::Display for LostHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, from, to } = self;
        write!(f, "{partition}: [{from}, {to}) is gone, {} offsets", to - from)
    }
}

/// What a rebuild from the earliest offset would forget: in each partition the records between where the live
/// generation began and where the log begins now. A partition that the live generation has not seen began at 0.
pub fn forgotten(extents: &Extents, live: Option<&GenerationStatus>) -> Vec<LostHistory> {
    let began = |partition: &TopicPartition| {
        let held = live.and_then(|live| live.checkpoints.iter().find(|held| held.partition == *partition));
        held.and_then(|held| held.start_offset).unwrap_or(0)
    };
    let forgotten = extents.iter().map(|(partition, extent)| LostHistory {
        partition: partition.clone(),
        from: began(partition),
        to: extent.start,
    });
    forgotten.filter(|forgotten| forgotten.to > forgotten.from).collect()
}
/// That a rebuild from the earliest offset would forget something, and what; the beginning of a sentence.
pub fn truncated_history(extents: &Extents, live: &GenerationStatus) -> Option<String> {
    let forgotten: Vec<String> = forgotten(extents, Some(live)).iter().map(ToString::to_string).collect();
    (!forgotten.is_empty()).then(|| {
        let gone = forgotten.join("; ");
        format!("truncated history: the log no longer holds all that the live tables were built from ({gone})")
    })
}

/// The first checkpoint that the log can't be read on from, and why. Partitions that it does not have are passed over.
pub fn off_the_log(status: &GenerationStatus, extents: &Extents) -> Option<String> {
    status.checkpoints.iter().find_map(|held| {
        let extent = extents.get(&held.partition)?;
        let verdict = verify(held.next_offset, held.log_id.as_deref(), extent).err()?;
        Some(format!("{}: {verdict}", held.partition))
    })
}
