//! How far every projection is in every partition, what is wrong with it, since when, and what to do next. Asks the store
//! and the log, and no running instance.

mod partitions;
mod remarks;
#[cfg(test)]
mod tests;

use std::time::Duration;

use readcast_core::Definition;
use serde::Serialize;

pub use self::partitions::PartitionStatus;
use self::partitions::{partition_statuses, statuses_of};
pub use self::remarks::{Remark, RemarkKind};
use self::remarks::{not_declared, old_snapshot, remarks_of};
use super::{Control, ControlError};
use crate::source::{Extents, Source};
use crate::store::{GenerationState, GenerationStatus, InstanceHeartbeat, Operation, RecordedNotice};

/// A snapshot that is held for longer than this is reported: it keeps the store from removing old versions of rows.
pub(super) const OLD_SNAPSHOT: Duration = Duration::from_secs(60);

/// How the projections are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StatusReport {
    /// Every partition of every generation that has tables.
    pub partitions: Vec<PartitionStatus>,
    /// All projections of the report together.
    pub totals: StatusTotals,
    /// What is under way, what is wrong, and what to do next. They may quote records.
    pub remarks: Vec<Remark>,
    /// What could not be found out, and why.
    pub unknown: Vec<String>,
}

/// All projections of a report together, as their readers see them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StatusTotals {
    /// How many projections.
    pub projections: u64,
    /// By how many records the live generations are behind the log; null while the end of a log is unknown.
    pub records_behind: Option<u64>,
    /// How many keys are parked in the live generations.
    pub parked_keys: u64,
    /// How many records are parked in the live generations.
    pub parked_records: u64,
}

/// What was read of one projection.
struct Observed<'a> {
    /// As the code declares it.
    definition: &'a Definition,
    /// The hashes of all versions that the code has.
    hashes: Vec<&'a str>,
    /// How far the log reaches; empty when that is unknown.
    extents: Extents,
    /// Its generations that have tables.
    generations: Vec<GenerationStatus>,
    /// Its open operations, and the last one that has ended.
    operations: Vec<Operation>,
    /// The notices on its generations.
    notices: Vec<RecordedNotice>,
    /// Which instances run, or ran.
    heartbeats: &'a [InstanceHeartbeat],
}

impl Observed<'_> {
    fn live(&self) -> Option<&GenerationStatus> {
        self.generations.iter().find(|found| found.state == GenerationState::Live)
    }

    /// The open operation that builds or compares the generation.
    fn operation_on(&self, generation: &GenerationStatus) -> Option<&Operation> {
        let mut open = self.operations.iter().filter(|operation| operation.state.is_open());
        open.find(|operation| operation.generation == Some(generation.generation))
    }
}

impl Control {
    /// The status of the projections with these names, or of all that the code has when there are no names.
    ///
    /// # Errors
    /// `NotFound` when the code has no such projection; `Unavailable` when the store does not answer. A log that does not
    /// answer is an entry of [`StatusReport::unknown`].
    pub async fn status(&self, source: &dyn Source, names: &[String]) -> Result<StatusReport, ControlError> {
        for name in names {
            self.definition(name)?;
        }
        let generations = self.store.generations().await?;
        let heartbeats = self.store.heartbeats().await?;
        let notices = self.store.notices().await?;
        let wanted = |definition: &&Definition| names.is_empty() || names.iter().any(|name| name == definition.name());
        let (mut observed, mut unknown) = (Vec::new(), Vec::new());
        for definition in self.registry.definitions().iter().filter(wanted) {
            let name = definition.name();
            let extents = source.extents(definition.topics()).await.unwrap_or_else(|error| {
                unknown.push(format!("{name}: the end of the log is unknown: {error}"));
                Extents::new()
            });
            let with_tables = generations.iter().filter(|found| found.projection == name && found.has_tables);
            observed.push(Observed {
                definition,
                hashes: self.registry.versions(name).map(Definition::hash).collect(),
                extents,
                generations: with_tables.cloned().collect(),
                operations: self.store.operations(name, 1).await?,
                notices: notices.iter().filter(|notice| notice.projection == name).cloned().collect(),
                heartbeats: &heartbeats,
            });
        }
        let mut remarks: Vec<Remark> = observed.iter().flat_map(remarks_of).collect();
        if names.is_empty() {
            let declared: Vec<&str> = super::names(&self.registry).collect();
            remarks.extend(not_declared(&declared, &generations, &heartbeats));
        }
        match self.store.oldest_snapshot(OLD_SNAPSHOT).await {
            Ok(oldest) => remarks.extend(oldest.map(old_snapshot)),
            Err(error) => unknown.push(format!("the oldest snapshot is unknown: {error}")),
        }
        let partitions = observed.iter().flat_map(statuses_of).collect();
        Ok(StatusReport { partitions, totals: totals(&observed), remarks, unknown })
    }
}

fn totals(observed: &[Observed<'_>]) -> StatusTotals {
    let behind = |observed: &Observed<'_>| {
        let lags = partition_statuses(observed, observed.live()).into_iter().filter_map(|status| status.lag);
        (!observed.extents.is_empty()).then(|| lags.map(|lag| u64::try_from(lag).unwrap_or(0)).sum::<u64>())
    };
    let parked = observed.iter().filter_map(Observed::live).map(|live| &live.parked);
    let (parked_keys, parked_records) =
        parked.fold((0, 0), |(keys, records), parked| (keys + parked.keys, records + parked.records));
    StatusTotals {
        projections: observed.len() as u64,
        records_behind: observed.iter().map(behind).sum(),
        parked_keys,
        parked_records,
    }
}
