//! Dead letters, copied to a topic of Kafka.

use std::collections::BTreeMap;

use readcast::internals::source::kafka::KafkaSource;
use readcast::source::{Record, Source, SourceEvent, Start};

use crate::shop::{KafkaShop, events};
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::kafka::{Kafka, NewRecord, unique};
use crate::support::postgres::Database;
use crate::support::servers;

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
async fn dead_letters_are_copied_byte_for_byte_with_headers_of_their_origin() {
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

/// Each of them is legal in the log that it was read from, and can't be copied.
#[tokio::test]
async fn a_dead_letter_that_cannot_be_copied_blocks_neither_others_nor_operators() {
    let shop = KafkaShop::new(1).await;
    let copies = shop.topic().replace("orders", COPIES);
    // A minute, so that an older record is refused, and with it the batch that it is in.
    let refusing = [("message.timestamp.before.max.ms", "60000")];
    shop.kafka.create_topic_with(&copies, 1, &refusing).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let poison = |key: &str, value: Vec<u8>, timestamp| NewRecord {
        partition: Some(0),
        key: Some(key.as_bytes().to_vec()),
        value: Some(value),
        timestamp: Some(timestamp),
        ..NewRecord::default()
    };
    let now = i64::try_from(now.as_millis()).unwrap();
    let short = |key: &str| poison(key, b"no event".to_vec(), now);
    let large = poison("large", vec![b'x'; 1_000_100], now);
    let old = poison("old", b"no event".to_vec(), 1_700_000_000_123);
    shop.kafka.produce(&shop.topic(), [large, short("a"), old, short("b")]);
    let envs = [("READCAST_SOURCE_DEAD_LETTER_TOPIC", COPIES)];
    let mut instance = shop.start(&["run", "--only", "order_summary"], &envs);
    let copied = tokio::time::timeout(PATIENCE, read(shop.kafka.bootstrap(), &copies, 2)).await.unwrap();
    let keys: Vec<_> = copied.iter().map(|record| record.key.as_deref().unwrap_or_default()).collect();
    assert_eq!(keys, [b"a", b"b"]);
    let notices = "SELECT kind, count, text FROM readcast.notices";
    eventually("both are told of", PATIENCE, async || {
        let told = shop.database.try_rows(notices).await.unwrap_or_default();
        let all = ["dead_letters_not_copied|2|", "@0: ", "size too large", "@2: "];
        if told.len() == 1 && all.iter().all(|part| told[0].contains(part)) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    let mut status = shop.start(&["status"], &[]);
    assert!(status.wait().await.success());
    let told = status.stdout();
    assert!(told.contains("can't be copied to topic") && told.contains("readcast dead-letters list"), "{told}");
    let mut json = shop.start(&["status", "--output", "json"], &[]);
    assert!(json.wait().await.success());
    let status: serde_json::Value = serde_json::from_str(&json.stdout()).unwrap();
    let noted =
        status["partitions"].as_array().unwrap().iter().find(|line| line["projection"] == "order_summary").unwrap();
    assert_eq!(noted["notices"][0]["kind"], "dead_letters_not_copied");
    let mut check = shop.start(&["check"], &[]);
    check.wait().await;
    let warned = check.stdout();
    assert!(warned.lines().any(|line| line.contains("WARNING") && line.contains("can't be copied")), "{warned}");
    let mut discard = shop.start(&["dead-letters", "discard", "order_summary", "--all"], &[]);
    assert!(discard.wait().await.success(), "{}", discard.stderr());
    eventually("nothing is told any more", PATIENCE, async || {
        let told = shop.database.rows(notices).await;
        if told.is_empty() { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    instance.terminate();
    assert!(instance.wait().await.success(), "{}", instance.stderr());
}

#[tokio::test]
async fn a_missing_dead_letter_topic_is_reported_and_letters_are_copied_once_it_exists() {
    // One that creates no topic that somebody asks for.
    let broker = servers::own_kafka(None).await;
    let shop = KafkaShop::on(Kafka::at(&broker.bootstrap()), Database::create().await, 1).await;
    let copies = shop.topic().replace("orders", COPIES);
    let torn = NewRecord { partition: Some(0), value: Some(b"no event".to_vec()), ..NewRecord::default() };
    shop.kafka.produce(&shop.topic(), [torn]);
    let envs = [("READCAST_SOURCE_DEAD_LETTER_TOPIC", COPIES)];
    let mut instance = shop.start(&["run", "--only", "order_summary"], &envs);
    let notices = "SELECT kind FROM readcast.notices";
    eventually("it is told of", 2 * PATIENCE, async || {
        // Its table is not there at once.
        let told = shop.database.try_rows(notices).await.unwrap_or_default();
        if told == ["copying_fails"] { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    let mut retry = shop.start(&["dead-letters", "retry", "order_summary", "--all"], &[]);
    retry.wait().await;
    assert!(retry.stderr().contains("1 key still fails: no key at "), "it was tried: {}", retry.stderr());
    shop.kafka.create_topic(&copies, 1).await;
    let copied = tokio::time::timeout(2 * PATIENCE, read(shop.kafka.bootstrap(), &copies, 1)).await.unwrap();
    assert_eq!(copied[0].value.as_deref(), Some(b"no event".as_slice()));
    eventually("nothing is told any more", PATIENCE, async || {
        let told = shop.database.rows(notices).await;
        if told.is_empty() { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    instance.terminate();
    assert!(instance.wait().await.success(), "{}", instance.stderr());
}
