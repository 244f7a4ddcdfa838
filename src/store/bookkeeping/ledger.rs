//! Changes of the ledger of event ids outside of commits. The engine writes the pages of a commit.

use crate::store::session::{Session, values};
use crate::store::{LedgerPage, ParkedIn, StoreError, ledger};

use super::{checkpoints, partition};

/// Removes the entries from the offsets of the checkpoints on: they belong to another generation, or to a part of the
/// log that is lost. Runs within a transaction.
pub(in crate::store) async fn cut(session: &mut dyn Session, of: ParkedIn<'_>) -> Result<(), StoreError> {
    const CUTTING: &str = "cutting the ledger";
    const BEYOND: &str = "
        DELETE FROM readcast.ledger AS page
        WHERE projection = $1 AND generation = $2 AND to_offset > (
            SELECT next_offset FROM readcast.checkpoints AS held
            WHERE held.projection = $1 AND held.generation = $2
              AND held.topic = page.topic AND held.partition = page.partition)
        RETURNING topic, partition, entries";
    let positions = checkpoints::positions(session, of.projection, Some(of.generation)).await?;
    for row in session.fetch(CUTTING, BEYOND, values![of.projection, of.generation]).await? {
        let partition = partition(&row)?;
        let Some(&to) = positions.get(&partition) else { continue };
        let entries: Vec<u8> = row.get("entries")?;
        let entries = ledger::entries(&entries).into_iter().filter(|entry| entry.offset < to).collect();
        let page = LedgerPage { partition, to, entries, forget_to: i64::MIN };
        if !page.entries.is_empty() {
            write(session, CUTTING, of, &page).await?;
        }
    }
    Ok(())
}

async fn write(
    session: &mut dyn Session,
    doing: &'static str,
    of: ParkedIn<'_>,
    page: &LedgerPage,
) -> Result<(), StoreError> {
    const WRITE: &str = "
        INSERT INTO readcast.ledger (projection, generation, topic, partition, to_offset, entries)
        VALUES ($1, $2, $3, $4, $5, $6)";
    let partition = &page.partition;
    let values =
        values![of.projection, of.generation, &*partition.topic, partition.partition, page.to, page.to_bytes()];
    session.execute(doing, WRITE, values).await.map(drop)
}
