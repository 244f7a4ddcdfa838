//! The rows: one statement for all rows of a table that change in the same way.
//!
//! Values travel as one array a column, so a statement's text depends on what happens to the columns and never on how
//! many rows there are. Arrays are in the order of the rows' keys: two lanes that write the same rows take their locks
//! in the same order.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use readcast_core::{
    Cell, Cells, Column, ColumnType, Decimal, Json, Key, Presence, Row, RowChange, Segment, TableSpec, Value,
};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::connection::at;
use super::sql::{column_list, initial, quoted};
use crate::store::{StoreError, Written};

/// Writes one segment to the physical table `physical`.
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
            let deleted: Vec<&Key> =
                rows.iter().filter(|(_, change)| **change == RowChange::Delete).map(|(key, _)| key).collect();
            if !deleted.is_empty() {
                written.rows += target.delete(&deleted).run(connection, table).await?;
            }
            for (shape, rows) in by_shape(rows, table) {
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

/// What happens to the columns, for all rows of one statement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    /// Whether missing rows stay missing.
    existing_only: bool,
    /// The operation on each data column.
    operations: Vec<Option<Operation>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
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
    fn starts_as_its_operand(self, column: &Column) -> bool {
        match (self, column.presence()) {
            (Operation::Set | Operation::Newer, _) | (_, Presence::Nullable | Presence::Required) => true,
            (Operation::Add, Presence::Default(value)) => is_zero(value),
            (Operation::Append, Presence::Default(value)) => *value == Value::Json(Json::empty_array()),
            (Operation::Max | Operation::Min, Presence::Default(_)) => false,
        }
    }
}

/// A row's key, and what happens to its cells.
type ChangedRow<'a> = (&'a Key, &'a Cells);

/// The rows in groups that one statement can write. A column that is only ever added to (or the like) counts as added
/// to in every row, by nothing where a row does not say: fewer statements, and all rows locked in the order of keys.
fn by_shape<'a>(rows: &'a BTreeMap<Key, RowChange>, table: &TableSpec) -> BTreeMap<Shape, Vec<ChangedRow<'a>>> {
    let changed = rows.iter().filter_map(|(key, change)| match change {
        RowChange::Upsert(cells) => Some((false, key, cells)),
        RowChange::Update(cells) => Some((true, key, cells)),
        RowChange::Delete => None,
    });
    let shared = shared_operations(changed.clone().map(|(_, _, cells)| cells), table);
    let mut groups = BTreeMap::<Shape, Vec<_>>::new();
    for (existing_only, key, cells) in changed {
        let shape = Shape { existing_only, ..shape_of(cells, &shared) };
        groups.entry(shape).or_default().push((key, cells));
    }
    groups
}

/// For each column, the operation that all rows share which have one at all, if it ignores NULL.
fn shared_operations<'a>(rows: impl Iterator<Item = &'a Cells>, table: &TableSpec) -> Vec<Option<Operation>> {
    let mut seen: Vec<Vec<Operation>> = vec![Vec::new(); table.data_columns().len()];
    for cells in rows {
        for (seen, cell) in seen.iter_mut().zip(cells.as_slice()) {
            let operation = cell.as_ref().map(Operation::of).filter(|operation| !seen.contains(operation));
            seen.extend(operation);
        }
    }
    let shared = |seen: &Vec<Operation>| match seen.as_slice() {
        [only] if only.ignores_null() => Some(*only),
        _ => None,
    };
    seen.iter().map(shared).collect()
}

fn shape_of(cells: &Cells, shared: &[Option<Operation>]) -> Shape {
    let operations = cells.as_slice().iter().enumerate();
    let operations = operations
        .map(|(place, cell)| cell.as_ref().map(Operation::of).or_else(|| shared.get(place).copied().flatten()));
    Shape { existing_only: true, operations: operations.collect() }
}

/// Keys in groups of one length, each group in order.
fn by_length<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Vec<Vec<&'a Key>> {
    let mut groups = BTreeMap::<usize, Vec<&Key>>::new();
    keys.into_iter().for_each(|key| groups.entry(key.len()).or_default().push(key));
    groups.into_values().collect()
}

/// The physical table that is written.
#[derive(Clone, Copy)]
struct Target<'a> {
    table: &'a TableSpec,
    physical: &'a str,
}

