//! Random schedules of faults: whatever strikes, and in whatever order, the tables and checkpoints come out right.
//!
//! `READCAST_TEST_SCHEDULES` says how many schedules are run, and `READCAST_TEST_SEED` the seed of the first; the next one
//! has the next number.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{cut_connections, slow_database};
use crate::files_to_sqlite::seed;
use crate::shop::{KafkaShop, PROJECTIONS, events};
use crate::support::process::Readcast;
use crate::support::proxy::{self, Moment, Proxy, Statement};

const SCHEDULES: u64 = 3;
const STEPS: usize = 16;
const PARTITIONS: usize = 3;
/// More than there are partitions: some stand by.
const MOST_INSTANCES: usize = 4;
/// How much later the next step may come, in milliseconds. When a fault strikes is a part of the schedule.
const LONGEST_PAUSE: u64 = 300;
/// So that partitions of the dead and the frozen move within a schedule, and commits are many.
const SETTINGS: [(&str, &str); 4] = [
    // As far back as any duplicate comes.
    ("READCAST_DUPLICATE_WINDOW", "1000000"),
    ("READCAST_BATCH_RECORDS", "40"),
    ("READCAST_KAFKA_SESSION_TIMEOUT_MS", "1000"),
    ("READCAST_KAFKA_HEARTBEAT_INTERVAL_MS", "200"),
];

/// A step of a schedule. A new kind is a variant here and an arm in [`Scene::strike`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// `kill -9`.
    Kill,
    /// SIGSTOP, until it is thawed.
    Freeze,
    /// SIGCONT to one that was stopped.
    Thaw,
    /// Every connection to the database ends.
    Disconnect,
    /// A connection is cut just before or just after the server carries out its COMMIT.
    CutCommit,
    /// Every transaction takes longer, or no longer.
    SlowDatabase,
    /// Another instance.
    Join,
    /// An instance ends in good order.
    Leave,
    /// A record that is no event, and events of its key behind it, which no projection may touch.
    Poison,
    /// Events that were written before are written again.
    Duplicates,
    /// No fault: a batch of events.
    Events,
}

impl Fault {
    const ALL: [Fault; 11] = [
        Fault::Kill,
        Fault::Freeze,
        Fault::Thaw,
        Fault::Disconnect,
        Fault::CutCommit,
        Fault::SlowDatabase,
        Fault::Join,
        Fault::Leave,
        Fault::Poison,
        Fault::Duplicates,
        Fault::Events,
    ];
}

/// A shop, and what has been done to it.
struct Scene {
    shop: KafkaShop,
    proxy: Proxy,
    random: fastrand::Rng,
    running: Vec<Readcast>,
    frozen: Vec<Readcast>,
    events: usize,
    /// How many records wait, in each projection.
    poisoned: usize,
    struck: BTreeMap<Fault, u32>,
    recoveries: BTreeMap<&'static str, usize>,
}

impl Scene {
    async fn new(seed: u64) -> Self {
        let shop = KafkaShop::journalled(PARTITIONS).await;
        let proxy = Proxy::start(shop.database.url());
        let mut scene = Self {
            shop,
            proxy,
            random: fastrand::Rng::with_seed(seed),
            running: Vec::new(),
            frozen: Vec::new(),
            events: 0,
            poisoned: 0,
            struck: BTreeMap::new(),
            recoveries: BTreeMap::new(),
        };
        scene.produce();
        scene.join();
        scene.join();
        scene
    }

    /// Strikes if there is something to strike at.
    async fn strike(&mut self, fault: Fault) {
        let instances = self.running.len() + self.frozen.len();
        match fault {
            Fault::Kill if !self.running.is_empty() => {
                let mut killed = self.take_running();
                killed.kill9();
                self.count_recoveries(&killed);
            }
            Fault::Freeze if !self.running.is_empty() => {
                let mut frozen = self.take_running();
                frozen.stop();
                self.frozen.push(frozen);
            }
            Fault::Thaw if !self.frozen.is_empty() => {
                let mut thawed = self.frozen.swap_remove(self.random.usize(..self.frozen.len()));
                thawed.cont();
                self.running.push(thawed);
            }
            Fault::Disconnect => cut_connections(&self.shop).await,
            Fault::CutCommit => {
                let moment = if self.random.bool() { Moment::Before } else { Moment::After };
                self.proxy.arm(moment(Statement::Commit), proxy::Fault::Cut, self.random.u32(1..=5));
            }
            Fault::SlowDatabase => {
                let millis = [0, 20, 100][self.random.usize(..3)];
                slow_database(&self.shop, Duration::from_millis(millis)).await;
            }
            Fault::Join if instances < MOST_INSTANCES => self.join(),
            Fault::Leave if !self.running.is_empty() => {
                let mut leaving = self.take_running();
                leaving.ends_well().await;
                self.count_recoveries(&leaving);
            }
            Fault::Poison => self.poison(),
            Fault::Duplicates => {
                let from = self.random.usize(..self.events);
                self.shop.produce(events(self.events.min(from + 50)).skip(from));
            }
            Fault::Events => self.produce(),
            Fault::Kill | Fault::Freeze | Fault::Thaw | Fault::Join | Fault::Leave => return,
        }
        *self.struck.entry(fault).or_default() += 1;
    }

