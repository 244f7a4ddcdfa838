//! The faults of rebuilds, on a real Kafka and a real Postgres, with the real program. The number in a test's name is
//! that of its fault in tests/README.md.

use std::collections::BTreeMap;
use std::time::Duration;

use readcast::internals::store::postgres::Postgres;
use readcast::store::{GenerationState, GenerationStatus, StatusStore};
use sqlx::{Connection, Row};

use crate::oracle::assert_same;
use crate::shop::{KafkaShop, events, expected};
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::process::{Finished, Readcast};

const NAME: &str = "order_summary";
/// So that a partition that was added is noticed while a test waits.
const REFRESH: (&str, &str) = ("READCAST_KAFKA_TOPIC_METADATA_REFRESH_INTERVAL_MS", "500");

/// A shop, and what operators do with it.
pub(super) struct Deployment {
    pub(super) shop: KafkaShop,
    pub(super) store: Postgres,
    pub(super) written: usize,
    partitions: usize,
    /// Where the first event of each order went, and so all of its events: however many partitions there are by then.
    routes: BTreeMap<String, i32>,
}

impl Deployment {
    pub(super) async fn new(partitions: usize) -> Self {
        let shop = KafkaShop::new(partitions).await;
        let store = Postgres::new(shop.database.options(), "public");
        Self { shop, store, written: 0, partitions, routes: BTreeMap::new() }
    }

    pub(super) fn produce(&mut self, count: usize) {
        let partitions = i32::try_from(self.partitions).unwrap();
        let next = events(self.written + count).skip(self.written);
        let routes = &mut self.routes;
        let records = next.map(|(key, value)| {
            let new = i32::try_from(routes.len()).unwrap() % partitions;
            (Some(*routes.entry(key.clone()).or_insert(new)), key, value)
        });
        self.shop.kafka.produce(&self.shop.topic(), records);
        self.written += count;
    }

    /// Adds a partition to the topic, and events to all of them.
    async fn grow(&mut self) {
        self.partitions += 1;
        self.shop.kafka.add_partitions(&self.shop.topic(), self.partitions).await;
        self.produce(2_000);
    }

    pub(super) fn start(&self, envs: &[(&str, &str)]) -> Readcast {
        let mut all = vec![REFRESH];
        all.extend(envs);
        self.shop.start(&["run"], &all)
    }

    /// Types a command and waits for its end.
    pub(super) async fn types(&self, arguments: &[&str]) -> Finished {
        let mut typed = self.shop.start(arguments, &[]);
        let status = typed.wait().await;
        Finished { status, stdout: typed.stdout(), stderr: typed.stderr() }
    }

    pub(super) async fn succeeds(&self, arguments: &[&str]) -> String {
        let finished = self.types(arguments).await;
        assert!(finished.status.success(), "{arguments:?}: {finished:?}");
        finished.stdout
    }

    pub(super) async fn statuses(&self) -> Vec<GenerationStatus> {
        let mut statuses = self.store.generations().await.unwrap();
        statuses.retain(|status| status.projection == NAME);
        statuses
    }

    pub(super) async fn live(&self) -> i32 {
        let statuses = self.statuses().await;
        let live: Vec<_> = statuses.iter().filter(|status| status.state == GenerationState::Live).collect();
        assert_eq!(live.len(), 1, "{statuses:?}");
        live[0].generation.0
    }

