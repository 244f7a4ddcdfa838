//! Planning, on a thread that may be left behind: a projection that never ends over a record would otherwise hold up
//! everything else, and nothing can stop it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use readcast_core::{Definition, Position};

use crate::plan::{AllowedChanges, CurrentRecord, OutOfStep, PartitionCursor, Plan, RecordPolicy, Rules, plan};
use crate::source::Batch;
use crate::store::{ParkingLimits, PartitionState, PoisonCause, PoisonClass};

/// How many threads may be left behind in projections that do not end.
pub(super) const MOST_LEFT_BEHIND: usize = 3;

/// One plan to be made.
pub(crate) struct Task {
    pub(crate) definition: Definition,
    pub(crate) policy: Arc<RecordPolicy>,
    pub(crate) allowed: AllowedChanges,
    pub(crate) condemned: Arc<BTreeMap<Position, PoisonCause>>,
    pub(crate) parking: Option<ParkingLimits>,
    pub(crate) most_applied: usize,
    pub(crate) batches: Vec<(Arc<Batch>, PartitionCursor, Arc<PartitionState>)>,
}

/// Why work did not come to an end.
pub enum Unending {
    /// The projection has not got done with this record.
    Stuck(Position, PoisonCause),
    /// It panicked outside of the projection.
    Panicked(String),
}

/// Does `work` on a thread of its own, and leaves it behind there when its plan stands at one record for `longest`.
pub async fn watched<T: Send + 'static>(
    longest: Duration,
    work: impl FnOnce(&CurrentRecord) -> T + Send + 'static,
) -> Result<T, Unending> {
    let current = Arc::new(CurrentRecord::default());
    let shown = current.clone();
    let mut working = tokio::task::spawn_blocking(move || work(&shown));
    let mut seen = None;
    loop {
        match tokio::time::timeout(longest, &mut working).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(panicked)) => return Err(Unending::Panicked(panicked.to_string())),
            Err(_) => match current.at() {
                Some(position) if seen.as_ref() == Some(&position) => {
                    return Err(Unending::Stuck(position, endless(longest)));
                }
                at => seen = at,
            },
        }
    }
}

impl Task {
    pub(crate) async fn run(self) -> Result<Result<Plan, OutOfStep>, Unending> {
        watched(Duration::from_millis(self.policy.longest_projection_ms), move |current| self.plan(current)).await
    }

    fn plan(self, current: &CurrentRecord) -> Result<Plan, OutOfStep> {
        let rules = Rules {
            definition: &self.definition,
            policy: &self.policy,
            allowed: self.allowed,
            condemned: &self.condemned,
            parking: self.parking,
            most_applied: self.most_applied,
            current,
        };
        let batches = self.batches.iter().map(|(batch, cursor, memory)| (&**batch, *cursor, &**memory));
        plan(rules, batches)
    }
}

fn endless(longest: Duration) -> PoisonCause {
    let reason = format!(
        "the projection did not get done with it in {} seconds. A thread is still at it until the process is restarted",
        longest.as_secs_f32()
    );
    PoisonCause::new(PoisonClass::Exhausted, reason)
}
