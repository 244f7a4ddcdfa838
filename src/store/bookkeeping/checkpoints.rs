//! Reads, claims and moves checkpoints. Commits move them as well, by the guard of each engine.

use std::collections::BTreeMap;

use readcast_core::TopicPartition;

use super::{ledger, operations, partition, refused};
use crate::source::Extent;
use crate::store::session::{Row, Session, values};
use crate::store::{
    Advance, Checkpoint, CheckpointMove, CommitOutcome, Generation, OperationState, ParkedIn, Positions,
    RecordedCheckpoint, StoreError,
};

/// Increments the owner epoch of each partition, or creates its checkpoint at the start of its log. If the engine locks
/// rows, the statement waits for a running transaction of the earlier owner: it reads the position after that commit,
/// and the earlier owner's next commit finds the new epoch.
///
/// A building generation never passes the live one: it may go up to the live generation's position, or stays at the
/// start in a partition where the live generation has no checkpoint.
pub(in crate::store) async fn claim<'a>(
    session: &mut dyn Session,
    of: ParkedIn<'_>,
    partitions: impl IntoIterator<Item = (&'a TopicPartition, &'a Extent)>,
) -> Result<Vec<Checkpoint>, StoreError> {
    const CLAIMING: &str = "claiming partitions";
    // In the order in which commits lock checkpoints.
    const CLAIM: &str = "
        WITH asked AS (
            SELECT e.value ->> 0 AS topic, CAST(e.value ->> 1 AS integer) AS partition,
                   CAST(e.value ->> 2 AS bigint) AS start_offset, e.value ->> 3 AS topic_id
            FROM elements($3) AS e)
        INSERT INTO readcast.checkpoints AS held
            (projection, generation, topic, partition, next_offset, start_offset, owner_epoch, topic_id,
             hold_at, hold_until)
        SELECT own.projection, own.generation, asked.topic, asked.partition, start_offset, start_offset, 1, topic_id,
               CASE WHEN own.state = 'building' THEN coalesce(live.next_offset, start_offset) END,
               CASE WHEN own.state = 'building' THEN forever() END
        FROM readcast.generations AS own CROSS JOIN asked
        LEFT JOIN (
            SELECT topic, partition, next_offset
            FROM readcast.checkpoints JOIN readcast.generations USING (projection, generation)
            WHERE projection = $1 AND state = 'live') AS live
            ON live.topic = asked.topic AND live.partition = asked.partition
        WHERE own.projection = $1 AND own.generation = $2
          AND own.state IN ('building', 'ready', 'live', 'standby')
        ORDER BY asked.topic, asked.partition
        ON CONFLICT (projection, generation, topic, partition) DO UPDATE
        SET owner_epoch = held.owner_epoch + 1, topic_id = coalesce(held.topic_id, excluded.topic_id)
        RETURNING topic, partition, next_offset, owner_epoch, parking_epoch, leader_epoch, topic_id,
                  CASE WHEN hold_until >= in_seconds(0) THEN hold_at END AS hold_at";
    let asked = partitions
        .into_iter()
        .map(|(partition, extent)| (&*partition.topic, partition.partition, extent.start, extent.log_id.as_deref()));
    let asked: Vec<_> = asked.collect();
    let values = values![of.projection, of.generation, session.fit_json(&asked)];
    let claimed = session.fetch(CLAIMING, CLAIM, values).await?;
    if claimed.len() < asked.len() {
        return Err(refused(CLAIMING, format!("generation {} has ended", of.generation.0)));
    }
    claimed.iter().map(checkpoint).collect()
}

/// The outcome of a commit whose guard failed.
pub(in crate::store) async fn outcome(
    session: &mut dyn Session,
    of: ParkedIn<'_>,
    advances: &[Advance],
) -> Result<CommitOutcome, StoreError> {
    const HELD: &str = "
        SELECT topic, partition, next_offset, owner_epoch, parking_epoch, leader_epoch, topic_id,
               CASE WHEN hold_until >= in_seconds(0) THEN hold_at END AS hold_at
        FROM readcast.checkpoints WHERE projection = $1 AND generation = $2";
    let rows = session.fetch("reading checkpoints", HELD, values![of.projection, of.generation]).await?;
    let held: Vec<_> = rows.iter().map(checkpoint).collect::<Result<_, _>>()?;
    Ok(CommitOutcome::as_seen_in(&held, advances))
}

