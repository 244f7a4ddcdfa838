//! How long to wait before another attempt, and how a duration is written for people.

use std::time::Duration;

/// Exponential backoff with jitter, so that many that failed together do not return together (Brooker, "Exponential
/// Backoff And Jitter", AWS Architecture Blog, 2015).
#[derive(Debug)]
pub struct Backoff {
    random: fastrand::Rng,
    first: Duration,
    most: Duration,
    attempt: u32,
}

impl Backoff {
    /// Waits of up to `first`, then twice that, and so on up to `most`, drawn with `seed`.
    pub fn new(seed: u64, first: Duration, most: Duration) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), first, most, attempt: 0 }
    }

    /// How many attempts have failed.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Counts a failed attempt, and draws the wait before the next one.
    pub fn next_wait(&mut self) -> Duration {
        let ceiling = self.first.saturating_mul(1 << self.attempt.min(20)).min(self.most);
        self.attempt += 1;
        // Never less than half of it: an attempt at once would find what this one found.
        ceiling.mul_f64(0.5 + self.random.f64() / 2.0)
    }

    /// An attempt succeeded.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

/// `duration` as people read it: `29 ms`, `2.5 s`, `60 s`.
pub(crate) fn in_words(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    if milliseconds < 1_000 {
        return format!("{milliseconds} ms");
    }
    let tenths = milliseconds / 100;
    match tenths % 10 {
        0 => format!("{} s", tenths / 10),
        tenth => format!("{}.{tenth} s", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_cap_and_differ_between_seeds() {
        let waits = |seed| {
            let mut backoff = Backoff::new(seed, Duration::from_millis(100), Duration::from_secs(5));
            std::iter::repeat_with(move || backoff.next_wait()).take(12).collect::<Vec<_>>()
        };
        assert!(waits(1)[0] <= Duration::from_millis(100));
        assert!(waits(1).iter().all(|wait| *wait <= Duration::from_secs(5)));
        assert!(waits(1)[11] >= Duration::from_millis(2_500));
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(3), waits(3));
    }

    #[test]
    fn a_duration_is_written_in_milliseconds_or_seconds() {
        let words = |milliseconds| in_words(Duration::from_millis(milliseconds));
        assert_eq!([0, 29, 999, 1_000, 2_560, 60_000].map(words), ["0 ms", "29 ms", "999 ms", "1 s", "2.5 s", "60 s"]);
    }
}
