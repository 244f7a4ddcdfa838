//! A statement with its parameters, one array for each column.

use std::borrow::Cow;
use std::collections::BTreeSet;

use readcast_core::{Column, ColumnType, Decimal, Key, TableSpec, Timestamp, Value};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::connection::at_rows;
use super::sql::quoted;
use crate::store::StoreError;

/// A statement with its parameters.
pub(super) struct Statement<'a> {
    pub(super) text: String,
    pub(super) arrays: Vec<Array<'a>>,
}

impl Statement<'_> {
    /// Executes the statement. Returns the number of rows written.
    pub(super) async fn run(self, connection: &mut PgConnection, table: &TableSpec) -> Result<u64, StoreError> {
        let done = bound(self.text, &self.arrays).execute(connection).await;
        Ok(done.map_err(at_rows(table))?.rows_affected())
    }

    /// Executes the statement. Returns the numbers, from 1, of the incoming rows that matched a stored row.
    pub(super) async fn run_for_places(
        self,
        connection: &mut PgConnection,
        table: &TableSpec,
    ) -> Result<BTreeSet<i64>, StoreError> {
        let rows = bound(self.text + " RETURNING new.place", &self.arrays).fetch_all(connection).await;
        let places = rows.and_then(|rows| rows.iter().map(|row| row.try_get(0)).collect());
        places.map_err(at_rows(table))
    }

    /// Executes the statement, which returns rows of `table`. Returns their keys. With `held` as the name of the table,
    /// the rows are `RETURNING` [`held_key`].
    pub(super) async fn run_for_keys(
        self,
        connection: &mut PgConnection,
        table: &TableSpec,
    ) -> Result<Vec<Key>, StoreError> {
        Ok(self.run_for_flagged_keys(connection, table).await?.into_iter().map(|(key, _)| key).collect())
    }

    /// As [`run_for_keys`](Self::run_for_keys), for rows that have a flag behind the key. Without one, it is `false`.
    pub(super) async fn run_for_flagged_keys(
        self,
        connection: &mut PgConnection,
        table: &TableSpec,
    ) -> Result<Vec<(Key, bool)>, StoreError> {
        let rows = bound(self.text, &self.arrays).fetch_all(connection).await.map_err(at_rows(table))?;
        let flag = |row: &PgRow| row.try_get(table.key_columns().len()).unwrap_or(false);
        rows.iter().map(|row| Ok((key(row, table)?, flag(row)))).collect::<sqlx::Result<_>>().map_err(at_rows(table))
    }
}

/// SQL for the key of a row `held`.
pub(super) fn held_key(table: &TableSpec) -> String {
    let columns = table.key_columns().iter().map(|column| format!("held.{}", quoted(column.name())));
    columns.collect::<Vec<_>>().join(", ")
}

/// SQL for the key of the rows `relation`, by which they sort as [`Key`]s do.
pub(super) fn key_order(table: &TableSpec, relation: &str) -> String {
    let columns = table.key_columns().iter();
    let ordered = columns.map(|column| collated(column, &format!("{relation}.{}", quoted(column.name()))));
    ordered.collect::<Vec<_>>().join(", ")
}

