//! What a process does while nothing happens: work is counted, not time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use readcast::internals::operations::Policy;
use readcast::internals::source::memory::MemorySource;
use readcast::source::{Assignment, Extents, Source, SourceError, SourceEvent, Start, Subscription};
use readcast_core::{Registry, Timestamp, TopicPartition};
use tokio::time::Instant;

use crate::rebuild::scene::{ComparedPlace, Instance, Scene, Seen};
use crate::support::eventually::{PATIENCE, eventually};

const PARTITIONS: i32 = 1_000;
/// Longer than the second between two looks while something moves.
const LONG: Duration = Duration::from_secs(4);

/// A log that counts what it is asked and told.
#[derive(Clone)]
struct Counting {
    log: MemorySource,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// When it was asked how far it reaches.
    asked: Mutex<Vec<Instant>>,
    /// How many positions it was told.
    told: AtomicUsize,
}

impl Counts {
    fn asked(&self) -> Vec<Instant> {
        self.asked.lock().unwrap().clone()
    }

    fn told(&self) -> usize {
        self.told.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Source for Counting {
    async fn extents(&self, topics: &[&str]) -> Result<Extents, SourceError> {
        self.counts.asked.lock().unwrap().push(Instant::now());
        self.log.extents(topics).await
    }

    async fn offsets_at(&self, topics: &[&str], at: Timestamp) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
        self.log.offsets_at(topics, at).await
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>, SourceError> {
        let subscription = self.log.subscribe(group, topics).await?;
        Ok(Box::new(Told { subscription, counts: self.counts.clone() }))
    }
}

struct Told {
    subscription: Box<dyn Subscription>,
    counts: Arc<Counts>,
}

#[async_trait]
impl Subscription for Told {
    async fn next(&mut self) -> Result<SourceEvent, SourceError> {
        self.subscription.next().await
    }

    async fn start(&mut self, starts: &[Start]) -> Result<(), SourceError> {
        self.subscription.start(starts).await
    }

    fn assignment(&self) -> Arc<Assignment> {
        self.subscription.assignment()
    }

    fn mirror(&mut self, next_offsets: &[(TopicPartition, i64)]) {
        self.counts.told.fetch_add(next_offsets.len(), Ordering::Relaxed);
    }

    async fn close(self: Box<Self>) {
        self.subscription.close().await;
    }
}

/// How many rows of checkpoints the server has read for anybody.
async fn checkpoints_read(scene: &Scene) -> i64 {
    let read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_all_tables
                WHERE schemaname = 'readcast' AND relname = 'checkpoints'";
    let ComparedPlace::Postgres(database) = &scene.place else { panic!("this is no Postgres store") };
    database.value(read).await.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_partitions_cause_few_requests_and_no_writes() {
    let mut scene = Scene::on_postgres().await;
    scene.log.create("orders", PARTITIONS);
    scene.write(300);
    let source = Counting { log: scene.log.clone(), counts: Arc::default() };
    let counts = source.counts.clone();
    let registry = Registry::new().register(Seen::first());
    let instance = Instance::start(Arc::new(source), scene.store.clone(), "rest", registry, Policy::default());
    scene.projects_all(1).await;
    eventually("the log is asked seldom, and a look reads each checkpoint once", PATIENCE, async || {
        let (looks, read) = (counts.asked().len(), checkpoints_read(&scene).await);
        eventually("it looks again", PATIENCE, async || if counts.asked().len() > looks { Ok(()) } else { Err("no") })
            .await;
        let asked = counts.asked();
        let apart = asked[looks] - asked[looks - 1];
        // (The server counts a moment later. Twice a second the projection is looked at as well.)
        let read = checkpoints_read(&scene).await - read;
        if apart > LONG && read <= 2 * i64::from(PARTITIONS) { Ok(()) } else { Err(format!("{read} in {apart:?}")) }
    })
    .await;
    let (looks, told) = (counts.asked().len(), counts.told());
    assert!(told <= 2 * PARTITIONS as usize, "{told} positions were told");
    eventually("it looks once more", PATIENCE, async || if counts.asked().len() > looks { Ok(()) } else { Err("no") })
        .await;
    assert_eq!(counts.told(), told, "nothing has moved");

    let moved = Instant::now();
    scene.write(1);
    eventually("the log is asked again soon", PATIENCE, async || {
        let last = *counts.asked().last().unwrap();
        if last > moved && counts.told() == told + 1 { Ok(()) } else { Err(counts.told() - told) }
    })
    .await;
    scene.shows_every_count().await;
    instance.stop().await;
}
