//! Reads a few records: those at both ends of topics, to tell beforehand what a projection will meet, and those of one key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use readcast_core::{TopicPartition, topic_matches};

use super::{Extent, Extents, Record, Source, SourceError, SourceEvent, Start};

/// How long reading a few records may take, and each step of reading a whole log.
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

/// Reads the records of the topic whose key is `key`, up to the ends in `extents`: of each partition at most the first `most`,
/// ordered by partition and offset. `progress` is told how many offsets are read.
///
/// # Errors
/// If the log can't be read, or gives nothing within ten seconds.
pub async fn records_with_key(
    source: &dyn Source,
    group: &str,
    topic: &str,
    extents: &Extents,
    key: &[u8],
    most: usize,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Vec<Sampled>, SourceError> {
    let not_empty = extents.iter().filter(|(at, extent)| &*at.topic == topic && extent.start < extent.end);
    let wants = |extent: &Extent| Wanted { offset: extent.start, end: extent.end, most };
    let wanted = not_empty.map(|(partition, extent)| (partition.clone(), wants(extent))).collect();
    let has_key = |record: &Record| record.key.as_deref() == Some(key);
    let mut sampled = read_all(source, group, &[topic], wanted, &has_key, progress).await?;
    sort(&mut sampled);
    Ok(sampled)
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
    let read = tokio::time::timeout(TIME_LIMIT, read_all(source, group, topics, wanted, &|_| true, &mut |_| {})).await;
    let mut sampled = read.unwrap_or_else(|_| Err(too_late("reading a few records of each topic", "not done")))?;
    sort(&mut sampled);
    Ok(sampled)
}

fn sort(sampled: &mut [Sampled]) {
    sampled.sort_by(|(one, first), (other, second)| (one, first.offset).cmp(&(other, second.offset)));
}

fn too_late(doing: &str, what: &str) -> SourceError {
    let reason = format!("{what} within {} seconds", TIME_LIMIT.as_secs());
    SourceError::Unavailable { doing: doing.into(), reason }
}

async fn read_all(
    source: &dyn Source,
    group: &str,
    topics: &[&str],
    wanted: Vec<(TopicPartition, Wanted)>,
    is_wanted: &(dyn Fn(&Record) -> bool + Sync),
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Vec<Sampled>, SourceError> {
    let mut open: BTreeMap<TopicPartition, Wanted> = wanted.into_iter().collect();
    let (mut sampled, mut read) = (Vec::new(), 0);
    if open.is_empty() {
        return Ok(sampled);
    }
    let mut subscription = source.subscribe(group, topics).await?;
    while !open.is_empty() {
        let next = tokio::time::timeout(TIME_LIMIT, subscription.next()).await;
        match next.unwrap_or_else(|_| Err(too_late("reading the log", "no answer")))? {
            SourceEvent::Assigned(partitions) => {
                let start = |partition| open.get(&partition).map(|wanted| Start::at(partition.clone(), wanted.offset));
                let starts: Vec<Start> = partitions.into_iter().filter_map(start).collect();
                subscription.start(&starts).await?;
            }
            SourceEvent::Batch(batch) => {
                let Some(Wanted { end, most, .. }) = open.get_mut(&batch.partition) else { continue };
                read += offsets(batch.from, batch.to.min(*end));
                progress(read);
                let is_wanted = |record: &Record| record.offset < *end && is_wanted(record);
                let taken = batch.records.into_iter().filter(is_wanted).take(*most);
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

fn offsets(from: i64, to: i64) -> u64 {
    u64::try_from(to - from).unwrap_or_default()
}
