//! What goes wrong while partitions move from one instance to another.

use std::time::{Duration, Instant};

use super::{SMALL, cut_connections, slow_database};
use crate::shop::{KafkaShop, PROJECTIONS, events};
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::process::Readcast;

/// The line of an instance that finds out that it has lost its partitions, in either of two ways: its commit is fenced, or
/// the group tells it first.
fn has_lost(line: &str) -> bool {
    line.contains("fenced") || line.contains("partitions revoked")
}

/// An instance in the middle of its work, with records in its hands.
async fn in_mid_work(shop: &KafkaShop, envs: &[(&str, &str)]) -> Readcast {
    let before = shop.progress().await;
    let mut all = vec![SMALL];
    all.extend(envs);
    let mut instance = shop.start(&["run"], &all);
    instance.wait_for_line(|line| line.contains("partition claimed")).await;
    shop.reaches(before + 500).await;
    instance
}

/// Waits until an instance that is started beside one that does not answer has had all partitions of all projections.
async fn takes_everything_over(heir: &Readcast, partitions: usize) {
    eventually("the heir has taken everything over", PATIENCE, async || {
        let taken = heir.stderr().matches("partition claimed").count();
        if taken >= PROJECTIONS.len() * partitions { Ok(()) } else { Err(taken) }
    })
    .await;
}

#[tokio::test]
async fn a_zombie_that_wakes_after_its_partitions_moved_writes_nothing() {
    const COUNT: usize = 20_000;
    let shop = KafkaShop::journalled(2).await;
    shop.produce(events(COUNT));
    let mut zombie = in_mid_work(&shop, &[]).await;
    zombie.stop();
    let mark = zombie.mark();
    let mut heir = shop.start(&["run"], &[]);
    takes_everything_over(&heir, 2).await;
    shop.catches_up().await;
    let before = shop.database.value("SELECT max(at) FROM journal").await;
    zombie.cont();
    zombie.wait_for_line_after(mark, has_lost).await;
    let written = format!("SELECT count(*) FROM journal WHERE at > {before} AND to_offset > from_offset");
    assert_eq!(shop.database.value(&written).await, "0", "the zombie wrote");
    heir.ends_well().await;
    zombie.ends_well().await;
    shop.assert_invariants(COUNT).await;
}

#[tokio::test]
async fn many_rebalances_during_slow_commits_leave_no_trace() {
    const ROUNDS: usize = 6;
    let shop = KafkaShop::journalled(6).await;
    slow_database(&shop, Duration::from_millis(150)).await;
    let mut count = 3_000;
    shop.produce(events(count));
    let mut instances: Vec<_> = (0..3).map(|_| shop.start(&["run"], &[SMALL])).collect();
    for round in 0..ROUNDS {
        shop.reaches(shop.progress().await + 300).await;
        if round % 2 == 0 {
            instances[round % 3].kill9();
        } else {
            instances[round % 3].ends_well().await;
        }
        instances[round % 3] = shop.start(&["run"], &[SMALL]);
        shop.produce(events(count + 1_000).skip(count));
        count += 1_000;
    }
    slow_database(&shop, Duration::ZERO).await;
    shop.catches_up().await;
    for instance in &mut instances {
        instance.ends_well().await;
    }
    shop.assert_invariants(count).await;
}

/// librdkafka leaves the group by itself when nobody has polled for longer than `max.poll.interval.ms`, and the broker
/// waits no longer than that for a member in a rebalance.
#[tokio::test]
async fn a_process_that_does_not_poll_in_time_loses_its_partitions_and_rejoins() {
    const INTERVAL: [(&str, &str); 2] =
        [("READCAST_KAFKA_MAX_POLL_INTERVAL_MS", "3000"), ("READCAST_KAFKA_SESSION_TIMEOUT_MS", "3000")];
    const COUNT: usize = 10_000;
    const PARTITIONS: usize = 4;
    for during_a_rebalance in [false, true] {
        let shop = KafkaShop::journalled(PARTITIONS).await;
        slow_database(&shop, Duration::from_millis(20)).await;
        shop.produce(events(COUNT));
        let mut first = in_mid_work(&shop, &INTERVAL).await;
        let mut peer;
        if during_a_rebalance {
            // It takes part in the rebalance that the peer causes, and stops in the middle of it.
            let mark = first.mark();
            peer = shop.start(&["run"], &INTERVAL);
            first.wait_for_line_after(mark, |line| line.contains("partitions revoked")).await;
            first.stop();
        } else {
            first.stop();
            peer = shop.start(&["run"], &INTERVAL);
        }
        takes_everything_over(&peer, PARTITIONS).await;
        shop.catches_up().await;
        let mark = first.mark();
        first.cont();
        // It comes back as a member, and works on.
        first.wait_for_line_after(mark, |line| line.contains("partition claimed")).await;
        shop.produce(events(2 * COUNT).skip(COUNT));
        shop.catches_up().await;
        peer.ends_well().await;
        first.ends_well().await;
        shop.assert_invariants(2 * COUNT).await;
    }
}

