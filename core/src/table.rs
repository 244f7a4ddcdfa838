//! What a read table looks like: the one place where its name, columns, key and indexes are declared. Stores create
//! the physical tables from it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Value, storage};

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ColumnType {
    /// Text of any length, without U+0000.
    Text,
    /// A truth value.
    Bool,
    /// A 32-bit integer.
    I32,
    /// A 64-bit integer.
    I64,
    /// A finite double. Never for money.
    F64,
    /// An exact decimal of up to 28 digits.
    Decimal {
        /// How many of the digits stand behind the point, 0 to 28. A number with more is an error, never rounded.
        scale: u8,
    },
    /// A point in time, to the microsecond.
    Timestamp,
    /// A calendar date.
    Date,
    /// A UUID.
    Uuid,
    /// A JSON text.
    Json,
    /// Bytes.
    Bytes,
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnType::Decimal { scale } => write!(f, "decimal({scale})"),
            other => f.write_str(&format!("{other:?}").to_lowercase()),
        }
    }
}

/// What a column holds in a row whose creation did not name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// Part of the row's key, or set by every change that may create a row.
    Required,
    /// NULL until it is set.
    Nullable,
    /// Never NULL: it starts as this value.
    Default(Value),
}

/// One column of a read table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    name: String,
    #[serde(rename = "type")]
    column_type: ColumnType,
    presence: Presence,
}

impl Column {
    /// The column's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The column's type.
    pub fn column_type(&self) -> ColumnType {
        self.column_type
    }

    /// What the column holds when the creation of its row did not name it.
    pub fn presence(&self) -> &Presence {
        &self.presence
    }

    /// What the column of a row starts as, before any change names it.
    pub(crate) fn initial(&self) -> Value {
        match &self.presence {
            Presence::Default(value) => value.clone(),
            Presence::Required | Presence::Nullable => Value::Null,
        }
    }
}

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
    /// Left out where there are none: what was recorded and hashed before there were any is the same as ever.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    storage: Vec<(String, String)>,
}

impl TableSpec {
    /// The longest name a table may have, in bytes: Postgres cuts identifiers at 63 without a word, and the physical
    /// names carry a suffix of up to 15 (`_g999999_ix9999`).
    pub const MAX_NAME_BYTES: usize = 48;
    /// The longest name a column may have, in bytes.
    pub const MAX_COLUMN_NAME_BYTES: usize = 63;

