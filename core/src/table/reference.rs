//! References: columns that hold copies of the values of a row of another table.

use serde::{Deserialize, Serialize};

use super::{Column, Presence, TableSpec};
use crate::{Key, Value};

/// A reference from the rows of one table to the rows of another table of the same projection, with the columns that
/// are copied from there.
///
/// The store keeps the copies equal to the referenced row in the transaction that changes either row. A row that names
/// another key takes the values that stand there, and a referenced row that changes reaches every row that names it.
/// Where no referenced row exists, or a referencing column is NULL, the copies are NULL. Thus the copies are a function
/// of the two tables, and do not depend on the order in which the events of several partitions arrive.
///
/// ```
/// use readcast_core::{ColumnType, Reference, TableSpec};
///
/// let accounts = TableSpec::new("accounts")
///     .key("account_id", ColumnType::Text)
///     .nullable("owner_id", ColumnType::Text)
///     .nullable("owner_name", ColumnType::Text)
///     .reference(Reference::new(["owner_id"], "owners").copy_as("name", "owner_name"));
/// assert_eq!(accounts.validate(), Ok(()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The referencing columns.
    columns: Vec<String>,
    /// The name of the referenced table.
    table: String,
    /// The copied columns.
    copies: Vec<CopiedColumn>,
}

/// A column that holds the value of a column of the referenced row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CopiedColumn {
    /// The column of the referenced table.
    source: String,
    /// The column of this table.
    column: String,
}

impl Reference {
    /// A reference by `columns` to the row of `table` that has their values as its key. Key columns and data columns can
    /// refer; there is one for each key column of `table`, in the order of that key.
    pub fn new<C: Into<String>>(columns: impl IntoIterator<Item = C>, table: impl Into<String>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), table: table.into(), copies: Vec::new() }
    }

    /// Copies the data column `source` of the referenced row to `column`, a nullable data column of the same type that
    /// no change may write.
    #[must_use]
    pub fn copy_as(mut self, source: impl Into<String>, column: impl Into<String>) -> Self {
        self.copies.push(CopiedColumn { source: source.into(), column: column.into() });
        self
    }

    /// The referencing columns, in the order of the referenced table's key.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The name of the referenced table.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The name of each copied column in the referenced table, and in this table.
    pub fn copies(&self) -> impl Iterator<Item = (&str, &str)> {
        self.copies.iter().map(|copy| (copy.source.as_str(), copy.column.as_str()))
    }
}

impl TableSpec {
    /// Declares a reference to another table of the projection, and an index on the referencing columns unless the key
    /// begins with them. The referenced table must be declared before this one.
    #[must_use]
    pub fn reference(mut self, reference: Reference) -> Self {
        let key = self.key_columns().iter().map(Column::name);
        let is_key = key.take(reference.columns.len()).eq(reference.columns.iter().map(String::as_str));
        let has_index = self.indexes.iter().any(|index| index.starts_with(&reference.columns));
        if !is_key && !has_index {
            self.indexes.push(reference.columns.clone());
        }
        self.references.push(reference);
        self
    }

    /// The references to other tables.
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// The reference from which the data column at `place` is copied.
    pub fn copied_by(&self, place: usize) -> Option<&Reference> {
        let name = self.data_columns()[place].name();
        self.references.iter().find(|reference| reference.copies().any(|(_, column)| column == name))
    }

    /// Whether the column named `column` refers to a row of another table.
    pub(crate) fn refers(&self, column: &str) -> bool {
        self.references.iter().any(|reference| reference.columns.iter().any(|name| name == column))
    }
}

/// A [`Reference`] by indexes instead of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The index of the table that refers, among the projection's tables.
    pub table: usize,
    /// The index of the referenced table. It is less than `table`.
    pub referenced: usize,
    /// The indexes of the referencing columns among all columns, in the order of the referenced table's key.
    pub columns: Vec<usize>,
    /// The index of each copied column among the data columns of the referenced table, and of this table.
    pub copies: Vec<(usize, usize)>,
}

impl Link {
    /// The references between the tables of a projection, in the order of their declaration. A reference that
    /// [`Registry::validate`](crate::Registry::validate) refuses is left out.
    pub fn between(tables: &[TableSpec]) -> Vec<Self> {
        let of_table = |(place, table): (usize, &TableSpec)| -> Vec<Self> {
            table.references.iter().filter_map(|reference| Self::of(tables, place, reference)).collect()
        };
        tables.iter().enumerate().flat_map(of_table).collect()
    }

