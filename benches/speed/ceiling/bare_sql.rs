//! Verifies the ceiling: writes the same rows of `order_summary` in commits of the same size on the same number of
//! connections, without any code of readcast. It has its own statements, and the columns of every commit are prepared
//! before the measurement starts. If it is much faster than the ceiling, the ceiling is limited by readcast's writer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use readcast::source::Batch;
use rust_decimal::Decimal;
use sqlx::postgres::PgConnectOptions;
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgTransaction};
use tokio::task::JoinSet;

use super::{commits, shares};
use crate::order::Event;

const UPSERT_ORDERS: &str = "
    INSERT INTO readcast_tables.order_summary_g1 AS held
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::numeric[], $7::numeric[],
                         $8::timestamptz[], $9::timestamptz[])
    ON CONFLICT (order_id) DO UPDATE SET
        customer_id = excluded.customer_id, customer_email = excluded.customer_email, status = excluded.status,
        item_count = excluded.item_count, total_amount = excluded.total_amount,
        refunded_amount = held.refunded_amount + excluded.refunded_amount,
        placed_at = coalesce(excluded.placed_at, held.placed_at), updated_at = excluded.updated_at";
const DELETE_LINES: &str = "
    DELETE FROM readcast_tables.order_lines_g1 AS held USING unnest($1::text[]) AS cleared (order_id)
    WHERE held.order_id = cleared.order_id";
const INSERT_LINES: &str = "
    INSERT INTO readcast_tables.order_lines_g1
    SELECT * FROM unnest($1::text[], $2::integer[], $3::text[], $4::integer[], $5::numeric[])";

/// The columns of one commit.
#[derive(Default)]
struct Columns {
    order_id: Vec<String>,
    customer_id: Vec<String>,
    customer_email: Vec<String>,
    status: Vec<String>,
    item_count: Vec<i64>,
    total_amount: Vec<Decimal>,
    refunded_amount: Vec<Decimal>,
    placed_at: Vec<Option<DateTime<Utc>>>,
    updated_at: Vec<DateTime<Utc>>,
    cleared: Vec<String>,
    line_order_id: Vec<String>,
    line_no: Vec<i32>,
    sku: Vec<String>,
    quantity: Vec<i32>,
    price: Vec<Decimal>,
}

/// The changes of one order in one commit.
struct Folded<'a> {
    last: Event<'a>,
    refunded_amount: Decimal,
    placed_at: Option<DateTime<Utc>>,
    /// The event that determines the lines of the order.
    lines: Option<Event<'a>>,
}

/// The commits of each connection.
pub(crate) struct BareSql(Vec<Arc<Vec<Columns>>>);

impl BareSql {
    pub(crate) fn new(batches: &[Batch], connections: usize, records_a_commit: usize) -> Self {
        let all = |share: Vec<&Batch>| commits(&share, records_a_commit).iter().map(|one| columns(one)).collect();
        Self(shares(batches, connections).into_iter().map(all).map(Arc::new).collect())
    }

    /// Writes all commits into empty tables. Returns the time in seconds.
    pub(crate) async fn write(&self, options: &PgConnectOptions) -> f64 {
        let mut connections = Vec::new();
        for commits in &self.0 {
            connections.push((Arc::clone(commits), PgConnection::connect_with(options).await.unwrap()));
        }
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for (commits, mut connection) in connections {
            tasks.spawn(async move {
                for columns in &*commits {
                    let mut transaction = connection.begin().await.unwrap();
                    columns.write(&mut transaction).await.unwrap();
                    transaction.commit().await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        begun.elapsed().as_secs_f64()
    }
}

impl Columns {
    async fn write(&self, transaction: &mut PgTransaction<'_>) -> sqlx::Result<()> {
        let orders = sqlx::query(UPSERT_ORDERS)
            .bind(&self.order_id)
            .bind(&self.customer_id)
            .bind(&self.customer_email)
            .bind(&self.status)
            .bind(&self.item_count)
            .bind(&self.total_amount)
            .bind(&self.refunded_amount)
            .bind(&self.placed_at)
            .bind(&self.updated_at);
        orders.execute(&mut **transaction).await?;
        sqlx::query(DELETE_LINES).bind(&self.cleared).execute(&mut **transaction).await?;
        let lines = sqlx::query(INSERT_LINES)
            .bind(&self.line_order_id)
            .bind(&self.line_no)
            .bind(&self.sku)
            .bind(&self.quantity)
            .bind(&self.price);
        lines.execute(&mut **transaction).await.map(drop)
    }

    fn push_order(&mut self, folded: &Folded<'_>) {
        let order = &folded.last.data;
        self.order_id.push(order.order_id.to_owned());
        self.customer_id.push(order.customer.id.to_owned());
        self.customer_email.push(order.customer.email.to_owned());
        self.status.push(folded.last.status().to_owned());
        self.item_count.push(folded.last.item_count());
        self.total_amount.push(order.total_amount);
        self.refunded_amount.push(folded.refunded_amount);
        self.placed_at.push(folded.placed_at);
        self.updated_at.push(folded.last.timestamp);
    }

    fn push_lines(&mut self, event: &Event<'_>) {
        self.cleared.push(event.data.order_id.to_owned());
        for (number, line) in (1..).zip(event.lines().unwrap()) {
            self.line_order_id.push(event.data.order_id.to_owned());
            self.line_no.push(number);
            self.sku.push(line.sku.to_owned());
            self.quantity.push(line.quantity);
            self.price.push(line.price);
        }
    }
}

/// One row for each order, sorted by key, so that two connections lock rows in the same order.
fn columns(batches: &[&Batch]) -> Columns {
    let mut orders = BTreeMap::<&str, Folded<'_>>::new();
    for record in batches.iter().flat_map(|batch| &batch.records) {
        let parse = || -> Event<'_> { serde_json::from_slice(record.value.as_deref().unwrap()).unwrap() };
        let event = parse();
        let folded = orders.entry(event.data.order_id).or_insert_with(|| Folded {
            last: parse(),
            refunded_amount: Decimal::ZERO,
            placed_at: None,
            lines: None,
        });
        folded.refunded_amount += event.data.refund_amount;
        folded.placed_at = event.placed_at().or(folded.placed_at);
        if event.lines().is_some() {
            folded.lines = Some(parse());
        }
        folded.last = event;
    }
    let mut columns = Columns::default();
    for folded in orders.values() {
        columns.push_order(folded);
        folded.lines.iter().for_each(|event| columns.push_lines(event));
    }
    columns
}
