//! The ceiling: the rows of the live path, written by a loop that does nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use readcast::config::{Config, ProjectionOptions};
use readcast::plan::{Allowed, Handling, Pulse, Rules, Standing, plan};
use readcast::source::{Batch, Extent};
use readcast::store::{Commit, Committed, Generation, Memory, Store};
use readcast_core::{Definition, Registry, TopicPartition};
use tokio::task::JoinSet;

/// The owner epoch that the first claim of a partition gets.
const FIRST_EPOCH: i64 = 1;

/// What one connection writes.
pub(crate) struct Lane {
    definition: Definition,
    partitions: Vec<(TopicPartition, Extent)>,
    commits: Vec<Commit>,
}

/// Everything that the live path would write of `batches`, ready to be sent.
pub(crate) fn lanes(batches: &[Batch], registry: &Registry, config: &Config) -> Vec<Arc<Lane>> {
    let of = |definition: &Definition| {
        let options = config.projection(definition.name());
        // As the supervisor deals them out: the next partition to the lane that has the fewest.
        let lane_of = |batch: &Batch| usize::try_from(batch.partition.partition).unwrap() % options.lanes;
        let share = |lane| batches.iter().filter(|batch| lane_of(batch) == lane).collect::<Vec<_>>();
        (0..options.lanes).map(|lane| Arc::new(Lane::new(definition, &share(lane), &options))).collect::<Vec<_>>()
    };
    registry.definitions().iter().flat_map(of).collect()
}

/// The generation of a fresh database.
const FIRST_GENERATION: Generation = Generation(1);

impl Lane {
    fn new(definition: &Definition, batches: &[&Batch], options: &ProjectionOptions) -> Self {
        let mut next_offsets = BTreeMap::<TopicPartition, i64>::new();
        let mut commits = Vec::new();
        let mut rest = batches;
        while !rest.is_empty() {
            let (full, left) = rest.split_at(how_many_fill_a_commit(rest, options));
            let standing = |batch: &Batch| Standing {
                next_offset: next_offsets.get(&batch.partition).copied().unwrap_or(0),
                owner_epoch: FIRST_EPOCH,
                hold_at: None,
            };
            let (handling, memory, pulse) = (Handling::default(), Memory::default(), Pulse::default());
            let batches = full.iter().map(|batch| (*batch, standing(batch), &memory));
            let rules = Rules {
                definition,
                handling: &handling,
                allowed: Allowed::All,
                condemned: &BTreeMap::new(),
                parking: None,
                most_applied: usize::MAX,
                pulse: &pulse,
            };
            let plan = plan(rules, batches).unwrap();
            assert_eq!(plan.poison, None, "every sample event can be projected");
            let steps = plan.commit.advances.iter();
            next_offsets.extend(steps.map(|advance| (advance.partition.clone(), advance.to)));
            commits.push(plan.commit);
            rest = left;
        }
        let partitions = next_offsets.into_keys().map(|partition| (partition, Extent::default())).collect();
        Self { definition: definition.clone(), partitions, commits }
    }
}

/// How many batches a lane that need not wait takes into one transaction.
fn how_many_fill_a_commit(batches: &[&Batch], options: &ProjectionOptions) -> usize {
    let (mut records, mut bytes) = (0, 0);
    let has_room = |batch: &&&Batch| {
        let room = records < options.batch_records && bytes < options.batch_bytes;
        records += batch.records.len();
        bytes += batch.bytes();
        room
    };
    batches.iter().take_while(has_room).count()
}

/// Writes it all to a store with empty tables, each lane over a connection of its own. How long that took.
pub(crate) async fn run(lanes: &[Arc<Lane>], store: &Arc<dyn Store>) -> Duration {
    let mut writers = Vec::new();
    for lane in lanes {
        writers.push((Arc::clone(lane), store.writer(&lane.definition, FIRST_GENERATION).await.unwrap()));
    }
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for (lane, mut writer) in writers {
        tasks.spawn(async move {
            writer.claim(&lane.partitions).await.unwrap();
            for commit in &lane.commits {
                let committed = writer.commit(commit).await.unwrap();
                assert!(matches!(committed, Committed::Applied(_)), "nobody else writes here");
            }
        });
    }
    tasks.join_all().await;
    begun.elapsed()
}
