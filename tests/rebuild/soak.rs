//! Rebuilds in a row, under a load of events and of readers, with kills wherever they hurt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use readcast::store::{GenerationState, OperationStore};
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;

use super::faults::Deployment;
use crate::files_to_sqlite::seed;
use crate::support::eventually::{PATIENCE, eventually};

const NAME: &str = "order_summary";
const ROUNDS: usize = 20;
/// Long enough for this machine to answer a reader that waits for nothing, and short beside a rebuild.
const LOCK_TIMEOUT: Duration = Duration::from_millis(1_000);

/// What readers must never see: an order whose lines are missing, as if its two tables were of two generations.
const TORN: &str = "
    SELECT count(*) FROM order_summary s
    WHERE status IN ('placed', 'paid', 'shipped') AND NOT EXISTS (SELECT FROM order_lines l WHERE l.order_id = s.order_id)";
const COUNT: &str = "SELECT count(*) FROM order_summary";
const POINT: &str = "SELECT order_id, status, item_count FROM order_summary WHERE order_id = 'ord_1'";

/// What the readers have seen.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    reads: AtomicU64,
    longest_wait_micros: AtomicU64,
    /// The same of a commit to a table that no swap touches: what the machine alone makes one wait.
    longest_wait_elsewhere_micros: AtomicU64,
}

