//! The operations on columns.

use readcast_core::ColumnType;

/// What a rule does to a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Set,
    Add,
    Max,
    Min,
    Append,
    Newer,
}

/// The operations by their names in a file, which are those of [`RowWriter`](readcast_core::RowWriter).
pub(crate) const OPERATIONS: [(&str, Operation); 6] = [
    ("set", Operation::Set),
    ("add", Operation::Add),
    ("max", Operation::Max),
    ("min", Operation::Min),
    ("append", Operation::Append),
    ("newer", Operation::Newer),
];

/// Why an operation can't be used on a column of this type.
pub(super) fn misused(operation: Operation, column: ColumnType) -> Option<&'static str> {
    let is_number = matches!(column, ColumnType::I32 | ColumnType::I64 | ColumnType::Decimal { .. });
    match operation {
        Operation::Add if !is_number => Some("`add` takes integers and decimals"),
        Operation::Append if column != ColumnType::Json => Some("`append` takes JSON"),
        Operation::Max | Operation::Min if column == ColumnType::Json => Some("JSON has no order"),
        _ => None,
    }
}
