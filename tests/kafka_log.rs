//! What the Kafka source tells of the log: its records byte for byte, and that it is no longer the one that was read. The
//! library is used directly: source, subscription, events.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use bytes::Bytes;
use readcast::internals::source::kafka::KafkaSource;
use readcast::source::{
    Batch, Extents, ReadPosition, Record, Source, SourceError, SourceEvent, Start, Subscription, Verdict, verify_all,
};
use readcast_core::TopicPartition;
use tokio::time::timeout;

use crate::support::eventually::{PATIENCE, eventually};
use crate::support::kafka::{Kafka, NewRecord, unique};
use crate::support::servers::cluster::{Cluster, FOLLOWER, LEADER};

fn source(bootstrap: &str, buffer_bytes: usize) -> KafkaSource {
    KafkaSource::new([("bootstrap.servers".to_owned(), bootstrap.to_owned())], "", buffer_bytes)
}

/// A reader of partition 0 of one topic, and its checkpoint.
struct Reader {
    subscription: Box<dyn Subscription>,
    checkpoint: Start,
    values: Vec<String>,
}

impl Reader {
    /// Joins a group of its own and starts at `checkpoint`.
    async fn start(source: &KafkaSource, checkpoint: Start) -> Reader {
        let topic = checkpoint.partition.topic.clone();
        let mut subscription = source.subscribe(&unique("readers"), &[&*topic]).await.unwrap();
        loop {
            match timeout(PATIENCE, subscription.next()).await.expect("the group answers").unwrap() {
                SourceEvent::Assigned(partitions) if partitions.contains(&checkpoint.partition) => break,
                SourceEvent::Assigned(_) => {}
                other => panic!("before anything was assigned: {other:?}"),
            }
        }
        subscription.start(std::slice::from_ref(&checkpoint)).await.unwrap();
        Reader { subscription, checkpoint, values: Vec::new() }
    }

    /// Takes the next batch, which begins where the reader stands.
    async fn batch(&mut self) -> Result<Batch, SourceError> {
        loop {
            match timeout(PATIENCE, self.subscription.next()).await.expect("something happens")? {
                SourceEvent::Batch(batch) => {
                    assert_eq!(batch.from, self.checkpoint.next_offset, "batches follow each other");
                    self.checkpoint.next_offset = batch.records.last().unwrap().offset + 1;
                    self.checkpoint.leader_epoch = batch.leader_epoch;
                    self.values.extend(batch.records.iter().map(value));
                    return Ok(batch);
                }
                SourceEvent::AtEnd(_) => {}
                other => panic!("the partition stays ours: {other:?}"),
            }
        }
    }

    async fn read_to(&mut self, end: i64) {
        while self.checkpoint.next_offset < end {
            self.batch().await.unwrap();
        }
    }

    /// What stops the reader, which gets no record before.
    async fn verdict(&mut self) -> Verdict {
        match self.batch().await {
            Err(SourceError::Verdict { partition, verdict }) if partition == self.checkpoint.partition => verdict,
            other => panic!("no verdict: {other:?}"),
        }
    }
}

fn value(record: &Record) -> String {
    String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap()
}

fn values(word: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{word} {number}")).collect()
}

fn records(values: &[String]) -> impl Iterator<Item = (Option<i32>, String, String)> {
    values.iter().map(|value| (Some(0), "key".to_owned(), value.clone()))
}

/// Which checkpoints are bad, by their offsets and the log's ends alone.
async fn examined(source: &KafkaSource, checkpoint: &Start) -> Vec<(TopicPartition, Verdict)> {
    let extents: Extents = eventually("the log answers", PATIENCE, async || {
        source.extents(&[&*checkpoint.partition.topic]).await.map_err(|error| error.to_string())
    })
    .await;
    let log_id = extents[&checkpoint.partition].log_id.clone();
    let position =
        ReadPosition { partition: checkpoint.partition.clone(), next_offset: checkpoint.next_offset, log_id };
    verify_all(&[position], &extents)
}

