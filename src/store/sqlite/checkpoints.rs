//! The checkpoints of one generation.

use readcast_core::TopicPartition;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::connection::at;
use super::refused;
use crate::source::Extent;
use crate::store::{Advance, Checkpoint, CommitOutcome, Generation, Positions, RecordedCheckpoint, StoreError};

/// The checkpoints of one generation of one projection. Runs within a transaction.
pub(super) struct Checkpoints<'a> {
    projection: &'a str,
    generation: Generation,
}

impl<'a> Checkpoints<'a> {
    pub(super) fn new(projection: &'a str, generation: Generation) -> Self {
        Self { projection, generation }
    }

    /// Raises the partition's owner epoch, or creates its checkpoint at the start of the log. What is building never
    /// runs ahead of the live generation: it may go to where that one stands, and stays at the start where that one has
    /// no checkpoint.
    pub(super) async fn claim(
        &self,
        connection: &mut SqliteConnection,
        partition: &TopicPartition,
        extent: &Extent,
    ) -> Result<Checkpoint, StoreError> {
        const CLAIM: &str = "
            INSERT INTO readcast_checkpoints
                (projection, generation, topic, partition, next_offset, start_offset, owner_epoch, topic_id,
                 hold_at, hold_until)
            SELECT own.projection, own.generation, ?3, ?4, ?5, ?5, 1, ?6,
                iif(own.state = 'building', coalesce(live.next_offset, ?5), NULL),
                iif(own.state = 'building', '9999-12-31T00:00:00.000Z', NULL)
            FROM readcast_generations AS own
            LEFT JOIN readcast_generations AS seen ON seen.projection = own.projection AND seen.state = 'live'
            LEFT JOIN readcast_checkpoints AS live
                ON live.projection = seen.projection AND live.generation = seen.generation
                AND live.topic = ?3 AND live.partition = ?4
            WHERE own.projection = ?1 AND own.generation = ?2 AND own.dropped_at IS NULL
            ON CONFLICT (projection, generation, topic, partition) DO UPDATE
            SET owner_epoch = owner_epoch + 1, topic_id = coalesce(topic_id, excluded.topic_id)
            RETURNING topic, partition, next_offset, owner_epoch, parking_epoch, leader_epoch, topic_id,
                iif(hold_until >= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), hold_at, NULL) AS hold_at";
        const CLAIMING: &str = "claiming partitions";
        let row = sqlx::query(CLAIM)
            .bind(self.projection)
            .bind(self.generation.0)
            .bind(&*partition.topic)
            .bind(partition.partition)
            .bind(extent.start)
            .bind(&extent.log_id)
            .fetch_optional(connection)
            .await;
        let claimed = row.and_then(|row| row.as_ref().map(checkpoint).transpose()).map_err(at(CLAIMING))?;
        claimed.ok_or_else(|| {
            refused(CLAIMING, format!("`{}` has no generation {} any more", self.projection, self.generation.0))
        })
    }

    /// The guard of every commit: moves each checkpoint, provided that all of them stand exactly where the commit
    /// begins, belong to the owner that it names, have parked what it was planned with, and are not held before its end.
    /// `false` when any is not so.
    pub(super) async fn advance(
        &self,
        connection: &mut SqliteConnection,
        advances: &[Advance],
    ) -> Result<bool, StoreError> {
        const ADVANCE: &str = "
            UPDATE readcast_checkpoints
            SET next_offset = ?5, leader_epoch = ?9, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
            WHERE projection = ?1 AND generation = ?2 AND topic = ?3 AND partition = ?4
              AND next_offset = ?6 AND owner_epoch = ?7 AND parking_epoch = ?8
              AND NOT (hold_at IS NOT NULL AND ?5 > hold_at
                       AND hold_until >= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))";
        for advance in advances {
            let moved = sqlx::query(ADVANCE)
                .bind(self.projection)
                .bind(self.generation.0)
                .bind(&*advance.partition.topic)
                .bind(advance.partition.partition)
                .bind(advance.to)
                .bind(advance.from)
                .bind(advance.owner_epoch)
                .bind(advance.parking_epoch)
                .bind(advance.leader_epoch)
                .execute(&mut *connection)
                .await
                .map_err(at("moving checkpoints"))?;
            if moved.rows_affected() == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Moves a checkpoint to where the log can be read again, under a new owner epoch, or deletes it. See
    /// [`Leadership::resume_at`](crate::store::Leadership::resume_at).
    pub(super) async fn resume_at(
        &self,
        connection: &mut SqliteConnection,
        partition: &TopicPartition,
        to: Option<&(i64, Option<String>)>,
    ) -> Result<(), StoreError> {
        const MOVE: &str = "
            UPDATE readcast_checkpoints
            SET next_offset = ?5, topic_id = ?6, leader_epoch = NULL, owner_epoch = owner_epoch + 1,
                updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
            WHERE projection = ?1 AND generation = ?2 AND topic = ?3 AND partition = ?4";
        const DELETE: &str = "
            DELETE FROM readcast_checkpoints
            WHERE projection = ?1 AND generation = ?2 AND topic = ?3 AND partition = ?4";
        self.forget_from(connection, partition, to).await?;
        let statement = sqlx::query(if to.is_some() { MOVE } else { DELETE })
            .bind(self.projection)
            .bind(self.generation.0)
            .bind(&*partition.topic)
            .bind(partition.partition);
        let statement = match to {
            Some((next_offset, log_id)) => statement.bind(next_offset).bind(log_id),
            None => statement,
        };
        statement.execute(connection).await.map(drop).map_err(at("moving checkpoints"))
    }

    /// Where a checkpoint goes back, or into another log, other records come to stand at the offsets from there on: what
    /// operators decided about those before them is forgotten. What is parked of them must not be.
    async fn forget_from(
        &self,
        connection: &mut SqliteConnection,
        partition: &TopicPartition,
        to: Option<&(i64, Option<String>)>,
    ) -> Result<(), StoreError> {
        const GOES_BACK: &str = "
            SELECT next_offset > ?5 OR topic_id IS NOT ?6,
                (SELECT count(*) FROM readcast_dead_letters AS d
                 WHERE d.projection = ?1 AND d.generation = ?2 AND d.topic = ?3 AND d.partition = ?4
                   AND d.record_offset >= ?5)
            FROM readcast_checkpoints WHERE projection = ?1 AND generation = ?2 AND topic = ?3 AND partition = ?4";
        const AMENDMENTS: &str = "
            DELETE FROM readcast_amendments
            WHERE projection = ?1 AND topic = ?2 AND partition = ?3 AND record_offset >= ?4";
        let doing = || at("moving checkpoints");
        let next_offset = to.map_or(0, |(next_offset, _)| *next_offset);
        let goes_back = sqlx::query_as(GOES_BACK)
            .bind(self.projection)
            .bind(self.generation.0)
            .bind(&*partition.topic)
            .bind(partition.partition)
            .bind(next_offset)
            .bind(to.and_then(|(_, log_id)| log_id.as_deref()))
            .fetch_optional(&mut *connection)
            .await;
        let Some((true, parked)) = goes_back.map_err(doing())? else { return Ok(()) };
        let parked: i64 = parked;
        crate::store::none_parked(self.projection, partition, next_offset, parked.unsigned_abs())?;
        let forget = sqlx::query(AMENDMENTS).bind(self.projection).bind(&*partition.topic).bind(partition.partition);
        forget.bind(next_offset).execute(connection).await.map(drop).map_err(doing())
    }

    /// What became of a commit whose guard failed.
    pub(super) async fn outcome(
        &self,
        connection: &mut SqliteConnection,
        advances: &[Advance],
    ) -> Result<CommitOutcome, StoreError> {
        const HELD: &str = "
            SELECT topic, partition, next_offset, owner_epoch, parking_epoch, leader_epoch, topic_id,
                iif(hold_until >= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), hold_at, NULL) AS hold_at
            FROM readcast_checkpoints WHERE projection = ?1 AND generation = ?2";
        let rows = sqlx::query(HELD).bind(self.projection).bind(self.generation.0).fetch_all(connection).await;
        let held: sqlx::Result<Vec<_>> = rows.and_then(|rows| rows.iter().map(checkpoint).collect());
        let held = held.map_err(at("reading checkpoints"))?;
        Ok(CommitOutcome::as_seen_in(&held, advances))
    }

    /// All of them, for display.
    pub(super) async fn recorded(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<RecordedCheckpoint>, StoreError> {
        const RECORDED: &str = "
            SELECT topic, partition, start_offset, next_offset, owner_epoch, parking_epoch, leader_epoch, topic_id,
                updated_at
            FROM readcast_checkpoints WHERE projection = ?1 AND generation = ?2 ORDER BY topic, partition";
        let rows = sqlx::query(RECORDED).bind(self.projection).bind(self.generation.0).fetch_all(connection).await;
        let recorded = |row: &SqliteRow| {
            Ok(RecordedCheckpoint {
                partition: partition(row)?,
                start_offset: row.try_get("start_offset")?,
                next_offset: row.try_get("next_offset")?,
                owner_epoch: row.try_get("owner_epoch")?,
                parking_epoch: row.try_get("parking_epoch")?,
                leader_epoch: row.try_get("leader_epoch")?,
                log_id: row.try_get("topic_id")?,
                updated_at: row.try_get("updated_at")?,
            })
        };
        rows.and_then(|rows| rows.iter().map(recorded).collect()).map_err(at("reading checkpoints"))
    }
}

