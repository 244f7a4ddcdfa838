//! The operations on the columns of a row, and the grouping of rows that one statement can write.

use std::collections::BTreeMap;

use readcast_core::{Cell, Cells, Column, Decimal, Json, Key, Presence, RowChange, TableSpec, Value};

use crate::store::postgres::statement::{collated, typed};

/// The operations that all rows of one statement share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    /// Whether only existing rows are changed, and none is created.
    pub(super) existing_only: bool,
    /// The operation on each data column, if there is one.
    pub(super) operations: Vec<Option<Operation>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Set,
    Add,
    Max,
    Min,
    Append,
    Newer,
}

impl Operation {
    fn of(cell: &Cell) -> Self {
        match cell {
            Cell::Set(_) => Operation::Set,
            Cell::Add(_) => Operation::Add,
            Cell::Max(_) => Operation::Max,
            Cell::Min(_) => Operation::Min,
            Cell::Append(_) => Operation::Append,
            Cell::Newer(_) => Operation::Newer,
        }
    }

    /// Whether a NULL operand leaves the column as it is.
    fn ignores_null(self) -> bool {
        match self {
            Operation::Add | Operation::Append | Operation::Max | Operation::Min => true,
            Operation::Set | Operation::Newer => false,
        }
    }

    /// Whether a new row holds the operand itself in this column. Then one statement can insert or change the row: ON
    /// CONFLICT sees only the value that would have been inserted.
    pub(super) fn starts_as_its_operand(self, column: &Column) -> bool {
        match (self, column.presence()) {
            (Operation::Set | Operation::Newer, _) | (_, Presence::Nullable | Presence::Required) => true,
            (Operation::Add, Presence::Default(value)) => is_zero(value),
            (Operation::Append, Presence::Default(value)) => *value == Value::Json(Json::empty_array()),
            (Operation::Max | Operation::Min, Presence::Default(_)) => false,
        }
    }

    /// The SQL of the column's new value in an existing row that holds `held`. A NULL operand changes nothing, except
    /// for `Set` and `Newer`.
    pub(super) fn changed(self, column: &Column, held: &str, operand: &str, newer: &str) -> String {
        let operand = typed(column, operand);
        match self {
            Operation::Set => operand,
            Operation::Add => format!("coalesce({held} + {operand}, {held}, {operand})"),
            // An empty array changes nothing either. Appended to a value that is not an array, it would make an array
            // of it.
            Operation::Append => format!("coalesce({held} || nullif({operand}, '[]'), {held}, {operand})"),
            Operation::Max => format!("greatest({}, {operand})", collated(column, held)),
            Operation::Min => format!("least({}, {operand})", collated(column, held)),
            Operation::Newer => format!("CASE WHEN {newer} THEN {operand} ELSE {held} END"),
        }
    }
}

/// A row's key and the operations on its cells.
pub(super) type ChangedRow<'a> = (&'a Key, &'a Cells);

/// The rows in groups that one statement can write. If all rows that change a column have the same operation, and NULL
/// does not affect it, the other rows get that operation with NULL. This takes fewer statements and locks all rows in
/// the order of their keys.
pub(super) fn by_shape<'a>(
    rows: &[(&'a Key, &'a RowChange)],
    table: &TableSpec,
    copied: &[bool],
) -> BTreeMap<Shape, Vec<ChangedRow<'a>>> {
    let changed = rows.iter().filter_map(|(key, change)| match change {
        RowChange::Upsert(cells) => Some((false, *key, cells)),
        RowChange::Update(cells) => Some((true, *key, cells)),
        RowChange::Delete => None,
    });
    let shared = shared_operations(changed.clone().map(|(_, _, cells)| cells), table);
    // There are few shapes and many rows, so a shape is created only for the first row that has it.
    let mut groups = Vec::<(Shape, Vec<ChangedRow<'a>>)>::new();
    for (existing_only, key, cells) in changed {
        let matches = |shape: &Shape| shape.existing_only == existing_only && shape.fits(cells, &shared, copied);
        match groups.iter_mut().find(|(shape, _)| matches(shape)) {
            Some((_, rows)) => rows.push((key, cells)),
            None => groups.push((Shape { existing_only, ..shape_of(cells, &shared, copied) }, vec![(key, cells)])),
        }
    }
    groups.into_iter().collect()
}

/// For each column, the one operation of all rows that change it, if that operation ignores NULL.
fn shared_operations<'a>(rows: impl Iterator<Item = &'a Cells>, table: &TableSpec) -> Vec<Option<Operation>> {
    #[derive(Clone, Copy)]
    enum Seen {
        None,
        Only(Operation),
        Several,
    }
    let mut seen = vec![Seen::None; table.data_columns().len()];
    for cells in rows {
        for (seen, cell) in seen.iter_mut().zip(cells.as_slice()) {
            let Some(operation) = cell.as_ref().map(Operation::of) else { continue };
            *seen = match *seen {
                Seen::None => Seen::Only(operation),
                Seen::Only(other) if other == operation => Seen::Only(operation),
                Seen::Only(_) | Seen::Several => Seen::Several,
            };
        }
    }
    let shared = |seen: Seen| match seen {
        Seen::Only(operation) if operation.ignores_null() => Some(operation),
        _ => None,
    };
    seen.into_iter().map(shared).collect()
}

/// The shape of these cells. Data columns that are `copied` have no operation: their values follow from the reference.
pub(super) fn shape_of(cells: &Cells, shared: &[Option<Operation>], copied: &[bool]) -> Shape {
    Shape { existing_only: true, operations: operations_of(cells, shared, copied).collect() }
}

fn operations_of(
    cells: &Cells,
    shared: &[Option<Operation>],
    copied: &[bool],
) -> impl Iterator<Item = Option<Operation>> {
    let operation = |(place, cell): (usize, &Option<Cell>)| {
        let operation = cell.as_ref().map(Operation::of).or_else(|| shared.get(place).copied().flatten());
        operation.filter(|_| !copied.get(place).copied().unwrap_or(false))
    };
    cells.as_slice().iter().enumerate().map(operation)
}

impl Shape {
    fn fits(&self, cells: &Cells, shared: &[Option<Operation>], copied: &[bool]) -> bool {
        operations_of(cells, shared, copied).eq(self.operations.iter().copied())
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::I32(number) => *number == 0,
        Value::I64(number) => *number == 0,
        Value::Decimal(number) => *number == Decimal::ZERO,
        _ => false,
    }
}