impl Seen {
    fn read(&self, begun: Instant) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let waited = u64::try_from(begun.elapsed().as_micros()).unwrap();
        self.longest_wait_micros.fetch_max(waited, Ordering::Relaxed);
    }

    fn longest_wait(&self) -> Duration {
        Duration::from_micros(self.longest_wait_micros.load(Ordering::Relaxed))
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

/// Reads one row again and again, by statements that are parsed anew each time.
async fn simple_reader(mut reader: PgConnection, seen: Arc<Seen>) {
    while seen.goes_on() {
        let begun = Instant::now();
        let rows = sqlx::raw_sql(POINT).fetch_all(&mut reader).await.expect("a simple reader reads on");
        seen.read(begun);
        assert_eq!(rows.len(), 1, "an order that was there is there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Commits where no swap comes by. A swap too ends when the disk has its commit, however long that takes.
async fn bystander(mut connection: PgConnection, seen: Arc<Seen>) {
    sqlx::raw_sql("CREATE TABLE elsewhere AS SELECT 1 AS commits").execute(&mut connection).await.unwrap();
    while seen.goes_on() {
        let begun = Instant::now();
        let done = sqlx::raw_sql("UPDATE elsewhere SET commits = commits + 1").execute(&mut connection).await;
        done.expect("nobody is in the way of the bystander");
        let waited = u64::try_from(begun.elapsed().as_micros()).unwrap();
        seen.longest_wait_elsewhere_micros.fetch_max(waited, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Executes what it prepared before the first swap, and never sees the tables go back in the log.
async fn prepared_reader(mut reader: PgConnection, seen: Arc<Seen>) {
    let mut most = 0;
    while seen.goes_on() {
        let begun = Instant::now();
        let count: i64 = sqlx::query_scalar(COUNT).fetch_one(&mut reader).await.expect("a prepared reader reads on");
        seen.read(begun);
        assert!(count >= most, "readers were taken back from {most} orders to {count}");
        most = count;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Stays in a transaction for a while, in which nothing may change, and looks for tables that do not belong together.
async fn long_reader(mut reader: PgConnection, seen: Arc<Seen>) {
    while seen.goes_on() {
        let mut reading = reader.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
        let torn: i64 = sqlx::query_scalar(TORN).fetch_one(&mut *reading).await.expect("a long reader reads on");
        assert_eq!(torn, 0, "orders without their lines");
        let before: i64 = sqlx::query_scalar(COUNT).fetch_one(&mut *reading).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let after: i64 = sqlx::query_scalar(COUNT).fetch_one(&mut *reading).await.unwrap();
        assert_eq!(before, after, "a transaction saw two states");
        reading.rollback().await.unwrap();
        seen.reads.fetch_add(1, Ordering::Relaxed);
        // The swap needs a moment in which nobody reads for long.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Notes every checkpoint that moves back.
async fn watch_checkpoints(deployment: &Deployment) {
    let sql = "
        CREATE TABLE backwards (projection text, generation int, topic text, part int, was bigint, became bigint);
        CREATE FUNCTION backwards() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO public.backwards VALUES
                (new.projection, new.generation, new.topic, new.partition, old.next_offset, new.next_offset);
            RETURN new;
        END $$;
        CREATE TRIGGER backwards AFTER UPDATE ON readcast.checkpoints FOR EACH ROW
            WHEN (new.next_offset < old.next_offset OR new.owner_epoch < old.owner_epoch)
            EXECUTE FUNCTION backwards()";
    deployment.shop.database.execute(sql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_rebuilds_under_load_with_kills_swaps_and_rollbacks_are_not_noticed_by_any_reader() {
    const STEPS: [&str; 11] = [
        "",
        "rebuild_begun",
        "load_folded",
        "load_copying",
        "load_before_commit",
        "rebuild_index",
        "rebuild_compare",
        "rebuild_proven",
        "swap_begin",
        "swap_before_commit",
        "swap_after_commit",
    ];
    let begun = Instant::now();
    let mut random = fastrand::Rng::with_seed(seed());
    let mut deployment = Deployment::new(4).await;
    deployment.produce(2_000);
    deployment.shop.run_to_the_end().await;
    watch_checkpoints(&deployment).await;
    let lock_timeout = LOCK_TIMEOUT.as_millis().to_string();
    let settings = [("READCAST_SWAP_LOCK_TIMEOUT_MS", lock_timeout.as_str())];

    let seen = Arc::new(Seen::default());
    let mut readers = JoinSet::new();
    readers.spawn(simple_reader(deployment.shop.database.connect().await, seen.clone()));
    readers.spawn(bystander(deployment.shop.database.connect().await, seen.clone()));
    readers.spawn(prepared_reader(deployment.shop.database.connect().await, seen.clone()));
    readers.spawn(long_reader(deployment.shop.database.connect().await, seen.clone()));

    let (mut kills, mut swaps, mut rollbacks) = (0, 0, 0);
    let mut steady = deployment.start(&settings);
    for round in 0..ROUNDS {
        let step = STEPS[random.usize(0..STEPS.len())];
        let mut armed = settings.to_vec();
        armed.push(("READCAST_FAILPOINT", step));
        // The other way round now and then: the instance that has worked so far is the one that dies.
        let mut other = deployment.start(&armed);
        if random.bool() {
            steady.kill9();
            kills += 1;
        }
        deployment.produce(300);
        let mut asking = deployment.shop.start(&["rebuild", NAME], &[]);
        assert!(asking.wait().await.success(), "{}", asking.stderr());
        eventually(&format!("round {round}: the rebuild ends, killed at `{step}` or not"), 2 * PATIENCE, async || {
            if other.try_wait().is_some() && steady.try_wait().is_some() {
                steady = deployment.start(&settings);
            }
            deployment.produce(20);
            let operations = deployment.store.operations(NAME, 0).await.unwrap();
            match operations.first() {
                None => Ok(()),
                Some(open) => Err(format!("{open:?}")),
            }
        })
        .await;
        other.kill9();
        kills += 1;
        if steady.try_wait().is_some() {
            steady = deployment.start(&settings);
        }
        swaps += 1;
        if random.bool() {
            deployment.succeeds(&["rollback", NAME]).await;
            rollbacks += 1;
        }
        if random.bool() {
            deployment.succeeds(&["retire", NAME]).await;
        }
        let statuses = deployment.statuses().await;
        let live = statuses.iter().filter(|status| status.state == GenerationState::Live).count();
        assert_eq!(live, 1, "{statuses:?}");
        println!("round {round}, armed with `{step}`: so far a reader waited for {:.1?}", seen.longest_wait());
    }
    deployment.shows_everything().await;
    seen.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = readers.join_next().await {
        ended.expect("a reader saw an error");
    }
    let backwards = deployment.shop.database.rows("SELECT * FROM backwards").await;
    assert_eq!(backwards, Vec::<String>::new(), "checkpoints moved back");
    let longest = seen.longest_wait();
    let elsewhere = Duration::from_micros(seen.longest_wait_elsewhere_micros.load(Ordering::Relaxed));
    println!(
        "{swaps} rebuilds, {rollbacks} rollbacks, {kills} kills, {} events, {} reads, the longest wait {longest:.1?} (elsewhere {elsewhere:.1?}), in {:.0?}",
        deployment.written,
        seen.reads.load(Ordering::Relaxed),
        begun.elapsed()
    );
    assert!(longest < LOCK_TIMEOUT + elsewhere, "a reader waited for {longest:?}, elsewhere for {elsewhere:?}");
}
