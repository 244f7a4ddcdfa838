//! Finds what does not progress although nothing fails: a partition that delivers nothing, a thread that hangs, a commit
//! that does not end. It decides whether a new run may cure that.

use std::collections::BTreeMap;
use std::time::Duration;

use readcast_core::TopicPartition;
use tokio::time::Instant;

use crate::error::Failure;
use crate::retry::in_words;

/// How long the thread that polls the log may give no sign of life.
const POLLER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a commit may take before it is reported.
const SLOW_COMMIT: Duration = Duration::from_secs(10);
/// How long a commit may take before it is aborted: longer than the server lets a statement take, so that this is for
/// connections that are dead without a sign.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(180);

/// Where a partition stands at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartitionSample {
    /// The end of what the log has delivered.
    pub(super) delivered: i64,
    /// The end of what is committed.
    pub(super) next_offset: i64,
    /// The end of the log.
    pub(super) end: i64,
}

/// Watches the partitions of one generation, from run to run.
#[derive(Debug)]
pub(super) struct StallDetector {
    /// How long a partition may deliver nothing of what there is.
    patience: Duration,
    partitions: BTreeMap<TopicPartition, WatchedPartition>,
}

#[derive(Debug)]
struct WatchedPartition {
    last: PartitionSample,
    /// The time since which the partition delivers no records.
    silent_since: Instant,
    /// The end of the log when its client last reported that it has delivered everything. Transaction markers count as
    /// offsets without records.
    complete_until: i64,
    /// The position at which a new run was started because of this partition. A second run at the same position would not
    /// help.
    restarted_at: Option<i64>,
}

impl StallDetector {
    /// `patience` is how long a partition may deliver nothing of what there is.
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, partitions: BTreeMap::new() }
    }

    /// A new run begins: every partition has its whole patience again.
    pub(super) fn begin(&mut self, now: Instant) {
        self.partitions.values_mut().for_each(|partition| partition.silent_since = now);
    }

    /// The log's client has delivered everything up to the end.
    pub(super) fn at_end(&mut self, partition: &TopicPartition) {
        if let Some(watched) = self.partitions.get_mut(partition) {
            watched.complete_until = watched.complete_until.max(watched.last.end);
        }
    }

    /// Compares a partition with its last sample. Returns what is wrong with it, in words, if a new run has not helped.
    ///
    /// # Errors
    /// [`Failure::Stalled`] when it delivers nothing of what there is: a new run may cure that, once.
    pub(super) fn look(
        &mut self,
        partition: &TopicPartition,
        sample: PartitionSample,
        now: Instant,
    ) -> Result<Option<String>, Failure> {
        let watched = self.partitions.entry(partition.clone()).or_insert_with(|| WatchedPartition {
            last: sample,
            silent_since: now,
            complete_until: i64::MIN,
            restarted_at: None,
        });
        let moves = sample.delivered != watched.last.delivered;
        let waits_for_commits = sample.delivered > sample.next_offset;
        let has_more = sample.end > sample.delivered.max(watched.complete_until);
        if moves || waits_for_commits || !has_more {
            watched.silent_since = now;
        }
        watched.last = sample;
        let silent = now.saturating_duration_since(watched.silent_since);
        if silent < self.patience {
            return Ok(None);
        }
        let text = format!(
            "{partition} has delivered nothing for {}, and the log ends {} offsets further",
            whole_seconds(silent),
            sample.end - sample.delivered
        );
        if watched.restarted_at == Some(sample.delivered) {
            return Ok(Some(format!("{text}: a producer may have an open transaction there")));
        }
        watched.restarted_at = Some(sample.delivered);
        Err(Failure::Stalled(text))
    }
}

/// Checks the thread that polls the log, which gave its last sign of life this long ago.
///
/// # Errors
/// When that is too long.
pub(super) fn poller(silent: Duration) -> Result<(), Failure> {
    if silent <= POLLER_TIMEOUT {
        return Ok(());
    }
    Err(Failure::Stalled(format!("the thread that polls the log has been silent for {}", whole_seconds(silent))))
}

