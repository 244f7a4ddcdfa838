//! What happens to the columns of a row, and which rows one statement can write.

use std::collections::BTreeMap;

use readcast_core::{Cell, Cells, Column, Decimal, Json, Key, Presence, RowChange, TableSpec, Value};

use super::statement::{collated, typed};

/// What happens to the columns, for all rows of one statement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    /// Whether missing rows stay missing.
    pub(super) existing_only: bool,
    /// The operation on each data column.
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

    /// Whether the operand alone is what the column holds in a new row: then one statement can create or change the
    /// row, for what it would have inserted is all that ON CONFLICT sees of the operand.
    pub(super) fn starts_as_its_operand(self, column: &Column) -> bool {
        match (self, column.presence()) {
            (Operation::Set | Operation::Newer, _) | (_, Presence::Nullable | Presence::Required) => true,
            (Operation::Add, Presence::Default(value)) => is_zero(value),
            (Operation::Append, Presence::Default(value)) => *value == Value::Json(Json::empty_array()),
            (Operation::Max | Operation::Min, Presence::Default(_)) => false,
        }
    }

    /// The value of the column in a row that was there, where it is `held`. A NULL operand changes nothing, unless it
    /// is what the column is set to.
    pub(super) fn changed(self, column: &Column, held: &str, operand: &str, newer: &str) -> String {
        let operand = typed(column, operand);
        match self {
            Operation::Set => operand,
            Operation::Add => format!("coalesce({held} + {operand}, {held}, {operand})"),
            // An empty array is no operand either; behind anything but an array it would make one of it.
            Operation::Append => format!("coalesce({held} || nullif({operand}, '[]'), {held}, {operand})"),
            Operation::Max => format!("greatest({}, {operand})", collated(column, held)),
            Operation::Min => format!("least({}, {operand})", collated(column, held)),
            Operation::Newer => format!("CASE WHEN {newer} THEN {operand} ELSE {held} END"),
        }
    }
}

/// A row's key, and what happens to its cells.
pub(super) type ChangedRow<'a> = (&'a Key, &'a Cells);

/// The rows in groups that one statement can write. A column that is only ever added to (or the like) counts as added
/// to in every row, by nothing where a row does not say: fewer statements, and all rows locked in the order of keys.
pub(super) fn by_shape<'a>(
    rows: &[(&'a Key, &'a RowChange)],
    table: &TableSpec,
) -> BTreeMap<Shape, Vec<ChangedRow<'a>>> {
    let changed = rows.iter().filter_map(|(key, change)| match change {
        RowChange::Upsert(cells) => Some((false, *key, cells)),
        RowChange::Update(cells) => Some((true, *key, cells)),
        RowChange::Delete => None,
    });
    let shared = shared_operations(changed.clone().map(|(_, _, cells)| cells), table);
    // There are few shapes and many rows: no shape is made of a row that has the one of another.
    let mut groups = Vec::<(Shape, Vec<ChangedRow<'a>>)>::new();
    for (existing_only, key, cells) in changed {
        let is_theirs = |shape: &Shape| shape.existing_only == existing_only && shape.fits(cells, &shared);
        match groups.iter_mut().find(|(shape, _)| is_theirs(shape)) {
            Some((_, rows)) => rows.push((key, cells)),
            None => groups.push((Shape { existing_only, ..shape_of(cells, &shared) }, vec![(key, cells)])),
        }
    }
    groups.into_iter().collect()
}

/// For each column, the operation that all rows share which have one at all, if it ignores NULL.
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

pub(super) fn shape_of(cells: &Cells, shared: &[Option<Operation>]) -> Shape {
    Shape { existing_only: true, operations: operations_of(cells, shared).collect() }
}

fn operations_of(cells: &Cells, shared: &[Option<Operation>]) -> impl Iterator<Item = Option<Operation>> {
    let operations = cells.as_slice().iter().enumerate();
    operations.map(|(place, cell)| cell.as_ref().map(Operation::of).or_else(|| shared.get(place).copied().flatten()))
}

impl Shape {
    fn fits(&self, cells: &Cells, shared: &[Option<Operation>]) -> bool {
        operations_of(cells, shared).eq(self.operations.iter().copied())
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
