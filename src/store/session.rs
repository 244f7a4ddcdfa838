//! The interface between readcast's bookkeeping and an engine: one statement with bound values, and the rows that it
//! returns.
//!
//! The bookkeeping is written once, in the SQL that [`dialect`](super::dialect) describes. An engine implements
//! [`Session`] for its connection. It also implements everything without a common form: transactions, locks, and rows
//! of read tables.

use std::borrow::Cow;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Postgres, Row as _, Sqlite, Type};

use super::{Encoding, Generation, StoreError, from_stored_json};

/// A connection to a database with readcast's own tables. A statement is part of the open transaction, if there is one.
/// The engine begins and ends transactions.
#[async_trait]
pub(super) trait Session: Send {
    /// The encoding of the database, which limits the characters of texts.
    fn encoding(&self) -> Encoding;

    /// Runs a statement that returns no rows. Returns the number of rows that it changed.
    ///
    /// # Errors
    /// The engine's classification of the error, with `doing` as the operation that failed.
    async fn execute(&mut self, doing: &'static str, statement: &str, values: Values) -> Result<u64, StoreError>;

    /// Runs a statement and returns its rows.
    ///
    /// # Errors
    /// As [`Session::execute`].
    async fn fetch(&mut self, doing: &'static str, statement: &str, values: Values) -> Result<Vec<Row>, StoreError>;
}

impl dyn Session + '_ {
    /// Runs a statement that returns at most one row.
    pub(super) async fn fetch_optional(
        &mut self,
        doing: &'static str,
        statement: &str,
        values: Values,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.fetch(doing, statement, values).await?.into_iter().next())
    }

    /// Runs a statement that always returns a row.
    pub(super) async fn fetch_one(
        &mut self,
        doing: &'static str,
        statement: &str,
        values: Values,
    ) -> Result<Row, StoreError> {
        let row = self.fetch_optional(doing, statement, values).await?;
        row.ok_or_else(|| StoreError::Refused { doing: doing.into(), reason: "the statement returned no row".into() })
    }

    /// The text in a form that the database can store: see [`Encoding::fit`].
    pub(super) fn fit(&self, text: &str) -> String {
        self.encoding().fit(text).into_owned()
    }

    /// The JSON of `value` in a form that the database can store. [`Row::json`] reads it.
    pub(super) fn fit_json(&self, value: &impl Serialize) -> String {
        let json = serde_json::to_string(value).expect("what is recorded consists of texts, numbers and lists");
        self.encoding().fit_json(&json)
    }
}

/// The values of the parameters `$1`, `$2` and so on.
pub(super) type Values = Vec<Value>;

/// A value that is bound to a statement. Each variant has one SQL type in every database, also for NULL.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(Option<String>),
    Int(Option<i32>),
    Long(Option<i64>),
    Real(f64),
    Truth(bool),
    Bytes(Option<Vec<u8>>),
}

/// Binds a value to a query of either driver: both have the same methods.
macro_rules! bind {
    ($query:expr, $values:expr) => {
        $values.into_iter().fold($query, |query, value| match value {
            $crate::store::session::Value::Text(value) => query.bind(value),
            $crate::store::session::Value::Int(value) => query.bind(value),
            $crate::store::session::Value::Long(value) => query.bind(value),
            $crate::store::session::Value::Real(value) => query.bind(value),
            $crate::store::session::Value::Truth(value) => query.bind(value),
            $crate::store::session::Value::Bytes(value) => query.bind(value),
        })
    };
}
pub(super) use bind;

/// The values of a statement's parameters, in order.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        vec![$($crate::store::session::Value::from($value)),*]
    };
}
pub(super) use values;

macro_rules! value_from {
    ($($kind:ident: $($from:ty => $make:expr),+;)+) => {
        $($(impl From<$from> for Value {
            fn from(value: $from) -> Self {
                let make: fn($from) -> _ = $make;
                Self::$kind(make(value))
            }
        })+)+
    };
}

value_from! {
    Text: &str => |text| Some(text.to_owned()), &String => |text| Some(text.clone()), String => Some,
          Option<&str> => |text| text.map(str::to_owned), Option<String> => |text| text;
    Int: i32 => Some, Option<i32> => |number| number, Generation => |generation| Some(generation.0),
         Option<Generation> => |generation| generation.map(|generation| generation.0);
    Long: i64 => Some, Option<i64> => |number| number;
    Real: f64 => |number| number;
    Truth: bool => |truth| truth;
    Bytes: Vec<u8> => Some, Option<Vec<u8>> => |bytes| bytes;
}

/// A count as a parameter, for databases without unsigned numbers.
pub(super) fn count(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// A type of column that both drivers can read.
pub(super) trait Cell:
    for<'r> Decode<'r, Postgres> + Type<Postgres> + for<'r> Decode<'r, Sqlite> + Type<Sqlite>
{
}

impl<T> Cell for T where T: for<'r> Decode<'r, Postgres> + Type<Postgres> + for<'r> Decode<'r, Sqlite> + Type<Sqlite> {}

/// A row in the form of the driver that read it.
pub(super) enum DriverRow {
    Postgres(PgRow),
    Sqlite(SqliteRow),
}

/// A row that a statement returned.
pub(super) struct Row {
    doing: &'static str,
    row: DriverRow,
}

impl Row {
    pub(super) fn new(doing: &'static str, row: DriverRow) -> Self {
        Self { doing, row }
    }

    /// The value of a column.
    pub(super) fn get<T: Cell>(&self, column: &str) -> Result<T, StoreError> {
        let value = match &self.row {
            DriverRow::Postgres(row) => row.try_get(column),
            DriverRow::Sqlite(row) => row.try_get(column),
        };
        value.map_err(|error| self.unreadable(column, &error.to_string()))
    }

    /// The value of a column that holds a count.
    pub(super) fn count(&self, column: &str) -> Result<u64, StoreError> {
        self.get::<i64>(column).map(i64::unsigned_abs)
    }

    /// The value of the JSON text in `column`.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        self.parse(column, &self.get::<String>(column)?)
    }

    /// The value of the JSON text in `column`. `None` if the column is NULL.
    pub(super) fn json_if_any<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError> {
        let json: Option<String> = self.get(column)?;
        json.map(|json| self.parse(column, &json)).transpose()
    }

    fn parse<T: DeserializeOwned>(&self, column: &str, json: &str) -> Result<T, StoreError> {
        let json: Cow<'_, str> = from_stored_json(json);
        serde_json::from_str(&json).map_err(|error| self.unreadable(column, &error.to_string()))
    }

    /// The value with the name in `column`. An unknown name is an error: a later version of readcast wrote it, and any
    /// default would be wrong.
    pub(super) fn named<T>(&self, column: &str, named: fn(&str) -> Option<T>) -> Result<T, StoreError> {
        let name: String = self.get(column)?;
        named(&name).ok_or_else(|| self.unreadable(column, &format!("this version does not know `{name}`")))
    }

    /// The value with the name in `column`. `None` if the column is NULL.
    pub(super) fn named_if_any<T>(&self, column: &str, named: fn(&str) -> Option<T>) -> Result<Option<T>, StoreError> {
        let is_null = self.get::<Option<String>>(column)?.is_none();
        if is_null { Ok(None) } else { self.named(column, named).map(Some) }
    }

    fn unreadable(&self, column: &str, reason: &str) -> StoreError {
        StoreError::Refused { doing: self.doing.into(), reason: format!("column `{column}`: {reason}") }
    }
}
