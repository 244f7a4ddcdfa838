//! The deployed form end to end: a real Kafka, a real Postgres.

use crate::files_to_sqlite::seed;
use crate::oracle::assert_same;
use crate::shop::{KafkaShop, PROJECTIONS, events, expected};

#[tokio::test]
async fn a_million_events_give_the_rows_of_an_independent_fold_after_20_kills() {
    const COUNT: usize = 1_000_000;
    let shop = KafkaShop::journalled(6).await;
    shop.produce(events(COUNT));
    let goal = shop.goal().await;
    let mut random = fastrand::Rng::with_seed(seed());
    let mut kills: Vec<i64> = (0..20).map(|_| random.i64(0..goal * 9 / 10)).collect();
    kills.sort_unstable();
    for kill in kills {
        let mut instance = shop.start(&["run", "--until-end"], &[]);
        shop.reaches(kill).await;
        instance.kill9();
    }
    shop.run_to_the_end().await;
    shop.assert_invariants(COUNT).await;
}

#[tokio::test]
async fn a_kill_at_any_failpoint_neither_loses_nor_duplicates_an_event() {
    for failpoint in ["after_poll", "after_begin", "after_checkpoint", "after_rows", "after_commit"] {
        let shop = KafkaShop::journalled(3).await;
        shop.survives_kills_at(failpoint).await;
    }
}

#[tokio::test]
async fn instances_that_join_and_leave_do_not_affect_the_tables() {
    const COUNT: usize = 300_000;
    let shop = KafkaShop::journalled(6).await;
    shop.produce(events(COUNT / 3));
    let goal = shop.goal().await;
    let mut first = shop.start(&["run"], &[]);
    shop.reaches(goal / 10).await;
    let mut second = shop.start(&["run"], &[]);
    shop.produce(events(2 * COUNT / 3).skip(COUNT / 3));
    second.wait_for_line(|line| line.contains("partition claimed")).await;
    let mut third = shop.start(&["run"], &[]);
    third.wait_for_line(|line| line.contains("partition claimed")).await;
    first.ends_well().await;
    shop.produce(events(COUNT).skip(2 * COUNT / 3));
    shop.reaches(shop.goal().await / 2).await;
    second.kill9();
    shop.catches_up().await;
    third.ends_well().await;
    shop.assert_invariants(COUNT).await;
}

#[tokio::test]
async fn a_deleted_consumer_group_changes_nothing() {
    let shop = KafkaShop::new(2).await;
    shop.produce(events(2_000));
    shop.run_to_the_end().await;
    for projection in PROJECTIONS {
        let group = shop.group(projection);
        shop.kafka.delete_group(&group).await;
    }
    shop.produce(events(3_000).skip(2_000));
    shop.run_to_the_end().await;
    assert_same(&shop.tables().await, &expected(3_000));
}

#[tokio::test]
async fn status_shows_every_partition_as_json() {
    let shop = KafkaShop::new(2).await;
    shop.produce(events(100));
    shop.run_to_the_end().await;
    shop.produce(events(130).skip(100));
    let mut status = shop.start(&["status", "--output", "json"], &[]);
    assert!(status.wait().await.success(), "{}", status.stderr());
    let mut status: serde_json::Value = serde_json::from_str(&status.stdout()).unwrap();
    assert_eq!(status["totals"]["records_behind"], 90);
    let lines: Vec<serde_json::Value> = serde_json::from_value(status["partitions"].take()).unwrap();
    assert_eq!(lines.len(), 6, "three projections of two partitions each");
    let sum = |field: &str| lines.iter().map(|line| line[field].as_i64().unwrap()).sum::<i64>();
    assert_eq!((sum("next_offset"), sum("end_offset"), sum("lag")), (300, 390, 90));
    for line in lines {
        assert_eq!(
            (&line["topic"], &line["state"], &line["generation"]),
            (&"orders".into(), &"live".into(), &1.into())
        );
        assert!(line["last_error"].is_null());
    }
}

#[tokio::test]
async fn generate_creates_a_missing_topic_and_its_events_are_projected() {
    let shop = KafkaShop::new(1).await;
    let prefix = crate::support::kafka::unique("generated") + ".";
    let envs = [("READCAST_SOURCE_TOPIC_PREFIX", prefix.as_str())];
    let mut check = shop.start(&["check"], &envs);
    assert_eq!(check.wait().await.code(), Some(1));
    assert!(check.stdout().contains(&format!("topic `{prefix}orders` does not exist")), "{}", check.stdout());

    let mut generate = shop.start(&["generate", "--events", "500", "--rate", "0", "--partitions", "3"], &envs);
    assert!(generate.wait().await.success(), "{}", generate.stderr());
    assert_eq!(shop.kafka.end_offsets(&format!("{prefix}orders")).await.len(), 3);
    let mut run = shop.start(&["run", "--until-end"], &envs);
    assert!(run.wait().await.success(), "{}", run.stderr());
    assert_same(&shop.tables().await, &expected(500));
}
