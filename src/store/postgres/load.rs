//! A building generation, loaded in one transaction: its tables emptied, filled by COPY in the order of their keys, and
//! only then given their primary keys.

use readcast_core::TableSpec;
use sqlx::{AssertSqlSafe, Executor, PgConnection};

use super::connection::{at, commit_transaction, execute};
use super::copy::Copy;
use super::{checkpoints, dead_letters, sql};
use crate::failpoint;
use crate::store::{Committed, Load, ParkedIn, RowPiece, StoreError, Written};

/// Loads it, or leaves everything as it was.
pub(super) async fn load(connection: &mut PgConnection, load: Load<'_>) -> Result<Committed, StoreError> {
    // To fill a table takes as long as it takes.
    let begin = "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";
    execute(connection, begin).await.map_err(at("beginning a transaction"))?;
    let checkpoints = checkpoints::Of::new(load.definition.name(), load.generation);
    let advances = load.commit.advances.clone();
    match within(connection, load).await {
        Ok(Some(committed @ Committed::Applied(_))) => {
            failpoint::hit("load_before_commit");
            commit_transaction(connection).await?;
            Ok(committed)
        }
        outcome => {
            execute(connection, "ROLLBACK").await.map_err(at("rolling back"))?;
            match outcome? {
                Some(committed) => Ok(committed),
                None => checkpoints.outcome(connection, &advances).await,
            }
        }
    }
}

/// `None` when the guard has not passed.
async fn within(connection: &mut PgConnection, mut load: Load<'_>) -> Result<Option<Committed>, StoreError> {
    let of = ParkedIn { projection: load.definition.name(), generation: load.generation };
    let commit = load.commit.guarded()?;
    if !checkpoints::Of::new(of.projection, of.generation).advance(connection, &commit.advances).await? {
        return Ok(None);
    }
    if let Some(limit) = dead_letters::park(connection, of, commit).await? {
        return Ok(Some(Committed::Full(limit)));
    }
    dead_letters::write_ledger(connection, of, commit).await?;
    let mut written = Written::default();
    let mut piece = load.rows.next().await?;
    for (index, table) in load.definition.tables().iter().enumerate() {
        let physical = sql::physical(table, of.generation);
        let key = without_key(connection, table, &physical).await?;
        let mut copy = Copy::begin(connection, table, &physical).await?;
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
        run(connection, table, key).await?;
    }
    none_left(piece)?;
    Ok(Some(Committed::Applied(written)))
}

/// Empties a table and takes its primary key away; the statement that brings it back.
async fn without_key(connection: &mut PgConnection, table: &TableSpec, physical: &str) -> Result<String, StoreError> {
    const KEY: &str = "SELECT conname FROM pg_constraint WHERE conrelid = $1::regclass AND contype = 'p'";
    let name: sqlx::Result<Option<String>> =
        sqlx::query_scalar(KEY).bind(physical).fetch_optional(&mut *connection).await;
    let name = name.map_err(at(format!("looking at table `{}`", table.name())))?;
    let name = sql::quoted(&name.unwrap_or_else(|| format!("{}_pkey", table.name())));
    let columns = sql::column_list(table.key_columns());
    let drop = format!("ALTER TABLE {physical} DROP CONSTRAINT IF EXISTS {name}; TRUNCATE {physical}");
    run(connection, table, drop).await?;
    Ok(format!("ALTER TABLE {physical} ADD CONSTRAINT {name} PRIMARY KEY ({columns})"))
}

async fn run(connection: &mut PgConnection, table: &TableSpec, statement: String) -> Result<(), StoreError> {
    let done = connection.execute(AssertSqlSafe(statement)).await;
    done.map(drop).map_err(at(format!("loading table `{}`", table.name())))
}

/// Rows of a table that is none of ours, or out of turn, would be lost.
fn none_left(piece: Option<RowPiece>) -> Result<(), StoreError> {
    let Some((index, _)) = piece else { return Ok(()) };
    Err(StoreError::Refused { doing: "loading".into(), reason: format!("rows of table {index} came out of turn") })
}
