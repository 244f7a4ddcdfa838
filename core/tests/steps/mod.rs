//! The inputs of the laws: tables with every kind of column, and steps that change them through the public [`Changes`].
//! `scene` generates random steps, `values` random values.

mod scene;
mod values;

use std::sync::LazyLock;

pub(crate) use scene::{commuting_steps, composable_steps, steps};
pub(crate) use values::Numbers;

use readcast_core::{Change, Changes, ColumnType, Json, RowWriter, TableSpec, Timestamp, Value};

/// The tables of the laws. Static, because `newer` takes static names of columns.
pub(crate) static TABLES: LazyLock<Vec<TableSpec>> = LazyLock::new(|| {
    let money = ColumnType::Decimal { scale: 2 };
    vec![
        TableSpec::new("wide")
            .key("id", ColumnType::Text)
            .column("label", ColumnType::Text)
            .nullable("small", ColumnType::I32)
            .with_default("count", ColumnType::I64, 1)
            .nullable("paid", money)
            .with_default("owed", money, 0)
            .with_default("seen", ColumnType::Timestamp, time(2))
            .nullable("notes", ColumnType::Json)
            .with_default("log", ColumnType::Json, Json::empty_array())
            .nullable("blob", ColumnType::Bytes)
            .nullable("at", ColumnType::Timestamp)
            .nullable("tie", ColumnType::I32)
            .newer_by("at", "tie"),
        TableSpec::new("latest")
            .key("id", ColumnType::I64)
            .column("at", ColumnType::I64)
            .column("tie", ColumnType::Text)
            .column("state", ColumnType::Text)
            .with_default("moves", ColumnType::I32, 0)
            .newer_by("at", "tie"),
        TableSpec::new("lines")
            .key("parent", ColumnType::Text)
            .key("line", ColumnType::I32)
            .column("price", money)
            .nullable("units", ColumnType::I64),
        TableSpec::new("leaves")
            .key("tree", ColumnType::Text)
            .key("branch", ColumnType::I32)
            .key("leaf", ColumnType::I32)
            .with_default("size", ColumnType::I32, 7),
    ]
});

/// One call on [`Changes`].
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Upsert(&'static str, Vec<Value>, Vec<Write>),
    Update(&'static str, Vec<Value>, Vec<Write>),
    Delete(&'static str, Vec<Value>),
    UpdateWhere(&'static str, &'static str, Value, Vec<Write>),
    ReplaceChildren(&'static str, Vec<Value>, Vec<Vec<Value>>),
}

/// One call on [`RowWriter`].
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Set(&'static str, Value),
    Add(&'static str, Value),
    Max(&'static str, Value),
    Min(&'static str, Value),
    Append(&'static str, Json),
    Newer(Value, Value, Vec<(&'static str, Value)>),
}

/// The changes of these steps. A step that [`Changes`] refuses, such as `add` after `max`, has none.
pub(crate) fn changes(steps: &[Step]) -> Vec<Change> {
    steps.iter().flat_map(|step| step.changes().unwrap_or_default()).collect()
}

impl Step {
    fn changes(&self) -> Option<Vec<Change>> {
        let mut changes = Changes::new(&TABLES);
        match self.clone() {
            Step::Upsert(table, key, writes) => write(changes.upsert(table, key), writes),
            Step::Update(table, key, writes) => write(changes.update(table, key), writes),
            Step::Delete(table, key) => changes.delete(table, key),
            Step::UpdateWhere(table, column, value, writes) => {
                write(changes.update_where(table, column, value), writes);
            }
            Step::ReplaceChildren(table, parent, rows) => changes.replace_children(table, parent, rows),
        }
        changes.finish().ok()
    }
}

fn write(row: RowWriter<'_>, writes: Vec<Write>) {
    writes.into_iter().fold(row, |row, write| match write {
        Write::Set(column, value) => row.set(column, value),
        Write::Add(column, number) => row.add(column, number),
        Write::Max(column, value) => row.max(column, value),
        Write::Min(column, value) => row.min(column, value),
        Write::Append(column, item) => row.append(column, item),
        Write::Newer(at, tie, cells) => row.newer(at, tie, cells),
    });
}

pub(crate) fn time(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000).expect("a year that can be written")
}
