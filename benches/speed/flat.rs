//! Flat rows: what a sink connector reads, and the projection that writes them as they are.

use readcast::internals::config::{Config, Environment, Overrides};
use readcast::internals::decode::{Decoders, Formats};
use readcast_core::{Changes, ColumnType, Decimal, Envelope, Projection, ProjectionError, Registry, TableSpec};
use readcast_projections::sample::TOPIC;
use serde::Deserialize;

use crate::order::Event;

/// Where the parts of an event stand in a flat row.
const TOPIC_SETTINGS: &str = "format = 'json'\ntype = 'const:row'\ntimestamp = 'body:/updated_at'";

/// The table that the JDBC sink fills, upserted by its key.
struct Rows;

#[derive(Deserialize)]
struct FlatRow<'a> {
    #[serde(borrow)]
    order_id: &'a str,
    customer_id: &'a str,
    customer_email: &'a str,
    status: &'a str,
    item_count: i64,
    total_amount: Decimal,
}

pub(crate) fn registry() -> Registry {
    Registry::new().register(Rows)
}

pub(crate) fn decoders() -> Decoders {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("readcast.toml");
    std::fs::write(&path, format!("[topics.{TOPIC}]\n{TOPIC_SETTINGS}")).unwrap();
    let overrides = Overrides { config: Some(path), ..Overrides::default() };
    let config = Config::load(&overrides, &Environment::default(), &[]).unwrap();
    Formats::default().decoders(config.topics(), config.other_topics(), &config.registry).unwrap()
}

impl Projection for Rows {
    fn name(&self) -> &'static str {
        "flat_orders"
    }

    fn topics(&self) -> &[&str] {
        &[TOPIC]
    }

    fn event_types(&self) -> &[&str] {
        &["row"]
    }

    fn tables(&self) -> Vec<TableSpec> {
        let table = TableSpec::new("order_summary").key("order_id", ColumnType::Text);
        let texts = ["customer_id", "customer_email", "status"];
        let table = texts.into_iter().fold(table, |table, name| table.column(name, ColumnType::Text));
        let table = table.column("item_count", ColumnType::I64);
        let table = table.column("total_amount", ColumnType::Decimal { scale: 2 });
        vec![table.column("updated_at", ColumnType::Timestamp).index(["customer_id"])]
    }

    fn project(&self, event: &Envelope, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        let row: FlatRow<'_> = event.data()?;
        changes
            .upsert("order_summary", [row.order_id])
            .set("customer_id", row.customer_id)
            .set("customer_email", row.customer_email)
            .set("status", row.status)
            .set("item_count", row.item_count)
            .set("total_amount", row.total_amount)
            .set("updated_at", event.timestamp);
        Ok(())
    }
}

/// The row of `order_summary` after an event. See `benches/peers/README.md`.
pub(crate) fn of_event(event: &str) -> String {
    let event: Event<'_> = serde_json::from_str(event).unwrap();
    let order = &event.data;
    format!(
        r#"{{"order_id":"{}","customer_id":"{}","customer_email":"{}","status":"{}","item_count":{},"total_amount":{},"updated_at":"{}"}}"#,
        order.order_id,
        order.customer.id,
        order.customer.email,
        event.status(),
        event.item_count(),
        order.total_amount,
        event.timestamp.format("%Y-%m-%dT%H:%M:%S%.6fZ"),
    )
}
