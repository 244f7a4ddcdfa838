//! A read table: the one place that declares its name, columns, key and indexes. Stores create the physical tables from
//! it.

mod column;
mod differences;
pub(crate) mod names;
pub(crate) mod reference;
#[cfg(test)]
mod tests;
mod validate;
pub(crate) mod view;
mod width;

pub use column::{Column, ColumnType, Presence};
pub use differences::{differences, type_changes};
pub use reference::{Link, Reference};
pub(crate) use validate::is_identifier;
pub use view::{Join, ReadView, Shown, ShownColumn};

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Value;

/// A read table: its stable name, its columns with the key first, and its secondary indexes.
///
/// ```
/// use readcast_core::{ColumnType, TableSpec};
///
/// let table = TableSpec::new("order_summary")
///     .key("order_id", ColumnType::Text)
///     .column("status", ColumnType::Text)
///     .nullable("placed_at", ColumnType::Timestamp)
///     .with_default("refunded", ColumnType::Decimal { scale: 2 }, 0)
///     .index(["status"]);
/// assert_eq!(table.validate(), Ok(()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSpec {
    name: String,
    columns: Vec<Column>,
    key_len: usize,
    indexes: Vec<Vec<String>>,
    newer_by: Option<(String, String)>,
    /// Omitted when empty: a declaration without storage parameters must keep the JSON and the hash that databases have
    /// recorded since before these existed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    storage: Vec<(String, String)>,
    /// Omitted when empty, for the same reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    references: Vec<Reference>,
    /// Omitted when empty, for the same reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    views: Vec<ReadView>,
}

impl TableSpec {
    /// The length limit of a table's name, in bytes. Postgres silently truncates identifiers to 63 bytes, and physical
    /// names have a suffix of up to 15 bytes (`_g999999_ix9999`).
    pub const MAX_NAME_BYTES: usize = 48;
    /// The length limit of a column's name, in bytes.
    pub const MAX_COLUMN_NAME_BYTES: usize = 63;
    /// The most columns of a table, key columns included: Postgres's limit.
    pub const MAX_COLUMNS: usize = 1_600;
    /// The most columns of a key or a secondary index: Postgres's limit.
    pub const MAX_INDEX_COLUMNS: usize = 32;
    /// The most secondary indexes of a table: the names of indexes have room for four digits.
    pub const MAX_INDEXES: usize = 9_999;
    /// The size limit of a row without its long values, in bytes. In Postgres a row must fit into one page.
    pub const MAX_ROW_BYTES: usize = 8_160;

    /// A table without columns. `name` is the stable name that readers use, of the form `[a-z_][a-z0-9_]*`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            columns: Vec::new(),
            key_len: 0,
            indexes: Vec::new(),
            newer_by: None,
            storage: Vec::new(),
            references: Vec::new(),
            views: Vec::new(),
        }
    }

    /// Adds a column to the key. Key columns precede all others. Their type is not `F64` or `Json`.
    #[must_use]
    pub fn key(mut self, name: impl Into<String>, column_type: ColumnType) -> Self {
        self.columns.insert(self.key_len, Column { name: name.into(), column_type, presence: Presence::Required });
        self.key_len += 1;
        self
    }

    /// Adds a column that is never NULL. Every change that may create a row must set it.
    #[must_use]
    pub fn column(self, name: impl Into<String>, column_type: ColumnType) -> Self {
        self.with(Column { name: name.into(), column_type, presence: Presence::Required })
    }

    /// Adds a column that is NULL until it is set.
    #[must_use]
    pub fn nullable(self, name: impl Into<String>, column_type: ColumnType) -> Self {
        self.with(Column { name: name.into(), column_type, presence: Presence::Nullable })
    }

    /// Adds a column that is never NULL and starts as `value`.
    #[must_use]
    pub fn with_default(self, name: impl Into<String>, column_type: ColumnType, value: impl Into<Value>) -> Self {
        let mut column = Column { name: name.into(), column_type, presence: Presence::Nullable };
        // `validate` reports a default that does not fit, like every other problem of a table.
        let value = value.into();
        column.presence = Presence::Default(value.clone().fit(&column).unwrap_or(value));
        self.with(column)
    }

    /// Adds a secondary index on these columns, key columns or data columns, in this order. It is not unique.
    #[must_use]
    pub fn index<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.indexes.push(columns.into_iter().map(Into::into).collect());
        self
    }

    /// Declares the two data columns that [`newer`](crate::RowWriter::newer) compares: `at`, then `tie` if `at` is
    /// equal. `at` must not have a default: a row that no event has changed yet must be older than every event.
    #[must_use]
    pub fn newer_by(mut self, at: impl Into<String>, tie: impl Into<String>) -> Self {
        self.newer_by = Some((at.into(), tie.into()));
        self
    }

    /// Sets a storage parameter of the table in Postgres, such as `fillfactor` or `autovacuum_vacuum_scale_factor`. The
    /// prefix `toast.` sets the parameter of the table's TOAST table. SQLite has no such parameters and ignores them.
    #[must_use]
    pub fn storage(mut self, parameter: impl Into<String>, value: impl fmt::Display) -> Self {
        self.storage.push((parameter.into(), value.to_string()));
        self
    }

    fn with(mut self, column: Column) -> Self {
        self.columns.push(column);
        self
    }

    /// The stable name that readers use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All columns: those of the key, then the data columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The columns of the key.
    pub fn key_columns(&self) -> &[Column] {
        &self.columns[..self.key_len]
    }

    /// The columns that are not part of the key.
    pub fn data_columns(&self) -> &[Column] {
        &self.columns[self.key_len..]
    }

    /// The columns of each secondary index.
    pub fn indexes(&self) -> &[Vec<String>] {
        &self.indexes
    }

    /// The names and values of the storage parameters for Postgres.
    pub fn storage_parameters(&self) -> &[(String, String)] {
        &self.storage
    }

    /// The indexes of the `at` and `tie` columns of [`newer_by`](Self::newer_by) among the data columns. `None` if the
    /// table has none.
    pub fn newer_columns(&self) -> Option<(usize, usize)> {
        let (at, tie) = self.newer_by.as_ref()?;
        Some((self.data_index(at)?, self.data_index(tie)?))
    }

    /// The index of the data column `name` among the data columns.
    pub(crate) fn data_index(&self, name: &str) -> Option<usize> {
        self.data_columns().iter().position(|column| column.name == name)
    }
}
