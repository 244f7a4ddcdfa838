//! Where every generation is in every partition. Pure.

use readcast_core::TopicPartition;
use serde::Serialize;

use super::Observed;
use crate::store::{GenerationStatus, Phase, RecordedCheckpoint, RecordedNotice};

/// One partition of one generation of a projection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionStatus {
    /// The projection's name.
    pub projection: String,
    /// The generation's number; none before the first run.
    pub generation: Option<i32>,
    /// `building`, `ready`, `live` or `standby`; `retired` or `failed` until its tables are dropped. Instead of these
    /// `paused` when an operator stopped it, `halted` when an error did, and `retrying` while an error may pass; `new`
    /// before the first run.
    pub state: &'static str,
    /// What is done with the generation while it is building.
    pub phase: Option<&'static str>,
    /// Until when a standby is kept, in RFC 3339.
    pub standby_until: Option<String>,
    /// Since when the generation is paused, in RFC 3339.
    pub paused_since: Option<String>,
    /// The number of the open operation that builds or compares the generation.
    pub operation: Option<i64>,
    /// The topic of the partition.
    pub topic: String,
    /// The number of the partition in its topic.
    pub partition: i32,
    /// The next offset to read.
    pub next_offset: Option<i64>,
    /// The end of the log; none while the log does not answer.
    pub end_offset: Option<i64>,
    /// How many offsets are between the two.
    pub lag: Option<i64>,
    /// When the checkpoint last moved, in RFC 3339.
    pub updated_at: Option<String>,
    /// Why the generation is halted or retrying, and what to do next.
    pub last_error: Option<String>,
    /// Since when, in RFC 3339.
    pub last_error_since: Option<String>,
    /// How often it was tried again while it is retrying.
    pub last_error_attempt: Option<u32>,
    /// Over how many offsets duplicates are recognised; none before the generation is fed.
    pub duplicate_window: Option<i64>,
    /// How many keys are parked in all partitions of the generation.
    pub parked_keys: u64,
    /// How many records are parked in all partitions of the generation.
    pub parked_records: u64,
    /// When the oldest of them was parked, in RFC 3339.
    pub oldest_parked: Option<String>,
    /// What stops nothing and an operator has to know of the generation.
    pub notices: Vec<RecordedNotice>,
}

/// Every partition of every generation; those of the log, when there is no generation yet.
pub(super) fn statuses_of(observed: &Observed<'_>) -> Vec<PartitionStatus> {
    if observed.generations.is_empty() {
        return partition_statuses(observed, None);
    }
    observed.generations.iter().flat_map(|found| partition_statuses(observed, Some(found))).collect()
}

/// Every partition that the log has or that the generation has a checkpoint in.
pub(super) fn partition_statuses(
    observed: &Observed<'_>,
    generation: Option<&GenerationStatus>,
) -> Vec<PartitionStatus> {
    let checkpoints = generation.map_or(&[] as &[RecordedCheckpoint], |found| &found.checkpoints);
    let mut partitions: Vec<&TopicPartition> = observed.extents.keys().collect();
    partitions.extend(checkpoints.iter().map(|checkpoint| &checkpoint.partition));
    partitions.sort();
    partitions.dedup();
    let whole = generation_status(observed, generation);
    let status = |partition: &TopicPartition| {
        let checkpoint = checkpoints.iter().find(|checkpoint| checkpoint.partition == *partition);
        let next_offset = checkpoint.map(|checkpoint| checkpoint.next_offset);
        let extent = observed.extents.get(partition);
        PartitionStatus {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            next_offset,
            end_offset: extent.map(|extent| extent.end),
            lag: extent.map(|extent| extent.end - next_offset.unwrap_or(extent.start)),
            updated_at: checkpoint.map(|checkpoint| checkpoint.updated_at.clone()),
            ..whole.clone()
        }
    };
    partitions.into_iter().map(status).collect()
}

/// What holds for all partitions of a generation.
fn generation_status(observed: &Observed<'_>, generation: Option<&GenerationStatus>) -> PartitionStatus {
    let error = generation.and_then(|found| found.last_error.as_ref());
    let parked = generation.map(|found| found.parked.clone()).unwrap_or_default();
    let is_its = |notice: &&RecordedNotice| generation.is_some_and(|found| found.generation == notice.generation);
    PartitionStatus {
        projection: observed.definition.name().to_owned(),
        generation: generation.map(|found| found.generation.0),
        state: generation.map_or("new", state),
        phase: generation.and_then(|found| found.phase).map(Phase::name),
        standby_until: generation.and_then(|found| found.standby_until.clone()),
        paused_since: generation.and_then(|found| found.paused_since.clone()),
        operation: generation.and_then(|found| observed.operation_on(found)).map(|open| open.id),
        topic: String::new(),
        partition: 0,
        next_offset: None,
        end_offset: None,
        lag: None,
        updated_at: None,
        last_error: error.map(|error| error.text.clone()),
        last_error_since: error.map(|error| error.since.clone()),
        last_error_attempt: error.and_then(|error| error.attempt),
        duplicate_window: generation.and_then(|found| found.duplicate_window),
        parked_keys: parked.keys,
        parked_records: parked.records,
        oldest_parked: parked.oldest,
        notices: observed.notices.iter().filter(is_its).cloned().collect(),
    }
}

/// The state of a generation in a word.
fn state(generation: &GenerationStatus) -> &'static str {
    match &generation.last_error {
        Some(error) if error.attempt.is_none() => "halted",
        _ if generation.paused_since.is_some() => "paused",
        Some(_) => "retrying",
        None => generation.state.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::RecordedError;

    #[test]
    fn only_an_error_that_waits_for_a_person_is_a_halt() {
        let error = |attempt| {
            Some(RecordedError { text: "text".into(), since: "noon".into(), attempt, ..RecordedError::default() })
        };
        let state = |last_error, paused: bool| {
            let paused_since = paused.then(|| "noon".to_owned());
            state(&GenerationStatus { last_error, paused_since, ..GenerationStatus::live_at(&[]) })
        };
        assert_eq!([state(None, false), state(None, true)], ["live", "paused"]);
        assert_eq!([state(error(None), false), state(error(None), true)], ["halted", "halted"]);
        assert_eq!([state(error(Some(1)), false), state(error(Some(1)), true)], ["retrying", "paused"]);
    }
}