impl<'a> Target<'a> {
    /// Removes the rows whose keys begin with `keys`, all of one length.
    fn delete(self, keys: &[&'a Key]) -> Statement<'a> {
        let arrays = self.key_arrays(keys);
        let found = matches(&arrays);
        let text = format!("DELETE FROM {} AS held USING {} WHERE {found}", self.physical, incoming(&arrays));
        Statement { text, arrays }
    }

    /// Changes these rows, and creates those that are missing unless the shape says otherwise. How many it wrote.
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

    /// Creates these rows, which a moment ago were missing.
    async fn insert(self, connection: &mut PgConnection, rows: &[ChangedRow<'_>]) -> Result<u64, StoreError> {
        let doing = || format!("writing table `{}`", self.table.name());
        let created: Option<Vec<Row>> = rows.iter().map(|(_, cells)| cells.create(self.table)).collect();
        let created = created.ok_or_else(|| StoreError::Refused {
            doing: doing(),
            reason: "a number is out of its column's range".into(),
        })?;
        let keys: Vec<&Key> = rows.iter().map(|(key, _)| *key).collect();
        let mut arrays: Vec<Array<'_>> = Target { table: self.table, physical: self.physical }.key_arrays(&keys);
        arrays.extend(self.table.data_columns().iter().enumerate().map(|(place, column)| Array {
            column,
            values: created.iter().map(|row| Cow::Borrowed(&row[place])).collect(),
        }));
        if rows.is_empty() {
            return Ok(0);
        }
        let values = arrays.iter().enumerate().map(|(place, array)| typed(array.column, &format!("new.i{place}")));
        let text = format!(
            "INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT DO NOTHING",
            self.physical,
            column_list(self.table.columns()),
            values.collect::<Vec<_>>().join(", "),
            incoming(&arrays),
        );
        let inserted = Statement { text, arrays }.run(connection, self.table).await?;
        if inserted == rows.len() as u64 {
            return Ok(inserted);
        }
        let reason = "another lane created one of the rows at the same moment".into();
        Err(StoreError::Unavailable { doing: doing(), reason })
    }

    /// Changes the rows in which the columns of `found_by` have the values given there.
    fn update(self, shape: &Shape, found_by: Vec<Array<'a>>, cells: &[&'a Cells]) -> Statement<'a> {
        let found = matches(&found_by);
        let found_by_len = found_by.len();
        let mut arrays = found_by;
        let changes = self.changes(shape, |place| format!("new.i{}", found_by_len + place));
        arrays.extend(self.operand_arrays(shape, cells));
        let first_key = quoted(self.table.key_columns()[0].name());
        // An update that changes no column still counts the rows that it meets.
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
            // NULL is no operand, and in a column that is never NULL it is the default.
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

    /// The operations of a shape with their columns.
    fn operations(self, shape: &Shape) -> impl Iterator<Item = (Operation, &'a Column)> {
        let operations = shape.operations.iter().zip(self.table.data_columns());
        operations.filter_map(|(operation, column)| Some(((*operation)?, column)))
    }

    /// `column = …` for each operation, given the SQL of each operand by its place among the operations.
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

    /// The condition under which the row's `newer_by` columns move forward.
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

impl Operation {
    /// The value of the column in a row that was there, where it is `held`. A NULL operand changes nothing, unless it
    /// is what the column is set to.
    fn changed(self, column: &Column, held: &str, operand: &str, newer: &str) -> String {
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

fn is_zero(value: &Value) -> bool {
    match value {
        Value::I32(number) => *number == 0,
        Value::I64(number) => *number == 0,
        Value::Decimal(number) => *number == Decimal::ZERO,
        _ => false,
    }
}

/// JSON travels as text: the driver has no array of JSON texts.
fn typed(column: &Column, operand: &str) -> String {
    if column.column_type() == ColumnType::Json { format!("{operand}::jsonb") } else { operand.into() }
}

/// Texts are compared by their bytes, as everywhere in readcast, whatever the database's collation is.
fn collated(column: &Column, sql: &str) -> String {
    if column.column_type() == ColumnType::Text { format!("({sql}) COLLATE \"C\"") } else { sql.into() }
}

fn operand(cell: Option<&Cell>) -> Cow<'_, Value> {
    match cell {
        None => Cow::Owned(Value::Null),
        Some(Cell::Append(items)) => Cow::Owned(Value::Json(Json::empty_array().extended(items))),
        Some(cell) => cell.value().map_or(Cow::Owned(Value::Null), Cow::Borrowed),
    }
}

/// The arrays as a relation `new` with the columns `i0`, `i1`, … and each row's `place` from 1.
fn incoming(arrays: &[Array<'_>]) -> String {
    let parameters = arrays.iter().enumerate().map(|(place, array)| format!("${}::{}", place + 1, array.sql_type()));
    let names = (0..arrays.len()).map(|place| format!("i{place}"));
    format!(
        "unnest({}) WITH ORDINALITY AS new({}, place)",
        parameters.collect::<Vec<_>>().join(", "),
        names.collect::<Vec<_>>().join(", ")
    )
}

/// The condition that the first columns of `new` find a row.
fn matches(arrays: &[Array<'_>]) -> String {
    let conditions = arrays.iter().enumerate().map(|(place, array)| {
        // Only where NULL is asked for: no index serves IS NOT DISTINCT FROM.
        let equals = if array.values.iter().any(|value| value.is_null()) { "IS NOT DISTINCT FROM" } else { "=" };
        format!("held.{} {equals} {}", quoted(array.column.name()), typed(array.column, &format!("new.i{place}")))
    });
    conditions.collect::<Vec<_>>().join(" AND ")
}

/// One column of many rows.
struct Array<'a> {
    column: &'a Column,
    values: Vec<Cow<'a, Value>>,
}

impl Array<'_> {
    fn sql_type(&self) -> &'static str {
        match self.column.column_type() {
            ColumnType::Text | ColumnType::Json => "text[]",
            ColumnType::Bool => "bool[]",
            ColumnType::I32 => "int4[]",
            ColumnType::I64 => "int8[]",
            ColumnType::F64 => "float8[]",
            ColumnType::Decimal { .. } => "numeric[]",
            ColumnType::Timestamp => "timestamptz[]",
            ColumnType::Date => "date[]",
            ColumnType::Uuid => "uuid[]",
            ColumnType::Bytes => "bytea[]",
        }
    }

    fn bind<'q>(&self, query: PgQuery<'q>) -> PgQuery<'q> {
        macro_rules! array {
            ($pattern:pat => $value:expr) => {
                query.bind(
                    self.values
                        .iter()
                        .map(|value| match value.as_ref() {
                            $pattern => Some($value),
                            _ => None,
                        })
                        .collect::<Vec<_>>(),
                )
            };
        }
        match self.column.column_type() {
            ColumnType::Text => array!(Value::Text(text) => text.clone()),
            ColumnType::Json => array!(Value::Json(json) => json.as_str().to_owned()),
            ColumnType::Bool => array!(Value::Bool(truth) => *truth),
            ColumnType::I32 => array!(Value::I32(number) => *number),
            ColumnType::I64 => array!(Value::I64(number) => *number),
            ColumnType::F64 => array!(Value::F64(number) => *number),
            ColumnType::Decimal { .. } => array!(Value::Decimal(number) => number.as_rust_decimal()),
            ColumnType::Timestamp => array!(Value::Timestamp(time) => time.as_datetime()),
            ColumnType::Date => array!(Value::Date(date) => *date),
            ColumnType::Uuid => array!(Value::Uuid(uuid) => *uuid),
            ColumnType::Bytes => array!(Value::Bytes(bytes) => bytes.clone()),
        }
    }
}

type PgQuery<'q> = Query<'q, sqlx::Postgres, PgArguments>;

/// A statement with its arrays.
struct Statement<'a> {
    text: String,
    arrays: Vec<Array<'a>>,
}

impl Statement<'_> {
    /// Runs it. How many rows it wrote.
    async fn run(self, connection: &mut PgConnection, table: &TableSpec) -> Result<u64, StoreError> {
        let done = bound(self.text, &self.arrays).execute(connection).await;
        Ok(done.map_err(at(format!("writing table `{}`", table.name())))?.rows_affected())
    }

    /// Runs it. The places among the incoming rows, from 1, of those that found a row.
    async fn run_for_places(
        self,
        connection: &mut PgConnection,
        table: &TableSpec,
    ) -> Result<BTreeSet<i64>, StoreError> {
        let rows = bound(self.text + " RETURNING new.place", &self.arrays).fetch_all(connection).await;
        let places = rows.and_then(|rows| rows.iter().map(|row| row.try_get(0)).collect());
        places.map_err(at(format!("writing table `{}`", table.name())))
    }
}

fn bound<'q>(text: String, arrays: &[Array<'_>]) -> PgQuery<'q> {
    arrays.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, array| array.bind(query))
}
