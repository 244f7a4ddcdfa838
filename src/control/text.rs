//! The progress of an operation as text. Pure.

use std::time::Duration;

use crate::store::OperationProgress;
use crate::text::grouped;

/// How far an operation is: its phase, and as much of the rest as is known.
pub fn progress_text(progress: &OperationProgress) -> String {
    let OperationProgress { phase, done, total, per_second } = progress;
    let mut parts = vec![phase.clone()];
    if let Some(percent) = (done * 100).checked_div(*total) {
        parts.push(format!("{} of {} ({percent} %)", grouped(*done), grouped(*total)));
    }
    if let Some(rate) = per_second {
        parts.push(format!("{} per second", grouped(*rate as u64)));
    }
    let left = progress.seconds_left().filter(|_| done < total);
    if let Some(left) = left.and_then(|left| Duration::try_from_secs_f64(left).ok()) {
        parts.push(format!("{} left", rounded(left)));
    }
    parts.join(", ")
}

/// A duration in its largest unit, such as `38 s` or `4 min`.
fn rounded(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", grouped(seconds / 3600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_shows_what_is_known() {
        let phase = || "replay".to_owned();
        assert_eq!(progress_text(&OperationProgress { phase: phase(), ..OperationProgress::default() }), "replay");
        let known = OperationProgress { phase: phase(), done: 1_200, total: 5_000, per_second: Some(100.0) };
        assert_eq!(progress_text(&known), "replay, 1,200 of 5,000 (24 %), 100 per second, 38 s left");
        let complete = OperationProgress { done: 5_000, ..known.clone() };
        assert_eq!(progress_text(&complete), "replay, 5,000 of 5,000 (100 %), 100 per second");
        let slow = OperationProgress { per_second: Some(1.0), ..known };
        assert_eq!(progress_text(&slow), "replay, 1,200 of 5,000 (24 %), 1 per second, 63 min left");
    }
}
