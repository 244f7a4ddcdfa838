//! The ceiling: the rows of the live path, written by a loop that does nothing else. The log was read, planned and folded
//! before the clock starts. Either by one loop, which has the database to itself, or by as many at once as the live path
//! has lanes, which leave nothing of the machine to anybody else.

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

/// The owner epoch that the first claim of a partition gets.
const FIRST_EPOCH: i64 = 1;
/// The generation of a fresh database.
const FIRST_GENERATION: Generation = Generation(1);
/// How many records a commit may be made of.
const SIZES: [usize; 5] = [2_000, 5_000, 10_000, 20_000, 50_000];

/// How many loops write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loops {
    /// One, table after table.
    One,
    /// One for each lane of each projection.
    AsLanes,
}

/// What is written, in the commits that are written fastest.
pub(crate) struct Ceiling {
    lanes: Vec<Arc<Lane>>,
    loops: Loops,
    /// About how many records each commit is made of.
    pub(crate) records_a_commit: usize,
}

/// What one connection writes.
struct Lane {
    definition: Definition,
    partitions: Vec<(TopicPartition, Extent)>,
    commits: Vec<Commit>,
}

impl Ceiling {
    /// Tries several sizes of a commit, each once, and keeps the best.
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

    /// Writes it all to a store with empty tables. How many seconds that took.
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

/// Everything that the live path would write of `batches`.
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

/// The batches of each lane, as the supervisor deals them out: the next partition to the lane that has the fewest.
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

/// What a lane that stands at `next_offsets` makes of these batches.
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
        current: &current,
    };
    let plan = plan(rules, batches.iter().map(|batch| (*batch, cursor(batch), &memory))).unwrap();
    assert_eq!(plan.poison, None, "every sample event can be projected");
    plan.commit
}