    fn of(tables: &[TableSpec], place: usize, reference: &Reference) -> Option<Self> {
        let table = &tables[place];
        let referenced = tables[..place].iter().position(|other| other.name == reference.table)?;
        let column = |name: &String| table.columns().iter().position(|column| column.name == *name);
        let copied = |(source, column)| Some((tables[referenced].data_index(source)?, table.data_index(column)?));
        let columns = reference.columns.iter().map(column).collect::<Option<_>>()?;
        let copies = reference.copies().map(copied).collect::<Option<_>>()?;
        Some(Self { table: place, referenced, columns, copies })
    }

    /// The key of the row to which a row refers. A key with NULL is that of no row.
    pub fn referenced_key(&self, key: &[Value], row: &[Value]) -> Key {
        self.columns.iter().map(|place| key.get(*place).unwrap_or_else(|| &row[place - key.len()]).clone()).collect()
    }
}

/// What is wrong with the references of `table` by themselves, a sentence each.
pub(super) fn problems(table: &TableSpec) -> Vec<String> {
    table.references.iter().enumerate().flat_map(|(place, reference)| problems_of(table, place, reference)).collect()
}

fn problems_of(table: &TableSpec, place: usize, reference: &Reference) -> Vec<String> {
    let to = &reference.table;
    let mut problems = Vec::new();
    if reference.copies.is_empty() {
        problems.push(format!("the reference to `{to}` copies no column"));
    }
    for name in &reference.columns {
        match table.columns().iter().find(|column| column.name() == name) {
            None => {
                problems.push(format!("the reference to `{to}` names column `{name}`, which the table does not have"))
            }
            Some(column) if matches!(column.presence(), Presence::Default(_)) => {
                problems
                    .push(format!("column `{name}`, which refers to `{to}`, has a default: declare it without one"));
            }
            Some(_) => {}
        }
    }
    for copy in &reference.copies {
        let name = &copy.column;
        let copied_before = |other: &Reference| other.copies().any(|(_, column)| column == name);
        let refuse = match table.data_index(name).map(|place| &table.data_columns()[place]) {
            None => "is not a data column of this table",
            Some(column) if *column.presence() != Presence::Nullable => {
                "is not nullable: the referenced row may be missing"
            }
            Some(_) if table.refers(name) => {
                "refers to a table itself: copy the value from there along with the others"
            }
            Some(_) if table.newer_by.as_ref().is_some_and(|(at, tie)| [at, tie].contains(&name)) => {
                "is one of the columns that `newer` compares"
            }
            Some(_) if table.references[..place].iter().any(copied_before) => "is copied by another reference already",
            Some(_) if reference.copies().filter(|(_, column)| column == name).count() > 1 => "is copied twice",
            Some(_) => continue,
        };
        problems.push(format!("column `{name}`, copied from `{to}`, {refuse}"));
    }
    problems
}

/// What is wrong with the references between the tables of `projection`, a sentence each.
pub(crate) fn problems_between(projection: &str, tables: &[TableSpec]) -> Vec<String> {
    let mut problems = Vec::new();
    for (place, table) in tables.iter().enumerate() {
        for reference in &table.references {
            let sentence =
                |what: String| format!("table `{}`: the reference to `{}` {what}", table.name, reference.table);
            match tables.iter().position(|other| other.name == reference.table) {
                Some(found) if found < place => {
                    problems.extend(mismatches(table, reference, &tables[found]).into_iter().map(sentence));
                }
                Some(_) => problems.push(sentence(
                    "needs the referenced table to be declared before this one, which also excludes circles".into(),
                )),
                None => problems.push(sentence(format!(
                    "names no table of projection `{projection}`. A reference holds within one projection, because each \
                     projection commits on its own: write both tables from one projection"
                ))),
            }
        }
    }
    problems
}

fn mismatches(table: &TableSpec, reference: &Reference, referenced: &TableSpec) -> Vec<String> {
    let typed = |columns: &[Column], name: &str| {
        columns.iter().find(|column| column.name == name).map(|column| column.column_type)
    };
    let mut found = Vec::new();
    let key = referenced.key_columns();
    if key.len() != reference.columns.len() {
        found.push(format!("has {} columns, but its key has {}", reference.columns.len(), key.len()));
    }
    for (name, key) in reference.columns.iter().zip(key) {
        if let Some(own) = typed(table.columns(), name).filter(|own| *own != key.column_type) {
            found.push(format!("compares `{name}` ({own}) with `{}` ({})", key.name, key.column_type));
        }
    }
    for (source, column) in reference.copies() {
        match (typed(referenced.data_columns(), source), typed(table.columns(), column)) {
            (None, _) => found.push(format!("copies `{source}`, which is not a data column there")),
            (Some(there), Some(here)) if there != here => {
                found.push(format!("copies `{source}` ({there}) to `{column}` ({here}): the types must be equal"));
            }
            _ => {}
        }
    }
    found
}
