//! readcast's own tables, in the SQL that every engine has: what is recorded of generations, checkpoints, operations,
//! instances, dead letters and notices.
//!
//! A function here runs one or several statements on a [`Session`](super::session::Session). It begins and ends no
//! transaction: one that says that it runs within a transaction relies on the engine for it.

pub(super) mod checkpoints;
pub(super) mod commands;
pub(super) mod generations;
pub(super) mod heartbeats;
pub(super) mod holds;
pub(super) mod ledger;
pub(super) mod lifecycle;
pub(super) mod notices;
pub(super) mod operations;
pub(super) mod parking;
pub(super) mod settlement;
pub(super) mod state;
pub(super) mod swap;

use readcast_core::TopicPartition;

use super::StoreError;
use super::session::{Row, Session};

/// Whether there are tables of ours. Refuses those that an earlier readcast made, which lack columns that every statement
/// here names.
pub(super) async fn is_migrated(session: &mut dyn Session) -> Result<bool, StoreError> {
    const LOOKING: &str = "looking for readcast's own tables";
    const FIRST_AND_LAST: &str = "
        SELECT table_exists(readcast.generations) AS first, table_exists(readcast.notices) AS last";
    const IS_USED: &str = "SELECT EXISTS (SELECT 1 FROM readcast.generations) AS is_used";
    let found = session.fetch_one(LOOKING, FIRST_AND_LAST, vec![]).await?;
    match (found.get("first")?, found.get("last")?) {
        (false, _) => Ok(false),
        (true, true) => Ok(true),
        // While the very first instance creates the tables, some of them exist already.
        (true, false) if !session.fetch_one(LOOKING, IS_USED, vec![]).await?.get::<bool>("is_used")? => Ok(false),
        (true, false) => Err(StoreError::Refused {
            doing: LOOKING.into(),
            reason: "an earlier version made them: `readcast migrate` brings them up to date".into(),
        }),
    }
}

/// The partition that a row is about.
fn partition(row: &Row) -> Result<TopicPartition, StoreError> {
    Ok(TopicPartition::new(row.get::<String>("topic")?, row.get("partition")?))
}

fn refused(doing: &str, reason: impl Into<String>) -> StoreError {
    StoreError::Refused { doing: doing.into(), reason: reason.into() }
}
