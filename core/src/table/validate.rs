//! The rules for a declaration. A rule of one store holds for all: a projection must not depend on the store of its
//! tables.

use super::{Column, ColumnType, Presence, TableSpec, names, reference, width};
use crate::storage;

impl TableSpec {
    /// Checks the declaration.
    ///
    /// # Errors
    /// Everything that is wrong, a sentence each, with the table's name. What one store does not support is wrong for
    /// every store.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut problems = Problems { table: &self.name, sentences: Vec::new() };
        self.check_name(&mut problems);
        for (place, column) in self.columns.iter().enumerate() {
            self.check_column(place, column, &mut problems);
        }
        self.check_key_and_indexes(&mut problems);
        self.check_width(&mut problems);
        self.check_newer_by(&mut problems);
        self.check_storage(&mut problems);
        reference::problems(self).into_iter().for_each(|sentence| problems.add(sentence));
        if problems.sentences.is_empty() { Ok(()) } else { Err(problems.sentences) }
    }

    fn check_name(&self, problems: &mut Problems<'_>) {
        problems.unless(is_identifier(&self.name), || "the name is not of the form [a-z_][a-z0-9_]*".into());
        problems.unless(self.name.len() <= Self::MAX_NAME_BYTES, || {
            format!(
                "the name has {} bytes; at most {} are allowed: Postgres allows 63, and suffixes take 15",
                self.name.len(),
                Self::MAX_NAME_BYTES
            )
        });
        if let Some(reason) = names::table_conflict(&self.name) {
            problems.add(reason.into());
        }
    }

    fn check_column(&self, place: usize, column: &Column, problems: &mut Problems<'_>) {
        let name = &column.name;
        problems.unless(is_identifier(name), || format!("column `{name}` is not of the form [a-z_][a-z0-9_]*"));
        problems.unless(name.len() <= Self::MAX_COLUMN_NAME_BYTES, || {
            format!("column `{name}` has {} bytes; Postgres allows 63", name.len())
        });
        if let Some(reason) = names::column_conflict(name) {
            problems.add(format!("column `{name}` needs another name: {reason}"));
        }
        let first = self.columns.iter().position(|other| other.name == *name);
        problems.unless(first == Some(place), || format!("column `{name}` is declared twice"));
        let keyable = !matches!(column.column_type, ColumnType::F64 | ColumnType::Json);
        problems.unless(place >= self.key_len || keyable, || {
            format!("key column `{name}` has type {}, which keys do not support", column.column_type)
        });
        if let ColumnType::Decimal { scale } = column.column_type {
            problems.unless(scale <= 28, || format!("column `{name}` has a scale of {scale}; at most 28 is allowed"));
        }
        if let Presence::Default(value) = &column.presence
            && let Err(error) = value.clone().fit(column)
        {
            problems.add(format!("the default of column `{name}` does not fit: {error}"));
        }
    }

    fn check_key_and_indexes(&self, problems: &mut Problems<'_>) {
        let most = Self::MAX_INDEX_COLUMNS;
        problems.unless(self.key_len > 0, || "the table has no key column".into());
        problems
            .unless(self.key_len <= most, || format!("the key has {} columns; Postgres allows {most}", self.key_len));
        problems.unless(self.indexes.len() <= Self::MAX_INDEXES, || {
            format!("the table has {} indexes; at most {} are allowed", self.indexes.len(), Self::MAX_INDEXES)
        });
        for (index, number) in self.indexes.iter().zip(1..) {
            problems.unless(!index.is_empty(), || format!("index {number} has no column"));
            problems.unless(index.len() <= most, || {
                format!("index {number} has {} columns; Postgres allows {most}", index.len())
            });
            for (place, name) in index.iter().enumerate() {
                let known = self.columns.iter().any(|column| column.name == *name);
                problems
                    .unless(known, || format!("index {number} names column `{name}`, which the table does not have"));
                problems
                    .unless(!index[..place].contains(name), || format!("index {number} names column `{name}` twice"));
            }
        }
    }

    fn check_width(&self, problems: &mut Problems<'_>) {
        let (columns, least) = (self.columns.len(), width::least_bytes(&self.columns));
        problems.unless(columns <= Self::MAX_COLUMNS, || {
            format!("the table has {columns} columns; Postgres allows {}: use several tables", Self::MAX_COLUMNS)
        });
        problems.unless(least <= Self::MAX_ROW_BYTES, || {
            format!(
                "a row with a value in each of its {columns} columns takes at least {least} bytes; Postgres allows {}: \
                 use several tables",
                Self::MAX_ROW_BYTES
            )
        });
    }

    fn check_newer_by(&self, problems: &mut Problems<'_>) {
        let Some((at, tie)) = &self.newer_by else { return };
        let Some((place, _)) = self.newer_columns() else {
            return problems.add(format!("newer_by names `{at}` and `{tie}`, but not both are data columns"));
        };
        let defaulted = matches!(self.data_columns()[place].presence, Presence::Default(_));
        problems.unless(!defaulted, || {
            format!("column `{at}`, which newer_by compares first, has a default: declare it without one")
        });
    }

    fn check_storage(&self, problems: &mut Problems<'_>) {
        for (place, (parameter, value)) in self.storage.iter().enumerate() {
            let first = self.storage.iter().position(|(other, _)| other == parameter);
            problems.unless(first == Some(place), || format!("the storage parameter `{parameter}` is declared twice"));
            if let Some(problem) = storage::problem(parameter, value) {
                problems.add(problem);
            }
        }
    }
}

/// The problems of one table's declaration.
struct Problems<'a> {
    table: &'a str,
    sentences: Vec<String>,
}

impl Problems<'_> {
    fn add(&mut self, sentence: String) {
        self.sentences.push(format!("table `{}`: {sentence}", self.table));
    }

    /// Adds `sentence` if the rule does not hold.
    fn unless(&mut self, holds: bool, sentence: impl FnOnce() -> String) {
        if !holds {
            self.add(sentence());
        }
    }
}

/// Whether `name` is an identifier in every store without quotes, however the store folds case.
pub(crate) fn is_identifier(name: &str) -> bool {
    let tail = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit()) && name.bytes().all(tail)
}