    /// A table without columns.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            columns: Vec::new(),
            key_len: 0,
            indexes: Vec::new(),
            newer_by: None,
            storage: Vec::new(),
        }
    }

    /// Adds a column to the key. Key columns come before all others.
    #[must_use]
    pub fn key(mut self, name: impl Into<String>, column_type: ColumnType) -> Self {
        self.columns.insert(self.key_len, Column { name: name.into(), column_type, presence: Presence::Required });
        self.key_len += 1;
        self
    }

    /// Adds a column that is never NULL and that every change which may create a row must set.
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
        // A default that does not fit is reported by `validate`, as everything else is that is wrong with a table.
        let value = value.into();
        column.presence = Presence::Default(value.clone().fit(&column).unwrap_or(value));
        self.with(column)
    }

    /// Adds a secondary index.
    #[must_use]
    pub fn index<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.indexes.push(columns.into_iter().map(Into::into).collect());
        self
    }

    /// Declares the two columns that [`newer`](crate::RowWriter::newer) compares: `at`, then `tie` where `at` is equal.
    /// `at` has no default, because a row that no event has moved yet must be older than every event.
    #[must_use]
    pub fn newer_by(mut self, at: impl Into<String>, tie: impl Into<String>) -> Self {
        self.newer_by = Some((at.into(), tie.into()));
        self
    }

    /// Sets a storage parameter of the table in Postgres, such as `fillfactor` or `autovacuum_vacuum_scale_factor`; with
    /// `toast.` before its name, of what the table keeps elsewhere. SQLite has nothing like it, and ignores it.
    #[must_use]
    pub fn storage(mut self, parameter: impl Into<String>, value: impl fmt::Display) -> Self {
        self.storage.push((parameter.into(), value.to_string()));
        self
    }

    fn with(mut self, column: Column) -> Self {
        self.columns.push(column);
        self
    }

    /// The stable name, the one that readers use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All columns, the key first.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The columns of the key.
    pub fn key_columns(&self) -> &[Column] {
        &self.columns[..self.key_len]
    }

    /// The columns behind the key.
    pub fn data_columns(&self) -> &[Column] {
        &self.columns[self.key_len..]
    }

    /// The columns of each secondary index.
    pub fn indexes(&self) -> &[Vec<String>] {
        &self.indexes
    }

    /// The storage parameters for Postgres, each with its value.
    pub fn storage_parameters(&self) -> &[(String, String)] {
        &self.storage
    }

    /// Where `newer` finds its `at` and `tie` among the data columns.
    pub fn newer_columns(&self) -> Option<(usize, usize)> {
        let (at, tie) = self.newer_by.as_ref()?;
        Some((self.data_index(at)?, self.data_index(tie)?))
    }

    /// The place of the data column `name` among the data columns.
    pub(crate) fn data_index(&self, name: &str) -> Option<usize> {
        self.data_columns().iter().position(|column| column.name == name)
    }

    /// Everything that is wrong with the declaration, a sentence each.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut wrong = Vec::new();
        let mut check = |holds: bool, sentence: String| {
            if !holds {
                wrong.push(format!("table `{}`: {sentence}", self.name));
            }
        };
        check(is_identifier(&self.name), "the name is not of the form [a-z_][a-z0-9_]*".into());
        check(
            self.name.len() <= Self::MAX_NAME_BYTES,
            format!(
                "the name has {} bytes; Postgres allows 63, suffixes of ours take 15, so at most {} are left",
                self.name.len(),
                Self::MAX_NAME_BYTES
            ),
        );
        let reserved = ["readcast_", "sqlite_", "pg_"].iter().any(|prefix| self.name.starts_with(prefix));
        check(!reserved, "names that begin with readcast_, sqlite_ or pg_ are not free to use".into());
        check(self.key_len > 0, "it has no key column".into());
        for (place, column) in self.columns.iter().enumerate() {
            let name = &column.name;
            check(is_identifier(name), format!("column `{name}` is not of the form [a-z_][a-z0-9_]*"));
            check(
                name.len() <= Self::MAX_COLUMN_NAME_BYTES,
                format!("column `{name}` has {} bytes; Postgres allows 63", name.len()),
            );
            let first = self.columns.iter().position(|other| other.name == *name);
            check(first == Some(place), format!("column `{name}` is declared twice"));
            let keyable = !matches!(column.column_type, ColumnType::F64 | ColumnType::Json);
            check(place >= self.key_len || keyable, format!("key column `{name}` is of type {}", column.column_type));
            if let ColumnType::Decimal { scale } = column.column_type {
                check(scale <= 28, format!("column `{name}` has a scale of {scale}; at most 28"));
            }
            if let Presence::Default(value) = &column.presence {
                let fits = value.clone().fit(column);
                check(fits.is_ok(), format!("the default of column `{name}` does not fit: {}", error_text(&fits)));
            }
        }
        for name in self.indexes.iter().flatten() {
            let known = self.columns.iter().any(|column| column.name == *name);
            check(known, format!("an index names column `{name}`, which it does not have"));
        }
        if let Some((at, tie)) = &self.newer_by {
            check(
                self.newer_columns().is_some(),
                format!("newer_by names `{at}` and `{tie}`: not both are data columns"),
            );
            let column = self.newer_columns().map(|(at, _)| &self.data_columns()[at]);
            let defaulted = column.is_some_and(|column| matches!(column.presence, Presence::Default(_)));
            check(!defaulted, format!("column `{at}`, which newer_by compares first, has a default"));
        }
        for (place, (parameter, value)) in self.storage.iter().enumerate() {
            let first = self.storage.iter().position(|(other, _)| other == parameter);
            check(first == Some(place), format!("the storage parameter `{parameter}` is declared twice"));
            let fault = storage::fault(parameter, value);
            check(fault.is_none(), fault.unwrap_or_default());
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

fn error_text<T, E: fmt::Display>(result: &Result<T, E>) -> String {
    result.as_ref().err().map(E::to_string).unwrap_or_default()
}

/// Whether `name` can be an identifier everywhere without depending on how a database folds case.
pub(crate) fn is_identifier(name: &str) -> bool {
    let tail = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit()) && name.bytes().all(tail)
}

