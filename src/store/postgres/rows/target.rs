//! The statements that write rows of one physical table.

use std::borrow::Cow;

use readcast_core::{Cell, Cells, Column, Json, Key, Presence, TableSpec, Value};
use sqlx::PgConnection;

use super::shape::{ChangedRow, Operation, Shape};
use crate::store::StoreError;
use crate::store::postgres::connection::writing;
use crate::store::postgres::sql::{column_list, initial, quoted};
use crate::store::postgres::statement::{
    Array, Statement, collated, held_key, incoming, incoming_from, key_arrays, matches, typed,
};
use crate::store::postgres::tables::{Source, Table};

/// The physical table to write.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    table: &'a TableSpec,
    physical: &'a str,
    sources: &'a [Source],
}

/// The key and the data columns of a row to create.
pub(super) type NewRow<'a> = (&'a Key, Vec<Cow<'a, Value>>);

/// How the rows of an update are found.
pub(super) enum Found<'a> {
    /// By their keys, an array for each key column.
    ByKey(Vec<Array<'a>>),
    /// By the value of a data column, among the rows with these keys.
    Where(Array<'a>, &'a [&'a Key]),
}

/// An operation on a column, in a statement.
struct Assignment<'a> {
    operation: Operation,
    column: &'a Column,
    /// The SQL of the operand.
    operand: String,
    /// Whether the operation is for new rows alone: in an existing row it would change nothing.
    new_only: bool,
}

/// The assignments of a statement, and the joins from which their operands come.
struct Assignments<'a> {
    all: Vec<Assignment<'a>>,
    joins: String,
}

impl<'a> Target<'a> {
    pub(super) fn of(table: &'a Table) -> Self {
        Self { table: &table.spec, physical: &table.physical, sources: &table.sources }
    }