/// The next offset of every partition of a generation, or of the live one.
pub(super) async fn positions(
    connection: &mut SqliteConnection,
    projection: &str,
    of: Option<Generation>,
) -> Result<Positions, StoreError> {
    const POSITIONS: &str = "
        SELECT topic, partition, next_offset FROM readcast_checkpoints
        WHERE projection = ?1 AND generation = coalesce(
            ?2, (SELECT generation FROM readcast_generations WHERE projection = ?1 AND state = 'live'))";
    let rows = sqlx::query(POSITIONS).bind(projection).bind(of.map(|of| of.0)).fetch_all(connection).await;
    let position = |row: &SqliteRow| Ok((partition(row)?, row.try_get("next_offset")?));
    let positions = rows.and_then(|rows| rows.iter().map(position).collect());
    positions.map_err(at("reading checkpoints"))
}

fn checkpoint(row: &SqliteRow) -> sqlx::Result<Checkpoint> {
    Ok(Checkpoint {
        partition: partition(row)?,
        next_offset: row.try_get("next_offset")?,
        owner_epoch: row.try_get("owner_epoch")?,
        parking_epoch: row.try_get("parking_epoch")?,
        leader_epoch: row.try_get("leader_epoch")?,
        log_id: row.try_get("topic_id")?,
        hold_at: row.try_get("hold_at")?,
    })
}

fn partition(row: &SqliteRow) -> sqlx::Result<TopicPartition> {
    Ok(TopicPartition::new(row.try_get::<&str, _>("topic")?, row.try_get("partition")?))
}
