//! The checkpoints of one generation.

use readcast_core::TopicPartition;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::connection::{at, execute};
use super::hints::Hints;
use crate::source::Extent;
use crate::store::{Advance, Checkpoint, CommitOutcome, Generation, Positions, StoreError};

/// The checkpoints of one generation of one projection.
pub(super) struct Checkpoints<'a> {
    projection: &'a str,
    generation: Generation,
}

impl<'a> Checkpoints<'a> {
    pub(super) fn new(projection: &'a str, generation: Generation) -> Self {
        Self { projection, generation }
    }

    /// Raises the owner epoch of each partition. Waits behind the transaction of an earlier owner: its position is
    /// read after its commit, and its next commit finds the new epoch.
    ///
    /// A generation that is building never runs ahead of the live one: where it begins, it is held at once.
    pub(super) async fn claim(
        &self,
        connection: &mut PgConnection,
        partitions: &[(TopicPartition, Extent)],
    ) -> Result<Vec<Checkpoint>, StoreError> {
        const CLAIM: &str = "
            WITH ours AS (
                SELECT state = 'building' AS building FROM readcast.generations
                WHERE projection = $1 AND generation = $2 AND state IN ('building', 'ready', 'live', 'standby')),
            live AS (
                SELECT c.topic, c.partition, c.next_offset
                FROM readcast.checkpoints c JOIN readcast.generations USING (projection, generation)
                WHERE projection = $1 AND state = 'live')
            INSERT INTO readcast.checkpoints AS held
                (projection, generation, topic, partition, start_offset, next_offset, owner_epoch, topic_id,
                 hold_at, hold_until)
            SELECT $1, $2, new.topic, new.partition, start_offset, start_offset, 1, topic_id,
                   CASE WHEN building THEN coalesce(live.next_offset, start_offset) END,
                   CASE WHEN building THEN 'infinity'::timestamptz END
            FROM ours CROSS JOIN unnest($3::text[], $4::int4[], $5::int8[], $6::text[]) AS new(topic, partition, start_offset, topic_id)
            LEFT JOIN live ON live.topic = new.topic AND live.partition = new.partition
            ORDER BY new.topic, new.partition
            ON CONFLICT (projection, generation, topic, partition) DO UPDATE
            SET owner_epoch = held.owner_epoch + 1, topic_id = coalesce(held.topic_id, excluded.topic_id)
            RETURNING topic, partition, next_offset, owner_epoch, parking_epoch, leader_epoch, topic_id,
                      NULL::bigint AS hold_at";
        let rows = sqlx::query(CLAIM)
            .bind(self.projection)
            .bind(self.generation.0)
            .bind(partitions.iter().map(|(partition, _)| partition.topic.to_string()).collect::<Vec<_>>())
            .bind(partitions.iter().map(|(partition, _)| partition.partition).collect::<Vec<_>>())
            .bind(partitions.iter().map(|(_, extent)| extent.start).collect::<Vec<_>>())
            .bind(partitions.iter().map(|(_, extent)| extent.log_id.clone()).collect::<Vec<_>>())
            .fetch_all(connection)
            .await
            .map_err(at("claiming partitions"))?;
        if rows.len() < partitions.len() {
            return Err(StoreError::Refused {
                doing: "claiming partitions".into(),
                reason: format!("the life of generation {} has ended", self.generation.0),
            });
        }
        rows.iter().map(checkpoint).collect::<sqlx::Result<_>>().map_err(at("claiming partitions"))
    }

    /// The guard of every commit: moves each checkpoint, provided that all of them stand exactly where the commit
    /// begins, belong to the owner that it names, have parked what it was planned with and are held at no offset before
    /// its end. `false` when any is not: some may have been moved, so the transaction must be rolled back.
    ///
    /// Begins the transaction anew when the checkpoints are not where `hints` say, so it must be the first to change
    /// anything in it.
    pub(super) async fn advance(
        &self,
        connection: &mut PgConnection,
        advances: &[Advance],
        hints: &mut Hints,
    ) -> Result<bool, StoreError> {
        let mut places = hints.take_places(advances);
        loop {
            let moved =
                self.move_all(connection, advances, places.as_deref()).await.map_err(at("moving checkpoints"))?;
            if moved.len() == advances.len() {
                hints.note_places(moved);
                return Ok(true);
            }
            // Somebody else has updated a row since, and it has gone elsewhere. By their keys all are found.
            if places.take().is_none() {
                return Ok(false);
            }
            execute(connection, "ROLLBACK AND CHAIN").await.map_err(at("moving checkpoints"))?;
        }
    }

