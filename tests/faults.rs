//! What goes wrong between Kafka and Postgres, and must leave no trace in the tables: real servers, the real program. The
//! number in a test's name is that of its fault in tests/README.md.

mod bounds;
mod broker;
mod commands;
mod database;
mod half_open;
mod log;
mod rebalance;
mod schedules;

use std::time::Duration;

use crate::shop::KafkaShop;

/// Few records a transaction, so that there is a middle in which something can go wrong.
const SMALL: (&str, &str) = ("READCAST_BATCH_RECORDS", "100");

/// Every transaction that moves or claims checkpoints takes so much longer from now on, while it holds their locks. The
/// shop needs its journal for it: before that there are no checkpoints.
async fn slow_database(shop: &KafkaShop, pause: Duration) {
    let sql = format!(
        "CREATE OR REPLACE FUNCTION public.slowness() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             PERFORM pg_sleep({});
             RETURN NULL;
         END $$;
         CREATE OR REPLACE TRIGGER slowness AFTER UPDATE ON readcast.checkpoints
             FOR EACH STATEMENT EXECUTE FUNCTION public.slowness()",
        pause.as_secs_f64()
    );
    shop.database.execute(&sql).await;
}

/// Ends every connection that readcast has to the shop's database.
async fn cut_connections(shop: &KafkaShop) {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name = 'readcast' AND datname = current_database()";
    shop.database.execute(sql).await;
}
