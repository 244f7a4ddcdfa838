//! The check before a generation is fed for the first time: can its records be projected at all?
//!
//! A topic in another format than the configured one would otherwise be parked, record by record, up to the limit.

use std::collections::BTreeMap;
use std::sync::Arc;

use readcast_core::{Position, TopicPartition};

use super::FeedContext;
use crate::error::Failure;
use crate::plan::{AllowedChanges, PartitionCursor, Poison};
use crate::source::{Batch, Extents, Record, Sampled, SourceError, first_records, last_records, topics_in};
use crate::store::{ParkingLimits, PartitionState, PoisonCause};
use crate::text::counted;
use crate::worker::Task;

/// How many records of a topic are tried. If there are as many and none can be projected, the generation halts.
const TRIED: usize = 20;

/// Tries the first records of each topic and the last ones, without writing anything.
///
/// # Errors
/// [`Failure::Unreadable`] if a topic has [`TRIED`] records or more and none of those that were tried can be projected.
pub(super) async fn verify_first_records(context: &FeedContext, extents: &Extents) -> Result<(), Failure> {
    let found = match nothing_but_poison(context, extents).await {
        Ok(found) => found,
        Err(error) => {
            tracing::debug!("the first records were not tried: {error}");
            return Ok(());
        }
    };
    for (tried, poison) in found {
        if tried >= TRIED {
            return Err(Failure::Unreadable { tried, poison });
        }
        // So few records may be an exception.
        let (tried, topic, next) =
            (counted(tried as u64, "record"), &poison.position.topic, Failure::UNREADABLE_ADVICE);
        tracing::warn!(next, "none of the {tried} of topic `{topic}` can be projected; the first is {poison}");
    }
    Ok(())
}

/// The topics of which no record that was tried can be projected: how many were tried, and the first. The last records are
/// read only where the first ones are poison: a log makes each new reader wait.
async fn nothing_but_poison(context: &FeedContext, extents: &Extents) -> Result<Vec<(usize, Poison)>, SourceError> {
    let FeedContext { feed, options, shared, .. } = context;
    let group = format!("{}.start.{:08x}", feed.group(options), fastrand::u32(..));
    let topics = feed.definition.topics();
    let firsts = first_records(&*shared.source, &group, topics, extents, TRIED).await?;
    let mut found = Vec::new();
    for topic in topics_in(extents) {
        let of_topic: Vec<&Sampled> = firsts.iter().filter(|(partition, _)| &*partition.topic == topic).collect();
        let Some(first) = first_of_nothing_but_poison(context, &of_topic).await else { continue };
        let lasts = last_records(&*shared.source, &group, &[topic], extents, &firsts).await?;
        let lasts: Vec<&Sampled> = lasts.iter().collect();
        if lasts.is_empty() || first_of_nothing_but_poison(context, &lasts).await.is_some() {
            found.push((of_topic.len() + lasts.len(), first));
        }
    }
    Ok(found)
}

/// What is wrong with the first of these records, if none of them can be projected.
async fn first_of_nothing_but_poison(context: &FeedContext, sampled: &[&Sampled]) -> Option<Poison> {
    let mut first = None;
    for (partition, record) in sampled {
        let cause = poison(context, partition, record).await?;
        let position: Position = partition.at(record.offset);
        first.get_or_insert(Poison { position, cause, correlation_id: None });
    }
    first
}

/// What is wrong with the record, tried by itself. `None` if nothing is, or if that can't be said.
async fn poison(context: &FeedContext, partition: &TopicPartition, record: &Record) -> Option<PoisonCause> {
    let batch = Batch {
        partition: partition.clone(),
        assignment: 0,
        from: record.offset,
        to: record.offset + 1,
        records: vec![record.clone()],
        leader_epoch: None,
    };
    let cursor = PartitionCursor { next_offset: record.offset, owner_epoch: 0, hold_at: None };
    let task = Task {
        definition: context.feed.definition.clone(),
        policy: context.options.record_policy.clone(),
        allowed: AllowedChanges::All,
        known_poison: Arc::new(BTreeMap::new()),
        parking: Some(ParkingLimits { records: 1, of_one_key: 1 }),
        most_applied: 1,
        audits_order: false,
        batches: vec![(Arc::new(batch), cursor, Arc::new(PartitionState::default()))],
    };
    let plan = task.run().await.ok()?.ok()?;
    plan.commit.dead_letters.into_iter().next()?.cause
}
