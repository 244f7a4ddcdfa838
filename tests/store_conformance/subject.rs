//! A store under test, and a client that sees it as readers do.

use std::collections::BTreeMap;
use std::sync::Arc;

use readcast::internals::store::postgres::Postgres;
use readcast::internals::store::sqlite::Sqlite;
use readcast::store::{Generation, GenerationStatus, Instance, Store};
use readcast_core::{Column, ColumnType, Model, TableSpec, Value};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};
use tempfile::TempDir;

use crate::support::postgres::Database;

/// A store with our own tables in it and nothing else.
pub(super) struct Subject {
    pub(super) store: Arc<dyn Store>,
    client: Client,
}

/// An instance that calls itself `id`.
pub(super) fn instance(id: &str) -> Instance {
    Instance { id: id.into(), app: "shop".into(), host: "db1".into(), ..Instance::default() }
}

enum Client {
    Sqlite(TempDir),
    Postgres(Box<Database>),
}

impl Subject {
    pub(super) async fn sqlite() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Sqlite::open(&dir.path().join("read.db")).await.expect("a new file can be opened");
        Self::migrated(Arc::new(store), Client::Sqlite(dir)).await
    }

    pub(super) async fn postgres() -> Self {
        Self::on(Database::create().await).await
    }

    /// A Postgres store in this database.
    pub(super) async fn on(database: Database) -> Self {
        Self::of(Arc::new(Postgres::new(database.options(), "public")), database).await
    }

    /// This store, which is in this database.
    pub(super) async fn of(store: Arc<dyn Store>, database: Database) -> Self {
        Self::migrated(store, Client::Postgres(Box::new(database))).await
    }

    async fn migrated(store: Arc<dyn Store>, client: Client) -> Self {
        store.migrate().await.expect("an empty database can be migrated");
        store.migrate().await.expect("and a migrated one");
        Self { store, client }
    }

    /// Runs a statement as somebody else would.
    pub(super) async fn execute(&self, sql: &str) {
        match &self.client {
            Client::Postgres(database) => database.execute(sql).await,
            Client::Sqlite(dir) => {
                let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut sqlite_client(dir).await).await;
                done.unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
        }
    }

    /// A client of somebody else's.
    pub(super) async fn sqlite_client(&self) -> SqliteConnection {
        match &self.client {
            Client::Sqlite(dir) => sqlite_client(dir).await,
            Client::Postgres(_) => panic!("this is no SQLite store"),
        }
    }

    /// The database of a Postgres store.
    pub(super) fn database(&self) -> &Database {
        match &self.client {
            Client::Postgres(database) => database,
            Client::Sqlite(_) => panic!("this is no Postgres store"),
        }
    }

    /// Which of the two languages its clients speak.
    pub(super) fn is_postgres(&self) -> bool {
        matches!(self.client, Client::Postgres(_))
    }

    /// The physical table of the first generation.
    pub(super) fn physical(&self, table: &TableSpec) -> String {
        self.physical_of(table, Generation(1))
    }

    /// The physical table of a generation.
    pub(super) fn physical_of(&self, table: &TableSpec, generation: Generation) -> String {
        let name = format!("{}_g{}", table.name(), generation.0);
        match self.client {
            Client::Sqlite(_) => name,
            Client::Postgres(_) => format!("readcast_tables.{name}"),
        }
    }

    /// One of the tables that are readcast's own.
    pub(super) fn own(&self, name: &str) -> String {
        match self.client {
            Client::Sqlite(_) => format!("readcast_{name}"),
            Client::Postgres(_) => format!("readcast.{name}"),
        }
    }

    /// The rows that readers see under the stable name: key and data cells as text.
    pub(super) async fn rows(&self, table: &TableSpec) -> BTreeMap<String, String> {
        let rows = match &self.client {
            Client::Sqlite(dir) => read_sqlite(dir, table).await,
            Client::Postgres(database) => read_postgres(database, table).await,
        };
        rows.into_iter().map(|row| shown(table, row)).collect()
    }

    /// What is recorded of the only generation.
    pub(super) async fn status(&self) -> GenerationStatus {
        let mut statuses = self.store.generations().await.expect("generations can be read");
        assert_eq!(statuses.len(), 1, "{statuses:#?}");
        statuses.remove(0)
    }

    /// What is recorded of this generation of the only projection.
    pub(super) async fn generation(&self, generation: Generation) -> GenerationStatus {
        let statuses = self.store.generations().await.expect("generations can be read");
        let status = statuses.into_iter().find(|status| status.generation == generation);
        status.unwrap_or_else(|| panic!("there is no {generation:?}"))
    }

    /// Each partition's next offset, by number, in the only generation.
    pub(super) async fn positions(&self) -> Vec<(i32, i64)> {
        self.positions_of(self.status().await.generation).await
    }

    /// Each partition's next offset, by number, in this generation.
    pub(super) async fn positions_of(&self, generation: Generation) -> Vec<(i32, i64)> {
        let checkpoints = self.generation(generation).await.checkpoints;
        checkpoints.into_iter().map(|checkpoint| (checkpoint.partition.partition, checkpoint.next_offset)).collect()
    }

    /// How many rows this generation of a table has, whether readers see it or not.
    pub(super) async fn count_of(&self, table: &TableSpec, generation: Generation) -> i64 {
        self.count(&self.physical_of(table, generation)).await
    }

    /// How many rows one of readcast's own tables has.
    pub(super) async fn count_own(&self, name: &str) -> i64 {
        self.count(&self.own(name)).await
    }

    async fn count(&self, from: &str) -> i64 {
        let count = AssertSqlSafe(format!("SELECT count(*) FROM {from}"));
        let count = match &self.client {
            Client::Sqlite(dir) => sqlx::query_scalar(count).fetch_one(&mut sqlite_client(dir).await).await,
            Client::Postgres(database) => sqlx::query_scalar(count).fetch_one(&mut database.connect().await).await,
        };
        count.expect("the table can be read")
    }

    /// Lets the database refuse each `event` on one of readcast's own tables, as a constraint would.
    pub(super) async fn refuse(&self, event: &str, name: &str) {
        let table = self.own(name);
        let trigger = match &self.client {
            Client::Sqlite(_) => {
                format!("CREATE TRIGGER refuse BEFORE {event} ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END")
            }
            Client::Postgres(_) => format!(
                "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
                 AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '23514'; END $$;
                 CREATE TRIGGER refuse BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()"
            ),
        };
        self.execute(&trigger).await;
    }

    /// Takes back what [`Subject::refuse`] did.
    pub(super) async fn refuse_no_more(&self, name: &str) {
        let drop = match &self.client {
            Client::Sqlite(_) => "DROP TRIGGER refuse".to_owned(),
            Client::Postgres(_) => format!("DROP TRIGGER refuse ON {}", self.own(name)),
        };
        self.execute(&drop).await;
    }
}

