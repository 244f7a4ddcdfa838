//! The bookkeeping's statements on a SQLite connection.

use async_trait::async_trait;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection};

use super::connection::at;
use crate::store::dialect::Dialect;
use crate::store::session::{DriverRow, Row, Session, Values, bind};
use crate::store::{Encoding, StoreError};

/// Times are texts, and so is JSON. There is one writer at a time, so nothing locks rows.
const DIALECT: Dialect = Dialect {
    functions: &[
        ("now", "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"),
        ("in_seconds", "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ({}) || ' seconds')"),
        ("forever", "'9999-12-31T00:00:00.000Z'"),
        ("rfc3339", "{}"),
        ("json", "{}"),
        ("elements", "json_each({})"),
        ("table_exists", "EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '{}')"),
    ],
    tables: "readcast_",
    locks_rows: false,
};

#[async_trait]
impl Session for SqliteConnection {
    /// SQLite can store more, but not every client can show it, and not every store could take it over.
    fn encoding(&self) -> Encoding {
        Encoding::Utf8
    }

    async fn execute(&mut self, doing: &'static str, statement: &str, values: Values) -> Result<u64, StoreError> {
        let done = query(statement, values).execute(self).await;
        done.map(|done| done.rows_affected()).map_err(at(doing))
    }

    async fn fetch(&mut self, doing: &'static str, statement: &str, values: Values) -> Result<Vec<Row>, StoreError> {
        let rows = query(statement, values).fetch_all(self).await.map_err(at(doing))?;
        Ok(rows.into_iter().map(|row| Row::new(doing, DriverRow::Sqlite(row))).collect())
    }
}

fn query(statement: &str, values: Values) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
    bind!(sqlx::query(AssertSqlSafe(DIALECT.translate(statement))), values)
}
