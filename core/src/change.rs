//! What a projection says: changes to keyed rows of its tables.

use crate::fold::{Cell, Cells, Key, Row, RowChange};
use crate::{Json, Presence, TableSpec, Value, ValueError};

/// One change to one table. Composed by [`ChangeSet::push`](crate::ChangeSet::push).
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// To the row with this key.
    Row {
        /// The table's place among the projection's tables.
        table: usize,
        /// The row's key.
        key: Key,
        /// What happens to it.
        change: RowChange,
    },
    /// To the rows found by a column outside the key.
    Where {
        /// The table's place among the projection's tables.
        table: usize,
        /// The column's place among the data columns.
        column: usize,
        /// The value it has in the rows that are meant.
        value: Value,
        /// What happens to each of them.
        cells: Cells,
    },
    /// The rows whose key begins with `parent` become exactly `rows`.
    ReplaceChildren {
        /// The table's place among the projection's tables.
        table: usize,
        /// The first columns of the key.
        parent: Key,
        /// Whole keys and rows.
        rows: Vec<(Key, Row)>,
    },
}

impl Change {
    /// The table's place among the projection's tables.
    pub fn table(&self) -> usize {
        match self {
            Change::Row { table, .. } | Change::Where { table, .. } | Change::ReplaceChildren { table, .. } => *table,
        }
    }
}

/// Why a change was refused. The record that it came from is poison.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The projection declares no such table.
    #[error("there is no table `{0}`")]
    NoTable(String),
    /// The table declares no such column behind its key.
    #[error("table `{table}` has no data column `{column}`")]
    NoColumn {
        /// The table's name.
        table: String,
        /// The name that was asked for.
        column: String,
    },
    /// A key of too many or too few values.
    #[error("table `{table}` takes {expected}, and {found} values were given")]
    KeyLength {
        /// The table's name.
        table: String,
        /// What the key must be.
        expected: String,
        /// How many values there were.
        found: usize,
    },
    /// A value that does not fit its column.
    #[error("table `{table}`: {source}")]
    Value {
        /// The table's name.
        table: String,
        /// What does not fit.
        source: ValueError,
    },
    /// A change that may create a row leaves a required column unset.
    #[error("table `{table}`: a change that may create a row must set column `{column}`")]
    Unset {
        /// The table's name.
        table: String,
        /// The column that is missing.
        column: String,
    },
    /// An operation that the column's type does not have, such as `add` on a text.
    #[error("table `{table}`: column `{column}` can't take `{operation}`")]
    Operation {
        /// The table's name.
        table: String,
        /// The column's name.
        column: String,
        /// The operation's name.
        operation: &'static str,
    },
    /// Two operations on one cell in one change that do not compose, such as `max` and then `add`.
    #[error("table `{table}`: one change can't do both operations on column `{column}`")]
    Twice {
        /// The table's name.
        table: String,
        /// The column's name.
        column: String,
    },
}

/// What a projection makes of one event: its changes, in order. The first mistake is kept and makes the record poison,
/// so that the code of a projection needs no `?` behind every cell.
#[derive(Debug)]
pub struct Changes<'a> {
    tables: &'a [TableSpec],
    changes: Vec<Change>,
    tab: Tab,
}

/// What one event has cost so far, and the first mistake that was made.
#[derive(Debug, Default)]
struct Tab {
    operations: usize,
    error: Option<ChangeError>,
}

/// Thrown when an event has used up [`Changes::MOST_OPERATIONS`], and caught in [`Definition::project`].
///
/// [`Definition::project`]: crate::Definition::project
pub(crate) struct Exhausted;

impl Tab {
    /// Counts one operation. A projection that loops would go on until the memory is full, and no error that is kept for
    /// the end would stop it: so this unwinds.
    fn spend(&mut self) {
        self.operations += 1;
        if self.operations > Changes::MOST_OPERATIONS {
            std::panic::resume_unwind(Box::new(Exhausted));
        }
    }

    fn keep<T>(&mut self, result: Result<T, ChangeError>) -> Option<T> {
        result.map_err(|error| self.error.get_or_insert(error)).ok()
    }
}

