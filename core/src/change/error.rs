//! Why a change is refused.

use crate::ValueError;

/// Why a change was refused. The record that it comes from is poison.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The projection declares no table of this name.
    #[error("the projection declares no table `{0}`")]
    NoTable(String),
    /// The table declares no data column of this name. Key columns are not data columns: a change can't alter a key.
    #[error("table `{table}` has no data column `{column}`")]
    NoColumn {
        /// The table's name.
        table: String,
        /// The name that the projection asked for.
        column: String,
    },
    /// A key, a parent key or a row has too many or too few values.
    #[error("table `{table}` expects {expected} values, but {found} were given")]
    KeyLength {
        /// The table's name.
        table: String,
        /// What the table expects, such as `a key of 2`.
        expected: String,
        /// The number of values that were given.
        found: usize,
    },
    /// A value does not fit its column.
    #[error("table `{table}`: {source}")]
    Value {
        /// The table's name.
        table: String,
        /// The column and what does not fit it.
        source: ValueError,
    },
    /// A change that may create a row leaves a required column unset.
    #[error("table `{table}`: a change that may create a row must set column `{column}`")]
    Unset {
        /// The table's name.
        table: String,
        /// The column that is missing.
        column: String,
    },
    /// The column's type does not support the operation: `add` on a text, for example.
    #[error("table `{table}`: column `{column}` does not support `{operation}`")]
    Operation {
        /// The table's name.
        table: String,
        /// The column's name.
        column: String,
        /// The operation's name.
        operation: &'static str,
    },
    /// One change has two operations on one cell that do not compose, such as `max` and then `add`.
    #[error("table `{table}`: one change has two operations on column `{column}` that do not compose")]
    Conflict {
        /// The table's name.
        table: String,
        /// The column's name.
        column: String,
    },
    /// The column holds copies of a referenced row's values.
    #[error("table `{table}`: column `{column}` is copied from table `{from}`: change the row there")]
    Copied {
        /// The table's name.
        table: String,
        /// The column's name.
        column: String,
        /// The referenced table's name.
        from: String,
    },
    /// A change sets a part of a reference, or by an operation whose result depends on the row.
    #[error(
        "table `{table}`: {columns} refer to table `{to}`: a change of one key sets all of them that are data columns, by `set` \
         or by `newer`"
    )]
    Reference {
        /// The table's name.
        table: String,
        /// The referenced table's name.
        to: String,
        /// The referencing columns.
        columns: String,
    },
}
