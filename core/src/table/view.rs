//! Views for readers that join tables of one projection by key.

use serde::{Deserialize, Serialize};

use super::{Column, TableSpec, is_identifier, names};

/// A view for readers: the rows of the table that declares it, beside columns of other rows of the same projection.
///
/// It shows what should not be copied into each row, as [`Reference`](super::Reference) does: the rows are joined when they
/// are read. A generation has its own views, and readers see them from the swap on.
///
/// ```
/// use readcast_core::{ColumnType, Join, ReadView, TableSpec};
///
/// let accounts = TableSpec::new("accounts")
///     .key("account_id", ColumnType::I64)
///     .nullable("owner_id", ColumnType::I64)
///     .with_default("balance", ColumnType::Decimal { scale: 2 }, 0)
///     .view(
///         ReadView::new("account_details")
///             .column("account_id")
///             .column_as("balance", "amount")
///             .join(Join::new(["owner_id"], "owners").column_as("name", "owner_name")),
///     );
/// assert_eq!(accounts.validate(), Ok(()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadView {
    name: String,
    columns: Vec<ViewColumn>,
    joins: Vec<Join>,
}

/// The columns of a row of another table, which columns of the view's own table name by its key. They are NULL where there
/// is no such row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    on: Vec<String>,
    table: String,
    columns: Vec<ViewColumn>,
}

/// A column, and its name in the view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ViewColumn {
    column: String,
    shown_as: String,
}

impl ViewColumn {
    fn new(column: impl Into<String>, shown_as: impl Into<String>) -> Self {
        Self { column: column.into(), shown_as: shown_as.into() }
    }
}

impl ReadView {
    /// A view without columns. `name` is the name that readers use; see [`TableSpec::new`].
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), columns: Vec::new(), joins: Vec::new() }
    }

    /// Shows a column of the table.
    #[must_use]
    pub fn column(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.column_as(name.clone(), name)
    }

    /// Shows a column of the table under another name.
    #[must_use]
    pub fn column_as(mut self, name: impl Into<String>, shown_as: impl Into<String>) -> Self {
        self.columns.push(ViewColumn::new(name, shown_as));
        self
    }

    /// Shows columns of another table of the projection, behind those of this one.
    #[must_use]
    pub fn join(mut self, join: Join) -> Self {
        self.joins.push(join);
        self
    }

    /// The name that readers use.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Join {
    /// A join with the row of `table` whose key the columns `on` of the view's own table hold, in the order of that key.
    pub fn new<C: Into<String>>(on: impl IntoIterator<Item = C>, table: impl Into<String>) -> Self {
        Self { on: on.into_iter().map(Into::into).collect(), table: table.into(), columns: Vec::new() }
    }

    /// Shows a column of that row.
    #[must_use]
    pub fn column(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.column_as(name.clone(), name)
    }

    /// Shows a column of that row under another name.
    #[must_use]
    pub fn column_as(mut self, name: impl Into<String>, shown_as: impl Into<String>) -> Self {
        self.columns.push(ViewColumn::new(name, shown_as));
        self
    }
}

impl TableSpec {
    /// Declares a view of this table for readers.
    #[must_use]
    pub fn view(mut self, view: ReadView) -> Self {
        self.views.push(view);
        self
    }

    /// The views of this table for readers.
    pub fn views(&self) -> &[ReadView] {
        &self.views
    }
}

/// What readers see under one stable name: a table, or a [`ReadView`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown<'a> {
    /// The stable name.
    pub name: &'a str,
    /// The table whose rows are shown.
    pub table: &'a TableSpec,
    /// The tables that are joined, each with the columns of `table` that hold its key.
    pub joins: Vec<(&'a TableSpec, &'a [String])>,
    /// The columns in order.
    pub columns: Vec<ShownColumn<'a>>,
}

/// A column that readers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownColumn<'a> {
    /// The name in the view, or of the table's column.
    pub name: &'a str,
    /// The column of the table.
    pub column: &'a Column,
    /// Which table has it: 0 for the shown table, from 1 on the joined ones.
    pub from: usize,
}

impl<'a> Shown<'a> {
    /// Everything that readers see of the tables of a projection: each table, and its views behind it. A view that
    /// [`Registry::validate`](crate::Registry::validate) refuses is left out.
    pub fn all(tables: &'a [TableSpec]) -> Vec<Self> {
        let views = |table: &'a TableSpec| table.views.iter().filter_map(|view| Self::of_view(tables, table, view));
        tables.iter().flat_map(|table| std::iter::once(Self::of_table(table)).chain(views(table))).collect()
    }

