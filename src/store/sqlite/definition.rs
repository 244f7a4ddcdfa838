//! Physical tables and stable names: created from their declaration, and compared with it ever after.

use readcast_core::{Definition, Presence, TableSpec, Value};
use sqlx::{AssertSqlSafe, Executor, Row, SqliteConnection};

use super::connection::at;
use super::generations::{self, Declared};
use super::{sql, values};
use crate::store::{Finding, Generation, Peek, StoreError, altered, declaration_changes};

/// The projection's live generation, created when there is none. Runs within a transaction.
pub(super) async fn prepare(
    connection: &mut SqliteConnection,
    definition: &Definition,
) -> Result<Generation, StoreError> {
    let live = generations::live(connection, definition.name()).await?;
    let refusals = refusals(connection, definition, live.as_ref()).await?;
    if !refusals.is_empty() {
        return Err(StoreError::Definition { projection: definition.name().into(), reason: refusals.join("; ") });
    }
    match live {
        Some(live) => Ok(live.generation),
        None => create(connection, definition).await,
    }
}

/// What [`prepare`] would do or refuse.
pub(super) async fn check(
    connection: &mut SqliteConnection,
    definition: &Definition,
) -> Result<Vec<Finding>, StoreError> {
    let live = generations::live(connection, definition.name()).await?;
    let refusals = refusals(connection, definition, live.as_ref()).await?;
    let mut findings: Vec<_> = refusals.into_iter().map(|text| Finding { refused: true, text }).collect();
    if live.is_none() {
        findings.extend(definition.tables().iter().map(|table| Finding {
            refused: false,
            text: format!(
                "table `{}` does not exist yet: `readcast migrate` or `readcast run` creates it",
                table.name()
            ),
        }));
    }
    Ok(findings)
}

async fn refusals(
    connection: &mut SqliteConnection,
    definition: &Definition,
    live: Option<&Declared>,
) -> Result<Vec<String>, StoreError> {
    let mut refusals = Vec::new();
    if let Some(live) = live {
        refusals.extend(declaration_changes(definition, &live.hash, live.version, &live.tables_json));
        // The tables are as they were declared then: compared with today's declaration they would all look altered.
        if !refusals.is_empty() {
            return Ok(refusals);
        }
    }
    for table in definition.tables() {
        match live {
            Some(live) => {
                refusals.extend(alterations(connection, table, live.generation).await?);
                refusals.extend(lost_view(connection, table, live.generation).await?);
            }
            None => refusals.extend(taken_names(connection, table).await?),
        }
    }
    Ok(refusals)
}

async fn create(connection: &mut SqliteConnection, definition: &Definition) -> Result<Generation, StoreError> {
    let generation = generations::create_first(connection, definition).await?;
    for table in definition.tables() {
        for statement in sql::create(table, generation) {
            let created = connection.execute(AssertSqlSafe(statement)).await;
            created.map_err(at(format!("creating table `{}`", table.name())))?;
        }
    }
    Ok(generation)
}

/// How the physical table differs from its declaration, if somebody altered it.
async fn alterations(
    connection: &mut SqliteConnection,
    table: &TableSpec,
    generation: Generation,
) -> Result<Vec<String>, StoreError> {
    // The longer form of table_info shows generated columns too.
    const COLUMNS: &str = r#"SELECT name, type, "notnull", pk FROM pragma_table_xinfo(?1) ORDER BY cid"#;
    let physical = sql::physical(table, generation);
    let rows = sqlx::query(COLUMNS).bind(&physical).fetch_all(connection).await;
    let found = rows.and_then(|rows| {
        let columns = rows.iter().map(|row| {
            let shape = shape(row.try_get("type")?, row.try_get("notnull")?, row.try_get("pk")?);
            Ok((row.try_get("name")?, shape))
        });
        columns.collect::<sqlx::Result<Vec<(String, String)>>>()
    });
    let found = found.map_err(at(format!("reading the columns of `{}`", table.name())))?;
    let declared = table.columns().iter().zip(1..).map(|(column, place)| {
        let key = if place <= table.key_columns().len() { place as i64 } else { 0 };
        let not_null = *column.presence() != Presence::Nullable;
        (column.name().to_owned(), shape(values::column_type(column), not_null, key))
    });
    Ok(altered(&physical, &declared.collect::<Vec<_>>(), &found))
}

/// A column's type and constraints; `key` is its place in the key from 1, or 0.
fn shape(column_type: &str, not_null: bool, key: i64) -> String {
    let not_null = if not_null { " not null" } else { "" };
    let key = if key > 0 { format!(" key {key}") } else { String::new() };
    format!("{column_type}{not_null}{key}")
}

/// What is wrong with the name that readers use.
async fn lost_view(
    connection: &mut SqliteConnection,
    table: &TableSpec,
    generation: Generation,
) -> Result<Option<String>, StoreError> {
    let found = object(connection, table.name()).await?;
    let ours = found.is_some_and(|(_, sql)| sql == sql::create_view(table, generation));
    let name = table.name();
    Ok((!ours).then(|| format!("`{name}` is not the view of generation {} that readcast made", generation.0)))
}

/// The names that the table needs and that something else has.
async fn taken_names(connection: &mut SqliteConnection, table: &TableSpec) -> Result<Vec<String>, StoreError> {
    let mut taken = Vec::new();
    for name in [table.name().to_owned(), sql::physical(table, Generation(1))] {
        if let Some((kind, _)) = object(connection, &name).await? {
            taken.push(format!("`{name}` exists already (a {kind}) and is not readcast's: rename one of them"));
        }
    }
    Ok(taken)
}

/// What has this name: its kind, and the statement that made it.
async fn object(connection: &mut SqliteConnection, name: &str) -> Result<Option<(String, String)>, StoreError> {
    const OBJECT: &str = "SELECT type, coalesce(sql, '') FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE";
    let object = sqlx::query_as(OBJECT).bind(name).fetch_optional(connection).await;
    object.map_err(at(format!("looking for `{name}`")))
}

/// How many rows readers see, and the first of them.
pub(super) async fn peek(
    connection: &mut SqliteConnection,
    table: &TableSpec,
    rows: usize,
) -> Result<Peek, StoreError> {
    let doing = || at(format!("reading table `{}`", table.name()));
    let stable = sql::quoted(table.name());
    let count = sqlx::query(AssertSqlSafe(format!("SELECT count(*) AS count FROM {stable}")));
    let count: i64 = count.fetch_one(&mut *connection).await.and_then(|row| row.try_get("count")).map_err(doing())?;
    let [columns, key] = [table.columns(), table.key_columns()].map(sql::names);
    let first = format!("SELECT {columns} FROM {stable} ORDER BY {key} LIMIT {rows}");
    let found = sqlx::query(AssertSqlSafe(first)).fetch_all(connection).await.map_err(doing())?;
    let text = |value: &Value| (!value.is_null()).then(|| value.to_string());
    let texts = |row| values::read(row, table).map(|(key, row)| key.iter().chain(&row).map(text).collect());
    let rows = found.iter().map(texts).collect::<sqlx::Result<_>>().map_err(doing())?;
    Ok(Peek { count: count.unsigned_abs(), rows })
}
