//! What the records of one key change, and which rows they share with other keys. Pure, but for projecting records.

use std::collections::BTreeSet;

use readcast_core::{Change, ChangeSet, Definition, Key, RowChange, TopicPartition};

use super::record_projector::RecordProjector;
use super::{refused, shown};
use crate::error::Failure;
use crate::source::Record;
use crate::text::glimpse;

/// What the records of one key change, in the order of the log.
#[derive(Default)]
pub(super) struct KeyChanges {
    records: u64,
    /// The partition that holds the key's records.
    partition: Option<TopicPartition>,
    changes: Vec<Change>,
    /// The rows that they change, by table.
    rows: BTreeSet<(usize, Key)>,
    /// The parents whose children they replace, by table.
    parents: BTreeSet<(usize, Key)>,
}

impl KeyChanges {
    /// How many records have the key.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Adds what the record changes, if it has this key.
    ///
    /// # Errors
    /// [`StoreError::Refused`](crate::store::StoreError::Refused) when the key's records can't be folded alone.
    pub(super) fn add(
        &mut self,
        projector: &RecordProjector<'_>,
        key: &str,
        partition: &TopicPartition,
        record: &Record,
    ) -> Result<(), Failure> {
        if record.key.as_deref() != Some(key.as_bytes()) {
            return Ok(());
        }
        if let Some(other) = self.partition.replace(partition.clone()).filter(|other| other != partition) {
            return Err(refused(format!(
                "records with the key {} are in {other} and in {partition}, and their order is unknown. Next: rebuild the \
                 whole projection",
                shown(key)
            )));
        }
        self.records += 1;
        let poison = |error: String| refused(format!("poison at {}: {error}", partition.at(record.offset)));
        for change in projector.project(partition, record).map_err(poison)? {
            match &change {
                Change::Row { table, key, .. } => drop(self.rows.insert((*table, key.clone()))),
                Change::ReplaceChildren { table, parent, .. } => drop(self.parents.insert((*table, parent.clone()))),
                Change::Where { .. } => {
                    return Err(refused(format!(
                        "the record at {} changes rows selected by a column, which may belong to other keys. Next: rebuild \
                         the whole projection",
                        partition.at(record.offset)
                    )));
                }
            }
            self.changes.push(change);
        }
        Ok(())
    }

    /// Refuses if the record has another key and changes one of this key's rows.
    pub(super) fn refuse_shared_rows(
        &self,
        projector: &RecordProjector<'_>,
        key: &str,
        partition: &TopicPartition,
        record: &Record,
    ) -> Result<(), Failure> {
        if record.key.as_deref() == Some(key.as_bytes()) {
            return Ok(());
        }
        // Poison has changed no row.
        let changes = projector.project(partition, record).unwrap_or_default();
        let Some(shared) = changes.iter().find(|change| self.overlaps(change)) else { return Ok(()) };
        let table = projector.definition.tables()[shared.table()].name();
        let other = match &record.key {
            Some(key) => format!("the key `{}`", glimpse(key, super::KEY_CHARACTERS)),
            None => "no key".into(),
        };
        Err(refused(format!(
            "rows of table `{table}` are changed by records with the key {} and by records with {other}, and their parts \
             can't be told apart. Next: rebuild the whole projection",
            shown(key)
        )))
    }

    /// Whether the change may meet a row that this key's records change.
    fn overlaps(&self, change: &Change) -> bool {
        match change {
            Change::Row { table, key, .. } => {
                let is_child = (1..key.len()).any(|length| self.parents.contains(&(*table, key[..length].to_vec())));
                is_child || self.rows.contains(&(*table, key.clone()))
            }
            Change::ReplaceChildren { table, parent, .. } => {
                let is_child = |(other, key): &(usize, Key)| other == table && key.starts_with(parent);
                self.rows.iter().any(is_child) || self.parents.iter().any(is_child)
            }
            Change::Where { table, .. } => self.rows.iter().chain(&self.parents).any(|(ours, _)| ours == table),
        }
    }

    /// The changes that delete all that the key's records touched, and then make it again.
    pub(super) fn changes(&self, definition: &Definition) -> ChangeSet {
        let deleted = self.rows.iter().map(|(table, key)| Change::Row {
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
        for change in deleted.chain(cleared).chain(self.changes.iter().cloned()) {
            set.push(change, definition.tables());
        }
        set
    }
}
