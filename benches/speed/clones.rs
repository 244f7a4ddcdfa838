//! Any number of projections that all do the same.

use readcast_core::{Changes, ColumnType, Decimal, Envelope, Projection, ProjectionError, Registry, TableSpec};
use readcast_projections::sample::TOPIC;
use serde::Deserialize;

/// Counts the sales of every product in its own table.
struct Sales {
    name: String,
}

#[derive(Deserialize)]
struct Order {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    sku: String,
    quantity: i32,
    price: Decimal,
}

pub(crate) fn registry(count: usize) -> Registry {
    (1..=count).fold(Registry::new(), |registry, number| registry.register(Sales { name: format!("sales_{number}") }))
}

impl Projection for Sales {
    fn name(&self) -> &str {
        &self.name
    }

    fn topics(&self) -> &[&str] {
        &[TOPIC]
    }

    fn event_types(&self) -> &[&str] {
        &["ORDER_PLACED"]
    }

    fn tables(&self) -> Vec<TableSpec> {
        let sales = TableSpec::new(&self.name).key("sku", ColumnType::Text);
        let units = sales.with_default("units", ColumnType::I64, 0);
        vec![units.with_default("revenue", ColumnType::Decimal { scale: 2 }, 0)]
    }

    fn project(&self, event: &Envelope, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        let Order { items } = event.data()?;
        for Item { sku, quantity, price } in items {
            let units = i64::from(quantity);
            changes.upsert(&self.name, [sku]).add("units", units).add("revenue", price.checked_mul(units)?);
        }
        Ok(())
    }
}
