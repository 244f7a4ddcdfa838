//! What keeps a generation from going on although nothing fails: found out, told, and cured where that is safe.

use std::collections::BTreeMap;
use std::time::Duration;

use readcast_core::TopicPartition;
use tokio::time::Instant;

use crate::error::Failure;

/// How long the thread that polls the log may give no sign of life.
const LONGEST_PAUSE_OF_THE_POLLER: Duration = Duration::from_secs(60);
/// How long a commit may take before it is told of.
const SLOW_COMMIT: Duration = Duration::from_secs(10);
/// How long before it is given up: longer than the server lets a statement take, so that this is for connections that
/// are dead without a word.
const LONGEST_COMMIT: Duration = Duration::from_secs(180);

/// What a partition delivers, at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartitionSample {
    /// Up to here its records have come out of the log.
    pub(super) delivered: i64,
    /// Up to here they are in the database.
    pub(super) next_offset: i64,
    /// Where the log ends.
    pub(super) end: i64,
}

/// Watches one generation, from run to run.
#[derive(Debug)]
pub(super) struct StallDetector {
    /// How long a partition may deliver nothing of what there is.
    patience: Duration,
    partitions: BTreeMap<TopicPartition, WatchedPartition>,
}

#[derive(Debug)]
struct WatchedPartition {
    seen: PartitionSample,
    since: Instant,
    /// The end of the log when its client last said that there is no more: markers of transactions are no records.
    all_until: i64,
    /// Where it stood when it was last cured. Whatever is the matter there, a cure does not help.
    cured_at: Option<i64>,
}

impl StallDetector {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, partitions: BTreeMap::new() }
    }

    /// A new run begins: whatever was silent has its time again.
    pub(super) fn begin(&mut self, now: Instant) {
        self.partitions.values_mut().for_each(|silence| silence.since = now);
    }

    /// The client has said that it has delivered everything up to the end.
    pub(super) fn at_end(&mut self, partition: &TopicPartition) {
        if let Some(silence) = self.partitions.get_mut(partition) {
            silence.all_until = silence.all_until.max(silence.seen.end);
        }
    }

    /// Looks at a partition. What is wrong with it, in words, if a cure has not helped.
    ///
    /// # Errors
    /// When it delivers nothing of what there is: to begin anew may cure it, once.
    pub(super) fn look(
        &mut self,
        partition: &TopicPartition,
        sight: PartitionSample,
        now: Instant,
    ) -> Result<Option<String>, Failure> {
        let silence = self.partitions.entry(partition.clone()).or_insert_with(|| WatchedPartition {
            seen: sight,
            since: now,
            all_until: i64::MIN,
            cured_at: None,
        });
        let moves = sight.delivered != silence.seen.delivered;
        let waits_for_us = sight.delivered > sight.next_offset;
        let has_more = sight.end > sight.delivered.max(silence.all_until);
        if moves || waits_for_us || !has_more {
            silence.since = now;
        }
        silence.seen = sight;
        let silent = now.saturating_duration_since(silence.since);
        if silent < self.patience {
            return Ok(None);
        }
        let text = format!(
            "{partition} has delivered nothing for {} seconds, and ends {} offsets further",
            silent.as_secs(),
            sight.end - sight.delivered
        );
        if silence.cured_at == Some(sight.delivered) {
            return Ok(Some(format!("{text}: a transaction of a producer may be open there")));
        }
        silence.cured_at = Some(sight.delivered);
        Err(Failure::Stalled(text))
    }
}

/// Whether the thread that polls still turns, given how long ago it gave a sign of life.
pub(super) fn poller(silent: Duration) -> Result<(), Failure> {
    if silent <= LONGEST_PAUSE_OF_THE_POLLER {
        return Ok(());
    }
    Err(Failure::Stalled(format!("the thread that polls the log has been silent for {} seconds", silent.as_secs())))
}

