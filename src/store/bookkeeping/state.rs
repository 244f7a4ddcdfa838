//! Reads the state that the owner of a partition keeps in memory, when the owner takes the partition over.

use std::collections::BTreeMap;

use readcast_core::TopicPartition;

use super::partition;
use crate::store::session::{Row, Session, values};
use crate::store::{Amendment, DuplicateWindow, ParkedIn, PartitionState, SequenceId, StoreError, ledger};

const LOADING: &str = "reading what was decided about earlier records";

type States = BTreeMap<TopicPartition, PartitionState>;

/// The partitions that are asked about: `$2`, a list of topics with numbers.
const ASKED: &str = "(SELECT e.value ->> 0, CAST(e.value ->> 1 AS integer) FROM elements($2) AS e)";

/// The earlier decisions about the records of `partitions`. The epochs are read first: a change during the other reads
/// makes them outdated, and a commit that is planned with an outdated epoch is refused.
pub(in crate::store) async fn load(
    session: &mut dyn Session,
    of: ParkedIn<'_>,
    partitions: &[TopicPartition],
    window: i64,
) -> Result<Vec<(TopicPartition, PartitionState)>, StoreError> {
    let asked: Vec<_> = partitions.iter().map(|partition| (&*partition.topic, partition.partition)).collect();
    let asked = session.fit_json(&asked);
    let mut states = epochs(session, of, &asked, window).await?;
    add_parked(session, of, &asked, &mut states).await?;
    add_amendments(session, of, &asked, &mut states).await?;
    if window > 0 {
        add_ledger(session, of, &asked, window, &mut states).await?;
    }
    Ok(states.into_iter().collect())
}

async fn epochs(session: &mut dyn Session, of: ParkedIn<'_>, asked: &str, window: i64) -> Result<States, StoreError> {
    let epochs = format!(
        "SELECT topic, partition, parking_epoch FROM readcast.checkpoints
         WHERE projection = $1 AND generation = $3 AND (topic, partition) IN {ASKED}"
    );
    let rows = session.fetch(LOADING, &epochs, values![of.projection, asked, of.generation]).await?;
    let state = |row: &Row| {
        let (parking_epoch, window) = (row.get("parking_epoch")?, DuplicateWindow::new(window));
        Ok((partition(row)?, PartitionState { parking_epoch, window, ..PartitionState::default() }))
    };
    rows.iter().map(state).collect()
}

async fn add_parked(
    session: &mut dyn Session,
    of: ParkedIn<'_>,
    asked: &str,
    states: &mut States,
) -> Result<(), StoreError> {
    let parked = format!(
        "SELECT DISTINCT topic, partition, sequence FROM readcast.dead_letters
         WHERE projection = $1 AND generation = $3 AND (topic, partition) IN {ASKED}"
    );
    for row in session.fetch(LOADING, &parked, values![of.projection, asked, of.generation]).await? {
        if let Some(state) = states.get_mut(&partition(&row)?) {
            state.parked.insert(SequenceId::recorded(row.get("sequence")?));
        }
    }
    Ok(())
}

async fn add_amendments(
    session: &mut dyn Session,
    of: ParkedIn<'_>,
    asked: &str,
    states: &mut States,
) -> Result<(), StoreError> {
    let amendments = format!(
        "SELECT topic, partition, record_offset, action, value FROM readcast.amendments
         WHERE projection = $1 AND (topic, partition) IN {ASKED}"
    );
    for row in session.fetch(LOADING, &amendments, values![of.projection, asked]).await? {
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
    asked: &str,
    window: i64,
    states: &mut States,
) -> Result<(), StoreError> {
    let pages = format!(
        "SELECT topic, partition, entries
         FROM readcast.ledger JOIN readcast.checkpoints USING (projection, generation, topic, partition)
         WHERE projection = $1 AND generation = $3 AND (topic, partition) IN {ASKED} AND to_offset > next_offset - $4
         ORDER BY topic, partition, to_offset"
    );
    for row in session.fetch(LOADING, &pages, values![of.projection, asked, of.generation, window]).await? {
        if let Some(state) = states.get_mut(&partition(&row)?) {
            let entries: Vec<u8> = row.get("entries")?;
            ledger::entries(&entries).into_iter().for_each(|entry| state.window.add(entry));
        }
    }
    Ok(())
}
