//! Loads a building generation in one transaction: truncates its tables, fills them by COPY in the order of their keys,
//! and then creates the primary keys.

use std::collections::BTreeMap;

use readcast_core::{Column, TableSpec};
use sqlx::{AssertSqlSafe, Executor, PgConnection};

use super::connection::{at, commit_transaction, execute, roll_back};
use super::copy::Copy;
use super::hints::Hints;
use super::session::PgSession;
use super::sql;
use super::tables::{Source, Table, Tables};
use super::writer::{Passed, Reasons, pass};
use crate::failpoint;
use crate::store::{CommitOutcome, Encoding, Load, ParkedIn, RowPiece, StoreError, Written};

/// Loads the generation. On an error it rolls back, and the leader's connection stays usable.
pub(super) async fn load(
    connection: &mut PgConnection,
    load: Load<'_>,
    encoding: Encoding,
) -> Result<CommitOutcome, StoreError> {
    // Filling a table has no time limit.
    let begin = "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";
    execute(connection, begin).await.map_err(at("beginning a transaction"))?;
    match within(connection, load, encoding).await {
        Ok(committed @ CommitOutcome::Applied(_)) => {
            failpoint::hit("load_before_commit");
            commit_transaction(connection).await?;
            Ok(committed)
        }
        Ok(refused) => Ok(refused),
        Err(error) => roll_back(connection).await.and(Err(error)),
    }
}

async fn within(
    connection: &mut PgConnection,
    mut load: Load<'_>,
    encoding: Encoding,
) -> Result<CommitOutcome, StoreError> {
    let of = ParkedIn { projection: load.definition.name(), generation: load.generation };
    let mut session = PgSession::new(connection, encoding);
    match pass(&mut session, of, load.commit.guarded()?, Reasons::AsGiven, &mut Hints::default()).await? {
        Passed::Yes => {}
        Passed::No(refused) => return Ok(refused),
        // Lanes handle this case, so the load fails and the feeds replay the log.
        Passed::ReasonsRefused => {
            let reason = "the database can't store the reason of a dead letter".into();
            return Err(StoreError::Refused { doing: "parking records".into(), reason });
        }
    }
    let mut written = Written::default();
    let mut piece = load.rows.next().await?;
    let tables = Tables::new(load.definition.tables(), of.generation);
    for (index, Table { spec: table, physical, sources, .. }) in tables.iter().enumerate() {
        let key = without_key(connection, table, physical).await?;
        let staged = sql::staged(table, of.generation);
        if !sources.is_empty() {
            run(connection, table, format!("CREATE UNLOGGED TABLE {staged} (LIKE {physical})")).await?;
        }
        let mut copy = Copy::begin(connection, table, if sources.is_empty() { physical } else { &staged }).await?;
        while let Some((_, rows)) = piece.take_if(|(of, _)| *of == index) {
            for (key, row) in &rows {
                copy.add(key.iter().chain(row)).await?;
            }
            failpoint::hit("load_copying");
            piece = match load.rows.next().await {
                Ok(piece) => piece,
                Err(error) => return copy.abort().await.and(Err(error)),
            };
        }
        written.rows += copy.end().await?;
        if !sources.is_empty() {
            run(connection, table, with_copies(table, physical, sources, &staged)).await?;
        }
        run(connection, table, key).await?;
    }
    none_left(piece)?;
    Ok(CommitOutcome::Applied(written))
}

/// The statements that move staged rows into their table, with the copies from the referenced rows. These are loaded
/// already. Filling the copies in place would leave a dead version of each row.
fn with_copies(table: &TableSpec, physical: &str, sources: &[Source], staged: &str) -> String {
    let held = |column: &Column| format!("held.{}", sql::quoted(column.name()));
    let mut values: BTreeMap<&str, String> =
        table.columns().iter().map(|column| (column.name(), held(column))).collect();
    let mut joins = String::new();
    for (number, source) in sources.iter().enumerate() {
        let alias = format!("source{number}");
        let operands: Vec<String> = source.columns().iter().map(|place| held(&table.columns()[*place])).collect();
        joins += &source.join(&alias, &operands);
        values.extend(source.copies(table, &alias).map(|(column, value)| (column.name(), value)));
    }
    let selected: Vec<&str> = table.columns().iter().map(|column| values[column.name()].as_str()).collect();
    let (columns, selected) = (sql::column_list(table.columns()), selected.join(", "));
    format!("INSERT INTO {physical} ({columns}) SELECT {selected} FROM {staged} AS held{joins}; DROP TABLE {staged}")
}

/// Truncates a table and drops its primary key. Returns the statement that creates the key again.
async fn without_key(connection: &mut PgConnection, table: &TableSpec, physical: &str) -> Result<String, StoreError> {
    const KEY: &str = "SELECT conname FROM pg_constraint WHERE conrelid = $1::regclass AND contype = 'p'";
    let name: sqlx::Result<String> = sqlx::query_scalar(KEY).bind(physical).fetch_one(&mut *connection).await;
    let name = sql::quoted(&name.map_err(at(format!("reading the primary key of table `{}`", table.name())))?);
    let columns = sql::column_list(table.key_columns());
    run(connection, table, format!("ALTER TABLE {physical} DROP CONSTRAINT {name}; TRUNCATE {physical}")).await?;
    Ok(format!("ALTER TABLE {physical} ADD CONSTRAINT {name} PRIMARY KEY ({columns})"))
}

async fn run(connection: &mut PgConnection, table: &TableSpec, statement: String) -> Result<(), StoreError> {
    let done = connection.execute(AssertSqlSafe(statement)).await;
    done.map(drop).map_err(at(format!("loading table `{}`", table.name())))
}

/// Checks that no rows are left: rows of an unknown table or in the wrong order would be lost.
fn none_left(piece: Option<RowPiece>) -> Result<(), StoreError> {
    let Some((index, _)) = piece else { return Ok(()) };
    Err(StoreError::Refused { doing: "loading".into(), reason: format!("the rows of table {index} are out of order") })
}
