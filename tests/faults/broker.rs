//! What goes wrong with the broker, and on the way to it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::SMALL;
use crate::oracle::assert_same;
use crate::shop::{KafkaShop, PROJECTIONS, events, expected};
use crate::support::kafka::Kafka;
use crate::support::line::{Line, Quality};
use crate::support::postgres::Database;
use crate::support::servers::{self, LocalKafka};

const COUNT: usize = 20_000;
const GOOD: usize = 300;
/// A request that is not answered is given up while a test waits, not after a minute.
const IMPATIENT: [(&str, &str); 2] =
    [("READCAST_KAFKA_SOCKET_TIMEOUT_MS", "2000"), ("READCAST_KAFKA_RECONNECT_BACKOFF_MAX_MS", "500")];
/// What librdkafka says once it has given up every connection.
const ALL_DOWN: &str = "brokers are down";

#[tokio::test]
async fn an_instance_waits_for_a_broker_that_is_killed_or_stopped() {
    let mut broker = servers::own_kafka(None).await;
    let shop = KafkaShop::on(Kafka::at(&broker.bootstrap()), Database::create().await, 3).await;
    shop.keep_journal().await;
    shop.produce(events(COUNT));
    let goal = shop.goal().await;
    let mut instance = shop.start(&["run"], &[SMALL, IMPATIENT[0], IMPATIENT[1]]);
    shop.reaches(goal / 10).await;
    broker.kill9();
    instance.wait_for_line(|line| line.contains(ALL_DOWN)).await;
    broker.restart().await;
    shop.catches_up().await;

    let mark = instance.mark();
    shop.produce(events(2 * COUNT).skip(COUNT));
    broker.stop();
    instance.wait_for_line_after(mark, |line| line.contains(ALL_DOWN)).await;
    broker.cont();
    shop.catches_up().await;
    instance.ends_well().await;
    shop.assert_invariants(2 * COUNT).await;
}

#[tokio::test]
async fn an_instance_waits_for_a_connection_that_is_dead_at_first_or_very_slow() {
    let line = Line::new(Quality::Dead);
    let broker = servers::own_kafka(Some(&line)).await;
    let shop = KafkaShop::on(Kafka::at(&broker.bootstrap()), Database::create().await, 3).await;
    shop.keep_journal().await;
    shop.produce(events(COUNT));
    let goal = shop.goal().await;
    let by_line = line.bootstrap();
    let envs = [("READCAST_KAFKA_BOOTSTRAP_SERVERS", by_line.as_str()), SMALL, IMPATIENT[0], IMPATIENT[1]];
    let mut instance = shop.start(&["run"], &envs);
    instance.wait_for_line(|line| line.contains("feed failed")).await;
    assert!(instance.get("/readyz").await.starts_with("HTTP/1.1 503"));
    assert_eq!(shop.progress().await, 0);
    line.becomes(Quality::Good);
    shop.reaches(goal / 10).await;

    let mark = instance.mark();
    line.becomes(Quality::Trickle);
    shop.produce(events(2 * COUNT).skip(COUNT));
    instance.wait_for_line_after(mark, |line| line.contains(ALL_DOWN)).await;
    line.becomes(Quality::Good);
    shop.catches_up().await;
    instance.ends_well().await;
    shop.assert_invariants(2 * COUNT).await;
}

/// As if records had been projected that the broker then lost.
const PROJECTED_BEYOND: &str = "UPDATE readcast.checkpoints SET next_offset = next_offset + 2";

/// A batch of events, a corrupt one, and one beyond it, in the one partition of a shop that has projected the first.
async fn corrupt_in_the_middle(broker: &LocalKafka) -> KafkaShop {
    let shop = KafkaShop::on(Kafka::at(&broker.bootstrap()), Database::create().await, 1).await;
    shop.keep_journal().await;
    shop.produce(events(GOOD));
    shop.run_to_the_end().await;
    let segment = broker.data_dir().join(format!("{}-0/00000000000000000000.log", shop.topic()));
    let corrupt = std::fs::metadata(&segment).unwrap().len();
    shop.produce(events(2 * GOOD).skip(GOOD));
    shop.produce(events(3 * GOOD).skip(2 * GOOD));
    flip_byte(&segment, corrupt + 200);
    shop
}

/// librdkafka reports a batch whose checksum is wrong, and reads on behind it. What it finds there does not count.
#[tokio::test]
async fn a_corrupt_batch_halts_and_is_never_skipped() {
    let broker = servers::own_kafka(None).await;
    let shop = corrupt_in_the_middle(&broker).await;
    let mut instance = shop.start(&["run"], &[]);
    for projection in PROJECTIONS {
        let halted = |line: &str| line.contains("halted: reading orders/0 from Kafka") && line.contains(projection);
        instance.wait_for_line(halted).await;
    }
    instance.terminate();
    assert_eq!(instance.wait().await.code(), Some(1));
    let mut again = shop.start(&["run", "--until-end"], &[]);
    assert_eq!(again.wait().await.code(), Some(1));
    shop.assert_one_chain().await;
    assert_same(&shop.tables().await, &expected(GOOD));
    assert_eq!(shop.progress().await, 3 * GOOD as i64);
}

/// A broker that starts after a crash cuts its log off at the first batch that is corrupt.
#[tokio::test]
async fn a_log_truncated_before_the_checkpoints_halts() {
    let mut broker = servers::own_kafka(None).await;
    let shop = corrupt_in_the_middle(&broker).await;
    shop.database.execute(PROJECTED_BEYOND).await;
    broker.kill9();
    broker.restart().await;
    assert_eq!(shop.kafka.end_offsets(&shop.topic()).await, [GOOD as i64]);
    let mut instance = shop.start(&["run"], &[]);
    let told = format!("halted: orders/0: truncated: [{GOOD}, {}) was read, and is no longer in the log", GOOD + 2);
    for projection in PROJECTIONS {
        instance.wait_for_line(|line| line.contains(&told) && line.contains(projection)).await;
    }
}

#[tokio::test]
async fn a_bounded_run_reports_a_truncated_log() {
    let mut broker = servers::own_kafka(None).await;
    let shop = corrupt_in_the_middle(&broker).await;
    shop.database.execute(PROJECTED_BEYOND).await;
    broker.kill9();
    broker.restart().await;
    let mut instance = shop.start(&["run", "--until-end"], &[]);
    assert_eq!(instance.wait().await.code(), Some(1), "{}", instance.stdout());
}

fn flip_byte(file: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
}
