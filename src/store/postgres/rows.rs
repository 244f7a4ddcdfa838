//! Writes rows: one statement for all rows of a table with the same operations.
//!
//! The values of each column are one array parameter. Thus the text of a statement depends on the operations and not on
//! the number of rows. The arrays are in the order of the keys, so that two lanes lock the same rows in the same order.

mod shape;
mod statement;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use readcast_core::{Cell, Cells, Column, Json, Key, Presence, RowChange, Segment, TableSpec, Value};
use sqlx::PgConnection;

use self::shape::{ChangedRow, Operation, Shape, by_shape, shape_of};
use self::statement::{Array, Statement, collated, incoming, matches, typed};
use super::connection::writing;
use super::sql::{column_list, initial, quoted};
use crate::store::{StoreError, Written};

/// Writes one segment to the physical table `physical`, and adds the numbers of rows to `written`.
pub(super) async fn write(
    connection: &mut PgConnection,
    table: &TableSpec,
    physical: &str,
    segment: &Segment,
    written: &mut Written,
) -> Result<(), StoreError> {
    let target = Target { table, physical };
    match segment {
        Segment::Where { column, value, cells } => {
            let found_by = vec![Array { column: &table.data_columns()[*column], values: vec![Cow::Borrowed(value)] }];
            let shape = shape_of(cells, &[]);
            written.rows += target.update(&shape, found_by, &[cells]).run(connection, table).await?;
        }
        Segment::Rows { cleared, rows } => {
            for parents in by_length(cleared) {
                written.rows += target.delete(&parents).run(connection, table).await?;
            }
            let (deleted, new, changed) = partition(cleared, rows);
            if !deleted.is_empty() {
                written.rows += target.delete(&deleted).run(connection, table).await?;
            }
            written.rows += target.insert(connection, &new).await?;
            for (shape, rows) in by_shape(&changed, table) {
                let changed = target.change(connection, &shape, &rows).await?;
                written.rows += changed;
                if shape.existing_only {
                    written.missed += rows.len() as u64 - changed;
                }
            }
        }
    }
    Ok(())
}

/// The rows to delete, the complete rows to insert where none exists, and all other changes.
fn partition<'a>(
    cleared: &BTreeSet<Key>,
    rows: &'a BTreeMap<Key, RowChange>,
) -> (Vec<&'a Key>, Vec<ChangedRow<'a>>, Vec<(&'a Key, &'a RowChange)>) {
    let (mut deleted, mut new, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    let mut is_below = below(cleared);
    for (key, change) in rows {
        match change {
            RowChange::Delete => deleted.push(key),
            RowChange::Upsert(cells) if cells.full_row().is_some() && is_below(key) => new.push((key, cells)),
            RowChange::Upsert(_) | RowChange::Update(_) => changed.push((key, change)),
        }
    }
    (deleted, new, changed)
}

/// A test whether a key is below one of the `cleared` keys, so that its row is deleted already. It expects keys in
/// order.
fn below<'a>(cleared: &'a BTreeSet<Key>) -> impl FnMut(&Key) -> bool + 'a {
    // Keys below one parent are adjacent.
    let mut parent: &[Value] = &[];
    move |key| {
        if parent.is_empty() || !key.starts_with(parent) {
            let above = (1..key.len()).find_map(|length| cleared.get(&key[..length]));
            parent = above.map(|above| &above[..]).unwrap_or_default();
        }
        !parent.is_empty()
    }
}

/// The keys grouped by length, each group in order.
fn by_length<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Vec<Vec<&'a Key>> {
    let mut groups = BTreeMap::<usize, Vec<&Key>>::new();
    keys.into_iter().for_each(|key| groups.entry(key.len()).or_default().push(key));
    groups.into_values().collect()
}

/// The physical table to write.
#[derive(Clone, Copy)]
struct Target<'a> {
    table: &'a TableSpec,
    physical: &'a str,
}