    pub(super) async fn is(&self, generation: i32, state: GenerationState) {
        eventually(&format!("generation {generation} is {state}"), 2 * PATIENCE, async || {
            let statuses = self.statuses().await;
            let found = statuses.iter().find(|status| status.generation.0 == generation).map(|status| status.state);
            if found == Some(state) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }

    /// Waits until a generation has projected all that was produced.
    pub(super) async fn is_current(&self, generation: i32) {
        let ends: i64 = self.shop.kafka.end_offsets(&self.shop.topic()).await.iter().sum();
        eventually(&format!("generation {generation} is at {ends}"), 2 * PATIENCE, async || {
            let statuses = self.statuses().await;
            let status =
                statuses.iter().find(|status| status.generation.0 == generation).ok_or("it is not there".to_owned())?;
            let stands: i64 = status.checkpoints.iter().map(|held| held.next_offset).sum();
            if stands == ends { Ok(()) } else { Err(format!("{stands}, {:?}", status.last_error)) }
        })
        .await;
    }

    /// Everything is projected, and readers see the rows of an independent fold.
    pub(super) async fn shows_everything(&self) {
        eventually("all projections are current", 2 * PATIENCE, async || {
            let sql = "SELECT coalesce(sum(next_offset), 0)::bigint FROM readcast.checkpoints
                       JOIN readcast.generations USING (projection, generation) WHERE state = 'live'";
            let (stands, goal) = (self.shop.database.value(sql).await, self.shop.goal().await.to_string());
            if stands == goal { Ok(()) } else { Err(format!("{stands} of {goal}")) }
        })
        .await;
        assert_same(&self.shop.tables().await, &expected(self.written));
    }

    /// The rows of a generation's physical tables.
    pub(super) async fn physical(&self, generation: i32) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for table in ["order_summary", "order_lines"] {
            let sql = format!("SELECT t::text FROM readcast_tables.{table}_g{generation} AS t ORDER BY 1");
            rows.push(self.shop.database.rows(&sql).await);
        }
        rows
    }
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_rebuild_and_its_swap_leaves_one_generation_live() {
    let mut deployment = Deployment::new(3).await;
    deployment.produce(3_000);
    let steps = [
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
    for step in steps {
        let mut doomed = deployment.start(&[("READCAST_FAILPOINT", step)]);
        doomed.wait_for_line(|line| line.contains("partition claimed")).await;
        let before = deployment.live().await;
        let mut asking = deployment.shop.start(&["rebuild", NAME], &[]);
        assert!(asking.wait().await.success(), "{}", asking.stderr());
        doomed.dies_at(step).await;
        let after = deployment.live().await;
        assert_eq!(after == before, step != "swap_after_commit", "{step}: generation {before} was live, now {after}");
        deployment.produce(200);
        let heir = deployment.start(&[]);
        // The heir takes the same operation to its end; after the swap there is none left.
        let expected = before + 1;
        deployment.is(expected, GenerationState::Live).await;
        deployment.shows_everything().await;
        drop(heir);
    }
}

/// What a rebuild holds in memory is bounded, and what it writes to the disk meanwhile goes with it.
#[tokio::test]
async fn a_rebuild_stays_within_its_budget_and_leaves_no_file() {
    const BUDGET: u64 = 16 << 20;
    let mut deployment = Deployment::new(3).await;
    deployment.produce(240_000);
    deployment.shop.run_to_the_end().await;
    let folder = tempfile::tempdir().unwrap();
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    let settings = [("READCAST_BUFFER_BYTES", "16 MiB"), ("READCAST_SPOOL_DIRECTORY", folder.path().to_str().unwrap())];
    let mut doomed = deployment.start(&[settings[0], settings[1], ("READCAST_FAILPOINT", "load_folded")]);
    let mut asking = deployment.shop.start(&["rebuild", NAME], &[]);
    assert!(asking.wait().await.success());
    doomed.dies_at("load_folded").await;
    assert_eq!(files(), 0);
    let mut instance = deployment.start(&settings);
    let folded = instance.wait_for_line(|line| line.contains("the log is folded")).await;
    let on_disk = folded.split("file_bytes=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(on_disk.parse::<u64>().unwrap() > 0, "it all fits into memory: {folded}");
    deployment.is(2, GenerationState::Live).await;
    deployment.shows_everything().await;
    assert_eq!(files(), 0);
    // What the book tells operators to count: a buffer of records and one of rows, four times each in the worst case,
    // and the process. The three projections stand at the end of the log and hold nothing.
    let (resident, most) = (instance.peak_memory(), 4 * 2 * BUDGET + (64 << 20));
    assert!(resident <= most, "{resident} bytes resident, and the most is {most}");
    drop(instance);
}

#[tokio::test]
async fn two_instances_that_swap_at_once_swap_once_and_a_rollback_undoes_it() {
    let mut deployment = Deployment::new(4).await;
    deployment.produce(5_000);
    let (first, second) = (deployment.start(&[]), deployment.start(&[]));
    deployment.is_current(1).await;
    deployment.succeeds(&["rebuild", NAME, "--wait", "--no-activate"]).await;
    assert_eq!(deployment.live().await, 1);
    // Two operators, at once.
    let mut activating =
        [deployment.shop.start(&["activate", NAME], &[]), deployment.shop.start(&["activate", NAME], &[])];
    for typed in &mut activating {
        typed.wait().await;
    }
    assert!(activating.iter_mut().any(|typed| typed.try_wait().is_some_and(|status| status.success())));
    assert_eq!(deployment.live().await, 2);
    deployment.produce(1_000);
    deployment.succeeds(&["rollback", NAME]).await;
    assert_eq!(deployment.live().await, 1);
    deployment.shows_everything().await;
    deployment.is_current(2).await;
    assert_eq!(deployment.physical(1).await, deployment.physical(2).await);
    drop((first, second));
}

#[tokio::test]
async fn a_long_read_delays_the_swap_but_no_other_reader() {
    let mut deployment = Deployment::new(2).await;
    deployment.produce(2_000);
    let lock_timeout = Duration::from_millis(400);
    let instance = deployment.start(&[("READCAST_SWAP_LOCK_TIMEOUT_MS", "400")]);
    deployment.is_current(1).await;
    let mut long = deployment.shop.database.connect().await;
    let mut reading = long.begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM order_summary").execute(&mut *reading).await.unwrap();
    let mut asking = deployment.shop.start(&["rebuild", NAME], &[]);
    assert!(asking.wait().await.success());
    let waits = "SELECT count(*) FROM readcast.operations WHERE progress ->> 'phase' LIKE 'swap: waiting for readers%'";
    let mut reader = deployment.shop.database.connect().await;
    let mut longest = Duration::ZERO;
    eventually("the swap waits for the reader", PATIENCE, async || {
        let begun = std::time::Instant::now();
        sqlx::query("SELECT status FROM order_summary LIMIT 1").execute(&mut reader).await.unwrap();
        longest = longest.max(begun.elapsed());
        if deployment.shop.database.value(waits).await == "1" { Ok(()) } else { Err("it does not") }
    })
    .await;
    for _ in 0..200 {
        let begun = std::time::Instant::now();
        sqlx::query("SELECT status FROM order_summary LIMIT 1").execute(&mut reader).await.unwrap();
        longest = longest.max(begun.elapsed());
    }
    assert_eq!(deployment.live().await, 1, "somebody still reads it");
    reading.rollback().await.unwrap();
    deployment.is(2, GenerationState::Live).await;
    println!("the longest wait of a reader was {longest:?}");
    assert!(longest < lock_timeout, "a reader waited for {longest:?}");
    deployment.shows_everything().await;
    drop(instance);
}

#[tokio::test]
async fn prepared_statements_of_readers_survive_swaps() {
    let mut deployment = Deployment::new(2).await;
    deployment.produce(1_000);
    let instance = deployment.start(&[]);
    deployment.is_current(1).await;
    let mut reader = deployment.shop.database.connect().await;
    // Prepared once, before any swap, and executed by name ever after.
    let prepare = "PREPARE reading AS SELECT order_id, status, total_amount::text FROM order_summary ORDER BY order_id";
    sqlx::raw_sql(prepare).execute(&mut reader).await.unwrap();
    let read = async |reader: &mut sqlx::PgConnection| {
        sqlx::raw_sql("EXECUTE reading").fetch_all(reader).await.expect("readers read on")
    };
    let orders = read(&mut reader).await.len();
    for generation in [2, 3] {
        deployment.succeeds(&["rebuild", NAME, "--wait"]).await;
        assert_eq!(deployment.live().await, generation);
        let rows = read(&mut reader).await;
        assert_eq!(rows.len(), orders);
        assert!(rows.iter().all(|row| row.try_get_raw("status").is_ok()));
    }
    deployment.succeeds(&["rollback", NAME]).await;
    assert_eq!(read(&mut reader).await.len(), orders);
    reader.close().await.unwrap();
    drop(instance);
}

#[tokio::test]
async fn a_writer_of_the_old_generation_that_wakes_after_the_swap_does_not_touch_the_new_one() {
    let mut deployment = Deployment::new(2).await;
    deployment.produce(2_000);
    let mut zombie = deployment.start(&[("READCAST_BATCH_RECORDS", "50")]);
    zombie.wait_for_line(|line| line.contains("partition claimed")).await;
    deployment.produce(20_000);
    eventually("it is in the middle of its work", PATIENCE, async || {
        let progress = deployment.shop.progress().await;
        if progress > 6_500 { Ok(()) } else { Err(progress) }
    })
    .await;
    zombie.stop();
    let heir = deployment.start(&[]);
    deployment.is_current(1).await;
    deployment.succeeds(&["rebuild", NAME, "--wait"]).await;
    let rows = deployment.physical(2).await;
    zombie.cont();
    zombie.wait_for_line(|line| line.contains("fenced") || line.contains("partitions revoked")).await;
    deployment.is_current(1).await;
    deployment.is_current(2).await;
    assert_eq!(deployment.physical(2).await, rows);
    deployment.shows_everything().await;
    drop(heir);
}

#[tokio::test]
async fn retention_that_overtakes_a_rebuild_stops_it_with_the_gap_and_readers_are_unaffected() {
    const COUNT: usize = 10_000;
    let mut deployment = Deployment::new(1).await;
    deployment.produce(COUNT);
    deployment.shop.run_to_the_end().await;
    // All is read and nothing is written when it dies.
    let mut doomed = deployment.start(&[("READCAST_FAILPOINT", "load_folded")]);
    let mut asking = deployment.shop.start(&["rebuild", NAME], &[]);
    assert!(asking.wait().await.success());
    doomed.dies_at("load_folded").await;
    let stood: i64 = deployment.statuses().await[1].checkpoints.iter().map(|held| held.next_offset).sum();
    assert_eq!(stood, 0, "a checkpoint moves with the rows");
    let start = COUNT as i64 / 2;
    deployment.shop.kafka.delete_records(&deployment.shop.topic(), 0, start).await;
    let instance = deployment.start(&[]);
    eventually("the gap is told", PATIENCE, async || {
        let statuses = deployment.statuses().await;
        let error = statuses[1].last_error.as_ref().map(|error| error.text.clone()).unwrap_or_default();
        if error.contains(&format!("gap [{stood}, {start})")) { Ok(()) } else { Err(error) }
    })
    .await;
    let status = deployment.succeeds(&["status"]).await;
    assert!(status.contains("gap [") && status.contains("readcast cancel"), "{status}");
    // Readers and the live generation go on.
    deployment.produce(1_000);
    deployment.shows_everything().await;
    deployment.succeeds(&["cancel", NAME]).await;
    let finished = deployment.types(&["rebuild", NAME, "--wait"]).await;
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    let told = finished.stdout + &finished.stderr;
    assert!(told.contains("truncated history") && told.contains(&format!("[0, {start}) is gone")), "{told}");
    deployment.shows_everything().await;
    drop(instance);
}

#[tokio::test]
async fn partitions_added_during_a_rebuild_are_in_the_new_tables() {
    let mut deployment = Deployment::new(2).await;
    deployment.produce(5_000);
    let instance = deployment.start(&[]);
    deployment.is_current(1).await;
    deployment.grow().await;
    deployment.is_current(1).await;
    // During a rebuild.
    let mut asking = deployment.shop.start(&["rebuild", NAME, "--no-activate"], &[]);
    assert!(asking.wait().await.success());
    deployment.grow().await;
    deployment.is(2, GenerationState::Ready).await;
    // Between the end of its catching up and the swap.
    deployment.grow().await;
    let partitions = deployment.shop.kafka.end_offsets(&deployment.shop.topic()).await;
    assert_eq!(partitions.len(), 5);
    deployment.succeeds(&["activate", NAME]).await;
    assert_eq!(deployment.live().await, 2);
    deployment.is_current(2).await;
    deployment.shows_everything().await;
    drop(instance);
}

#[tokio::test]
async fn records_deleted_after_the_checkpoint_halt_with_the_gap_and_refuse_a_rebuild() {
    let mut deployment = Deployment::new(1).await;
    deployment.produce(100);
    deployment.shop.run_to_the_end().await;
    deployment.produce(200);
    deployment.shop.kafka.delete_records(&deployment.shop.topic(), 0, 250).await;
    let mut instance = deployment.shop.start(&["run", "--until-end"], &[]);
    assert_eq!(instance.wait().await.code(), Some(1));
    assert!(instance.stderr().contains("gap [100, 250)"), "{}", instance.stderr());
    assert_same(&deployment.shop.tables().await, &expected(100));
    let finished = deployment.types(&["rebuild", NAME, "--wait"]).await;
    let told = finished.stdout + &finished.stderr;
    assert!(!finished.status.success() && told.contains("[0, 250) is gone, 250 offsets"), "{told}");
    // Nor with the operator's word: the live tables can't come to where the new ones would begin.
    let finished = deployment.types(&["rebuild", NAME, "--wait", "--accept-truncated"]).await;
    let told = finished.stdout + &finished.stderr;
    assert!(
        !finished.status.success() && told.contains("gap [100, 250)") && told.contains("lost-log.md#starting-over"),
        "{told}"
    );
    assert_same(&deployment.shop.tables().await, &expected(100));
}

#[tokio::test]
async fn a_recreated_topic_halts_whatever_its_length() {
    // As many records as before, fewer partitions, and more records than we have read.
    for (partitions, count) in [(2, 300), (1, 300), (2, 3_000)] {
        let deployment = Deployment::new(2).await;
        deployment.shop.produce(events(300));
        deployment.shop.run_to_the_end().await;
        let topic = deployment.shop.topic();
        deployment.shop.kafka.delete_topic(&topic).await;
        deployment.shop.kafka.create_topic(&topic, partitions).await;
        let records = events(count).map(|(key, value)| (Some(0), key, value));
        deployment.shop.kafka.produce(&topic, records);
        let mut instance = deployment.shop.start(&["run", "--until-end"], &[]);
        assert_eq!(instance.wait().await.code(), Some(1), "{}", instance.stderr());
        let told = instance.stderr();
        assert!(told.contains("recreated: this is another log of the same name"), "{told}");
        assert_same(&deployment.shop.tables().await, &expected(300));
    }
}
