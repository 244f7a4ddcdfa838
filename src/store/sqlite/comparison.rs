//! Compares the rows of two generations in one snapshot.

use futures_util::TryStreamExt;
use readcast_core::{Column, ColumnType, TableSpec};
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::connection::at;
use super::{sql, values};
use crate::store::bookkeeping::checkpoints;
use crate::store::comparison::{MOST_SAMPLES, Pair, pairs};
use crate::store::{ComparedPlace, Difference, Generation, GenerationStatus, Sample, StoreError, TableComparison};

/// The checkpoints of both generations, if they are equal in all partitions. As the first read of a transaction, it
/// takes the snapshot of both.
pub(super) async fn common_place(
    connection: &mut SqliteConnection,
    live: &GenerationStatus,
    other: &GenerationStatus,
) -> Result<Option<Vec<ComparedPlace>>, StoreError> {
    let at = places(connection, live).await?;
    Ok((at == places(connection, other).await?).then_some(at))
}

async fn places(
    connection: &mut SqliteConnection,
    generation: &GenerationStatus,
) -> Result<Vec<ComparedPlace>, StoreError> {
    let held = checkpoints::positions(connection, &generation.projection, Some(generation.generation)).await?;
    Ok(held.iter().map(|(partition, next_offset)| ComparedPlace::new(partition, *next_offset)).collect())
}

/// Compares all tables of two generations.
pub(super) async fn compare(
    connection: &mut SqliteConnection,
    live: &GenerationStatus,
    other: &GenerationStatus,
) -> Result<Vec<TableComparison>, StoreError> {
    let mut compared = Vec::new();
    for pair in pairs(&live.tables, &other.tables) {
        compared.push(compare_table(connection, &pair, live.generation, other.generation).await?);
    }
    Ok(compared)
}

async fn compare_table(
    connection: &mut SqliteConnection,
    pair: &Pair<'_>,
    live: Generation,
    other: Generation,
) -> Result<TableComparison, StoreError> {
    let mut compared =
        TableComparison { table: pair.name.into(), compared: pair.compared(), ..TableComparison::default() };
    if let Some(table) = pair.live {
        let (rows, digest) = content(connection, table, live).await.map_err(at(reading(table)))?;
        (compared.live_rows, compared.live_digest) = (Some(rows), Some(digest));
    }
    if let Some(table) = pair.other {
        let (rows, digest) = content(connection, table, other).await.map_err(at(reading(table)))?;
        (compared.other_rows, compared.other_digest) = (Some(rows), Some(digest));
    }
    if let Some((table, _)) = pair.matched().filter(|_| !pair.digests_agree(&compared)) {
        let join = Join::new(table, pair.common(), live, other);
        [compared.only_live, compared.only_other, compared.changed] = join.count(connection).await?;
        if compared.differences() > 0 {
            compared.samples = join.samples(connection).await?;
        }
    }
    Ok(compared)
}

/// The number of rows of a table, and a digest of them: the sum of the hashes of all rows, which does not depend on
/// their order. The rows are read one at a time, so the memory does not depend on their number.
async fn content(
    connection: &mut SqliteConnection,
    table: &TableSpec,
    generation: Generation,
) -> sqlx::Result<(u64, String)> {
    let physical = sql::quoted(&sql::physical(table, generation));
    let all = format!("SELECT {} FROM {physical}", sql::names(table.columns()));
    let mut found = sqlx::query(AssertSqlSafe(all)).fetch(connection);
    let (mut rows, mut sum) = (0, 0_u64);
    while let Some(row) = found.try_next().await? {
        rows += 1;
        sum = sum.wrapping_add(hash(&row, table.columns())?);
        // Rows may be ready faster than they are hashed, so without this the task would never yield.
        tokio::task::consume_budget().await;
    }
    Ok((rows, format!("{sum:016x}")))
}

/// A hash of the stored cells. Equal values are stored in the same form.
fn hash(row: &SqliteRow, columns: &[Column]) -> sqlx::Result<u64> {
    let mut hash = Sha256::new();
    for (place, column) in columns.iter().enumerate() {
        match column.column_type() {
            ColumnType::Bool | ColumnType::I32 | ColumnType::I64 => {
                add(&mut hash, row.try_get::<Option<i64>, _>(place)?.map(i64::to_be_bytes));
            }
            ColumnType::F64 => add(&mut hash, row.try_get::<Option<f64>, _>(place)?.map(f64::to_be_bytes)),
            ColumnType::Bytes => add(&mut hash, row.try_get::<Option<&[u8]>, _>(place)?),
            ColumnType::Text | ColumnType::Decimal { .. } | ColumnType::Timestamp => {
                add(&mut hash, row.try_get::<Option<&str>, _>(place)?);
            }
            ColumnType::Date | ColumnType::Uuid | ColumnType::Json => {
                add(&mut hash, row.try_get::<Option<&str>, _>(place)?);
            }
        }
    }
    Ok(hash.finalize().iter().take(8).fold(0, |first, byte| first << 8 | u64::from(*byte)))
}