/// Checks a lane, which has done this for so long. Returns a sentence when that is long.
///
/// # Errors
/// When it will not end.
pub(super) fn lane(number: usize, activity: Option<(String, Duration)>) -> Result<Option<String>, Failure> {
    let Some((what, elapsed)) = activity.filter(|(_, elapsed)| *elapsed > SLOW_COMMIT) else { return Ok(None) };
    let text = format!("lane {number} has been {what} for {}", whole_seconds(elapsed));
    if elapsed > COMMIT_TIMEOUT { Err(Failure::Stalled(text)) } else { Ok(Some(text)) }
}

fn whole_seconds(duration: Duration) -> String {
    in_words(Duration::from_secs(duration.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn orders() -> TopicPartition {
        TopicPartition::new("orders", 3)
    }

    fn sample(delivered: i64, next_offset: i64, end: i64) -> PartitionSample {
        PartitionSample { delivered, next_offset, end }
    }

    /// A detector of one partition, which is sampled at a given number of seconds after its beginning.
    struct Watched(StallDetector, Instant);

    impl Watched {
        fn new() -> Self {
            Self(StallDetector::new(PATIENCE), Instant::now())
        }

        fn look(&mut self, seconds: u64, sample: PartitionSample) -> Result<Option<String>, Failure> {
            self.0.look(&orders(), sample, self.1 + Duration::from_secs(seconds))
        }
    }

    #[test]
    fn a_partition_that_delivers_nothing_is_restarted_once_and_then_reported() {
        let mut stall_detector = Watched::new();
        assert_eq!(stall_detector.look(0, sample(5, 5, 9)), Ok(None));
        assert_eq!(stall_detector.look(30, sample(6, 6, 9)), Ok(None), "it moves");
        let stalled = stall_detector.look(90, sample(6, 6, 9)).unwrap_err();
        assert_eq!(
            stalled.to_string(),
            "stalled: orders/3 has delivered nothing for 60 s, and the log ends 3 offsets further"
        );
        stall_detector.0.begin(stall_detector.1 + Duration::from_secs(100));
        assert_eq!(stall_detector.look(100, sample(6, 6, 9)), Ok(None), "it has its whole patience again");
        let report = stall_detector.look(161, sample(6, 6, 9)).unwrap().unwrap();
        assert!(report.contains("a producer may have an open transaction"), "{report}");
        assert_eq!(stall_detector.look(162, sample(9, 9, 9)), Ok(None), "it is over");
    }

    #[test]
    fn a_partition_that_waits_for_commits_or_has_no_more_is_not_silent() {
        let mut stall_detector = Watched::new();
        for (seconds, quiet) in [(0, sample(5, 3, 9)), (1_000, sample(9, 9, 9))] {
            assert_eq!(stall_detector.look(seconds, quiet), Ok(None));
            assert_eq!(stall_detector.look(seconds + 500, quiet), Ok(None), "{quiet:?}");
        }
        // A marker at the end of the log is no record: the client says that there is no more.
        assert_eq!(stall_detector.look(1_501, sample(9, 9, 10)), Ok(None));
        stall_detector.0.at_end(&orders());
        assert_eq!(stall_detector.look(3_000, sample(9, 9, 10)), Ok(None));
        assert_eq!(stall_detector.look(3_001, sample(9, 9, 11)), Ok(None), "there is more since then");
        assert!(stall_detector.look(3_100, sample(9, 9, 11)).is_err());
    }

    #[test]
    fn a_slow_commit_is_reported_and_one_that_never_ends_is_aborted() {
        let at = |seconds| Some(("committing 5 records".to_owned(), Duration::from_secs(seconds)));
        assert_eq!(lane(1, None), Ok(None));
        assert_eq!(lane(1, at(9)), Ok(None));
        assert_eq!(lane(1, at(31)), Ok(Some("lane 1 has been committing 5 records for 31 s".into())));
        assert!(lane(1, at(181)).is_err());
        assert!(poller(Duration::from_secs(59)).is_ok() && poller(Duration::from_secs(61)).is_err());
    }
}
