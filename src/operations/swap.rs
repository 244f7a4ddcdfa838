//! The swap: readers see another generation from one moment on, all tables at once.

use super::hold;
use super::reconciler::Next;
use super::step::OperationStep;
use crate::error::Failure;
use crate::failpoint;
use crate::operations::Policy;
use crate::store::{GenerationStatus, Swap, SwapOutcome};

/// Tries to make `next` live. The transaction that swaps also ends the operation. When `next` does not catch up in time, or
/// readers are in long transactions, nothing changes and the swap is tried again after a while.
pub(super) async fn run(step: &mut OperationStep<'_>, next: &GenerationStatus) -> Result<Next, Failure> {
    failpoint::hit("swap_begin");
    step.report_progress(next, "swap").await?;
    let (number, old) = (next.generation.0, step.live.generation.0);
    let outcome = format!("generation {number} is live; generation {old} is the standby");
    let has_caught_up = |live: &GenerationStatus, next: &GenerationStatus| next.behind(live) == Some(0);
    let swapped = if hold::until(step, next, has_caught_up).await? {
        let Policy { standby_for, lock_timeout, .. } = step.reconciler.policy;
        let operation = step.operation.id;
        let swap = Swap { live: step.live, next, standby_for, lock_timeout, operation, outcome: &outcome };
        step.lead.swap(&swap).await?
    } else {
        SwapOutcome::Behind
    };
    let waits_for = match swapped {
        SwapOutcome::Done => {
            tracing::info!("{outcome}");
            return Ok(Next::Step);
        }
        SwapOutcome::Behind => "swap: waiting for the generation to catch up",
        SwapOutcome::Busy => "swap: waiting for readers in long transactions",
    };
    step.lead.release_holds().await?;
    step.report_progress(next, waits_for).await?;
    Ok(Next::Wait(step.local.swap_backoff.next_wait()))
}
