//! Planning, on a thread that may be left behind: a projection that never ends over a record would otherwise hold up
//! everything else, and nothing can stop it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use readcast_core::{Definition, Position};

use crate::plan::{AllowedChanges, CurrentRecord, OutOfStep, PartitionCursor, Plan, RecordPolicy, Rules, plan};
use crate::retry::in_words;
use crate::source::Batch;
use crate::store::{ParkingLimits, PartitionState, PoisonCause, PoisonClass};

/// How many threads a lane may leave behind in projections that do not end.
pub(super) const MAX_ABANDONED_THREADS: usize = 3;

/// One plan to be made.
pub(crate) struct Task {
    pub(crate) definition: Definition,
    pub(crate) policy: Arc<RecordPolicy>,
    pub(crate) allowed: AllowedChanges,
    pub(crate) known_poison: Arc<BTreeMap<Position, PoisonCause>>,
    pub(crate) parking: Option<ParkingLimits>,
    pub(crate) most_applied: usize,
    pub(crate) audits_order: bool,
    pub(crate) batches: Vec<(Arc<Batch>, PartitionCursor, Arc<PartitionState>)>,
}

/// Why work under a watchdog gave no result.
pub enum WatchdogError {
    /// The projection did not end over this record.
    Hung(Position, PoisonCause),
    /// The work panicked outside of the projection, with this text.
    Panicked(String),
}

/// Does `work` on a thread of its own, and leaves it behind there when it has been at one record for `longest`.
///
/// # Errors
/// When the work has been left behind, or has panicked.
pub async fn with_watchdog<T: Send + 'static>(
    longest: Duration,
    work: impl FnOnce(&CurrentRecord) -> T + Send + 'static,
) -> Result<T, WatchdogError> {
    let current = Arc::new(CurrentRecord::default());
    let shown = current.clone();
    let span = tracing::Span::current();
    let mut working = tokio::task::spawn_blocking(move || span.in_scope(|| work(&shown)));
    let mut seen = None;
    loop {
        match tokio::time::timeout(longest, &mut working).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(panicked)) => return Err(WatchdogError::Panicked(panicked.to_string())),
            Err(_) => match current.at() {
                Some(position) if seen.as_ref() == Some(&position) => {
                    return Err(WatchdogError::Hung(position, hung(longest)));
                }
                at => seen = at,
            },
        }
    }
}

impl Task {
    pub(crate) async fn run(self) -> Result<Result<Plan, OutOfStep>, WatchdogError> {
        with_watchdog(Duration::from_millis(self.policy.longest_projection_ms), move |current| self.plan(current)).await
    }

    fn plan(self, current: &CurrentRecord) -> Result<Plan, OutOfStep> {
        let rules = Rules {
            definition: &self.definition,
            policy: &self.policy,
            allowed: self.allowed,
            known_poison: &self.known_poison,
            parking: self.parking,
            most_applied: self.most_applied,
            audits_order: self.audits_order,
            current,
        };
        let batches = self.batches.iter().map(|(batch, cursor, state)| (&**batch, *cursor, &**state));
        plan(rules, batches)
    }
}

fn hung(longest: Duration) -> PoisonCause {
    let reason = format!(
        "the projection did not finish this record within {}. Its thread keeps running until the process is restarted",
        in_words(longest)
    );
    PoisonCause::new(PoisonClass::Exhausted, reason)
}
