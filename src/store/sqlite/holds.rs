//! Holds: how far a generation may go for the moment. The guard of every commit keeps them.
//!
//! What is building is always held, at a place that the live generation has come to. Any other generation is held for
//! a moment at most, and goes on by itself when whoever holds it dies.

use sqlx::SqliteConnection;

use super::connection::at;
use crate::store::{Generation, HOLD_LIMIT, StoreError};

/// Lets a building generation go on to where the live one stands now, and no further. It never goes back: in a
/// partition where it is further, it stays.
pub(super) async fn follow(
    connection: &mut SqliteConnection,
    projection: &str,
    generation: Generation,
) -> Result<(), StoreError> {
    const FOLLOW: &str = "
        UPDATE readcast_checkpoints AS own
        SET hold_until = '9999-12-31T00:00:00.000Z',
            hold_at = max(own.next_offset, coalesce((
                SELECT live.next_offset
                FROM readcast_checkpoints AS live JOIN readcast_generations USING (projection, generation)
                WHERE projection = own.projection AND state = 'live'
                  AND live.topic = own.topic AND live.partition = own.partition), 0))
        WHERE own.projection = ?1 AND own.generation = ?2 AND EXISTS (
            SELECT 1 FROM readcast_generations WHERE projection = ?1 AND generation = ?2 AND state = 'building')";
    let followed = sqlx::query(FOLLOW).bind(projection).bind(generation.0).execute(connection).await;
    followed.map(drop).map_err(at("letting a generation follow"))
}

/// Holds the live generation and this one where the one stands that is further, in each partition; the live one where
/// it stands in a partition that this one lacks.
pub(super) async fn hold(
    connection: &mut SqliteConnection,
    projection: &str,
    generation: Generation,
) -> Result<(), StoreError> {
    const HOLD: &str = "
        WITH places (topic, partition, place) AS (
            SELECT topic, partition, max(next_offset)
            FROM readcast_checkpoints JOIN readcast_generations USING (projection, generation)
            WHERE projection = ?1 AND (state = 'live' OR generation = ?2)
            GROUP BY topic, partition
            HAVING max(state = 'live'))
        UPDATE readcast_checkpoints AS held
        SET hold_at = places.place,
            hold_until = iif(owner.state = 'building', '9999-12-31T00:00:00.000Z',
                strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?3 || ' seconds'))
        FROM places, readcast_generations AS owner
        WHERE held.topic = places.topic AND held.partition = places.partition
          AND held.projection = ?1 AND owner.projection = ?1 AND owner.generation = held.generation
          AND (owner.state = 'live' OR owner.generation = ?2)";
    let limit = HOLD_LIMIT.as_secs_f64();
    let held = sqlx::query(HOLD).bind(projection).bind(generation.0).bind(limit).execute(connection).await;
    held.map(drop).map_err(at("holding generations"))
}

/// Ends every hold on what is not building.
pub(super) async fn release(connection: &mut SqliteConnection, projection: &str) -> Result<(), StoreError> {
    const RELEASE: &str = "
        UPDATE readcast_checkpoints SET hold_at = NULL, hold_until = NULL
        WHERE projection = ?1 AND generation IN (
            SELECT generation FROM readcast_generations WHERE projection = ?1 AND state <> 'building')";
    let released = sqlx::query(RELEASE).bind(projection).execute(connection).await;
    released.map(drop).map_err(at("ending holds"))
}
