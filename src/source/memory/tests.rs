//! The effect of each scripted call on subscriptions.

use std::task::{Context, Poll, Waker};

use super::*;
use crate::source::Verdict;

const KEY: Option<&str> = Some("k");

fn t(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

type Member = Box<dyn Subscription>;

/// The event that is available now, if any.
fn now(member: &mut Member) -> Option<Result<SourceEvent, SourceError>> {
    match member.next().as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(event) => Some(event),
        Poll::Pending => None,
    }
}

/// All events that are available now, in short: `+` assigned, `-` revoked, `!` lost, `$` at end, otherwise the offsets.
async fn events(member: &mut Member) -> Vec<String> {
    let mut events = Vec::new();
    while let Some(event) = now(member) {
        let numbers = |sign: &str, partitions: &[TopicPartition]| {
            let numbers: Vec<_> = partitions.iter().map(|partition| partition.partition.to_string()).collect();
            format!("{sign}{}", numbers.join(","))
        };
        events.push(match event.unwrap() {
            SourceEvent::Assigned(partitions) => {
                let starts: Vec<_> = partitions.iter().map(|partition| Start::at(partition.clone(), 0)).collect();
                member.start(&starts).await.unwrap();
                numbers("+", &partitions)
            }
            SourceEvent::Revoked(partitions) => numbers("-", &partitions),
            SourceEvent::Lost(partitions) => numbers("!", &partitions),
            SourceEvent::AtEnd(partition) => numbers("$", &[partition]),
            SourceEvent::Batch(batch) => {
                let offsets: Vec<_> = batch.records.iter().map(|record| record.offset.to_string()).collect();
                format!("{}:{}", batch.partition.partition, offsets.join(","))
            }
        });
    }
    events
}

async fn join(source: &MemorySource) -> Member {
    source.subscribe("g", &["t"]).await.unwrap()
}

fn verdict(member: &mut Member) -> Verdict {
    match now(member) {
        Some(Err(SourceError::Verdict { partition, verdict })) if partition == t(0) => verdict,
        other => panic!("{other:?}"),
    }
}

/// A source with `partitions` partitions of two records each.
fn source(partitions: i32) -> MemorySource {
    let source = MemorySource::default();
    for partition in 0..partitions {
        assert_eq!(source.append("t", partition, KEY, "a"), 0);
        assert_eq!(source.append("t", partition, KEY, "b"), 1);
    }
    source
}

#[tokio::test]
async fn records_are_delivered_in_order_and_each_end_is_reported_once() {
    let source = source(2);
    let mut member = join(&source).await;
    assert_eq!(events(&mut member).await, ["+0,1", "0:0,1", "1:0,1", "$0", "$1"]);
    source.append("t", 1, KEY, "c");
    source.append_tombstone("t", 1, KEY);
    source.cut_batches(1);
    assert_eq!(events(&mut member).await, ["1:2", "1:3", "$1"]);
    member.start(&[Start::at(t(0), 1), Start::at(t(7), 0)]).await.unwrap();
    assert_eq!(events(&mut member).await, ["0:1", "$0"]);
    assert_eq!(source.extents(&["t", "u"]).await.unwrap_err(), SourceError::NoTopic("u".into()));
    assert_eq!(source.extents(&["t"]).await.unwrap()[&t(1)].end, 4);
}

#[tokio::test]
async fn a_waiting_member_is_woken() {
    let source = MemorySource::default();
    source.create("t", 1);
    let mut member = join(&source).await;
    assert_eq!(events(&mut member).await, ["+0", "$0"]);
    let (event, offset) = tokio::join!(member.next(), async { source.append("t", 0, KEY, "a") });
    assert!(matches!(event.unwrap(), SourceEvent::Batch(batch) if batch.records[0].offset == offset));
}

#[tokio::test]
async fn members_share_the_partitions_and_move_no_more_than_necessary() {
    let source = source(3);
    let mut first = join(&source).await;
    assert_eq!(events(&mut first).await.first().unwrap(), "+0,1,2");
    let mut second = join(&source).await;
    assert_eq!(events(&mut first).await, ["-1"]);
    assert_eq!(events(&mut second).await, ["+1", "1:0,1", "$1"]);
    source.create("t", 4);
    assert_eq!(events(&mut second).await, ["+3", "$3"]);
    assert_eq!(second.assignment().partitions(), [t(1), t(3)]);
    let mut other = source.subscribe("another group", &["t", "missing"]).await.unwrap();
    assert_eq!(events(&mut other).await.first().unwrap(), "+0,1,2,3");
    drop(second);
    assert_eq!(events(&mut first).await, ["+1,3", "1:0,1", "$3", "$1"]);
    let mut idle: Member = source.subscribe("idle", &["missing"]).await.unwrap();
    assert_eq!(events(&mut idle).await, ["+"]);
}

