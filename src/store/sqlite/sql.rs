//! The SQL of statements on read tables.

use readcast_core::{Column, ColumnType, Link, Presence, Shown, ShownColumn, TableSpec};

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

/// The statements that create the physical table and its indexes.
pub(super) fn create(table: &TableSpec, generation: Generation) -> Vec<String> {
    let mut statements = vec![create_table(table, generation)];
    statements.extend(create_indexes(table, generation));
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

/// The statements that create the missing secondary indexes of the physical table. They index what readers see, because
/// SQLite uses an index on an expression only where a query has the same expression.
pub(super) fn create_indexes(table: &TableSpec, generation: Generation) -> impl Iterator<Item = String> {
    let physical = quoted(&physical(table, generation));
    index_names(table, generation).zip(table.indexes()).map(move |(name, columns)| {
        let column = |name: &String| table.columns().iter().find(|column| column.name() == name);
        let columns: Vec<_> = columns.iter().filter_map(column).map(readable).collect();
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

/// The statement that creates a view for readers. A view with any other text counts as a user's.
pub(super) fn create_view(shown: &Shown<'_>, generation: Generation) -> String {
    // The texts of the views of tables were like this before there were others.
    let qualifier = |from: usize| if shown.is_table() { String::new() } else { format!("t{from}.") };
    let column = |column: &ShownColumn<'_>| {
        let held = format!("{}{}", qualifier(column.from), quoted(column.column.name()));
        as_number(column.column, &held).unwrap_or(held)
    };
    let columns: Vec<_> = shown.columns.iter().map(column).collect();
    let mut from = quoted(&physical(shown.table, generation));
    if !shown.is_table() {
        from += " AS t0";
    }
    for ((table, on), number) in shown.joins.iter().zip(1..) {
        let key = table.key_columns().iter().zip(*on);
        let on: Vec<_> =
            key.map(|(key, own)| format!("t{number}.{} = t0.{}", quoted(key.name()), quoted(own))).collect();
        from += &format!(" LEFT JOIN {} AS t{number} ON {}", quoted(&physical(table, generation)), on.join(" AND "));
    }
    let names: Vec<_> = shown.columns.iter().map(|column| quoted(column.name)).collect();
    format!("CREATE VIEW {} ({}) AS SELECT {} FROM {from}", quoted(shown.name), names.join(", "), columns.join(", "))
}

/// The statement with which version 0.1.0 created the view of a table. It gave decimals as texts.
pub(super) fn create_view_of_texts(table: &TableSpec, generation: Generation) -> String {
    let (stable, physical) = (quoted(table.name()), quoted(&physical(table, generation)));
    let columns = names(table.columns());
    format!("CREATE VIEW {stable} ({columns}) AS SELECT {columns} FROM {physical}")
}

/// SQL for what readers see of a column. A decimal becomes a number, which compares, sorts and adds up. Its exact text
/// stays in the physical table.
fn readable(column: &Column) -> String {
    as_number(column, &quoted(column.name())).unwrap_or_else(|| quoted(column.name()))
}

/// SQL for the number that the text of a decimal stands for. `None` for a column of another type.
fn as_number(column: &Column, text: &str) -> Option<String> {
    matches!(column.column_type(), ColumnType::Decimal { .. }).then(|| format!("CAST({text} AS NUMERIC)"))
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
    /// The statements for the table at `place`. `links` are its references.
    pub(super) fn new(tables: &[TableSpec], place: usize, links: &[&Link], generation: Generation) -> Self {
        let table = &tables[place];
        let physical = quoted(&physical(table, generation));
        let empty = format!("DELETE FROM {physical}");
        let write = write(tables, place, links, generation);
        Self { read: read(table, &physical), write, empty, physical }
    }

    /// The statement that deletes the rows whose keys begin with the given values of the columns `prefix`.
    pub(super) fn delete(&self, prefix: &[Column]) -> String {
        let (names, given) = (names(prefix), expressions(prefix));
        format!("DELETE FROM {} WHERE ({names}) IN (SELECT {given} FROM jsonb_each(?1) AS given)", self.physical)
    }

    /// The statement that deletes as [`delete`](Self::delete) does, and returns the rows.
    pub(super) fn take(&self, table: &TableSpec, prefix: &[Column]) -> String {
        format!("{} RETURNING {}", self.delete(prefix), names(table.columns()))
    }

    /// The statement that reads the rows with the given value in `column`. IS also matches NULL.
    pub(super) fn find(&self, table: &TableSpec, column: &Column) -> String {
        let (names, value) = (names(table.columns()), expression(column, "?1", 0));
        // An index has the number, and different texts may be the same number.
        let number = as_number(column, &value).map(|number| format!(" AND {} IS {number}", readable(column)));
        let number = number.unwrap_or_default();
        format!("SELECT {names} FROM {} WHERE {} IS {value}{number}", self.physical, quoted(column.name()))
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

fn write(tables: &[TableSpec], place: usize, links: &[&Link], generation: Generation) -> String {
    let table = &tables[place];
    let mut given: Vec<String> = given(table.columns());
    for link in links {
        let operands: Vec<String> = link.columns.iter().map(|column| given[*column].clone()).collect();
        for (column, value) in copies(tables, link, &operands, generation) {
            given[table.key_columns().len() + column] = value;
        }
    }
    let sets = table.data_columns().iter().map(|column| quoted(column.name()));
    let sets: Vec<_> = sets.map(|name| format!("{name} = excluded.{name}")).collect();
    let action = if sets.is_empty() { "NOTHING".into() } else { format!("UPDATE SET {}", sets.join(", ")) };
    // Without WHERE, the parser would read ON as the condition of a join.
    format!(
        "INSERT INTO {} ({}) SELECT {} FROM jsonb_each(?1) AS given WHERE true ON CONFLICT ({}) DO {action}",
        quoted(&physical(table, generation)),
        names(table.columns()),
        given.join(", "),
        names(table.key_columns())
    )
}

/// Which rows a statement refreshes.
pub(super) enum Refreshed {
    /// Those that name one of the given keys.
    Named,
    All,
}

/// The statement that makes the copies of `link` equal to the referenced rows.
pub(super) fn refresh(tables: &[TableSpec], link: &Link, generation: Generation, refreshed: Refreshed) -> String {
    let table = &tables[link.table];
    let physical = quoted(&physical(table, generation));
    let copies: Vec<(String, String)> = copies(tables, link, &referring_columns(table, link, &physical), generation)
        .map(|(place, value)| (quoted(table.data_columns()[place].name()), value))
        .collect();
    let sets: Vec<String> = copies.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let differ: Vec<String> = copies.iter().map(|(name, value)| format!("{name} IS NOT {value}")).collect();
    let named = match refreshed {
        Refreshed::Named => format!("{} AND ", names_a_key(tables, link, &physical)),
        Refreshed::All => String::new(),
    };
    format!("UPDATE {physical} SET {} WHERE {named}({})", sets.join(", "), differ.join(" OR "))
}

/// The statement that reads the rows which name one of the given keys.
pub(super) fn referring(tables: &[TableSpec], link: &Link, generation: Generation) -> String {
    let table = &tables[link.table];
    let physical = quoted(&physical(table, generation));
    format!("SELECT {} FROM {physical} WHERE {}", names(table.columns()), names_a_key(tables, link, &physical))
}

/// SQL condition that a row of `physical` names one of the given keys.
fn names_a_key(tables: &[TableSpec], link: &Link, physical: &str) -> String {
    let columns = referring_columns(&tables[link.table], link, physical).join(", ");
    let key = expressions(tables[link.referenced].key_columns());
    format!("({columns}) IN (SELECT {key} FROM jsonb_each(?1) AS given)")
}

/// SQL for the referencing columns of a row of `physical`.
fn referring_columns(table: &TableSpec, link: &Link, physical: &str) -> Vec<String> {
    let column = |place: &usize| format!("{physical}.{}", quoted(table.columns()[*place].name()));
    link.columns.iter().map(column).collect()
}

/// The index of each copied data column, with SQL for its value in the referenced row. `operands` are the SQL of the
/// referencing columns' values.
fn copies<'a>(
    tables: &'a [TableSpec],
    link: &'a Link,
    operands: &[String],
    generation: Generation,
) -> impl Iterator<Item = (usize, String)> {
    let referenced = &tables[link.referenced];
    let key = referenced.key_columns().iter().zip(operands);
    let on: Vec<_> = key.map(|(column, operand)| format!("source.{} = {operand}", quoted(column.name()))).collect();
    let from = format!("FROM {} AS source WHERE {}", quoted(&physical(referenced, generation)), on.join(" AND "));
    link.copies.iter().map(move |(source, own)| {
        (*own, format!("(SELECT source.{} {from})", quoted(referenced.data_columns()[*source].name())))
    })
}

/// The column names, quoted, separated by commas.
pub(super) fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| quoted(column.name())).collect::<Vec<_>>().join(", ")
}

fn expressions(columns: &[Column]) -> String {
    given(columns).join(", ")
}

/// SQL for the given value of each column.
fn given(columns: &[Column]) -> Vec<String> {
    let places = columns.iter().enumerate();
    places.map(|(place, column)| expression(column, "given.value", place)).collect()
}
