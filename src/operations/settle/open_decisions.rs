//! Decisions of operators that a generation has not followed yet.
//!
//! A decision is made about the live generation, by a process that has its code. A process with the code of another
//! generation follows it there, so that a rollback brings back no key that was settled.

use std::collections::BTreeSet;
use std::sync::Arc;

use readcast_core::{Definition, Position};

use super::sequence::{Resolution, SequenceSettler};
use super::summary::Summary;
use crate::error::Failure;
use crate::plan::{AllowedChanges, RecordPolicy};
use crate::store::{Decision, ParkedIn, ParkedSequence, Priority, Store};

/// A generation, and how its records are read.
pub(crate) struct FollowedGeneration<'a> {
    pub(crate) of: ParkedIn<'a>,
    pub(crate) definition: &'a Definition,
    pub(crate) allowed: AllowedChanges,
    pub(crate) record_policy: &'a Arc<RecordPolicy>,
}

/// Follows the decisions about records that are parked in the generation. Each is tried once: `tried` has those that were.
///
/// # Errors
/// If the store fails, or a projection function never returns.
pub(crate) async fn follow_decisions(
    store: &dyn Store,
    generation: &FollowedGeneration<'_>,
    tried: &mut BTreeSet<Position>,
) -> Result<(), Failure> {
    let FollowedGeneration { of, definition, allowed, record_policy } = *generation;
    let open = store.open_decisions(of).await?;
    let decided = open.iter().map(|decision| (decision.position.clone(), decision.amendment.clone())).collect();
    if open.iter().all(|decision| tried.contains(&decision.position)) {
        return Ok(());
    }
    let sequences = store.parked(of).await?;
    for Decision { position, by, reason, .. } in &open {
        if tried.contains(position) {
            continue;
        }
        // Behind another record, the decision waits for that one.
        let begins = |sequence: &&ParkedSequence| sequence.partition.at(sequence.first_offset) == *position;
        let Some(sequence) = sequences.iter().find(begins) else { continue };
        let mut settler = SequenceSettler {
            store,
            record_policy,
            of,
            definition,
            allowed,
            resolution: Resolution::Decided(&decided),
            by,
            reason: reason.as_deref(),
            writer: store.writer(definition, of.generation, Priority::Operation.into()).await?,
            summary: Summary::default(),
        };
        settler.settle(sequence).await?;
        let (projected, discarded, failing) = settler.summary.counts();
        tracing::info!(%position, projected, discarded, failing, "followed an operator's decision");
        tried.insert(position.clone());
    }
    Ok(())
}
