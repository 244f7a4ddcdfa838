//! Names and types in SQL text.

use readcast_core::{Column, ColumnType, Presence, TableSpec, Value};

use crate::store::Generation;

/// Where the physical tables live. A migration creates it.
const TABLES_SCHEMA: &str = "readcast_tables";

/// An identifier, quoted.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The name of a generation's physical table within its schema. Writers use this name alone: a prepared statement
/// that named the view would follow it to another generation in the middle of a swap.
pub(super) fn physical_name(table: &TableSpec, generation: Generation) -> String {
    format!("{}_g{}", table.name(), generation.0)
}

/// The physical table, qualified and quoted.
pub(super) fn physical(table: &TableSpec, generation: Generation) -> String {
    format!("{TABLES_SCHEMA}.{}", quoted(&physical_name(table, generation)))
}

/// The column names, quoted, separated by commas.
pub(super) fn column_list<'a>(columns: impl IntoIterator<Item = &'a Column>) -> String {
    columns.into_iter().map(|column| quoted(column.name())).collect::<Vec<_>>().join(", ")
}

/// The type of a column, as `format_type` spells it.
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

/// A value as SQL text, cast to its column's type.
pub(super) fn literal(value: &Value, column: &Column) -> String {
    let text = match value {
        Value::Null => return "NULL".into(),
        Value::Bytes(_) => format!("\\x{value}"),
        other => other.to_string(),
    };
    format!("'{}'::{}", text.replace('\'', "''"), column_type(column))
}

/// What a new row holds in a column that its creation does not name.
pub(super) fn initial(column: &Column) -> String {
    match column.presence() {
        Presence::Default(value) => literal(value, column),
        Presence::Required | Presence::Nullable => "NULL".into(),
    }
}
