//! Several members of a group, with rebalances, losses and crashes scripted in memory, over one real store: the whole
//! projector but for the log.

use std::sync::Arc;
use std::time::Duration;

use readcast::decode::Format;
use readcast::health::Health;
use readcast::metrics::Metrics;
use readcast::rebuild::Policy;
use readcast::source::memory::MemorySource;
use readcast::store::Store;
use readcast::store::sqlite::Sqlite;
use readcast::supervisor::{self, Endings, Goals, Options, Shared};
use readcast::worker::Limits;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::files_to_sqlite::seed;
use crate::oracle::assert_same;
use crate::shop::{FileShop, events, expected};
use crate::support::eventually::{PATIENCE, eventually};

const PARTITIONS: i32 = 4;
const PROJECTIONS: [&str; 3] = ["order_summary", "customer_orders", "product_sales"];

/// A log, a store, and members between them.
struct Group {
    shop: FileShop,
    log: MemorySource,
    store: Arc<dyn Store>,
    written: usize,
    members: JoinSet<Endings>,
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
            goals: Goals::default(),
            stop: self.stop.clone(),
        };
        let options = move |name: &str| Options {
            group: name.to_owned(),
            format: Format::default(),
            lanes: 2,
            limits: Limits { records: 20, bytes: 1 << 20 },
            // So little that batches wait for memory across rebalances.
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
async fn a_member_that_has_lost_its_partitions_without_knowing_writes_nothing() {
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
async fn a_log_that_fails_now_and_then_is_read_on() {
    let mut group = Group::new().await;
    group.join(seed());
    for _ in 0..5 {
        group.write(100);
        group.log.fail_next(2);
    }
    group.end().await;
}
