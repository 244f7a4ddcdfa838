//! The SQL of statements on read tables.

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

/// The statements that create the physical table, its indexes, and the view that readers use.
pub(super) fn create(table: &TableSpec, generation: Generation) -> Vec<String> {
    let mut statements = vec![create_table(table, generation)];
    statements.extend(create_indexes(table, generation));
    statements.push(create_view(table, generation));
    statements
}

/// The statement that creates the physical table, without secondary indexes.
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
    // STRICT prevents conversions of values. Rows are always found by their key, which takes one search instead of two
    // without a row id.
    format!("CREATE TABLE {} ({}, PRIMARY KEY ({key})) STRICT, WITHOUT ROWID", quoted(&physical), columns.join(", "))
}

/// The statements that create the missing secondary indexes of the physical table.
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

/// The statement that gathers statistics of the physical table, from a thousand entries of each index. Reading whole
/// indexes would block writers for too long.
pub(super) fn analyze(table: &TableSpec, generation: Generation) -> String {
    format!("PRAGMA analysis_limit = 1000; ANALYZE {}", quoted(&physical(table, generation)))
}

/// The statement that copies these columns from one generation's table to another's.
pub(super) fn copy(table: &TableSpec, from: Generation, to: Generation, columns: &[&str]) -> String {
    let [from, to] = [from, to].map(|generation| quoted(&physical(table, generation)));
    let columns = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
    format!("INSERT INTO {to} ({columns}) SELECT {columns} FROM {from}")
}

/// The statement that creates the view for readers. A view with any other text counts as a user's.
pub(super) fn create_view(table: &TableSpec, generation: Generation) -> String {
    let (stable, physical) = (quoted(table.name()), quoted(&physical(table, generation)));
    let columns = names(table.columns());
    format!("CREATE VIEW {stable} ({columns}) AS SELECT {columns} FROM {physical}")
}

/// The statements for one physical table. Each has one JSON parameter, which `values` creates.
pub(super) struct Statements {
    /// Reads the rows with the given keys.
    pub(super) read: String,
    /// Inserts or replaces complete rows.
    pub(super) write: String,
    /// Deletes all rows.
    pub(super) empty: String,
    physical: String,
}

impl Statements {
    pub(super) fn new(table: &TableSpec, generation: Generation) -> Self {
        let physical = quoted(&physical(table, generation));
        let empty = format!("DELETE FROM {physical}");
        Self { read: read(table, &physical), write: write(table, &physical), empty, physical }
    }

    /// The statement that deletes the rows whose keys begin with the given values of the columns `prefix`.
    pub(super) fn delete(&self, prefix: &[Column]) -> String {
        let (names, given) = (names(prefix), expressions(prefix));
        format!("DELETE FROM {} WHERE ({names}) IN (SELECT {given} FROM jsonb_each(?1) AS given)", self.physical)
    }

    /// The statement that reads the rows with the given value in `column`. IS also matches NULL.
    pub(super) fn find(&self, table: &TableSpec, column: &Column) -> String {
        let (names, value) = (names(table.columns()), expression(column, "?1", 0));
        format!("SELECT {names} FROM {} WHERE {} IS {value}", self.physical, quoted(column.name()))
    }
}

fn read(table: &TableSpec, physical: &str) -> String {
    let columns: Vec<_> = table.columns().iter().map(|column| format!("held.{}", quoted(column.name()))).collect();
    let key = table.key_columns().iter().enumerate();
    let key = key.map(|(place, column)| format!("{} = {}", columns[place], expression(column, "given.value", place)));
    // CROSS JOIN fixes the join order: the table is searched for each key and never scanned.
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
    // Without WHERE, the parser would read ON as the condition of a join.
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
