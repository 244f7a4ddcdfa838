//! The example bank: tables that refer to each other, written from topics between which Kafka keeps no order.

pub(crate) mod interleavings;
mod model;
mod service;

use readcast_projections::bank::sample::{BankEvent, BankEvents};

use crate::oracle::Tables;

/// The number of partitions of each topic.
pub(crate) const PARTITIONS: usize = 6;

/// The tables in the form of the model. `time` and `day` are the SQL of a time and of a day as texts.
fn queries(time: &str, day: &str, table: impl Fn(&str) -> String) -> [(&'static str, String); 4] {
    [
        ("owners", format!("SELECT owner_id, name FROM {}", table("owners"))),
        ("accounts", format!("SELECT account_id, owner_id, owner_name, balance FROM {}", table("accounts"))),
        (
            "transfers",
            format!(
                "SELECT transfer_id, from_account, from_owner, to_account, to_owner, amount, {time} FROM {}",
                table("transfers")
            ),
        ),
        ("daily_totals", format!("SELECT {day}, transfers, amount FROM {}", table("daily_totals"))),
    ]
}

/// The partition of a record key.
fn partition(key: &str) -> usize {
    key.bytes().fold(7_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % PARTITIONS
}

fn events(seed: u64, count: usize) -> Vec<BankEvent> {
    BankEvents::new(seed).take(count).collect()
}

/// The tables after these events, computed independently.
pub(crate) fn expected(events: &[BankEvent]) -> Tables {
    model::tables(events.iter().map(|event| &event.json))
}