/// What changed from the tables `old` to the tables `new`, a sentence each.
pub fn differences(old: &[TableSpec], new: &[TableSpec]) -> Vec<String> {
    let mut sentences = Vec::new();
    let named = |tables: &[TableSpec], name: &str| tables.iter().find(|table| table.name == name).cloned();
    for table in old.iter().filter(|table| named(new, &table.name).is_none()) {
        sentences.push(format!("table `{}` was removed", table.name));
    }
    for table in new {
        match named(old, &table.name) {
            None => sentences.push(format!("table `{}` was added", table.name)),
            Some(before) => sentences.extend(table_differences(&before, table)),
        }
    }
    sentences
}

fn table_differences(old: &TableSpec, new: &TableSpec) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut say = |sentence: String| sentences.push(format!("table `{}`: {sentence}", new.name));
    let column = |table: &TableSpec, name: &str| table.columns.iter().find(|column| column.name == name).cloned();
    for gone in old.columns.iter().filter(|old| column(new, &old.name).is_none()) {
        say(format!("column `{}` was removed", gone.name));
    }
    for now in &new.columns {
        match column(old, &now.name) {
            None => say(format!("column `{}` was added", now.name)),
            Some(before) if before.column_type != now.column_type => {
                say(format!("column `{}` changed from {} to {}", now.name, before.column_type, now.column_type));
            }
            Some(before) if before.presence != now.presence => {
                say(format!("column `{}` changed from {:?} to {:?}", now.name, before.presence, now.presence));
            }
            Some(_) => {}
        }
    }
    let key = |table: &TableSpec| table.key_columns().iter().map(|column| column.name.clone()).collect::<Vec<_>>();
    if key(old) != key(new) {
        say(format!("the key changed from ({}) to ({})", key(old).join(", "), key(new).join(", ")));
    }
    if old.indexes != new.indexes {
        say("its indexes changed".into());
    }
    if old.storage != new.storage {
        say("its storage parameters changed".into());
    }
    if old.newer_by != new.newer_by {
        say("the columns that `newer` compares changed".into());
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TableSpec {
        TableSpec::new("t").key("id", ColumnType::Text).column("a", ColumnType::I32)
    }

    #[test]
    fn every_fault_of_a_declaration_is_named() {
        let faulty = TableSpec::new("x".repeat(49))
            .column("A", ColumnType::Text)
            .with_default("d", ColumnType::I32, "text")
            .nullable("d", ColumnType::Decimal { scale: 29 })
            .index(["nowhere"])
            .storage("fillfactor", 5)
            .storage("fillfactor", 70)
            .newer_by("d", "e");
        let wrong = faulty.validate().expect_err("it is faulty");
        for part in [
            "49 bytes",
            "no key",
            "`A`",
            "default of column `d`",
            "column `d` is declared twice",
            "scale of 29",
            "nowhere",
            "`fillfactor` is 5",
            "`fillfactor` is declared twice",
            "newer_by",
        ] {
            assert!(wrong.iter().any(|sentence| sentence.contains(part)), "nothing about {part} in {wrong:#?}");
        }
        assert_eq!(table().validate(), Ok(()));
    }

    #[test]
    fn a_row_that_nothing_moved_is_older_than_every_event() {
        let moved = |table: TableSpec| table.nullable("tie", ColumnType::I64).newer_by("at", "tie").validate();
        assert_eq!(moved(table().nullable("at", ColumnType::I64)), Ok(()));
        let wrong = moved(table().with_default("at", ColumnType::I64, 5)).expect_err("a new row would be at 5");
        assert!(wrong[0].contains("`at`, which newer_by compares first, has a default"), "{wrong:?}");
    }

    #[test]
    fn a_changed_definition_is_told_in_sentences() {
        let new = TableSpec::new("t").key("id", ColumnType::Text).column("a", ColumnType::I64).index(["a"]);
        let stored = table().storage("fillfactor", 70);
        assert_eq!(differences(&[table()], &[stored]), ["table `t`: its storage parameters changed"]);
        assert_eq!(
            differences(&[table()], &[new]),
            ["table `t`: column `a` changed from i32 to i64", "table `t`: its indexes changed"]
        );
        assert_eq!(differences(&[table()], &[]), ["table `t` was removed"]);
        assert!(differences(&[table()], &[table()]).is_empty());
    }
}
