//! Read tables in memory: the reference implementation of every operation. Tests compare the stores with it.

use std::collections::BTreeMap;

use crate::fold::{Key, Row, RowChange, Segment, remove_below};
use crate::{Change, ChangeSet, Link, TableSpec, Value};

/// A number is out of its column's range. The field is the table's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("table `{0}`: a number is out of its column's range")]
pub struct OutOfRange(pub String);

/// The tables of one projection, in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    specs: Vec<TableSpec>,
    links: Vec<Link>,
    tables: Vec<BTreeMap<Key, Row>>,
    missed: u64,
}

impl Model {
    /// Empty tables, in the order of `specs`.
    pub fn new(specs: Vec<TableSpec>) -> Self {
        let tables = vec![BTreeMap::new(); specs.len()];
        Self { links: Link::between(&specs), specs, tables, missed: 0 }
    }

    /// The rows of the table at `index`, in the order of their keys.
    pub fn rows(&self, index: usize) -> &BTreeMap<Key, Row> {
        &self.tables[index]
    }

    /// The number of updates of missing rows. Several updates that the fold composes count once, and one that it
    /// composes into a deletion does not count. Thus the number depends on how the log is cut into batches, unlike the
    /// rows.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Applies a folded batch.
    ///
    /// # Errors
    /// If a number is out of range. The tables are then unchanged.
    pub fn apply(&mut self, changes: &ChangeSet) -> Result<(), OutOfRange> {
        let mut next = self.clone();
        next.missed += changes.missed();
        for index in 0..next.tables.len() {
            for segment in changes.segments(index) {
                next.apply_segment(index, segment)?;
            }
        }
        next.copy_references();
        *self = next;
        Ok(())
    }

    /// Applies one change without the fold.
    ///
    /// # Errors
    /// If a number is out of range. A change of several rows may then be applied in part.
    pub fn apply_change(&mut self, change: &Change) -> Result<(), OutOfRange> {
        self.change(change)?;
        self.copy_references();
        Ok(())
    }

    fn change(&mut self, change: &Change) -> Result<(), OutOfRange> {
        match change {
            Change::Row { table, key, change } => self.change_row(*table, key, change),
            Change::Where { table, column, value, cells } => {
                let change = RowChange::Update(cells.clone());
                self.change_where(*table, |row| row[*column] == *value, &change)
            }
            Change::ReplaceChildren { table, parent, rows } => {
                remove_below(&mut self.tables[*table], parent);
                self.tables[*table].extend(rows.iter().cloned());
                Ok(())
            }
        }
    }

    /// Makes every copied column equal to its source. A referenced table precedes the tables that refer to it, so one pass
    /// is enough for chains.
    fn copy_references(&mut self) {
        for link in &self.links {
            let (before, tables) = self.tables.split_at_mut(link.table);
            for (key, row) in &mut tables[0] {
                let referenced = before[link.referenced].get(&link.referenced_key(key, row));
                for (source, column) in &link.copies {
                    row[*column] = referenced.map_or(Value::Null, |referenced| referenced[*source].clone());
                }
            }
        }
    }

    fn apply_segment(&mut self, table: usize, segment: &Segment) -> Result<(), OutOfRange> {
        match segment {
            Segment::Rows { cleared, rows } => {
                cleared.iter().for_each(|parent| remove_below(&mut self.tables[table], parent));
                rows.iter().try_for_each(|(key, change)| self.change_row(table, key, change))
            }
            Segment::Where { column, value, cells } => {
                self.change_where(table, |row| row[*column] == *value, &RowChange::Update(cells.clone()))
            }
        }
    }

    fn change_where(
        &mut self,
        table: usize,
        selects: impl Fn(&Row) -> bool,
        change: &RowChange,
    ) -> Result<(), OutOfRange> {
        let selected = self.tables[table].iter().filter(|(_, row)| selects(row)).map(|(key, _)| key.clone());
        selected.collect::<Vec<_>>().iter().try_for_each(|key| self.change_row(table, key, change))
    }

    fn change_row(&mut self, table: usize, key: &Key, change: &RowChange) -> Result<(), OutOfRange> {
        let spec = &self.specs[table];
        let held = self.tables[table].get(key);
        let changed = match (change, held) {
            (RowChange::Delete, _) => {
                self.tables[table].remove(key);
                return Ok(());
            }
            (RowChange::Update(_), None) => {
                self.missed += 1;
                return Ok(());
            }
            (RowChange::Upsert(cells), None) => cells.create(spec),
            (RowChange::Upsert(cells) | RowChange::Update(cells), Some(row)) => cells.modify(row, spec),
        };
        let row = changed.ok_or_else(|| OutOfRange(spec.name().to_owned()))?;
        self.tables[table].insert(key.clone(), row);
        Ok(())
    }
}
