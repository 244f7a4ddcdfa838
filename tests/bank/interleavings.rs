//! Lanes at random: any interleaving of the partitions, any cut into batches, commits that are given up half way, and
//! partitions that change their owner meanwhile.
//!
//! `READCAST_TEST_INTERLEAVINGS` says how many interleavings are tried on each store, and `READCAST_TEST_SEED` the seed of
//! the first; the next one has the next number.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use readcast::internals::store::postgres::Postgres;
use readcast::internals::store::sqlite::Sqlite;
use readcast::source::Extent;
use readcast::store::{Advance, Commit, CommitOutcome, Generation, Priority, Store, StoreError, Writer};
use readcast_core::{ChangeSet, Definition, Envelope, TopicPartition};
use readcast_projections::bank;
use readcast_projections::bank::sample::BankEvent;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::task::JoinSet;

use super::{PARTITIONS, events, expected, partition, queries};
use crate::files_to_sqlite::seed;
use crate::oracle::{Tables, assert_same, sorted};
use crate::shop::sqlite_rows;
use crate::support::postgres::Database;

const LANES: u64 = 4;
const EVENTS: usize = 1_200;
const INTERLEAVINGS: u64 = 10;

/// A partition of the log, which one lane has at a time.
struct Log {
    partition: TopicPartition,
    records: Vec<String>,
}

/// The partitions that no lane has. One that is read to its end does not come back.
type Unowned = Mutex<Vec<Log>>;

fn logs(events: &[BankEvent]) -> Vec<Log> {
    let topics = [bank::OWNERS, bank::ACCOUNTS, bank::TRANSFERS];
    let all = topics.iter().flat_map(|topic| (0..PARTITIONS).map(move |number| (*topic, number)));
    let log = |(topic, number): (&str, usize)| {
        let records = events.iter().filter(|event| event.topic == topic && partition(&event.key) == number);
        let partition = TopicPartition::new(topic, i32::try_from(number).unwrap());
        Log { partition, records: records.map(|event| event.json.clone()).collect() }
    };
    all.map(log).filter(|log| !log.records.is_empty()).collect()
}

/// One lane: owns a few partitions for a few commits, and gives them back.
struct Lane {
    store: Arc<dyn Store>,
    definition: Definition,
    random: fastrand::Rng,
}

impl Lane {
    /// Goes on until all partitions are read to their ends, by whichever lane.
    async fn run(mut self, unowned: Arc<Unowned>, unfinished: Arc<AtomicUsize>) {
        while unfinished.load(Ordering::Acquire) > 0 {
            let owned = self.take(&unowned);
            let count = owned.len();
            let given_back = if owned.is_empty() { owned } else { self.own(owned).await };
            unfinished.fetch_sub(count - given_back.len(), Ordering::AcqRel);
            unowned.lock().unwrap().extend(given_back);
            tokio::task::yield_now().await;
        }
    }

    fn take(&mut self, unowned: &Unowned) -> Vec<Log> {
        let mut unowned = unowned.lock().unwrap();
        let count = unowned.len().min(1 + self.random.usize(..4));
        (0..count)
            .map(|_| {
                let place = self.random.usize(..unowned.len());
                unowned.swap_remove(place)
            })
            .collect()
    }

    /// Owns the partitions for some commits. Returns those that are not at their end.
    async fn own(&mut self, mut owned: Vec<Log>) -> Vec<Log> {
        owned.sort_by(|one, other| one.partition.cmp(&other.partition));
        let writer = self.store.writer(&self.definition, Generation(1), Priority::Live.into()).await;
        let mut writer = writer.expect("a writer");
        let partitions: Vec<_> = owned.iter().map(|log| (log.partition.clone(), Extent::default())).collect();
        // On a busy machine a server may not answer in time. Nothing is claimed then, and somebody else goes on.
        let mut held = match writer.claim(&partitions).await {
            Err(StoreError::Unavailable { .. }) => return owned,
            claimed => claimed.expect("a claim"),
        };
        for _ in 0..1 + self.random.u32(..8) {
            let commit = self.commit(&owned, &held);
            if commit.advances.is_empty() {
                break;
            }
            // A process that is killed may have sent its COMMIT. The next owner learns from the checkpoint.
            if self.random.u32(..8) == 0 {
                let patience = Duration::from_micros(self.random.u64(..3_000));
                let _ = tokio::time::timeout(patience, writer.commit(&commit)).await;
                return owned;
            }
            for advance in committed(&mut *writer, &commit).await {
                let checkpoint = held.iter_mut().find(|held| held.partition == advance.partition).unwrap();
                checkpoint.next_offset = advance.to;
            }
        }
        let is_unfinished = |log: &Log| {
            let held = held.iter().find(|held| held.partition == log.partition).unwrap();
            held.next_offset < log.records.len() as i64
        };
        owned.into_iter().filter(is_unfinished).collect()
    }

