//! The example shop as a deployment: its log, its database, and instances of the program between them.

use std::path::{Path, PathBuf};

use readcast_projections::sample::Orders;
use sqlx::{ConnectOptions, Row, SqliteConnection};

use crate::oracle::{self, Tables, sorted};
use crate::support::kafka::{Kafka, unique};
use crate::support::postgres::Database;
use crate::support::process::{Finished, Readcast};

/// Record keys and JSON texts of the shop's first events.
pub(crate) fn events(count: usize) -> impl Iterator<Item = (String, String)> {
    Orders::new(1).take(count)
}

/// The tables that the shop's first events make, by an independent fold.
pub(crate) fn expected(count: usize) -> Tables {
    oracle::tables(events(count).map(|(_, event)| event))
}

const PROJECTIONS: usize = 3;

/// How each table is read: its columns, in the form in which the oracle gives them.
fn queries(time: impl Fn(&str) -> String) -> [(&'static str, String); 4] {
    let (placed, updated, last) = (time("placed_at"), time("updated_at"), time("last_order_at"));
    let summary = format!(
        "SELECT order_id, customer_id, customer_email, status, item_count, total_amount, refunded_amount, {placed}, {updated}
         FROM order_summary"
    );
    [
        ("order_summary", summary),
        ("order_lines", "SELECT order_id, line_no, sku, quantity, price FROM order_lines".into()),
        ("customer_orders", format!("SELECT customer_id, orders, cancelled, spent, {last} FROM customer_orders")),
        ("product_sales", "SELECT sku, units, revenue FROM product_sales".into()),
    ]
}

/// Files in, SQLite out, in a folder of its own.
pub(crate) struct FileShop {
    dir: tempfile::TempDir,
}

impl FileShop {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// The folder, laid out as a demo's.
    pub(crate) fn dir(&self) -> String {
        self.dir.path().to_str().unwrap().to_owned()
    }

    pub(crate) fn events_dir(&self) -> PathBuf {
        self.dir.path().join("events")
    }

    pub(crate) fn partition(&self, number: u64) -> PathBuf {
        self.events_dir().join(format!("orders/{number}.ndjson"))
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.dir.path().join("read.db")
    }

    /// Appends events to `partitions` files, those of one order to one of them.
    pub(crate) fn write(&self, partitions: u64, events: impl Iterator<Item = (String, String)>) {
        std::fs::create_dir_all(self.events_dir().join("orders")).unwrap();
        let mut texts = vec![String::new(); usize::try_from(partitions).unwrap()];
        for (key, value) in events {
            let number =
                key.bytes().fold(7_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % partitions;
            texts[usize::try_from(number).unwrap()] += &format!("{key}\t{value}\n");
        }
        for (number, text) in (0..).zip(texts) {
            append(&self.partition(number), &text);
        }
    }

    pub(crate) fn arguments<'a>(&self, arguments: &[&'a str]) -> Vec<String> {
        let urls = [
            "--source".to_owned(),
            format!("file:{}", self.events_dir().display()),
            "--store".to_owned(),
            format!("sqlite:{}", self.database().display()),
            "--admin-listen".to_owned(),
            "127.0.0.1:0".to_owned(),
        ];
        arguments.iter().map(|argument: &&'a str| (*argument).to_owned()).chain(urls).collect()
    }

    pub(crate) fn start(&self, arguments: &[&str], envs: &[(&str, &str)]) -> Readcast {
        Readcast::start(self.arguments(arguments), envs)
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Finished {
        Readcast::run(self.arguments(arguments), &[]).await
    }

    pub(crate) async fn connect(&self) -> sqlx::Result<SqliteConnection> {
        sqlx::sqlite::SqliteConnectOptions::new().filename(self.database()).connect().await
    }

    pub(crate) async fn rows(&self, sql: &str) -> sqlx::Result<Vec<String>> {
        let mut connection = self.connect().await?;
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await?;
        let text = |row: &sqlx::sqlite::SqliteRow, place| match row.try_get_unchecked::<Option<String>, _>(place) {
            Ok(value) => value.unwrap_or_else(|| "null".into()),
            Err(error) => panic!("{error}"),
        };
        Ok(rows.iter().map(|row| (0..row.len()).map(|place| text(row, place)).collect::<Vec<_>>().join("|")).collect())
    }

    pub(crate) async fn tables(&self) -> Tables {
        let mut tables = Tables::new();
        for (table, query) in queries(str::to_owned) {
            tables.insert(table, sorted(self.rows(&query).await.unwrap()));
        }
        tables
    }

    /// How many events are behind all projections together.
    pub(crate) async fn progress(&self) -> i64 {
        let sum = self.rows("SELECT coalesce(sum(next_offset), 0) FROM readcast_checkpoints").await;
        sum.map_or(0, |rows| rows[0].parse().unwrap())
    }
}

pub(crate) fn append(path: &Path, text: &str) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Kafka in, Postgres out, under names of its own on the shared servers.
pub(crate) struct KafkaShop {
    pub(crate) kafka: &'static Kafka,
    pub(crate) database: Database,
    app: String,
    prefix: String,
    partitions: usize,
}

impl KafkaShop {
    pub(crate) async fn new(partitions: usize) -> Self {
        let kafka = Kafka::shared().await;
        let prefix = unique("shop") + ".";
        kafka.create_topic(&format!("{prefix}orders"), partitions).await;
        Self { kafka, database: Database::create().await, app: unique("app"), prefix, partitions }
    }

    pub(crate) fn topic(&self) -> String {
        format!("{}orders", self.prefix)
    }

    pub(crate) fn group(&self, projection: &str) -> String {
        format!("{}.{projection}", self.app)
    }

    /// Produces events, those of one order to one partition.
    pub(crate) fn produce(&self, events: impl Iterator<Item = (String, String)>) {
        let partitions = i32::try_from(self.partitions).unwrap();
        let records = events.map(|(key, value)| {
            let hash = key.bytes().fold(7_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
            (Some(hash.rem_euclid(partitions)), key, value)
        });
        self.kafka.produce(&self.topic(), records);
    }

    /// An instance against this shop's database, or against `store` when something stands between.
    pub(crate) fn start_with(&self, arguments: &[&str], store: &str, envs: &[(&str, &str)]) -> Readcast {
        let mut all = vec![
            ("READCAST_KAFKA_BOOTSTRAP_SERVERS", self.kafka.bootstrap()),
            ("READCAST_SOURCE_TOPIC_PREFIX", &self.prefix),
            ("READCAST_APP", &self.app),
            ("READCAST_STORE_URL", store),
            ("READCAST_ADMIN_LISTEN", "127.0.0.1:0"),
            // Short, so that a dead instance's partitions move while a test waits.
            ("READCAST_KAFKA_SESSION_TIMEOUT_MS", "2000"),
            ("READCAST_KAFKA_HEARTBEAT_INTERVAL_MS", "300"),
        ];
        all.extend(envs);
        Readcast::start(arguments, &all)
    }

    pub(crate) fn start(&self, arguments: &[&str], envs: &[(&str, &str)]) -> Readcast {
        self.start_with(arguments, self.database.url(), envs)
    }

    /// Projects to the end that the log has now.
    pub(crate) async fn run_to_the_end(&self) {
        let mut instance = self.start(&["run", "--until-end"], &[]);
        let status = instance.wait().await;
        assert!(status.success(), "{status}\n{}", instance.stderr());
    }

    pub(crate) async fn tables(&self) -> Tables {
        const TIME: &str = r#"'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"#;
        let mut tables = Tables::new();
        for (table, query) in queries(|column| format!("to_char({column} AT TIME ZONE 'UTC', {TIME})")) {
            tables.insert(table, sorted(self.database.rows(&query).await));
        }
        tables
    }

    /// How many events are behind all projections together.
    pub(crate) async fn progress(&self) -> i64 {
        let sum = "SELECT coalesce(sum(next_offset), 0)::bigint FROM readcast.checkpoints";
        self.database.try_rows(sum).await.map_or(0, |rows| rows[0].parse().unwrap())
    }

    /// How far the projections have to go, all together.
    pub(crate) async fn goal(&self) -> i64 {
        self.kafka.end_offsets(&self.topic()).await.iter().sum::<i64>() * i64::try_from(PROJECTIONS).unwrap()
    }
}
