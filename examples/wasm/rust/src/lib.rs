//! The current state of each order of a shop, and its lines.

use serde::Deserialize;
use serde_json::value::RawValue;

use Operation::{Add, Set};

wit_bindgen::generate!({ path: "../../../files/wit" });

const SUMMARY: &str = "order_summary";
const LINES: &str = "order_lines";

struct OrderSummary;

export!(OrderSummary);

/// The data of an event. An amount stays the text of its number, because a float would not hold every one.
#[derive(Deserialize)]
struct Order<'e> {
    order_id: &'e str,
    #[serde(borrow)]
    customer: Customer<'e>,
    items: Vec<Item<'e>>,
    total_amount: &'e RawValue,
    refund_amount: Option<&'e RawValue>,
}

#[derive(Deserialize)]
struct Customer<'e> {
    id: &'e str,
    email: &'e str,
}

#[derive(Deserialize)]
struct Item<'e> {
    sku: &'e str,
    quantity: i64,
    price: &'e RawValue,
}

impl Guest for OrderSummary {
    fn project(event: Event) -> Result<Vec<Change>, String> {
        let order: Order = serde_json::from_str(&event.data).map_err(|error| error.to_string())?;
        let item_count: i64 = order.items.iter().map(|item| item.quantity).sum();
        let mut cells = vec![
            cell("customer_id", Set(text(order.customer.id))),
            cell("customer_email", Set(text(order.customer.email))),
            cell("status", Set(text(status(&event.type_)?))),
            cell("item_count", Set(Value::Integer(item_count))),
            cell("total_amount", Set(number(order.total_amount))),
            cell("updated_at", Set(text(&event.time))),
        ];
        match &*event.type_ {
            "ORDER_PLACED" => cells.push(cell("placed_at", Set(text(&event.time)))),
            "ORDER_REFUNDED" => {
                let amount = order.refund_amount.ok_or("missing field `refund_amount`")?;
                cells.push(cell("refunded_amount", Add(number(amount))));
            }
            _ => {}
        }
        let key = vec![text(order.order_id)];
        let mut changes = vec![Change::Upsert(Row { table: SUMMARY.into(), key, cells })];
        match &*event.type_ {
            "ORDER_PLACED" => changes.push(lines(&order, &order.items)),
            // A cancelled order has no lines.
            "ORDER_CANCELLED" => changes.push(lines(&order, &[])),
            _ => {}
        }
        Ok(changes)
    }
}

fn status(event_type: &str) -> Result<&'static str, String> {
    Ok(match event_type {
        "ORDER_PLACED" => "placed",
        "ORDER_PAID" => "paid",
        "ORDER_SHIPPED" => "shipped",
        "ORDER_CANCELLED" => "cancelled",
        "ORDER_REFUNDED" => "refunded",
        other => return Err(format!("`{other}` is not a type of order events")),
    })
}

fn lines(order: &Order, items: &[Item]) -> Change {
    let line = |(number_of_line, item): (i64, &Item)| {
        vec![Value::Integer(number_of_line), text(item.sku), Value::Integer(item.quantity), number(item.price)]
    };
    let rows = (1..).zip(items).map(line).collect();
    Change::ReplaceChildren(Children { table: LINES.into(), parent: vec![text(order.order_id)], rows })
}

fn cell(column: &str, operation: Operation) -> Cell {
    Cell { column: column.into(), operation }
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn number(number: &RawValue) -> Value {
    Value::Text(number.get().into())
}
