//! The bank as a service: instances of the program, killed and started at random while they project.

use std::sync::Arc;
use std::time::Duration;

use readcast_projections::bank;
use readcast_projections::bank::sample::{BankEvent, BankEvents};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;

use super::interleavings::{postgres_tables, sqlite_tables};
use super::{PARTITIONS, events, expected, partition};
use crate::files_to_sqlite::seed;
use crate::oracle::assert_same;
use crate::shop::{append, sqlite_rows};
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::kafka::{Kafka, unique};
use crate::support::postgres::Database;
use crate::support::process::Readcast;

const EVENTS: usize = 50_000;
const KILLS: usize = 6;
const TOPICS: [&str; 3] = [bank::OWNERS, bank::ACCOUNTS, bank::TRANSFERS];

/// A log with the events of a bank.
struct KafkaBank {
    kafka: Arc<Kafka>,
    app: String,
    prefix: String,
}

impl KafkaBank {
    async fn new() -> Self {
        let bank = Self { kafka: Kafka::shared().await, app: unique("bank"), prefix: unique("bank") + "." };
        for topic in TOPICS {
            bank.kafka.create_topic(&format!("{}{topic}", bank.prefix), PARTITIONS).await;
        }
        bank
    }

    fn produce(&self, events: &[BankEvent]) {
        TOPICS.iter().for_each(|topic| self.produce_to(topic, events));
    }

    /// Writes those of the events that are of this topic.
    fn produce_to(&self, topic: &str, events: &[BankEvent]) {
        let of_topic = events.iter().filter(|event| event.topic == topic);
        let records = of_topic.map(|event| {
            let number = i32::try_from(partition(&event.key)).unwrap();
            (Some(number), event.key.clone(), event.json.clone())
        });
        self.kafka.produce(&format!("{}{topic}", self.prefix), records);
    }

    fn start(&self, arguments: &[&str], store: &str) -> Readcast {
        self.start_with(arguments, store, &[])
    }

    fn start_with(&self, arguments: &[&str], store: &str, more: &[(&str, &str)]) -> Readcast {
        let settings = [
            ("READCAST_KAFKA_BOOTSTRAP_SERVERS", self.kafka.bootstrap()),
            ("READCAST_SOURCE_TOPIC_PREFIX", &self.prefix),
            ("READCAST_APP", &self.app),
            ("READCAST_STORE_URL", store),
            ("READCAST_ADMIN_LISTEN", "127.0.0.1:0"),
            ("READCAST_LANES", "4"),
            ("READCAST_BATCH_RECORDS", "200"),
            ("READCAST_KAFKA_SESSION_TIMEOUT_MS", "1000"),
            ("READCAST_KAFKA_HEARTBEAT_INTERVAL_MS", "200"),
        ];
        Readcast::start_bank(arguments, &[&settings, more].concat())
    }

