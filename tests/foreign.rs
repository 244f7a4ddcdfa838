//! Records that other clients wrote: Confluent's client for Python with its serializers, the CloudEvents SDK for Python, and
//! Debezium's outbox event router with the converters of Kafka Connect.

use std::path::{Path, PathBuf};
use std::process::Command;

use readcast_projections::bank::sample::{BankEvent, BankEvents};
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;

use crate::bank::interleavings::sqlite_tables;
use crate::bank::{PARTITIONS, expected};
use crate::files_to_sqlite::seed;
use crate::oracle::assert_same;
use crate::shop::sqlite_rows;
use crate::support::kafka::{Kafka, unique};
use crate::support::process::Readcast;
use crate::support::servers::local_kafka::java;
use crate::support::{root, servers};
use sqlx::ConnectOptions;

const EVENTS: usize = 5_000;
/// The topics of the bank's services, and how each service writes its events.
const TOPICS: &str = r#"
[topics.owners]
format = "debezium-outbox"

[topics.accounts]
format = "cloudevents"
[topics.accounts.types]
"com.bank.AccountOpened" = "AccountOpened"
"com.bank.AccountAssigned" = "AccountAssigned"

[topics.transfers]
format = "json"
type = "header:eventType"
event_id = "header:eventId"
timestamp = "header:occurredAt as millis"
version = "header:version"

# The keys are in Avro as well. A transfer has one event, so its id is that of the event.
[topics.transfers-online]
format = "avro"
key = "registry"
event_id = "key"
timestamp = "body:/occurred_at as millis"
data = "body:/transfer"
[topics.transfers-online.types]
"com.bank.TransferBooked" = "TransferBooked"

[topics.transfers-mobile]
format = "protobuf"
event_id = "body:/event_id"
timestamp = "body:/occurred_at"
data = "body:/transfer"
[topics.transfers-mobile.types]
"com.bank.TransferBooked" = "TransferBooked"

[topics."transfers-*"]
format = "json-schema"
type = "header:eventType"
event_id = "header:eventId"
timestamp = "header:occurredAt as millis"
"#;

/// The Python that has the clients: `READCAST_TEST_PYTHON`, or the one that `scripts/test` prepares.
fn python() -> PathBuf {
    let prepared = root().join("target/clients/bin/python");
    let python = std::env::var_os("READCAST_TEST_PYTHON").map_or(prepared, PathBuf::from);
    assert!(
        python.exists(),
        "No Python with the clients of tests/foreign/requirements.txt: {} does not exist. Run scripts/test, which prepares \
         it, or name one in READCAST_TEST_PYTHON.",
        python.display()
    );
    python
}

/// The class path of Debezium's transform, which `scripts/test` fills.
fn debezium() -> PathBuf {
    let libs = root().join("target/debezium/libs");
    assert!(
        libs.exists(),
        "No jars of Debezium's outbox event router: {} does not exist. Run scripts/test, which fetches them.",
        libs.display()
    );
    libs.join("*")
}

/// Writes the events by the clients, and fails with what they say.
fn produce(bootstrap: &str, registry: &str, prefix: &str, events: &[BankEvent], dir: &Path) {
    let (outbox, others): (Vec<_>, Vec<_>) = events.iter().partition(|event| event.topic == "owners");
    let mut java = Command::new(java().expect("Java 17 or later with its compiler"));
    java.args(["-XX:TieredStopAtLevel=1".as_ref(), "-cp".as_ref(), debezium().as_os_str()]);
    java.arg(root().join("tests/foreign/Outbox.java")).args([bootstrap, &format!("{prefix}owners")]);
    succeeds(java.arg(written(&dir.join("outbox.ndjson"), &outbox)));
    let mut python = Command::new(python());
    python.arg(root().join("tests/foreign/produce.py")).args([bootstrap, registry, prefix]);
    succeeds(python.arg(written(&dir.join("events.ndjson"), &others)));
}

/// The path, where each event is a line.
fn written<'p>(path: &'p Path, events: &[&BankEvent]) -> &'p Path {
    let line = |event: &&BankEvent| {
        format!("{{\"topic\":\"{}\",\"key\":\"{}\",\"event\":{}}}\n", event.topic, event.key, event.json)
    };
    std::fs::write(path, events.iter().map(line).collect::<String>()).unwrap();
    path
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bank_adds_up_from_six_topics_in_six_formats_of_other_clients() {
    let (kafka, registry) = (Kafka::shared().await, servers::registry().await);
    let (prefix, dir) = (unique("foreign") + ".", TempDir::new().unwrap());
    for topic in ["owners", "accounts", "transfers", "transfers-mobile", "transfers-online", "transfers-terminal"] {
        kafka.create_topic(&format!("{prefix}{topic}"), PARTITIONS).await;
    }
    let events: Vec<BankEvent> = BankEvents::new(seed()).take(EVENTS).collect();
    produce(kafka.bootstrap(), &registry.address, &prefix, &events, dir.path());
    let config = dir.path().join("readcast.toml");
    std::fs::write(&config, format!("[registry]\nurl = '{}'\n{TOPICS}", registry.address)).unwrap();
    let (path, app) = (dir.path().join("read.db"), unique("foreign"));
    let (store, config) = (format!("sqlite:{}", path.display()), config.display().to_string());
    let settings = [
        ("READCAST_KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap()),
        ("READCAST_SOURCE_TOPIC_PREFIX", &prefix),
        ("READCAST_APP", &app),
        ("READCAST_STORE_URL", &store),
        ("READCAST_CONFIG", &config),
    ];
    let mut run = Readcast::start_bank(["run", "--until-end"], &settings);
    assert!(run.wait().await.success(), "{}", run.stderr());
    let mut check = Readcast::start_bank(["check"], &settings);
    assert!(check.wait().await.success(), "{}", check.stderr());
    let mut client = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    let parked =
        sqlite_rows(&mut client, "SELECT table_name, row_key, reason FROM readcast_quarantine LIMIT 3").await.unwrap();
    assert_eq!(parked, Vec::<String>::new());
    assert_same(&sqlite_tables(&path).await, &expected(&events));
}
