//! The minimal width of a row in Postgres, where a row must fit into a page (PostgreSQL documentation, appendix K, and
//! "Database Page Layout"). Postgres moves long values of variable width out of the row, but none of fixed width.

use super::{Column, ColumnType, Presence};

/// The minimal size in bytes of a row with a value in each of `columns`.
pub(super) fn least_bytes(columns: &[Column]) -> usize {
    const HEADER: usize = 23;
    const ALIGNMENT: usize = 8;
    // A row that holds a NULL has a bitmap with a bit for each column.
    let nullable = columns.iter().any(|column| column.presence == Presence::Nullable);
    let bits = if nullable { columns.len().div_ceil(8) } else { 0 };
    let data = columns.iter().fold(0, |end: usize, column| {
        let (width, alignment) = least_width(column.column_type);
        end.next_multiple_of(alignment) + width
    });
    ((HEADER + bits).next_multiple_of(ALIGNMENT) + data).next_multiple_of(ALIGNMENT)
}

/// The minimal size of a value of this type and its alignment, in bytes.
fn least_width(column_type: ColumnType) -> (usize, usize) {
    match column_type {
        // A short value has a header of one byte.
        ColumnType::Text | ColumnType::Bytes => (1, 1),
        // The smallest values: 0, without digits, and `{}`, without members.
        ColumnType::Decimal { .. } => (1 + 2, 1),
        ColumnType::Json => (1 + 4, 1),
        ColumnType::Bool => (1, 1),
        ColumnType::I32 | ColumnType::Date => (4, 4),
        ColumnType::I64 | ColumnType::F64 | ColumnType::Timestamp => (8, 8),
        ColumnType::Uuid => (16, 1),
    }
}