    /// Deletes the rows whose keys begin with one of `keys`, which all have the same length.
    pub(super) fn delete(self, keys: &[&'a Key]) -> Statement<'a> {
        let arrays = key_arrays(self.table, keys);
        let found = matches(&arrays);
        let text = format!("DELETE FROM {} AS held USING {} WHERE {found}", self.physical, incoming(&arrays));
        Statement { text, arrays }
    }

    /// Changes these rows, and creates missing ones unless the shape is only for existing rows. Returns the number of
    /// rows written.
    pub(super) async fn change(
        self,
        connection: &mut PgConnection,
        shape: &Shape,
        rows: &[ChangedRow<'a>],
    ) -> Result<u64, StoreError> {
        let keys: Vec<&Key> = rows.iter().map(|(key, _)| *key).collect();
        let cells: Vec<&Cells> = rows.iter().map(|(_, cells)| *cells).collect();
        let arrays = key_arrays(self.table, &keys);
        if shape.existing_only {
            self.update(shape, Found::ByKey(arrays), &cells).run(connection, self.table).await
        } else if self.operations(shape).all(|(operation, column)| operation.starts_as_its_operand(column)) {
            self.upsert(shape, arrays, &cells).run(connection, self.table).await
        } else {
            let update = self.update(shape, Found::ByKey(arrays), &cells);
            let changed = update.run_for_places(connection, self.table).await?;
            let missing = rows.iter().zip(1_i64..).filter(|(_, place)| !changed.contains(place)).map(|(row, _)| *row);
            Ok(changed.len() as u64 + self.insert(connection, &missing.collect::<Vec<_>>()).await?)
        }
    }

    /// Inserts these rows, which do not exist.
    pub(super) async fn insert(
        self,
        connection: &mut PgConnection,
        rows: &[ChangedRow<'_>],
    ) -> Result<u64, StoreError> {
        if rows.is_empty() {
            return Ok(0);
        }
        let this = Target { table: self.table, physical: self.physical, sources: self.sources };
        let created: Option<Vec<_>> = rows.iter().map(|row| this.created(*row)).collect();
        let created = created.ok_or_else(|| StoreError::Unstorable {
            doing: writing(self.table),
            reason: "a number is out of its column's range".into(),
        })?;
        let (select, arrays) = this.new_rows(&created);
        let columns = column_list(self.table.columns());
        let text = format!("INSERT INTO {} ({columns}) {select}", self.physical);
        Statement { text, arrays }.run(connection, self.table).await
    }

    /// The SELECT of these rows with their copies, and its arrays.
    pub(super) fn new_rows(self, rows: &[NewRow<'a>]) -> (String, Vec<Array<'a>>) {
        let keys: Vec<&Key> = rows.iter().map(|(key, _)| *key).collect();
        let mut arrays = key_arrays(self.table, &keys);
        arrays.extend(
            self.table.data_columns().iter().enumerate().map(|(place, column)| Array {
                column,
                values: rows.iter().map(|(_, row)| row[place].clone()).collect(),
            }),
        );
        let given = |place: usize| typed(arrays[place].column, &format!("new.i{place}"));
        let copied = self.copies(|place| Some((None, given(place))), true);
        let values = arrays.iter().enumerate().map(|(place, array)| {
            let copy = copied.all.iter().find(|copy| copy.column.name() == array.column.name());
            copy.map_or_else(|| given(place), |copy| copy.operand.clone())
        });
        let values = values.collect::<Vec<_>>().join(", ");
        let select = format!("SELECT {values} FROM {}{}", incoming(&arrays), copied.joins);
        (select, arrays)
    }

    /// The row that the change creates where none exists. `None` if a number is out of range.
    pub(super) fn created(self, (key, cells): ChangedRow<'a>) -> Option<NewRow<'a>> {
        let row = match cells.full_row() {
            Some(values) => values.map(Cow::Borrowed).collect(),
            None => cells.create(self.table)?.into_iter().map(Cow::Owned).collect(),
        };
        Some((key, row))
    }

    /// The statement that changes rows.
    pub(super) fn update(self, shape: &Shape, found: Found<'a>, cells: &[&'a Cells]) -> Statement<'a> {
        let (mut arrays, keys, among) = match found {
            Found::ByKey(arrays) => {
                let keys = arrays.len();
                (arrays, keys, None)
            }
            Found::Where(array, among) => (vec![array], 0, Some(key_arrays(self.table, among))),
        };
        let mut condition = matches(&arrays);
        let assignments = self.assignments(shape, keys, arrays.len(), false);
        let changes = self.changes(&assignments, |assignment| assignment.operand.clone());
        arrays.extend(self.operand_arrays(shape, cells));
        let first_key = quoted(self.table.key_columns()[0].name());
        // A statement that changes no column is still needed to count the existing rows.
        let changes = if changes.is_empty() { format!("{first_key} = held.{first_key}") } else { changes.join(", ") };
        let from = incoming(&arrays) + &assignments.joins;
        if let Some(among) = among {
            let relation = incoming_from(arrays.len(), &among);
            let key: Vec<String> = (0..among.len()).map(|place| format!("new.i{place}")).collect();
            let held = held_key(self.table);
            condition += &format!(" AND ({held}) IN (SELECT {} FROM {relation})", key.join(", "));
            arrays.extend(among);
        }
        let text = format!("UPDATE {} AS held SET {changes} FROM {from} WHERE {condition}", self.physical);
        Statement { text, arrays }
    }

    /// The keys of the rows that have this value.
    pub(super) fn search(self, value: Array<'a>) -> Statement<'a> {
        let arrays = vec![value];
        let (key, from, found) = (held_key(self.table), incoming(&arrays), matches(&arrays));
        let text = format!("SELECT {key} FROM {from}, {} AS held WHERE {found}", self.physical);
        Statement { text, arrays }
    }

    fn upsert(self, shape: &Shape, mut arrays: Vec<Array<'a>>, cells: &[&'a Cells]) -> Statement<'a> {
        let keys = arrays.len();
        let assignments = self.assignments(shape, keys, keys, true);
        arrays.extend(self.operand_arrays(shape, cells));
        let assigned = assignments.all.iter();
        let key_columns = column_list(self.table.key_columns());
        let columns = column_list(self.table.key_columns().iter().chain(assigned.clone().map(|to| to.column)));
        let mut created: Vec<String> = (0..keys).map(|place| format!("new.i{place}")).collect();
        created.extend(assigned.map(|Assignment { column, operand, .. }| {
            let operand = typed(column, operand);
            // NULL stands for no operand. A column that is never NULL then gets its default.
            match column.presence() {
                Presence::Default(_) => format!("coalesce({operand}, {})", initial(column)),
                Presence::Required | Presence::Nullable => operand,
            }
        }));
        let changes = self.changes(&assignments, |to| format!("excluded.{}", quoted(to.column.name())));
        let conflict = if changes.is_empty() { "NOTHING".into() } else { format!("UPDATE SET {}", changes.join(", ")) };
        let text = format!(
            "INSERT INTO {} AS held ({columns}) SELECT {} FROM {}{} ON CONFLICT ({key_columns}) DO {conflict}",
            self.physical,
            created.join(", "),
            incoming(&arrays),
            assignments.joins,
        );
        Statement { text, arrays }
    }

    /// The operations of a shape with their columns, without the columns that have none.
    fn operations(self, shape: &Shape) -> impl Iterator<Item = (Operation, &'a Column)> {
        let operations = shape.operations.iter().zip(self.table.data_columns());
        operations.filter_map(|(operation, column)| Some(((*operation)?, column)))
    }

    /// The assignments of a shape, with those of the copies that follow from them. The first `keys` columns of `new` are
    /// the key, and the operands begin at `first`.
    fn assignments(self, shape: &Shape, keys: usize, first: usize, creates: bool) -> Assignments<'a> {
        let operations = self.operations(shape).enumerate();
        let mut all: Vec<Assignment<'_>> = operations
            .map(|(place, (operation, column))| Assignment {
                operation,
                column,
                operand: format!("new.i{}", first + place),
                new_only: false,
            })
            .collect();
        let copies = self.copies(
            |place| {
                if place < keys {
                    return Some((None, format!("new.i{place}")));
                }
                let name = self.table.columns()[place].name();
                let assigned = all.iter().find(|assignment| assignment.column.name() == name)?;
                Some((Some(assigned.operation), assigned.operand.clone()))
            },
            creates,
        );
        all.extend(copies.all);
        Assignments { all, joins: copies.joins }
    }

    /// The copies from the rows to which the incoming rows refer. `incoming` gives the SQL of a column's value by the
    /// column's index, with the operation if it is a data column that is changed. A reference without a changed column
    /// matters in new rows alone.
    fn copies(self, incoming: impl Fn(usize) -> Option<(Option<Operation>, String)>, creates: bool) -> Assignments<'a> {
        let mut copies = Assignments { all: Vec::new(), joins: String::new() };
        for (number, source) in self.sources.iter().enumerate() {
            let values: Option<Vec<_>> = source.columns().iter().map(|place| incoming(*place)).collect();
            let Some(values) = values else { continue };
            let operation = values.iter().find_map(|(operation, _)| *operation);
            if operation.is_none() && !creates {
                continue;
            }
            let alias = format!("source{number}");
            let operands: Vec<String> = values.into_iter().map(|(_, operand)| operand).collect();
            copies.joins += &source.join(&alias, &operands);
            for (column, operand) in source.copies(self.table, &alias) {
                let (operation, new_only) = (operation.unwrap_or(Operation::Set), operation.is_none());
                copies.all.push(Assignment { operation, column, operand, new_only });
            }
        }
        copies
    }

    /// `column = …` for each assignment in an existing row. `operand` gives the SQL of its operand.
    fn changes(self, assignments: &Assignments<'a>, operand: impl Fn(&Assignment<'a>) -> String) -> Vec<String> {
        let newer = self.newer(assignments, &operand);
        let changed = assignments.all.iter().filter(|assignment| !assignment.new_only);
        let change = |assignment: &Assignment<'a>| {
            let name = quoted(assignment.column.name());
            let (held, operand) = (format!("held.{name}"), operand(assignment));
            format!("{name} = {}", assignment.operation.changed(assignment.column, &held, &operand, &newer))
        };
        changed.map(change).collect()
    }

    /// The SQL condition that the row's `newer_by` columns increase.
    fn newer(self, assignments: &Assignments<'a>, operand: impl Fn(&Assignment<'a>) -> String) -> String {
        let Some((at, tie)) = self.table.newer_columns() else { return "false".into() };
        let side = |place: usize| {
            let column = &self.table.data_columns()[place];
            let assigned = assignments.all.iter().find(|assignment| assignment.column.name() == column.name());
            let ordered = |sql: String| collated(column, &sql);
            Some((ordered(format!("held.{}", quoted(column.name()))), ordered(operand(assigned?))))
        };
        match (side(at), side(tie)) {
            (Some((held_at, at)), Some((held_tie, tie))) => format!(
                "({held_at} IS NULL OR {at} > {held_at} OR ({at} = {held_at} AND ({held_tie} IS NULL OR {tie} > {held_tie})))"
            ),
            _ => "false".into(),
        }
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
