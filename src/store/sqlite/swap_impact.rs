//! What users have made around the live tables.
//!
//! Nothing of it stands in a swap's way: a view can be dropped and made anew under others that read it, with any
//! columns, and a file has no privileges to lose. Only triggers that somebody made on a view go with it.

use readcast_core::TableSpec;
use sqlx::SqliteConnection;

use super::connection::at;
use super::sql;
use crate::store::{Dependent, Generation, GenerationStatus, StoreError, SwapImpact};

pub(super) async fn swap_impact(
    connection: &mut SqliteConnection,
    live: &GenerationStatus,
) -> Result<SwapImpact, StoreError> {
    let mut bytes = 0;
    for table in &live.tables {
        bytes += size(connection, table, live.generation).await?;
    }
    let dependents = dependents(connection, &live.tables).await?;
    Ok(SwapImpact { bytes, dependents, ..SwapImpact::default() })
}

/// What a table takes with its indexes, in bytes. The SQLite that we are built with has dbstat.
async fn size(connection: &mut SqliteConnection, table: &TableSpec, generation: Generation) -> Result<u64, StoreError> {
    const SIZE: &str = "
        SELECT coalesce(sum(pgsize), 0) FROM sqlite_schema AS held JOIN dbstat ON dbstat.name = held.name
        WHERE dbstat.aggregate = true AND held.tbl_name = ?1";
    let size = sqlx::query_scalar(SIZE).bind(sql::physical(table, generation)).fetch_one(connection).await;
    size.map(i64::unsigned_abs).map_err(at(format!("measuring table `{}`", table.name())))
}

/// The views and triggers that name one of the tables and are not views of readcast's.
async fn dependents(connection: &mut SqliteConnection, tables: &[TableSpec]) -> Result<Vec<String>, StoreError> {
    const OTHERS: &str = "
        SELECT name, sql FROM sqlite_schema
        WHERE type IN ('view', 'trigger') AND name NOT IN (
            SELECT declared.value ->> 'name' FROM readcast_generations, json_each(definition) AS declared)
        ORDER BY name";
    let others: sqlx::Result<Vec<(String, String)>> = sqlx::query_as(OTHERS).fetch_all(connection).await;
    let mut others = others.map_err(at("looking for what depends on the tables"))?;
    others.retain(|(_, sql)| tables.iter().any(|table| mentions(sql, table.name())));
    Ok(others.into_iter().map(|(name, _)| name).collect())
}

/// The objects of users that name one of a generation's physical tables: they read them, or refer to them. What belongs
/// to such a table, as its triggers do, goes with it.
pub(super) async fn physical_dependents(
    connection: &mut SqliteConnection,
    of: &GenerationStatus,
) -> Result<Vec<Dependent>, StoreError> {
    const OTHERS: &str = "
        SELECT type, name, tbl_name, sql FROM sqlite_schema
        WHERE type IN ('view', 'trigger', 'table') AND sql IS NOT NULL
          AND NOT (type = 'view' AND name IN (
              SELECT declared.value ->> 'name' FROM readcast_generations, json_each(definition) AS declared))
        ORDER BY name";
    let others: sqlx::Result<Vec<(String, String, String, String)>> =
        sqlx::query_as(OTHERS).fetch_all(connection).await;
    let others = others.map_err(at("looking for what depends on the tables"))?;
    let names: Vec<String> = of.tables.iter().map(|table| sql::physical(table, of.generation)).collect();
    let mut dependents = Vec::new();
    for (kind, name, table, sql) in others {
        if let Some(on) = names.iter().find(|on| mentions(&sql, on)).filter(|_| !names.contains(&table)) {
            let removal = (kind != "table").then(|| format!("DROP {} {}", kind.to_uppercase(), sql::quoted(&name)));
            dependents.push(Dependent { what: format!("{kind} {name}"), on: on.clone(), removal });
        }
    }
    Ok(dependents)
}

/// Whether `name` is among the words of `sql`.
fn mentions(sql: &str, name: &str) -> bool {
    let is_between = |character: char| !character.is_alphanumeric() && character != '_';
    sql.split(is_between).any(|word| word.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::mentions;

    #[test]
    fn a_name_is_found_as_a_word_and_not_within_one() {
        for sql in ["SELECT * FROM orders", r#"SELECT * FROM "orders" JOIN x"#, "select a from main.ORDERS;"] {
            assert!(mentions(sql, "orders"), "{sql}");
        }
        for sql in ["SELECT * FROM orders_g1", "SELECT * FROM my_orders, orderss"] {
            assert!(!mentions(sql, "orders"), "{sql}");
        }
    }
}
