//! What must stay small whatever happens.

use std::time::Duration;

use super::slow_database;
use crate::shop::{KafkaShop, PROJECTIONS, events};

const MIB: u64 = 1024 * 1024;

#[tokio::test]
async fn memory_stays_under_its_bound_with_a_slow_database_and_large_records() {
    const BUFFER: u64 = 16 * MIB;
    /// For each projection: three as README.md says, and one for what the allocator keeps of large blocks that were freed.
    const BUFFERS: u64 = 4;
    /// What the process takes with next to nothing buffered: code, threads and connections.
    const BASE: u64 = 64 * MIB;
    const COUNT: usize = 300;
    let shop = KafkaShop::journalled(100).await;
    let mut random = fastrand::Rng::with_seed(24);
    // Text that does not compress, in a field that nobody reads.
    let padded = events(COUNT).map(|(key, event)| {
        let padding: String = std::iter::repeat_with(|| random.alphanumeric()).take(MIB as usize).collect();
        (key, event.replacen('{', &format!(r#"{{"padding":"{padding}","#), 1))
    });
    shop.produce(padded);
    slow_database(&shop, Duration::from_millis(100)).await;
    let buffer = BUFFER.to_string();
    let settings = [
        ("READCAST_BUFFER_BYTES", buffer.as_str()),
        ("READCAST_BATCH_BYTES", "4 MiB"),
        ("READCAST_BATCH_RECORDS", "10"),
    ];
    let mut instance = shop.start(&["run"], &settings);
    shop.catches_up().await;
    let (peak, bound) = (instance.peak_memory(), PROJECTIONS.len() as u64 * BUFFERS * BUFFER + BASE);
    println!("{} MiB were resident at the most, {} MiB are the bound", peak / MIB, bound / MIB);
    instance.ends_well().await;
    assert!(peak < bound, "{} MiB were resident, {} MiB are the bound", peak / MIB, bound / MIB);
    shop.assert_invariants(COUNT).await;
}
