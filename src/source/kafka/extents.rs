//! Reads the offsets of topics, for hundreds of partitions in one request. With one request for each partition, a
//! thousand idle partitions took a sixth of a core in the service, and more in the broker.

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use readcast_core::{Timestamp, TopicPartition, is_topic_pattern, topic_matches};

use super::{Client, REQUEST_TIMEOUT, TopicNames, classify, native};
use crate::source::{Extent, Extents, SourceError};

/// The number of partitions in one request: librdkafka's time for a response grows with the square of this number.
const PARTITIONS_PER_REQUEST: usize = 250;

/// Adds the extents of all partitions of `topic` to `extents`.
pub(super) fn of_topic(
    client: &Client,
    topics: &TopicNames,
    topic: &str,
    extents: &mut Extents,
) -> Result<(), SourceError> {
    let name = topics.in_kafka(topic);
    let doing = format!("reading the offsets of topic `{name}` from Kafka");
    let metadata = client.fetch_metadata(Some(&name), REQUEST_TIMEOUT).map_err(|error| classify(&doing, &error))?;
    let found = metadata.topics().iter().find(|found| found.name() == name);
    let found = found.ok_or_else(|| SourceError::NoTopic(name.clone()))?;
    if let Some(error) = found.error() {
        return Err(failed(&name, &doing, &KafkaError::MetadataFetch(error.into())));
    }
    // A request for its offsets would get neither an answer nor an error.
    if let Some(partition) = found.partitions().iter().find(|partition| partition.leader() < 0) {
        let reason = format!("partition {} has no leader", partition.id());
        return Err(SourceError::Unavailable { doing, reason });
    }
    let partitions: Vec<i32> = found.partitions().iter().map(|partition| partition.id()).collect();
    let log_id = native::topic_id(client, &name, REQUEST_TIMEOUT);
    // The starts first: then no extent ends before it starts, even if records are deleted or written in the meantime.
    let ask = |end| offsets(client, &name, &partitions, end).map_err(|error| failed(&name, &doing, &error));
    let (starts, ends) = (ask(Offset::Beginning)?, ask(Offset::End)?);
    for partition in partitions {
        let (Some(&start), Some(&end)) = (starts.get(&partition), ends.get(&partition)) else {
            let reason = format!("the brokers did not answer for partition {partition}");
            return Err(SourceError::Unavailable { doing, reason });
        };
        extents.insert(TopicPartition::new(topic, partition), Extent { start, end, log_id: log_id.clone() });
    }
    Ok(())
}

/// The topics that these names and patterns mean, with the names of the service.
pub(super) fn existing(
    client: &Client,
    names: &TopicNames,
    topics: &[String],
) -> Result<BTreeSet<String>, SourceError> {
    let (patterns, named): (Vec<&String>, Vec<&String>) = topics.iter().partition(|name| is_topic_pattern(name));
    let mut existing: BTreeSet<String> = named.into_iter().cloned().collect();
    if patterns.is_empty() {
        return Ok(existing);
    }
    let doing = "reading the names of topics from Kafka";
    let metadata = client.fetch_metadata(None, REQUEST_TIMEOUT).map_err(|error| classify(doing, &error))?;
    let all = metadata.topics().iter().map(|topic| topic.name()).filter(|name| !name.starts_with("__"));
    let all: Vec<&str> = all.filter_map(|name| name.strip_prefix(&*names.prefix)).collect();
    for pattern in patterns {
        let before = existing.len();
        existing.extend(all.iter().filter(|name| topic_matches(pattern, name)).map(|name| (*name).to_owned()));
        if existing.len() == before {
            return Err(SourceError::NoTopic(names.in_kafka(pattern)));
        }
    }
    Ok(existing)
}

/// The first or last offsets of the partitions of a topic. `end` is [`Offset::Beginning`] or [`Offset::End`].
fn offsets(client: &Client, name: &str, partitions: &[i32], end: Offset) -> Result<BTreeMap<i32, i64>, KafkaError> {
    let mut offsets = BTreeMap::new();
    for some in partitions.chunks(PARTITIONS_PER_REQUEST) {
        let mut request = TopicPartitionList::with_capacity(some.len());
        for partition in some {
            request.add_partition(name, *partition);
        }
        // As in the protocol, beginning and end are special times in a request for the offsets of times.
        request.set_all_offsets(end)?;
        let response = client.offsets_for_times(request, REQUEST_TIMEOUT)?;
        for element in response.elements() {
            element.error()?;
            // A partition that the response omits still holds the requested time.
            if let Offset::Offset(offset) = element.offset() {
                offsets.insert(element.partition(), offset);
            }
        }
    }
    Ok(offsets)
}

/// The source's error for an error about `topic`.
fn failed(topic: &str, doing: &str, error: &KafkaError) -> SourceError {
    use RDKafkaErrorCode::{UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    match error.rdkafka_error_code() {
        Some(UnknownTopic | UnknownTopicOrPartition | UnknownPartition) => SourceError::NoTopic(topic.to_owned()),
        _ => classify(doing, error),
    }
}

/// What [`offsets_at`] does, for errors.
pub(super) const READING_OFFSETS_AT: &str = "reading the offsets of a time from Kafka";

/// The offset of the first record at or after `at` in each partition of `extents`, or the partition's end.
pub(super) fn offsets_at(
    client: &Client,
    topics: &TopicNames,
    extents: &Extents,
    at: Timestamp,
) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
    let failed = |error: &KafkaError| classify(READING_OFFSETS_AT, error);
    // Kafka's times are milliseconds. A fraction is rounded up, so that no earlier record is included.
    let millis = (at.as_micros() + 999).div_euclid(1_000).max(0);
    // The request has the form of the response, with times in place of offsets.
    let request: Vec<_> = extents.keys().map(|partition| (partition.clone(), millis)).collect();
    let response =
        client.offsets_for_times(topics.offsets(&request), REQUEST_TIMEOUT).map_err(|error| failed(&error))?;
    let mut offsets = BTreeMap::new();
    for element in response.elements() {
        element.error().map_err(|error| failed(&error))?;
        let partition = topics.partition(element.topic(), element.partition());
        let end = extents.get(&partition).map_or(0, |extent| extent.end);
        // If no record is that late, the response is `End` instead of an offset.
        let offset = if let Offset::Offset(offset) = element.offset() { offset } else { end };
        offsets.insert(partition, offset);
    }
    Ok(offsets)
}
