//! Databases of earlier versions: each is adopted where it stands, on both stores, and nothing of it is lost.
//!
//! A folder of `tests/upgrade` is what the version of its name wrote, always of the same story, which its README tells: its
//! log, a dump of its Postgres, and its SQLite file. A version that brings a migration leaves a folder of its own there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::oracle::assert_same;
use crate::shop::{FileShop, PROJECTIONS, append, expected, postgres_tables};
use crate::support::postgres::Database;
use crate::support::process::{Finished, Readcast};
use crate::support::root;

/// Events that the shop had, each of them once.
const EVENTS: usize = 3_000;

/// What an earlier version left: its log, and its store.
struct Heirloom {
    /// With a SQLite file, unless there is a database.
    shop: FileShop,
    database: Option<Database>,
}

impl Heirloom {
    async fn on_sqlite(version: &Path) -> Self {
        let shop = log_of(version);
        unpack(&version.join("read.db.gz"), &shop.database());
        let heirloom = Self { shop, database: None };
        heirloom.keep_the_standby().await;
        heirloom
    }

    async fn on_postgres(version: &Path) -> Self {
        let (shop, database) = (log_of(version), Database::create().await);
        let dump = shop.database().with_extension("sql");
        unpack(&version.join("postgres.sql.gz"), &dump);
        restore(&mut database.connect().await, &std::fs::read_to_string(dump).unwrap()).await.unwrap();
        let heirloom = Self { shop, database: Some(database) };
        heirloom.keep_the_standby().await;
        heirloom
    }

    /// The time for which a generation stands by went on while the folder lay here.
    async fn keep_the_standby(&self) {
        match &self.database {
            Some(database) => {
                let longer = "UPDATE readcast.generations SET standby_until = now() + interval '1 day'";
                database.execute(&format!("{longer} WHERE state = 'standby'")).await;
            }
            None => {
                let longer =
                    "UPDATE readcast_generations SET standby_until = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+1 day')";
                self.shop.rows(&format!("{longer} WHERE state = 'standby'")).await.unwrap();
            }
        }
    }

    async fn run(&self, arguments: &[&str]) -> Finished {
        let source = format!("file:{}", self.shop.events_dir().display());
        let store = match &self.database {
            Some(database) => database.url().to_owned(),
            None => format!("sqlite:{}", self.shop.database().display()),
        };
        let urls = ["--source", &source, "--store", &store];
        // Under this window the earlier version ran.
        Readcast::run(arguments.iter().chain(&urls), &[("READCAST_DUPLICATE_WINDOW", "1000")]).await
    }

    async fn succeeds(&self, arguments: &[&str]) -> String {
        let finished = self.run(arguments).await;
        assert!(finished.status.success(), "{arguments:?}: {}{}", finished.stdout, finished.stderr);
        finished.stdout
    }

    async fn json(&self, arguments: &[&str]) -> Vec<Value> {
        serde_json::from_str(&self.succeeds(&[arguments, &["--output", "json"]].concat()).await).unwrap()
    }

    /// Projection, generation, state and parked keys of each generation. Nothing is wrong, and the live ones have no lag.
    async fn status(&self) -> Vec<String> {
        let mut status: Value = serde_json::from_str(&self.succeeds(&["status", "--output", "json"]).await).unwrap();
        let lines: Vec<Value> = serde_json::from_value(status["partitions"].take()).unwrap();
        for line in &lines {
            let lag = &line["lag"];
            assert!(lag == 0 || line["state"] != "live", "{line}");
            assert_eq!(line["last_error"], Value::Null, "{line}");
        }
        let fields = ["projection", "generation", "state", "parked_keys"];
        let mut generations: Vec<_> = lines.iter().map(|line| shown(line, &fields)).collect();
        generations.sort();
        generations.dedup();
        generations
    }

    /// That readers see what they saw before the upgrade.
    async fn assert_tables(&self) {
        let tables = match &self.database {
            Some(database) => postgres_tables(database).await,
            None => self.shop.tables().await,
        };
        assert_same(&tables, &expected(EVENTS));
    }
}

