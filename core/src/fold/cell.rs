//! An operation on one cell.

use crate::{Json, Value};

/// An operation on one cell.
///
/// A missing row counts as a row that holds the default of each column, or NULL.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Sets the cell to this value.
    Set(Value),
    /// Adds this number. NULL counts as 0.
    Add(Value),
    /// Sets the cell to this value if it is greater than the cell's, or if the cell is NULL.
    Max(Value),
    /// Sets the cell to this value if it is less than the cell's, or if the cell is NULL.
    Min(Value),
    /// Appends these items to the JSON array. NULL counts as `[]`.
    Append(Vec<Json>),
    /// Sets the cell to this value if the row's `newer_by` columns increase. Those columns are `Newer` cells
    /// themselves.
    Newer(Value),
}

impl Cell {
    /// The operand of the operation. `None` for [`Append`](Self::Append), which has several.
    pub fn value(&self) -> Option<&Value> {
        match self {
            Cell::Set(value) | Cell::Add(value) | Cell::Max(value) | Cell::Min(value) | Cell::Newer(value) => {
                Some(value)
            }
            Cell::Append(_) => None,
        }
    }

    /// The name of the operation, as [`RowWriter`](crate::RowWriter) has it.
    pub fn operation(&self) -> &'static str {
        match self {
            Cell::Set(_) => "set",
            Cell::Add(_) => "add",
            Cell::Max(_) => "max",
            Cell::Min(_) => "min",
            Cell::Append(_) => "append",
            Cell::Newer(_) => "newer",
        }
    }

    /// The one operation that does what this one and then `next` do, if there is one.
    pub(super) fn then(&self, next: &Cell) -> Option<Cell> {
        use Cell::{Add, Append, Max, Min, Newer, Set};
        Some(match (self, next) {
            // Whether this cell's group is newer depends on the stored row, and maybe on the value that `next`
            // overwrites.
            (Newer(_), _) => return None,
            (_, Set(value)) => Set(value.clone()),
            (Set(value), Add(number)) => Set(value.plus(number)?),
            (Set(value), Max(other)) => Set(value.greater(other)),
            (Set(value), Min(other)) => Set(value.lesser(other)),
            (Set(Value::Json(array)), Append(items)) => Set(Value::Json(array.extended(items))),
            (Set(Value::Null), Append(items)) => Set(Value::Json(Json::empty_array().extended(items))),
            (Add(a), Add(b)) => Add(a.plus(b)?),
            (Max(a), Max(b)) => Max(a.greater(b)),
            (Min(a), Min(b)) => Min(a.lesser(b)),
            (Append(a), Append(b)) => Append([a.as_slice(), b.as_slice()].concat()),
            _ => return None,
        })
    }

    /// Whether `next` overwrites the result of this operation, whatever the cell holds.
    pub(super) fn is_overwritten_by(&self, next: &Cell) -> bool {
        matches!(next, Cell::Set(_)) && !matches!(self, Cell::Newer(_))
    }

    /// Whether there is one operation that does what this one and then `next` do.
    pub(super) fn composes(&self, next: &Cell) -> bool {
        let appends = matches!((self, next), (Cell::Append(_), Cell::Append(_)));
        appends || self.is_overwritten_by(next) || self.then(next).is_some()
    }

    /// The cell's value after this operation on a cell that holds `held`. `None` if a number is out of range.
    pub(super) fn modify(self, held: Value) -> Option<Value> {
        match self {
            // The caller has checked for the whole row that the `newer_by` columns increase.
            Cell::Set(value) | Cell::Newer(value) => Some(value),
            operation => match Cell::Set(held).then(&operation)? {
                Cell::Set(value) => Some(value),
                _ => None,
            },
        }
    }
}
