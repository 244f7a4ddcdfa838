//! How far topics reach, and what is written since when: asked for hundreds of partitions in one request.
//! Asked for each partition by itself, a thousand of them at rest took a sixth of a core here, and more of the broker.

use std::collections::BTreeMap;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use readcast_core::{Timestamp, TopicPartition};

use super::{ANSWER_TIMEOUT, Client, Topics, classify, native};
use crate::source::{Extent, Extents, SourceError};

/// How many partitions one question is about: librdkafka takes a time for the answers that grows with their square.
const MOST_ASKED_AT_ONCE: usize = 250;

/// Adds the extents of all partitions of `topic`.
pub(super) fn of_topic(
    client: &Client,
    topics: &Topics,
    topic: &str,
    extents: &mut Extents,
) -> Result<(), SourceError> {
    let name = topics.in_kafka(topic);
    let doing = format!("asking Kafka how far topic `{name}` reaches");
    let metadata = client.fetch_metadata(Some(&name), ANSWER_TIMEOUT).map_err(|error| classify(&doing, &error))?;
    let found = metadata.topics().iter().find(|found| found.name() == name);
    let found = found.ok_or_else(|| SourceError::NoTopic(name.clone()))?;
    if let Some(error) = found.error() {
        return Err(failed(&name, &doing, &KafkaError::MetadataFetch(error.into())));
    }
    // Asked for its ends it would not answer, and say nothing.
    if let Some(partition) = found.partitions().iter().find(|partition| partition.leader() < 0) {
        let reason = format!("partition {} has no leader at the moment", partition.id());
        return Err(SourceError::Unavailable { doing, reason });
    }
    let partitions: Vec<i32> = found.partitions().iter().map(|partition| partition.id()).collect();
    let log_id = native::topic_id(client, &name, ANSWER_TIMEOUT);
    // In this order: whatever is written or removed meanwhile, no log ends before it starts.
    let ask = |place| edges(client, &name, &partitions, place).map_err(|error| failed(&name, &doing, &error));
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

/// Where the partitions of a topic begin or end, as `place` says.
fn edges(client: &Client, name: &str, partitions: &[i32], place: Offset) -> Result<BTreeMap<i32, i64>, KafkaError> {
    let mut edges = BTreeMap::new();
    for some in partitions.chunks(MOST_ASKED_AT_ONCE) {
        let mut question = TopicPartitionList::with_capacity(some.len());
        for partition in some {
            question.add_partition(name, *partition);
        }
        // In a question for times, as in the protocol, the beginning and the end are times like others.
        question.set_all_offsets(place)?;
        let answer = client.offsets_for_times(question, ANSWER_TIMEOUT)?;
        for element in answer.elements() {
            element.error()?;
            // A partition that was left out of the answers still says what was asked.
            if let Offset::Offset(offset) = element.offset() {
                edges.insert(element.partition(), offset);
            }
        }
    }
    Ok(edges)
}

/// What an error about this topic means.
fn failed(topic: &str, doing: &str, error: &KafkaError) -> SourceError {
    use RDKafkaErrorCode::{UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    match error.rdkafka_error_code() {
        Some(UnknownTopic | UnknownTopicOrPartition | UnknownPartition) => SourceError::NoTopic(topic.to_owned()),
        _ => classify(doing, error),
    }
}

/// What is being done in [`offsets_at`].
pub(super) const ASKING_FOR_A_TIME: &str = "asking Kafka for the offsets at a time";

/// The first offset at or after a time in each partition of `extents`, or its end where there is none.
pub(super) fn offsets_at(
    client: &Client,
    topics: &Topics,
    extents: &Extents,
    at: Timestamp,
) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
    let failed = |error: &KafkaError| classify(ASKING_FOR_A_TIME, error);
    // Kafka's times are milliseconds: a fraction of one belongs to the next.
    let millis = (at.as_micros() + 999).div_euclid(1_000).max(0);
    // The question has the form of its answer: a time where an offset will be.
    let question: Vec<_> = extents.keys().map(|partition| (partition.clone(), millis)).collect();
    let answer = client.offsets_for_times(topics.offsets(&question), ANSWER_TIMEOUT).map_err(|error| failed(&error))?;
    let mut offsets = BTreeMap::new();
    for element in answer.elements() {
        element.error().map_err(|error| failed(&error))?;
        let partition = topics.partition(element.topic(), element.partition());
        let end = extents.get(&partition).map_or(0, |extent| extent.end);
        // Where nothing is as late as that, the answer is "the end" and no number.
        let offset = if let Offset::Offset(offset) = element.offset() { offset } else { end };
        offsets.insert(partition, offset);
    }
    Ok(offsets)
}
