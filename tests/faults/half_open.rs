//! Connections that look open and lead nowhere, under a lane that writes.

use std::time::{Duration, Instant};

use super::{SMALL, slow_database};
use crate::shop::{KafkaShop, events};
use crate::support::proxy::{Fault, Moment, Proxy, Statement, Way};

/// Within which a connection that leads nowhere is noticed, and what it was to do is done on another one.
const NOTICED_WITHIN: Duration = Duration::from_secs(15);
/// For a machine that does much else; less than the 20 s after which the server ends a transaction that idles.
const MARGIN: Duration = Duration::from_secs(4);

/// The statement that moves checkpoints, in the transaction of a lane.
const ADVANCE: Statement = Statement::With("UPDATE readcast.checkpoints AS held");

/// One connection of a lane fails, all others are well: what it was to do is done in time, once.
async fn a_lane_goes_on_after(moment: Moment, fault: Fault) {
    let shop = KafkaShop::journalled(4).await;
    shop.produce(events(1_000));
    let mut proxy = Proxy::start(shop.database.url());
    let mut instance = shop.start_with(&["run"], &proxy.url(), &[SMALL, ("READCAST_LANES", "2")]);
    shop.catches_up().await;
    proxy.arm(moment, fault, 1);
    shop.produce(events(2_000).skip(1_000));
    proxy.acted().await;
    let begun = Instant::now();
    shop.catches_up().await;
    let took = begun.elapsed();
    println!("{moment:?} {fault:?}: {took:.1?}");
    assert!(took < NOTICED_WITHIN + MARGIN, "{moment:?} {fault:?}: it took {took:?}");
    instance.ends_well().await;
    assert!(!instance.stderr().contains("halted"), "{}", instance.stderr());
    shop.assert_invariants(2_000).await;
}

#[tokio::test]
async fn a_lane_recovers_if_its_connection_stalls_before_the_checkpoints() {
    a_lane_goes_on_after(Moment::Before(ADVANCE), Fault::Silence(Way::Both)).await;
}

#[tokio::test]
async fn a_lane_recovers_if_its_connection_loses_packets_before_the_checkpoints() {
    a_lane_goes_on_after(Moment::Before(ADVANCE), Fault::Vanish).await;
}

#[tokio::test]
async fn a_lane_recovers_if_its_connection_stalls_before_the_commit() {
    a_lane_goes_on_after(Moment::Before(Statement::Commit), Fault::Silence(Way::Both)).await;
}

/// The server has locked the checkpoints by then, and does not learn that nobody is left to unlock them.
#[tokio::test]
async fn a_lane_recovers_if_its_connection_loses_packets_before_the_commit() {
    a_lane_goes_on_after(Moment::Before(Statement::Commit), Fault::Vanish).await;
}

#[tokio::test]
async fn a_lane_recovers_if_the_response_to_its_commit_never_arrives() {
    a_lane_goes_on_after(Moment::After(Statement::Commit), Fault::Silence(Way::Replies)).await;
}

#[tokio::test]
async fn a_lane_recovers_if_its_connection_loses_packets_after_the_commit() {
    a_lane_goes_on_after(Moment::After(Statement::Commit), Fault::Vanish).await;
}

#[tokio::test]
async fn a_slow_commit_is_not_aborted() {
    const SLOWNESS: Duration = Duration::from_secs(20);
    let shop = KafkaShop::journalled(1).await;
    shop.produce(events(10));
    let mut instance = shop.start(&["run"], &[]);
    shop.catches_up().await;
    slow_database(&shop, SLOWNESS).await;
    let lines = instance.stderr().lines().count();
    let begun = Instant::now();
    shop.produce(events(11).skip(10));
    shop.catches_up().await;
    assert!(begun.elapsed() >= SLOWNESS, "each projection had one slow commit to make");
    slow_database(&shop, Duration::ZERO).await;
    instance.ends_well().await;
    let log = instance.stderr();
    let since: Vec<&str> = log.lines().skip(lines).collect();
    for word in ["transaction failed", "feed failed", "halted", "fenced"] {
        assert!(!since.iter().any(|line| line.contains(word)), "{}", since.join("\n"));
    }
    shop.assert_invariants(11).await;
}
