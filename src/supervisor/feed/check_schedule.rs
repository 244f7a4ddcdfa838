//! How often a feed makes its checks: seldom where nothing moves, so that a thousand quiet partitions cost next to nothing.

use std::time::Duration;

use tokio::time::Instant;

/// How often while anything moves, or is not as it should be.
const FAST: Duration = Duration::from_secs(1);
/// How often while nothing does. So late is noticed, on a log that delivers nothing, that the log or the store has changed.
const SLOW: Duration = Duration::from_secs(5);

/// When the next checks are due, and what they ask.
#[derive(Debug)]
pub(super) struct CheckSchedule {
    last: Instant,
    wait: Duration,
    /// Whether anything has moved since the last checks.
    has_moved: bool,
    /// When the store was last asked for checkpoints.
    store: Option<Instant>,
}

impl CheckSchedule {
    /// The first checks are due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self { last: now, wait: Duration::ZERO, has_moved: false, store: None }
    }

    /// When the next checks are due.
    pub(super) fn due(&self) -> Instant {
        self.last + self.wait
    }

    /// Something has moved: the next checks are due soon.
    pub(super) fn moved(&mut self) {
        self.has_moved = true;
        self.wait = self.wait.min(FAST);
    }

    /// The checks were made, and found the feed `at_rest` (well, and at the end of the log) or not. The longer it is at
    /// rest and nothing moves, the longer is the wait for the next ones.
    pub(super) fn looked(&mut self, now: Instant, at_rest: bool) {
        let at_rest = at_rest && !std::mem::take(&mut self.has_moved);
        self.last = now;
        self.wait = if at_rest { (self.wait * 2).clamp(FAST, SLOW) } else { FAST };
    }

    /// Whether to ask the store for checkpoints as well: `each_time`, or every [`SLOW`]. That the database was restored to
    /// an earlier state shows with the next commit, in all partitions except those that have none.
    pub(super) fn looks_at_store(&mut self, now: Instant, each_time: bool) -> bool {
        let due = each_time || self.store.is_none_or(|last| now.saturating_duration_since(last) >= SLOW);
        if due {
            self.store = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_become_rare_while_nothing_moves_and_are_due_soon_when_something_does() {
        let begun = Instant::now();
        let mut schedule = CheckSchedule::new(begun);
        assert_eq!(schedule.due(), begun);
        let mut waits = Vec::new();
        for at_rest in [false, true, true, true, true] {
            let now = schedule.due();
            schedule.looked(now, at_rest);
            waits.push((schedule.due() - now).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 5, 5]);
        let last = schedule.last;
        schedule.moved();
        assert_eq!(schedule.due(), last + FAST);
        for wait in [FAST, 2 * FAST] {
            schedule.looked(schedule.due(), true);
            assert_eq!(schedule.due(), schedule.last + wait);
        }
    }

    #[test]
    fn the_store_is_asked_each_time_where_that_is_needed_and_every_few_seconds_elsewhere() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut schedule = CheckSchedule::new(begun);
        let looks: Vec<bool> = (0..=6).map(|second| schedule.looks_at_store(at(second), false)).collect();
        assert_eq!(looks, [true, false, false, false, false, true, false]);
        assert!(schedule.looks_at_store(at(7), true) && schedule.looks_at_store(at(8), true));
        assert!(!schedule.looks_at_store(at(9), false));
    }
}
