//! A change in words, for people.

use super::Change;
use crate::fold::{Cell, Cells, RowChange};
use crate::{Column, TableSpec, Value};

impl Change {
    /// What happens to which rows: `customer_orders (c1): add orders 1, set last_order_at 2024-05-20T14:30:00.000000Z`.
    /// `tables` are those of the projection. The text holds data of the event.
    pub fn described(&self, tables: &[TableSpec]) -> String {
        let table = &tables[self.table()];
        let name = table.name();
        match self {
            Change::Row { key, change: RowChange::Delete, .. } => format!("{name} ({}): delete", list(key)),
            Change::Row { key, change: RowChange::Upsert(cells), .. } => {
                format!("{name} ({}): {}", list(key), operations(cells, table, "create it if it is missing"))
            }
            Change::Row { key, change: RowChange::Update(cells), .. } => {
                format!("{name} ({}), if there is such a row: {}", list(key), operations(cells, table, NOTHING))
            }
            Change::Where { column, value, cells, .. } => {
                let column = table.data_columns()[*column].name();
                format!("{name}, each row with {column} {value}: {}", operations(cells, table, NOTHING))
            }
            Change::ReplaceChildren { parent, rows, .. } => {
                let plural = if rows.len() == 1 { "" } else { "s" };
                format!("{name} ({}, …): replace all rows by {} row{plural}", list(parent), rows.len())
            }
        }
    }
}

const NOTHING: &str = "change nothing";

/// The operations on the columns, or `none` where there is none.
fn operations(cells: &Cells, table: &TableSpec, none: &str) -> String {
    let operation = |(column, cell): (&Column, &Option<Cell>)| {
        let cell = cell.as_ref()?;
        let operand = cell.value().map_or_else(|| "items".to_owned(), Value::to_string);
        Some(format!("{} {} {operand}", cell.operation(), column.name()))
    };
    let operations: Vec<String> = table.data_columns().iter().zip(cells.as_slice()).filter_map(operation).collect();
    if operations.is_empty() { none.to_owned() } else { operations.join(", ") }
}

fn list(values: &[Value]) -> String {
    values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use crate::{Changes, ColumnType, TableSpec};

    #[test]
    fn each_change_names_its_rows_and_its_operations() {
        let lines = TableSpec::new("lines")
            .key("order_id", ColumnType::Text)
            .key("line_no", ColumnType::I64)
            .nullable("sku", ColumnType::Text);
        let orders = TableSpec::new("orders")
            .key("order_id", ColumnType::Text)
            .nullable("status", ColumnType::Text)
            .with_default("paid", ColumnType::I64, 0);
        let tables = [orders, lines];
        let mut changes = Changes::new(&tables);
        changes.upsert("orders", ["o1"]).set("status", "new").add("paid", 5);
        changes.upsert("orders", ["o2"]);
        changes.update("orders", ["o1"]).set("status", None::<String>);
        changes.delete("orders", ["o1"]);
        changes.update_where("orders", "status", "new").max("paid", 7);
        changes.replace_children("lines", ["o1"], [vec![1_i64.into(), "s1".into()]]);
        let described: Vec<String> =
            changes.finish().expect("valid").iter().map(|change| change.described(&tables)).collect();
        assert_eq!(
            described,
            [
                "orders (o1): set status new, add paid 5",
                "orders (o2): create it if it is missing",
                "orders (o1), if there is such a row: set status NULL",
                "orders (o1): delete",
                "orders, each row with status new: max paid 7",
                "lines (o1, …): replace all rows by 1 row",
            ]
        );
    }
}
