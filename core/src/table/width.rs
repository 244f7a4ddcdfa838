//! How wide a row is in Postgres, which has no row that is larger than a page (PostgreSQL documentation, appendix K, and
//! "Database Page Layout"). Long texts and the like move out of the row; what has a fixed width can't.

use super::{Column, ColumnType, Presence};

/// The least that a row takes which has a value in each of `columns`, in bytes.
pub(super) fn least_bytes(columns: &[Column]) -> usize {
    const HEADER: usize = 23;
    const ALIGNMENT: usize = 8;
    // A row with a NULL in it has a bit for each column.
    let nullable = columns.iter().any(|column| column.presence == Presence::Nullable);
    let bits = if nullable { columns.len().div_ceil(8) } else { 0 };
    let data = columns.iter().fold(0, |end: usize, column| {
        let (width, alignment) = least_width(column.column_type);
        end.next_multiple_of(alignment) + width
    });
    ((HEADER + bits).next_multiple_of(ALIGNMENT) + data).next_multiple_of(ALIGNMENT)
}

/// The fewest bytes that a value of this type takes, and of what their place is a multiple.
fn least_width(column_type: ColumnType) -> (usize, usize) {
    match column_type {
        // The length of a short value is one byte.
        ColumnType::Text | ColumnType::Bytes => (1, 1),
        // 0 has no digits, and `{}` no members.
        ColumnType::Decimal { .. } => (1 + 2, 1),
        ColumnType::Json => (1 + 4, 1),
        ColumnType::Bool => (1, 1),
        ColumnType::I32 | ColumnType::Date => (4, 4),
        ColumnType::I64 | ColumnType::F64 | ColumnType::Timestamp => (8, 8),
        ColumnType::Uuid => (16, 1),
    }
}
