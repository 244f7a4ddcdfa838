//! Settles parked records, and records the decisions of operators about single records.

use super::ledger;
use crate::store::session::{Session, Values, values};
use crate::store::{Generation, ParkedIn, Settlement, StoreError};

const SETTLING: &str = "settling what is parked";

/// Increments the parking epoch of the partition in every generation, removes the settled records, and records which
/// one failed and what the operator decided. Returns `false` unless the epoch is the one at which the records were
/// read; the caller must then roll back the transaction. Runs within a transaction, before the rows are written.
///
/// If the engine locks rows, this waits for running commits of the partition. The next commit of the partition's owner
/// was planned with an outdated epoch and is refused.
pub(in crate::store) async fn settle(
    session: &mut dyn Session,
    of: ParkedIn<'_>,
    settlement: &Settlement,
) -> Result<bool, StoreError> {
    if !raise_epochs(session, of, settlement).await? {
        return Ok(false);
    }
    amend(session, of, settlement).await?;
    remove(session, of, settlement).await?;
    record_failure(session, of, settlement).await?;
    Ok(true)
}

/// The parameters that identify the partition of the settlement.
fn about(of: ParkedIn<'_>, settlement: &Settlement) -> Values {
    values![of.projection, of.generation, &*settlement.partition.topic, settlement.partition.partition]
}

async fn raise_epochs(
    session: &mut dyn Session,
    of: ParkedIn<'_>,
    settlement: &Settlement,
) -> Result<bool, StoreError> {
    const RAISE: &str = "
        UPDATE readcast.checkpoints SET parking_epoch = parking_epoch + 1
        WHERE projection = $1 AND topic = $3 AND partition = $4 AND (generation <> $2 OR parking_epoch = $5)
        RETURNING generation";
    let values = [about(of, settlement), values![settlement.parking_epoch]].concat();
    let raised = session.fetch(SETTLING, RAISE, values).await?;
    let generations: Vec<i32> = raised.iter().map(|row| row.get("generation")).collect::<Result<_, _>>()?;
    Ok(generations.contains(&of.generation.0))
}

/// Records the operator's decisions together with the records' original values.
async fn amend(session: &mut dyn Session, of: ParkedIn<'_>, settlement: &Settlement) -> Result<(), StoreError> {
    const AMEND: &str = "
        INSERT INTO readcast.amendments AS held
            (projection, topic, partition, record_offset, action, value, original, made_by, reason)
        VALUES ($1, $3, $4, $5, $6, $7, (
            SELECT record_value FROM readcast.dead_letters
            WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4 AND record_offset = $5), $8, $9)
        ON CONFLICT (projection, topic, partition, record_offset) DO UPDATE
        SET action = excluded.action, value = excluded.value, made_by = excluded.made_by, reason = excluded.reason,
            made_at = CASE WHEN held.action = excluded.action AND held.made_by = excluded.made_by THEN held.made_at
                      ELSE now() END";
    let reason = settlement.reason.as_deref().map(|reason| session.fit(reason));
    for (offset, amendment) in &settlement.amendments {
        let value = amendment.value().map(|value| value.to_vec());
        let decided = values![*offset, amendment.action(), value, session.fit(&settlement.by), reason.clone()];
        session.execute(SETTLING, AMEND, [about(of, settlement), decided].concat()).await?;
    }
    Ok(())
}

async fn remove(session: &mut dyn Session, of: ParkedIn<'_>, settlement: &Settlement) -> Result<(), StoreError> {
    const SETTLED: &str = "
        DELETE FROM readcast.dead_letters
        WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4
          AND record_offset IN (SELECT CAST(e.value AS bigint) FROM elements($5) AS e)";
    let values = [about(of, settlement), values![session.fit_json(&settlement.settled)]].concat();
    session.execute(SETTLING, SETTLED, values).await.map(drop)
}

async fn record_failure(
    session: &mut dyn Session,
    of: ParkedIn<'_>,
    settlement: &Settlement,
) -> Result<(), StoreError> {
    const FAILED: &str = "
        UPDATE readcast.dead_letters SET attempts = attempts + 1, class = $6, reason = $7
        WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4 AND record_offset = $5";
    let Some((offset, cause)) = &settlement.failed else { return Ok(()) };
    let failed = values![*offset, cause.class.name(), session.fit(&cause.reason)];
    session.execute(SETTLING, FAILED, [about(of, settlement), failed].concat()).await.map(drop)
}

/// Copies the parked records before the checkpoints of the generation `to`, and the ledger, from the generation `from`.
pub(in crate::store) async fn copy(
    session: &mut dyn Session,
    projection: &str,
    from: Generation,
    to: Generation,
) -> Result<(), StoreError> {
    const LETTERS: &str = "
        INSERT INTO readcast.dead_letters
            (projection, generation, topic, partition, record_offset, sequence, record_key, record_value, headers,
             record_time, class, reason, attempts, parked_at, affected)
        SELECT d.projection, $3, d.topic, d.partition, record_offset, sequence, record_key, record_value, headers,
               record_time, class, reason, attempts, parked_at, affected
        FROM readcast.dead_letters AS d JOIN readcast.checkpoints AS ours
            ON ours.projection = $1 AND ours.generation = $3 AND ours.topic = d.topic AND ours.partition = d.partition
        WHERE d.projection = $1 AND d.generation = $2 AND d.record_offset < ours.next_offset";
    const LEDGER: &str = "
        INSERT INTO readcast.ledger (projection, generation, topic, partition, to_offset, entries)
        SELECT projection, $3, topic, partition, to_offset, entries
        FROM readcast.ledger WHERE projection = $1 AND generation = $2";
    for statement in [LETTERS, LEDGER] {
        session.execute("copying what is parked", statement, values![projection, from, to]).await?;
    }
    ledger::cut(session, ParkedIn { projection, generation: to }).await
}
