//! A separate database for each test, on the Postgres server that all tests share.

use std::str::FromStr;
use std::thread;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, Row, ValueRef};
use tokio::time::timeout;

use super::eventually::PATIENCE;
use super::servers;

/// A database of one test. It is dropped with this value, but kept for inspection if the test fails, unless the server
/// ends with the test process.
pub(crate) struct Database {
    url: String,
    server: PgConnectOptions,
}

impl Database {
    /// Creates a database on the shared server.
    pub(crate) async fn create() -> Database {
        Database::create_on(&servers::postgres().await.address).await
    }

    /// Creates a database on the shared server, with these options of CREATE DATABASE.
    pub(crate) async fn create_with(options: &str) -> Database {
        Database::create_on_with(&servers::postgres().await.address, options).await
    }

    /// Creates a database on the server with this URL, whose user must have the privilege.
    pub(crate) async fn create_on(server_url: &str) -> Database {
        // CREATE DATABASE requires a template without connections. Only this one never has any.
        Database::create_on_with(server_url, "TEMPLATE template0").await
    }

    async fn create_on_with(server_url: &str, how: &str) -> Database {
        let name = format!("test_{:016x}", fastrand::u64(..));
        let options = PgConnectOptions::from_str(server_url).expect("the server's URL is one of Postgres");
        let mut server = PgConnection::connect_with(&options).await.expect("the server answers");
        let create = format!("CREATE DATABASE {name} {how}");
        sqlx::raw_sql(AssertSqlSafe(create))
            .execute(&mut server)
            .await
            .expect("a database with a new name can be created");
        server.close().await.expect("the connection was idle");
        Database { url: options.clone().database(&name).to_url_lossy().to_string(), server: options }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn options(&self) -> PgConnectOptions {
        PgConnectOptions::from_str(&self.url).expect("we made this URL")
    }

    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.options()).await.expect("the database accepts a connection")
    }

    pub(crate) async fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(5)
            .connect_with(self.options())
            .await
            .expect("the database accepts connections")
    }

    /// Executes statements and ignores their rows.
    pub(crate) async fn execute(&self, sql: &str) {
        self.rows(sql).await;
    }

    /// Executes statements about this database on another database. `{name}` stands for its name.
    pub(crate) async fn execute_outside(&self, sql: &str) {
        let name = self.options().get_database().expect("our URLs name a database").to_owned();
        let mut server = PgConnection::connect_with(&self.server).await.expect("the server answers");
        let sql = sql.replace("{name}", &name);
        sqlx::raw_sql(AssertSqlSafe(sql.clone()))
            .execute(&mut server)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        server.close().await.expect("the connection was idle");
    }

    /// Executes `sql` on a new connection and returns each row as `psql -At` prints it: the texts of the columns,
    /// separated by `|`. NULL is `null`.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        self.try_rows(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// As [`Self::rows`], for a statement that may fail because a table is missing or the server is down.
    pub(crate) async fn try_rows(&self, sql: &str) -> sqlx::Result<Vec<String>> {
        let mut connection = PgConnection::connect_with(&self.options()).await?;
        // The simple query protocol returns every type as text.
        let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await?;
        connection.close().await?;
        Ok(rows.iter().map(row_as_text).collect())
    }

    /// The text of the only column of the only row.
    pub(crate) async fn value(&self, sql: &str) -> String {
        let mut rows = self.rows(sql).await;
        assert_eq!(rows.len(), 1, "{sql} should have one row, not {rows:?}");
        rows.remove(0)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        let (options, server) = (self.options(), self.server.clone());
        // The test's runtime may be shutting down, and can't be awaited from inside.
        let dropping = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime needs little");
            // The database remains if the test has stopped the server or the server hangs.
            let _ = runtime.block_on(async { timeout(PATIENCE, drop_database(&options, &server)).await });
        });
        dropping.join().expect("all errors are dealt with in the thread");
    }
}

async fn drop_database(options: &PgConnectOptions, server: &PgConnectOptions) -> sqlx::Result<()> {
    let name = options.get_database().expect("our URLs name a database");
    let mut server = PgConnection::connect_with(server).await?;
    // FORCE ends the connections of pools and killed processes.
    sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).execute(&mut server).await?;
    server.close().await
}

fn row_as_text(row: &PgRow) -> String {
    let column = |index| {
        let value = row.try_get_raw(index).expect("the index is that of a column");
        if value.is_null() {
            "null".to_owned()
        } else {
            value.as_str().expect("a simple query answers in text").to_owned()
        }
    };
    (0..row.len()).map(column).collect::<Vec<_>>().join("|")
}
