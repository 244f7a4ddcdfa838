//! The operations on the cells of one row.

use super::budget::Budget;
use super::checks::{data_column, fit, operation, writable};
use super::{Change, ChangeError};
use crate::fold::{Cell, Cells, RowChange};
use crate::{ColumnType, Json, TableSpec, Value};

/// Writes the cells of one row, or of all rows that [`Changes::update_where`](crate::Changes::update_where) selects.
///
/// Each method takes the name of a data column. A column without an operation keeps its value, or starts as its
/// [`Presence`](crate::Presence) says. Several operations on one column must compose: two `add`s do, `max` and then
/// `add` do not.
#[derive(Debug)]
pub struct RowWriter<'a> {
    /// The row's table and cells; `None` if the change was refused.
    row: Option<(&'a TableSpec, &'a mut Cells)>,
    budget: &'a mut Budget,
}

impl<'a> RowWriter<'a> {
    /// A writer that ignores every operation, after a mistake in the change.
    pub(super) fn refused(budget: &'a mut Budget) -> Self {
        Self { row: None, budget }
    }

    /// A writer for the cells of the last of `changes`.
    pub(super) fn last(spec: &'a TableSpec, changes: &'a mut [Change], budget: &'a mut Budget) -> Self {
        let cells = changes.last_mut().and_then(|change| match change {
            Change::Row { change: RowChange::Upsert(cells) | RowChange::Update(cells), .. } => Some(cells),
            Change::Where { cells, .. } => Some(cells),
            Change::Row { change: RowChange::Delete, .. } | Change::ReplaceChildren { .. } => None,
        });
        Self { row: cells.map(|cells| (spec, cells)), budget }
    }

    /// Sets the column to `value`. The last `set` in log order wins.
    pub fn set(self, column: &str, value: impl Into<Value>) -> Self {
        self.value(column, value.into(), Cell::Set)
    }

    /// Adds an integer or a decimal, exactly. A missing row counts as the column's default; without a default, it and
    /// NULL count as 0. A sum outside of the column's range makes the record poison.
    pub fn add(self, column: &str, number: impl Into<Value>) -> Self {
        self.value(column, number.into(), Cell::Add)
    }

    /// Sets the column to `value` if `value` is greater. A missing row counts as the column's default; without a
    /// default, it and NULL count as less than every value.
    pub fn max(self, column: &str, value: impl Into<Value>) -> Self {
        self.value(column, value.into(), Cell::Max)
    }

    /// Sets the column to `value` if `value` is less. A missing row counts as the column's default; without a default,
    /// it and NULL count as greater than every value.
    pub fn min(self, column: &str, value: impl Into<Value>) -> Self {
        self.value(column, value.into(), Cell::Min)
    }

    /// Appends `item` to the JSON array. A missing row counts as the column's default; without a default, it and NULL
    /// count as `[]`. A value that is not an array becomes the first item of one.
    pub fn append(self, column: &str, item: Json) -> Self {
        self.write(column, |spec, place| match spec.data_columns()[place].column_type() {
            ColumnType::Json => Ok(Cell::Append(vec![item])),
            _ => Err(operation(spec, place, "append")),
        })
    }

    /// Sets `cells`, and the table's [`newer_by`](TableSpec::newer_by) columns to `at` and `tie`, if (`at`, `tie`) is
    /// greater than the values of those columns. Neither may be NULL.
    ///
    /// The result does not depend on the order of the events. Use it where events of several partitions write one row:
    /// the order of events of different partitions is undefined.
    pub fn newer<'n>(
        mut self,
        at: impl Into<Value>,
        tie: impl Into<Value>,
        cells: impl IntoIterator<Item = (&'n str, Value)>,
    ) -> Self {
        let Some((spec, _)) = &self.row else { return self };
        let spec: &TableSpec = spec;
        let Some((at_column, tie_column)) = spec.newer_columns() else {
            let error = ChangeError::NoColumn { table: spec.name().into(), column: "newer_by".into() };
            self.budget.check(Err::<(), _>(error));
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
        self.budget.spend();
        if let Some((spec, cells)) = &mut self.row {
            let written = data_column(spec, column).and_then(|place| {
                let conflict = || ChangeError::Conflict { table: spec.name().into(), column: column.into() };
                let cell = cell(spec, place)?;
                writable(spec, place, &cell)?;
                cells.push(place, cell).then_some(()).ok_or_else(conflict)
            });
            self.budget.check(written);
        }
        self
    }
}
