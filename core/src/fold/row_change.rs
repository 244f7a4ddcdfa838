//! A change of one row, and how two of them compose.

use super::Cells;
use crate::TableSpec;

/// A change of one row.
#[derive(Clone, Debug, PartialEq)]
pub enum RowChange {
    /// Applies the operations to the row, and creates the row if it is missing.
    Upsert(Cells),
    /// Applies the operations to the row if it exists.
    Update(Cells),
    /// Deletes the row if it exists.
    Delete,
}

/// The result of [`RowChange::compose`].
#[derive(Clone, Debug, PartialEq)]
pub enum Composition {
    /// The first change now does what both did.
    Composed,
    /// The second change has no effect: it updates a row that the first one deletes.
    MissedUpdate,
    /// No single change does what both do. This is the second change, to be applied after the first.
    Separate(RowChange),
}

impl RowChange {
    /// Composes `next` after this change, in place. `table` is the table of both.
    pub fn compose(&mut self, next: RowChange, table: &TableSpec) -> Composition {
        use RowChange::{Delete, Update, Upsert};
        let separate = match (&mut *self, next) {
            (held, Delete) => {
                *held = Delete;
                None
            }
            (Delete, Update(_)) => return Composition::MissedUpdate,
            // After a deletion the row starts from its initial values, so all its values are known.
            (held @ Delete, Upsert(cells)) => match cells.create(table) {
                Some(row) => {
                    *held = Upsert(Cells::full(row));
                    None
                }
                None => Some(Upsert(cells)),
            },
            (Upsert(first), Upsert(second)) => first.compose(second, table).err().map(Upsert),
            (Upsert(first) | Update(first), Update(second)) => first.compose(second, table).err().map(Update),
            // Both apply to a row that exists, and only the second to a missing one. No single change does that.
            (Update(_), next @ Upsert(_)) => Some(next),
        };
        separate.map_or(Composition::Composed, Composition::Separate)
    }
}
