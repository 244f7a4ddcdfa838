//! The changes that a projection makes to keyed rows of its tables.

mod budget;
mod checks;
mod described;
mod error;
mod row_writer;

pub(crate) use budget::OperationLimitExceeded;
pub use error::ChangeError;
pub use row_writer::RowWriter;

use crate::fold::{Cells, Key, Row, RowChange};
use crate::{ColumnType, TableSpec, Value};
use budget::Budget;
use checks::{
    complete_references, data_column, fit, full_key, full_row, operation, parent_key, references_without_key,
    require_columns,
};

/// One change to one table. [`ChangeSet::push`](crate::ChangeSet::push) composes changes.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A change of the row with this key.
    Row {
        /// The table's index among the projection's tables.
        table: usize,
        /// The row's key.
        key: Key,
        /// What happens to the row.
        change: RowChange,
    },
    /// A change of every row that holds a value in a data column. It never creates a row.
    Where {
        /// The table's index among the projection's tables.
        table: usize,
        /// The column's index among the data columns.
        column: usize,
        /// The value that selects the rows; NULL selects the rows that hold NULL.
        value: Value,
        /// The operations on each of these rows.
        cells: Cells,
    },
    /// The rows whose key begins with `parent` become exactly `rows`.
    ReplaceChildren {
        /// The table's index among the projection's tables.
        table: usize,
        /// The first columns of the key.
        parent: Key,
        /// Complete keys and rows.
        rows: Vec<(Key, Row)>,
    },
}

impl Change {
    /// The table's index among the projection's tables.
    pub fn table(&self) -> usize {
        match self {
            Change::Row { table, .. } | Change::Where { table, .. } | Change::ReplaceChildren { table, .. } => *table,
        }
    }
}

/// The changes of one event, in order.
///
/// A mistake, such as an unknown column, is kept until [`finish`](Self::finish), so that the code of a projection needs
/// no `?` behind every cell. The first mistake makes the record poison; changes after it have no effect.
///
/// ```
/// use readcast_core::{Changes, ColumnType, TableSpec};
///
/// let tables = [TableSpec::new("visits").key("page", ColumnType::Text).with_default("count", ColumnType::I64, 0)];
/// let mut changes = Changes::new(&tables);
/// changes.upsert("visits", ["/home"]).add("count", 1);
/// changes.delete("visits", ["/old"]);
/// assert_eq!(changes.finish().map(|changes| changes.len()), Ok(2));
///
/// let mut changes = Changes::new(&tables);
/// changes.upsert("visits", ["/home"]).add("visitors", 1);
/// let error = changes.finish().expect_err("there is no such column");
/// assert_eq!(error.to_string(), "table `visits` has no data column `visitors`");
/// ```
#[derive(Debug)]
pub struct Changes<'a> {
    tables: &'a [TableSpec],
    changes: Vec<Change>,
    budget: Budget,
}

impl<'a> Changes<'a> {
    /// The most operations of one event: rows, cells and children together. An event that makes more is poison.
    pub const MAX_OPERATIONS: usize = 1_000_000;

    /// An event without changes. `tables` are those of the projection.
    pub fn new(tables: &'a [TableSpec]) -> Self {
        Self { tables, changes: Vec::new(), budget: Budget::default() }
    }

