//! `rebuild --key`: the rows of one record key, folded again from the log into the live tables.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use readcast_core::{Change, ChangeSet, Definition, Key, Position, RowChange, TopicPartition};

use super::OperationReconciler;
use super::reading::{Places, Reading, places};
use crate::error::Failure;
use crate::source::{Record, SourceError};
use crate::store::{
    Advance, Amendment, Commit, CommitOutcome, GenerationStatus, Leadership, Priority, SequenceId, StoreError,
};

/// Folds the records with this key again, up to where the live generation stands, and puts the rows that they make in
/// place of those that are there. What it did, in a sentence.
///
/// The rows must be this key's alone: what other records have a share in can't be told apart any more.
pub(super) async fn refold(
    reconciler: &OperationReconciler,
    lead: &mut dyn Leadership,
    live: &GenerationStatus,
    definition: &Definition,
    key: &str,
) -> Result<String, Failure> {
    if reconciler.record_policy.duplicate_window > 0 {
        let reason = "duplicates are left out here, and which records those are can't be told for one key alone: \
                      rebuild the projection";
        return Err(refused(reason.into()));
    }
    let begins: Places =
        live.checkpoints.iter().map(|held| (held.partition.clone(), held.start_offset.unwrap_or(0))).collect();
    let scan = Scan { reconciler, definition, decided: decided(reconciler, live, definition, key).await? };
    let stood = places(live);
    let mut folded = Folded::default();
    scan.read(&begins, &stood, |partition, record| folded.take(&scan, key, partition, record)).await?;
    // From here on the live generation stands still, so that what is folded is all there is.
    lead.hold(live.generation).await?;
    let statuses = reconciler.statuses().await?;
    let held = statuses.iter().find(|status| status.generation == live.generation);
    let held = held.ok_or_else(|| refused("the live generation is gone".into()))?;
    let stands = places(held);
    scan.read(&stood, &stands, |partition, record| folded.take(&scan, key, partition, record)).await?;
    let outcome = match folded.records {
        0 => Ok(format!("no record has the key `{key}`: nothing changed")),
        _ => write(&scan, &folded, held, &begins, &stands, key).await,
    };
    lead.release_holds().await?;
    outcome
}

/// What operators decided about records. Refuses when some of this key are parked.
async fn decided(
    reconciler: &OperationReconciler,
    live: &GenerationStatus,
    definition: &Definition,
    key: &str,
) -> Result<BTreeMap<Position, Amendment>, Failure> {
    let mut writer = reconciler.store.writer(definition, live.generation, Priority::Operation.into()).await?;
    let partitions: Vec<_> = live.checkpoints.iter().map(|held| held.partition.clone()).collect();
    let sequence = SequenceId::of(&Record { key: Some(Bytes::copy_from_slice(key.as_bytes())), ..Record::default() });
    let mut decided = BTreeMap::new();
    for (partition, memory) in writer.load_state(&partitions, 0).await? {
        if memory.parked.contains(&sequence) {
            let name = &live.projection;
            return Err(refused(format!(
                "records of `{key}` are parked in {partition}: settle them first, with `readcast dead-letters retry \
                 {name} --key {key}` or `discard`"
            )));
        }
        decided.extend(memory.amendments.into_iter().map(|(offset, amendment)| (partition.at(offset), amendment)));
    }
    Ok(decided)
}

async fn write(
    scan: &Scan<'_>,
    folded: &Folded,
    held: &GenerationStatus,
    begins: &Places,
    stands: &Places,
    key: &str,
) -> Result<String, Failure> {
    scan.read(begins, stands, |partition, record| folded.stands_alone(scan, key, partition, record)).await?;
    let advance = |held: &crate::store::RecordedCheckpoint| Advance {
        partition: held.partition.clone(),
        from: held.next_offset,
        to: held.next_offset,
        owner_epoch: held.owner_epoch,
        parking_epoch: held.parking_epoch,
        leader_epoch: held.leader_epoch,
    };
    let advances = held.checkpoints.iter().map(advance).collect();
    let commit = Commit { advances, changes: folded.changes(scan), ..Commit::default() };
    let mut writer = scan.reconciler.store.writer(scan.definition, held.generation, Priority::Operation.into()).await?;
    match writer.commit(&commit).await? {
        CommitOutcome::Applied(written) => Ok(format!(
            "{} records with the key `{key}` were folded again: {} rows written",
            folded.records, written.rows
        )),
        // Another owner took over, or the hold was over too soon: the next step begins anew.
        CommitOutcome::Held(_) | CommitOutcome::Outdated | CommitOutcome::Full(_) | CommitOutcome::Fenced => {
            Err(StoreError::Unavailable {
                doing: "folding a key again".into(),
                reason: "the live generation moved meanwhile".into(),
            }
            .into())
        }
    }
}

fn refused(reason: String) -> Failure {
    StoreError::Refused { doing: "folding a key again".into(), reason }.into()
}

/// What the records of one key have made so far.
#[derive(Default)]
struct Folded {
    records: u64,
    partition: Option<TopicPartition>,
    changes: Vec<Change>,
    /// The rows that they touched, by table.
    rows: BTreeSet<(usize, Key)>,
    /// The parents whose children they replaced, by table.
    parents: BTreeSet<(usize, Key)>,
}