impl<'a> Changes<'a> {
    /// How many operations one event may come to: rows, cells and children together.
    pub const MOST_OPERATIONS: usize = 1_000_000;

    /// No changes yet to any of `tables`.
    pub fn new(tables: &'a [TableSpec]) -> Self {
        Self { tables, changes: Vec::new(), tab: Tab::default() }
    }

    /// Changes the row with this key, which is created when it is missing.
    pub fn upsert<V: Into<Value>>(&mut self, table: &str, key: impl IntoIterator<Item = V>) -> RowWriter<'_> {
        self.row(table, key, RowChange::Upsert)
    }

    /// Changes the row with this key if there is one. A missing row is counted as missed, not created.
    pub fn update<V: Into<Value>>(&mut self, table: &str, key: impl IntoIterator<Item = V>) -> RowWriter<'_> {
        self.row(table, key, RowChange::Update)
    }

    /// Removes the row with this key, if there is one. Later changes to that key start afresh.
    pub fn delete<V: Into<Value>>(&mut self, table: &str, key: impl IntoIterator<Item = V>) {
        if let Some((table, key)) = self.keyed(table, key) {
            self.tab.spend();
            self.changes.push(Change::Row { table, key, change: RowChange::Delete });
        }
    }

    /// Changes every row whose data column `column` equals `value`. Ordered against the keyed changes around it.
    pub fn update_where(&mut self, table: &str, column: &str, value: impl Into<Value>) -> RowWriter<'_> {
        let found = self.table(table).and_then(|(index, spec)| {
            let place = self.tab.keep(data_column(spec, column))?;
            // Stores differ in which JSON texts are equal.
            let comparable = spec.data_columns()[place].column_type() != crate::ColumnType::Json;
            self.tab.keep(comparable.then_some(()).ok_or_else(|| operation(spec, place, "update_where")))?;
            let value = self.tab.keep(fit(spec, place, value.into()))?;
            Some((index, place, value))
        });
        self.tab.spend();
        let Some((table, column, value)) = found else { return RowWriter::refused(&mut self.tab) };
        let spec = &self.tables[table];
        self.changes.push(Change::Where { table, column, value, cells: Cells::none(spec.data_columns().len()) });
        RowWriter::last(spec, &mut self.changes, &mut self.tab)
    }

    /// Makes `rows` the only rows below `parent`, the first columns of the key. Each row is given as the rest of its
    /// key and then all of its data columns, in the order of their declaration.
    pub fn replace_children<P: Into<Value>>(
        &mut self,
        table: &str,
        parent: impl IntoIterator<Item = P>,
        rows: impl IntoIterator<Item = Vec<Value>>,
    ) {
        let Some((table, spec)) = self.table(table) else { return };
        let parent: Key = parent.into_iter().map(Into::into).collect();
        let tab = &mut self.tab;
        let whole = |row: Vec<Value>| {
            tab.spend();
            whole_row(spec, parent.iter().cloned().chain(row).collect())
        };
        let rows = rows.into_iter().map(whole).collect::<Result<_, _>>();
        let checked = parent_key(spec, parent.clone()).and_then(|parent| Ok((parent, rows?)));
        if let Some((parent, rows)) = self.tab.keep(checked) {
            self.changes.push(Change::ReplaceChildren { table, parent, rows });
        }
    }

    /// The changes, or the first mistake that was made.
    pub fn finish(self) -> Result<Vec<Change>, ChangeError> {
        if let Some(error) = self.tab.error {
            return Err(error);
        }
        for change in &self.changes {
            if let Change::Row { table, change: RowChange::Upsert(cells), .. } = change {
                every_required_column_is_set(&self.tables[*table], cells)?;
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
        self.tab.spend();
        let Some((table, key)) = self.keyed(table, key) else { return RowWriter::refused(&mut self.tab) };
        let spec = &self.tables[table];
        self.changes.push(Change::Row { table, key, change: change(Cells::none(spec.data_columns().len())) });
        RowWriter::last(spec, &mut self.changes, &mut self.tab)
    }

    fn keyed<V: Into<Value>>(&mut self, table: &str, key: impl IntoIterator<Item = V>) -> Option<(usize, Key)> {
        let (index, spec) = self.table(table)?;
        let key = key.into_iter().map(Into::into).collect();
        Some((index, self.tab.keep(whole_key(spec, key))?))
    }

    fn table(&mut self, name: &str) -> Option<(usize, &'a TableSpec)> {
        let found = self.tables.iter().enumerate().find(|(_, table)| table.name() == name);
        self.tab.keep(found.ok_or_else(|| ChangeError::NoTable(name.to_owned())))
    }
}

/// Says what happens to the cells of one row, or of the rows of a fan-out.
#[derive(Debug)]
pub struct RowWriter<'a> {
    /// The row that is written; none when it was refused already.
    row: Option<(&'a TableSpec, &'a mut Cells)>,
    tab: &'a mut Tab,
}

