//! The text of statements on read tables.

use readcast_core::{Column, Presence, TableSpec};

use super::values::{column_type, expression, literal};
use crate::store::Generation;

/// An identifier, quoted.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The name of a generation's physical table.
pub(super) fn physical(table: &TableSpec, generation: Generation) -> String {
    format!("{}_g{}", table.name(), generation.0)
}

/// The physical table, its indexes, and the view of it that readers use.
pub(super) fn create(table: &TableSpec, generation: Generation) -> Vec<String> {
    let mut statements = vec![create_table(table, generation)];
    statements.extend(create_indexes(table, generation));
    statements.push(create_view(table, generation));
    statements
}

/// The physical table, without its secondary indexes.
pub(super) fn create_table(table: &TableSpec, generation: Generation) -> String {
    let column = |column: &Column| {
        let rest = match column.presence() {
            Presence::Nullable => String::new(),
            Presence::Required => " NOT NULL".into(),
            Presence::Default(value) => format!(" NOT NULL DEFAULT {}", literal(value)),
        };
        format!("{} {}{rest}", quoted(column.name()), column_type(column))
    };
    let physical = physical(table, generation);
    let columns: Vec<_> = table.columns().iter().map(column).collect();
    let key = names(table.key_columns());
    // STRICT keeps every value as it was written. Rows are always found by their key: without a row id, that takes one
    // search instead of two.
    format!("CREATE TABLE {} ({}, PRIMARY KEY ({key})) STRICT, WITHOUT ROWID", quoted(&physical), columns.join(", "))
}

/// The secondary indexes of the physical table, those that are there already excepted.
pub(super) fn create_indexes(table: &TableSpec, generation: Generation) -> impl Iterator<Item = String> {
    let physical = quoted(&physical(table, generation));
    index_names(table, generation).zip(table.indexes()).map(move |(name, columns)| {
        let columns: Vec<_> = columns.iter().map(|column| quoted(column)).collect();
        format!("CREATE INDEX IF NOT EXISTS {} ON {physical} ({})", quoted(&name), columns.join(", "))
    })
}

/// The names of the secondary indexes that a table declares.
pub(super) fn index_names(table: &TableSpec, generation: Generation) -> impl Iterator<Item = String> + use<> {
    let physical = physical(table, generation);
    (1..=table.indexes().len()).map(move |number| format!("{physical}_ix{number}"))
}

/// Gathers statistics on the physical table, from a thousand entries of each index: to read them whole would keep
/// whoever writes waiting.
pub(super) fn analyze(table: &TableSpec, generation: Generation) -> String {
    format!("PRAGMA analysis_limit = 1000; ANALYZE {}", quoted(&physical(table, generation)))
}

/// Fills these columns of a generation's table from those of another generation.
pub(super) fn copy(table: &TableSpec, from: Generation, to: Generation, columns: &[&str]) -> String {
    let [from, to] = [from, to].map(|generation| quoted(&physical(table, generation)));
    let columns = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
    format!("INSERT INTO {to} ({columns}) SELECT {columns} FROM {from}")
}

/// The view that readers use. A view that is not written exactly like this is taken for somebody else's.
pub(super) fn create_view(table: &TableSpec, generation: Generation) -> String {
    let (stable, physical) = (quoted(table.name()), quoted(&physical(table, generation)));
    let columns = names(table.columns());
    format!("CREATE VIEW {stable} ({columns}) AS SELECT {columns} FROM {physical}")
}

/// The statements that write one physical table. Each takes one JSON text, as `values` makes them.
pub(super) struct Statements {
    /// Reads the rows with the keys given.
    pub(super) read: String,
    /// Writes whole rows, new or not.
    pub(super) write: String,
    /// Removes every row.
    pub(super) empty: String,
    physical: String,
}

impl Statements {
    pub(super) fn new(table: &TableSpec, generation: Generation) -> Self {
        let physical = quoted(&physical(table, generation));
        let empty = format!("DELETE FROM {physical}");
        Self { read: read(table, &physical), write: write(table, &physical), empty, physical }
    }

    /// Removes the rows whose keys begin with the values given, as many as there are columns in `prefix`.
    pub(super) fn delete(&self, prefix: &[Column]) -> String {
        let (names, given) = (names(prefix), expressions(prefix));
        format!("DELETE FROM {} WHERE ({names}) IN (SELECT {given} FROM jsonb_each(?1) AS given)", self.physical)
    }

    /// Reads the rows that hold the value given in `column`. IS finds NULL too.
    pub(super) fn find(&self, table: &TableSpec, column: &Column) -> String {
        let (names, value) = (names(table.columns()), expression(column, "?1", 0));
        format!("SELECT {names} FROM {} WHERE {} IS {value}", self.physical, quoted(column.name()))
    }
}

fn read(table: &TableSpec, physical: &str) -> String {
    let columns: Vec<_> = table.columns().iter().map(|column| format!("held.{}", quoted(column.name()))).collect();
    let key = table.key_columns().iter().enumerate();
    let key = key.map(|(place, column)| format!("{} = {}", columns[place], expression(column, "given.value", place)));
    // CROSS JOIN keeps the order: the table is searched for each key, never read through.
    format!(
        "SELECT {} FROM jsonb_each(?1) AS given CROSS JOIN {physical} AS held WHERE {}",
        columns.join(", "),
        key.collect::<Vec<_>>().join(" AND ")
    )
}

fn write(table: &TableSpec, physical: &str) -> String {
    let (names_of_all, given) = (names(table.columns()), expressions(table.columns()));
    let sets = table.data_columns().iter().map(|column| quoted(column.name()));
    let sets: Vec<_> = sets.map(|name| format!("{name} = excluded.{name}")).collect();
    let action = if sets.is_empty() { "NOTHING".into() } else { format!("UPDATE SET {}", sets.join(", ")) };
    // Without WHERE, the parser would take ON CONFLICT for the condition of a join.
    format!(
        "INSERT INTO {physical} ({names_of_all}) SELECT {given} FROM jsonb_each(?1) AS given WHERE true
         ON CONFLICT ({}) DO {action}",
        names(table.key_columns())
    )
}

/// The column names, quoted, separated by commas.
pub(super) fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| quoted(column.name())).collect::<Vec<_>>().join(", ")
}

fn expressions(columns: &[Column]) -> String {
    let places = columns.iter().enumerate();
    places.map(|(place, column)| expression(column, "given.value", place)).collect::<Vec<_>>().join(", ")
}
