//! What a read table looks like: the one place where its name, columns, key and indexes are declared. Stores create
//! the physical tables from it.

pub(crate) mod names;
mod width;

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
    /// The most columns a table may have, the key with them: Postgres has no more.
    pub const MAX_COLUMNS: usize = 1_600;
    /// The most columns a key or a secondary index may have: Postgres has no more.
    pub const MAX_INDEX_COLUMNS: usize = 32;
    /// The most secondary indexes a table may have: their names have no room for a larger number.
    pub const MAX_INDEXES: usize = 9_999;
    /// What a row may take without its long values, in bytes: in Postgres it must fit in a page.
    pub const MAX_ROW_BYTES: usize = 8_160;

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

    /// Everything that is wrong with the declaration, a sentence each. What any store can't have is wrong for all.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut wrong = Faults { table: &self.name, sentences: Vec::new() };
        self.check_name(&mut wrong);
        for (place, column) in self.columns.iter().enumerate() {
            self.check_column(place, column, &mut wrong);
        }
        self.check_key_and_indexes(&mut wrong);
        self.check_width(&mut wrong);
        self.check_newer_by(&mut wrong);
        self.check_storage(&mut wrong);
        if wrong.sentences.is_empty() { Ok(()) } else { Err(wrong.sentences) }
    }

    fn check_name(&self, wrong: &mut Faults<'_>) {
        wrong.unless(is_identifier(&self.name), || "the name is not of the form [a-z_][a-z0-9_]*".into());
        wrong.unless(self.name.len() <= Self::MAX_NAME_BYTES, || {
            format!(
                "the name has {} bytes; Postgres allows 63, suffixes of ours take 15, so at most {} are left",
                self.name.len(),
                Self::MAX_NAME_BYTES
            )
        });
        if let Some(reason) = names::of_no_table(&self.name) {
            wrong.add(reason.into());
        }
    }

    fn check_column(&self, place: usize, column: &Column, wrong: &mut Faults<'_>) {
        let name = &column.name;
        wrong.unless(is_identifier(name), || format!("column `{name}` is not of the form [a-z_][a-z0-9_]*"));
        wrong.unless(name.len() <= Self::MAX_COLUMN_NAME_BYTES, || {
            format!("column `{name}` has {} bytes; Postgres allows 63", name.len())
        });
        if let Some(reason) = names::of_no_column(name) {
            wrong.add(format!("column `{name}` needs another name: {reason}"));
        }
        let first = self.columns.iter().position(|other| other.name == *name);
        wrong.unless(first == Some(place), || format!("column `{name}` is declared twice"));
        let keyable = !matches!(column.column_type, ColumnType::F64 | ColumnType::Json);
        wrong.unless(place >= self.key_len || keyable, || {
            format!("key column `{name}` is of type {}", column.column_type)
        });
        if let ColumnType::Decimal { scale } = column.column_type {
            wrong.unless(scale <= 28, || format!("column `{name}` has a scale of {scale}; at most 28"));
        }
        if let Presence::Default(value) = &column.presence
            && let Err(error) = value.clone().fit(column)
        {
            wrong.add(format!("the default of column `{name}` does not fit: {error}"));
        }
    }

    fn check_key_and_indexes(&self, wrong: &mut Faults<'_>) {
        let most = Self::MAX_INDEX_COLUMNS;
        wrong.unless(self.key_len > 0, || "it has no key column".into());
        wrong.unless(self.key_len <= most, || format!("the key has {} columns; Postgres allows {most}", self.key_len));
        wrong.unless(self.indexes.len() <= Self::MAX_INDEXES, || {
            format!("it has {} indexes; at most {} can be named", self.indexes.len(), Self::MAX_INDEXES)
        });
        for (index, number) in self.indexes.iter().zip(1..) {
            wrong.unless(!index.is_empty(), || format!("index {number} has no column"));
            wrong.unless(index.len() <= most, || {
                format!("index {number} has {} columns; Postgres allows {most}", index.len())
            });
            for (place, name) in index.iter().enumerate() {
                let known = self.columns.iter().any(|column| column.name == *name);
                wrong.unless(known, || format!("index {number} names column `{name}`, which the table does not have"));
                wrong.unless(!index[..place].contains(name), || format!("index {number} names column `{name}` twice"));
            }
        }
    }

    fn check_width(&self, wrong: &mut Faults<'_>) {
        let (columns, least) = (self.columns.len(), width::least_bytes(&self.columns));
        wrong.unless(columns <= Self::MAX_COLUMNS, || {
            format!("it has {columns} columns; Postgres allows {}: spread them over several tables", Self::MAX_COLUMNS)
        });
        wrong.unless(least <= Self::MAX_ROW_BYTES, || {
            format!(
                "a row with a value in each of its {columns} columns takes at least {least} bytes; Postgres allows {}: \
                 spread the columns over several tables",
                Self::MAX_ROW_BYTES
            )
        });
    }

    fn check_newer_by(&self, wrong: &mut Faults<'_>) {
        let Some((at, tie)) = &self.newer_by else { return };
        let Some((place, _)) = self.newer_columns() else {
            return wrong.add(format!("newer_by names `{at}` and `{tie}`: not both are data columns"));
        };
        let defaulted = matches!(self.data_columns()[place].presence, Presence::Default(_));
        wrong.unless(!defaulted, || format!("column `{at}`, which newer_by compares first, has a default"));
    }

    fn check_storage(&self, wrong: &mut Faults<'_>) {
        for (place, (parameter, value)) in self.storage.iter().enumerate() {
            let first = self.storage.iter().position(|(other, _)| other == parameter);
            wrong.unless(first == Some(place), || format!("the storage parameter `{parameter}` is declared twice"));
            if let Some(fault) = storage::fault(parameter, value) {
                wrong.add(fault);
            }
        }
    }
}

