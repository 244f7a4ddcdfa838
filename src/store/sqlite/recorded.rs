//! Columns of our own tables that hold more than SQLite has types for: JSON texts, and the names of states.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

/// The JSON text of something that is ours.
pub(super) fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("what we record is made of texts, numbers and lists")
}

/// What the JSON text in `column` says.
pub(super) fn json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> sqlx::Result<T> {
    serde_json::from_str(row.try_get(column)?).map_err(|error| unreadable(column, error.to_string()))
}

/// The same, where the column may be empty.
pub(super) fn json_if_any<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> sqlx::Result<Option<T>> {
    let text: Option<&str> = row.try_get(column)?;
    let value = text.map(serde_json::from_str).transpose();
    value.map_err(|error| unreadable(column, error.to_string()))
}

/// What has the name in `column`.
pub(super) fn named<T>(row: &SqliteRow, column: &str, named: fn(&str) -> Option<T>) -> sqlx::Result<T> {
    let name: &str = row.try_get(column)?;
    named(name).ok_or_else(|| unreadable(column, format!("nothing is called `{name}`")))
}

/// The same, where the column may be empty.
pub(super) fn named_if_any<T>(row: &SqliteRow, column: &str, named: fn(&str) -> Option<T>) -> sqlx::Result<Option<T>> {
    let is_empty = row.try_get::<Option<&str>, _>(column)?.is_none();
    if is_empty { Ok(None) } else { self::named(row, column, named).map(Some) }
}

/// A later version of readcast wrote it, or somebody else.
fn unreadable(column: &str, reason: String) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: reason.into() }
}