impl<'a> Target<'a> {
    /// Deletes the rows whose keys begin with one of `keys`, which all have the same length.
    fn delete(self, keys: &[&'a Key]) -> Statement<'a> {
        let arrays = self.key_arrays(keys);
        let found = matches(&arrays);
        let text = format!("DELETE FROM {} AS held USING {} WHERE {found}", self.physical, incoming(&arrays));
        Statement { text, arrays }
    }

    /// Changes these rows, and creates missing ones unless the shape is only for existing rows. Returns the number of
    /// rows written.
    async fn change(
        self,
        connection: &mut PgConnection,
        shape: &Shape,
        rows: &[ChangedRow<'a>],
    ) -> Result<u64, StoreError> {
        let keys: Vec<&Key> = rows.iter().map(|(key, _)| *key).collect();
        let cells: Vec<&Cells> = rows.iter().map(|(_, cells)| *cells).collect();
        let arrays = self.key_arrays(&keys);
        if shape.existing_only {
            self.update(shape, arrays, &cells).run(connection, self.table).await
        } else if self.operations(shape).all(|(operation, column)| operation.starts_as_its_operand(column)) {
            self.upsert(shape, arrays, &cells).run(connection, self.table).await
        } else {
            let changed = self.update(shape, arrays, &cells).run_for_places(connection, self.table).await?;
            let missing = rows.iter().zip(1_i64..).filter(|(_, place)| !changed.contains(place)).map(|(row, _)| *row);
            Ok(changed.len() as u64 + self.insert(connection, &missing.collect::<Vec<_>>()).await?)
        }
    }

    /// Inserts these rows, which do not exist.
    async fn insert(self, connection: &mut PgConnection, rows: &[ChangedRow<'_>]) -> Result<u64, StoreError> {
        if rows.is_empty() {
            return Ok(0);
        }
        let created: Option<Vec<Vec<Cow<'_, Value>>>> = rows.iter().map(|(_, cells)| self.created(cells)).collect();
        let created = created.ok_or_else(|| StoreError::Unstorable {
            doing: writing(self.table),
            reason: "a number is out of its column's range".into(),
        })?;
        let keys: Vec<&Key> = rows.iter().map(|(key, _)| *key).collect();
        let mut arrays: Vec<Array<'_>> = Target { table: self.table, physical: self.physical }.key_arrays(&keys);
        arrays.extend(
            self.table.data_columns().iter().enumerate().map(|(place, column)| Array {
                column,
                values: created.iter().map(|row| row[place].clone()).collect(),
            }),
        );
        let values = arrays.iter().enumerate().map(|(place, array)| typed(array.column, &format!("new.i{place}")));
        let text = format!(
            "INSERT INTO {} ({}) SELECT {} FROM {}",
            self.physical,
            column_list(self.table.columns()),
            values.collect::<Vec<_>>().join(", "),
            incoming(&arrays),
        );
        Statement { text, arrays }.run(connection, self.table).await
    }

    /// The data columns of the row that `cells` create. `None` if a number is out of range.
    fn created(self, cells: &Cells) -> Option<Vec<Cow<'_, Value>>> {
        match cells.full_row() {
            Some(values) => Some(values.map(Cow::Borrowed).collect()),
            None => Some(cells.create(self.table)?.into_iter().map(Cow::Owned).collect()),
        }
    }

    /// The statement that changes the rows in which the columns of `found_by` have its values.
    fn update(self, shape: &Shape, found_by: Vec<Array<'a>>, cells: &[&'a Cells]) -> Statement<'a> {
        let found = matches(&found_by);
        let found_by_len = found_by.len();
        let mut arrays = found_by;
        let changes = self.changes(shape, |place| format!("new.i{}", found_by_len + place));
        arrays.extend(self.operand_arrays(shape, cells));
        let first_key = quoted(self.table.key_columns()[0].name());
        // A statement that changes no column is still needed to count the existing rows.
        let changes = if changes.is_empty() { format!("{first_key} = held.{first_key}") } else { changes.join(", ") };
        let from = incoming(&arrays);
        let text = format!("UPDATE {} AS held SET {changes} FROM {from} WHERE {found}", self.physical);
        Statement { text, arrays }
    }

    fn upsert(self, shape: &Shape, mut arrays: Vec<Array<'a>>, cells: &[&'a Cells]) -> Statement<'a> {
        let keys = arrays.len();
        arrays.extend(self.operand_arrays(shape, cells));
        let columns: Vec<String> = arrays.iter().map(|array| quoted(array.column.name())).collect();
        let mut created: Vec<String> = (0..keys).map(|place| format!("new.i{place}")).collect();
        created.extend(self.operations(shape).enumerate().map(|(place, (_, column))| {
            let operand = typed(column, &format!("new.i{}", keys + place));
            // NULL stands for no operand. A column that is never NULL then gets its default.
            match column.presence() {
                Presence::Default(_) => format!("coalesce({operand}, {})", initial(column)),
                Presence::Required | Presence::Nullable => operand,
            }
        }));
        let excluded: Vec<String> =
            self.operations(shape).map(|(_, column)| format!("excluded.{}", quoted(column.name()))).collect();
        let changes = self.changes(shape, |place| excluded[place].clone());
        let conflict = if changes.is_empty() { "NOTHING".into() } else { format!("UPDATE SET {}", changes.join(", ")) };
        let text = format!(
            "INSERT INTO {} AS held ({}) SELECT {} FROM {} ON CONFLICT ({}) DO {conflict}",
            self.physical,
            columns.join(", "),
            created.join(", "),
            incoming(&arrays),
            columns[..keys].join(", "),
        );
        Statement { text, arrays }
    }

    /// The operations of a shape with their columns, without the columns that have none.
    fn operations(self, shape: &Shape) -> impl Iterator<Item = (Operation, &'a Column)> {
        let operations = shape.operations.iter().zip(self.table.data_columns());
        operations.filter_map(|(operation, column)| Some(((*operation)?, column)))
    }

    /// `column = …` for each operation. `operand` gives the SQL of an operand by its index among the operations.
    fn changes(self, shape: &Shape, mut operand: impl FnMut(usize) -> String) -> Vec<String> {
        let operands: Vec<(Operation, &Column, String)> = self
            .operations(shape)
            .enumerate()
            .map(|(place, (operation, column))| (operation, column, operand(place)))
            .collect();
        let newer = self.newer(&operands);
        let change = |(operation, column, operand): &(Operation, &Column, String)| {
            let name = quoted(column.name());
            format!("{name} = {}", operation.changed(column, &format!("held.{name}"), operand, &newer))
        };
        operands.iter().map(change).collect()
    }

    /// The SQL condition that the row's `newer_by` columns increase.
    fn newer(self, operands: &[(Operation, &Column, String)]) -> String {
        let Some((at, tie)) = self.table.newer_columns() else { return "false".into() };
        let side = |place: usize| {
            let column = &self.table.data_columns()[place];
            let operand = operands.iter().find(|(_, other, _)| other.name() == column.name());
            let ordered = |sql: String| collated(column, &sql);
            Some((ordered(format!("held.{}", quoted(column.name()))), ordered(operand?.2.clone())))
        };
        match (side(at), side(tie)) {
            (Some((held_at, at)), Some((held_tie, tie))) => format!(
                "({held_at} IS NULL OR {at} > {held_at} OR ({at} = {held_at} AND ({held_tie} IS NULL OR {tie} > {held_tie})))"
            ),
            _ => "false".into(),
        }
    }

    fn key_arrays(self, keys: &[&'a Key]) -> Vec<Array<'a>> {
        let length = keys.first().map_or(0, |key| key.len());
        let columns = self.table.key_columns()[..length].iter().enumerate();
        columns
            .map(|(place, column)| Array {
                column,
                values: keys.iter().map(|key| Cow::Borrowed(&key[place])).collect(),
            })
            .collect()
    }

    fn operand_arrays(self, shape: &Shape, rows: &[&'a Cells]) -> Vec<Array<'a>> {
        let places = (0..shape.operations.len()).filter(|place| shape.operations[*place].is_some());
        places
            .map(|place| Array {
                column: &self.table.data_columns()[place],
                values: rows.iter().map(|cells| operand(cells.as_slice()[place].as_ref())).collect(),
            })
            .collect()
    }
}

fn operand(cell: Option<&Cell>) -> Cow<'_, Value> {
    match cell {
        None => Cow::Owned(Value::Null),
        Some(Cell::Append(items)) => Cow::Owned(Value::Json(Json::empty_array().extended(items))),
        Some(cell) => cell.value().map_or(Cow::Owned(Value::Null), Cow::Borrowed),
    }
}