/// Ten records are on both brokers and ten on the leader alone when a reader has read them all. Then the leader dies.
async fn a_leader_dies_with_ten_records_that_it_had_alone(cluster: &mut Cluster, source: &KafkaSource) -> Reader {
    let (topic, kafka) = (unique("elections"), Kafka::at(&cluster.bootstrap()));
    cluster.create_topic(&topic).await;
    kafka.produce(&topic, records(&values("both", 10)));
    cluster.kill(FOLLOWER);
    cluster.await_in_sync(&topic, &[LEADER]).await;
    kafka.produce(&topic, records(&values("lost", 10)));
    let mut reader = Reader::start(source, Start::at(TopicPartition::new(&*topic, 0), 0)).await;
    reader.read_to(20).await;
    assert_eq!(reader.values, [values("both", 10), values("lost", 10)].concat());
    assert!(reader.checkpoint.leader_epoch.is_some(), "records come with their leader's epoch");
    cluster.kill(LEADER);
    cluster.await_leader(&topic, -1).await;
    reader
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unclean_election_is_detected_even_after_the_log_has_grown_again() {
    let mut cluster = Cluster::shared().await;
    let source = source(&cluster.bootstrap(), 1 << 20);
    let reader = a_leader_dies_with_ten_records_that_it_had_alone(&mut cluster, &source).await;
    let checkpoint = reader.checkpoint.clone();
    reader.subscription.close().await;
    let topic = &*checkpoint.partition.topic;

    // Nobody leads: that is no partition less.
    let unavailable = source.extents(&[topic]).await.unwrap_err();
    assert!(matches!(unavailable, SourceError::Unavailable { .. }), "{unavailable}");
    assert!(unavailable.to_string().contains("has no leader"), "{unavailable}");

    cluster.start_again(FOLLOWER);
    cluster.await_leader(topic, FOLLOWER).await;
    let truncated = Verdict::Truncated { next_offset: 20, end: 10 };
    assert_eq!(examined(&source, &checkpoint).await, [(checkpoint.partition.clone(), truncated.clone())]);

    Kafka::at(&cluster.bootstrap()).produce(topic, records(&values("other", 30)));
    assert_eq!(examined(&source, &checkpoint).await, [], "by offsets alone it is as good as ever");
    let mut again = Reader::start(&source, checkpoint.clone()).await;
    assert_eq!(again.verdict().await, truncated);
    assert_eq!(again.verdict().await, truncated, "asking again gives the same");
    again.subscription.close().await;

    cluster.start_again(LEADER);
    cluster.await_in_sync(topic, &[LEADER, FOLLOWER]).await;
    // Without the epoch it would go on in the middle of other records.
    let mut blind = Reader::start(&source, Start { leader_epoch: None, ..checkpoint }).await;
    assert_eq!(value(&blind.batch().await.unwrap().records[0]), "other 10");
    blind.subscription.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_reader_detects_an_unclean_election() {
    let mut cluster = Cluster::shared().await;
    let source = source(&cluster.bootstrap(), 1 << 20);
    let mut reader = a_leader_dies_with_ten_records_that_it_had_alone(&mut cluster, &source).await;
    let topic = reader.checkpoint.partition.topic.clone();
    cluster.start_again(FOLLOWER);
    cluster.await_leader(&topic, FOLLOWER).await;
    Kafka::at(&cluster.bootstrap()).produce(&topic, records(&values("other", 30)));
    assert_eq!(reader.verdict().await, Verdict::Truncated { next_offset: 20, end: 10 });
    reader.subscription.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_dies_with_its_follower_in_sync_loses_no_record_and_gives_no_verdict() {
    let mut cluster = Cluster::shared().await;
    let (topic, kafka) = (unique("elections"), Kafka::at(&cluster.bootstrap()));
    let source = source(&cluster.bootstrap(), 1 << 20);
    cluster.create_topic(&topic).await;
    let (before, after) = (values("before", 10), values("after", 10));
    kafka.produce(&topic, records(&before));
    let mut reader = Reader::start(&source, Start::at(TopicPartition::new(&*topic, 0), 0)).await;
    reader.read_to(10).await;
    let checkpoint = reader.checkpoint.clone();

    cluster.kill(LEADER);
    cluster.await_leader(&topic, FOLLOWER).await;
    kafka.produce(&topic, records(&after));
    reader.read_to(20).await;
    assert_eq!(reader.values, [before, after.clone()].concat());
    assert!(reader.checkpoint.leader_epoch > checkpoint.leader_epoch, "the epoch goes with the leader");
    reader.subscription.close().await;
    cluster.start_again(LEADER);
    cluster.await_in_sync(&topic, &[LEADER, FOLLOWER]).await;

    let mut again = Reader::start(&source, checkpoint).await;
    again.read_to(20).await;
    assert_eq!(again.values, after, "a checkpoint of the former leader is as good");
    again.subscription.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupt_batch_is_refused_with_its_position_and_nothing_after_it_is_delivered() {
    let cluster = Cluster::shared().await;
    let (topic, kafka) = (unique("corrupt"), Kafka::at(&cluster.bootstrap()));
    cluster.create_topic(&topic).await;
    // A batch each: a producer sends all that it has when it is closed.
    for word in ["good", "corrupt", "behind"] {
        kafka.produce(&topic, records(&values(word, 1)));
    }
    let segment = cluster.segment(LEADER, &topic);
    let log = std::fs::read(&segment).unwrap();
    let at = log.windows(7).position(|bytes| bytes == b"corrupt").expect("small batches are not compressed");
    let file = std::fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(b"C", u64::try_from(at).unwrap()).unwrap();

    let source = source(&cluster.bootstrap(), 1 << 20);
    let mut reader = Reader::start(&source, Start::at(TopicPartition::new(&*topic, 0), 0)).await;
    reader.read_to(1).await;
    for _ in 0..2 {
        let refused = reader.batch().await.unwrap_err();
        assert!(matches!(refused, SourceError::Refused { .. }), "{refused}");
        let place = format!("reading {topic}/0 from Kafka: MessageSet at offset 1 ");
        assert!(refused.to_string().starts_with(&place), "{refused}");
    }
    assert_eq!(reader.values, ["good 0"]);
    reader.subscription.close().await;
}

/// More of them than are asked about at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_extents_of_many_partitions_are_complete() {
    const PARTITIONS: i32 = 310;
    let (topic, kafka) = (unique("many"), Kafka::shared().await);
    kafka.create_topic(&topic, PARTITIONS as usize).await;
    let records = (0..2 * PARTITIONS).map(|number| (Some(number % PARTITIONS), "key", "value"));
    kafka.produce(&topic, records);
    for trimmed in [0, 249, 250, 309] {
        kafka.delete_records(&topic, trimmed, 1).await;
    }
    let extents = source(kafka.bootstrap(), 1 << 20).extents(&[&topic]).await.unwrap();
    let found: Vec<_> = extents.iter().map(|(at, extent)| (at.partition, extent.start, extent.end)).collect();
    let start = |partition| i64::from([0, 249, 250, 309].contains(&partition));
    let expected: Vec<_> = (0..PARTITIONS).map(|partition| (partition, start(partition), 2)).collect();
    assert_eq!(found, expected);
    let ids: std::collections::BTreeSet<_> = extents.values().map(|extent| &extent.log_id).collect();
    assert!(ids.len() == 1 && ids.iter().all(|id| id.is_some()), "{ids:?}");
    kafka.delete_topic(&topic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_partition_is_reported_with_its_topic() {
    let (topics, kafka) = ([unique("ends"), unique("ends")], Kafka::shared().await);
    for topic in &topics {
        kafka.create_topic(topic, 1).await;
    }
    let mut subscription =
        source(kafka.bootstrap(), 1 << 20).subscribe(&unique("readers"), &[&topics[0], &topics[1]]).await.unwrap();
    let mut ended = Vec::new();
    while ended.len() < 2 {
        match timeout(PATIENCE, subscription.next()).await.expect("something happens").unwrap() {
            SourceEvent::Assigned(partitions) => {
                let starts: Vec<_> = partitions.into_iter().map(|partition| Start::at(partition, 0)).collect();
                subscription.start(&starts).await.unwrap();
            }
            SourceEvent::AtEnd(partition) => ended.push(partition.topic.to_string()),
            other => panic!("the topics are empty: {other:?}"),
        }
    }
    ended.sort_unstable();
    let mut expected = topics.to_vec();
    expected.sort_unstable();
    assert_eq!(ended, expected);
    subscription.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_arrive_with_headers_and_time_byte_for_byte() {
    let (topic, kafka) = (unique("headers"), Kafka::shared().await);
    kafka.create_topic(&topic, 1).await;
    let header = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
    let headers =
        vec![header("trace", b"\x00\xff\x80"), header("", b""), header("trace", b"again"), header("Ünï", b"1")];
    let with = |headers, timestamp| NewRecord {
        partition: Some(0),
        key: Some(b"\xfe\x00".to_vec()),
        value: Some(Vec::new()),
        headers,
        timestamp,
    };
    let tombstone = NewRecord { partition: Some(0), timestamp: Some(1), ..NewRecord::default() };
    kafka.produce(&topic, [with(headers.clone(), Some(1_700_000_000_123)), tombstone]);
    let mut reader =
        Reader::start(&source(kafka.bootstrap(), 1 << 20), Start::at(TopicPartition::new(&*topic, 0), 0)).await;
    let mut found = Vec::new();
    while found.len() < 2 {
        match timeout(PATIENCE, reader.subscription.next()).await.expect("records arrive").unwrap() {
            SourceEvent::Batch(batch) => found.extend(batch.records),
            SourceEvent::AtEnd(_) => {}
            other => panic!("{other:?}"),
        }
    }
    let headers = headers.into_iter().map(|(name, value)| (name, Some(Bytes::from(value)))).collect();
    let first = Record {
        offset: 0,
        key: Some(Bytes::from_static(b"\xfe\x00")),
        value: Some(Bytes::new()),
        headers,
        timestamp: Some(1_700_000_000_123),
        remark: None,
    };
    let second = Record { offset: 1, timestamp: Some(1), ..Record::default() };
    assert_eq!(found, [first, second]);
    reader.subscription.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_polling_thread_beats_while_no_records_are_taken() {
    let (topic, kafka) = (unique("pulse"), Kafka::shared().await);
    kafka.create_topic(&topic, 1).await;
    kafka.produce(&topic, records(&values("record", 100)));
    let reader = Reader::start(&source(kafka.bootstrap(), 1), Start::at(TopicPartition::new(&*topic, 0), 0)).await;
    for _ in 0..3 {
        let mut last = Duration::ZERO;
        // It grows until there is a sign.
        eventually("there is a sign of life", PATIENCE, async || {
            let before = std::mem::replace(&mut last, reader.subscription.heartbeat_age());
            if last < before { Ok(()) } else { Err(format!("{last:?}")) }
        })
        .await;
    }
    reader.subscription.close().await;
}
