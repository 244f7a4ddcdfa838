//! readcast's own tables (generations, checkpoints, operations, instances, dead letters and notices), in the SQL that
//! every engine supports.
//!
//! A function here runs one or several statements on a [`Session`](super::session::Session) and never begins or ends a
//! transaction. A function whose documentation says that it runs within a transaction relies on the engine to open one.

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
use super::session::{Row, Session, values};

/// The version of the last migration of both engines.
pub(super) const LAST_MIGRATION: i64 = 13;

/// Whether readcast's own tables exist. Refuses tables that an earlier version created: they lack columns that the
/// statements here use.
pub(super) async fn is_migrated(session: &mut dyn Session) -> Result<bool, StoreError> {
    const LOOKING: &str = "looking for readcast's own tables";
    const EXIST: &str = "
        SELECT table_exists(readcast.generations) AS first, table_exists(readcast.migrations) AS numbered";
    const LAST: &str = "SELECT EXISTS (SELECT 1 FROM readcast.migrations WHERE version = $1) AS last";
    const IS_USED: &str = "SELECT EXISTS (SELECT 1 FROM readcast.generations) AS is_used";
    let exist = session.fetch_one(LOOKING, EXIST, vec![]).await?;
    let (first, numbered) = (exist.get("first")?, exist.get::<bool>("numbered")?);
    let last = numbered && session.fetch_one(LOOKING, LAST, values![LAST_MIGRATION]).await?.get("last")?;
    match (first, last) {
        (false, _) => Ok(false),
        (true, true) => Ok(true),
        // Some tables exist already while the first instance creates the others.
        (true, false) if !session.fetch_one(LOOKING, IS_USED, vec![]).await?.get::<bool>("is_used")? => Ok(false),
        (true, false) => Err(StoreError::Refused {
            doing: LOOKING.into(),
            reason: "an earlier version made them: `readcast migrate` brings them up to date".into(),
        }),
    }
}

/// The partition in the columns `topic` and `partition` of a row.
fn partition(row: &Row) -> Result<TopicPartition, StoreError> {
    Ok(TopicPartition::new(row.get::<String>("topic")?, row.get("partition")?))
}

fn refused(doing: &str, reason: impl Into<String>) -> StoreError {
    StoreError::Refused { doing: doing.into(), reason: reason.into() }
}