    /// A batch of random records, in the order of each partition.
    fn commit(&mut self, owned: &[Log], held: &[readcast::store::Checkpoint]) -> Commit {
        let mut commit = Commit::default();
        for (log, held) in owned.iter().zip(held) {
            assert_eq!(log.partition, held.partition);
            let from = usize::try_from(held.next_offset).unwrap();
            let to = log.records.len().min(from + self.random.usize(..40));
            if from < to {
                self.project(log, from..to, &mut commit.changes);
                commit.advances.push(Advance {
                    partition: log.partition.clone(),
                    from: held.next_offset,
                    to: to as i64,
                    owner_epoch: held.owner_epoch,
                    parking_epoch: held.parking_epoch,
                    leader_epoch: None,
                });
            }
        }
        commit
    }

    fn project(&self, log: &Log, offsets: std::ops::Range<usize>, changes: &mut ChangeSet) {
        for offset in offsets {
            let position = log.partition.at(offset as i64);
            let event = Envelope::from_plain_json(position, None, log.records[offset].as_bytes()).expect("an event");
            let projected = self.definition.project(&event).expect("an event of the bank");
            projected.into_iter().for_each(|change| changes.push(change, self.definition.tables()));
        }
    }
}

/// Commits. Nothing but the creation of one row by two lanes at once may need another attempt: no lane waits for another
/// in a circle, or longer than a lock may take.
async fn committed(writer: &mut dyn Writer, commit: &Commit) -> Vec<Advance> {
    loop {
        match writer.commit(commit).await {
            Ok(CommitOutcome::Applied(_)) => return commit.advances.clone(),
            Err(StoreError::Unavailable { reason, .. }) if reason.contains("created one of the rows") => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Projects the events with lanes at random.
async fn interleave(store: Arc<dyn Store>, seed: u64, events: &[BankEvent]) {
    let registry = bank::registry();
    let definition = &registry.definitions()[0];
    store.migrate().await.expect("tables of ours");
    store.prepare(definition).await.expect("tables");
    let logs = logs(events);
    let unfinished = Arc::new(AtomicUsize::new(logs.len()));
    let unowned = Arc::new(Mutex::new(logs));
    let mut lanes = JoinSet::new();
    for number in 0..LANES {
        let random = fastrand::Rng::with_seed(seed.wrapping_mul(LANES).wrapping_add(number));
        let lane = Lane { store: store.clone(), definition: definition.clone(), random };
        lanes.spawn(lane.run(unowned.clone(), unfinished.clone()));
    }
    lanes.join_all().await;
}

fn interleavings() -> impl Iterator<Item = u64> {
    let count = std::env::var("READCAST_TEST_INTERLEAVINGS").map_or(INTERLEAVINGS, |text| text.parse().unwrap());
    let first = seed();
    (0..count).map(move |number| first.wrapping_add(number))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_interleaving_gives_the_same_tables_in_postgres() {
    for seed in interleavings() {
        println!("READCAST_TEST_SEED={seed}");
        let database = Database::create().await;
        let store = Arc::new(Postgres::new(database.options(), "public"));
        let events = events(seed, EVENTS);
        interleave(store, seed, &events).await;
        assert_same(&postgres_tables(&database).await, &expected(&events));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_interleaving_gives_the_same_tables_in_sqlite() {
    for seed in interleavings() {
        println!("READCAST_TEST_SEED={seed}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("read.db");
        let store = Arc::new(Sqlite::open(&path).await.expect("a new file"));
        let events = events(seed, EVENTS);
        interleave(store, seed, &events).await;
        assert_same(&sqlite_tables(&path).await, &expected(&events));
    }
}

pub(super) async fn postgres_tables(database: &Database) -> Tables {
    const TIME: &str = r#"to_char(booked_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#;
    let mut tables = Tables::new();
    for (table, query) in queries(TIME, "day", str::to_owned) {
        tables.insert(table, sorted(database.rows(&query).await));
    }
    tables
}

/// The tables as they are stored: exact texts.
pub(crate) async fn sqlite_tables(path: &std::path::Path) -> Tables {
    let mut client = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    let mut tables = Tables::new();
    for (table, query) in queries("booked_at", "day", |table| format!("{table}_g1")) {
        tables.insert(table, sorted(sqlite_rows(&mut client, &query).await.unwrap()));
    }
    tables
}
