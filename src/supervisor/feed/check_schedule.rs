//! How often a feed looks around: seldom where nothing moves, so that a thousand quiet partitions cost next to nothing.

use std::time::Duration;

use tokio::time::Instant;

/// How often it looks while anything moves, or is not as it should be.
const FAST: Duration = Duration::from_secs(1);
/// How often while nothing does: so old may be what is said of a partition that delivers nothing, and so late is a log or
/// a store noticed that is no longer the same.
const SLOW: Duration = Duration::from_secs(5);

/// When to look next, and at what.
#[derive(Debug)]
pub(super) struct CheckSchedule {
    last: Instant,
    wait: Duration,
    /// Whether anything has moved since the last look.
    moved: bool,
    /// When the checkpoints in the store were last looked at.
    store: Option<Instant>,
}

impl CheckSchedule {
    /// The first look is due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self { last: now, wait: Duration::ZERO, moved: false, store: None }
    }

    /// When the next look is due.
    pub(super) fn due(&self) -> Instant {
        self.last + self.wait
    }

    /// Something has moved: the next look is due soon.
    pub(super) fn hurry(&mut self) {
        self.moved = true;
        self.wait = self.wait.min(FAST);
    }

    /// It has looked, and found all `well` and at its end or not; the next time is the further away the longer nothing has
    /// moved.
    pub(super) fn looked(&mut self, now: Instant, well: bool) {
        let at_rest = well && !std::mem::take(&mut self.moved);
        self.last = now;
        self.wait = if at_rest { (self.wait * 2).clamp(FAST, SLOW) } else { FAST };
    }

    /// Whether to look at the checkpoints in the store as well. Where `each_time` is not needed they are the slow ones'
    /// business: that they were put back shows with the next commit, in all partitions but those that have none.
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
    fn it_looks_ever_less_often_while_nothing_moves_and_soon_when_something_does() {
        let begun = Instant::now();
        let mut schedule = CheckSchedule::new(begun);
        assert_eq!(schedule.due(), begun);
        let mut waits = Vec::new();
        for well in [false, true, true, true, true] {
            let now = schedule.due();
            schedule.looked(now, well);
            waits.push((schedule.due() - now).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 5, 5]);
        let last = schedule.last;
        schedule.hurry();
        assert_eq!(schedule.due(), last + FAST);
        for wait in [FAST, 2 * FAST] {
            schedule.looked(schedule.due(), true);
            assert_eq!(schedule.due(), schedule.last + wait);
        }
    }

    #[test]
    fn it_looks_at_the_store_each_time_where_that_is_needed_and_now_and_then_elsewhere() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut schedule = CheckSchedule::new(begun);
        let looks: Vec<bool> = (0..=6).map(|second| schedule.looks_at_store(at(second), false)).collect();
        assert_eq!(looks, [true, false, false, false, false, true, false]);
        assert!(schedule.looks_at_store(at(7), true) && schedule.looks_at_store(at(8), true));
        assert!(!schedule.looks_at_store(at(9), false));
    }
}
