//! The changes that a component returns.

use readcast_core::{Changes, Column, ColumnType, Json, RowWriter, TableSpec, Value as ColumnValue};

use super::bindings::{Cell, Change, Children, Operation, Row, RowKey, Selection, Value};
use crate::datum::{Datum, to_column_with};

type Outcome<T> = Result<T, String>;

/// Adds what a component returned to `changes`. A name that is unknown stays for `changes` to report.
pub(super) fn record(made: Vec<Change>, tables: &[TableSpec], changes: &mut Changes<'_>) -> Outcome<()> {
    for change in made {
        match change {
            Change::Upsert(Row { table, key, cells }) => {
                let table = Table::named(&table, tables);
                write(changes.upsert(table.name, table.key(key)?), &table, cells)?;
            }
            Change::Update(Row { table, key, cells }) => {
                let table = Table::named(&table, tables);
                write(changes.update(table.name, table.key(key)?), &table, cells)?;
            }
            Change::Delete(RowKey { table, key }) => {
                let table = Table::named(&table, tables);
                changes.delete(table.name, table.key(key)?);
            }
            Change::UpdateWhere(Selection { table, column, value, cells }) => {
                let table = Table::named(&table, tables);
                let value = table.value(table.data_column(&column), value)?;
                write(changes.update_where(table.name, &column, value), &table, cells)?;
            }
            Change::ReplaceChildren(Children { table, parent, rows }) => {
                let table = Table::named(&table, tables);
                let rows = rows.into_iter().map(|row| table.child(parent.len(), row)).collect::<Outcome<Vec<_>>>()?;
                changes.replace_children(table.name, table.key(parent)?, rows);
            }
        }
    }
    Ok(())
}

/// A table by its name, which the projection may not declare.
struct Table<'t> {
    name: &'t str,
    spec: Option<&'t TableSpec>,
}

impl<'t> Table<'t> {
    fn named(name: &'t str, tables: &'t [TableSpec]) -> Self {
        Self { name, spec: tables.iter().find(|table| table.name() == name) }
    }

    fn key_columns(&self) -> &'t [Column] {
        self.spec.map(TableSpec::key_columns).unwrap_or_default()
    }

    fn data_column(&self, name: &str) -> Option<&'t Column> {
        self.spec?.data_columns().iter().find(|column| column.name() == name)
    }

    /// The values of the first columns of the key.
    fn key(&self, values: Vec<Value>) -> Outcome<Vec<ColumnValue>> {
        self.values(self.key_columns().iter(), values)
    }

    /// The values of a row after the first `parents` of its key.
    fn child(&self, parents: usize, values: Vec<Value>) -> Outcome<Vec<ColumnValue>> {
        let Some(spec) = self.spec else { return Ok(Vec::new()) };
        let own = spec.data_columns().iter().enumerate().filter(|(place, _)| spec.copied_by(*place).is_none());
        self.values(spec.key_columns().iter().skip(parents).chain(own.map(|(_, column)| column)), values)
    }

    fn values(&self, columns: impl Iterator<Item = &'t Column>, values: Vec<Value>) -> Outcome<Vec<ColumnValue>> {
        let columns = columns.map(Some).chain(std::iter::repeat(None));
        values.into_iter().zip(columns).map(|(value, column)| self.value(column, value)).collect()
    }

    /// The value as the column holds it. Without a column it is NULL, because the change is refused for the column.
    fn value(&self, column: Option<&Column>, value: Value) -> Outcome<ColumnValue> {
        let Some(column) = column else { return Ok(ColumnValue::Null) };
        let fitted = match (column.column_type(), value) {
            (ColumnType::Json, Value::Text(json)) => {
                Json::parse(&json).map(ColumnValue::Json).map_err(|e| e.to_string())
            }
            (_, Value::Null) => return Ok(ColumnValue::Null),
            (column, Value::Boolean(value)) => read(Datum::Bool(value), column),
            (column, Value::Integer(number)) => read(Datum::Int(number), column),
            (column, Value::Float(number)) => read(Datum::Double(number), column),
            (column, Value::Text(text)) => read(Datum::Text(text.into()), column),
            (column, Value::Bytes(bytes)) => read(Datum::Bytes(bytes.into()), column),
        };
        fitted.map_err(|error| format!("table `{}`: column `{}`: {error}", self.name, column.name()))
    }
}

/// As the rules of files read values, without advice for expressions.
fn read(value: Datum<'_>, column: ColumnType) -> Outcome<ColumnValue> {
    to_column_with(value, column, |_| "")
}

fn write(mut row: RowWriter<'_>, table: &Table<'_>, cells: Vec<Cell>) -> Outcome<()> {
    let mut newer = Vec::new();
    for Cell { column, operation } in cells {
        let value = |value| table.value(table.data_column(&column), value);
        row = match operation {
            Operation::Set(to) => row.set(&column, value(to)?),
            Operation::Add(number) => row.add(&column, value(number)?),
            Operation::Max(other) => row.max(&column, value(other)?),
            Operation::Min(other) => row.min(&column, value(other)?),
            Operation::Append(item) => {
                let item = Json::parse(&item);
                let in_column = |error| format!("table `{}`: column `{column}`: {error}", table.name);
                row.append(&column, item.map_err(in_column)?)
            }
            Operation::Newer(to) => {
                let to = value(to)?;
                newer.push((column, to));
                row
            }
        };
    }
    if newer.is_empty() { Ok(()) } else { write_newer(row, table, newer) }
}

fn write_newer(row: RowWriter<'_>, table: &Table<'_>, mut cells: Vec<(String, ColumnValue)>) -> Outcome<()> {
    let compared = table.spec.and_then(|spec| Some((spec, spec.newer_columns()?)));
    let Some((spec, (at, tie))) = compared else {
        row.newer(ColumnValue::Null, ColumnValue::Null, []);
        return Ok(());
    };
    let mut take = |place: usize| {
        let name = spec.data_columns()[place].name();
        let found = cells.iter().position(|(column, _)| column == name).map(|found| cells.remove(found).1);
        found.ok_or_else(|| format!("table `{}`: a change by `newer` must set column `{name}` by `newer`", table.name))
    };
    let (at, tie) = (take(at)?, take(tie)?);
    row.newer(at, tie, cells.iter().map(|(column, value)| (column.as_str(), value.clone())));
    Ok(())
}
