//! Reads parked records (dead letters), and tracks which of them were copied to a topic.

use async_trait::async_trait;
use readcast_core::{Position, TopicPartition};

use super::{Decision, ParkedIn, ParkedRecord, ParkedSequence, SequenceId, StoreError, WaitingRecords};

/// Reads parked records. [`Writer::commit`](super::Writer::commit) parks records, and
/// [`Writer::settle`](super::Writer::settle) settles them.
#[async_trait]
pub trait ParkingStore: Send + Sync {
    /// The parked sequences of a generation, ordered by partition and first offset.
    async fn parked(&self, of: ParkedIn<'_>) -> Result<Vec<ParkedSequence>, StoreError>;

    /// The next records of a parked sequence from the offset `from` on, in the order of the log, at most `most`.
    async fn waiting(
        &self,
        of: ParkedIn<'_>,
        partition: &TopicPartition,
        sequence: &SequenceId,
        from: i64,
        most: usize,
    ) -> Result<WaitingRecords, StoreError>;

    /// The decisions of operators about records that are still parked in the generation, ordered by partition and offset.
    async fn open_decisions(&self, of: ParkedIn<'_>) -> Result<Vec<Decision>, StoreError>;

    /// The decisions of operators about the projection's records, ordered by partition and offset.
    async fn decisions(&self, projection: &str) -> Result<Vec<Decision>, StoreError>;

    /// Removes a decision, and records that in the projection's operations. `false` if there is none. Rows stay as they are
    /// until the record is projected again.
    async fn revoke(&self, projection: &str, position: &Position, by: &str, reason: &str) -> Result<bool, StoreError>;

    /// The dead letters that are due to be copied to their topic, ordered by partition and offset, at most `most`.
    async fn uncopied(&self, of: ParkedIn<'_>, most: usize) -> Result<Vec<ParkedRecord>, StoreError>;

    /// Records that these dead letters were copied.
    async fn note_copied(&self, of: ParkedIn<'_>, letters: &[(TopicPartition, i64)]) -> Result<(), StoreError>;

    /// Records that these dead letters could not be copied although others could, with the reasons. They are retried
    /// after a minute. Each further wait is twice as long, up to an hour.
    async fn note_uncopyable(
        &self,
        of: ParkedIn<'_>,
        letters: &[((TopicPartition, i64), String)],
    ) -> Result<(), StoreError>;

    /// The dead letters that could not be copied although others could, with the reasons, ordered by partition and
    /// offset.
    async fn uncopyable(&self, of: ParkedIn<'_>) -> Result<Vec<((TopicPartition, i64), String)>, StoreError>;
}
