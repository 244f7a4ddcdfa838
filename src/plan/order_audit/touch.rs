//! Operations on rows and cells, and which of them commute.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use readcast_core::{Cell, Cells, TableSpec, TopicPartition, Value};

/// An operation on a row or on one of its cells. Small, because there are many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Touch {
    /// The index of the data column; [`WHOLE_ROW`] for the row itself.
    pub(super) column: u16,
    /// Its name in the code of a projection.
    pub(super) operation: &'static str,
    /// The index of the partition.
    pub(super) partition: u16,
    /// A digest of the value that is set.
    pub(super) value: u32,
}

const WHOLE_ROW: u16 = u16::MAX;
pub(super) const REPLACE: &str = "replace_children";
pub(super) const SEARCH: &str = "update_where";

impl Touch {
    /// An operation on the row itself.
    pub(super) fn of_row(operation: &'static str, partition: u16) -> Self {
        Self { column: WHOLE_ROW, operation, partition, value: 0 }
    }

    /// Whether both operations give the same row in either order.
    pub(super) fn commutes_with(&self, other: &Touch) -> bool {
        if self.partition == other.partition || self.column != other.column {
            return true;
        }
        match (self.operation, other.operation) {
            ("set", "set") => self.value == other.value,
            ("append", _) => false,
            (one, another) => one == another,
        }
    }

    pub(super) fn described(&self, table: &TableSpec, partitions: &[TopicPartition]) -> String {
        let column = table.data_columns().get(usize::from(self.column));
        let column = column.map(|column| format!(" {}", column.name())).unwrap_or_default();
        format!("`{}{column}` from {}", self.operation, partitions[usize::from(self.partition)])
    }
}

pub(super) fn touches(cells: &Cells, partition: u16) -> impl Iterator<Item = Touch> {
    let touch = move |(column, cell): (usize, &Option<Cell>)| {
        let cell = cell.as_ref()?;
        let value = if let Cell::Set(value) = cell { digest(value) } else { 0 };
        Some(Touch { column: place(column), operation: cell.operation(), value, partition })
    };
    cells.as_slice().iter().enumerate().filter_map(touch)
}

/// An index in two bytes. There are fewer columns, and hardly more partitions.
pub(super) fn place(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// The lower half of the hash, which two values have by chance once in four thousand million times.
pub(super) fn digest(value: &Value) -> u32 {
    let mut hasher = DefaultHasher::new();
    hash(value, &mut hasher);
    (hasher.finish() & u64::from(u32::MAX)) as u32
}

pub(super) fn hash(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Text(text) => text.hash(hasher),
        Value::I64(number) => number.hash(hasher),
        other => other.to_string().hash(hasher),
    }
}
