//! Read tables in memory: the reference implementation of every operation. Tests compare the stores with it.

use std::collections::BTreeMap;

use crate::fold::{Key, Row, RowChange, Segment, remove_below};
use crate::{Change, ChangeSet, Column, Reference, TableSpec, Value};

/// A number is out of its column's range. The field is the table's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("table `{0}`: a number is out of its column's range")]
pub struct OutOfRange(pub String);

/// The tables of one projection, in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    specs: Vec<TableSpec>,
    tables: Vec<BTreeMap<Key, Row>>,
    missed: u64,
}

impl Model {
    /// Empty tables, in the order of `specs`.
    pub fn new(specs: Vec<TableSpec>) -> Self {
        let tables = vec![BTreeMap::new(); specs.len()];
        Self { specs, tables, missed: 0 }
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
        for (index, spec) in self.specs.iter().enumerate() {
            let (referenced, tables) = self.tables.split_at_mut(index);
            for reference in spec.references() {
                let Some(to) = self.specs[..index].iter().position(|other| other.name() == reference.table()) else {
                    continue;
                };
                for (key, row) in &mut tables[0] {
                    let found = referenced[to].get(&referenced_key(spec, reference, key, row));
                    for (source, column) in reference.copies() {
                        let source = self.specs[to].data_index(source).and_then(|source| found?.get(source));
                        if let Some(place) = spec.data_index(column) {
                            row[place] = source.cloned().unwrap_or(Value::Null);
                        }
                    }
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

/// The key of the row to which this row refers. A key with NULL is that of no row.
fn referenced_key(spec: &TableSpec, reference: &Reference, key: &Key, row: &Row) -> Key {
    let names = || spec.columns().iter().map(Column::name);
    let value =
        |name: &String| key.iter().chain(row).zip(names()).find(|(_, other)| other == name).map(|(value, _)| value);
    reference.columns().iter().filter_map(value).cloned().collect()
}
