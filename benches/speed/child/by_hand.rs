//! A hand-written loop, as a first version of a service: one consumer, one connection, and for each event one
//! transaction that changes the rows and the offset. It uses prepared statements and borrowed parsing, and projects
//! only `order_summary`.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use readcast_projections::sample::TOPIC;
use sqlx::{Connection, PgConnection, PgTransaction};

use super::{Done, LogAddress, StoreAddress};
use crate::order::{Event, Item};

/// Creates tables and indexes like those of readcast.
pub(crate) const TABLES: &str = "
    CREATE TABLE order_summary (
        order_id text PRIMARY KEY,
        customer_id text NOT NULL,
        customer_email text NOT NULL,
        status text NOT NULL,
        item_count bigint NOT NULL,
        total_amount numeric(28,2) NOT NULL,
        refunded_amount numeric(28,2) NOT NULL DEFAULT 0,
        placed_at timestamptz,
        updated_at timestamptz NOT NULL
    );
    CREATE INDEX ON order_summary (customer_id);
    CREATE TABLE order_lines (
        order_id text,
        line_no integer,
        sku text NOT NULL,
        quantity integer NOT NULL,
        price numeric(28,2) NOT NULL,
        PRIMARY KEY (order_id, line_no)
    );
    CREATE INDEX ON order_lines (sku);
    CREATE TABLE offsets (partition integer PRIMARY KEY, next_offset bigint NOT NULL);";

const UPSERT_ORDER: &str = "
    INSERT INTO order_summary AS held VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (order_id) DO UPDATE SET
        customer_id = excluded.customer_id, customer_email = excluded.customer_email, status = excluded.status,
        item_count = excluded.item_count, total_amount = excluded.total_amount,
        refunded_amount = held.refunded_amount + excluded.refunded_amount,
        placed_at = coalesce(excluded.placed_at, held.placed_at), updated_at = excluded.updated_at";
const DELETE_LINES: &str = "DELETE FROM order_lines WHERE order_id = $1";
const INSERT_LINES: &str = "
    INSERT INTO order_lines
    SELECT $1, * FROM unnest($2::integer[], $3::text[], $4::integer[], $5::numeric[])";
const UPSERT_OFFSET: &str = "
    INSERT INTO offsets VALUES ($1, $2) ON CONFLICT (partition) DO UPDATE SET next_offset = excluded.next_offset";

/// Projects `events` events.
pub(super) async fn run(log: &LogAddress, store: &StoreAddress, events: usize) -> Done {
    let (LogAddress::Kafka { bootstrap, prefix }, StoreAddress::Postgres(url)) = (log, store) else {
        panic!("the loop is one from Kafka to Postgres");
    };
    let mut connection = PgConnection::connect(url).await.unwrap();
    let begun = Instant::now();
    let consumer = consumer(bootstrap, &format!("{prefix}{TOPIC}"), &mut connection).await;
    for _ in 0..events {
        let record = consumer.poll(Duration::from_secs(60)).expect("there are more records").unwrap();
        let event: Event<'_> = serde_json::from_slice(record.payload().unwrap()).unwrap();
        let mut transaction = connection.begin().await.unwrap();
        project(&mut transaction, &event).await;
        let offset = sqlx::query(UPSERT_OFFSET).bind(record.partition()).bind(record.offset() + 1);
        offset.execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }
    Done { seconds: begun.elapsed().as_secs_f64(), ..Done::default() }
}

/// A consumer of all partitions that starts at the offsets in the database.
async fn consumer(bootstrap: &str, topic: &str, connection: &mut PgConnection) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "by-hand").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
    let held: Vec<(i32, i64)> = sqlx::query_as("SELECT * FROM offsets").fetch_all(connection).await.unwrap();
    let mut places = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        let next_offset = held.iter().find(|(held, _)| *held == partition.id()).map_or(0, |(_, offset)| *offset);
        places.add_partition_offset(topic, partition.id(), Offset::Offset(next_offset)).unwrap();
    }
    consumer.assign(&places).unwrap();
    consumer
}

async fn project(transaction: &mut PgTransaction<'_>, event: &Event<'_>) {
    let order = &event.data;
    let upsert = sqlx::query(UPSERT_ORDER)
        .bind(order.order_id)
        .bind(order.customer.id)
        .bind(order.customer.email)
        .bind(event.status())
        .bind(event.item_count())
        .bind(order.total_amount)
        .bind(order.refund_amount)
        .bind(event.placed_at())
        .bind(event.timestamp);
    upsert.execute(&mut **transaction).await.unwrap();
    if let Some(lines) = event.lines() {
        replace_lines(transaction, order.order_id, lines).await;
    }
}

async fn replace_lines(transaction: &mut PgTransaction<'_>, order_id: &str, lines: &[Item<'_>]) {
    sqlx::query(DELETE_LINES).bind(order_id).execute(&mut **transaction).await.unwrap();
    if lines.is_empty() {
        return;
    }
    let insert = sqlx::query(INSERT_LINES)
        .bind(order_id)
        .bind((1..).zip(lines).map(|(number, _)| number).collect::<Vec<i32>>())
        .bind(lines.iter().map(|line| line.sku).collect::<Vec<_>>())
        .bind(lines.iter().map(|line| line.quantity).collect::<Vec<_>>())
        .bind(lines.iter().map(|line| line.price).collect::<Vec<_>>());
    insert.execute(&mut **transaction).await.unwrap();
}
