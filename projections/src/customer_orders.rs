//! `customer_orders`: orders and spending of each customer. The orders of a customer come from several partitions, so
//! every change is an addition or a maximum, which is independent of the order of events.

use readcast_core::{Changes, ColumnType, Decimal, Envelope, Projection, ProjectionError, TableSpec};
use serde::Deserialize;

use crate::order::{CANCELLED, PLACED, REFUNDED, Refund, TOPIC};

const CUSTOMERS: &str = "customer_orders";

/// Orders and spending of each customer.
pub struct CustomerOrders;

#[derive(Deserialize)]
struct Order {
    customer: Customer,
    total_amount: Decimal,
}

#[derive(Deserialize)]
struct Customer {
    id: String,
}

impl Projection for CustomerOrders {
    fn name(&self) -> &str {
        "customer_orders"
    }

    fn topics(&self) -> &[&str] {
        &[TOPIC]
    }

    fn event_types(&self) -> &[&str] {
        &[PLACED, CANCELLED, REFUNDED]
    }

    fn tables(&self) -> Vec<TableSpec> {
        vec![
            TableSpec::new(CUSTOMERS)
                .key("customer_id", ColumnType::Text)
                .with_default("orders", ColumnType::I64, 0)
                .with_default("cancelled", ColumnType::I64, 0)
                .with_default("spent", ColumnType::Decimal { scale: 2 }, 0)
                .nullable("last_order_at", ColumnType::Timestamp),
        ]
    }

    fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        let Order { customer, total_amount } = event.data()?;
        let row = changes.upsert(CUSTOMERS, [customer.id]);
        match &*event.event_type {
            PLACED => row.add("orders", 1).add("spent", total_amount).max("last_order_at", event.timestamp),
            CANCELLED => row.add("cancelled", 1).add("spent", -total_amount),
            REFUNDED => row.add("spent", -event.data::<Refund>()?.refund_amount),
            other => return Err(format!("events of type `{other}` do not change the spending of a customer").into()),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use readcast_core::testing::{event, given};

    use super::*;

    fn order(total: &str) -> String {
        format!(r#"{{"customer":{{"id":"cust_55"}},"total_amount":{total},"refund_amount":0.50}}"#)
    }

    #[test]
    fn the_spending_of_a_customer_adds_up_exactly() {
        let events = [
            event(PLACED, &order("0.10")),
            event(PLACED, &order("0.20")),
            event(PLACED, &order("10.00")),
            event(CANCELLED, &order("0.10")),
            event(REFUNDED, &order("10.00")),
            event("ORDER_SHIPPED", &order("10.00")),
        ];
        given(CustomerOrders, events).then(
            "customer_orders",
            "customer_id | orders | cancelled | spent | last_order_at
             cust_55     | 3      | 1         | 9.70  | 2024-01-01T00:00:02.000000Z",
        );
    }
}