fn shown(line: &Value, fields: &[&str]) -> String {
    let field = |name: &&str| match &line[*name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    fields.iter().map(field).collect::<Vec<_>>().join(" ")
}

/// The folders, which are named by versions.
fn versions() -> Vec<PathBuf> {
    let folder = root().join("tests/upgrade");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let versions: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    assert!(!versions.is_empty());
    versions
}

fn log_of(version: &Path) -> FileShop {
    let shop = FileShop::new();
    succeed(Command::new("tar").arg("xzf").arg(version.join("events.tar.gz")).arg("-C").arg(shop.dir()));
    shop
}

fn unpack(from: &Path, to: &Path) {
    let file = std::fs::File::create(to).unwrap();
    succeed(Command::new("gzip").arg("-dc").arg(from).stdout(Stdio::from(file)));
}

fn succeed(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// Executes what pg_dump has written, as psql does. Everything belongs to whoever restores it.
async fn restore(connection: &mut PgConnection, dump: &str) -> sqlx::Result<()> {
    let mut lines = dump.lines();
    let mut sql = String::new();
    while let Some(line) = lines.next() {
        // What begins with a backslash is for psql itself.
        if line.starts_with('\\') || line.contains(" OWNER TO ") {
            continue;
        }
        if !line.starts_with("COPY ") {
            sql += line;
            sql += "\n";
            continue;
        }
        sqlx::raw_sql(AssertSqlSafe(std::mem::take(&mut sql))).execute(&mut *connection).await?;
        let rows: String = lines.by_ref().take_while(|row| *row != "\\.").flat_map(|row| [row, "\n"]).collect();
        let mut copy = connection.copy_in_raw(line).await?;
        copy.send(rows.into_bytes()).await?;
        copy.finish().await?;
    }
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(drop)
}

async fn is_carried_over(heirloom: Heirloom) {
    heirloom.succeeds(&["migrate"]).await;
    heirloom.succeeds(&["check"]).await;
    let stood = ["customer_orders 1 live 1", "customer_orders 2 ready 1", "order_summary 1 standby 2"];
    assert_eq!(heirloom.status().await, [&stood[..], &["order_summary 2 live 2", "product_sales 1 live 0"]].concat());
    let parked = heirloom.json(&["dead-letters", "list"]).await;
    let parked: Vec<_> = parked.iter().map(|line| shown(line, &["projection", "first", "key", "class"])).collect();
    let expected_parked = [
        "customer_orders orders/2@1011 ord_9 undecodable",
        "order_summary orders/2@1009 ord_7 unprojectable",
        "order_summary orders/2@1011 ord_9 undecodable",
    ];
    assert_eq!(crate::oracle::sorted(parked), expected_parked);
    heirloom.assert_tables().await;
    // The one that an operator discarded stays out of what is folded again.
    for projection in PROJECTIONS {
        heirloom.succeeds(&["verify", projection]).await;
    }

    heirloom.succeeds(&["rollback", "order_summary"]).await;
    heirloom.succeeds(&["activate", "customer_orders"]).await;
    let swapped = heirloom.status().await;
    for line in ["order_summary 1 live 2", "customer_orders 2 live 1"] {
        assert!(swapped.contains(&line.to_owned()), "{line}: {swapped:?}");
    }
    heirloom.assert_tables().await;

    // What they count would be one too many.
    let partition = heirloom.shop.partition(0);
    let log = std::fs::read_to_string(&partition).unwrap();
    let placed = log.lines().rfind(|line| line.contains(r#""ORDER_PLACED""#)).unwrap();
    append(&partition, &format!("{placed}\n"));
    heirloom.succeeds(&["run", "--until-end"]).await;
    assert_eq!(heirloom.status().await, swapped, "the second copy is known by the digests of the earlier version");
    heirloom.assert_tables().await;

    for projection in PROJECTIONS {
        let rebuilt = heirloom.succeeds(&["rebuild", projection, "--wait"]).await;
        assert!(rebuilt.contains("is live"), "{rebuilt}");
    }
    heirloom.assert_tables().await;
    heirloom.status().await;
}

#[tokio::test]
async fn databases_of_earlier_versions_are_adopted_in_sqlite() {
    for version in versions() {
        println!("{}", version.display());
        is_carried_over(Heirloom::on_sqlite(&version).await).await;
    }
}

#[tokio::test]
async fn databases_of_earlier_versions_are_adopted_in_postgres() {
    for version in versions() {
        println!("{}", version.display());
        is_carried_over(Heirloom::on_postgres(&version).await).await;
    }
}
