//! The guard of every commit.

use readcast_core::TopicPartition;
use sqlx::{PgConnection, Row};

use super::connection::{at, execute};
use super::hints::Hints;
use crate::store::{Advance, ParkedIn, StoreError};

/// Moves each checkpoint. The condition is that every checkpoint is exactly at the beginning of the commit, has its
/// owner epoch and parking epoch, and is not held before its end. Returns `false` if a checkpoint does not meet the
/// condition. Others may have been moved then, so the caller must roll back the transaction.
///
/// Restarts the transaction if the rows of the checkpoints are not at the locations in `hints`. Therefore it must be
/// the first statement of the transaction that changes anything.
pub(super) async fn advance(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
    advances: &[Advance],
    hints: &mut Hints,
) -> Result<bool, StoreError> {
    let mut places = hints.take_places(advances);
    loop {
        let moved = move_all(connection, of, advances, places.as_deref()).await.map_err(at("moving checkpoints"))?;
        if moved.len() == advances.len() {
            hints.note_places(moved);
            return Ok(true);
        }
        // Another transaction has updated a row since the last commit, so the row has another location. The next
        // attempt finds all rows by their keys.
        if places.take().is_none() {
            return Ok(false);
        }
        execute(connection, "ROLLBACK AND CHAIN").await.map_err(at("moving checkpoints"))?;
    }
}

/// Moves the checkpoints that meet the condition of the guard, found by their `places` or otherwise by their keys.
/// Returns their partitions and new locations.
async fn move_all(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
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
    // Expressions instead of plain columns prevent an index scan. The planner would choose it for a small table with
    // many dead row versions, which it does not count.
    const BY_PLACE: &str = advance!(
        ", place",
        ", $10::text[]::tid[]",
        "held.ctid = step.place AND held.projection || '' = $1 AND held.generation + 0 = $2
         AND held.topic || '' = step.topic AND held.partition + 0 = step.partition"
    );
    let query = sqlx::query(if places.is_some() { BY_PLACE } else { BY_KEY })
        .bind(of.projection)
        .bind(of.generation.0)
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
    let moved = moved.iter().map(|row| {
        let partition = TopicPartition::new(row.try_get::<&str, _>("topic")?, row.try_get("partition")?);
        Ok((partition, row.try_get("place")?))
    });
    moved.collect()
}