/// The keys as arrays, one for each of the first key columns. All keys have the same length.
pub(super) fn key_arrays<'a>(table: &'a TableSpec, keys: &[&'a Key]) -> Vec<Array<'a>> {
    let length = keys.first().map_or(0, |key| key.len());
    let columns = table.key_columns()[..length].iter().enumerate();
    columns
        .map(|(place, column)| Array { column, values: keys.iter().map(|key| Cow::Borrowed(&key[place])).collect() })
        .collect()
}

/// The key that a result row begins with.
fn key(row: &PgRow, table: &TableSpec) -> sqlx::Result<Key> {
    let value = |(place, column): (usize, &Column)| -> sqlx::Result<Value> {
        Ok(match column.column_type() {
            ColumnType::Text => row.try_get::<String, _>(place)?.into(),
            ColumnType::Bool => row.try_get::<bool, _>(place)?.into(),
            ColumnType::I32 => row.try_get::<i32, _>(place)?.into(),
            ColumnType::I64 => row.try_get::<i64, _>(place)?.into(),
            ColumnType::Decimal { .. } => Decimal::from(row.try_get::<rust_decimal::Decimal, _>(place)?).into(),
            ColumnType::Timestamp => {
                let time = row.try_get::<chrono::DateTime<chrono::Utc>, _>(place)?;
                Timestamp::from_micros(time.timestamp_micros()).into()
            }
            ColumnType::Date => row.try_get::<readcast_core::Date, _>(place)?.into(),
            ColumnType::Uuid => row.try_get::<readcast_core::Uuid, _>(place)?.into(),
            ColumnType::Bytes => row.try_get::<Vec<u8>, _>(place)?.into(),
            // No key has such a column.
            ColumnType::F64 | ColumnType::Json => Value::Null,
        })
    };
    table.key_columns().iter().enumerate().map(value).collect()
}

fn bound<'q>(text: String, arrays: &'q [Array<'_>]) -> PgQuery<'q> {
    arrays.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, array| array.bind(query))
}

/// SQL for the arrays as a relation `new` with the columns `i0`, `i1`, … and the number `place` of each row, from 1.
pub(super) fn incoming(arrays: &[Array<'_>]) -> String {
    incoming_from(0, arrays)
}

/// As [`incoming`], for arrays that follow `before` others among the parameters.
pub(super) fn incoming_from(before: usize, arrays: &[Array<'_>]) -> String {
    let parameters = arrays.iter().zip(before + 1..).map(|(array, number)| format!("${number}::{}", array.sql_type()));
    let names = (0..arrays.len()).map(|place| format!("i{place}"));
    format!(
        "unnest({}) WITH ORDINALITY AS new({}, place)",
        parameters.collect::<Vec<_>>().join(", "),
        names.collect::<Vec<_>>().join(", ")
    )
}

/// The SQL condition that a stored row `held` has the values of `arrays`, the first columns of `new`.
pub(super) fn matches(arrays: &[Array<'_>]) -> String {
    let conditions = arrays.iter().enumerate().map(|(place, array)| {
        // Only if there is a NULL: no index supports IS NOT DISTINCT FROM.
        let equals = if array.values.iter().any(|value| value.is_null()) { "IS NOT DISTINCT FROM" } else { "=" };
        format!("held.{} {equals} {}", quoted(array.column.name()), typed(array.column, &format!("new.i{place}")))
    });
    conditions.collect::<Vec<_>>().join(" AND ")
}

/// The values of one column of many rows.
pub(super) struct Array<'a> {
    pub(super) column: &'a Column,
    pub(super) values: Vec<Cow<'a, Value>>,
}

impl<'a> Array<'a> {
    /// A single value.
    pub(super) fn of_one(column: &'a Column, value: &'a Value) -> Self {
        Self { column, values: vec![Cow::Borrowed(value)] }
    }

    fn sql_type(&self) -> &'static str {
        match self.column.column_type() {
            ColumnType::Text | ColumnType::Json => "text[]",
            ColumnType::Bool => "bool[]",
            ColumnType::I32 => "int4[]",
            ColumnType::I64 => "int8[]",
            ColumnType::F64 => "float8[]",
            ColumnType::Decimal { .. } => "numeric[]",
            ColumnType::Timestamp => "timestamptz[]",
            ColumnType::Date => "date[]",
            ColumnType::Uuid => "uuid[]",
            ColumnType::Bytes => "bytea[]",
        }
    }

    fn bind<'q>(&'q self, query: PgQuery<'q>) -> PgQuery<'q> {
        macro_rules! array {
            ($pattern:pat => $value:expr) => {
                query.bind(
                    self.values
                        .iter()
                        .map(|value| match value.as_ref() {
                            $pattern => Some($value),
                            _ => None,
                        })
                        .collect::<Vec<_>>(),
                )
            };
        }
        match self.column.column_type() {
            ColumnType::Text => array!(Value::Text(text) => text.as_str()),
            ColumnType::Json => array!(Value::Json(json) => json.as_str()),
            ColumnType::Bool => array!(Value::Bool(truth) => *truth),
            ColumnType::I32 => array!(Value::I32(number) => *number),
            ColumnType::I64 => array!(Value::I64(number) => *number),
            ColumnType::F64 => array!(Value::F64(number) => *number),
            ColumnType::Decimal { .. } => array!(Value::Decimal(number) => number.as_rust_decimal()),
            ColumnType::Timestamp => array!(Value::Timestamp(time) => time.as_datetime()),
            ColumnType::Date => array!(Value::Date(date) => *date),
            ColumnType::Uuid => array!(Value::Uuid(uuid) => *uuid),
            ColumnType::Bytes => array!(Value::Bytes(bytes) => bytes.as_slice()),
        }
    }
}

type PgQuery<'q> = Query<'q, sqlx::Postgres, PgArguments>;

/// SQL for an operand in its column's type. JSON is sent as text, because the driver has no array of JSON texts.
pub(super) fn typed(column: &Column, operand: &str) -> String {
    if column.column_type() == ColumnType::Json { format!("{operand}::jsonb") } else { operand.into() }
}

/// SQL for a comparable value. Texts are compared by their bytes, independent of the database's collation.
pub(super) fn collated(column: &Column, sql: &str) -> String {
    if column.column_type() == ColumnType::Text { format!("({sql}) COLLATE \"C\"") } else { sql.into() }
}