#[tokio::test]
async fn a_shutdown_during_a_rebalance_ends_before_its_deadline() {
    const DRAIN: Duration = Duration::from_secs(6);
    const COUNT: usize = 20_000;
    // Long enough that a rebalance that waits for a member waits beyond the deadline.
    let envs = [("READCAST_DRAIN_SECONDS", "6"), ("READCAST_KAFKA_SESSION_TIMEOUT_MS", "15000"), SMALL];
    for peer_answers in [true, false] {
        // So many that each of two gives some to a third.
        let shop = KafkaShop::journalled(6).await;
        shop.produce(events(COUNT));
        slow_database(&shop, Duration::from_millis(100)).await;
        let mut leaving = in_mid_work(&shop, &envs).await;
        let mut peer = shop.start(&["run"], &envs);
        peer.wait_for_line(|line| line.contains("partition claimed")).await;
        if !peer_answers {
            peer.stop();
        }
        let mark = leaving.mark();
        let mut joining = shop.start(&["run"], &envs);
        if peer_answers {
            leaving.wait_for_line_after(mark, |line| line.contains("partitions revoked")).await;
        } else {
            for projection in PROJECTIONS {
                shop.kafka.group_is(&shop.group(projection), "PreparingRebalance").await;
            }
        }
        let begun = Instant::now();
        leaving.ends_well().await;
        let took = begun.elapsed();
        println!("draining in the middle of a rebalance took {took:.1?}");
        assert!(took < DRAIN, "it took {took:?}");
        assert!(!leaving.stderr().contains("did not drain"), "{}", leaving.stderr());
        if !peer_answers {
            peer.cont();
        }
        slow_database(&shop, Duration::ZERO).await;
        shop.catches_up().await;
        peer.ends_well().await;
        joining.ends_well().await;
        shop.assert_invariants(COUNT).await;
    }
}

#[tokio::test]
async fn a_drain_that_is_cut_short_leaves_the_group_so_that_the_next_process_gets_the_partitions_at_once() {
    const SESSION: Duration = Duration::from_secs(45);
    const COUNT: usize = 20_000;
    const PARTITIONS: usize = 2;
    let envs = [("READCAST_DRAIN_SECONDS", "0"), ("READCAST_KAFKA_SESSION_TIMEOUT_MS", "45000"), SMALL];
    let shop = KafkaShop::journalled(PARTITIONS).await;
    shop.produce(events(COUNT));
    let mut first = in_mid_work(&shop, &envs).await;
    slow_database(&shop, 2 * SESSION).await;
    eventually("every projection is in a commit that does not end", PATIENCE, async || {
        let asleep =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
        let asleep: usize = shop.database.value(asleep).await.parse().unwrap();
        if asleep >= PROJECTIONS.len() { Ok(()) } else { Err(asleep) }
    })
    .await;
    first.terminate();
    first.wait().await;
    assert!(first.stderr().contains("did not drain"), "{}", first.stderr());
    let ended = Instant::now();
    cut_connections(&shop).await;
    slow_database(&shop, Duration::ZERO).await;
    let mut next = shop.start(&["run"], &envs);
    takes_everything_over(&next, PARTITIONS).await;
    let took = ended.elapsed();
    println!("the next process had the partitions {took:.1?} after the first one ended");
    assert!(took < SESSION / 2, "it took {took:?}");
    shop.catches_up().await;
    next.ends_well().await;
    shop.assert_invariants(COUNT).await;
}

#[tokio::test]
async fn a_member_that_waits_for_its_group_says_so_in_log_and_health() {
    let envs = [("READCAST_KAFKA_SESSION_TIMEOUT_MS", "25000"), SMALL];
    let shop = KafkaShop::journalled(1).await;
    shop.produce(events(2_000));
    let mut first = in_mid_work(&shop, &envs).await;
    // A projection that has joined no group yet leaves nobody waiting.
    first.wait_for_line(|line| line.contains("partition claimed") && line.contains("order_summary")).await;
    first.kill9();
    let mut next = shop.start(&["run"], &envs);
    let group = shop.group("order_summary");
    next.wait_for_line(|line| line.contains("waiting for the consumer group") && line.contains(&group)).await;
    eventually("health says that it waits, and is ready", PATIENCE, async || {
        let health = next.get("/readyz?verbose").await;
        let says = health.starts_with("HTTP/1.1 200") && health.contains("order_summary: waiting since");
        if says { Ok(()) } else { Err(health) }
    })
    .await;
    takes_everything_over(&next, 1).await;
    shop.catches_up().await;
    eventually("health says that it runs", PATIENCE, async || {
        let health = next.get("/readyz?verbose").await;
        if health.contains("waiting since") { Err(health) } else { Ok(()) }
    })
    .await;
    next.ends_well().await;
    shop.assert_invariants(2_000).await;
}
