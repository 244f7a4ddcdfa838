//! Holds: temporary upper limits of checkpoints. The guard of every commit enforces them.
//!
//! A building generation is always held, at a position that the live generation has reached. Any other generation is
//! held only briefly. Its hold expires, so that it continues even if the process that holds it dies.

use crate::store::session::{Session, values};
use crate::store::{Generation, HOLD_LIMIT, StoreError};

/// Lets a building generation continue to the current position of the live one, and no further. In a partition where it
/// is ahead of the live one, it stays at its position. A partition that the live generation lacks does not change.
pub(in crate::store) async fn follow(
    session: &mut dyn Session,
    projection: &str,
    generation: Generation,
) -> Result<(), StoreError> {
    const FOLLOW: &str = "
        UPDATE readcast.checkpoints AS ours SET hold_at = places.furthest, hold_until = forever()
        FROM (SELECT topic, partition, max(next_offset) AS furthest
              FROM readcast.checkpoints JOIN readcast.generations USING (projection, generation)
              WHERE projection = $1 AND (generation = $2 OR state = 'live')
              GROUP BY topic, partition HAVING count(*) FILTER (WHERE state = 'live') > 0) AS places
        WHERE ours.projection = $1 AND ours.generation = $2
          AND places.topic = ours.topic AND places.partition = ours.partition
          AND ours.hold_at IS DISTINCT FROM places.furthest
          AND EXISTS (SELECT 1 FROM readcast.generations
                      WHERE projection = $1 AND generation = $2 AND state = 'building')";
    session.execute("following the live generation", FOLLOW, values![projection, generation]).await.map(drop)
}

/// Holds the live generation and `generation` at the greater of their positions, in each partition of the live
/// generation. Runs within a transaction.
pub(in crate::store) async fn hold(
    session: &mut dyn Session,
    projection: &str,
    generation: Generation,
) -> Result<(), StoreError> {
    const HOLDING: &str = "holding the live generation";
    // Locks the checkpoints of both generations in the order in which commits lock them, so that none moves between
    // reading the positions and holding them.
    const LOCK: &str = "
        SELECT 1 FROM readcast.checkpoints
        WHERE projection = $1 AND (generation = $2 OR generation = (
            SELECT generation FROM readcast.generations WHERE projection = $1 AND state = 'live'))
        ORDER BY generation, topic, partition FOR UPDATE";
    const HOLD: &str = "
        UPDATE readcast.checkpoints AS held
        SET hold_at = places.furthest,
            hold_until = CASE WHEN g.state = 'building' THEN forever() ELSE in_seconds($3) END
        FROM readcast.generations AS g, (
            SELECT topic, partition, max(next_offset) AS furthest
            FROM readcast.checkpoints JOIN readcast.generations USING (projection, generation)
            WHERE projection = $1 AND (generation = $2 OR state = 'live')
            GROUP BY topic, partition HAVING count(*) FILTER (WHERE state = 'live') > 0) AS places
        WHERE held.projection = $1 AND g.projection = $1 AND g.generation = held.generation
          AND (held.generation = $2 OR g.state = 'live')
          AND places.topic = held.topic AND places.partition = held.partition";
    session.fetch(HOLDING, LOCK, values![projection, generation]).await?;
    session.execute(HOLDING, HOLD, values![projection, generation, HOLD_LIMIT.as_secs_f64()]).await.map(drop)
}

/// Ends every hold on generations of the projection that are not building.
pub(in crate::store) async fn release(session: &mut dyn Session, projection: &str) -> Result<(), StoreError> {
    const RELEASE: &str = "
        UPDATE readcast.checkpoints SET hold_at = NULL, hold_until = NULL
        WHERE projection = $1 AND hold_at IS NOT NULL AND generation IN (
            SELECT generation FROM readcast.generations WHERE projection = $1 AND state <> 'building')";
    session.execute("releasing holds", RELEASE, values![projection]).await.map(drop)
}
