//! Reads a few records at both ends of topics, to tell beforehand what a projection will meet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use readcast_core::{TopicPartition, topic_matches};

use super::{Extent, Extents, Record, Source, SourceError, SourceEvent, Start};

/// How long reading may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// From how many partitions of a topic records are read.
const MOST_PARTITIONS: usize = 20;

/// A record with its partition.
pub type Sampled = (TopicPartition, Record);

/// Reads about the first `most` records of each topic, ordered by partition and offset, as a member of the consumer group
/// `group` that commits nothing.
///
/// # Errors
/// If the log can't be read, or not within ten seconds.
pub async fn first_records(
    source: &dyn Source,
    group: &str,
    topics: &[&str],
    extents: &Extents,
    most: usize,
) -> Result<Vec<Sampled>, SourceError> {
    let mut wanted = Vec::new();
    for chosen in asked(topics, extents).map(|topic| chosen(topic, extents)) {
        let of_each = most.div_ceil(chosen.len().max(1));
        let wants = |extent: Extent| Wanted { offset: extent.start, end: extent.end, most: of_each };
        wanted.extend(chosen.into_iter().map(|(partition, extent)| (partition, wants(extent))));
    }
    read(source, group, topics, wanted).await
}

/// Reads the last record of each of the partitions from which [`first_records`] reads, except those among `known`. A
/// partition whose last offset holds no record has no last record.
///
/// # Errors
/// As [`first_records`].
pub async fn last_records(
    source: &dyn Source,
    group: &str,
    topics: &[&str],
    extents: &Extents,
    known: &[Sampled],
) -> Result<Vec<Sampled>, SourceError> {
    let is_known = |partition: &TopicPartition, offset: i64| {
        known.iter().any(|(other, record)| other == partition && record.offset == offset)
    };
    let chosen = asked(topics, extents).flat_map(|topic| chosen(topic, extents));
    let lasts = chosen.filter(|(partition, extent)| !is_known(partition, extent.end - 1));
    let wants = |extent: Extent| Wanted { offset: extent.end - 1, end: extent.end, most: 1 };
    read(source, group, topics, lasts.map(|(partition, extent)| (partition, wants(extent))).collect()).await
}

/// The topics of these partitions.
pub fn topics_in(extents: &Extents) -> BTreeSet<&str> {
    extents.keys().map(|partition| &*partition.topic).collect()
}

/// The topics of these partitions that names and patterns mean.
fn asked<'e>(topics: &[&str], extents: &'e Extents) -> impl Iterator<Item = &'e str> {
    let is_asked = |name: &&str| topics.iter().any(|topic| topic_matches(topic, name));
    topics_in(extents).into_iter().filter(is_asked)
}

/// The first partitions of the topic that have records.
fn chosen(topic: &str, extents: &Extents) -> Vec<(TopicPartition, Extent)> {
    let of_topic = extents.iter().filter(|(partition, extent)| &*partition.topic == topic && extent.start < extent.end);
    of_topic.take(MOST_PARTITIONS).map(|(partition, extent)| (partition.clone(), extent.clone())).collect()
}

/// What is read of a partition.
struct Wanted {
    offset: i64,
    /// The end that the partition had: there may be fewer records before it than are wanted.
    end: i64,
    most: usize,
}

/// Reads what is wanted of each of these partitions, within the time limit.
async fn read(
    source: &dyn Source,
    group: &str,
    topics: &[&str],
    wanted: Vec<(TopicPartition, Wanted)>,
) -> Result<Vec<Sampled>, SourceError> {
    let read = tokio::time::timeout(TIME_LIMIT, read_all(source, group, topics, wanted)).await;
    let mut sampled = read.unwrap_or_else(|_| {
        let reason = format!("not done within {} seconds", TIME_LIMIT.as_secs());
        Err(SourceError::Unavailable { doing: "reading a few records of each topic".into(), reason })
    })?;
    sampled.sort_by(|(one, first), (other, second)| (one, first.offset).cmp(&(other, second.offset)));
    Ok(sampled)
}

async fn read_all(
    source: &dyn Source,
    group: &str,
    topics: &[&str],
    wanted: Vec<(TopicPartition, Wanted)>,
) -> Result<Vec<Sampled>, SourceError> {
    let mut open: BTreeMap<TopicPartition, Wanted> = wanted.into_iter().collect();
    let mut sampled = Vec::new();
    if open.is_empty() {
        return Ok(sampled);
    }
    let mut subscription = source.subscribe(group, topics).await?;
    while !open.is_empty() {
        match subscription.next().await? {
            SourceEvent::Assigned(partitions) => {
                let start = |partition| open.get(&partition).map(|wanted| Start::at(partition.clone(), wanted.offset));
                let starts: Vec<Start> = partitions.into_iter().filter_map(start).collect();
                subscription.start(&starts).await?;
            }
            SourceEvent::Batch(batch) => {
                let Some(Wanted { end, most, .. }) = open.get_mut(&batch.partition) else { continue };
                let taken = batch.records.into_iter().take(*most);
                let before = sampled.len();
                sampled.extend(taken.map(|record| (batch.partition.clone(), record)));
                *most -= sampled.len() - before;
                if *most == 0 || batch.to >= *end {
                    open.remove(&batch.partition);
                }
            }
            SourceEvent::AtEnd(partition) => drop(open.remove(&partition)),
            SourceEvent::Revoked(_) | SourceEvent::Lost(_) => {}
        }
    }
    subscription.close().await;
    Ok(sampled)
}