/// What is to be said of a lane that has been at one thing for so long.
///
/// # Errors
/// When nothing will come of it any more.
pub(super) fn lane(number: usize, at: Option<(String, Duration)>) -> Result<Option<String>, Failure> {
    let Some((what, elapsed)) = at.filter(|(_, elapsed)| *elapsed > SLOW_COMMIT) else { return Ok(None) };
    let text = format!("lane {number} has been {what} for {} seconds", elapsed.as_secs());
    if elapsed > LONGEST_COMMIT { Err(Failure::Stalled(text)) } else { Ok(Some(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn orders() -> TopicPartition {
        TopicPartition::new("orders", 3)
    }

    fn sight(delivered: i64, next_offset: i64, end: i64) -> PartitionSample {
        PartitionSample { delivered, next_offset, end }
    }

    /// A watch of one partition, looked at so many seconds after its beginning.
    struct Watched(StallDetector, Instant);

    impl Watched {
        fn new() -> Self {
            Self(StallDetector::new(PATIENCE), Instant::now())
        }

        fn look(&mut self, seconds: u64, sight: PartitionSample) -> Result<Option<String>, Failure> {
            self.0.look(&orders(), sight, self.1 + Duration::from_secs(seconds))
        }
    }

    #[test]
    fn a_partition_that_delivers_nothing_is_restarted_once_and_then_reported() {
        let mut stall_detector = Watched::new();
        assert_eq!(stall_detector.look(0, sight(5, 5, 9)), Ok(None));
        assert_eq!(stall_detector.look(30, sight(6, 6, 9)), Ok(None), "it moves");
        let stalled = stall_detector.look(90, sight(6, 6, 9)).unwrap_err();
        assert_eq!(
            stalled.to_string(),
            "stalled: orders/3 has delivered nothing for 60 seconds, and ends 3 offsets further"
        );
        stall_detector.0.begin(stall_detector.1 + Duration::from_secs(100));
        assert_eq!(stall_detector.look(100, sight(6, 6, 9)), Ok(None), "it has its time again");
        let told = stall_detector.look(161, sight(6, 6, 9)).unwrap().unwrap();
        assert!(told.contains("a transaction of a producer may be open"), "{told}");
        assert_eq!(stall_detector.look(162, sight(9, 9, 9)), Ok(None), "it is over");
    }

    #[test]
    fn a_partition_that_waits_for_us_or_has_no_more_is_not_silent() {
        let mut stall_detector = Watched::new();
        for (seconds, quiet) in [(0, sight(5, 3, 9)), (1_000, sight(9, 9, 9))] {
            assert_eq!(stall_detector.look(seconds, quiet), Ok(None));
            assert_eq!(stall_detector.look(seconds + 500, quiet), Ok(None), "{quiet:?}");
        }
        // A marker at the end of the log is no record: the client says that there is no more.
        assert_eq!(stall_detector.look(1_501, sight(9, 9, 10)), Ok(None));
        stall_detector.0.at_end(&orders());
        assert_eq!(stall_detector.look(3_000, sight(9, 9, 10)), Ok(None));
        assert_eq!(stall_detector.look(3_001, sight(9, 9, 11)), Ok(None), "there is more since");
        assert!(stall_detector.look(3_100, sight(9, 9, 11)).is_err());
    }

    #[test]
    fn a_slow_commit_is_told_of_and_one_that_never_ends_is_given_up() {
        let at = |seconds| Some(("committing 5 records".to_owned(), Duration::from_secs(seconds)));
        assert_eq!(lane(1, None), Ok(None));
        assert_eq!(lane(1, at(9)), Ok(None));
        assert_eq!(lane(1, at(31)), Ok(Some("lane 1 has been committing 5 records for 31 seconds".into())));
        assert!(lane(1, at(181)).is_err());
        assert!(poller(Duration::from_secs(59)).is_ok() && poller(Duration::from_secs(61)).is_err());
    }
}