#[tokio::test]
async fn a_rebalance_moves_every_partition_to_the_next_member() {
    let source = source(2);
    let mut first = join(&source).await;
    events(&mut first).await;
    let epoch = first.assignment().epoch(&t(0)).unwrap();
    source.rebalance("g");
    assert!(!first.assignment().holds(&t(0), epoch), "at once, before the event is delivered");
    assert_eq!(events(&mut first).await[..2], ["-0,1", "+0,1"]);
    let mut second = join(&source).await;
    events(&mut first).await;
    events(&mut second).await;
    let (before, other) = (first.assignment().partitions(), second.assignment().partitions());
    source.rebalance("g");
    assert_eq!((second.assignment().partitions(), first.assignment().partitions()), (before, other));
}

#[tokio::test]
async fn a_lost_member_reads_its_partitions_until_it_is_told() {
    let source = source(2);
    let (mut zombie, mut other) = (join(&source).await, join(&source).await);
    assert_eq!(events(&mut zombie).await, ["+0,1", "-1", "0:0,1", "$0"]);
    events(&mut other).await;
    source.lose("g", 0);
    assert_eq!(events(&mut other).await, ["+0", "0:0,1", "$0"]);
    source.append("t", 0, KEY, "c");
    assert_eq!(events(&mut zombie).await, ["0:2", "$0"]);
    assert!(zombie.assignment().epoch(&t(0)).is_some() && other.assignment().epoch(&t(0)).is_some());
    source.tell_lost("g", 0);
    assert_eq!(zombie.assignment().partitions(), [t(0)]);
    assert_eq!(events(&mut zombie).await, ["!0", "+0", "0:0,1,2", "$0"]);
    assert_eq!(events(&mut other).await, ["-0"]);
    source.tell_lost("g", 0);
    assert_eq!(events(&mut zombie).await, Vec::<String>::new(), "the member has joined again");
}

#[tokio::test]
async fn a_crashed_member_gets_no_event_and_others_read_its_partitions() {
    let source = source(2);
    let (mut crashed, mut other) = (join(&source).await, join(&source).await);
    events(&mut crashed).await;
    events(&mut other).await;
    source.crash("g", 0);
    source.append("t", 0, KEY, "c");
    assert_eq!(events(&mut other).await, ["+0", "0:0,1,2", "$0"]);
    assert_eq!(events(&mut crashed).await, Vec::<String>::new());
}

#[tokio::test]
async fn retention_is_a_gap_only_if_it_deletes_unread_records() {
    let source = source(1);
    let mut member = join(&source).await;
    events(&mut member).await;
    source.append("t", 0, KEY, "c");
    source.append("t", 0, KEY, "d");
    source.trim("t", 0, 2);
    assert_eq!(events(&mut member).await, ["0:2,3", "$0"]);
    source.append("t", 0, KEY, "e");
    source.append("t", 0, KEY, "f");
    source.trim("t", 0, 5);
    assert_eq!(verdict(&mut member), Verdict::Gap { from: 4, to: 5 });
    let extent = source.extents(&["t"]).await.unwrap()[&t(0)].clone();
    assert_eq!((extent.start, extent.end), (5, 6));
}

#[tokio::test]
async fn a_truncated_log_is_detected() {
    let source = source(1);
    let mut member = join(&source).await;
    events(&mut member).await;
    source.truncate("t", 0, 1);
    assert_eq!(verdict(&mut member), Verdict::Truncated { next_offset: 2, end: 1 });
    assert_eq!(source.append("t", 0, KEY, "x"), 1);
}

#[tokio::test]
async fn a_recreated_topic_is_detected() {
    let source = source(1);
    let mut member = join(&source).await;
    events(&mut member).await;
    source.recreate("t");
    assert_eq!(verdict(&mut member), Verdict::Recreated { was: "log-1".into(), is: "log-2".into() });
    assert_eq!(source.extents(&["t"]).await.unwrap()[&t(0)].end, 0);
}

#[tokio::test]
async fn the_scripted_number_of_calls_fails() {
    let source = source(1);
    let mut member = join(&source).await;
    source.fail_next(2);
    for _ in 0..2 {
        assert!(matches!(now(&mut member), Some(Err(SourceError::Unavailable { .. }))));
    }
    assert_eq!(events(&mut member).await, ["+0", "0:0,1", "$0"]);
}

#[tokio::test]
async fn holes_are_skipped() {
    let source = source(1);
    assert_eq!(source.skip_offset("t", 0), 2);
    source.append("t", 0, KEY, "c");
    source.skip_offset("t", 0);
    let mut member = join(&source).await;
    assert_eq!(events(&mut member).await, ["+0", "0:0,1,3", "$0"]);
    assert_eq!(source.extents(&["t"]).await.unwrap()[&t(0)].end, 5);
    member.start(&[Start::at(t(0), 2)]).await.unwrap();
    let event = now(&mut member).unwrap().unwrap();
    assert!(
        matches!(&event, SourceEvent::Batch(batch) if batch.from == 2 && batch.records[0].offset == 3),
        "{event:?}"
    );
}
