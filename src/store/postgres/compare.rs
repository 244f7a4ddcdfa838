//! Two generations compared, table by table, in one snapshot.

use readcast_core::{Column, TableSpec, TopicPartition};
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::connection::{at, execute};
use super::sql::{self, column_list, quoted};
use crate::store::comparison::{MOST_SAMPLES, Pair, pairs};
use crate::store::{Comparison, Difference, Generation, GenerationStatus, Place, Sample, StoreError, TableComparison};

/// Takes a snapshot of the database, and says where both generations stand in it, if that is the same place. It lasts
/// until the transaction that this begins is rolled back.
pub(super) async fn snapshot(
    connection: &mut PgConnection,
    live: &GenerationStatus,
    other: &GenerationStatus,
) -> Result<Option<Vec<Place>>, StoreError> {
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
        Place::new(&TopicPartition::new(topic.as_str(), partition), next_offset)
    };
    let other = places.pop();
    Ok(places.pop().filter(|live| Some(live) == other.as_ref()).map(|live| live.into_iter().map(place).collect()))
}

pub(super) async fn compare(
    connection: &mut PgConnection,
    live: &GenerationStatus,
    other: &GenerationStatus,
    at: Vec<Place>,
) -> Result<Comparison, StoreError> {
    let mut comparison = Comparison { at, tables: Vec::new() };
    for pair in pairs(&live.tables, &other.tables) {
        let mut tables = Tables { connection, pair, live: live.generation, other: other.generation };
        comparison.tables.push(tables.compare().await?);
    }
    Ok(comparison)
}

/// A table in both generations.
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

    /// How many rows there are, and a digest of them: the exclusive or of a hash of each, which their order does not
    /// change. No two rows are alike, because they have keys.
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
            "SELECT count(*) FILTER (WHERE {only_live}) AS only_live, count(*) FILTER (WHERE {only_other}) AS only_other,
                    count(*) FILTER (WHERE NOT {only_live} AND NOT {only_other} AND ({changed})) AS changed
             FROM {joined}",
            only_live = self.lacks("other"),
            only_other = self.lacks("live"),
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

    /// The first of the rows that differ, by key.
    async fn samples(&mut self) -> sqlx::Result<Vec<Sample>> {
        let key: Vec<String> = self.key().map(|key| format!("coalesce(live.{key}, other.{key})")).collect();
        let columns = self.pair.matched().map_or(&[] as &[Column], |(live, _)| live.key_columns());
        let texts: Vec<String> = columns.iter().zip(&key).map(|(column, key)| sql::text(column, key)).collect();
        let columns = self.pair.common().into_iter().map(|name| {
            let column = quoted(name);
            format!("CASE WHEN live.{column} IS DISTINCT FROM other.{column} THEN '{name}' END")
        });
        let query = format!(
            "SELECT ARRAY[{texts}]::text[] AS key, {only_live} AS only_live, {only_other} AS only_other,
                    array_remove(ARRAY[{columns}]::text[], NULL) AS columns
             FROM {joined} WHERE {only_live} OR {only_other} OR ({changed}) ORDER BY {order} LIMIT {MOST_SAMPLES}",
            texts = texts.join(", "),
            only_live = self.lacks("other"),
            only_other = self.lacks("live"),
            columns = columns.collect::<Vec<_>>().join(", "),
            joined = self.joined(),
            changed = self.changed(),
            order = key.join(", "),
        );
        let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(&mut *self.connection).await?;
        let sample = |row: &sqlx::postgres::PgRow| {
            let difference = match (row.try_get("only_live")?, row.try_get("only_other")?) {
                (true, _) => Difference::OnlyLive,
                (_, true) => Difference::OnlyOther,
                _ => Difference::Changed(row.try_get("columns")?),
            };
            Ok(Sample { key: row.try_get("key")?, difference })
        };
        rows.iter().map(sample).collect()
    }

    fn key(&self) -> impl Iterator<Item = String> {
        let columns = self.pair.matched().map_or(&[] as &[Column], |(live, _)| live.key_columns());
        columns.iter().map(|column| quoted(column.name()))
    }

    /// Whether the row is not there on this side: a key is never NULL.
    fn lacks(&self, side: &str) -> String {
        format!("{side}.{} IS NULL", self.key().next().unwrap_or_default())
    }

    fn joined(&self) -> String {
        let table =
            self.pair.matched().map(|(live, other)| (sql::physical(live, self.live), sql::physical(other, self.other)));
        let (live, other) = table.unwrap_or_default();
        let on: Vec<String> = self.key().map(|key| format!("live.{key} = other.{key}")).collect();
        format!("{live} AS live FULL JOIN {other} AS other ON {}", on.join(" AND "))
    }

    fn changed(&self) -> String {
        let columns = self.pair.common().into_iter().map(quoted);
        let changed = columns.map(|column| format!("live.{column} IS DISTINCT FROM other.{column}"));
        let changed = changed.collect::<Vec<_>>().join(" OR ");
        if changed.is_empty() { "false".into() } else { changed }
    }
}
