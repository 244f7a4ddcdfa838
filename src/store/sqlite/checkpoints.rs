//! The checkpoints of one generation.

use readcast_core::TopicPartition;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::connection::at;
use crate::source::Extent;
use crate::store::{Advance, Checkpoint, Committed, Generation, RecordedCheckpoint, StoreError};

/// The checkpoints of one generation of one projection. Runs within a transaction.
pub(super) struct Of<'a> {
    projection: &'a str,
    generation: Generation,
}

impl<'a> Of<'a> {
    pub(super) fn new(projection: &'a str, generation: Generation) -> Self {
        Self { projection, generation }
    }

    /// Raises the partition's owner epoch, or creates its checkpoint at the start of the log.
    pub(super) async fn claim(
        &self,
        connection: &mut SqliteConnection,
        partition: &TopicPartition,
        extent: &Extent,
    ) -> Result<Checkpoint, StoreError> {
        const CLAIM: &str = "
            INSERT INTO readcast_checkpoints
                (projection, generation, topic, partition, next_offset, owner_epoch, topic_id)
            VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6)
            ON CONFLICT (projection, generation, topic, partition) DO UPDATE
            SET owner_epoch = owner_epoch + 1, topic_id = coalesce(topic_id, excluded.topic_id)
            RETURNING topic, partition, next_offset, owner_epoch, topic_id";
        let row = sqlx::query(CLAIM)
            .bind(self.projection)
            .bind(self.generation.0)
            .bind(&*partition.topic)
            .bind(partition.partition)
            .bind(extent.start)
            .bind(&extent.log_id)
            .fetch_one(connection)
            .await;
        row.and_then(|row| checkpoint(&row)).map_err(at("claiming partitions"))
    }

    /// The guard of every commit: moves each checkpoint, provided that all of them stand exactly where the commit
    /// begins and belong to the owner that it names. `false` when any does not.
    pub(super) async fn advance(
        &self,
        connection: &mut SqliteConnection,
        advances: &[Advance],
    ) -> Result<bool, StoreError> {
        const ADVANCE: &str = "
            UPDATE readcast_checkpoints
            SET next_offset = ?5, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
            WHERE projection = ?1 AND generation = ?2 AND topic = ?3 AND partition = ?4
              AND next_offset = ?6 AND owner_epoch = ?7";
        for advance in advances {
            let moved = sqlx::query(ADVANCE)
                .bind(self.projection)
                .bind(self.generation.0)
                .bind(&*advance.partition.topic)
                .bind(advance.partition.partition)
                .bind(advance.to)
                .bind(advance.from)
                .bind(advance.owner_epoch)
                .execute(&mut *connection)
                .await
                .map_err(at("moving checkpoints"))?;
            if moved.rows_affected() == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What became of a commit whose guard failed.
    pub(super) async fn outcome(
        &self,
        connection: &mut SqliteConnection,
        advances: &[Advance],
    ) -> Result<Committed, StoreError> {
        const HELD: &str = "
            SELECT topic, partition, next_offset, owner_epoch, topic_id FROM readcast_checkpoints
            WHERE projection = ?1 AND generation = ?2";
        let rows = sqlx::query(HELD).bind(self.projection).bind(self.generation.0).fetch_all(connection).await;
        let held: sqlx::Result<Vec<_>> = rows.and_then(|rows| rows.iter().map(checkpoint).collect());
        let held = held.map_err(at("reading checkpoints"))?;
        Ok(Committed::as_seen_in(&held, advances))
    }

    /// All of them, for display.
    pub(super) async fn recorded(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<RecordedCheckpoint>, StoreError> {
        const RECORDED: &str = "
            SELECT topic, partition, next_offset, topic_id, updated_at FROM readcast_checkpoints
            WHERE projection = ?1 AND generation = ?2 ORDER BY topic, partition";
        let rows = sqlx::query(RECORDED).bind(self.projection).bind(self.generation.0).fetch_all(connection).await;
        let recorded = |row: &SqliteRow| {
            Ok(RecordedCheckpoint {
                partition: partition(row)?,
                next_offset: row.try_get("next_offset")?,
                log_id: row.try_get("topic_id")?,
                updated_at: row.try_get("updated_at")?,
            })
        };
        rows.and_then(|rows| rows.iter().map(recorded).collect()).map_err(at("reading checkpoints"))
    }
}

fn checkpoint(row: &SqliteRow) -> sqlx::Result<Checkpoint> {
    Ok(Checkpoint {
        partition: partition(row)?,
        next_offset: row.try_get("next_offset")?,
        owner_epoch: row.try_get("owner_epoch")?,
        log_id: row.try_get("topic_id")?,
    })
}

fn partition(row: &SqliteRow) -> sqlx::Result<TopicPartition> {
    Ok(TopicPartition::new(row.try_get::<&str, _>("topic")?, row.try_get("partition")?))
}
