//! Compares two generations, table by table, in one snapshot.
//!
//! A table may have nearly as many columns as Postgres allows in one list. So the join has only the key, the location
//! and a digest of each row. Columns are compared only for the few sample rows, and some at a time.

use readcast_core::{Column, TableSpec, TopicPartition};
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::connection::{at, execute};
use super::sql::{self, column_list, quoted};
use crate::store::comparison::{MOST_SAMPLES, Pair, pairs};
use crate::store::{
    ComparedPlace, Comparison, Difference, Generation, GenerationStatus, Sample, StoreError, TableComparison,
};

/// The number of columns that one query compares. A tuple in Postgres has at most 1,664 columns, and a join may need a
/// tuple of both rows.
const COLUMNS_AT_ONCE: usize = 400;

// In the full join, a missing row has no location.
const ONLY_LIVE: &str = "other.place IS NULL";
const ONLY_OTHER: &str = "live.place IS NULL";

/// Begins a transaction with a snapshot of the database. Returns the checkpoints of both generations if they are equal.
/// The snapshot lasts until the transaction is rolled back.
pub(super) async fn snapshot(
    connection: &mut PgConnection,
    live: &GenerationStatus,
    other: &GenerationStatus,
) -> Result<Option<Vec<ComparedPlace>>, StoreError> {
    const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    const PLACES: &str = "
        SELECT topic, partition, next_offset FROM readcast.checkpoints
        WHERE projection = $1 AND generation = $2 ORDER BY topic, partition";
    let doing = || at("taking a snapshot");
    execute(connection, BEGIN).await.map_err(doing())?;
    let mut places = Vec::new();
    for generation in [live.generation, other.generation] {
        let query = sqlx::query_as(PLACES).bind(&live.projection).bind(generation.0);
        let found: Vec<(String, i32, i64)> = query.fetch_all(&mut *connection).await.map_err(doing())?;
        places.push(found);
    }
    let place = |(topic, partition, next_offset): (String, i32, i64)| {
        ComparedPlace::new(&TopicPartition::new(topic.as_str(), partition), next_offset)
    };
    let other = places.pop();
    Ok(places.pop().filter(|live| Some(live) == other.as_ref()).map(|live| live.into_iter().map(place).collect()))
}

pub(super) async fn compare(
    connection: &mut PgConnection,
    live: &GenerationStatus,
    other: &GenerationStatus,
    at: Vec<ComparedPlace>,
) -> Result<Comparison, StoreError> {
    let mut comparison = Comparison { at, tables: Vec::new() };
    for pair in pairs(&live.tables, &other.tables) {
        let mut tables = Tables { connection, pair, live: live.generation, other: other.generation };
        comparison.tables.push(tables.compare().await?);
    }
    Ok(comparison)
}

/// A table in two generations.
struct Tables<'a> {
    connection: &'a mut PgConnection,
    pair: Pair<'a>,
    live: Generation,
    other: Generation,
}

