//! The example shop as a deployment: a log, a database, and instances of the program.

mod journal;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use readcast::internals::store::postgres::Postgres;
use readcast::store::SchemaStore;
use readcast_projections::sample::Orders;
use sqlx::{ConnectOptions, Row, SqliteConnection};

use crate::oracle::{self, Tables, assert_same, sorted};
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::kafka::{Kafka, unique};
use crate::support::postgres::Database;
use crate::support::process::{Finished, Readcast};

/// The keys and JSON texts of the shop's first events.
pub(crate) fn events(count: usize) -> impl Iterator<Item = (String, String)> {
    Orders::new(1).take(count)
}

/// The tables after the shop's first events, computed independently.
pub(crate) fn expected(count: usize) -> Tables {
    oracle::tables(events(count).map(|(_, event)| event))
}

pub(crate) const PROJECTIONS: [&str; 3] = ["order_summary", "customer_orders", "product_sales"];

/// The time limit for projecting the rest of a log after a fault has ended.
const UNTIL_CURRENT: Duration = PATIENCE.saturating_mul(2);

/// The query of each table, with columns in the form of the oracle.
fn queries(time: impl Fn(&str) -> String, money: impl Fn(&str) -> String) -> [(&'static str, String); 4] {
    let (placed, updated, last) = (time("placed_at"), time("updated_at"), time("last_order_at"));
    let [total, refunded, price, spent, revenue] =
        ["total_amount", "refunded_amount", "price", "spent", "revenue"].map(money);
    let summary = format!(
        "SELECT order_id, customer_id, customer_email, status, item_count, {total}, {refunded}, {placed}, {updated}
         FROM order_summary"
    );
    [
        ("order_summary", summary),
        ("order_lines", format!("SELECT order_id, line_no, sku, quantity, {price} FROM order_lines")),
        ("customer_orders", format!("SELECT customer_id, orders, cancelled, {spent}, {last} FROM customer_orders")),
        ("product_sales", format!("SELECT sku, units, {revenue} FROM product_sales")),
    ]
}

/// The tables in the readers' views of this database.
pub(crate) async fn postgres_tables(database: &Database) -> Tables {
    const TIME: &str = r#"'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"#;
    let mut tables = Tables::new();
    for (table, query) in queries(|column| format!("to_char({column} AT TIME ZONE 'UTC', {TIME})"), str::to_owned) {
        tables.insert(table, sorted(database.rows(&query).await));
    }
    tables
}

/// A deployment from files to SQLite in a temporary folder.
pub(crate) struct FileShop {
    dir: tempfile::TempDir,
}

impl FileShop {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// The folder, with the layout of the demo.
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

    /// Appends events to `partitions` files. All events of an order go to one file.
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
        sqlite_rows(&mut self.connect().await?, sql).await
    }

    pub(crate) async fn tables(&self) -> Tables {
        let mut tables = Tables::new();
        for (table, query) in queries(str::to_owned, |column| format!("printf('%.2f', {column})")) {
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

/// The rows of a query as texts, columns separated by `|`. NULL is `null`.
pub(crate) async fn sqlite_rows(connection: &mut SqliteConnection, sql: &str) -> sqlx::Result<Vec<String>> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(connection).await?;
    let text = |row: &sqlx::sqlite::SqliteRow, place| match row.try_get_unchecked::<Option<String>, _>(place) {
        Ok(value) => value.unwrap_or_else(|| "null".into()),
        Err(error) => panic!("{error}"),
    };
    Ok(rows.iter().map(|row| (0..row.len()).map(|place| text(row, place)).collect::<Vec<_>>().join("|")).collect())
}

pub(crate) fn append(path: &Path, text: &str) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A deployment from Kafka to Postgres with unique names.
pub(crate) struct KafkaShop {
    pub(crate) kafka: Arc<Kafka>,
    pub(crate) database: Database,
    app: String,
    prefix: String,
    partitions: usize,
    /// The folder of the projections, if they are files.
    projections: Option<PathBuf>,
}

impl KafkaShop {
    /// On the shared servers.
    pub(crate) async fn new(partitions: usize) -> Self {
        Self::on(Kafka::shared().await, Database::create().await, partitions).await
    }

    /// On separate servers, which the test may damage.
    pub(crate) async fn on(kafka: Arc<Kafka>, database: Database, partitions: usize) -> Self {
        let prefix = unique("shop") + ".";
        kafka.create_topic(&format!("{prefix}orders"), partitions).await;
        Self { kafka, database, app: unique("app"), prefix, partitions, projections: None }
    }

    /// The same shop, with the projections in the files of `folder` in place of those in code.
    pub(crate) fn with_files(self, folder: PathBuf) -> Self {
        Self { projections: Some(folder), ..self }
    }

    /// On the shared servers, with a journal.
    pub(crate) async fn journalled(partitions: usize) -> Self {
        let shop = Self::new(partitions).await;
        shop.keep_journal().await;
        shop
    }

    /// Makes the database record every change of a checkpoint, for [`Self::assert_invariants`]. Creates only readcast's
    /// own tables; the first run creates those of the projections.
    pub(crate) async fn keep_journal(&self) {
        Postgres::new(self.database.options(), "public").migrate().await.expect("the database is empty");
        self.database.execute(journal::INSTALL).await;
    }

    pub(crate) fn topic(&self) -> String {
        format!("{}orders", self.prefix)
    }

    pub(crate) fn group(&self, projection: &str) -> String {
        format!("{}.{projection}", self.app)
    }

    /// Produces events. All events of an order go to one partition.
    pub(crate) fn produce(&self, events: impl Iterator<Item = (String, String)>) {
        let partitions = i32::try_from(self.partitions).unwrap();
        let records = events.map(|(key, value)| {
            let hash = key.bytes().fold(7_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
            (Some(hash.rem_euclid(partitions)), key, value)
        });
        self.kafka.produce(&self.topic(), records);
    }

    /// Starts an instance with this shop's database, or with `store` if a proxy is in between.
    pub(crate) fn start_with(&self, arguments: &[&str], store: &str, envs: &[(&str, &str)]) -> Readcast {
        let mut all = vec![
            ("READCAST_KAFKA_BOOTSTRAP_SERVERS", self.kafka.bootstrap()),
            ("READCAST_SOURCE_TOPIC_PREFIX", &self.prefix),
            ("READCAST_APP", &self.app),
            ("READCAST_STORE_URL", store),
            ("READCAST_ADMIN_LISTEN", "127.0.0.1:0"),
            // Short, so that the partitions of a dead instance are reassigned while a test waits.
            ("READCAST_KAFKA_SESSION_TIMEOUT_MS", "2000"),
            ("READCAST_KAFKA_HEARTBEAT_INTERVAL_MS", "300"),
        ];
        let folder = self.projections.as_ref().map(|folder| folder.display().to_string());
        all.extend(folder.as_deref().map(|folder| ("READCAST_PROJECTIONS_PATH", folder)));
        all.extend(envs);
        let start = if folder.is_some() { Readcast::start_released } else { Readcast::start };
        start(arguments.iter().copied(), &all)
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

    /// Kills instances at their first and at a later pass of the failpoint; the next one loses and doubles nothing.
    pub(crate) async fn survives_kills_at(&self, failpoint: &str) {
        self.produce(events(5_000));
        for count in ["1", "3"] {
            let armed = format!("{failpoint}:{count}");
            let envs = [("READCAST_FAILPOINT", armed.as_str()), ("READCAST_BATCH_RECORDS", "500")];
            let mut instance = self.start(&["run", "--until-end"], &envs);
            instance.dies_at(failpoint).await;
        }
        self.run_to_the_end().await;
        self.assert_invariants(5_000).await;
    }

    pub(crate) async fn tables(&self) -> Tables {
        postgres_tables(&self.database).await
    }

    /// How many events are behind all projections together.
    pub(crate) async fn progress(&self) -> i64 {
        let sum = "SELECT coalesce(sum(next_offset), 0)::bigint FROM readcast.checkpoints";
        self.database.try_rows(sum).await.map_or(0, |rows| rows[0].parse().unwrap())
    }

    /// The number of events that all projections together must process.
    pub(crate) async fn goal(&self) -> i64 {
        self.kafka.end_offsets(&self.topic()).await.iter().sum::<i64>() * PROJECTIONS.len() as i64
    }

    /// Waits until all projections together have processed this number of events.
    pub(crate) async fn reaches(&self, goal: i64) {
        eventually(&format!("{goal} events are projected"), UNTIL_CURRENT, async || {
            let progress = self.progress().await;
            if progress >= goal { Ok(()) } else { Err(progress) }
        })
        .await;
    }

    /// Waits until all events of the log are projected.
    pub(crate) async fn catches_up(&self) {
        self.reaches(self.goal().await).await;
    }

    /// Checks what must hold after every fault, once the log is projected: the tables equal those of an independent
    /// fold of the first `count` events, the changes of every checkpoint form one chain, and each checkpoint is at the
    /// end of its partition.
    pub(crate) async fn assert_invariants(&self, count: usize) {
        self.assert_one_chain().await;
        self.assert_at_the_end().await;
        assert_same(&self.tables().await, &expected(count));
    }

    /// Checks that the changes of every checkpoint lead from the beginning of the log to its position without gap or
    /// overlap, that epochs only increase, and that no checkpoint changes under an epoch that was not claimed before.
    pub(crate) async fn assert_one_chain(&self) {
        for question in [journal::BROKEN, journal::LOOSE_ENDS] {
            assert_eq!(self.database.rows(question).await, Vec::<String>::new());
        }
        assert_ne!(self.database.value(journal::STEPS).await, "0", "nothing was projected");
    }

    /// Checks that every live checkpoint is at the end of its partition, and none is missing.
    pub(crate) async fn assert_at_the_end(&self) {
        const STANDINGS: &str = "
            SELECT projection, partition, next_offset
            FROM readcast.checkpoints JOIN readcast.generations USING (projection, generation) WHERE state = 'live'";
        let ends = self.kafka.end_offsets(&self.topic()).await;
        let ends = |name| ends.iter().enumerate().map(move |(partition, end)| format!("{name}|{partition}|{end}"));
        let expected = PROJECTIONS.into_iter().flat_map(ends).collect();
        assert_eq!(sorted(self.database.rows(STANDINGS).await), sorted(expected));
    }
}
