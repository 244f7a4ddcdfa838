//! `order_summary` and `order_lines`: the current state of each order, and its lines.

use readcast_core::{Changes, ColumnType, Decimal, Envelope, Projection, ProjectionError, TableSpec, Value};
use serde::Deserialize;

use crate::order::{CANCELLED, Item, PAID, PLACED, REFUNDED, Refund, SHIPPED, TOPIC};

const SUMMARY: &str = "order_summary";
const LINES: &str = "order_lines";
const MONEY: ColumnType = ColumnType::Decimal { scale: 2 };

/// The current state of each order, and its lines.
pub struct OrderSummary;

#[derive(Deserialize)]
struct Order {
    order_id: String,
    customer: Customer,
    items: Vec<Item>,
    total_amount: Decimal,
}

#[derive(Deserialize)]
struct Customer {
    id: String,
    email: String,
}

impl Projection for OrderSummary {
    fn name(&self) -> &str {
        "order_summary"
    }

    fn topics(&self) -> &[&str] {
        &[TOPIC]
    }

    fn event_types(&self) -> &[&str] {
        &[PLACED, PAID, SHIPPED, CANCELLED, REFUNDED]
    }

    fn tables(&self) -> Vec<TableSpec> {
        let summary = TableSpec::new(SUMMARY)
            .key("order_id", ColumnType::Text)
            .column("customer_id", ColumnType::Text)
            .column("customer_email", ColumnType::Text)
            .column("status", ColumnType::Text)
            .column("item_count", ColumnType::I64)
            .column("total_amount", MONEY)
            .with_default("refunded_amount", MONEY, 0)
            .nullable("placed_at", ColumnType::Timestamp)
            .column("updated_at", ColumnType::Timestamp)
            .index(["customer_id"]);
        let lines = TableSpec::new(LINES)
            .key("order_id", ColumnType::Text)
            .key("line_no", ColumnType::I32)
            .column("sku", ColumnType::Text)
            .column("quantity", ColumnType::I32)
            .column("price", MONEY)
            .index(["sku"]);
        vec![summary, lines]
    }

    fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        let order: Order = event.data()?;
        let status = match &*event.event_type {
            PLACED => "placed",
            PAID => "paid",
            SHIPPED => "shipped",
            CANCELLED => "cancelled",
            REFUNDED => "refunded",
            other => return Err(format!("`{other}` is not a type of order events").into()),
        };
        let item_count: i64 = order.items.iter().map(|item| i64::from(item.quantity)).sum();
        let summary = changes
            .upsert(SUMMARY, [order.order_id.as_str()])
            .set("customer_id", order.customer.id)
            .set("customer_email", order.customer.email)
            .set("status", status)
            .set("item_count", item_count)
            .set("total_amount", order.total_amount)
            .set("updated_at", event.timestamp);
        match &*event.event_type {
            PLACED => {
                summary.set("placed_at", event.timestamp);
                changes.replace_children(LINES, [order.order_id], lines(order.items));
            }
            CANCELLED => changes.replace_children(LINES, [order.order_id], []),
            REFUNDED => {
                let Refund { refund_amount } = event.data()?;
                summary.add("refunded_amount", refund_amount);
            }
            _ => {}
        }
        Ok(())
    }
}

fn lines(items: Vec<Item>) -> impl Iterator<Item = Vec<Value>> {
    (1..).zip(items).map(|(number, item): (i32, Item)| {
        vec![number.into(), item.sku.into(), item.quantity.into(), item.price.into()]
    })
}

#[cfg(test)]
mod tests {
    use readcast_core::testing::{event, given, try_given};

    use super::*;

    const ORDER: &str = r#"{"order_id":"ord_102","customer":{"id":"cust_55","email":"dev@example.com"},
        "items":[{"sku":"PROD-001","quantity":2,"price":49.99},{"sku":"PROD-002","quantity":1,"price":0.10}],
        "total_amount":100.08,"refund_amount":0.08}"#;

    #[test]
    fn an_order_is_shown_as_its_last_event_left_it() {
        given(OrderSummary, [event(PLACED, ORDER), event(PAID, ORDER), event(SHIPPED, ORDER)])
            .then(
                "order_summary",
                "order_id | customer_id | status  | item_count | total_amount | refunded_amount | placed_at
                 ord_102  | cust_55     | shipped | 3          | 100.08       | 0.00            | 2024-01-01T00:00:00.000000Z",
            )
            .then(
                "order_lines",
                "order_id | line_no | sku      | quantity | price
                 ord_102  | 1       | PROD-001 | 2        | 49.99
                 ord_102  | 2       | PROD-002 | 1        | 0.10",
            );
    }

    #[test]
    fn refunds_add_up() {
        given(OrderSummary, [event(PLACED, ORDER), event(REFUNDED, ORDER), event(REFUNDED, ORDER)])
            .then("order_summary", "status | refunded_amount\n refunded | 0.16");
    }

    #[test]
    fn a_cancelled_order_has_no_lines() {
        given(OrderSummary, [event(PLACED, ORDER), event(CANCELLED, ORDER)])
            .then("order_summary", "status\n cancelled")
            .then_empty("order_lines");
    }

    #[test]
    fn an_order_whose_placing_was_never_seen_has_no_placed_at() {
        given(OrderSummary, [event(PAID, ORDER)]).then("order_summary", "status | placed_at\n paid | NULL");
    }

    #[test]
    fn a_missing_field_is_poison_that_names_it() {
        for field in ["order_id", "email", "total_amount", "quantity", "price", "sku", "items", "customer"] {
            let data = ORDER.replacen(&format!("\"{field}\""), "\"other\"", 1);
            let poison = try_given(OrderSummary, [event(PLACED, &data)]).expect_err(field);
            assert!(poison.contains(&format!("`{field}`")), "{poison}");
        }
        let data = ORDER.replace("refund_amount", "other");
        assert!(try_given(OrderSummary, [event(REFUNDED, &data)]).is_err());
        assert!(try_given(OrderSummary, [event(PAID, &data)]).is_ok());
    }

    #[test]
    fn an_amount_with_a_third_decimal_is_poison_not_rounded() {
        let poison =
            try_given(OrderSummary, [event(PLACED, &ORDER.replace("100.08", "100.085"))]).expect_err("100.085");
        assert!(poison.contains("`total_amount`"), "{poison}");
    }
}