    /// Projects the events with so many instances at a time, of which one after the other is killed and replaced.
    async fn project(&self, store: &str, instances: usize, events: &[BankEvent], random: &mut fastrand::Rng) {
        let mut running: Vec<Readcast> = (0..instances).map(|_| self.start(&["run"], store)).collect();
        for events in events.chunks(EVENTS / KILLS + 1) {
            self.produce(events);
            // When the next one strikes is a part of the schedule.
            tokio::time::sleep(Duration::from_millis(random.u64(200..1_500))).await;
            let place = random.usize(..running.len());
            running.swap_remove(place).kill9();
            running.push(self.start(&["run"], store));
        }
        for instance in &running {
            let log = instance.stderr();
            assert!(!log.contains("40P01") && !log.contains("55P03"), "lanes waited for each other:\n{log}");
        }
        drop(running);
        let mut last = self.start(&["run", "--until-end"], store);
        let status = last.wait().await;
        assert!(status.success(), "{status}\n{}", last.stderr());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_of_two_instances_that_name_the_same_few_owners_never_wait_in_a_circle() {
    const OWNERS: u32 = 10;
    const ACCOUNTS: u32 = 10_000;
    let (bank, database) = (KafkaBank::new().await, Database::create().await);
    let events: Vec<BankEvent> = BankEvents::new(1).with(OWNERS, ACCOUNTS).take(EVENTS).collect();
    bank.produce(&events);
    let mut running: Vec<Readcast> = (0..2).map(|_| bank.start(&["run", "--until-end"], database.url())).collect();
    for instance in &mut running {
        let status = instance.wait().await;
        let log = instance.stderr();
        assert!(status.success(), "{status}\n{log}");
        assert!(!log.contains("40P01") && !log.contains("55P03"), "lanes waited for each other:\n{log}");
    }
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(database.value(deadlocks).await, "0");
    assert_same(&postgres_tables(&database).await, &expected(&events));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bank_adds_up_in_postgres_whoever_is_killed() {
    let seed = seed();
    let (bank, database, events) = (KafkaBank::new().await, Database::create().await, events(seed, EVENTS));
    bank.project(database.url(), 2, &events, &mut fastrand::Rng::with_seed(seed)).await;
    assert_same(&postgres_tables(&database).await, &expected(&events));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bank_adds_up_in_sqlite_whoever_is_killed() {
    let seed = seed();
    let (bank, dir, events) = (KafkaBank::new().await, TempDir::new().unwrap(), events(seed, EVENTS));
    let path = dir.path().join("read.db");
    let store = format!("sqlite:{}", path.display());
    bank.project(&store, 1, &events, &mut fastrand::Rng::with_seed(seed)).await;
    assert_same(&sqlite_tables(&path).await, &expected(&events));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_created_later_is_read_if_its_name_fits_the_pattern() {
    const LATER: &str = "transfers-later";
    let (bank, database, mut events) = (KafkaBank::new().await, Database::create().await, events(3, 500));
    bank.produce(&events[..490]);
    // Its default is ten seconds.
    let refresh = [("READCAST_KAFKA_TOPIC_METADATA_REFRESH_INTERVAL_MS", "500")];
    let running = bank.start_with(&["run"], database.url(), &refresh);
    let equals = async |events: &[BankEvent]| {
        eventually("the tables are those of the events", PATIENCE, async || {
            let tables = database.value("SELECT count(*) FROM pg_views WHERE viewname = 'daily_totals'").await;
            let same = tables == "1" && postgres_tables(&database).await == expected(events);
            if same { Ok(()) } else { Err(running.stderr()) }
        })
        .await;
    };
    equals(&events[..490]).await;
    bank.kafka.create_topic(&format!("{}{LATER}", bank.prefix), PARTITIONS).await;
    events[490..].iter_mut().filter(|event| event.topic == bank::TRANSFERS).for_each(|event| event.topic = LATER);
    for topic in [LATER, bank::OWNERS, bank::ACCOUNTS] {
        bank.produce_to(topic, &events[490..]);
    }
    equals(&events).await;
    assert!(events.iter().any(|event| event.topic == LATER));
}

#[tokio::test]
async fn a_transfer_that_is_parked_makes_both_accounts_stale() {
    let dir = TempDir::new().unwrap();
    let line = |key: &str, kind: &str, data: &str| {
        format!(
            "{key}\t{{\"event_id\":\"{kind}-{key}\",\"type\":\"{kind}\",\"timestamp\":\"2024-05-20T14:30:00Z\",\"data\":{data}}}\n"
        )
    };
    let opened = ["a1", "a2", "a3"]
        .map(|account| line(account, "AccountOpened", &format!(r#"{{"account_id":"{account}","owner_id":"o1"}}"#)));
    let transfers = [
        line("t1", "TransferBooked", r#"{"transfer_id":"t1","from":"a1","to":"a2","amount":12.505}"#),
        line("t2", "TransferBooked", r#"{"transfer_id":"t2","from":"a2","to":"a3","amount":12.50}"#),
    ];
    for (topic, text) in
        [(bank::OWNERS, String::new()), (bank::ACCOUNTS, opened.concat()), (bank::TRANSFERS, transfers.concat())]
    {
        let folder = dir.path().join("events").join(topic);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("0.ndjson"), text).unwrap();
    }
    let (source, store) = (dir.path().join("events"), dir.path().join("read.db"));
    let (source, url) = (format!("file:{}", source.display()), format!("sqlite:{}", store.display()));
    let arguments = ["run", "--until-end", "--source", &source, "--store", &url];
    let run = async || {
        let mut instance = Readcast::start_bank(arguments, &[]);
        assert!(instance.wait().await.success(), "{}", instance.stderr());
    };
    run().await;
    let mut client = SqliteConnectOptions::new().filename(&store).connect().await.unwrap();
    let query = "SELECT table_name, row_key, reason FROM readcast_quarantine ORDER BY row_key";
    let stale = sqlite_rows(&mut client, query).await.unwrap();
    assert_eq!(stale, ["accounts|a1|unprojectable", "accounts|a2|unprojectable"]);
    // So does one that the database refuses.
    let refusal = "CREATE TRIGGER refusal BEFORE INSERT ON transfers_g1 WHEN new.transfer_id = 't3'
                   BEGIN SELECT RAISE(ABORT, 'no'); END";
    sqlx::query(refusal).execute(&mut client).await.unwrap();
    let refused = line("t3", "TransferBooked", r#"{"transfer_id":"t3","from":"a3","to":"a4","amount":1}"#);
    append(&dir.path().join("events").join(bank::TRANSFERS).join("0.ndjson"), &refused);
    run().await;
    let stale = sqlite_rows(&mut client, query).await.unwrap();
    assert_eq!(stale[2..], ["accounts|a3|unstorable", "accounts|a4|unstorable"]);
}
