//! Reads the state that the owner of a partition keeps in memory, when the owner takes the partition over.

use std::collections::BTreeMap;

use readcast_core::TopicPartition;

use super::partition;
use crate::store::session::{Session, values};
use crate::store::{Amendment, DuplicateWindow, ParkedIn, PartitionState, SequenceId, StoreError, ledger};

const LOADING: &str = "reading what was decided about earlier records";

type States = BTreeMap<TopicPartition, PartitionState>;

/// The earlier decisions about the records of `partitions`. The epochs are read first: a change during the other reads
/// makes them outdated, and a commit that is planned with an outdated epoch is refused.
pub(in crate::store) async fn load(
    session: &mut dyn Session,
    of: ParkedIn<'_>,
    partitions: &[TopicPartition],
    window: i64,
) -> Result<Vec<(TopicPartition, PartitionState)>, StoreError> {
    let mut states = epochs(session, of, partitions, window).await?;
    add_parked(session, of, &mut states).await?;
    add_amendments(session, of, &mut states).await?;
    if window > 0 {
        add_ledger(session, of, window, &mut states).await?;
    }
    Ok(states.into_iter().collect())
}

async fn epochs(
    session: &mut dyn Session,
    of: ParkedIn<'_>,
    partitions: &[TopicPartition],
    window: i64,
) -> Result<States, StoreError> {
    const EPOCHS: &str = "
        SELECT topic, partition, parking_epoch FROM readcast.checkpoints WHERE projection = $1 AND generation = $2";
    let mut states = States::new();
    for row in session.fetch(LOADING, EPOCHS, values![of.projection, of.generation]).await? {
        let partition = partition(&row)?;
        if partitions.contains(&partition) {
            let (parking_epoch, window) = (row.get("parking_epoch")?, DuplicateWindow::new(window));
            states.insert(partition, PartitionState { parking_epoch, window, ..PartitionState::default() });
        }
    }
    Ok(states)
}

async fn add_parked(session: &mut dyn Session, of: ParkedIn<'_>, states: &mut States) -> Result<(), StoreError> {
    const PARKED: &str = "
        SELECT DISTINCT topic, partition, sequence FROM readcast.dead_letters
        WHERE projection = $1 AND generation = $2";
    for row in session.fetch(LOADING, PARKED, values![of.projection, of.generation]).await? {
        if let Some(state) = states.get_mut(&partition(&row)?) {
            state.parked.insert(SequenceId::recorded(row.get("sequence")?));
        }
    }
    Ok(())
}

async fn add_amendments(session: &mut dyn Session, of: ParkedIn<'_>, states: &mut States) -> Result<(), StoreError> {
    const AMENDMENTS: &str = "
        SELECT topic, partition, record_offset, action, value FROM readcast.amendments WHERE projection = $1";
    for row in session.fetch(LOADING, AMENDMENTS, values![of.projection]).await? {
        if let Some(state) = states.get_mut(&partition(&row)?)
            && let Some(amendment) = Amendment::recorded(&row.get::<String>("action")?, row.get("value")?)
        {
            state.amendments.insert(row.get("record_offset")?, amendment);
        }
    }
    Ok(())
}

async fn add_ledger(
    session: &mut dyn Session,
    of: ParkedIn<'_>,
    window: i64,
    states: &mut States,
) -> Result<(), StoreError> {
    const PAGES: &str = "
        SELECT topic, partition, entries
        FROM readcast.ledger JOIN readcast.checkpoints USING (projection, generation, topic, partition)
        WHERE projection = $1 AND generation = $2 AND to_offset > next_offset - $3
        ORDER BY topic, partition, to_offset";
    for row in session.fetch(LOADING, PAGES, values![of.projection, of.generation, window]).await? {
        if let Some(state) = states.get_mut(&partition(&row)?) {
            let entries: Vec<u8> = row.get("entries")?;
            ledger::entries(&entries).for_each(|entry| state.window.add(entry));
        }
    }
    Ok(())
}
