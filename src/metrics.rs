//! What readcast counts and measures, as OpenMetrics text for Prometheus.
//!
//! Labels name projections, topics and partitions, never a key or an id: their number stays small.

mod families;
#[cfg(test)]
pub(crate) mod reference;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use readcast_core::TopicPartition;

use self::families::{Families, NoticeLabels, OutcomeLabels, PartitionLabels, ProjectionLabels, StateLabels};
use crate::plan::Tally;
use crate::store::{NoticeKind, ParkedCounts, RecordedNotice, Written};

/// A record that an earlier run had brought to its end.
const ALREADY_APPLIED: &str = "already_applied";
/// What a record ends as.
const OUTCOMES: [&str; 6] = ["applied", "not_subscribed", "duplicate", "dead_letter", "discarded", ALREADY_APPLIED];

/// All metrics of the process. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    families: Families,
    projections: Arc<Mutex<BTreeMap<String, ProjectionMetrics>>>,
}

/// The metrics of one projection. Clones share them.
#[derive(Clone, Debug)]
pub struct ProjectionMetrics {
    projection: Arc<str>,
    families: Families,
    /// The partitions that have gauges.
    measured: Arc<Mutex<BTreeSet<TopicPartition>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// No projection yet.
    pub fn new() -> Self {
        let families = Families::default();
        Self { registry: Arc::new(families.registry()), families, projections: Arc::default() }
    }

    /// The metrics of the projection `name`. Its counters are 0 from the start, so that a missing one can't be mistaken for 0.
    pub fn projection(&self, name: &str) -> ProjectionMetrics {
        let mut projections = self.projections.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || ProjectionMetrics::new(name, self.families.clone());
        projections.entry(name.to_owned()).or_insert_with(made).clone()
    }

    /// The oldest snapshot in the database is this many seconds old.
    pub fn oldest_snapshot(&self, seconds: u64) {
        self.families.oldest_snapshot.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// All of it as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut encoded = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut encoded, &self.registry);
        encoded
    }
}

impl ProjectionMetrics {
    fn new(name: &str, families: Families) -> Self {
        let metrics = Self { projection: name.into(), families, measured: Arc::default() };
        metrics.count(Tally::default());
        metrics.wrote(&Written::default());
        metrics.forget_all();
        metrics.notices(&[]);
        let Families { batches, retries, fenced, .. } = &metrics.families;
        [batches, retries, fenced].iter().for_each(|counter| drop(counter.get_or_create(&metrics.labels())));
        metrics
    }

    /// A batch was committed: counts its records by outcome.
    pub fn recorded(&self, tally: &Tally) {
        self.count(*tally);
        let Tally { applied, not_subscribed, duplicates, parked, discarded, already_applied, .. } = *tally;
        let records = applied + not_subscribed + duplicates + parked + discarded + already_applied;
        self.families.batch_records.get_or_create(&self.labels()).observe(records as f64);
    }

