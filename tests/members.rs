//! Several members of a group with scripted rebalances, losses and crashes in memory, and one real store: the whole
//! service except for the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use readcast::internals::health::Health;
use readcast::internals::metrics::Metrics;
use readcast::internals::operations::Policy;
use readcast::internals::source::memory::MemorySource;
use readcast::internals::store::sqlite::Sqlite;

use readcast::internals::supervisor::{self, Options, Outcomes, RunProgress, Shared};
use readcast::internals::worker::Limits;
use readcast::source::{Extents, Source, SourceError, Subscription};
use readcast::store::{self, Command, Deployment, Store};
use readcast_core::{Timestamp, TopicPartition};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::files_to_sqlite::seed;
use crate::oracle::assert_same;
use crate::rebuild::scene::{Instance, Scene, Seen};
use crate::shop::{FileShop, events, expected};
use crate::support::eventually::{PATIENCE, eventually};

const PARTITIONS: i32 = 4;
const PROJECTIONS: [&str; 3] = ["order_summary", "customer_orders", "product_sales"];

/// A log, a store, and members.
struct Group {
    shop: FileShop,
    log: MemorySource,
    store: Arc<dyn Store>,
    written: usize,
    members: JoinSet<Outcomes>,
    stop: CancellationToken,
}

impl Group {
    async fn new() -> Self {
        let shop = FileShop::new();
        let log = MemorySource::default();
        log.create("orders", PARTITIONS);
        log.cut_batches(7);
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&shop.database()).await.unwrap());
        Self { shop, log, store, written: 0, members: JoinSet::new(), stop: CancellationToken::new() }
    }

    fn write(&mut self, count: usize) {
        for (key, value) in events(self.written + count).skip(self.written) {
            let hash = key.bytes().fold(7_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
            self.log.append("orders", hash.rem_euclid(PARTITIONS), Some(&key), value);
        }
        self.written += count;
    }

    fn join(&mut self, seed: u64) {
        let metrics = Metrics::new();
        let shared = Shared {
            source: Arc::new(self.log.clone()),
            store: self.store.clone(),
            health: Health::new(&metrics, PROJECTIONS),
            metrics,
            deployment: Deployment::default(),
            instance: store::Instance::default(),
            dead_letter_sink: None,
            run_progress: RunProgress::default(),
            stop: self.stop.clone(),
        };
        let options = move |name: &str| Options {
            group: name.to_owned(),
            record_policy: Arc::default(),
            stall_after: Duration::from_secs(60),
            lanes: 2,
            limits: Limits { records: 20, bytes: 1 << 20 },
            // So small that batches wait for memory during rebalances.
            buffer_bytes: 8 << 10,
            until_end: false,
            policy: Policy::default(),
            seed,
        };
        self.members.spawn(async move {
            supervisor::run(&readcast_projections::registry(), options, shared, Duration::from_secs(10)).await
        });
    }

    async fn reach(&self, goal: usize) {
        let goal = i64::try_from(goal * PROJECTIONS.len()).unwrap();
        eventually(&format!("{goal} events are projected"), PATIENCE, async || {
            let progress = self.shop.progress().await;
            if progress >= goal { Ok(()) } else { Err(progress) }
        })
        .await;
    }

    async fn end(mut self) {
        self.reach(self.written).await;
        self.stop.cancel();
        while let Some(endings) = self.members.join_next().await {
            for (projection, ending) in endings.unwrap() {
                assert_eq!(ending, Ok(()), "{projection}");
            }
        }
        assert_same(&self.shop.tables().await, &expected(self.written));
    }
}

#[tokio::test]
async fn rebalances_in_the_middle_of_batches_leave_no_trace() {
    let seed = seed();
    let mut group = Group::new().await;
    (0..3).for_each(|member| group.join(seed + member));
    for round in 0..30 {
        group.write(100);
        group.log.rebalance(PROJECTIONS[round % 3]);
        group.reach(round * 60).await;
    }
    group.end().await;
}

#[tokio::test]
async fn a_member_that_lost_its_partitions_unknowingly_writes_nothing() {
    let seed = seed();
    let mut group = Group::new().await;
    (0..2).for_each(|member| group.join(seed + member));
    group.write(500);
    group.reach(200).await;
    for projection in PROJECTIONS {
        group.log.lose(projection, 0);
    }
    group.write(500);
    group.reach(900).await;
    for projection in PROJECTIONS {
        group.log.tell_lost(projection, 0);
    }
    group.write(500);
    group.end().await;
}

