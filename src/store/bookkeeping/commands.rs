//! Operators' commands that take effect at once. Each is carried out and recorded within one transaction.

use readcast_core::Position;

use super::{operations, refused};
use crate::store::session::{Session, values};
use crate::store::{Command, StoreError};

/// Pauses the generations of a projection, or resumes them; with `building`, only those that are being built. Returns
/// the number of generations that changed.
pub(in crate::store) async fn pause(
    session: &mut dyn Session,
    projection: &str,
    paused: bool,
    building: bool,
    by: &str,
) -> Result<u64, StoreError> {
    const PAUSE: &str = "
        UPDATE readcast.generations SET paused_at = CASE WHEN $2 THEN now() END
        WHERE projection = $1 AND (paused_at IS NULL) = $2
          AND (state = 'building' OR NOT $3 AND state IN ('ready', 'live', 'standby'))";
    let changed = session.execute("pausing generations", PAUSE, values![projection, paused, building]).await?;
    let (command, done) = if paused { (Command::Pause, "paused") } else { (Command::Resume, "resumed") };
    let outcome = format!("{} {done}", counted(changed, "generation"));
    operations::record(session, projection, &command, by, &outcome).await?;
    Ok(changed)
}

/// Cancels every open operation of a projection, and abandons the generations that are building or ready. Returns the
/// number of operations and generations.
pub(in crate::store) async fn cancel(session: &mut dyn Session, projection: &str, by: &str) -> Result<u64, StoreError> {
    const GENERATIONS: &str = "
        UPDATE readcast.generations
        SET state = 'failed', phase = NULL, last_error = $2, last_attempt = NULL, last_error_by = NULL,
            last_error_at = now()
        WHERE projection = $1 AND state IN ('building', 'ready')";
    const OPERATIONS: &str = "
        UPDATE readcast.operations SET state = 'cancelled', outcome = $2, finished_at = now()
        WHERE projection = $1 AND finished_at IS NULL";
    const CANCELLING: &str = "cancelling operations";
    let reason = session.fit(&format!("cancelled by {by}"));
    // In the order in which a swap takes its locks.
    let generations = session.execute(CANCELLING, GENERATIONS, values![projection, &reason]).await?;
    let operations = session.execute(CANCELLING, OPERATIONS, values![projection, &reason]).await?;
    let outcome =
        format!("{} cancelled, {} given up", counted(operations, "operation"), counted(generations, "generation"));
    operations::record(session, projection, &Command::Cancel, by, &outcome).await?;
    Ok(operations + generations)
}

/// Renames a projection. The physical tables keep their names.
///
/// # Errors
/// Refused if `from` has no generations, or `to` has some.
pub(in crate::store) async fn rename(
    session: &mut dyn Session,
    from: &str,
    to: &str,
    by: &str,
) -> Result<(), StoreError> {
    const RENAMING: &str = "renaming a projection";
    // Foreign keys with ON UPDATE CASCADE rename checkpoints, dead letters and notices. The update of the generations
    // waits for running commits. So the update of the ledger, which does not have a foreign key in every engine, misses
    // no page of them.
    const RENAMES: [&str; 5] = [
        "UPDATE readcast.generations SET projection = $2 WHERE projection = $1",
        "UPDATE readcast.checkpoints SET projection = $2 WHERE projection = $1",
        "UPDATE readcast.ledger SET projection = $2 WHERE projection = $1",
        "UPDATE readcast.operations SET projection = $2 WHERE projection = $1",
        "UPDATE readcast.amendments SET projection = $2 WHERE projection = $1",
    ];
    const FORGET_INSTANCES: &str = "DELETE FROM readcast.instances WHERE projection = $1";
    if !has_generations(session, from).await? {
        return Err(refused(RENAMING, format!("there is no projection `{from}` in this database")));
    }
    if has_generations(session, to).await? {
        return Err(refused(RENAMING, format!("there is a projection `{to}` already")));
    }
    for rename in RENAMES {
        session.execute(RENAMING, rename, values![from, to]).await?;
    }
    session.execute(RENAMING, FORGET_INSTANCES, values![from]).await?;
    let command = Command::Rename { from: from.into() };
    operations::record(session, to, &command, by, &format!("renamed `{from}` to `{to}`")).await
}

/// Removes the decision about the record at `position`. `false` if there is none.
pub(in crate::store) async fn revoke(
    session: &mut dyn Session,
    projection: &str,
    position: &Position,
    by: &str,
    reason: &str,
) -> Result<bool, StoreError> {
    const REVOKING: &str = "revoking a decision";
    const REVOKE: &str = "
        DELETE FROM readcast.amendments WHERE projection = $1 AND topic = $2 AND partition = $3 AND record_offset = $4";
    // Owners of the partition know the decisions. They read them again when the epoch is another one.
    const RAISE: &str = "
        UPDATE readcast.checkpoints SET parking_epoch = parking_epoch + 1
        WHERE projection = $1 AND topic = $2 AND partition = $3";
    let (topic, partition) = (&*position.topic, position.partition);
    session.execute(REVOKING, RAISE, values![projection, topic, partition]).await?;
    let revoked = session.execute(REVOKING, REVOKE, values![projection, topic, partition, position.offset]).await?;
    if revoked > 0 {
        let outcome = format!("revoked the decision about {position}{}", session.fit(reason));
        operations::record(session, projection, &Command::Revoke, by, &outcome).await?;
    }
    Ok(revoked > 0)
}

async fn has_generations(session: &mut dyn Session, projection: &str) -> Result<bool, StoreError> {
    const EXIST: &str = "SELECT EXISTS (SELECT 1 FROM readcast.generations WHERE projection = $1) AS they_exist";
    session.fetch_one("renaming a projection", EXIST, values![projection]).await?.get("they_exist")
}

/// A number with its noun, in the plural if necessary.
fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
