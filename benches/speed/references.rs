//! What a reference costs: orders with the e-mail address of their customer, copied by a reference or left out.
//!
//! Each order names one of 1,000 customers, and each refund changes a customer, so that lanes lock the same keys all the
//! time.

use readcast_core::{Changes, ColumnType, Envelope, Projection, ProjectionError, Reference, Registry, TableSpec};
use serde::Deserialize;

use crate::child::{Projections, Work};
use crate::database::Kind;
use crate::log::{Log, PARTITIONS, orders};
use crate::report::Report;
use crate::row::Row;
use crate::settings::Settings;
use crate::throughput::{rate, work};

const GROUP: &str = "references";

pub(crate) async fn run(settings: &Settings) {
    if !settings.want(GROUP, "copies") {
        return;
    }
    let mut report = Report::begin(GROUP).await;
    let log = Log::in_kafka(PARTITIONS, orders(settings.events)).await;
    let (mut rates, mut cpu) = ([const { Vec::new() }; 2], [const { Vec::new() }; 2]);
    for _ in 0..settings.runs {
        for (variant, copies) in [(0, true), (1, false)] {
            let projections = Projections::Mailing { copies };
            let database = Kind::Postgres.with_tables(&projections.registry()).await;
            let outcome = work(Work::Project, &log, Some(&database), &projections).await;
            rates[variant].push(rate(&log, &outcome));
            cpu[variant].push(outcome.cpu_seconds * 1e6 / log.events() as f64);
        }
    }
    log.delete().await;
    let ([with, without], [cpu_with, cpu_without]) = (rates, cpu);
    let live = Row::new("live, Kafka to Postgres, orders with a column of their customer", "events/s", with);
    report.add(live.against("the same tables without the reference", without));
    let cost = Row::new("CPU of the process for a million of these events", "s", cpu_with);
    report.add(cost.against("the same tables without the reference", cpu_without));
    report.end();
}

pub(crate) fn registry(copies: bool) -> Registry {
    Registry::new().register(Mailing { copies })
}

/// Customers, and orders with the e-mail address of their customer.
struct Mailing {
    copies: bool,
}

#[derive(Deserialize)]
struct Order {
    order_id: String,
    customer: Customer,
}

#[derive(Deserialize)]
struct Customer {
    id: String,
    email: String,
}

impl Projection for Mailing {
    fn name(&self) -> &str {
        "mailing"
    }

    fn topics(&self) -> &[&str] {
        &[readcast_projections::sample::TOPIC]
    }

    fn event_types(&self) -> &[&str] {
        &["ORDER_PLACED", "ORDER_REFUNDED"]
    }

    fn tables(&self) -> Vec<TableSpec> {
        let customers = TableSpec::new("customers").key("customer_id", ColumnType::Text);
        let customers = customers.column("email", ColumnType::Text).with_default("refunds", ColumnType::I64, 0);
        let mails = TableSpec::new("mails").key("order_id", ColumnType::Text).column("customer_id", ColumnType::Text);
        let mails = mails.nullable("email", ColumnType::Text);
        let mails = if self.copies {
            mails.reference(Reference::new(["customer_id"], "customers").copy_as("email", "email"))
        } else {
            // The index is there in both, so that the difference is the reference.
            mails.index(["customer_id"])
        };
        vec![customers, mails]
    }

    fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        let Order { order_id, customer } = event.data()?;
        match &*event.event_type {
            "ORDER_PLACED" => drop(changes.upsert("mails", [order_id]).set("customer_id", customer.id)),
            _ => drop(changes.upsert("customers", [customer.id]).set("email", customer.email).add("refunds", 1)),
        }
        Ok(())
    }
}
