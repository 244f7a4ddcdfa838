//! When something that failed is tried again.

use std::time::Duration;

use tokio::time::Instant;

use crate::retry::Backoff;

/// The wait before the second attempt, and the longest wait.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

/// When something that failed is tried again.
pub(super) struct Attempts {
    backoff: Backoff,
    next: Option<Instant>,
}

impl Attempts {
    pub(super) fn new(seed: u64) -> Self {
        Self { backoff: Backoff::new(seed, FIRST_WAIT, LONGEST_WAIT), next: None }
    }

    pub(super) fn is_due(&self) -> bool {
        self.next.is_none_or(|next| next <= Instant::now())
    }

    /// How many attempts in a row have failed.
    pub(super) fn failures(&self) -> u32 {
        self.backoff.attempt()
    }

    /// Counts a failure and sets the time of the next attempt. Returns how many in a row have failed.
    pub(super) fn failed(&mut self) -> u32 {
        self.next = Some(Instant::now() + self.backoff.next_wait());
        self.failures()
    }

    pub(super) fn succeeded(&mut self) {
        self.backoff.reset();
        self.next = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_longest_and_end_with_a_success() {
        let mut attempts = Attempts::new(7);
        assert!(attempts.is_due());
        let mut waits = Vec::new();
        for attempt in 1..=20 {
            let now = Instant::now();
            assert_eq!(attempts.failed(), attempt);
            assert!(!attempts.is_due());
            waits.push(attempts.next.expect("there is a next attempt").duration_since(now));
        }
        assert!(waits[0] <= FIRST_WAIT + Duration::from_secs(1), "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= LONGEST_WAIT + Duration::from_secs(1)), "{waits:?}");
        assert!(waits[19] >= LONGEST_WAIT / 2, "{waits:?}");
        attempts.succeeded();
        assert!(attempts.is_due());
    }
}