    /// Moves those that meet the conditions of the guard, found by their `places` or else by their keys. Which those are,
    /// and their places from now on.
    async fn move_all(
        &self,
        connection: &mut PgConnection,
        advances: &[Advance],
        places: Option<&[String]>,
    ) -> sqlx::Result<Vec<(TopicPartition, String)>> {
        macro_rules! advance {
            ($step:literal, $given:literal, $found:literal) => {
                concat!(
                    "UPDATE readcast.checkpoints AS held
                     SET next_offset = step.next_offset, leader_epoch = step.leader_epoch, updated_at = now()
                     FROM unnest($3::text[], $4::int4[], $5::int8[], $6::int8[], $7::int8[], $8::int8[], $9::int4[]",
                    $given,
                    ") AS step(topic, partition, expected, next_offset, owner_epoch, parking_epoch, leader_epoch",
                    $step,
                    ") WHERE held.next_offset = step.expected AND held.owner_epoch = step.owner_epoch
                         AND held.parking_epoch = step.parking_epoch
                         AND (held.hold_at IS NULL OR step.next_offset <= held.hold_at
                              OR held.hold_until < clock_timestamp()) AND ",
                    $found,
                    " RETURNING held.topic, held.partition, held.ctid::text AS place"
                )
            };
        }
        const BY_KEY: &str = advance!(
            "",
            "",
            "held.projection = $1 AND held.generation = $2
             AND held.topic = step.topic AND held.partition = step.partition"
        );
        // Columns as they are would let the planner take the index, which it does for a table that is small but for
        // versions that it does not count.
        const BY_PLACE: &str = advance!(
            ", place",
            ", $10::text[]::tid[]",
            "held.ctid = step.place AND held.projection || '' = $1 AND held.generation + 0 = $2
             AND held.topic || '' = step.topic AND held.partition + 0 = step.partition"
        );
        let query = sqlx::query(if places.is_some() { BY_PLACE } else { BY_KEY })
            .bind(self.projection)
            .bind(self.generation.0)
            .bind(advances.iter().map(|advance| advance.partition.topic.to_string()).collect::<Vec<_>>())
            .bind(advances.iter().map(|advance| advance.partition.partition).collect::<Vec<_>>())
            .bind(advances.iter().map(|advance| advance.from).collect::<Vec<_>>())
            .bind(advances.iter().map(|advance| advance.to).collect::<Vec<_>>())
            .bind(advances.iter().map(|advance| advance.owner_epoch).collect::<Vec<_>>())
            .bind(advances.iter().map(|advance| advance.parking_epoch).collect::<Vec<_>>())
            .bind(advances.iter().map(|advance| advance.leader_epoch).collect::<Vec<_>>());
        let query = match places {
            Some(places) => query.bind(places),
            None => query,
        };
        let moved = query.fetch_all(connection).await?;
        let moved = moved.iter().map(|row| Ok((partition(row)?, row.try_get("place")?)));
        moved.collect()
    }

    /// Moves a checkpoint to where the log can be read again, under a new owner epoch, or deletes it. See
    /// [`Leadership::resume_at`](crate::store::Leadership::resume_at).
    pub(super) async fn resume_at(
        &self,
        connection: &mut PgConnection,
        partition: &TopicPartition,
        to: Option<&(i64, Option<String>)>,
    ) -> Result<(), StoreError> {
        const MOVE: &str = "
            UPDATE readcast.checkpoints
            SET next_offset = $5, topic_id = $6, leader_epoch = NULL, owner_epoch = owner_epoch + 1, updated_at = now()
            WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4";
        const DELETE: &str = "
            DELETE FROM readcast.checkpoints
            WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4";
        let doing = || at("moving checkpoints");
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
        statement.execute(&mut *connection).await.map_err(doing())?;
        if to.is_none() { self.forget_ledger(connection, partition).await } else { Ok(()) }
    }

    /// Deletes the ledger of a partition whose checkpoint was deleted: behind it, so that no commit adds a page meanwhile.
    async fn forget_ledger(&self, connection: &mut PgConnection, partition: &TopicPartition) -> Result<(), StoreError> {
        const FORGET: &str = "
            DELETE FROM readcast.ledger WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4";
        let forget = sqlx::query(FORGET).bind(self.projection).bind(self.generation.0).bind(&*partition.topic);
        let forgotten = forget.bind(partition.partition).execute(connection).await;
        forgotten.map(drop).map_err(at("deleting the ledger of a partition"))
    }

    /// Where a checkpoint goes back, or into another log, other records come to stand at the offsets from there on: what
    /// is known of those before them is forgotten. What is parked of them must not be.
    async fn forget_from(
        &self,
        connection: &mut PgConnection,
        partition: &TopicPartition,
        to: Option<&(i64, Option<String>)>,
    ) -> Result<(), StoreError> {
        const GOES_BACK: &str = "
            SELECT next_offset > $5 OR topic_id IS DISTINCT FROM $6,
                   (SELECT count(*) FROM readcast.dead_letters AS d
                    WHERE d.projection = $1 AND d.generation = $2 AND d.topic = $3 AND d.partition = $4
                      AND d.record_offset >= $5)
            FROM readcast.checkpoints WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4";
        const AMENDMENTS: &str = "
            DELETE FROM readcast.amendments
            WHERE projection = $1 AND topic = $2 AND partition = $3 AND record_offset >= $4";
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

    /// What became of a commit whose guard failed. (The guard has waited for the row locks, so no earlier attempt is
    /// still under way.)
    pub(super) async fn outcome(
        &self,
        connection: &mut PgConnection,
        advances: &[Advance],
    ) -> Result<CommitOutcome, StoreError> {
        const HELD: &str = "
            SELECT topic, partition, next_offset, owner_epoch, parking_epoch, leader_epoch, topic_id,
                   CASE WHEN hold_until >= clock_timestamp() THEN hold_at END AS hold_at
            FROM readcast.checkpoints WHERE projection = $1 AND generation = $2";
        let rows = sqlx::query(HELD).bind(self.projection).bind(self.generation.0).fetch_all(connection).await;
        let rows = rows.map_err(at("reading checkpoints"))?;
        let held: Vec<_> =
            rows.iter().map(checkpoint).collect::<sqlx::Result<_>>().map_err(at("reading checkpoints"))?;
        Ok(CommitOutcome::as_seen_in(&held, advances))
    }
}

/// The next offset of every partition of a generation, or of the live one.
pub(super) async fn positions(
    connection: &mut PgConnection,
    projection: &str,
    of: Option<Generation>,
) -> Result<Positions, StoreError> {
    const POSITIONS: &str = "
        SELECT topic, partition, next_offset FROM readcast.checkpoints
        WHERE projection = $1 AND generation = coalesce(
            $2, (SELECT generation FROM readcast.generations WHERE projection = $1 AND state = 'live'))";
    let rows = sqlx::query(POSITIONS).bind(projection).bind(of.map(|of| of.0)).fetch_all(connection).await;
    let position = |row: &PgRow| Ok((partition(row)?, row.try_get("next_offset")?));
    let positions = rows.and_then(|rows| rows.iter().map(position).collect());
    positions.map_err(at("reading checkpoints"))
}

fn partition(row: &PgRow) -> sqlx::Result<TopicPartition> {
    Ok(TopicPartition::new(row.try_get::<&str, _>("topic")?, row.try_get("partition")?))
}

fn checkpoint(row: &PgRow) -> sqlx::Result<Checkpoint> {
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