    /// A table itself.
    pub fn of_table(table: &'a TableSpec) -> Self {
        let columns = table.columns.iter().map(|column| ShownColumn { name: &column.name, column, from: 0 });
        Self { name: &table.name, table, joins: Vec::new(), columns: columns.collect() }
    }

    /// Whether this is a table and not a view of one.
    pub fn is_table(&self) -> bool {
        self.name == self.table.name
    }

    fn of_view(tables: &'a [TableSpec], table: &'a TableSpec, view: &'a ReadView) -> Option<Self> {
        let mut joins = Vec::new();
        let mut columns = shown(table, &view.columns, 0)?;
        for (join, from) in view.joins.iter().zip(1..) {
            let joined = tables.iter().find(|other| other.name == join.table)?;
            joins.push((joined, join.on.as_slice()));
            columns.extend(shown(joined, &join.columns, from)?);
        }
        Some(Self { name: &view.name, table, joins, columns })
    }
}

fn shown<'a>(table: &'a TableSpec, columns: &'a [ViewColumn], from: usize) -> Option<Vec<ShownColumn<'a>>> {
    let shown = |shown: &'a ViewColumn| {
        let column = table.columns.iter().find(|column| column.name == shown.column)?;
        Some(ShownColumn { name: &shown.shown_as, column, from })
    };
    columns.iter().map(shown).collect()
}

/// What is wrong with the views of the tables of `projection`, a sentence each.
pub(crate) fn problems(projection: &str, tables: &[TableSpec]) -> Vec<String> {
    let views = tables.iter().flat_map(|table| table.views.iter().map(move |view| (table, view)));
    views
        .flat_map(|(table, view)| {
            let found = problems_of(projection, tables, table, view).into_iter();
            found.map(|sentence| format!("view `{}` of table `{}`: {sentence}", view.name, table.name))
        })
        .collect()
}

fn problems_of(projection: &str, tables: &[TableSpec], table: &TableSpec, view: &ReadView) -> Vec<String> {
    let mut found = Vec::new();
    if !is_identifier(&view.name) || view.name.len() > TableSpec::MAX_NAME_BYTES {
        let most = TableSpec::MAX_NAME_BYTES;
        found.push(format!("the name is not of the form [a-z_][a-z0-9_]* with at most {most} bytes"));
    }
    found.extend(names::table_conflict(&view.name).map(ToOwned::to_owned));
    found.extend(unknown(table, &view.columns));
    for join in &view.joins {
        match tables.iter().find(|other| other.name == join.table) {
            Some(joined) => {
                found.extend(unknown(joined, &join.columns));
                found.extend(mismatch(table, join, joined));
            }
            None => found.push(format!(
                "it joins `{}`, which is no table of projection `{projection}`: a view holds within one projection, because \
                 each has generations of its own",
                join.table
            )),
        }
    }
    let shown = || view.columns.iter().chain(view.joins.iter().flat_map(|join| &join.columns));
    if shown().next().is_none() {
        found.push("it shows no column".into());
    }
    for (place, ViewColumn { shown_as, .. }) in shown().enumerate() {
        if !is_identifier(shown_as) || shown_as.len() > TableSpec::MAX_COLUMN_NAME_BYTES {
            found.push(format!("`{shown_as}` is no name of the form [a-z_][a-z0-9_]* with at most 63 bytes"));
        }
        found.extend(
            names::column_conflict(shown_as).map(|reason| format!("`{shown_as}` needs another name: {reason}")),
        );
        if shown().take(place).any(|other| other.shown_as == *shown_as) {
            found.push(format!("two columns are shown as `{shown_as}`"));
        }
    }
    found
}

fn unknown<'a>(table: &'a TableSpec, columns: &'a [ViewColumn]) -> impl Iterator<Item = String> + 'a {
    let is_unknown = |shown: &&ViewColumn| table.columns.iter().all(|column| column.name != shown.column);
    columns.iter().filter(is_unknown).map(|shown| format!("table `{}` has no column `{}`", table.name, shown.column))
}

/// Why the columns of the join do not hold a key of the joined table.
fn mismatch(table: &TableSpec, join: &Join, joined: &TableSpec) -> Option<String> {
    let typed =
        |name: &String| table.columns.iter().find(|column| column.name == *name).map(|column| column.column_type);
    let own: Vec<_> = join.on.iter().map(typed).collect();
    let key: Vec<_> = joined.key_columns().iter().map(|column| Some(column.column_type)).collect();
    (own != key).then(|| {
        let (on, key) =
            (join.on.join(", "), joined.key_columns().iter().map(Column::name).collect::<Vec<_>>().join(", "));
        format!(
            "it joins ({on}) with the key ({key}) of `{}`: number and types of the columns must be equal",
            joined.name
        )
    })
}
