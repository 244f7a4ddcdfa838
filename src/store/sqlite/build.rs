//! Begins a generation, with empty tables or with a copy of the live rows and checkpoints.

use readcast_core::{Definition, TopicPartition};
use sqlx::{AssertSqlSafe, Executor, SqliteConnection};

use super::connection::at;
use super::generations::{self, Live};
use super::{checkpoints, dead_letters, operations, refused, sql};
use crate::source::Extents;
use crate::store::comparison::{Pair, pairs};
use crate::store::{BuildOptions, Generation, StoreError};

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
            for (partition, extent) in starts {
                checkpoints::Checkpoints::new(definition.name(), generation)
                    .claim(connection, partition, extent)
                    .await?;
            }
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
    copy_checkpoints(connection, definition.name(), &live, generation).await?;
    for (partition, offset) in offsets {
        move_back(connection, definition.name(), generation, partition, *offset).await?;
    }
    dead_letters::copy(connection, definition.name(), live.generation, generation).await
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

/// Copies the live checkpoints without their owners. Like every building generation, the copy is held at the position
/// of the live generation.
async fn copy_checkpoints(
    connection: &mut SqliteConnection,
    projection: &str,
    live: &Live,
    generation: Generation,
) -> Result<(), StoreError> {
    const COPY: &str = "
        INSERT INTO readcast_checkpoints
            (projection, generation, topic, partition, next_offset, start_offset, owner_epoch, leader_epoch, topic_id,
             hold_at, hold_until)
        SELECT projection, ?3, topic, partition, next_offset, start_offset, 0, leader_epoch, topic_id,
            next_offset, '9999-12-31T00:00:00.000Z'
        FROM readcast_checkpoints WHERE projection = ?1 AND generation = ?2";
    let copied =
        sqlx::query(COPY).bind(projection).bind(live.generation.0).bind(generation.0).execute(connection).await;
    copied.map(drop).map_err(at(COPYING))
}

/// Moves a copied checkpoint back to `offset`, so that the records from there on are replayed.
async fn move_back(
    connection: &mut SqliteConnection,
    projection: &str,
    generation: Generation,
    partition: &TopicPartition,
    offset: i64,
) -> Result<(), StoreError> {
    const MOVE_BACK: &str = "
        UPDATE readcast_checkpoints SET next_offset = ?5
        WHERE projection = ?1 AND generation = ?2 AND topic = ?3 AND partition = ?4 AND next_offset >= ?5";
    let moved = sqlx::query(MOVE_BACK)
        .bind(projection)
        .bind(generation.0)
        .bind(&*partition.topic)
        .bind(partition.partition)
        .bind(offset)
        .execute(connection)
        .await;
    match moved.map_err(at(COPYING))?.rows_affected() {
        0 => Err(refused(COPYING, format!("the live generation has not reached offset {offset} of {partition}"))),
        _ => Ok(()),
    }
}
