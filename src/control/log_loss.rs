//! What the log has lost of what a projection still has to read.

use std::collections::BTreeSet;

use super::{Control, ControlError, live_of};
use crate::operations::accept_loss::unreadable_checkpoints;
use crate::source::Source;

impl Control {
    /// What the operation `accept-loss` would accept, a sentence for each partition of each generation. Changes nothing.
    ///
    /// # Errors
    /// `NotFound` when the projection has no live generation; `Unavailable` when store or log do not answer.
    pub async fn losses(&self, source: &dyn Source, projection: &str) -> Result<Vec<String>, ControlError> {
        let generations = self.generations_of(projection).await?;
        let live = live_of(&generations, projection)?;
        let topics: BTreeSet<&str> = live.checkpoints.iter().map(|held| &*held.partition.topic).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        let extents = source.extents(&topics).await?;
        Ok(unreadable_checkpoints(&generations, &extents).into_iter().map(|lost| lost.description).collect())
    }
}