fn checkpoint(row: &Row) -> Result<Checkpoint, StoreError> {
    Ok(Checkpoint {
        partition: partition(row)?,
        next_offset: row.get("next_offset")?,
        owner_epoch: row.get("owner_epoch")?,
        parking_epoch: row.get("parking_epoch")?,
        leader_epoch: row.get("leader_epoch")?,
        log_id: row.get("topic_id")?,
        hold_at: row.get("hold_at")?,
    })
}

/// The next offset of every partition of a generation, or of the live one without a number.
pub(in crate::store) async fn positions(
    session: &mut dyn Session,
    projection: &str,
    of: Option<Generation>,
) -> Result<Positions, StoreError> {
    const POSITIONS: &str = "
        SELECT topic, partition, next_offset FROM readcast.checkpoints
        WHERE projection = $1 AND generation = coalesce(
            $2, (SELECT generation FROM readcast.generations WHERE projection = $1 AND state = 'live'))";
    let rows = session.fetch("reading checkpoints", POSITIONS, values![projection, of]).await?;
    rows.iter().map(|row| Ok((partition(row)?, row.get("next_offset")?))).collect()
}

/// The checkpoints of all generations.
pub(in crate::store) async fn recorded(
    session: &mut dyn Session,
) -> Result<BTreeMap<(String, Generation), Vec<RecordedCheckpoint>>, StoreError> {
    const RECORDED: &str = "
        SELECT projection, generation, topic, partition, start_offset, next_offset, owner_epoch, parking_epoch,
               leader_epoch, topic_id, rfc3339(updated_at) AS updated_at
        FROM readcast.checkpoints ORDER BY projection, generation, topic, partition";
    let mut held = BTreeMap::<_, Vec<_>>::new();
    for row in session.fetch("reading checkpoints", RECORDED, vec![]).await? {
        let of = (row.get("projection")?, Generation(row.get("generation")?));
        held.entry(of).or_default().push(RecordedCheckpoint {
            partition: partition(&row)?,
            start_offset: row.get("start_offset")?,
            next_offset: row.get("next_offset")?,
            owner_epoch: row.get("owner_epoch")?,
            parking_epoch: row.get("parking_epoch")?,
            leader_epoch: row.get("leader_epoch")?,
            log_id: row.get("topic_id")?,
            updated_at: row.get("updated_at")?,
        });
    }
    Ok(held)
}

const MOVING: &str = "moving checkpoints";

/// Moves checkpoints to positions where the log can be read again, and ends the operation: see
/// [`Leadership::resume_at`](crate::store::Leadership::resume_at). Runs within a transaction.
pub(in crate::store) async fn resume(
    session: &mut dyn Session,
    projection: &str,
    moves: &[CheckpointMove],
    operation: i64,
    outcome: &str,
) -> Result<(), StoreError> {
    for step in moves {
        let of = ParkedIn { projection, generation: step.generation };
        forget_from(session, of, step).await?;
        resume_at(session, of, step).await?;
        ledger::cut(session, of).await?;
    }
    operations::finish(session, operation, OperationState::Done, outcome).await.map(drop)
}

/// Moves a checkpoint under a new owner epoch, or deletes it.
async fn resume_at(session: &mut dyn Session, of: ParkedIn<'_>, step: &CheckpointMove) -> Result<(), StoreError> {
    const MOVE: &str = "
        UPDATE readcast.checkpoints
        SET next_offset = $5, topic_id = $6, leader_epoch = NULL, owner_epoch = owner_epoch + 1, updated_at = now()
        WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4";
    // After the checkpoint, so that no commit can add a page of the ledger between the two statements.
    const DELETE: [&str; 2] = [
        "DELETE FROM readcast.checkpoints
         WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4",
        "DELETE FROM readcast.ledger
         WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4",
    ];
    let held = values![of.projection, of.generation, &*step.partition.topic, step.partition.partition];
    match &step.to {
        Some((next_offset, log_id)) => {
            let values = [held, values![*next_offset, log_id.as_deref()]].concat();
            session.execute(MOVING, MOVE, values).await?;
        }
        None => {
            for delete in DELETE {
                session.execute(MOVING, delete, held.clone()).await?;
            }
        }
    }
    Ok(())
}

