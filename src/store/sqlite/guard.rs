//! The guard of every commit.

use sqlx::SqliteConnection;

use super::connection::at;
use crate::store::{Advance, ParkedIn, StoreError};

/// Moves each checkpoint. The condition is that every checkpoint is exactly at the beginning of the commit, has its
/// owner epoch and parking epoch, and is not held before its end. Returns `false` if a checkpoint does not meet the
/// condition; the caller must then roll back the transaction.
pub(super) async fn advance(
    connection: &mut SqliteConnection,
    of: ParkedIn<'_>,
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
            .bind(of.projection)
            .bind(of.generation.0)
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
