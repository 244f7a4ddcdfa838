//! Begins a generation, with empty tables or with a copy of the live rows and checkpoints.

use readcast_core::{Definition, TopicPartition};
use sqlx::{AssertSqlSafe, Executor, SqliteConnection};

use super::connection::at;
use super::{refused, rows, sql};
use crate::source::Extents;
use crate::store::bookkeeping::generations::Live;
use crate::store::bookkeeping::{checkpoints, generations, operations, settlement};
use crate::store::comparison::{Pair, pairs};
use crate::store::{BuildOptions, Generation, ParkedIn, StoreError};

const COPYING: &str = "copying the live generation";

/// Begins the generation that the operation builds, or returns the one that it has begun already. Runs in a
/// transaction.
pub(super) async fn begin(
    connection: &mut SqliteConnection,
    operation: i64,
    definition: &Definition,
    build: &BuildOptions,
    starts: &Extents,
) -> Result<Generation, StoreError> {
    if let Some(begun) = operations::built(connection, definition.name(), operation).await? {
        return Ok(begun);
    }
    let generation = generations::create(connection, definition, Some(build)).await?;
    for table in definition.tables() {
        let created = connection.execute(AssertSqlSafe(sql::create_table(table, generation))).await;
        created.map_err(at(format!("creating table `{}`", table.name())))?;
    }
    match &build.copy_from {
        Some(offsets) => copy(connection, definition, generation, offsets).await?,
        // Claimed now, so that records which retention deletes from now on are a gap.
        None => {
            let of = ParkedIn { projection: definition.name(), generation };
            checkpoints::claim(connection, of, starts).await?;
        }
    }
    operations::builds(connection, operation, generation).await?;
    Ok(generation)
}

async fn copy(
    connection: &mut SqliteConnection,
    definition: &Definition,
    generation: Generation,
    offsets: &[(TopicPartition, i64)],
) -> Result<(), StoreError> {
    let Some(live) = generations::live(connection, definition.name()).await? else {
        return Err(refused(COPYING, format!("projection `{}` has no live generation", definition.name())));
    };
    for pair in pairs(&live.tables, definition.tables()) {
        copy_rows(connection, &pair, &live, generation).await?;
    }
    rows::Tables::new(definition.tables(), generation).fill_copies(connection).await?;
    checkpoints::copy(connection, definition.name(), live.generation, generation, offsets).await?;
    settlement::copy(connection, definition.name(), live.generation, generation).await
}

/// Copies the common columns of a table of the live generation to its counterpart. A table that the live generation
/// lacks stays empty.
async fn copy_rows(
    connection: &mut SqliteConnection,
    pair: &Pair<'_>,
    live: &Live,
    generation: Generation,
) -> Result<(), StoreError> {
    let (Some(next), Some(columns)) = (pair.other, pair.copied()) else { return Ok(()) };
    let columns = columns.map_err(|reason| refused(COPYING, reason))?;
    let copy = sql::copy(next, live.generation, generation, &columns);
    connection.execute(AssertSqlSafe(copy)).await.map(drop).map_err(at(format!("copying table `{}`", pair.name)))
}