/// If a checkpoint moves back, or into another log, the offsets from there on may hold other records. Deletes the
/// decisions of operators about the earlier records at these offsets. Refuses the move if some of those records are
/// parked.
async fn forget_from(session: &mut dyn Session, of: ParkedIn<'_>, step: &CheckpointMove) -> Result<(), StoreError> {
    const GOES_BACK: &str = "
        SELECT next_offset > $5 OR topic_id IS DISTINCT FROM $6 AS goes_back,
               (SELECT count(*) FROM readcast.dead_letters AS d
                WHERE d.projection = $1 AND d.generation = $2 AND d.topic = $3 AND d.partition = $4
                  AND d.record_offset >= $5) AS parked
        FROM readcast.checkpoints WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4";
    const AMENDMENTS: &str = "
        DELETE FROM readcast.amendments
        WHERE projection = $1 AND topic = $2 AND partition = $3 AND record_offset >= $4";
    let (topic, number) = (&*step.partition.topic, step.partition.partition);
    let next_offset = step.to.as_ref().map_or(0, |(next_offset, _)| *next_offset);
    let log_id = step.to.as_ref().and_then(|(_, log_id)| log_id.as_deref());
    let values = values![of.projection, of.generation, topic, number, next_offset, log_id];
    let Some(row) = session.fetch_optional(MOVING, GOES_BACK, values).await? else { return Ok(()) };
    if !row.get::<bool>("goes_back")? {
        return Ok(());
    }
    none_parked(of.projection, &step.partition, next_offset, row.count("parked")?)?;
    let values = values![of.projection, topic, number, next_offset];
    session.execute(MOVING, AMENDMENTS, values).await.map(drop)
}

/// Copies the live checkpoints to a generation that begins as a copy of the live one. A partition that `offsets` lists
/// begins at that offset. Like every building generation, the copy does not pass the live generation.
///
/// # Errors
/// Refused if the live generation has not reached one of `offsets`.
pub(in crate::store) async fn copy(
    session: &mut dyn Session,
    projection: &str,
    live: Generation,
    copy: Generation,
    offsets: &[(TopicPartition, i64)],
) -> Result<(), StoreError> {
    const COPYING: &str = "copying the live generation";
    const COPY: &str = "
        INSERT INTO readcast.checkpoints
            (projection, generation, topic, partition, next_offset, start_offset, owner_epoch, leader_epoch, topic_id,
             hold_at, hold_until)
        SELECT projection, $3, topic, partition, next_offset, start_offset, 0, leader_epoch, topic_id,
               next_offset, forever()
        FROM readcast.checkpoints WHERE projection = $1 AND generation = $2";
    const GO_BACK: &str = "
        UPDATE readcast.checkpoints SET next_offset = $5
        WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4 AND next_offset >= $5";
    session.execute(COPYING, COPY, values![projection, live, copy]).await?;
    for (partition, offset) in offsets {
        let values = values![projection, copy, &*partition.topic, partition.partition, *offset];
        if session.execute(COPYING, GO_BACK, values).await? == 0 {
            return Err(refused(COPYING, format!("it has not reached offset {offset} of {partition}")));
        }
    }
    Ok(())
}

/// Refuses to keep parked records at offsets that may hold other records afterwards.
fn none_parked(projection: &str, partition: &TopicPartition, next_offset: i64, parked: u64) -> Result<(), StoreError> {
    if parked == 0 {
        return Ok(());
    }
    Err(StoreError::Refused {
        doing: format!("moving the checkpoint of {partition} to {next_offset}"),
        reason: format!(
            "{parked} records from this offset on are parked, and only this database still has them: settle them first \
             (`readcast dead-letters export {projection} --all`, then `retry` or `discard`)"
        ),
    })
}