    /// What was in the way is over, and everything gets projected.
    async fn heal(&mut self) {
        slow_database(&self.shop, Duration::ZERO).await;
        while !self.frozen.is_empty() {
            self.strike(Fault::Thaw).await;
        }
        if self.running.is_empty() {
            self.join();
        }
        self.shop.catches_up().await;
        for mut instance in std::mem::take(&mut self.running) {
            instance.ends_well().await;
            self.count_recoveries(&instance);
        }
        self.shop.assert_invariants(self.events).await;
        self.assert_what_is_parked().await;
    }

    /// Whatever was poisoned waits, in order, in every projection, and nothing else does.
    async fn assert_what_is_parked(&self) {
        let parked = "SELECT count(*) FROM readcast.dead_letters GROUP BY projection";
        let counts = self.shop.database.rows(parked).await;
        let expected = if self.poisoned == 0 { Vec::new() } else { vec![self.poisoned.to_string(); PROJECTIONS.len()] };
        assert_eq!(counts, expected);
        let heads =
            "SELECT DISTINCT reason FROM readcast.quarantine WHERE records_behind <> 2 OR reason <> 'undecodable'";
        assert_eq!(self.shop.database.rows(heads).await, Vec::<String>::new());
    }

    fn join(&mut self) {
        self.running.push(self.shop.start_with(&["run"], &self.proxy.url(), &SETTINGS));
    }

    fn take_running(&mut self) -> Readcast {
        self.running.swap_remove(self.random.usize(..self.running.len()))
    }

    fn produce(&mut self) {
        let count = self.random.usize(200..1_500);
        self.shop.produce(events(self.events + count).skip(self.events));
        self.events += count;
    }

    /// The events behind it would change tables, if any projection took them.
    fn poison(&mut self) {
        let key = format!("poison-{}", self.poisoned);
        let behind = events(2).map(|(id, event)| event.replace(&id, &key).replace("evt_", &format!("evt_{key}_")));
        let records: Vec<_> =
            std::iter::once("{\"torn".to_owned()).chain(behind).map(|value| (key.clone(), value)).collect();
        self.poisoned += records.len();
        self.shop.produce(records.into_iter());
    }

    fn count_recoveries(&mut self, instance: &Readcast) {
        let log = instance.stderr();
        for sign in ["partition claimed", "transaction failed", "feed failed", "fenced"] {
            *self.recoveries.entry(sign).or_default() += log.matches(sign).count();
        }
    }
}

async fn run_schedule(seed: u64) {
    println!("READCAST_TEST_SEED={seed} READCAST_TEST_SCHEDULES=1");
    let begun = Instant::now();
    let mut scene = Scene::new(seed).await;
    for _ in 0..STEPS {
        let fault = Fault::ALL[scene.random.usize(..Fault::ALL.len())];
        scene.strike(fault).await;
        tokio::time::sleep(Duration::from_millis(scene.random.u64(..LONGEST_PAUSE))).await;
    }
    scene.heal().await;
    let Scene { events, struck, recoveries, .. } = &scene;
    println!("{events} events, {struck:?}, recoveries: {recoveries:?}, in {:.1?}", begun.elapsed());
}

#[tokio::test]
async fn tables_and_checkpoints_are_correct_after_any_schedule_of_faults() {
    let schedules = std::env::var("READCAST_TEST_SCHEDULES").map_or(SCHEDULES, |count| count.parse().unwrap());
    let first = seed();
    for seed in first..first.saturating_add(schedules) {
        run_schedule(seed).await;
    }
}