/// Adds a cell with its length, so that different rows never have the same bytes. NULL has no length.
fn add(hash: &mut Sha256, cell: Option<impl AsRef<[u8]>>) {
    let Some(cell) = cell else { return hash.update([0]) };
    let cell = cell.as_ref();
    hash.update([1]);
    hash.update((cell.len() as u64).to_be_bytes());
    hash.update(cell);
}

/// The rows of two generations of a table, matched by key.
struct Join<'a> {
    table: &'a TableSpec,
    /// The data columns to compare.
    columns: Vec<&'a str>,
    from: String,
    only_live: String,
    only_other: String,
    changed: String,
}

impl<'a> Join<'a> {
    fn new(table: &'a TableSpec, columns: Vec<&'a str>, live: Generation, other: Generation) -> Self {
        let [live, other] = [live, other].map(|generation| sql::quoted(&sql::physical(table, generation)));
        let key: Vec<_> = table.key_columns().iter().map(|column| sql::quoted(column.name())).collect();
        let on: Vec<_> = key.iter().map(|key| format!("live.{key} = other.{key}")).collect();
        // A key column is NULL only if the row is missing.
        let first = &key[0];
        Self {
            table,
            from: format!("FROM {live} AS live FULL JOIN {other} AS other ON {}", on.join(" AND ")),
            only_live: format!("other.{first} IS NULL"),
            only_other: format!("live.{first} IS NULL"),
            changed: format!("live.{first} = other.{first} AND {}", any_differs(&columns)),
            columns,
        }
    }

    /// The numbers of rows that only the live generation has, that only the other has, and that differ.
    async fn count(&self, connection: &mut SqliteConnection) -> Result<[u64; 3], StoreError> {
        let Self { from, only_live, only_other, changed, .. } = self;
        // LIMIT prevents the planner from passing the columns to the count, which supports 2,000 columns at most.
        let count = format!(
            "SELECT count(*) FILTER (WHERE only_live), count(*) FILTER (WHERE only_other),
                 count(*) FILTER (WHERE changed)
             FROM (SELECT {only_live} AS only_live, {only_other} AS only_other, {changed} AS changed {from} LIMIT -1)"
        );
        let counted = sqlx::query_as(AssertSqlSafe(count)).fetch_one(connection).await;
        let (only_live, only_other, changed): (i64, i64, i64) = counted.map_err(at(reading(self.table)))?;
        Ok([only_live, only_other, changed].map(i64::unsigned_abs))
    }

    /// The first rows that differ, in the order of their keys.
    async fn samples(&self, connection: &mut SqliteConnection) -> Result<Vec<Sample>, StoreError> {
        let Self { from, only_live, only_other, changed, .. } = self;
        let key = self.table.key_columns().iter().map(|column| sql::quoted(column.name()));
        let key: Vec<_> = key.map(|key| format!("coalesce(live.{key}, other.{key})")).collect();
        let mut shown = key.clone();
        shown.extend([only_live.clone(), only_other.clone()]);
        shown.extend(self.columns.iter().map(|column| differs(column)));
        let differing = format!(
            "SELECT {} {from} WHERE {only_live} OR {only_other} OR {changed} ORDER BY {} LIMIT {MOST_SAMPLES}",
            shown.join(", "),
            key.join(", ")
        );
        let rows = sqlx::query(AssertSqlSafe(differing)).fetch_all(connection).await;
        let samples = rows.and_then(|rows| rows.iter().map(|row| self.sample(row)).collect());
        samples.map_err(at(reading(self.table)))
    }

    fn sample(&self, row: &SqliteRow) -> sqlx::Result<Sample> {
        let key = self.table.key_columns();
        let text = |(place, column)| Ok(values::cell(row, place, column)?.to_string());
        let difference = if row.try_get(key.len())? {
            Difference::OnlyLive
        } else if row.try_get(key.len() + 1)? {
            Difference::OnlyOther
        } else {
            Difference::Changed(self.changed_columns(row, key.len() + 2)?)
        };
        Ok(Sample { key: key.iter().enumerate().map(text).collect::<sqlx::Result<_>>()?, difference })
    }

    /// The columns that differ, according to the booleans from index `first` on.
    fn changed_columns(&self, row: &SqliteRow, first: usize) -> sqlx::Result<Vec<String>> {
        let mut changed = Vec::new();
        for (name, place) in self.columns.iter().zip(first..) {
            if row.try_get(place)? {
                changed.push((*name).to_owned());
            }
        }
        Ok(changed)
    }
}

/// SQL condition that a column differs between two rows.
fn differs(column: &str) -> String {
    let column = sql::quoted(column);
    format!("live.{column} IS DISTINCT FROM other.{column}")
}

/// SQL condition that any of `columns` differs between two rows. It compares row values, because conditions joined by
/// OR could exceed SQLite's limit of 1,000 levels.
fn any_differs(columns: &[&str]) -> String {
    if columns.is_empty() {
        return "false".into();
    }
    let of = |side: &str| {
        let columns = columns.iter().map(|column| format!("{side}.{}", sql::quoted(column)));
        columns.collect::<Vec<_>>().join(", ")
    };
    format!("({}) IS DISTINCT FROM ({})", of("live"), of("other"))
}

fn reading(table: &TableSpec) -> String {
    format!("comparing table `{}`", table.name())
}