impl<'a> RowWriter<'a> {
    fn refused(tab: &'a mut Tab) -> Self {
        Self { row: None, tab }
    }

    fn last(spec: &'a TableSpec, changes: &'a mut [Change], tab: &'a mut Tab) -> Self {
        let cells = changes.last_mut().and_then(|change| match change {
            Change::Row { change: RowChange::Upsert(cells) | RowChange::Update(cells), .. } => Some(cells),
            Change::Where { cells, .. } => Some(cells),
            Change::Row { change: RowChange::Delete, .. } | Change::ReplaceChildren { .. } => None,
        });
        Self { row: cells.map(|cells| (spec, cells)), tab }
    }

    /// The column becomes `value`; the last one wins, in log order.
    pub fn set(self, column: &str, value: impl Into<Value>) -> Self {
        self.value(column, value.into(), Cell::Set)
    }

    /// Adds an integer or a decimal, exactly. A missing row or NULL counts as the column's default, or as 0.
    pub fn add(self, column: &str, number: impl Into<Value>) -> Self {
        self.value(column, number.into(), Cell::Add)
    }

    /// The column becomes `value` when that is greater. A missing row counts as the column's default; without one, it
    /// and NULL count as nothing.
    pub fn max(self, column: &str, value: impl Into<Value>) -> Self {
        self.value(column, value.into(), Cell::Max)
    }

    /// The column becomes `value` when that is less. A missing row counts as the column's default; without one, it and
    /// NULL count as nothing.
    pub fn min(self, column: &str, value: impl Into<Value>) -> Self {
        self.value(column, value.into(), Cell::Min)
    }

    /// Puts `item` at the end of the JSON array; a missing row or NULL counts as the column's default, or as `[]`.
    pub fn append(self, column: &str, item: Json) -> Self {
        self.write(column, |spec, place| match spec.data_columns()[place].column_type() {
            crate::ColumnType::Json => Ok(Cell::Append(vec![item])),
            _ => Err(operation(spec, place, "append")),
        })
    }