    /// Changes the row with this key, and creates it if it is missing. The change must set every
    /// [required](crate::Presence::Required) column.
    pub fn upsert<V: Into<Value>>(&mut self, table: &str, key: impl IntoIterator<Item = V>) -> RowWriter<'_> {
        self.row(table, key, RowChange::Upsert)
    }

    /// Changes the row with this key if it exists. A missing row is counted as a missed update and is not created.
    pub fn update<V: Into<Value>>(&mut self, table: &str, key: impl IntoIterator<Item = V>) -> RowWriter<'_> {
        self.row(table, key, RowChange::Update)
    }

    /// Deletes the row with this key if it exists. A later change with this key starts from an empty row.
    pub fn delete<V: Into<Value>>(&mut self, table: &str, key: impl IntoIterator<Item = V>) {
        if let Some((table, key)) = self.keyed(table, key) {
            self.budget.spend();
            self.changes.push(Change::Row { table, key, change: RowChange::Delete });
        }
    }

    /// Changes every row whose data column `column` equals `value`, in order with the keyed changes before and after
    /// it. It creates no row. JSON columns and copied columns can't select rows.
    ///
    /// A batch with such a change is applied in several steps and scans the table unless `column` has an index.
    pub fn update_where(&mut self, table: &str, column: &str, value: impl Into<Value>) -> RowWriter<'_> {
        let selection = self.table(table).and_then(|(index, spec)| {
            let place = self.budget.check(data_column(spec, column))?;
            // Stores differ in which JSON texts are equal. Copies follow the changes of a batch and not their order.
            let json = spec.data_columns()[place].column_type() == ColumnType::Json;
            let comparable = !json && spec.copied_by(place).is_none();
            self.budget.check(comparable.then_some(()).ok_or_else(|| operation(spec, place, "update_where")))?;
            let value = self.budget.check(fit(spec, place, value.into()))?;
            Some((index, place, value))
        });
        self.budget.spend();
        let Some((table, column, value)) = selection else { return RowWriter::refused(&mut self.budget) };
        let spec = &self.tables[table];
        self.changes.push(Change::Where { table, column, value, cells: Cells::none(spec.data_columns().len()) });
        RowWriter::last(spec, &mut self.changes, &mut self.budget)
    }

    /// Makes `rows` the only rows whose key begins with `parent`, the values of the first key columns. Each row has the
    /// values of the other key columns and then of all data columns that are not
    /// [copied](crate::Reference::copy_as), in the order of their declaration.
    pub fn replace_children<P: Into<Value>>(
        &mut self,
        table: &str,
        parent: impl IntoIterator<Item = P>,
        rows: impl IntoIterator<Item = Vec<Value>>,
    ) {
        let Some((table, spec)) = self.table(table) else { return };
        let parent: Key = parent.into_iter().map(Into::into).collect();
        let budget = &mut self.budget;
        let complete = |row: Vec<Value>| {
            budget.spend();
            full_row(spec, parent.iter().cloned().chain(row).collect())
        };
        let rows = rows.into_iter().map(complete).collect::<Result<_, _>>();
        let checked = parent_key(spec, parent.clone()).and_then(|parent| Ok((parent, rows?)));
        if let Some((parent, rows)) = self.budget.check(checked) {
            self.changes.push(Change::ReplaceChildren { table, parent, rows });
        }
    }

    /// The changes, in the order in which they were made.
    ///
    /// # Errors
    /// The first mistake, or a change that may create a row without a required column, or that sets a reference in part.
    pub fn finish(self) -> Result<Vec<Change>, ChangeError> {
        if let Some(error) = self.budget.into_error() {
            return Err(error);
        }
        for change in &self.changes {
            let table = &self.tables[change.table()];
            match change {
                Change::Row { change: RowChange::Upsert(cells), .. } => {
                    require_columns(table, cells)?;
                    complete_references(table, cells)?;
                }
                Change::Row { change: RowChange::Update(cells), .. } => complete_references(table, cells)?,
                Change::Where { cells, .. } => {
                    complete_references(table, cells)?;
                    references_without_key(table, cells)?;
                }
                Change::Row { change: RowChange::Delete, .. } | Change::ReplaceChildren { .. } => {}
            }
        }
        Ok(self.changes)
    }

    fn row<V: Into<Value>>(
        &mut self,
        table: &str,
        key: impl IntoIterator<Item = V>,
        change: fn(Cells) -> RowChange,
    ) -> RowWriter<'_> {
        self.budget.spend();
        let Some((table, key)) = self.keyed(table, key) else { return RowWriter::refused(&mut self.budget) };
        let spec = &self.tables[table];
        self.changes.push(Change::Row { table, key, change: change(Cells::none(spec.data_columns().len())) });
        RowWriter::last(spec, &mut self.changes, &mut self.budget)
    }

    fn keyed<V: Into<Value>>(&mut self, table: &str, key: impl IntoIterator<Item = V>) -> Option<(usize, Key)> {
        let (index, spec) = self.table(table)?;
        let key = key.into_iter().map(Into::into).collect();
        Some((index, self.budget.check(full_key(spec, key))?))
    }

    fn table(&mut self, name: &str) -> Option<(usize, &'a TableSpec)> {
        let found = self.tables.iter().enumerate().find(|(_, table)| table.name() == name);
        self.budget.check(found.ok_or_else(|| ChangeError::NoTable(name.to_owned())))
    }
}
