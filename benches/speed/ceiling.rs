//! The ceiling: writes the rows of the live path in a loop that does nothing else. The log is read, planned and folded
//! before the measurement starts. There is either one loop, which uses the database alone, or one for each lane of the
//! live path, which together use the whole machine.

pub(crate) mod bare_sql;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use readcast::internals::plan::{AllowedChanges, CurrentRecord, PartitionCursor, RecordPolicy, Rules, plan};
use readcast::source::{Batch, Extent};
use readcast::store::{Commit, CommitOutcome, Generation, PartitionState, Priority, Store};
use readcast_core::{Definition, Registry, TopicPartition};
use tokio::task::JoinSet;

use crate::child::defaults;
use crate::database::Kind;

/// The owner epoch after the first claim of a partition.
const FIRST_EPOCH: i64 = 1;
/// The generation of a new database.
const FIRST_GENERATION: Generation = Generation(1);
/// The numbers of records of a commit that are tried.
const SIZES: [usize; 5] = [2_000, 5_000, 10_000, 20_000, 50_000];

/// The number of writing loops.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loops {
    /// One loop that writes table after table.
    One,
    /// One loop for each lane of each projection.
    AsLanes,
}

/// The rows to write, in commits of the fastest size.
pub(crate) struct Ceiling {
    lanes: Vec<Arc<Lane>>,
    loops: Loops,
    /// The approximate number of records of a commit.
    pub(crate) records_a_commit: usize,
}

/// The commits of one connection.
struct Lane {
    definition: Definition,
    partitions: Vec<(TopicPartition, Extent)>,
    commits: Vec<Commit>,
}

impl Ceiling {
    /// Tries each size of a commit once, and keeps the fastest.
    pub(crate) async fn best(batches: &[Batch], registry: &Registry, kind: Kind, loops: Loops) -> Self {
        let mut best: Option<(f64, Self)> = None;
        for records_a_commit in SIZES {
            let ceiling = Self { lanes: lanes(batches, registry, records_a_commit, loops), loops, records_a_commit };
            let database = kind.with_tables(registry).await;
            let seconds = ceiling.write(&database.open().await).await;
            if best.as_ref().is_none_or(|(least, _)| seconds < *least) {
                best = Some((seconds, ceiling));
            }
        }
        best.expect("there are sizes").1
    }

    /// Writes all commits to a store with empty tables. Returns the time in seconds.
    pub(crate) async fn write(&self, store: &Arc<dyn Store>) -> f64 {
        let mut writers = Vec::new();
        for lane in &self.lanes {
            writers.push((
                Arc::clone(lane),
                store.writer(&lane.definition, FIRST_GENERATION, Priority::Live.into()).await.unwrap(),
            ));
        }
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for (lane, mut writer) in writers {
            tasks.spawn(async move {
                writer.claim(&lane.partitions).await.unwrap();
                for commit in &lane.commits {
                    let committed = writer.commit(commit).await.unwrap();
                    assert!(matches!(committed, CommitOutcome::Applied(_)), "nobody else writes here");
                }
            });
            if self.loops == Loops::One {
                tasks.join_next().await.unwrap().unwrap();
            }
        }
        tasks.join_all().await;
        begun.elapsed().as_secs_f64()
    }
}

/// The commits that the live path would write for `batches`.
fn lanes(batches: &[Batch], registry: &Registry, records_a_commit: usize, loops: Loops) -> Vec<Arc<Lane>> {
    let config = defaults(registry);
    let of = |definition: &Definition| {
        let lanes = if loops == Loops::One { 1 } else { config.projection(definition.name()).lanes };
        let shares = shares(batches, lanes);
        let lane = |share: Vec<&Batch>| Arc::new(Lane::new(definition, &commits(&share, records_a_commit)));
        shares.into_iter().map(lane).collect::<Vec<_>>()
    };
    registry.definitions().iter().flat_map(of).collect()
}

/// The batches of each lane. As in the supervisor, the next partition goes to the lane with the fewest.
fn shares(batches: &[Batch], lanes: usize) -> Vec<Vec<&Batch>> {
    let lane_of = |batch: &&Batch| usize::try_from(batch.partition.partition).unwrap() % lanes;
    (0..lanes).map(|lane| batches.iter().filter(|batch| lane_of(batch) == lane).collect()).collect()
}

/// The batches of each commit.
fn commits<'a>(batches: &[&'a Batch], records_a_commit: usize) -> Vec<Vec<&'a Batch>> {
    let mut commits: Vec<Vec<&Batch>> = Vec::new();
    let mut room = 0;
    for batch in batches {
        match commits.last_mut() {
            Some(commit) if room > 0 => commit.push(batch),
            _ => {
                commits.push(vec![batch]);
                room = records_a_commit;
            }
        }
        room = room.saturating_sub(batch.records.len());
    }
    commits
}

impl Lane {
    fn new(definition: &Definition, commits: &[Vec<&Batch>]) -> Self {
        let mut next_offsets = BTreeMap::<TopicPartition, i64>::new();
        let planned = |batches: &Vec<&Batch>| {
            let commit = planned(definition, batches, &next_offsets);
            let steps = commit.advances.iter();
            next_offsets.extend(steps.map(|advance| (advance.partition.clone(), advance.to)));
            commit
        };
        let commits = commits.iter().map(planned).collect();
        let partitions = next_offsets.into_keys().map(|partition| (partition, Extent::default())).collect();
        Self { definition: definition.clone(), partitions, commits }
    }
}

/// The commit of a lane at `next_offsets` for these batches.
fn planned(definition: &Definition, batches: &[&Batch], next_offsets: &BTreeMap<TopicPartition, i64>) -> Commit {
    let cursor = |batch: &Batch| PartitionCursor {
        next_offset: next_offsets.get(&batch.partition).copied().unwrap_or(0),
        owner_epoch: FIRST_EPOCH,
        hold_at: None,
    };
    let (record_policy, memory, current) =
        (RecordPolicy::default(), PartitionState::default(), CurrentRecord::default());
    let rules = Rules {
        definition,
        policy: &record_policy,
        allowed: AllowedChanges::All,
        known_poison: &BTreeMap::new(),
        parking: None,
        most_applied: usize::MAX,
        audits_order: false,
        current: &current,
    };
    let plan = plan(rules, batches.iter().map(|batch| (*batch, cursor(batch), &memory))).unwrap();
    assert_eq!(plan.poison, None, "every sample event can be projected");
    plan.commit
}
