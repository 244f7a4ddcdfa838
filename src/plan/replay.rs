//! Parked records, projected again.

use readcast_core::{ChangeSet, TopicPartition};

use super::Rules;
use crate::source::Record;
use crate::store::{ParkedRecord, PoisonCause};

/// What parked records become when they are projected again.
#[derive(Debug, Default)]
pub struct Replay {
    /// The changes that they make.
    pub changes: ChangeSet,
    /// The offsets of those that are projected, in order.
    pub settled: Vec<i64>,
    /// The record behind them that still can't be projected, by its offset.
    pub failed: Option<(i64, PoisonCause)>,
}

/// Projects the first records of a parked sequence in the order given, up to the first that can't be projected. An operator
/// has decided to retry them: whether their ids came before does not matter.
pub fn replay(rules: Rules<'_>, partition: &TopicPartition, records: &[ParkedRecord]) -> Replay {
    let mut replay = Replay::default();
    for record in records {
        let record = &record.letter.record;
        if let Err(cause) = replay.add(rules, partition, record) {
            replay.failed = Some((record.offset, cause));
            break;
        }
        replay.settled.push(record.offset);
    }
    replay
}

impl Replay {
    fn add(&mut self, rules: Rules<'_>, partition: &TopicPartition, record: &Record) -> Result<(), PoisonCause> {
        rules.current.set(partition, record.offset);
        let decoder = rules.policy.decoders.of(&partition.topic);
        let events = rules.decode(decoder, record, &partition.at(record.offset))?;
        let changes = rules.project(&events)?;
        changes.into_iter().for_each(|change| self.changes.push(change, rules.definition.tables()));
        Ok(())
    }
}