#[tokio::test]
async fn reading_continues_after_temporary_failures_of_the_log() {
    let mut group = Group::new().await;
    group.join(seed());
    for _ in 0..5 {
        group.write(100);
        group.log.fail_next(2);
    }
    group.end().await;
}

/// A log to which a record is appended and projected at each of the first few requests for its extents, so that each
/// response is outdated on arrival.
struct Overtaken {
    log: MemorySource,
    scene: Arc<Scene>,
    times: AtomicU32,
}

#[async_trait::async_trait]
impl Source for Overtaken {
    async fn extents(&self, topics: &[&str]) -> Result<Extents, SourceError> {
        let extents = self.log.extents(topics).await?;
        if self.times.fetch_add(1, Ordering::Relaxed) < 2 {
            self.log.append("orders", 0, Some("other"), events(1).last().unwrap().1);
            self.scene
                .execute("UPDATE readcast_checkpoints SET next_offset = next_offset + 1 WHERE partition = 0")
                .await;
        }
        Ok(extents)
    }

    async fn offsets_at(&self, topics: &[&str], at: Timestamp) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
        self.log.offsets_at(topics, at).await
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>, SourceError> {
        self.log.subscribe(group, topics).await
    }
}

#[tokio::test]
async fn a_log_that_grows_during_a_request_does_not_count_as_truncated() {
    let scene = Scene::on_sqlite().await;
    scene.log.append("orders", 0, Some("first"), events(1).last().unwrap().1);
    let first = scene.start([Seen::first()]);
    eventually("the first event is projected", PATIENCE, async || {
        let behind: i64 =
            scene.statuses().await.iter().flat_map(|status| &status.checkpoints).map(|at| at.next_offset).sum();
        if behind == 1 { Ok(()) } else { Err(behind) }
    })
    .await;
    first.stop().await;
    let (log, store) = (scene.log.clone(), scene.store.clone());
    let scene = Arc::new(scene);
    let source = Overtaken { log: log.clone(), scene: scene.clone(), times: AtomicU32::new(0) };
    let registry = readcast_core::Registry::new().register(Seen::first());
    let instance = Instance::start(Arc::new(source), store, "scene", registry, Policy::default());
    eventually("it comes to where the other has been, and on", PATIENCE, async || {
        let told = instance.verbose();
        assert!(!told.contains("halted"), "{told}");
        let live = scene.live().await;
        let end = log.extents(&["orders"]).await.unwrap()[&TopicPartition::new("orders", 0)].end;
        let stands = live.positions().get(&TopicPartition::new("orders", 0)).copied();
        if end == 3 && stands == Some(3) && told.starts_with("ready") { Ok(()) } else { Err(told) }
    })
    .await;
    instance.stop().await;
}

/// A log whose first subscription panics, which is a fault in the code of the feed that asks for it.
struct Panicking {
    log: MemorySource,
    subscriptions: AtomicU32,
}

#[async_trait::async_trait]
impl Source for Panicking {
    async fn extents(&self, topics: &[&str]) -> Result<Extents, SourceError> {
        self.log.extents(topics).await
    }

    async fn offsets_at(&self, topics: &[&str], at: Timestamp) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
        self.log.offsets_at(topics, at).await
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>, SourceError> {
        assert!(self.subscriptions.fetch_add(1, Ordering::Relaxed) > 0, "a fault");
        self.log.subscribe(group, topics).await
    }
}

#[tokio::test]
async fn a_panic_in_a_feed_halts_its_generation_until_an_operator_has_acted() {
    let mut scene = Scene::on_sqlite().await;
    scene.write(20);
    let source = Panicking { log: scene.log.clone(), subscriptions: AtomicU32::new(0) };
    let registry = readcast_core::Registry::new().register(Seen::first());
    let instance = Instance::start(Arc::new(source), scene.store.clone(), "scene", registry, Policy::default());
    eventually("health and the store say that the generation has halted", PATIENCE, async || {
        let health = instance.verbose();
        let recorded = scene.statuses().await.into_iter().find_map(|status| status.last_error).map(|error| error.text);
        let has_panicked = |text: &str| text.contains("panicked");
        let says = health.contains("halted") && has_panicked(&health) && recorded.as_deref().is_some_and(has_panicked);
        if says { Ok(()) } else { Err(format!("{health}\n{recorded:?}")) }
    })
    .await;
    scene.finished(scene.ask(&Command::AcceptLoss).await).await;
    scene.projects_all(1).await;
    eventually("it is ready", PATIENCE, async || {
        let health = instance.verbose();
        if health.starts_with("ready") { Ok(()) } else { Err(health) }
    })
    .await;
    instance.stop().await;
}
