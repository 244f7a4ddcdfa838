//! Creates physical tables and stable names from their declaration, and compares them with it later.

use readcast_core::{Definition, Presence, Shown, TableSpec, Value};
use sqlx::{AssertSqlSafe, Executor, Row, SqliteConnection};

use super::connection::at;
use super::sql::{self, quoted};
use super::values;
use crate::store::bookkeeping::generations::{self, Live};
use crate::store::{Generation, GenerationState, Peek, StoreError, altered, owned};

/// Creates the projection's live generation if there is none. Runs within a transaction.
pub(super) async fn prepare(connection: &mut SqliteConnection, definition: &Definition) -> Result<(), StoreError> {
    if let Some(live) = generations::live(connection, definition.name()).await? {
        return number_texts(connection, &live).await;
    }
    let taken = name_conflicts(connection, definition).await?;
    if !taken.is_empty() {
        return Err(StoreError::Definition { projection: definition.name().into(), reason: taken.join("; ") });
    }
    let generation = generations::create(connection, definition, None).await?;
    for table in definition.tables() {
        for statement in sql::create(table, generation) {
            let created = connection.execute(AssertSqlSafe(statement)).await;
            created.map_err(at(format!("creating table `{}`", table.name())))?;
        }
    }
    for shown in Shown::all(definition.tables()) {
        let created = connection.execute(AssertSqlSafe(sql::create_view(&shown, generation))).await;
        created.map_err(at(format!("creating view `{}`", shown.name)))?;
    }
    Ok(())
}

/// Replaces the views of version 0.1.0, which gave decimals as texts, and the indexes which serve them.
async fn number_texts(connection: &mut SqliteConnection, live: &Live) -> Result<(), StoreError> {
    const TRIGGERS: &str = "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE";
    for table in &live.tables {
        let outdated = sql::create_view_of_texts(table, live.generation);
        let current = sql::create_view(&Shown::of_table(table), live.generation);
        let found = object(connection, table.name()).await?;
        if outdated == current || found.is_none_or(|(_, sql)| sql != outdated) {
            continue;
        }
        let doing = || at(format!("giving readers of `{}` numbers instead of texts", table.name()));
        let triggers = sqlx::query_scalar(TRIGGERS).bind(table.name()).fetch_all(&mut *connection).await;
        let triggers: Vec<String> = triggers.map_err(doing())?;
        let indexes = sql::index_names(table, live.generation);
        let mut statements = vec![format!("DROP VIEW {}", quoted(table.name())), current];
        // They went with the view.
        statements.extend(triggers);
        statements.extend(indexes.map(|name| format!("DROP INDEX IF EXISTS {}", quoted(&name))));
        statements.extend(sql::create_indexes(table, live.generation));
        for statement in statements {
            connection.execute(AssertSqlSafe(statement)).await.map_err(doing())?;
        }
    }
    Ok(())
}

/// The differences between the tables of a generation and their declaration, and between the readers' views and those
/// that readcast created.
pub(super) async fn alterations(
    connection: &mut SqliteConnection,
    definition: &Definition,
    generation: Generation,
) -> Result<Vec<String>, StoreError> {
    let is_live =
        generations::live(connection, definition.name()).await?.is_some_and(|live| live.generation == generation);
    let mut alterations = Vec::new();
    for table in definition.tables() {
        alterations.extend(altered_columns(connection, table, generation).await?);
    }
    for shown in Shown::all(definition.tables()).iter().filter(|_| is_live) {
        if !is_view(connection, shown, generation).await? {
            let name = shown.name;
            alterations.push(format!("`{name}` is not the view of generation {} that readcast created", generation.0));
        }
    }
    Ok(alterations)
}

/// The stable names that the next generation needs and that are taken. Names of the live generation are readcast's own.
pub(super) async fn name_conflicts(
    connection: &mut SqliteConnection,
    definition: &Definition,
) -> Result<Vec<String>, StoreError> {
    let known = generations::live(connection, definition.name()).await?.map(|live| live.tables).unwrap_or_default();
    let known = Shown::all(&known);
    let generation = generations::next(connection, definition.name()).await?;
    let mut taken = Vec::new();
    for shown in Shown::all(definition.tables()) {
        if let Some(owner) = generations::owner(connection, shown.name, definition.name()).await? {
            taken.push(owned(shown.name, &owner, definition.name()));
            continue;
        }
        if !known.iter().any(|known| known.name == shown.name) {
            taken.extend(taken_name(connection, shown.name).await?);
        }
        if shown.is_table() {
            taken.extend(taken_name(connection, &sql::physical(shown.table, generation)).await?);
        }
    }
    Ok(taken)
}

/// The message that `name` is taken. `None` if the name is free.
pub(super) async fn taken_name(connection: &mut SqliteConnection, name: &str) -> Result<Option<String>, StoreError> {
    let taken = object(connection, name).await?;
    let rename = |(kind, _)| format!("`{name}` exists already (a {kind}) and is not readcast's: rename one of them");
    Ok(taken.map(rename))
}

/// Whether the stable name is the view of this generation, exactly as readcast creates it or version 0.1.0 did.
pub(super) async fn is_view(
    connection: &mut SqliteConnection,
    shown: &Shown<'_>,
    generation: Generation,
) -> Result<bool, StoreError> {
    let mut ours = vec![sql::create_view(shown, generation)];
    if shown.is_table() {
        ours.push(sql::create_view_of_texts(shown.table, generation));
    }
    Ok(object(connection, shown.name).await?.is_some_and(|(_, sql)| ours.contains(&sql)))
}

/// The differences between the physical table and its declaration, if the table was altered.
async fn altered_columns(
    connection: &mut SqliteConnection,
    table: &TableSpec,
    generation: Generation,
) -> Result<Vec<String>, StoreError> {
    // `table_xinfo` also shows generated columns.
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

/// A column's type and constraints. `key` is its place in the key from 1, or 0 for a data column.
fn shape(column_type: &str, not_null: bool, key: i64) -> String {
    let not_null = if not_null { " not null" } else { "" };
    let key = if key > 0 { format!(" key {key}") } else { String::new() };
    format!("{column_type}{not_null}{key}")
}

/// The object with this name: its kind, and the statement that created it.
async fn object(connection: &mut SqliteConnection, name: &str) -> Result<Option<(String, String)>, StoreError> {
    const OBJECT: &str = "SELECT type, coalesce(sql, '') FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE";
    let object = sqlx::query_as(OBJECT).bind(name).fetch_optional(connection).await;
    object.map_err(at(format!("looking for `{name}`")))
}

/// The number of rows that readers see, and the first of them.
pub(super) async fn peek(
    connection: &mut SqliteConnection,
    table: &TableSpec,
    rows: usize,
) -> Result<Peek, StoreError> {
    let doing = || at(format!("reading table `{}`", table.name()));
    let live = generations::all(connection).await?.into_iter().find(|generation| {
        generation.state == GenerationState::Live && generation.tables.iter().any(|live| live.name() == table.name())
    });
    // The view would give decimals as floats.
    let stable = live.map_or(table.name().to_owned(), |live| sql::physical(table, live.generation));
    let stable = quoted(&stable);
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
