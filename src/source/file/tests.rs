//! Tests of subscriptions to a folder.

mod altered;
mod forms;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::source::{Batch, Verdict};

struct Log {
    dir: TempDir,
    source: FileSource,
}

impl Log {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("orders")).unwrap();
        let source = FileSource::new(dir.path());
        let log = Self { dir, source };
        files.iter().for_each(|(name, text)| log.append(name, text));
        log
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("orders").join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Replaces `name` with another file, as an editor does.
    fn replace(&self, name: &str, text: &str) {
        self.append("new", text);
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    async fn subscribe(&self) -> Box<dyn Subscription> {
        self.source.subscribe("group", &["orders"]).await.unwrap()
    }

    /// A subscription with only partition 0, started at `next_offset`.
    async fn started(&self, next_offset: i64) -> Box<dyn Subscription> {
        let mut subscription = self.subscribe().await;
        assert_eq!(assigned(&mut subscription).await, [orders(0)]);
        subscription.start(&[Start::at(orders(0), next_offset)]).await.unwrap();
        subscription
    }
}

fn orders(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

async fn next(subscription: &mut Box<dyn Subscription>) -> Result<SourceEvent, SourceError> {
    tokio::time::timeout(Duration::from_secs(10), subscription.next()).await.expect("an event in time")
}

/// Checks that there is no event for longer than two of the longest pauses.
async fn quiet(subscription: &mut Box<dyn Subscription>) {
    let event = tokio::time::timeout(MAX_PAUSE * 3, subscription.next()).await;
    assert!(event.is_err(), "{event:?}");
}

async fn assigned(subscription: &mut Box<dyn Subscription>) -> Vec<TopicPartition> {
    match next(subscription).await.unwrap() {
        SourceEvent::Assigned(partitions) => partitions,
        other => panic!("{other:?}"),
    }
}

async fn batch(subscription: &mut Box<dyn Subscription>) -> Batch {
    match next(subscription).await.unwrap() {
        SourceEvent::Batch(batch) => batch,
        other => panic!("{other:?}"),
    }
}

/// The offsets and values of the next batch.
async fn rows(subscription: &mut Box<dyn Subscription>) -> Vec<(i64, String)> {
    let text = |record: &crate::source::Record| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap();
    batch(subscription).await.records.iter().map(|record| (record.offset, text(record))).collect()
}

fn row(offset: i64, value: &str) -> (i64, String) {
    (offset, value.to_owned())
}

async fn at_end(subscription: &mut Box<dyn Subscription>, partition: i32) {
    let event = next(subscription).await.unwrap();
    assert!(matches!(&event, SourceEvent::AtEnd(end) if *end == orders(partition)), "{event:?}");
}

#[tokio::test]
async fn extents_count_complete_lines() {
    let log =
        Log::new(&[("0.ndjson", "a\nb\nunfinished"), ("1.ndjson", ""), ("notes.txt", "x\n"), ("01.ndjson", "x\n")]);
    let extents = log.source.extents(&["orders"]).await.unwrap();
    let ends: Vec<_> = extents.iter().map(|(p, e)| (p.partition, e.start, e.end, e.log_id.is_some())).collect();
    assert_eq!(ends, [(0, 0, 2, true), (1, 0, 0, false)]);
    log.append("0.ndjson", "\nc\n");
    let grown = log.source.extents(&["orders"]).await.unwrap();
    assert_eq!(grown[&orders(0)].end, 4);
    assert_eq!(grown[&orders(0)].log_id, extents[&orders(0)].log_id);
}

#[tokio::test]
async fn a_pattern_means_the_folders_that_fit_it_also_later_ones() {
    let log = Log::new(&[("0.ndjson", "{}\n")]);
    let topic = |name: &str| {
        fs::create_dir(log.dir.path().join(name)).unwrap();
        fs::write(log.dir.path().join(name).join("0.ndjson"), "{}\n").unwrap();
    };
    topic("orders-eu");
    topic("offers");
    fs::write(log.dir.path().join("orders.txt"), "no folder").unwrap();
    let topics = async || -> Vec<String> {
        let extents = log.source.extents(&["orders*"]).await.unwrap();
        extents.keys().map(|partition| partition.topic.to_string()).collect()
    };
    assert_eq!(topics().await, ["orders", "orders-eu"]);
    let mut subscription = log.source.subscribe("group", &["orders*"]).await.unwrap();
    assert_eq!(assigned(&mut subscription).await.len(), 2);
    topic("orders-us");
    assert_eq!(assigned(&mut subscription).await, [TopicPartition::new("orders-us", 0)]);
    assert_eq!(topics().await.len(), 3);
    let none = SourceError::NoTopic("sales-*".into());
    assert_eq!(log.source.extents(&["orders", "sales-*"]).await.unwrap_err(), none);
}

#[tokio::test]
async fn a_missing_topic_and_a_missing_folder_are_different_errors() {
    let log = Log::new(&[]);
    let no_topic = SourceError::NoTopic("payments".into());
    assert_eq!(log.source.extents(&["orders", "payments"]).await.unwrap_err(), no_topic);
    let mut subscription = log.source.subscribe("group", &["payments"]).await.unwrap();
    assert_eq!(next(&mut subscription).await.unwrap_err(), no_topic);
    fs::create_dir(log.dir.path().join("payments")).unwrap();
    assert_eq!(assigned(&mut subscription).await, [], "the topic may be created later");

    let nowhere = FileSource::new(log.dir.path().join("nowhere"));
    let error = nowhere.extents(&["orders"]).await.unwrap_err();
    assert!(matches!(error, SourceError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().ends_with("nowhere: the folder does not exist"), "{error}");
}

#[tokio::test]
async fn a_folder_in_place_of_a_file_is_refused() {
    let log = Log::new(&[]);
    fs::create_dir(log.path("0.ndjson")).unwrap();
    let error = log.source.extents(&["orders"]).await.unwrap_err();
    assert!(matches!(error, SourceError::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn nothing_is_delivered_before_the_start() {
    let log = Log::new(&[("0.ndjson", "a\nb\n")]);
    let mut subscription = log.subscribe().await;
    assert_eq!(assigned(&mut subscription).await, [orders(0)]);
    quiet(&mut subscription).await;
    subscription.start(&[Start::at(orders(7), 3), Start::at(orders(0), 0)]).await.unwrap();
    let batch = batch(&mut subscription).await;
    assert_eq!(batch.records.len(), 2);
    assert!(subscription.assignment().holds(&orders(0), batch.assignment));
}

#[tokio::test]
async fn a_growing_file_is_followed_to_its_last_complete_line() {
    let log = Log::new(&[("0.ndjson", "k\ta\r\nb\nunfi")]);
    let mut subscription = log.started(0).await;
    assert_eq!(rows(&mut subscription).await, [row(0, "a"), row(1, "b")]);
    at_end(&mut subscription, 0).await;
    log.append("0.ndjson", "nished");
    quiet(&mut subscription).await;
    log.append("0.ndjson", "\nd\n");
    assert_eq!(rows(&mut subscription).await, [row(2, "unfinished"), row(3, "d")]);
    at_end(&mut subscription, 0).await;
    quiet(&mut subscription).await;
}

#[tokio::test]
async fn an_empty_partition_is_at_its_end() {
    let log = Log::new(&[("0.ndjson", "")]);
    let mut subscription = log.started(0).await;
    at_end(&mut subscription, 0).await;
    quiet(&mut subscription).await;
}

#[tokio::test]
async fn a_start_in_the_middle_begins_there() {
    let log = Log::new(&[("0.ndjson", "a\nb\nc\n")]);
    assert_eq!(rows(&mut log.started(1).await).await, [row(1, "b"), row(2, "c")]);
    at_end(&mut log.started(3).await, 0).await;

    let mut subscription = log.subscribe().await;
    assigned(&mut subscription).await;
    let error = subscription.start(&[Start::at(orders(0), 4)]).await.unwrap_err();
    let verdict = Verdict::Truncated { next_offset: 4, end: 3 };
    assert_eq!(error, SourceError::Verdict { partition: orders(0), verdict });
}

#[tokio::test]
async fn a_new_partition_is_assigned_when_its_file_appears() {
    let log = Log::new(&[("0.ndjson", "a\n")]);
    let mut subscription = log.started(0).await;
    let first = batch(&mut subscription).await;
    at_end(&mut subscription, 0).await;
    log.append("1.ndjson", "b\n");
    assert_eq!(assigned(&mut subscription).await, [orders(1)]);
    subscription.start(&[Start::at(orders(1), 0)]).await.unwrap();
    let second = batch(&mut subscription).await;
    assert_eq!(second.partition, orders(1));
    let assignment = subscription.assignment();
    assert!(assignment.holds(&first.partition, first.assignment));
    assert!(assignment.holds(&second.partition, second.assignment));
}

#[tokio::test]
async fn partitions_take_turns_and_each_keeps_its_order() {
    let text: String = (0..100_000).map(|number| format!("{number}\n")).collect();
    let log = Log::new(&[("0.ndjson", &text), ("1.ndjson", &text)]);
    let mut subscription = log.subscribe().await;
    let starts: Vec<_> =
        assigned(&mut subscription).await.into_iter().map(|partition| Start::at(partition, 0)).collect();
    subscription.start(&starts).await.unwrap();
    let (mut delivered, mut ended, mut switches) = ([0_i64; 2], 0, 0);
    let mut last = None;
    while ended < 2 {
        match next(&mut subscription).await.unwrap() {
            SourceEvent::Batch(batch) => {
                let count = &mut delivered[batch.partition.partition as usize];
                assert_eq!(batch.from, *count);
                for record in &batch.records {
                    assert_eq!((record.offset, record.value.as_deref()), (*count, Some(count.to_string().as_bytes())));
                    *count += 1;
                }
                switches += usize::from(last.replace(batch.partition.clone()) != Some(batch.partition));
            }
            SourceEvent::AtEnd(_) => ended += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(delivered, [100_000; 2]);
    assert_eq!(switches, 6, "three blocks each");
}

#[tokio::test]
async fn a_line_larger_than_a_block_is_one_record() {
    let long = "x".repeat(3 * lines::BLOCK_BYTES);
    let log = Log::new(&[("0.ndjson", &format!("a\n{long}\nb\n"))]);
    let mut subscription = log.started(0).await;
    assert_eq!(rows(&mut subscription).await, [row(0, "a")]);
    assert_eq!(rows(&mut subscription).await, [row(1, &long), row(2, "b")]);
    at_end(&mut subscription, 0).await;
}

#[tokio::test]
async fn a_line_beyond_the_length_limit_is_refused() {
    let log = Log::new(&[("0.ndjson", "a\n")]);
    // A sparse file: long, without a newline, and without blocks on the disk.
    OpenOptions::new().write(true).open(log.path("0.ndjson")).unwrap().set_len(65 * 1024 * 1024).unwrap();
    let mut subscription = log.started(0).await;
    assert_eq!(rows(&mut subscription).await, [row(0, "a")]);
    let error = next(&mut subscription).await.unwrap_err();
    assert!(matches!(error, SourceError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("orders/0.ndjson: the line at offset 1 is longer"), "{error}");
}

#[tokio::test]
async fn waiting_can_be_cancelled_at_any_instant() {
    let log = Log::new(&[("0.ndjson", "")]);
    let mut subscription = log.started(0).await;
    let mut offsets = Vec::new();
    for _ in 0..50 {
        log.append("0.ndjson", "a\n");
        if let Ok(event) = tokio::time::timeout(Duration::from_millis(3), subscription.next()).await
            && let SourceEvent::Batch(batch) = event.unwrap()
        {
            offsets.extend(batch.records.iter().map(|record| record.offset));
        }
    }
    while offsets.len() < 50 {
        if let SourceEvent::Batch(batch) = next(&mut subscription).await.unwrap() {
            offsets.extend(batch.records.iter().map(|record| record.offset));
        }
    }
    assert_eq!(offsets, (0..50).collect::<Vec<i64>>());
}
