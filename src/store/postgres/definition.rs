//! Physical tables and stable names: created from their declaration, and compared with it ever after.

use readcast_core::{Column, Definition, Presence, TableSpec};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

use super::connection::at;
use super::generations::{self, Declared};
use super::sql::{self, column_list, quoted};
use crate::store::{Finding, Generation, Peek, StoreError, declaration_changes};

/// The projection's live generation, created when there is none. Runs within a transaction.
pub(super) async fn prepare(
    connection: &mut PgConnection,
    definition: &Definition,
    schema: &str,
) -> Result<Generation, StoreError> {
    // Instances that start together take turns; the second finds what the first made.
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('readcast ' || $1, 0))";
    sqlx::query(lock).bind(definition.name()).execute(&mut *connection).await.map_err(at("preparing tables"))?;
    let Some(live) = generations::live(connection, definition.name()).await? else {
        let generation = generations::create_first(connection, definition).await?;
        for table in definition.tables() {
            create(connection, definition, table, generation, schema).await?;
        }
        return Ok(generation);
    };
    let refusals = refusals(connection, definition, &live, schema).await?;
    if refusals.is_empty() {
        return Ok(live.generation);
    }
    Err(StoreError::Definition { projection: definition.name().into(), reason: refusals.join("; ") })
}

/// What [`prepare`] would do or refuse.
pub(super) async fn check(
    connection: &mut PgConnection,
    definition: &Definition,
    schema: &str,
) -> Result<Vec<Finding>, StoreError> {
    let migrated = sqlx::query("SELECT to_regclass('readcast.generations') IS NOT NULL AS migrated")
        .fetch_one(&mut *connection)
        .await
        .and_then(|row| row.try_get("migrated"))
        .map_err(at("looking for readcast's own tables"))?;
    let live = if migrated { generations::live(connection, definition.name()).await? } else { None };
    match live {
        Some(live) => {
            let refusals = refusals(connection, definition, &live, schema).await?;
            Ok(refusals.into_iter().map(|text| Finding { refused: true, text }).collect())
        }
        None => {
            let missing = |table: &TableSpec| Finding {
                refused: false,
                text: format!(
                    "table `{}` does not exist yet: `readcast migrate` or `readcast run` creates it",
                    table.name()
                ),
            };
            Ok(definition.tables().iter().map(missing).collect())
        }
    }
}

async fn refusals(
    connection: &mut PgConnection,
    definition: &Definition,
    live: &Declared,
    schema: &str,
) -> Result<Vec<String>, StoreError> {
    let changes = declaration_changes(definition, &live.hash, live.version, &live.tables_json);
    if !changes.is_empty() {
        return Ok(changes);
    }
    let mut refusals = Vec::new();
    for table in definition.tables() {
        refusals.extend(alterations(connection, table, live.generation).await?);
        refusals.extend(stable_name_fault(connection, table, live.generation, schema).await?);
    }
    Ok(refusals)
}

async fn create(
    connection: &mut PgConnection,
    definition: &Definition,
    table: &TableSpec,
    generation: Generation,
    schema: &str,
) -> Result<(), StoreError> {
    if let Some(kind) = relation_kind(connection, schema, table.name()).await? {
        let reason =
            format!("{schema}.{} exists already (a {kind}) and is not readcast's: rename one of them", table.name());
        return Err(StoreError::Definition { projection: definition.name().into(), reason });
    }
    let physical = sql::physical(table, generation);
    let mut statements = vec![create_table(table, &physical)];
    statements.extend(table.indexes().iter().enumerate().map(|(number, columns)| {
        let name = quoted(&format!("{}_ix{}", sql::physical_name(table, generation), number + 1));
        let columns: Vec<_> = columns.iter().map(|column| quoted(column)).collect();
        format!("CREATE INDEX {name} ON {physical} ({})", columns.join(", "))
    }));
    let stable = format!("{}.{}", quoted(schema), quoted(table.name()));
    statements.push(format!("CREATE VIEW {stable} AS SELECT {} FROM {physical}", column_list(table.columns())));
    for statement in statements {
        let doing = format!("creating table `{}`", table.name());
        connection.execute(AssertSqlSafe(statement)).await.map_err(at(doing))?;
    }
    Ok(())
}

fn create_table(table: &TableSpec, physical: &str) -> String {
    let column = |column: &Column| {
        let rest = match column.presence() {
            Presence::Nullable => String::new(),
            Presence::Required => " NOT NULL".into(),
            Presence::Default(value) => format!(" NOT NULL DEFAULT {}", sql::literal(value, column)),
        };
        format!("{} {}{rest}", quoted(column.name()), sql::column_type(column))
    };
    let columns: Vec<_> = table.columns().iter().map(column).collect();
    let key = column_list(table.key_columns());
    format!("CREATE TABLE {physical} ({}, PRIMARY KEY ({key}))", columns.join(", "))
}

