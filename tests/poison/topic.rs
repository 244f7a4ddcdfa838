//! Dead letters, copied to a topic of Kafka.

use std::collections::BTreeMap;

use readcast::source::kafka::KafkaSource;
use readcast::source::{Record, Source, SourceEvent, Start};

use crate::shop::{KafkaShop, events};
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::kafka::{NewRecord, unique};

const COPIES: &str = "dead";

/// Reads the first `count` records of a topic with one partition.
async fn read(bootstrap: &str, topic: &str, count: usize) -> Vec<Record> {
    let properties = [("bootstrap.servers".to_owned(), bootstrap.to_owned())];
    let source = KafkaSource::new(properties, "", 1 << 20);
    let mut subscription = source.subscribe(&unique("reader"), &[topic]).await.unwrap();
    let mut records = Vec::new();
    while records.len() < count {
        match subscription.next().await.unwrap() {
            SourceEvent::Assigned(partitions) => {
                let starts: Vec<_> = partitions.into_iter().map(|partition| Start::at(partition, 0)).collect();
                subscription.start(&starts).await.unwrap();
            }
            SourceEvent::Batch(batch) => records.extend(batch.records),
            _ => {}
        }
    }
    subscription.close().await;
    records
}

#[tokio::test]
async fn dead_letters_are_copied_byte_for_byte_with_headers_that_say_where_they_came_from() {
    for dialect in ["connect", "spring"] {
        let shop = KafkaShop::new(1).await;
        let copies = shop.topic().replace("orders", COPIES);
        shop.kafka.create_topic(&copies, 1).await;
        shop.produce(events(10));
        let poison = NewRecord {
            partition: Some(0),
            key: Some(b"k\0\xff".to_vec()),
            value: Some(b"\x1b[31m not an event \xfe".to_vec()),
            headers: vec![("trace".into(), b"1".to_vec()), ("trace".into(), b"2".to_vec())],
            timestamp: Some(1_700_000_000_123),
        };
        let tombstone = NewRecord { partition: Some(0), key: Some(b"gone".to_vec()), ..NewRecord::default() };
        shop.kafka.produce(&shop.topic(), [poison, tombstone]);
        let envs = [("READCAST_SOURCE_DEAD_LETTER_TOPIC", COPIES), ("READCAST_SOURCE_DEAD_LETTER_HEADERS", dialect)];
        let mut instance = shop.start(&["run", "--only", "order_summary"], &envs);
        let copied = tokio::time::timeout(PATIENCE, read(shop.kafka.bootstrap(), &copies, 2)).await.unwrap();
        let [first, second] = copied.as_slice() else { panic!("{copied:?}") };
        assert_eq!(first.key.as_deref(), Some(b"k\0\xff".as_slice()));
        assert_eq!(first.value.as_deref(), Some(b"\x1b[31m not an event \xfe".as_slice()));
        assert_eq!(first.timestamp, Some(1_700_000_000_123));
        assert_eq!((second.key.as_deref(), &second.value), (Some(b"gone".as_slice()), &None));
        let theirs: Vec<_> =
            first.headers.iter().take(2).map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        assert_eq!(theirs, [("trace", Some(b"1".as_slice())), ("trace", Some(b"2".as_slice()))]);
        let ours: BTreeMap<&str, &[u8]> =
            first.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref().unwrap_or_default())).collect();
        if dialect == "connect" {
            assert_eq!(ours["__connect.errors.offset"], b"10");
            assert_eq!(ours["__connect.errors.exception.class.name"], b"undecodable");
        } else {
            assert_eq!(ours["kafka_dlt-original-offset"], 10_i64.to_be_bytes());
            assert_eq!(ours["kafka_dlt-original-topic"], b"orders");
        }
        let uncopied = "SELECT count(*) FROM readcast.dead_letters WHERE copied_at IS NULL";
        eventually("the table knows that they were copied", PATIENCE, async || {
            let left = shop.database.value(uncopied).await;
            if left == "0" { Ok(()) } else { Err(left) }
        })
        .await;
        instance.terminate();
        assert!(instance.wait().await.success(), "{}", instance.stderr());
    }
}
