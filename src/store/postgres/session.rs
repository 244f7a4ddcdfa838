//! Runs the bookkeeping's statements on a connection to Postgres.

use std::ops::{Deref, DerefMut};

use async_trait::async_trait;
use sqlx::postgres::PgArguments;
use sqlx::{AssertSqlSafe, PgConnection, Postgres};

use super::connection::at;
use super::connections::{Lease, Turn};
use crate::store::dialect::Dialect;
use crate::store::session::{DriverRow, Row, Session, Values, bind};
use crate::store::{Encoding, StoreError};

/// The statements are PostgreSQL's SQL, except for the bookkeeping's own functions. `in_seconds` counts from the
/// current time, not from the beginning of the transaction: a statement that has waited for a lock needs the time after
/// the wait.
const DIALECT: Dialect = Dialect {
    functions: &[
        ("in_seconds", "(clock_timestamp() + make_interval(secs => {}))"),
        ("forever", "'infinity'::timestamptz"),
        ("rfc3339", r#"to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"#),
        ("json", "CAST({} AS jsonb)"),
        ("elements", "jsonb_array_elements(CAST({} AS jsonb))"),
        ("table_exists", "(to_regclass('{}') IS NOT NULL)"),
    ],
    tables: "readcast.",
    locks_rows: true,
};

/// A connection, and the encoding of its database.
pub(super) struct PgSession<'a> {
    connection: &'a mut PgConnection,
    encoding: Encoding,
}

impl<'a> PgSession<'a> {
    pub(super) fn new(connection: &'a mut PgConnection, encoding: Encoding) -> Self {
        Self { connection, encoding }
    }

    /// The connection, for the engine's own statements.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.connection
    }
}

impl Lease {
    pub(super) fn session(&mut self) -> PgSession<'_> {
        let encoding = self.encoding();
        PgSession::new(self, encoding)
    }
}

impl Turn<'_> {
    pub(super) fn session(&mut self) -> PgSession<'_> {
        let encoding = self.encoding();
        PgSession::new(self, encoding)
    }
}

impl Deref for PgSession<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection
    }
}

impl DerefMut for PgSession<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection
    }
}

#[async_trait]
impl Session for PgSession<'_> {
    fn encoding(&self) -> Encoding {
        self.encoding
    }

    async fn execute(&mut self, doing: &'static str, statement: &str, values: Values) -> Result<u64, StoreError> {
        let done = query(statement, values).execute(&mut *self.connection).await;
        done.map(|done| done.rows_affected()).map_err(at(doing))
    }

    async fn fetch(&mut self, doing: &'static str, statement: &str, values: Values) -> Result<Vec<Row>, StoreError> {
        let rows = query(statement, values).fetch_all(&mut *self.connection).await.map_err(at(doing))?;
        Ok(rows.into_iter().map(|row| Row::new(doing, DriverRow::Postgres(row))).collect())
    }
}

fn query(statement: &str, values: Values) -> sqlx::query::Query<'static, Postgres, PgArguments> {
    bind!(sqlx::query(AssertSqlSafe(DIALECT.translate(statement))), values)
}