/// How many rows readers see, and the first of them.
pub(super) async fn peek(
    connection: &mut PgConnection,
    table: &TableSpec,
    schema: &str,
    rows: usize,
) -> Result<Peek, StoreError> {
    let doing = || at(format!("reading table `{}`", table.name()));
    let stable = format!("{}.{}", quoted(schema), quoted(table.name()));
    let count = sqlx::query(AssertSqlSafe(format!("SELECT count(*) AS count FROM {stable}")));
    let count: i64 = count.fetch_one(&mut *connection).await.and_then(|row| row.try_get("count")).map_err(doing())?;
    let columns: Vec<_> = table.columns().iter().map(|column| format!("{}::text", quoted(column.name()))).collect();
    // Qualified: the bare name would mean the column of texts.
    let key: Vec<_> = table.key_columns().iter().map(|column| format!("held.{}", quoted(column.name()))).collect();
    let first = format!("SELECT {} FROM {stable} AS held ORDER BY {} LIMIT {rows}", columns.join(", "), key.join(", "));
    let found = sqlx::query(AssertSqlSafe(first)).fetch_all(connection).await.map_err(doing())?;
    let texts = |row: &sqlx::postgres::PgRow| (0..row.len()).map(|place| row.try_get(place)).collect();
    let rows = found.iter().map(texts).collect::<sqlx::Result<_>>().map_err(doing())?;
    Ok(Peek { count: count.unsigned_abs(), rows })
}

/// How the physical table differs from its declaration, if somebody altered it.
async fn alterations(
    connection: &mut PgConnection,
    table: &TableSpec,
    generation: Generation,
) -> Result<Vec<String>, StoreError> {
    const COLUMNS: &str = "
        SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null,
               coalesce(a.attnum = ANY (p.conkey), false) AS is_key
        FROM pg_attribute a
        LEFT JOIN pg_constraint p ON p.conrelid = a.attrelid AND p.contype = 'p'
        WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum";
    let physical = sql::physical(table, generation);
    let rows = sqlx::query(COLUMNS).bind(&physical).fetch_all(connection).await;
    let found = rows.and_then(|rows| {
        rows.iter()
            .map(|row| {
                let (is_key, not_null): (bool, bool) = (row.try_get("is_key")?, row.try_get("not_null")?);
                Ok((row.try_get("name")?, shape(row.try_get("type")?, not_null, is_key)))
            })
            .collect::<sqlx::Result<Vec<(String, String)>>>()
    });
    let found = found.map_err(at(format!("reading the columns of `{}`", table.name())))?;
    let declared = table.columns().iter().enumerate().map(|(place, column)| {
        let not_null = *column.presence() != Presence::Nullable;
        let is_key = place < table.key_columns().len();
        (column.name().to_owned(), shape(&sql::column_type(column), not_null, is_key))
    });
    Ok(super::super::altered(&physical, &declared.collect::<Vec<_>>(), &found))
}

fn shape(column_type: &str, not_null: bool, is_key: bool) -> String {
    format!("{column_type}{}{}", if not_null { " not null" } else { "" }, if is_key { " key" } else { "" })
}

/// What is wrong with the name that readers use.
async fn stable_name_fault(
    connection: &mut PgConnection,
    table: &TableSpec,
    generation: Generation,
    schema: &str,
) -> Result<Option<String>, StoreError> {
    const READS: &str = "
        SELECT EXISTS (
            SELECT FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
            WHERE r.ev_class = to_regclass($1) AND d.refobjid = to_regclass($2))
        AND $3::text[] = (
            SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
            WHERE attrelid = to_regclass($1) AND attnum > 0) AS reads";
    let stable = format!("{}.{}", quoted(schema), quoted(table.name()));
    let columns: Vec<&str> = table.columns().iter().map(Column::name).collect();
    let physical = sql::physical(table, generation);
    let row = sqlx::query(READS).bind(&stable).bind(physical).bind(columns).fetch_one(connection).await;
    let reads: bool = row.and_then(|row| row.try_get("reads")).map_err(at(format!("looking at the view {stable}")))?;
    Ok((!reads).then(|| format!("{stable} is not the view of generation {} that readcast made", generation.0)))
}

async fn relation_kind(
    connection: &mut PgConnection,
    schema: &str,
    name: &str,
) -> Result<Option<&'static str>, StoreError> {
    const KIND: &str = "SELECT relkind::text AS kind FROM pg_class WHERE oid = to_regclass($1)";
    let stable = format!("{}.{}", quoted(schema), quoted(name));
    let row = sqlx::query(KIND).bind(stable).fetch_optional(connection).await;
    let kind: Option<String> = row
        .and_then(|row| row.map(|row| row.try_get("kind")).transpose())
        .map_err(at(format!("looking for {schema}.{name}")))?;
    Ok(kind.map(|kind| match kind.as_str() {
        "r" | "p" => "table",
        "v" => "view",
        "m" => "materialized view",
        _ => "relation of another kind",
    }))
}
