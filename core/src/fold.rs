//! The fold: composes the changes of a whole batch into one change a row.
//!
//! A [`ChangeSet`] keeps a list of [`Segment`]s for each table. A store applies them in order. Nearly always there is
//! one segment. A new one begins where two changes do not compose into one: a fan-out with [`Segment::Where`] after
//! keyed changes, or an `add` after a `max` on the same cell. Changes that do not compose are applied one after the
//! other, so the result never depends on how the log is cut into batches.
//!
//! Numbers that leave their range: if every number stays in its range when the changes are applied one by one, every
//! fold of these changes succeeds with the same rows. The reverse does not hold. A sum that leaves its range and
//! returns within one batch is exact, because the fold adds the numbers before it reads the row. A number that is
//! deleted or overwritten later in the batch is not checked.

mod cell;
mod cells;
mod change_set;
mod row_change;

pub use cell::Cell;
pub use cells::Cells;
pub(crate) use change_set::remove_below;
pub use change_set::{ChangeSet, Segment};
pub use row_change::{Composition, RowChange};

use crate::Value;

/// The values of a row's key columns, or of the first of them.
pub type Key = Vec<Value>;

/// The values of a row's data columns, in the order of their declaration.
pub type Row = Vec<Value>;
