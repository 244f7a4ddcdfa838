//! Finds objects of users that a swap or a dropped generation affects.
//!
//! Nothing prevents a swap: SQLite can drop and create a view with other columns while other views read it, and there
//! are no privileges. Only triggers on the view itself are lost.

use readcast_core::TableSpec;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::connection::at;
use super::sql;
use crate::store::{Dependent, Generation, GenerationStatus, StoreError, SwapImpact};

/// SQL for the names of the views that readcast created, or will create.
const OWN_VIEWS: &str = "
    SELECT declared.value ->> 'name' FROM readcast_generations, json_each(definition) AS declared
    UNION ALL
    SELECT view.value ->> 'name' FROM readcast_generations, json_each(definition) AS declared,
        json_each(declared.value, '$.views') AS view";

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

/// The size of a table with its indexes, in bytes. The bundled SQLite has dbstat.
async fn size(connection: &mut SqliteConnection, table: &TableSpec, generation: Generation) -> Result<u64, StoreError> {
    const SIZE: &str = "
        SELECT coalesce(sum(pgsize), 0) FROM sqlite_schema AS held JOIN dbstat ON dbstat.name = held.name
        WHERE dbstat.aggregate = true AND held.tbl_name = ?1";
    let size = sqlx::query_scalar(SIZE).bind(sql::physical(table, generation)).fetch_one(connection).await;
    size.map(i64::unsigned_abs).map_err(at(format!("measuring table `{}`", table.name())))
}

/// The views and triggers of users that name one of the tables.
async fn dependents(connection: &mut SqliteConnection, tables: &[TableSpec]) -> Result<Vec<String>, StoreError> {
    let others = format!(
        "SELECT name, sql FROM sqlite_schema WHERE type IN ('view', 'trigger') AND name NOT IN ({OWN_VIEWS}) ORDER BY name"
    );
    let others: sqlx::Result<Vec<(String, String)>> = sqlx::query_as(AssertSqlSafe(others)).fetch_all(connection).await;
    let mut others = others.map_err(at("finding the objects that depend on the tables"))?;
    others.retain(|(_, sql)| tables.iter().any(|table| mentions(sql, table.name())));
    Ok(others.into_iter().map(|(name, _)| name).collect())
}

/// The objects of users that refer to one of a generation's physical tables. Triggers of such a table are left out,
/// because they are dropped with it.
pub(super) async fn physical_dependents(
    connection: &mut SqliteConnection,
    of: &GenerationStatus,
) -> Result<Vec<Dependent>, StoreError> {
    let others = format!(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema
         WHERE type IN ('view', 'trigger', 'table') AND sql IS NOT NULL AND NOT (type = 'view' AND name IN ({OWN_VIEWS}))
         ORDER BY name"
    );
    let others: sqlx::Result<Vec<(String, String, String, String)>> =
        sqlx::query_as(AssertSqlSafe(others)).fetch_all(connection).await;
    let others = others.map_err(at("finding the objects that depend on the tables"))?;
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

/// Whether `sql` contains the word `name`.
fn mentions(sql: &str, name: &str) -> bool {
    let is_separator = |character: char| !character.is_alphanumeric() && character != '_';
    sql.split(is_separator).any(|word| word.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::mentions;

    #[test]
    fn a_name_is_found_as_a_whole_word() {
        for sql in ["SELECT * FROM orders", r#"SELECT * FROM "orders" JOIN x"#, "select a from main.ORDERS;"] {
            assert!(mentions(sql, "orders"), "{sql}");
        }
        for sql in ["SELECT * FROM orders_g1", "SELECT * FROM my_orders, orderss"] {
            assert!(!mentions(sql, "orders"), "{sql}");
        }
    }
}
