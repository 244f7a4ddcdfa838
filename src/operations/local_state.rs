//! What a process remembers of an operation between two of its steps.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::plan::OrderDependence;
use crate::retry::Backoff;
use crate::store::{Generation, Operation};

/// What this process remembers of an operation between two steps. Another process can carry out the next step without it.
pub(super) struct LocalState {
    /// The operation's number.
    pub(super) operation: i64,
    /// When this process began to carry it out.
    pub(super) since: Instant,
    pub(super) rate: RateMeter,
    /// The sum of the live generation's offsets at the step before.
    pub(super) live_offsets: Option<i64>,
    /// The generations that the operation has retired.
    pub(super) retired: BTreeSet<Generation>,
    /// The waits between attempts to swap.
    pub(super) swap_backoff: Backoff,
    /// Which rows depend on the order between partitions, as the load found.
    pub(super) order_findings: Vec<OrderDependence>,
}

impl LocalState {
    pub(super) fn new(operation: &Operation, seed: u64) -> Self {
        let (done, now) = (operation.progress.as_ref().map_or(0, |progress| progress.done), Instant::now());
        Self {
            operation: operation.id,
            since: now,
            rate: RateMeter::starting_at(done, now),
            live_offsets: None,
            retired: BTreeSet::new(),
            swap_backoff: Backoff::new(seed, Duration::from_millis(50), Duration::from_secs(2)),
            order_findings: Vec::new(),
        }
    }
}

/// Measures how many offsets an operation processes in a second.
pub(super) struct RateMeter {
    since: Instant,
    /// How many offsets were done at that time.
    done: u64,
}

impl RateMeter {
    fn starting_at(done: u64, since: Instant) -> Self {
        Self { since, done }
    }

    /// The rate in offsets per second, given how many are done at `now`. `None` in the first second of a measurement, which
    /// begins again when there were none at its beginning, or there are fewer than then.
    pub(super) fn measure(&mut self, done: u64, now: Instant) -> Option<f64> {
        if self.done > done || self.done == 0 {
            *self = Self::starting_at(done, now);
        }
        let seconds = now.duration_since(self.since).as_secs_f64();
        (seconds > 1.0).then(|| (done - self.done) as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_measured_from_the_first_progress_on() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut rate = RateMeter::starting_at(0, begun);
        assert_eq!(rate.measure(100, after(60)), None, "the wait for the first record does not count");
        assert_eq!(rate.measure(500, after(62)), Some(200.0));
        assert_eq!(rate.measure(50, after(63)), None, "it began again");
    }
}
