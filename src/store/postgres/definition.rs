//! Creates physical tables and stable names from their declaration, and compares them with it later.

use readcast_core::{Definition, Presence, Shown, TableSpec};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

use super::connection::at;
use super::session::PgSession;
use super::sql::{self, quoted};
use super::views::{self, View};
use crate::store::bookkeeping::generations;
use crate::store::{Generation, Peek, StoreError, altered, owned};

/// Creates the projection's first live generation if it has none. Runs within a transaction.
pub(super) async fn prepare(
    session: &mut PgSession<'_>,
    definition: &Definition,
    schema: &str,
) -> Result<(), StoreError> {
    // Instances that start at the same time do this in turn: the second finds what the first created.
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('readcast ' || $1, 0))";
    sqlx::query(lock).bind(definition.name()).execute(&mut **session).await.map_err(at("preparing tables"))?;
    if generations::live(session, definition.name()).await?.is_some() {
        return Ok(());
    }
    let taken = name_conflicts(session, definition, schema).await?;
    if !taken.is_empty() {
        return Err(StoreError::Definition { projection: definition.name().into(), reason: taken.join("; ") });
    }
    let generation = generations::create(session, definition, None).await?;
    let mut statements = sql::create_tables(definition.tables(), generation);
    for table in definition.tables() {
        statements.extend(sql::create_indexes(table, generation).into_iter().map(|statement| (table, statement)));
    }
    let shown = Shown::all(definition.tables());
    statements.extend(shown.iter().map(|shown| (shown.table, views::create(shown, generation, schema))));
    for (table, statement) in statements {
        let doing = format!("creating table `{}`", table.name());
        session.connection().execute(AssertSqlSafe(statement)).await.map_err(at(doing))?;
    }
    Ok(())
}

/// The stable names that are taken by other objects. Names of the live generation are readcast's own.
pub(super) async fn name_conflicts(
    session: &mut PgSession<'_>,
    definition: &Definition,
    schema: &str,
) -> Result<Vec<String>, StoreError> {
    let live = generations::live(session, definition.name()).await?.map(|live| live.tables).unwrap_or_default();
    let live = Shown::all(&live);
    let mut taken = Vec::new();
    for shown in Shown::all(definition.tables()) {
        if live.iter().any(|live| live.name == shown.name) {
            continue;
        }
        let Some(kind) = View::new(session, schema, shown.name).kind().await? else { continue };
        let name = format!("{schema}.{}", shown.name);
        taken.push(match generations::owner(session, shown.name, definition.name()).await? {
            Some(owner) => owned(shown.name, &owner, definition.name()),
            None => format!("{name} exists already (a {kind}) and is not readcast's: rename one of them"),
        });
    }
    Ok(taken)
}

/// The number of rows that readers see, and the first of them.
pub(super) async fn peek(
    connection: &mut PgConnection,
    table: &TableSpec,
    schema: &str,
    rows: usize,
) -> Result<Peek, StoreError> {
    let doing = || at(format!("reading table `{}`", table.name()));
    let stable = sql::stable(schema, table.name());
    let count = sqlx::query(AssertSqlSafe(format!("SELECT count(*) AS count FROM {stable}")));
    let count: i64 = count.fetch_one(&mut *connection).await.and_then(|row| row.try_get("count")).map_err(doing())?;
    let columns: Vec<_> = table.columns().iter().map(|column| format!("{}::text", quoted(column.name()))).collect();
    // Qualified by `held`: an unqualified name would refer to the output column of texts.
    let key: Vec<_> = table.key_columns().iter().map(|column| format!("held.{}", quoted(column.name()))).collect();
    let first = format!("SELECT {} FROM {stable} AS held ORDER BY {} LIMIT {rows}", columns.join(", "), key.join(", "));
    let found = sqlx::query(AssertSqlSafe(first)).fetch_all(connection).await.map_err(doing())?;
    let texts = |row: &sqlx::postgres::PgRow| (0..row.len()).map(|place| row.try_get(place)).collect();
    let rows = found.iter().map(texts).collect::<sqlx::Result<_>>().map_err(doing())?;
    Ok(Peek { count: count.unsigned_abs(), rows })
}

/// The differences between the generation's tables and the definition that built them, if the tables were altered. For
/// the live generation also the differences between the stable names and the views that readcast created.
pub(super) async fn alterations(
    session: &mut PgSession<'_>,
    definition: &Definition,
    generation: Generation,
    schema: &str,
) -> Result<Vec<String>, StoreError> {
    let live = generations::live(session, definition.name()).await?.is_some_and(|live| live.generation == generation);
    let mut found = Vec::new();
    for table in definition.tables() {
        found.extend(table_alterations(session, table, generation).await?);
    }
    for shown in Shown::all(definition.tables()).iter().filter(|_| live) {
        found.extend(View::new(session, schema, shown.name).problem(shown, generation).await?);
    }
    Ok(found)
}

async fn table_alterations(
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
    Ok(altered(&physical, &declared.collect::<Vec<_>>(), &found))
}

fn shape(column_type: &str, not_null: bool, is_key: bool) -> String {
    format!("{column_type}{}{}", if not_null { " not null" } else { "" }, if is_key { " key" } else { "" })
}
