//! Where dead letters are copied to, for teams whose tools look there. The store's own record of them stays the authority.

use async_trait::async_trait;
use readcast_core::TopicPartition;
use tokio_util::sync::CancellationToken;

use super::{Record, SourceError};

/// Where dead letters are copied to.
#[async_trait]
pub trait DeadLetterSink: Send + Sync {
    /// What operators call it, such as "topic `orders.dead`".
    fn name(&self) -> &str;

    /// Copies the letters in their order. Returns one outcome for each, in the same order: a letter that can't be copied
    /// does not prevent the others. Returns early when `stop` is cancelled; the letters that are not copied by then are
    /// [`CopyOutcome::NotCopied`].
    async fn copy(&self, letters: Vec<DeadLetterCopy>, stop: CancellationToken) -> Vec<CopyOutcome>;
}

/// One dead letter to be copied.
#[derive(Clone, Debug)]
pub struct DeadLetterCopy {
    /// The projection for which it is parked.
    pub projection: String,
    /// The consumer group in which the projection reads.
    pub group: String,
    /// The record's partition.
    pub partition: TopicPartition,
    /// The record, with its offset.
    pub record: Record,
    /// The class of what is wrong with it, and the reason; `None` when it only waits for an earlier record of its key.
    pub cause: Option<(String, String)>,
}

/// What became of one letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyOutcome {
    /// The sink has it.
    Copied,
    /// The sink refuses this record, for this reason. Others may be accepted.
    Refused(String),
    /// It was not copied, for a reason that does not lie in the record: the sink can't be reached, or does not exist.
    NotCopied(SourceError),
}
