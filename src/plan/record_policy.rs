//! How the records of a projection are read, as configured.

use readcast_core::{Definition, Envelope, Position, Registry};

use super::Identity;
use super::unhandled::is_handled;
use crate::decode::{self, Decoders};
use crate::source::Record;
use crate::store::{ParkingLimits, WindowSize};

/// How many characters of a correlation id are logged. Producers choose it, and a log line should stay one.
const MAX_CORRELATION_ID: usize = 128;

/// How records are read, and what is done about those that can't be projected.
#[derive(Clone, Debug)]
pub struct RecordPolicy {
    /// The decoder of each topic.
    pub decoders: Decoders,
    /// How an event is recognised that was written twice.
    pub identity: Identity,
    /// Over how many offsets such an event is recognised. A generation keeps the window that it began with.
    pub duplicate_window: WindowSize,
    /// The most that a record may take in memory, in bytes.
    pub max_record_bytes: usize,
    /// How long a projection may take over one record, in milliseconds.
    pub longest_projection_ms: u64,
    /// How much may be parked.
    pub parking: ParkingLimits,
    /// All projections that the process runs, which tell what event types are handled. Empty to report none.
    pub registry: Registry,
}

impl Default for RecordPolicy {
    fn default() -> Self {
        Self {
            decoders: Decoders::default(),
            identity: Identity::default(),
            duplicate_window: WindowSize::Bytes(16 << 20),
            max_record_bytes: 16 << 20,
            longest_projection_ms: 10_000,
            parking: ParkingLimits::default(),
            registry: Registry::new(),
        }
    }
}

impl RecordPolicy {
    /// The correlation id of the first event in `record` that has one, where they can be decoded: at most its first
    /// characters, for a log line.
    pub fn correlation_id(&self, position: &Position, record: &Record) -> Option<String> {
        let events = decode::decode(self.decoders.of(&position.topic), position, record).ok()?;
        let id = events.iter().find_map(|event| event.correlation_id.as_deref())?;
        Some(id.chars().take(MAX_CORRELATION_ID).collect())
    }

    /// The type of the event, if no projection handles it and `projection` is the one that reports that: the first one that
    /// reads the topic.
    pub(super) fn unhandled_type(&self, projection: &Definition, event: &Envelope<'_>) -> Option<String> {
        let topic = &event.position.topic;
        let reports = self.registry.readers(topic).next().is_some_and(|first| first.name() == projection.name());
        (reports && !is_handled(&self.registry, topic, &event.event_type)).then(|| event.event_type.to_string())
    }
}