impl Tables<'_> {
    async fn compare(&mut self) -> Result<TableComparison, StoreError> {
        let compared = async {
            let mut compared = TableComparison {
                table: self.pair.name.to_owned(),
                compared: self.pair.compared(),
                ..TableComparison::default()
            };
            if let Some(table) = self.pair.live {
                let (rows, digest) = self.digest(table, self.live).await?;
                (compared.live_rows, compared.live_digest) = (Some(rows), digest);
            }
            if let Some(table) = self.pair.other {
                let (rows, digest) = self.digest(table, self.other).await?;
                (compared.other_rows, compared.other_digest) = (Some(rows), digest);
            }
            if self.pair.matched().is_some() && !self.pair.digests_agree(&compared) {
                self.count(&mut compared).await?;
            }
            if compared.differences() > 0 {
                compared.samples = self.samples().await?;
            }
            Ok(compared)
        };
        let compared: sqlx::Result<_> = compared.await;
        compared.map_err(at(format!("comparing table `{}`", self.pair.name)))
    }

    /// The number of rows, and a digest of them: the exclusive or of the hashes of all rows, which does not depend on
    /// their order. No two rows are equal, because they have keys.
    async fn digest(&mut self, table: &TableSpec, generation: Generation) -> sqlx::Result<(u64, Option<String>)> {
        let query = format!(
            "SELECT count(*) AS rows, to_hex(bit_xor(hashtextextended(ROW({})::text, 0))) AS digest FROM {}",
            column_list(table.columns()),
            sql::physical(table, generation)
        );
        let row = sqlx::query(AssertSqlSafe(query)).fetch_one(&mut *self.connection).await?;
        Ok((row.try_get::<i64, _>("rows")?.unsigned_abs(), row.try_get("digest")?))
    }

    async fn count(&mut self, compared: &mut TableComparison) -> sqlx::Result<()> {
        let query = format!(
            "SELECT count(*) FILTER (WHERE {ONLY_LIVE}) AS only_live, count(*) FILTER (WHERE {ONLY_OTHER}) AS only_other,
                    count(*) FILTER (WHERE {changed}) AS changed
             FROM {joined}",
            changed = self.changed(),
            joined = self.joined()
        );
        let row = sqlx::query(AssertSqlSafe(query)).fetch_one(&mut *self.connection).await?;
        let count = |name: &str| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
        compared.only_live = count("only_live")?;
        compared.only_other = count("only_other")?;
        compared.changed = count("changed")?;
        Ok(())
    }

    /// The first rows that differ, in the order of their keys.
    async fn samples(&mut self) -> sqlx::Result<Vec<Sample>> {
        let key: Vec<String> = self.places().map(|k| format!("coalesce(live.{k}, other.{k})")).collect();
        let texts: Vec<String> = self.key().iter().zip(&key).map(|(column, key)| sql::text(column, key)).collect();
        let query = format!(
            "SELECT ARRAY[{texts}]::text[] AS key, live.place::text AS live, other.place::text AS other
             FROM {joined} WHERE {ONLY_LIVE} OR {ONLY_OTHER} OR ({changed}) ORDER BY {order} LIMIT {MOST_SAMPLES}",
            texts = texts.join(", "),
            joined = self.joined(),
            changed = self.changed(),
            order = key.join(", "),
        );
        let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(&mut *self.connection).await?;
        let mut samples = Vec::with_capacity(rows.len());
        for row in rows {
            let difference = match (row.try_get("live")?, row.try_get("other")?) {
                (Some(live), Some(other)) => Difference::Changed(self.changed_columns(live, other).await?),
                (Some(_), None) => Difference::OnlyLive,
                (None, _) => Difference::OnlyOther,
            };
            samples.push(Sample { key: row.try_get("key")?, difference });
        }
        Ok(samples)
    }

    /// The columns in which the rows at these two locations differ. In one snapshot no row changes its location.
    async fn changed_columns(&mut self, live: &str, other: &str) -> sqlx::Result<Vec<String>> {
        let [live_table, other_table] = self.physical();
        let mut changed = Vec::new();
        for columns in self.pair.common().chunks(COLUMNS_AT_ONCE) {
            let differing = columns.iter().map(|name| {
                let column = quoted(name);
                format!("CASE WHEN live.{column} IS DISTINCT FROM other.{column} THEN '{name}' END")
            });
            let query = format!(
                "SELECT array_remove(ARRAY[{}]::text[], NULL) FROM {live_table} AS live, {other_table} AS other
                 WHERE live.ctid = $1::tid AND other.ctid = $2::tid",
                differing.collect::<Vec<_>>().join(", ")
            );
            let found = sqlx::query_scalar(AssertSqlSafe(query)).bind(live).bind(other);
            let found: Vec<String> = found.fetch_one(&mut *self.connection).await?;
            changed.extend(found);
        }
        Ok(changed)
    }

    /// The key columns, if the rows can be matched.
    fn key(&self) -> &[Column] {
        self.pair.matched().map_or(&[], |(live, _)| live.key_columns())
    }

    /// The names of the key columns in [`joined`](Self::joined).
    fn places(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.key().len()).map(|place| format!("k{place}"))
    }

    fn physical(&self) -> [String; 2] {
        let matched = self.pair.matched();
        matched
            .map(|(live, other)| [sql::physical(live, self.live), sql::physical(other, self.other)])
            .unwrap_or_default()
    }

    /// SQL that joins the rows of both generations by key. Each row has its location in its table and a digest of the
    /// common columns.
    fn joined(&self) -> String {
        let [live, other] = self.physical().map(|physical| self.rows(&physical));
        let names: Vec<String> = self.places().collect();
        let columns = names.join(", ");
        let on: Vec<String> = names.iter().map(|k| format!("live.{k} = other.{k}")).collect();
        format!(
            "{live} AS live({columns}, place, digest) FULL JOIN {other} AS other({columns}, place, digest) ON {}",
            on.join(" AND ")
        )
    }

    /// SQL for the rows of one generation. OFFSET 0 prevents the planner from passing the columns of the digest through
    /// the join.
    fn rows(&self, physical: &str) -> String {
        let (key, row) = (column_list(self.key()), self.row());
        format!("(SELECT {key}, ctid, hashtextextended(({row})::text, 0) FROM {physical} AS held OFFSET 0)")
    }

    /// SQL condition that two joined rows differ in a common column. Rows with equal digests are equal. The others are
    /// read again, because equal values may have different texts (0 and -0, 1.0 and 1.00 in JSON).
    fn changed(&self) -> String {
        let row = self.row();
        let [live, other] = self.physical();
        format!(
            "live.digest <> other.digest
             AND (SELECT {row} FROM {live} AS held WHERE held.ctid = live.place)
                 IS DISTINCT FROM (SELECT {row} FROM {other} AS held WHERE held.ctid = other.place)"
        )
    }

    /// SQL for the common columns of a row as one value.
    fn row(&self) -> String {
        let columns: Vec<String> =
            self.pair.common().into_iter().map(|name| format!("held.{}", quoted(name))).collect();
        format!("ROW({})", columns.join(", "))
    }
}
