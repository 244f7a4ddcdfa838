//! Parked records, tried again.

use readcast_core::{ChangeSet, TopicPartition};

use super::Rules;
use crate::source::Record;
use crate::store::{ParkedRecord, PoisonCause};

/// What parked records become when they are tried again.
#[derive(Debug, Default)]
pub struct Replay {
    /// What they change.
    pub changes: ChangeSet,
    /// The offsets of those that wait no longer, in order.
    pub settled: Vec<i64>,
    /// The record behind them that can't be projected this time either, by its offset.
    pub failed: Option<(i64, PoisonCause)>,
}

/// Projects the first records of a parked sequence in the order given, as far as that goes. Whoever tries again has
/// decided: whether their ids were there before plays no part.
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
        let event = rules.decode(decoder, record, &partition.at(record.offset))?;
        if rules.definition.subscribes(&event.event_type) {
            let changes = rules.project(&event)?;
            changes.into_iter().for_each(|change| self.changes.push(change, rules.definition.tables()));
        }
        Ok(())
    }
}
