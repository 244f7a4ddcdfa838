//! The end of a spool: merges all runs of a table and applies the changes to an empty table.

use std::vec;

use readcast_core::{Key, Row, RowChange, TableSpec};

use super::merge::{Entry, Merge, Source, What};
use super::{SpoolError, Table};

/// The rows of every table, in the order of the tables. A table's files are opened when its rows are requested.
pub(crate) struct Tables(vec::IntoIter<Table>);

impl Tables {
    pub(super) fn new(tables: Vec<Table>) -> Self {
        Self(tables.into_iter())
    }
}

impl Iterator for Tables {
    type Item = Result<Rows, SpoolError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(Rows::open)
    }
}

/// The rows of one table, each once, in the order of their keys. Nothing follows an error.
pub(crate) struct Rows {
    table: TableSpec,
    merge: Merge,
    missed: u64,
}

impl Rows {
    fn open(Table { spec, files, memory }: Table) -> Result<Self, SpoolError> {
        let mut sources: Vec<Source> = files.into_iter().map(Source::of_file).collect::<Result<_, _>>()?;
        sources.extend(memory.into_iter().flat_map(Source::of_segment));
        Ok(Self { table: spec, merge: Merge::new(sources)?, missed: 0 })
    }

    /// How many updates met no row among the changes that are merged so far.
    pub(crate) fn missed(&self) -> u64 {
        self.missed
    }

    fn next_row(&mut self) -> Result<Option<(Key, Row)>, SpoolError> {
        while let Some(Entry { key, what }) = self.merge.next()? {
            // The merge leaves out the rows that this removes.
            let What::Row(first) = what else { continue };
            let mut row = self.changed(None, first)?;
            while let Some(next) = self.merge.next_of(&key)? {
                row = self.changed(row, next)?;
            }
            if let Some(row) = row {
                return Ok(Some((key, row)));
            }
        }
        Ok(None)
    }

    /// Applies `change` to `row`.
    fn changed(&mut self, row: Option<Row>, change: RowChange) -> Result<Option<Row>, SpoolError> {
        let changed = match (change, row) {
            (RowChange::Delete, _) => return Ok(None),
            (RowChange::Update(_), None) => {
                self.missed += 1;
                return Ok(None);
            }
            (RowChange::Upsert(cells), None) => cells.into_row(&self.table),
            (RowChange::Upsert(cells) | RowChange::Update(cells), Some(row)) => cells.apply_to(row, &self.table),
        };
        let out_of_range = || SpoolError::OutOfRange { table: self.table.name().to_owned() };
        changed.ok_or_else(out_of_range).map(Some)
    }
}

impl Iterator for Rows {
    type Item = Result<(Key, Row), SpoolError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_row();
        if next.is_err() {
            self.merge = Merge::default();
        }
        next.transpose()
    }
}
