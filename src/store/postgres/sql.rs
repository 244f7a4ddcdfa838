//! Names and types in SQL text.

use readcast_core::{Column, ColumnType, Link, Presence, TableSpec, Value};

use crate::store::Generation;

/// The schema of the physical tables. A migration creates it.
pub(super) const TABLES_SCHEMA: &str = "readcast_tables";

/// The format of times for `to_char`: RFC 3339 with milliseconds.
pub(super) const TIME: &str = r#"'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'"#;

/// An identifier, quoted.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The name of a generation's physical table in its schema. Writers use only this name: a prepared statement on the
/// view would write another generation after a swap.
pub(super) fn physical_name(table: &TableSpec, generation: Generation) -> String {
    format!("{}_g{}", table.name(), generation.0)
}

/// The physical table, qualified by its schema and quoted.
pub(super) fn physical(table: &TableSpec, generation: Generation) -> String {
    format!("{TABLES_SCHEMA}.{}", quoted(&physical_name(table, generation)))
}

/// The table of the locks on the keys of a referenced table, qualified by its schema and quoted.
pub(super) fn key_locks(table: &TableSpec, generation: Generation) -> String {
    format!("{TABLES_SCHEMA}.{}", quoted(&format!("{}_locks", physical_name(table, generation))))
}

/// The table of the rows that a load has not given their copies yet, qualified by its schema and quoted.
pub(super) fn staged(table: &TableSpec, generation: Generation) -> String {
    format!("{TABLES_SCHEMA}.{}", quoted(&format!("{}_load", physical_name(table, generation))))
}

/// The statements that create the tables of a generation, without secondary indexes, each with the table that it is for.
pub(super) fn create_tables(tables: &[TableSpec], generation: Generation) -> Vec<(&TableSpec, String)> {
    let links = Link::between(tables);
    let referenced = (0..tables.len()).filter(|place| links.iter().any(|link| link.referenced == *place));
    let locks = referenced.map(|place| (&tables[place], create_key_locks(&tables[place], generation)));
    tables.iter().map(|table| (table, create_table(table, generation))).chain(locks).collect()
}

/// The names of all physical tables of a generation. Some of them may not exist.
pub(super) fn all_tables(tables: &[TableSpec], generation: Generation) -> Vec<String> {
    tables.iter().flat_map(|table| [physical(table, generation), key_locks(table, generation)]).collect()
}

fn create_key_locks(table: &TableSpec, generation: Generation) -> String {
    let columns = table.key_columns().iter();
    let columns: Vec<_> = columns.map(|column| format!("{} {}", quoted(column.name()), column_type(column))).collect();
    let (locks, key) = (key_locks(table, generation), column_list(table.key_columns()));
    format!("CREATE TABLE {locks} ({}, PRIMARY KEY ({key}))", columns.join(", "))
}

/// The view that readers use, qualified by its schema and quoted.
pub(super) fn stable(schema: &str, table: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(table))
}

/// The statements that create the missing secondary indexes of a generation's physical table.
pub(super) fn create_indexes(table: &TableSpec, generation: Generation) -> Vec<String> {
    let physical = physical(table, generation);
    let index = |(name, columns): (String, &Vec<String>)| {
        let columns: Vec<_> = columns.iter().map(|column| quoted(column)).collect();
        format!("CREATE INDEX IF NOT EXISTS {} ON {physical} ({})", quoted(&name), columns.join(", "))
    };
    index_names(table, generation).zip(table.indexes()).map(index).collect()
}

/// The names of the secondary indexes that a table declares.
pub(super) fn index_names(table: &TableSpec, generation: Generation) -> impl Iterator<Item = String> {
    let physical = physical_name(table, generation);
    (1..=table.indexes().len()).map(move |number| format!("{physical}_ix{number}"))
}

/// The statement that creates a generation's physical table, without secondary indexes.
fn create_table(table: &TableSpec, generation: Generation) -> String {
    let column = |column: &Column| {
        let rest = match column.presence() {
            Presence::Nullable => String::new(),
            Presence::Required => " NOT NULL".into(),
            Presence::Default(value) => format!(" NOT NULL DEFAULT {}", literal(value, column)),
        };
        format!("{} {}{rest}", quoted(column.name()), column_type(column))
    };
    let columns: Vec<_> = table.columns().iter().map(column).collect();
    let key = column_list(table.key_columns());
    let (physical, columns, storage) = (physical(table, generation), columns.join(", "), storage(table));
    format!("CREATE TABLE {physical} ({columns}, PRIMARY KEY ({key})){storage}")
}

/// The WITH clause of the storage parameters. It needs no quotes: validation allows only known names.
fn storage(table: &TableSpec) -> String {
    let parameters = table.storage_parameters().iter();
    let parameters: Vec<_> = parameters.map(|(parameter, value)| format!("{parameter} = '{value}'")).collect();
    if parameters.is_empty() { String::new() } else { format!(" WITH ({})", parameters.join(", ")) }
}

/// The column names, quoted, separated by commas.
pub(super) fn column_list<'a>(columns: impl IntoIterator<Item = &'a Column>) -> String {
    columns.into_iter().map(|column| quoted(column.name())).collect::<Vec<_>>().join(", ")
}

/// The SQL type of a column, as `format_type` writes it.
pub(super) fn column_type(column: &Column) -> String {
    match column.column_type() {
        ColumnType::Text => "text".into(),
        ColumnType::Bool => "boolean".into(),
        ColumnType::I32 => "integer".into(),
        ColumnType::I64 => "bigint".into(),
        ColumnType::F64 => "double precision".into(),
        ColumnType::Decimal { scale } => format!("numeric(28,{scale})"),
        ColumnType::Timestamp => "timestamp with time zone".into(),
        ColumnType::Date => "date".into(),
        ColumnType::Uuid => "uuid".into(),
        ColumnType::Json => "jsonb".into(),
        ColumnType::Bytes => "bytea".into(),
    }
}

/// SQL for the display text of `expression`, which has the type of `column`.
pub(super) fn text(column: &Column, expression: &str) -> String {
    match column.column_type() {
        ColumnType::Timestamp => {
            format!(r#"to_char({expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#)
        }
        ColumnType::Bytes => format!("encode({expression}, 'hex')"),
        _ => format!("{expression}::text"),
    }
}

/// A value as an SQL literal of its column's type.
pub(super) fn literal(value: &Value, column: &Column) -> String {
    let text = match value {
        Value::Null => return "NULL".into(),
        Value::Bytes(_) => format!("\\x{value}"),
        other => other.to_string(),
    };
    format!("'{}'::{}", text.replace('\'', "''"), column_type(column))
}

/// SQL for the value of a column in a new row that does not set it.
pub(super) fn initial(column: &Column) -> String {
    match column.presence() {
        Presence::Default(value) => literal(value, column),
        Presence::Required | Presence::Nullable => "NULL".into(),
    }
}