    /// Sets `cells`, and the table's [`newer_by`](TableSpec::newer_by) columns to `at` and `tie`, if (`at`, `tie`) is
    /// later than what those columns hold. The result does not depend on the order of the events: use it where events
    /// of several partitions write one row.
    pub fn newer(
        mut self,
        at: impl Into<Value>,
        tie: impl Into<Value>,
        cells: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Self {
        let Some((spec, _)) = &self.row else { return self };
        let spec: &TableSpec = spec;
        let Some((at_column, tie_column)) = spec.newer_columns() else {
            let error = ChangeError::NoColumn { table: spec.name().into(), column: "newer_by".into() };
            self.tab.error.get_or_insert(error);
            return self;
        };
        let name = |place: usize| spec.data_columns()[place].name();
        let (at_name, tie_name) = (name(at_column), name(tie_column));
        self = self.value(at_name, at.into(), Cell::Newer).value(tie_name, tie.into(), Cell::Newer);
        cells.into_iter().fold(self, |row, (column, value)| row.value(column, value, Cell::Newer))
    }

    fn value(self, column: &str, value: Value, cell: fn(Value) -> Cell) -> Self {
        self.write(column, |spec, place| {
            let cell = cell(fit(spec, place, value)?);
            let name = match &cell {
                Cell::Set(_) | Cell::Append(_) => return Ok(cell),
                Cell::Add(Value::I32(_) | Value::I64(_) | Value::Decimal(_)) => return Ok(cell),
                Cell::Add(_) => "add",
                Cell::Max(Value::Null | Value::Json(_)) => "max",
                Cell::Min(Value::Null | Value::Json(_)) => "min",
                Cell::Newer(Value::Null)
                    if spec.newer_columns().is_some_and(|(at, tie)| [at, tie].contains(&place)) =>
                {
                    "newer"
                }
                Cell::Max(_) | Cell::Min(_) | Cell::Newer(_) => return Ok(cell),
            };
            Err(operation(spec, place, name))
        })
    }

    fn write(mut self, column: &str, cell: impl FnOnce(&TableSpec, usize) -> Result<Cell, ChangeError>) -> Self {
        self.tab.spend();
        if let Some((spec, cells)) = &mut self.row {
            let written = data_column(spec, column).and_then(|place| {
                let twice = || ChangeError::Twice { table: spec.name().into(), column: column.into() };
                cells.push(place, cell(spec, place)?).then_some(()).ok_or_else(twice)
            });
            self.tab.keep(written);
        }
        self
    }
}

fn data_column(spec: &TableSpec, name: &str) -> Result<usize, ChangeError> {
    let no_column = || ChangeError::NoColumn { table: spec.name().into(), column: name.into() };
    spec.data_index(name).ok_or_else(no_column)
}

fn operation(spec: &TableSpec, place: usize, operation: &'static str) -> ChangeError {
    ChangeError::Operation { table: spec.name().into(), column: spec.data_columns()[place].name().into(), operation }
}

fn fit(spec: &TableSpec, place: usize, value: Value) -> Result<Value, ChangeError> {
    let fitted = value.fit(&spec.data_columns()[place]);
    fitted.map_err(|source| ChangeError::Value { table: spec.name().into(), source })
}

fn fit_all(spec: &TableSpec, values: Vec<Value>) -> Result<Vec<Value>, ChangeError> {
    let fitted = values.into_iter().zip(spec.columns()).map(|(value, column)| value.fit(column));
    let fitted: Result<_, _> = fitted.collect();
    fitted.map_err(|source| ChangeError::Value { table: spec.name().into(), source })
}

fn whole_key(spec: &TableSpec, key: Vec<Value>) -> Result<Key, ChangeError> {
    length(spec, key.len() == spec.key_columns().len(), "a key of", spec.key_columns().len(), key.len())?;
    fit_all(spec, key)
}

fn parent_key(spec: &TableSpec, parent: Vec<Value>) -> Result<Key, ChangeError> {
    let most = spec.key_columns().len().saturating_sub(1);
    length(spec, (1..=most).contains(&parent.len()), "a parent key of 1 to", most, parent.len())?;
    fit_all(spec, parent)
}

fn whole_row(spec: &TableSpec, mut values: Vec<Value>) -> Result<(Key, Row), ChangeError> {
    length(spec, values.len() == spec.columns().len(), "a row of", spec.columns().len(), values.len())?;
    values = fit_all(spec, values)?;
    let row = values.split_off(spec.key_columns().len());
    Ok((values, row))
}

fn length(spec: &TableSpec, holds: bool, what: &str, wanted: usize, found: usize) -> Result<(), ChangeError> {
    let error = || ChangeError::KeyLength { table: spec.name().into(), expected: format!("{what} {wanted}"), found };
    holds.then_some(()).ok_or_else(error)
}

fn every_required_column_is_set(spec: &TableSpec, cells: &Cells) -> Result<(), ChangeError> {
    let sets = |cell: &Option<Cell>| matches!(cell, Some(Cell::Set(_) | Cell::Newer(_)));
    let columns = spec.data_columns().iter().zip(cells.as_slice());
    let mut unset = columns.filter(|(column, cell)| *column.presence() == Presence::Required && !sets(cell));
    match unset.next() {
        None => Ok(()),
        Some((column, _)) => Err(ChangeError::Unset { table: spec.name().into(), column: column.name().into() }),
    }
}
