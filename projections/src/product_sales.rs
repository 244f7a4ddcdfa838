//! `product_sales`: units and revenue of each product. Orders of every partition contain a product, so every change is
//! an addition, which is independent of the order of events.

use readcast_core::{Changes, ColumnType, Envelope, Projection, ProjectionError, TableSpec};
use serde::Deserialize;

use crate::order::{CANCELLED, Item, PLACED, TOPIC};

const PRODUCTS: &str = "product_sales";

/// Units and revenue of each product, without cancelled orders.
pub struct ProductSales;

#[derive(Deserialize)]
struct Order {
    items: Vec<Item>,
}

impl Projection for ProductSales {
    fn name(&self) -> &str {
        "product_sales"
    }

    fn topics(&self) -> &[&str] {
        &[TOPIC]
    }

    fn event_types(&self) -> &[&str] {
        &[PLACED, CANCELLED]
    }

    fn tables(&self) -> Vec<TableSpec> {
        vec![
            TableSpec::new(PRODUCTS)
                .key("sku", ColumnType::Text)
                .with_default("units", ColumnType::I64, 0)
                .with_default("revenue", ColumnType::Decimal { scale: 2 }, 0),
        ]
    }

    fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        let Order { items } = event.data()?;
        for item in items {
            let (units, revenue) = (i64::from(item.quantity), item.revenue()?);
            let (units, revenue) = if event.event_type == CANCELLED { (-units, -revenue) } else { (units, revenue) };
            changes.upsert(PRODUCTS, [item.sku]).add("units", units).add("revenue", revenue);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use readcast_core::testing::{event, given};

    use super::*;

    const ORDER: &str = r#"{"items":[{"sku":"PROD-001","quantity":2,"price":49.99},
        {"sku":"PROD-002","quantity":3,"price":0.10},{"sku":"PROD-001","quantity":1,"price":50.00}]}"#;

    #[test]
    fn units_and_revenue_add_up_over_lines_and_orders() {
        given(ProductSales, [event(PLACED, ORDER), event(PLACED, ORDER), event(CANCELLED, ORDER)]).then(
            "product_sales",
            "sku      | units | revenue
             PROD-001 | 3     | 149.98
             PROD-002 | 3     | 0.30",
        );
    }
}
