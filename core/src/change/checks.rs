//! The checks of a change against its table: lengths of keys and rows, types of values, columns that must be set.
//!
//! Every value that passes is as its column holds it (see [`Value::fit`](crate::Value::fit)).

use super::ChangeError;
use crate::fold::{Cell, Cells, Key, Row};
use crate::{Presence, Reference, TableSpec, Value};

/// The index of the data column `name`.
pub(super) fn data_column(spec: &TableSpec, name: &str) -> Result<usize, ChangeError> {
    let no_column = || ChangeError::NoColumn { table: spec.name().into(), column: name.into() };
    spec.data_index(name).ok_or_else(no_column)
}

/// The error for an operation that the column at `place` does not support.
pub(super) fn operation(spec: &TableSpec, place: usize, operation: &'static str) -> ChangeError {
    ChangeError::Operation { table: spec.name().into(), column: spec.data_columns()[place].name().into(), operation }
}

/// Checks that a change may write the data column at `place` with `cell`.
pub(super) fn writable(spec: &TableSpec, place: usize, cell: &Cell) -> Result<(), ChangeError> {
    let column = spec.data_columns()[place].name();
    if let Some(reference) = spec.copied_by(place) {
        let from = reference.table().into();
        return Err(ChangeError::Copied { table: spec.name().into(), column: column.into(), from });
    }
    let known = matches!(cell, Cell::Set(_) | Cell::Newer(_));
    let refers = |reference: &&Reference| reference.columns().iter().any(|name| name == column);
    match spec.references().iter().find(refers) {
        Some(reference) if !known => Err(reference_error(spec, reference)),
        _ => Ok(()),
    }
}

/// Checks that a fan-out sets no reference that a key column is a part of: each row would refer to another row.
pub(super) fn references_without_key(spec: &TableSpec, cells: &Cells) -> Result<(), ChangeError> {
    let is_set = |name: &String| spec.data_index(name).is_some_and(|place| cells.as_slice()[place].is_some());
    let is_key = |name: &String| spec.data_index(name).is_none();
    let depends =
        |reference: &&Reference| reference.columns().iter().any(is_set) && reference.columns().iter().any(is_key);
    spec.references().iter().find(depends).map_or(Ok(()), |reference| Err(reference_error(spec, reference)))
}

/// Checks that a change sets all columns of a reference by the same operation, or none. The referenced row is then known
/// from the change alone, or stays the same.
pub(super) fn complete_references(spec: &TableSpec, cells: &Cells) -> Result<(), ChangeError> {
    for reference in spec.references() {
        let places = reference.columns().iter().filter_map(|name| spec.data_index(name));
        let mut kinds = places.map(|place| cells.as_slice()[place].as_ref().map(std::mem::discriminant));
        let first = kinds.next();
        if kinds.any(|kind| Some(kind) != first) {
            return Err(reference_error(spec, reference));
        }
    }
    Ok(())
}

fn reference_error(spec: &TableSpec, reference: &Reference) -> ChangeError {
    let columns = reference.columns().iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    ChangeError::Reference { table: spec.name().into(), to: reference.table().into(), columns }
}

/// `value` as the data column at `place` holds it.
pub(super) fn fit(spec: &TableSpec, place: usize, value: Value) -> Result<Value, ChangeError> {
    let fitted = value.fit(&spec.data_columns()[place]);
    fitted.map_err(|source| ChangeError::Value { table: spec.name().into(), source })
}

/// A value for each key column.
pub(super) fn full_key(spec: &TableSpec, key: Vec<Value>) -> Result<Key, ChangeError> {
    check_length(spec, key.len() == spec.key_columns().len(), "a key of", spec.key_columns().len(), key.len())?;
    fit_all(spec, key)
}

/// A value for the first key columns, but not for all of them.
pub(super) fn parent_key(spec: &TableSpec, parent: Vec<Value>) -> Result<Key, ChangeError> {
    let most = spec.key_columns().len().saturating_sub(1);
    check_length(spec, (1..=most).contains(&parent.len()), "a parent key of 1 to", most, parent.len())?;
    fit_all(spec, parent)
}

/// The key and the data columns of a row that is given as one list of values, without the copied columns.
pub(super) fn full_row(spec: &TableSpec, mut values: Vec<Value>) -> Result<(Key, Row), ChangeError> {
    let copied = |place: &usize| spec.copied_by(*place).is_some();
    let expected = spec.columns().len() - (0..spec.data_columns().len()).filter(copied).count();
    check_length(spec, values.len() == expected, "a row of", expected, values.len())?;
    for place in (0..spec.data_columns().len()).filter(copied) {
        values.insert(spec.key_columns().len() + place, Value::Null);
    }
    values = fit_all(spec, values)?;
    let row = values.split_off(spec.key_columns().len());
    Ok((values, row))
}

fn fit_all(spec: &TableSpec, values: Vec<Value>) -> Result<Vec<Value>, ChangeError> {
    let fitted = values.into_iter().zip(spec.columns()).map(|(value, column)| value.fit(column));
    let fitted: Result<_, _> = fitted.collect();
    fitted.map_err(|source| ChangeError::Value { table: spec.name().into(), source })
}

fn check_length(spec: &TableSpec, holds: bool, what: &str, wanted: usize, found: usize) -> Result<(), ChangeError> {
    let error = || ChangeError::KeyLength { table: spec.name().into(), expected: format!("{what} {wanted}"), found };
    holds.then_some(()).ok_or_else(error)
}

/// Checks that a change which may create a row sets every required column.
pub(super) fn require_columns(spec: &TableSpec, cells: &Cells) -> Result<(), ChangeError> {
    let sets = |cell: &Option<Cell>| matches!(cell, Some(Cell::Set(_) | Cell::Newer(_)));
    let columns = spec.data_columns().iter().zip(cells.as_slice());
    let mut unset = columns.filter(|(column, cell)| *column.presence() == Presence::Required && !sets(cell));
    match unset.next() {
        None => Ok(()),
        Some((column, _)) => Err(ChangeError::Unset { table: spec.name().into(), column: column.name().into() }),
    }
}
