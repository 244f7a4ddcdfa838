//! All metrics: their names, their help texts and their labels.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ProjectionLabels {
    pub(super) projection: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabels {
    pub(super) projection: String,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StateLabels {
    pub(super) projection: String,
    pub(super) state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PartitionLabels {
    pub(super) projection: String,
    pub(super) topic: String,
    pub(super) partition: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct NoticeLabels {
    pub(super) projection: String,
    pub(super) kind: &'static str,
}

type Histograms = Family<ProjectionLabels, Histogram, fn() -> Histogram>;

#[derive(Clone, Debug)]
pub(super) struct Families {
    pub(super) records: Family<OutcomeLabels, Counter>,
    pub(super) batches: Family<ProjectionLabels, Counter>,
    pub(super) rows: Family<ProjectionLabels, Counter>,
    pub(super) missed_updates: Family<ProjectionLabels, Counter>,
    pub(super) retries: Family<ProjectionLabels, Counter>,
    pub(super) fenced: Family<ProjectionLabels, Counter>,
    pub(super) commit: Histograms,
    pub(super) batch_records: Histograms,
    pub(super) lag_records: Family<PartitionLabels, Gauge>,
    pub(super) partitions_owned: Family<ProjectionLabels, Gauge>,
    pub(super) buffered: Family<ProjectionLabels, Gauge>,
    pub(super) sequence_gaps: Family<ProjectionLabels, Counter>,
    pub(super) parked_keys: Family<ProjectionLabels, Gauge>,
    pub(super) parked_records: Family<ProjectionLabels, Gauge>,
    pub(super) oldest_parked: Family<ProjectionLabels, Gauge>,
    pub(super) state: Family<StateLabels, Gauge>,
    pub(super) oldest_snapshot: Gauge,
    pub(super) notices: Family<NoticeLabels, Gauge>,
    pub(super) unidentified: Family<ProjectionLabels, Counter>,
}

impl Default for Families {
    fn default() -> Self {
        let seconds =
            || Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]);
        let records = || Histogram::new([1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0]);
        Self {
            records: Family::default(),
            batches: Family::default(),
            rows: Family::default(),
            missed_updates: Family::default(),
            retries: Family::default(),
            fenced: Family::default(),
            commit: Family::new_with_constructor(seconds),
            batch_records: Family::new_with_constructor(records),
            lag_records: Family::default(),
            partitions_owned: Family::default(),
            buffered: Family::default(),
            sequence_gaps: Family::default(),
            parked_keys: Family::default(),
            parked_records: Family::default(),
            oldest_parked: Family::default(),
            state: Family::default(),
            oldest_snapshot: Gauge::default(),
            notices: Family::default(),
            unidentified: Family::default(),
        }
    }
}

impl Families {
    /// The registry adds `readcast_`, the unit, and `_total` for a counter.
    pub(super) fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("readcast");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version of readcast", build);
        registry.register("records", "Records read, by outcome", self.records.clone());
        registry.register("batches", "Transactions committed", self.batches.clone());
        registry.register("rows", "Rows created, changed or removed", self.rows.clone());
        registry.register("missed_updates", "Updates that found no row", self.missed_updates.clone());
        registry.register("retries", "Retries after a failure that may pass", self.retries.clone());
        registry.register(
            "fenced",
            "Commits refused because another instance had claimed the partitions",
            self.fenced.clone(),
        );
        registry.register_with_unit("commit", "Duration of a commit", Unit::Seconds, self.commit.clone());
        registry.register("batch_records", "Records in a batch", self.batch_records.clone());
        registry.register(
            "lag_records",
            "Records between the checkpoint and the end of the log",
            self.lag_records.clone(),
        );
        registry.register("partitions_owned", "Partitions that this process owns", self.partitions_owned.clone());
        registry.register_with_unit(
            "buffered",
            "Records read but not yet committed",
            Unit::Bytes,
            self.buffered.clone(),
        );
        registry.register("sequence_gaps", "Events that were not the next of their key", self.sequence_gaps.clone());
        registry.register("parked_keys", "Keys with parked records", self.parked_keys.clone());
        registry.register("parked_records", "Parked records", self.parked_records.clone());
        registry.register_with_unit(
            "oldest_parked_timestamp",
            "When the oldest parked record was parked, in seconds since 1970; 0 when there is none",
            Unit::Seconds,
            self.oldest_parked.clone(),
        );
        registry.register(
            "events_without_identity",
            "Events projected without the identity by which a duplicate is recognised",
            self.unidentified.clone(),
        );
        registry.register("notices", "Notices on the projection's generations, by kind", self.notices.clone());
        registry.register(
            "projection_state",
            "1 for the state of the projection, 0 for the others",
            self.state.clone(),
        );
        registry.register_with_unit(
            "oldest_snapshot",
            "Age of the oldest snapshot, which keeps the database from removing old row versions; 0 when there is none",
            Unit::Seconds,
            self.oldest_snapshot.clone(),
        );
        registry
    }
}
