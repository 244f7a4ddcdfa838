//! Reads a few records at both ends of topics, to tell beforehand what a projection will meet.

use std::collections::BTreeMap;
use std::time::Duration;

use readcast_core::TopicPartition;

use super::{Extent, Extents, Record, Source, SourceError, SourceEvent, Start};

/// How long reading may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// From how many partitions of a topic records are read.
const MOST_PARTITIONS: usize = 20;

/// A record with its partition.
pub type Sampled = (TopicPartition, Record);

/// Reads about the first `first` records of each topic, and the last record of each of the partitions that they are from, as
/// a member of the consumer group `group` that commits nothing. Partitions whose last offset holds no record have no last
/// record.
///
/// # Errors
/// If the log can't be read, or not within ten seconds.
pub async fn sample(
    source: &dyn Source,
    group: &str,
    topics: &[&str],
    extents: &Extents,
    first: usize,
) -> Result<Vec<Sampled>, SourceError> {
    let reading = async {
        let mut sampled = Vec::new();
        let chosen: Vec<_> = topics.iter().flat_map(|topic| chosen(topic, extents)).collect();
        if chosen.is_empty() {
            return Ok(sampled);
        }
        let partitions = |topic: &str| chosen.iter().filter(|(partition, _)| &*partition.topic == topic).count();
        let of_each = |partition: &TopicPartition| first.div_ceil(partitions(&partition.topic));
        let firsts = chosen.iter().map(|(partition, extent)| (partition.clone(), extent.start, of_each(partition)));
        sampled.extend(read(source, group, topics, firsts).await?);
        let known = |partition: &TopicPartition, offset| {
            sampled.iter().any(|(other, record)| other == partition && record.offset == offset)
        };
        let lasts = chosen.iter().filter(|(partition, extent)| !known(partition, extent.end - 1));
        let lasts = lasts.map(|(partition, extent)| (partition.clone(), extent.end - 1, 1));
        let lasts = read(source, group, topics, lasts.collect::<Vec<_>>()).await?;
        sampled.extend(lasts);
        sampled.sort_by(|(one, first), (other, second)| (one, first.offset).cmp(&(other, second.offset)));
        Ok(sampled)
    };
    tokio::time::timeout(TIME_LIMIT, reading).await.unwrap_or_else(|_| {
        let reason = format!("not done within {} seconds", TIME_LIMIT.as_secs());
        Err(SourceError::Unavailable { doing: "reading a few records of each topic".into(), reason })
    })
}

/// The first partitions of the topic that have records.
fn chosen(topic: &str, extents: &Extents) -> Vec<(TopicPartition, Extent)> {
    let of_topic = extents.iter().filter(|(partition, extent)| &*partition.topic == topic && extent.start < extent.end);
    of_topic.take(MOST_PARTITIONS).map(|(partition, extent)| (partition.clone(), extent.clone())).collect()
}

/// Reads up to a number of records from an offset of each of these partitions.
async fn read(
    source: &dyn Source,
    group: &str,
    topics: &[&str],
    wanted: impl IntoIterator<Item = (TopicPartition, i64, usize)>,
) -> Result<Vec<Sampled>, SourceError> {
    let mut open: BTreeMap<TopicPartition, (i64, usize)> =
        wanted.into_iter().map(|(partition, offset, most)| (partition, (offset, most))).collect();
    let mut sampled = Vec::new();
    if open.is_empty() {
        return Ok(sampled);
    }
    let mut subscription = source.subscribe(group, topics).await?;
    while !open.is_empty() {
        match subscription.next().await? {
            SourceEvent::Assigned(partitions) => {
                let start = |partition| open.get(&partition).map(|(offset, _)| Start::at(partition.clone(), *offset));
                let starts: Vec<Start> = partitions.into_iter().filter_map(start).collect();
                subscription.start(&starts).await?;
            }
            SourceEvent::Batch(batch) => {
                let Some((_, most)) = open.get_mut(&batch.partition) else { continue };
                let taken = batch.records.into_iter().take(*most);
                let before = sampled.len();
                sampled.extend(taken.map(|record| (batch.partition.clone(), record)));
                *most -= sampled.len() - before;
                if *most == 0 {
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
