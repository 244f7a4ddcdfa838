//! What a log can hold, or hold no more.

use std::time::Duration;

use crate::oracle::assert_same;
use crate::shop::{KafkaShop, events, expected};
use crate::support::eventually::{PATIENCE, eventually};

#[tokio::test]
async fn records_deleted_before_they_are_read_halt_with_the_gap() {
    let shop = KafkaShop::journalled(1).await;
    shop.produce(events(100));
    shop.run_to_the_end().await;
    shop.assert_invariants(100).await;
    shop.produce(events(300).skip(100));
    shop.kafka.delete_records(&shop.topic(), 0, 250).await;
    let mut instance = shop.start(&["run", "--until-end"], &[]);
    let status = instance.wait().await;
    assert_eq!(status.code(), Some(1));
    assert!(instance.stderr().contains("gap [100, 250)"), "{}", instance.stderr());
    shop.assert_one_chain().await;
    assert_same(&shop.tables().await, &expected(100));
}

#[tokio::test]
async fn records_deleted_during_a_read_halt_with_the_gap() {
    let shop = KafkaShop::journalled(1).await;
    shop.produce(events(100));
    let mut instance = shop.start(&["run"], &[]);
    shop.catches_up().await;
    instance.stop();
    // A fetch may be under way: it is answered with what comes first.
    shop.produce(events(101).skip(100));
    shop.produce(events(300).skip(101));
    shop.kafka.delete_records(&shop.topic(), 0, 250).await;
    instance.cont();
    for _ in 0..3 {
        instance.wait_for_line(|line| line.contains("halted") && line.contains("250)")).await;
    }
    let read = shop.database.value("SELECT min(next_offset) FROM readcast.checkpoints").await;
    let told = "SELECT count(*) FROM readcast.generations JOIN readcast.checkpoints USING (projection, generation)
                WHERE position(format('gap [%s, 250)', next_offset) IN last_error) > 0";
    eventually("every projection tells its gap", PATIENCE, async || {
        let count = shop.database.value(told).await;
        if count == "3" { Ok(()) } else { Err(count) }
    })
    .await;
    assert!(["100", "101"].contains(&read.as_str()), "{read}");
    shop.assert_one_chain().await;
    instance.terminate();
    instance.wait().await;
}

/// Long enough for no test to see its end, and the longest that a broker allows.
const NEVER: Duration = Duration::from_secs(900);

/// Records for the shop's first partition.
fn records(from: usize, to: usize) -> impl Iterator<Item = (Option<i32>, String, String)> {
    events(to).skip(from).map(|(key, value)| (Some(0), key, value))
}

/// Aborted and committed transactions in turns: the events up to `to` are in committed ones.
fn interleave(shop: &KafkaShop, from: usize, to: usize) {
    let transactions = shop.kafka.transactions(&shop.group("interleaved"), NEVER);
    for begin in (from..to).step_by(100) {
        // Events that never happened: they would count twice, or too early.
        transactions.begin(&shop.topic(), records(begin, begin + 150));
        transactions.abort();
        transactions.begin(&shop.topic(), records(begin, begin + 100));
        transactions.commit();
    }
}

/// Waits until readers see the first `count` events. (Checkpoints do not tell: what ends a transaction is behind them.)
async fn shows(shop: &KafkaShop, count: usize) {
    let expected = expected(count);
    eventually(&format!("{count} events are projected"), PATIENCE, async || {
        if shop.tables().await == expected { Ok(()) } else { Err(shop.progress().await) }
    })
    .await;
}

/// The lag of all projections together, as `readcast status` tells it.
async fn lag(shop: &KafkaShop) -> i64 {
    let mut status = shop.start(&["status", "--output", "json"], &[]);
    assert!(status.wait().await.success(), "{}", status.stderr());
    let status: serde_json::Value = serde_json::from_str(&status.stdout()).unwrap();
    status["totals"]["records_behind"].as_i64().unwrap()
}

#[tokio::test]
async fn only_committed_transactions_are_projected_and_nothing_passes_a_hanging_one() {
    let shop = KafkaShop::journalled(1).await;
    interleave(&shop, 0, 1_000);
    shop.run_to_the_end().await;
    assert_same(&shop.tables().await, &expected(1_000));
    // The marker that ends the last transaction has an offset and is no record: it is behind us all the same.
    assert_eq!(lag(&shop).await, 0);

    let hanging = shop.kafka.transactions(&shop.group("hanging"), NEVER);
    hanging.begin(&shop.topic(), records(1_000, 1_100));
    interleave(&shop, 1_000, 2_000);
    // A bounded run comes to the end of what may be read, and lag counts no further.
    shop.run_to_the_end().await;
    assert_same(&shop.tables().await, &expected(1_000));
    assert_eq!(lag(&shop).await, 0);
    let mut follower = shop.start(&["run"], &[]);
    follower.wait_for_line(|line| line.contains("partition claimed")).await;
    // Another producer of its id: that is how one that starts again ends what it left open.
    drop(shop.kafka.transactions(&shop.group("hanging"), NEVER));
    shows(&shop, 2_000).await;

    // One that hangs until the broker loses patience.
    let forgotten = shop.kafka.transactions(&shop.group("forgotten"), Duration::from_secs(1));
    forgotten.begin(&shop.topic(), records(2_000, 2_100));
    interleave(&shop, 2_000, 2_500);
    shows(&shop, 2_500).await;
    follower.ends_well().await;
    shop.assert_one_chain().await;
}