impl Folded {
    fn take(&mut self, scan: &Scan<'_>, key: &str, partition: &TopicPartition, record: &Record) -> Result<(), Failure> {
        if record.key.as_deref() != Some(key.as_bytes()) {
            return Ok(());
        }
        if let Some(other) = self.partition.replace(partition.clone()).filter(|other| other != partition) {
            return Err(refused(format!(
                "records with the key `{key}` stand in {other} and in {partition}: in which order is not known"
            )));
        }
        self.records += 1;
        let cause = |error: String| refused(format!("poison at {}: {error}", partition.at(record.offset)));
        for change in scan.changes(partition, record).map_err(cause)? {
            match &change {
                Change::Row { table, key, .. } => drop(self.rows.insert((*table, key.clone()))),
                Change::ReplaceChildren { table, parent, .. } => drop(self.parents.insert((*table, parent.clone()))),
                Change::Where { .. } => {
                    return Err(refused(format!(
                        "the record at {} changes rows found by what they hold: whose they are is not known",
                        partition.at(record.offset)
                    )));
                }
            }
            self.changes.push(change);
        }
        Ok(())
    }

    /// Makes sure that a record of another key touches none of our rows.
    fn stands_alone(
        &self,
        scan: &Scan<'_>,
        key: &str,
        partition: &TopicPartition,
        record: &Record,
    ) -> Result<(), Failure> {
        if record.key.as_deref() == Some(key.as_bytes()) {
            return Ok(());
        }
        // Poison is in no table.
        let changes = scan.changes(partition, record).unwrap_or_default();
        let Some(shared) = changes.iter().find(|change| self.meets(change)) else { return Ok(()) };
        let table = scan.definition.tables()[shared.table()].name();
        let other = record
            .key
            .as_deref()
            .map_or("a record without a key".into(), |key| format!("`{}`", String::from_utf8_lossy(key)));
        Err(refused(format!(
            "rows of table `{table}` that `{key}` changes are changed by {other} too, and what is whose can't be told \
             apart: rebuild the projection"
        )))
    }

    fn meets(&self, change: &Change) -> bool {
        match change {
            Change::Row { table, key, .. } => {
                let below_ours = (1..key.len()).any(|length| self.parents.contains(&(*table, key[..length].to_vec())));
                below_ours || self.rows.contains(&(*table, key.clone()))
            }
            Change::ReplaceChildren { table, parent, .. } => {
                let below = |(other, key): &(usize, Key)| other == table && key.starts_with(parent);
                self.rows.iter().any(below) || self.parents.iter().any(below)
            }
            Change::Where { table, .. } => self.rows.iter().chain(&self.parents).any(|(ours, _)| ours == table),
        }
    }

    /// First all that was touched goes, then it is made again.
    fn changes(&self, scan: &Scan<'_>) -> ChangeSet {
        let gone = self.rows.iter().map(|(table, key)| Change::Row {
            table: *table,
            key: key.clone(),
            change: RowChange::Delete,
        });
        let cleared = self.parents.iter().map(|(table, parent)| Change::ReplaceChildren {
            table: *table,
            parent: parent.clone(),
            rows: Vec::new(),
        });
        let mut set = ChangeSet::new();
        for change in gone.chain(cleared).chain(self.changes.iter().cloned()) {
            set.push(change, scan.definition.tables());
        }
        set
    }
}

/// Reads the log without writing anything.
struct Scan<'a> {
    reconciler: &'a OperationReconciler,
    definition: &'a Definition,
    /// What operators decided about records.
    decided: BTreeMap<Position, Amendment>,
}

impl Scan<'_> {
    fn changes(&self, partition: &TopicPartition, record: &Record) -> Result<Vec<Change>, String> {
        let position = partition.at(record.offset);
        let amended = match self.decided.get(&position) {
            Some(Amendment::Discard) => return Ok(Vec::new()),
            Some(Amendment::Replace(value)) => {
                Some(Record { value: Some(value.clone()), remark: None, ..record.clone() })
            }
            Some(Amendment::Accept) | None => None,
        };
        let record = amended.as_ref().unwrap_or(record);
        let event =
            self.reconciler.record_policy.format.decode(&position, record).map_err(|error| error.to_string())?;
        match self.definition.subscribes(&event.event_type) {
            true => self.definition.project(&event).map_err(|error| error.to_string()),
            false => Ok(Vec::new()),
        }
    }

    /// Shows `each` every record from one place to another.
    async fn read(
        &self,
        from: &Places,
        to: &Places,
        mut each: impl FnMut(&TopicPartition, &Record) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Some(mut reading) = Reading::begin(self.reconciler, self.definition, from, to).await? else {
            return Ok(());
        };
        loop {
            let batch = tokio::select! {
                () = self.reconciler.stop.cancelled() => return Err(stopped().into()),
                batch = reading.next() => batch?,
            };
            let Some(batch) = batch else { break };
            batch.records.iter().try_for_each(|record| each(&batch.partition, record))?;
        }
        reading.end().await;
        Ok(())
    }
}

fn stopped() -> SourceError {
    SourceError::Unavailable { doing: "reading the log again".into(), reason: "it was interrupted".into() }
}
