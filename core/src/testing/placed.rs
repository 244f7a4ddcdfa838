//! The events of a test in their partitions, with their changes.

use std::collections::BTreeMap;

use super::TestEvent;
use crate::{Change, Definition, Envelope, TopicPartition};

/// An event to which the projection subscribes.
pub(super) struct PlacedEvent {
    /// The event's index among those of the test.
    pub(super) index: usize,
    pub(super) event_type: String,
    pub(super) partition: TopicPartition,
    pub(super) changes: Vec<Change>,
}

impl PlacedEvent {
    /// The event for a message: `event 2 (OwnerRenamed in owners/1)`.
    pub(super) fn named(&self) -> String {
        format!("event {} ({} in {})", self.index, self.event_type, self.partition)
    }
}

/// The events to which the projection subscribes, in the order in which they are given.
pub(super) fn project(definition: &Definition, events: Vec<TestEvent>) -> Result<Vec<PlacedEvent>, String> {
    let mut partitions = Partitions::default();
    let mut placed = Vec::new();
    for (index, event) in events.into_iter().enumerate() {
        let topic = event.topic.clone().unwrap_or_else(|| definition.topics()[0].to_owned());
        if !definition.reads(&topic) {
            let name = definition.name();
            return Err(format!("event {index}: projection `{name}` does not read topic `{topic}`"));
        }
        let (partition, offset) = partitions.place(topic, &event);
        let (json, headers) = (event.json(index), event.headers.clone());
        let key = event.key.as_ref().map(|key| key.as_bytes());
        let event = Envelope::from_plain_json(partition.at(offset), key, json.as_bytes());
        let event = event.map_err(|error| format!("event {index}: {error}"))?.with_headers(&headers);
        if definition.subscribes(&event.event_type) {
            let changes = definition.project(&event).map_err(|error| format!("event {index}: {error}"))?;
            let event_type = event.event_type.clone().into_owned();
            placed.push(PlacedEvent { index, event_type, partition, changes });
        }
    }
    Ok(placed)
}

#[derive(Default)]
struct Partitions {
    /// The partition of each key, by topic. Partition 0 is for records without a key.
    of_keys: BTreeMap<String, BTreeMap<String, i32>>,
    ends: BTreeMap<TopicPartition, i64>,
}

impl Partitions {
    /// The partition and the offset of the next event.
    fn place(&mut self, topic: String, event: &TestEvent) -> (TopicPartition, i64) {
        let of_keys = self.of_keys.entry(topic.clone()).or_default();
        let next = i32::try_from(of_keys.len() + 1).expect("a test has fewer keys");
        let of_key = event.key.as_ref().map_or(0, |key| *of_keys.entry(key.clone()).or_insert(next));
        let partition = TopicPartition::new(topic, event.partition.unwrap_or(of_key));
        let end = self.ends.entry(partition.clone()).or_default();
        *end += 1;
        (partition, *end - 1)
    }
}
