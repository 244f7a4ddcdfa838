//! Holds on generations: both the live one and another stop, so that the other one can reach the live one.

use std::time::Duration;

use tokio::time::Instant;

use super::step::OperationStep;
use crate::error::Failure;
use crate::store::GenerationStatus;

/// How long the live generation is held at most.
const LONGEST_HOLD: Duration = Duration::from_secs(5);
/// How long until the next look while the live generation is held: shorter than between steps, for readers wait.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Holds the live generation until it and the generation `status` are as `is_reached` demands. Returns `true` with the hold
/// in place, or `false` without a hold when [`LONGEST_HOLD`] is over, the generation has ended, or this process stops.
pub(super) async fn until(
    step: &mut OperationStep<'_>,
    status: &GenerationStatus,
    is_reached: impl Fn(&GenerationStatus, &GenerationStatus) -> bool,
) -> Result<bool, Failure> {
    let since = Instant::now();
    step.lead.hold(status.generation).await?;
    while since.elapsed() < LONGEST_HOLD && !step.reconciler.stop.is_cancelled() {
        let statuses = step.reconciler.statuses().await?;
        let find = |generation| statuses.iter().find(|status| status.generation == generation);
        match (find(step.live.generation), find(status.generation)) {
            (Some(live), Some(other)) if is_reached(live, other) => return Ok(true),
            (Some(_), Some(other)) if other.state.is_fed() => tokio::time::sleep(POLL_INTERVAL).await,
            // An operator has cancelled the operation.
            _ => break,
        }
    }
    step.lead.release_holds().await?;
    Ok(false)
}