#[tokio::test]
async fn a_bounded_run_beside_an_instance_that_owns_all_partitions_ends_at_their_markers() {
    let shop = KafkaShop::journalled(1).await;
    shop.run_to_the_end().await;
    interleave(&shop, 0, 200);
    let mut follower = shop.start(&["run"], &[]);
    shows(&shop, 200).await;
    shop.run_to_the_end().await;
    follower.ends_well().await;
}

#[tokio::test]
async fn retention_of_aborted_transactions_is_not_a_gap() {
    let shop = KafkaShop::journalled(1).await;
    interleave(&shop, 0, 200);
    shop.run_to_the_end().await;
    let transactions = shop.kafka.transactions(&shop.group("aborted"), NEVER);
    transactions.begin(&shop.topic(), records(200, 300));
    transactions.abort();
    // Whoever has read past them knows that there was nothing; whoever has not can't tell any more.
    shop.run_to_the_end().await;
    shop.assert_at_the_end().await;
    let end = shop.kafka.end_offsets(&shop.topic()).await[0];
    shop.kafka.delete_records(&shop.topic(), 0, end).await;
    shop.kafka.produce(&shop.topic(), records(200, 300));
    let mut instance = shop.start(&["run"], &[]);
    shows(&shop, 300).await;
    instance.ends_well().await;
}

/// An event of a type that nobody subscribes to. All have one key, so that compaction takes all but the last.
fn noise(number: usize) -> (Option<i32>, String, String) {
    let text =
        format!(r#"{{"event_id":"noise_{number}","type":"NOISE","timestamp":"2024-05-20T00:00:00Z","data":{{}}}}"#);
    (Some(0), "noise".into(), text)
}

#[tokio::test]
async fn holes_of_compaction_and_emptied_partitions_are_not_gaps() {
    const COMPACTED: [(&str, &str); 5] = [
        ("cleanup.policy", "compact,delete"),
        ("segment.bytes", "1048576"),
        ("segment.ms", "200"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "200"),
    ];
    let shop = KafkaShop::journalled(2).await;
    shop.kafka.delete_topic(&shop.topic()).await;
    shop.kafka.create_topic_with(&shop.topic(), 2, &COMPACTED).await;
    // Events have keys of their own and stay; the noise between them goes.
    let mixed = |from: usize, to: usize| {
        let unique = records(from, to).map(|(partition, _, value)| {
            let event: serde_json::Value = serde_json::from_str(&value).unwrap();
            (partition, event["event_id"].to_string(), value)
        });
        unique.enumerate().flat_map(|(number, event)| [noise(number), event])
    };
    shop.kafka.produce(&shop.topic(), mixed(0, 1_000));
    // The second partition held records once.
    shop.kafka.produce(&shop.topic(), (0..50).map(|number| (Some(1), "noise", noise(number).2)));
    shop.kafka.delete_records(&shop.topic(), 1, 50).await;
    has_holes(&shop).await;
    shop.run_to_the_end().await;
    assert_same(&shop.tables().await, &expected(1_000));

    // The same where a checkpoint stands before the hole.
    let mut stopped = shop.start(&["run"], &[]);
    stopped.wait_for_line(|line| line.contains("partition claimed")).await;
    stopped.stop();
    shop.kafka.produce(&shop.topic(), mixed(1_000, 2_000));
    has_holes(&shop).await;
    stopped.cont();
    shows(&shop, 2_000).await;
    stopped.ends_well().await;
    shop.assert_invariants(2_000).await;
}

/// Waits until compaction has left a hole in what was written last. What is in the segment that is written to stays, so
/// something is written now and then.
async fn has_holes(shop: &KafkaShop) {
    let mut number = 0;
    eventually("the log has holes", PATIENCE, async || {
        number += 1;
        shop.kafka.produce(&shop.topic(), [noise(number)]);
        let (end, records) =
            (shop.kafka.end_offsets(&shop.topic()).await[0], shop.kafka.count_records(&shop.topic(), 0));
        let gone = end - i64::try_from(records).unwrap();
        if gone > end / 3 { Ok(()) } else { Err(format!("{records} records before {end}")) }
    })
    .await;
}
