//! Dead letters: what is parked, and what of it was copied to a topic.

use async_trait::async_trait;
use readcast_core::TopicPartition;

use super::{ParkedIn, ParkedRecord, ParkedSequence, SequenceId, StoreError, WaitingRecords};

/// Reads what is parked. Records are parked by [`Writer::commit`](super::Writer::commit) and settled by
/// [`Writer::settle`](super::Writer::settle).
#[async_trait]
pub trait ParkingStore: Send + Sync {
    /// The sequences that are parked in a generation, by partition and place in the log.
    async fn parked(&self, of: ParkedIn<'_>) -> Result<Vec<ParkedSequence>, StoreError>;

    /// The next records of a parked sequence from the offset `from` on, in the order of the log, at most `most` of them.
    async fn waiting(
        &self,
        of: ParkedIn<'_>,
        partition: &TopicPartition,
        sequence: &SequenceId,
        from: i64,
        most: usize,
    ) -> Result<WaitingRecords, StoreError>;

    /// The dead letters that are to be copied to their topic now, by partition and place in the log, at most `most` of them.
    async fn uncopied(&self, of: ParkedIn<'_>, most: usize) -> Result<Vec<ParkedRecord>, StoreError>;

    /// Records that these dead letters were copied.
    async fn note_copied(&self, of: ParkedIn<'_>, letters: &[(TopicPartition, i64)]) -> Result<(), StoreError>;

    /// Records that these dead letters could not be copied although others could, and why. They are tried again after a
    /// minute, then after twice the time of the last wait, and after an hour at most.
    async fn note_uncopyable(
        &self,
        of: ParkedIn<'_>,
        letters: &[((TopicPartition, i64), String)],
    ) -> Result<(), StoreError>;

    /// The dead letters that could not be copied although others could, and why, by partition and place in the log.
    async fn uncopyable(&self, of: ParkedIn<'_>) -> Result<Vec<((TopicPartition, i64), String)>, StoreError>;
}