async fn sqlite_client(dir: &TempDir) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(dir.path().join("read.db"));
    SqliteConnection::connect_with(&options).await.expect("the file is there")
}

async fn read_sqlite(dir: &TempDir, table: &TableSpec) -> Vec<Vec<Option<String>>> {
    let mut client = sqlite_client(dir).await;
    let mut from = quoted(table.name());
    if table.columns().iter().any(|column| matches!(column.column_type(), ColumnType::Decimal { .. })) {
        // The view gives numbers. The exact texts are in the table that it reads.
        let view = "SELECT sql FROM sqlite_schema WHERE type = 'view' AND name = ?1";
        let view: String = sqlx::query_scalar(view).bind(table.name()).fetch_one(&mut client).await.expect("a view");
        from = view.rsplit_once(" FROM ").expect("a table").1.to_owned();
    }
    let names: Vec<_> = table.columns().iter().map(|column| quoted(column.name())).collect();
    let sql = format!("SELECT {} FROM {from}", names.join(", "));
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut client).await;
    let rows = rows.expect("the stable name can be read");
    let row = |row| table.columns().iter().enumerate().map(|(place, column)| sqlite_text(row, place, column)).collect();
    rows.iter().map(row).collect()
}

fn sqlite_text(row: &SqliteRow, place: usize, column: &Column) -> Option<String> {
    match column.column_type() {
        ColumnType::Bool => row.get::<Option<bool>, _>(place).map(|truth| truth.to_string()),
        ColumnType::I32 | ColumnType::I64 => row.get::<Option<i64>, _>(place).map(|number| number.to_string()),
        ColumnType::F64 => row.get::<Option<f64>, _>(place).map(|number| number.to_string()),
        ColumnType::Bytes => row.get::<Option<Vec<u8>>, _>(place).map(|bytes| Value::Bytes(bytes).to_string()),
        _ => row.get(place),
    }
}

async fn read_postgres(database: &Database, table: &TableSpec) -> Vec<Vec<Option<String>>> {
    let text = |column: &Column| {
        let name = quoted(column.name());
        match column.column_type() {
            ColumnType::Timestamp => {
                format!(r#"to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#)
            }
            ColumnType::Bytes => format!("encode({name}, 'hex')"),
            _ => format!("{name}::text"),
        }
    };
    let columns: Vec<_> = table.columns().iter().map(text).collect();
    let sql = format!("SELECT {} FROM {}", columns.join(", "), quoted(table.name()));
    let mut connection = database.connect().await;
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("the stable name can be read");
    connection.close().await.expect("the connection was idle");
    rows.iter().map(|row| (0..columns.len()).map(|place| row.get(place)).collect()).collect()
}

/// A name, with the schema before it if one is.
fn quoted(name: &str) -> String {
    name.split('.').map(|part| format!("\"{part}\"")).collect::<Vec<_>>().join(".")
}

/// A row as text in one form, whatever the database's own.
fn shown(table: &TableSpec, cells: Vec<Option<String>>) -> (String, String) {
    let cells = table.columns().iter().zip(cells);
    let cells: Vec<_> = cells
        .map(|(column, cell)| match (column.column_type(), cell) {
            (_, None) => "NULL".to_owned(),
            (ColumnType::F64, Some(text)) => format!("{:?}", text.parse::<f64>().expect("a number")),
            (ColumnType::Json, Some(text)) => {
                serde_json::from_str::<serde_json::Value>(&text).expect("JSON").to_string()
            }
            (_, Some(text)) => text,
        })
        .collect();
    let (key, row) = cells.split_at(table.key_columns().len());
    (key.join(" | "), row.join(" | "))
}

/// The model's rows of the table at `index`, in the form of [`Subject::rows`].
pub(super) fn expected(model: &Model, index: usize, table: &TableSpec) -> BTreeMap<String, String> {
    let text = |value: &Value| (!value.is_null()).then(|| value.to_string());
    let rows = model.rows(index).iter();
    rows.map(|(key, row)| shown(table, key.iter().chain(row).map(text).collect())).collect()
}