    /// How many new records this process has projected, parked or passed over, duplicates included.
    pub fn records(&self) -> u64 {
        let new = OUTCOMES.iter().filter(|outcome| **outcome != ALREADY_APPLIED);
        let counter = |outcome: &&'static str| {
            let labels = OutcomeLabels { projection: self.projection.to_string(), outcome };
            self.families.records.get_or_create(&labels).get()
        };
        new.map(counter).sum()
    }

    /// A transaction was committed.
    pub fn committed(&self, took: Duration, written: &Written) {
        self.families.batches.get_or_create(&self.labels()).inc();
        self.families.commit.get_or_create(&self.labels()).observe(took.as_secs_f64());
        self.wrote(written);
    }

    /// Something is retried after a failure that may pass.
    pub fn retried(&self) {
        self.families.retries.get_or_create(&self.labels()).inc();
    }

    /// A commit was refused because another instance had claimed the partitions.
    pub fn fenced(&self) {
        self.families.fenced.get_or_create(&self.labels()).inc();
    }

    /// An owned partition is this many records behind the end of the log.
    pub fn lag(&self, partition: &TopicPartition, records: i64) {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).insert(partition.clone());
        self.families.lag_records.get_or_create(&self.partition_labels(partition)).set(records);
    }

    /// How many partitions this process owns.
    pub fn owned(&self, partitions: usize) {
        self.families.partitions_owned.get_or_create(&self.labels()).set(partitions as i64);
    }

    /// The size of the records that are read but not yet committed, in bytes.
    pub fn buffered_bytes(&self, bytes: usize) {
        self.families.buffered.get_or_create(&self.labels()).set(bytes as i64);
    }

    /// This process no longer owns the partition. Another one measures it now, and two values would contradict each other.
    pub fn forget(&self, partition: &TopicPartition) {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).remove(partition);
        self.families.lag_records.remove(&self.partition_labels(partition));
    }

    /// This process owns no partition any longer, and holds no records.
    pub fn forget_all(&self) {
        let measured = std::mem::take(&mut *self.measured.lock().unwrap_or_else(PoisonError::into_inner));
        measured.iter().for_each(|partition| self.forget(partition));
        self.owned(0);
        self.buffered_bytes(0);
    }

    /// The projection is in the state `current`, one of `all`.
    pub(crate) fn state(&self, current: &'static str, all: &[&'static str]) {
        for state in all {
            let labels = StateLabels { projection: self.projection.to_string(), state };
            self.families.state.get_or_create(&labels).set(i64::from(*state == current));
        }
    }

    fn count(&self, tally: Tally) {
        let Tally { applied, not_subscribed, duplicates, parked, discarded, already_applied, gaps, unidentified } =
            tally;
        self.families.sequence_gaps.get_or_create(&self.labels()).inc_by(gaps);
        self.families.unidentified.get_or_create(&self.labels()).inc_by(unidentified);
        let records = [applied, not_subscribed, duplicates, parked, discarded, already_applied];
        for (outcome, records) in OUTCOMES.into_iter().zip(records) {
            let labels = OutcomeLabels { projection: self.projection.to_string(), outcome };
            self.families.records.get_or_create(&labels).inc_by(records);
        }
    }

    fn wrote(&self, written: &Written) {
        self.families.rows.get_or_create(&self.labels()).inc_by(written.rows);
        self.families.missed_updates.get_or_create(&self.labels()).inc_by(written.missed);
    }

    /// What is parked in the live generation, as the store says.
    pub fn parked(&self, parked: &ParkedCounts) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.families.parked_keys.get_or_create(&self.labels()).set(number(parked.keys));
        self.families.parked_records.get_or_create(&self.labels()).set(number(parked.records));
        let oldest = parked.oldest.as_deref().and_then(|oldest| chrono::DateTime::parse_from_rfc3339(oldest).ok());
        self.families.oldest_parked.get_or_create(&self.labels()).set(oldest.map_or(0, |oldest| oldest.timestamp()));
    }

    /// The notices on the projection's generations, as the store says.
    pub fn notices(&self, notices: &[RecordedNotice]) {
        for (kind, name) in NoticeKind::NAMES {
            let count = notices.iter().filter(|notice| notice.kind == kind).count();
            let labels = NoticeLabels { projection: self.projection.to_string(), kind: name };
            self.families.notices.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    fn labels(&self) -> ProjectionLabels {
        ProjectionLabels { projection: self.projection.to_string() }
    }

    fn partition_labels(&self, partition: &TopicPartition) -> PartitionLabels {
        let TopicPartition { topic, partition } = partition;
        PartitionLabels { projection: self.projection.to_string(), topic: topic.to_string(), partition: *partition }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(metrics: &Metrics, line: &str) -> bool {
        metrics.encode().lines().any(|encoded| encoded == line)
    }

    #[test]
    fn counters_stand_at_zero_before_anything_happens() {
        let metrics = Metrics::new();
        metrics.projection("orders");
        for name in ["batches", "rows", "missed_updates", "retries", "fenced"] {
            assert!(has(&metrics, &format!("readcast_{name}_total{{projection=\"orders\"}} 0")), "{name}");
        }
        assert!(has(&metrics, "readcast_records_total{projection=\"orders\",outcome=\"applied\"} 0"));
        assert!(has(&metrics, &format!("readcast_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))));
        assert!(metrics.encode().ends_with("# EOF\n"));
    }

    #[test]
    fn every_record_is_counted_by_what_it_ended_as() {
        let metrics = Metrics::new();
        let tally = Tally { applied: 5, not_subscribed: 2, already_applied: 1, ..Tally::default() };
        metrics.projection("orders").recorded(&tally);
        metrics.projection("orders").recorded(&tally);
        assert!(has(&metrics, "readcast_records_total{projection=\"orders\",outcome=\"applied\"} 10"));
        assert!(has(&metrics, "readcast_records_total{projection=\"orders\",outcome=\"not_subscribed\"} 4"));
        assert!(has(&metrics, "readcast_records_total{projection=\"orders\",outcome=\"already_applied\"} 2"));
        assert!(has(&metrics, "readcast_batch_records_sum{projection=\"orders\"} 16.0"));
        assert_eq!(metrics.projection("orders").records(), 14, "those that were applied before are not new");
    }

    #[test]
    fn a_commit_counts_its_rows_and_its_time() {
        let metrics = Metrics::new();
        metrics.projection("orders").committed(Duration::from_millis(250), &Written { rows: 7, missed: 1 });
        assert!(has(&metrics, "readcast_batches_total{projection=\"orders\"} 1"));
        assert!(has(&metrics, "readcast_rows_total{projection=\"orders\"} 7"));
        assert!(has(&metrics, "readcast_missed_updates_total{projection=\"orders\"} 1"));
        assert!(has(&metrics, "readcast_commit_seconds_sum{projection=\"orders\"} 0.25"));
    }

    #[test]
    fn the_gauges_of_a_partition_that_went_away_disappear() {
        let (metrics, partition) = (Metrics::new(), TopicPartition::new("orders", 3));
        let projection = metrics.projection("p");
        projection.lag(&partition, 12);
        projection.lag(&TopicPartition::new("orders", 4), 0);
        assert!(has(&metrics, "readcast_lag_records{projection=\"p\",topic=\"orders\",partition=\"3\"} 12"));
        metrics.projection("p").forget(&partition);
        assert!(!metrics.encode().contains("partition=\"3\"") && metrics.encode().contains("partition=\"4\""));
    }

    #[test]
    fn a_projection_that_ends_owns_and_holds_nothing() {
        let (metrics, partition) = (Metrics::new(), TopicPartition::new("orders", 3));
        let (ending, other) = (metrics.projection("ending"), metrics.projection("other"));
        for projection in [&ending, &other] {
            projection.lag(&partition, 12);
            projection.owned(1);
            projection.buffered_bytes(4096);
        }
        ending.forget_all();
        assert!(has(&metrics, "readcast_partitions_owned{projection=\"ending\"} 0"));
        assert!(has(&metrics, "readcast_buffered_bytes{projection=\"ending\"} 0"));
        assert!(!metrics.encode().contains("lag_records{projection=\"ending\""));
        assert!(has(&metrics, "readcast_lag_records{projection=\"other\",topic=\"orders\",partition=\"3\"} 12"));
        assert!(has(&metrics, "readcast_buffered_bytes{projection=\"other\"} 4096"));
    }
}