/// What is wrong with the declaration of a table.
struct Faults<'a> {
    table: &'a str,
    sentences: Vec<String>,
}

impl Faults<'_> {
    fn add(&mut self, sentence: String) {
        self.sentences.push(format!("table `{}`: {sentence}", self.table));
    }

    fn unless(&mut self, holds: bool, sentence: impl FnOnce() -> String) {
        if !holds {
            self.add(sentence());
        }
    }
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

    fn faults(table: TableSpec) -> String {
        table.validate().err().unwrap_or_default().join("; ")
    }

    #[test]
    fn names_that_a_store_has_other_uses_for_are_refused() {
        for name in ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "rowid", "oid", "_rowid_", "true", "false"] {
            let sentence = format!("table `t`: column `{name}` needs another name");
            assert!(faults(table().nullable(name, ColumnType::I32)).starts_with(&sentence), "{name}");
            assert!(faults(table().key(name, ColumnType::I32)).starts_with(&sentence), "{name} in a key");
        }
        for name in [
            "sqlite",
            "json_each",
            "jsonb_tree",
            "dbstat",
            "pragma_table_xinfo",
            "pg_class",
            "sqlite_schema",
            "readcast_x",
        ] {
            let table = TableSpec::new(name).key("id", ColumnType::Text);
            assert!(!faults(table).is_empty(), "{name}");
        }
    }

    #[test]
    fn no_table_is_wider_than_a_store_can_have_it() {
        let wide = |columns: usize, column_type: ColumnType| {
            let key = TableSpec::new("t").key("id", ColumnType::Text);
            faults((1..columns).fold(key, |table, place| table.nullable(format!("c{place}"), column_type)))
        };
        assert_eq!(wide(1_600, ColumnType::I32), "");
        assert_eq!(
            wide(1_601, ColumnType::Bool),
            "table `t`: it has 1601 columns; Postgres allows 1600: spread them over several tables"
        );
        assert_eq!(
            wide(1_600, ColumnType::I64),
            "table `t`: a row with a value in each of its 1600 columns takes at least 13024 bytes; Postgres allows 8160: \
             spread the columns over several tables"
        );
        // Alignment counts.
        let alternating = |columns: usize| {
            let key = TableSpec::new("t").key("id", ColumnType::I64);
            faults((1..columns).fold(key, |table, place| match place % 2 {
                0 => table.column(format!("c{place}"), ColumnType::I64),
                _ => table.column(format!("c{place}"), ColumnType::Bool),
            }))
        };
        assert_eq!(alternating(1_017), "");
        assert!(alternating(1_018).contains("at least 8168 bytes"), "{}", alternating(1_018));
    }

    #[test]
    fn an_index_has_the_columns_that_a_store_can_have() {
        let keyed = |columns: usize| {
            (0..columns).fold(TableSpec::new("t"), |table, place| table.key(format!("k{place}"), ColumnType::I32))
        };
        let names = |columns: usize| (0..columns).map(|place| format!("k{place}"));
        assert_eq!(faults(keyed(32).index(names(32))), "");
        assert_eq!(faults(keyed(33)), "table `t`: the key has 33 columns; Postgres allows 32");
        let indexed = |columns: Vec<String>| faults(keyed(32).nullable("k32", ColumnType::I32).index(columns));
        assert_eq!(indexed(names(33).collect()), "table `t`: index 1 has 33 columns; Postgres allows 32");
        assert_eq!(indexed(Vec::new()), "table `t`: index 1 has no column");
        assert_eq!(indexed(vec!["k1".into(), "k1".into()]), "table `t`: index 1 names column `k1` twice");
        let many = (0..10_000).fold(keyed(1), |table, _| table.index(["k0"]));
        assert_eq!(faults(many), "table `t`: it has 10000 indexes; at most 9999 can be named");
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
