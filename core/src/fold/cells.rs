//! The operations on the data columns of one row.

use super::{Cell, Row};
use crate::{Column, TableSpec, Value};

/// The operations on the data columns of one row, in the order of the columns. A column without an operation keeps its
/// value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cells(Vec<Option<Cell>>);

impl Cells {
    /// No operation on any of `width` data columns.
    pub(crate) fn none(width: usize) -> Self {
        Self(vec![None; width])
    }

    /// Sets every cell to the value of `row`.
    pub(crate) fn full(row: Row) -> Self {
        Self(row.into_iter().map(|value| Some(Cell::Set(value))).collect())
    }

    /// One operation or none for each data column of the table. The inverse of [`as_slice`](Self::as_slice).
    pub fn from_places(cells: Vec<Option<Cell>>) -> Self {
        Self(cells)
    }

    /// One operation or none for each data column of the table.
    pub fn as_slice(&self) -> &[Option<Cell>] {
        &self.0
    }

    /// The values of the row if every cell is [`Set`](Cell::Set): the change does not depend on the stored row.
    pub fn full_row(&self) -> Option<impl Iterator<Item = &Value>> {
        let set = |cell: &Option<Cell>| matches!(cell, Some(Cell::Set(_)));
        self.0.iter().all(set).then(|| self.0.iter().filter_map(|cell| cell.as_ref()?.value()))
    }

    /// Composes `next` after the operation on the cell at `place`. Returns `false` and changes nothing if the two do
    /// not compose.
    pub(crate) fn push(&mut self, place: usize, next: Cell) -> bool {
        let held = &mut self.0[place];
        match (held.as_mut(), next) {
            (None, next) => *held = Some(next),
            // In place: otherwise an array that grows item by item is copied for each item.
            (Some(Cell::Append(items)), Cell::Append(more)) => items.extend(more),
            (Some(cell), next) if cell.is_overwritten_by(&next) => *cell = next,
            (Some(cell), next) => match cell.then(&next) {
                Some(composed) => *cell = composed,
                None => return false,
            },
        }
        true
    }

    /// Composes `next` after these operations, in place.
    ///
    /// # Errors
    /// `next`, with nothing changed, if the operations of a cell do not compose.
    pub(super) fn compose(&mut self, next: Cells, table: &TableSpec) -> Result<(), Cells> {
        let composes = |(place, cell): (usize, &Cell)| self.0[place].as_ref().is_none_or(|held| held.composes(cell));
        if !next.plain().all(composes) || self.then_newer(&next, table).is_none() {
            return Err(next);
        }
        for (place, cell) in next.0.into_iter().enumerate() {
            if let Some(cell) = cell.filter(|cell| !matches!(cell, Cell::Newer(_))) {
                self.push(place, cell);
            }
        }
        Ok(())
    }

    /// Composes the `newer` group of `next`, if it has one. On cells without an operation the group is taken as it is.
    /// On the same group, or on cells that are set, the `newer_by` columns are compared now. Anything else does not
    /// compose: `None`.
    fn then_newer(&mut self, next: &Cells, table: &TableSpec) -> Option<()> {
        let group: Vec<usize> = next.newer().collect();
        let all = |test: fn(&Option<Cell>) -> bool| group.iter().all(|place| test(&self.0[*place]));
        let untouched = all(Option::is_none);
        let known = all(|cell| matches!(cell, Some(Cell::Set(_))));
        if !(untouched || known || self.newer().eq(group.iter().copied())) {
            return None;
        }
        if untouched || is_newer(table, |place| self.value(place), |place| next.value(place)) {
            for place in group {
                let value = next.value(place)?.clone();
                self.0[place] = Some(if known { Cell::Set(value) } else { Cell::Newer(value) });
            }
        }
        Some(())
    }

    /// The indexes of the cells that change only if the row's `newer_by` columns increase.
    fn newer(&self) -> impl Iterator<Item = usize> {
        self.present().filter(|(_, cell)| matches!(cell, Cell::Newer(_))).map(|(place, _)| place)
    }

    /// The row that these operations create, or `None` if a number is out of range.
    ///
    /// The operations apply to the columns' initial values. Thus a change that creates a row has the same result as a
    /// creation without operations, followed by the change.
    pub fn create(&self, table: &TableSpec) -> Option<Row> {
        self.clone().into_row(table)
    }

    /// `row` after these operations, or `None` if a number is out of range.
    pub fn modify(&self, row: &Row, table: &TableSpec) -> Option<Row> {
        self.clone().apply_to(row.clone(), table)
    }

    /// As [`create`](Self::create), but moves the values instead of cloning them.
    pub fn into_row(self, table: &TableSpec) -> Option<Row> {
        self.apply_to(table.data_columns().iter().map(Column::initial).collect(), table)
    }

    /// As [`modify`](Self::modify), but moves the values instead of cloning them.
    pub fn apply_to(self, mut row: Row, table: &TableSpec) -> Option<Row> {
        let newer = self.newer().next().is_some() && is_newer(table, |place| row.get(place), |place| self.value(place));
        for (held, cell) in row.iter_mut().zip(self.0) {
            match cell {
                None => {}
                Some(Cell::Newer(_)) if !newer => {}
                Some(cell) => *held = cell.modify(std::mem::replace(held, Value::Null))?,
            }
        }
        Some(row)
    }

    fn value(&self, place: usize) -> Option<&Value> {
        self.0[place].as_ref()?.value()
    }

    /// The operations that do not depend on the row's `newer_by` columns.
    fn plain(&self) -> impl Iterator<Item = (usize, &Cell)> {
        self.present().filter(|(_, cell)| !matches!(cell, Cell::Newer(_)))
    }

    fn present(&self) -> impl Iterator<Item = (usize, &Cell)> {
        self.0.iter().enumerate().filter_map(|(place, cell)| Some((place, cell.as_ref()?)))
    }
}

/// Whether the `newer_by` columns of `next` are greater than those of `held`. NULL is less than every value.
fn is_newer<'a>(
    table: &TableSpec,
    held: impl Fn(usize) -> Option<&'a Value>,
    next: impl Fn(usize) -> Option<&'a Value>,
) -> bool {
    let Some((at, tie)) = table.newer_columns() else { return false };
    match (held(at).zip(held(tie)), next(at).zip(next(tie))) {
        (Some((Value::Null, _)), Some(_)) => true,
        (Some(held), Some(next)) => next > held,
        _ => false,
    }
}
