//! What a server with many writers has to promise.

use std::time::Duration;

use readcast::internals::config::{Config, Environment, Overrides, StoreOptions};
use readcast::internals::store::postgres::Postgres;
use readcast::store::{
    Commit, CommitOutcome, CommitStore, Difference, Generation, LedgerEntry, LedgerPage, Priority, SchemaStore,
    StatusStore, StoreError,
};
use readcast_core::{ColumnType, Json, TableSpec, TopicPartition};
use sqlx::{AssertSqlSafe, Executor};

use super::commits::{assert_counts, counted, counters};
use super::comparisons::{compare, only, sample};
use super::lane::{Lane, changes, definition};
use super::lifecycle::{begin, copied};
use super::subject::Subject;
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::postgres::Database;

/// Rows that were not there when a commit looked, and are when it writes: it is tried again, and finds them then.
#[tokio::test]
async fn a_row_that_another_writer_creates_at_the_same_time_is_retried() {
    let table = TableSpec::new("lines")
        .key("parent", ColumnType::I32)
        .key("line", ColumnType::I32)
        .column("writer", ColumnType::I32);
    let tables = [table];
    let definition = definition(tables.clone());
    let database = Database::create().await;
    let store = Postgres::new(database.options(), "public");
    store.migrate().await.expect("tables of ours");
    store.prepare(&definition).await.expect("tables");
    let mut writer = store.writer(&definition, Generation(1), Priority::Live.into()).await.expect("a writer");
    let partition = TopicPartition::new("log", 0);
    let claimed = writer.claim(&[(partition.clone(), Default::default())]).await.expect("a claim").remove(0);
    let advance = readcast::store::Advance {
        partition,
        from: 0,
        to: 1,
        owner_epoch: claimed.owner_epoch,
        parking_epoch: claimed.parking_epoch,
        leader_epoch: None,
    };
    let changes = changes(&tables, |changes| {
        let line = |line: i32| vec![line.into(), 1.into()];
        changes.replace_children("lines", [7], (0..3).map(line));
    });
    let commit = Commit { advances: vec![advance], changes, ..Commit::default() };

    let mut other = database.connect().await;
    other.execute("BEGIN").await.expect("a transaction");
    let insert = "INSERT INTO readcast_tables.lines_g1 VALUES (7, 1, 2), (7, 9, 2)";
    other.execute(AssertSqlSafe(insert)).await.expect("rows that nobody sees yet");
    let meeting = async {
        let waits = "SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock'";
        eventually("the commit waits for the row", PATIENCE, async || match database.value(waits).await.as_str() {
            "1" => Ok(()),
            count => Err(format!("{count} wait")),
        })
        .await;
        other.execute("COMMIT").await.expect("now they are there");
    };
    let (met, ()) = tokio::join!(writer.commit(&commit), meeting);
    assert!(matches!(met, Err(StoreError::Unavailable { .. })), "{met:?}");
    let again = writer.commit(&commit).await;
    assert!(matches!(again, Ok(CommitOutcome::Applied(_))), "{again:?}");
    let rows = database.rows("SELECT line, writer FROM lines ORDER BY line").await;
    assert_eq!(rows, ["0|1", "1|1", "2|1"]);
}

/// A report, a dump, an abandoned session: no version of a row that is replaced meanwhile can be removed, and an index
/// leads to all of them. What a commit costs must not grow with their number: work is counted here, not time.
#[tokio::test]
async fn a_commit_does_not_walk_through_the_versions_that_an_open_transaction_keeps() {
    const COMMITS: i64 = 300;
    let subject = Subject::postgres().await;
    let database = subject.database();
    let mut lane = Lane::claim(&subject, &definition(counters())).await;
    let mut reader = database.connect().await;
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM counters").await.expect("a snapshot");
    for offset in 0..COMMITS {
        let entries = vec![LedgerEntry::of_event(offset, &offset.to_be_bytes(), b"content")];
        let page = LedgerPage { partition: lane.partition.clone(), to: offset + 1, entries, forget_to: offset - 4 };
        let commit = Commit { changes: counted(&[&format!("c{offset}")]), ledger: vec![page], ..Commit::default() };
        assert!(matches!(lane.step(1, commit).await, Ok(CommitOutcome::Applied(_))));
    }
    // Its connection ends, and with it the server's counting.
    drop(lane);
    let counted = |name: &str| format!("SELECT {name} FROM pg_stat_all_indexes WHERE schemaname = 'readcast' AND ");
    eventually("all commits are counted", PATIENCE, async || {
        let updates =
            "SELECT n_tup_upd FROM pg_stat_all_tables WHERE schemaname = 'readcast' AND relname = 'checkpoints'";
        let updates: i64 = database.value(updates).await.parse().expect("a number");
        if updates >= COMMITS { Ok(()) } else { Err(updates) }
    })
    .await;
    let of = async |name: &str, index: &str| -> i64 {
        let value = database.value(&format!("{} indexrelname = '{index}'", counted(name))).await;
        value.parse().expect("a number")
    };
    let looked_up = of("idx_scan", "checkpoints_pkey").await;
    assert!(looked_up < 10, "a checkpoint was looked up by its key {looked_up} times in {COMMITS} commits");
    let pages = of("idx_tup_read", "ledger_pkey").await;
    assert!(pages < 3 * COMMITS, "{pages} entries of the ledger's index were read in {COMMITS} commits");
    assert_eq!(database.value("SELECT count(*) FROM readcast.ledger").await, "5", "those out of reach are gone");
    reader.execute("COMMIT").await.expect("the reader ends");
}

/// The row of a checkpoint goes elsewhere, and something else comes to be where it was.
#[tokio::test]
async fn a_commit_finds_a_checkpoint_that_vacuum_has_moved_and_takes_no_other_row_for_it() {
    let subject = Subject::postgres().await;
    let mut lane = Lane::claim_partition(&subject, &definition(counters()), 0).await;
    let mut other = Lane::claim_partition(&subject, &definition(counters()), 1).await;
    let moves = [
        "VACUUM FULL readcast.checkpoints",
        "VACUUM readcast.checkpoints",
        "CLUSTER readcast.checkpoints USING checkpoints_pkey",
        // The places of the two are exchanged.
        "CREATE TEMP TABLE kept AS SELECT * FROM readcast.checkpoints;
         TRUNCATE readcast.checkpoints CASCADE;
         INSERT INTO readcast.checkpoints SELECT * FROM kept ORDER BY partition DESC",
    ];
    for moved in moves.iter().cycle().take(12) {
        for lane in [&mut lane, &mut other] {
            assert!(matches!(lane.commit(counted(&["a"])).await, Ok(CommitOutcome::Applied(_))), "before {moved}");
        }
        subject.execute(moved).await;
        for lane in [&mut lane, &mut other] {
            assert!(matches!(lane.commit(counted(&["a"])).await, Ok(CommitOutcome::Applied(_))), "after {moved}");
        }
    }
    assert_eq!(subject.positions().await, [(0, 24), (1, 24)]);
    assert_counts(subject.rows(&counters()[0]).await, &[("a", 48)]);
}

/// A commit that waits for somebody who is just holding its checkpoint decides by what stands there afterwards.
#[tokio::test]
async fn a_commit_that_waits_for_a_hold_respects_it_and_goes_on_before_it() {
    let subject = Subject::postgres().await;
    let database = subject.database();
    let mut lane = Lane::claim(&subject, &definition(counters())).await;
    for (hold_at, expected) in [(9, None), (1, Some(1))] {
        // The first commit of all, and one that knows where the row is.
        assert!(lane.next_offset < 2);
        let mut holder = database.connect().await;
        let hold = format!("BEGIN; UPDATE readcast.checkpoints SET hold_at = {hold_at}, hold_until = 'infinity'");
        holder.execute(AssertSqlSafe(hold)).await.expect("a hold that nobody sees yet");
        let meeting = async {
            let waits = "SELECT count(*) FROM pg_stat_activity
                         WHERE datname = current_database() AND wait_event_type = 'Lock'";
            eventually("the commit waits for the row", PATIENCE, async || match database.value(waits).await.as_str() {
                "1" => Ok(()),
                count => Err(format!("{count} wait")),
            })
            .await;
            holder.execute("COMMIT").await.expect("it is held");
        };
        let (met, ()) = tokio::join!(lane.commit(counted(&["a"])), meeting);
        match expected {
            None => assert!(matches!(met, Ok(CommitOutcome::Applied(_))), "{met:?}"),
            Some(at) => assert_eq!(met, Ok(CommitOutcome::Held(vec![(lane.partition.clone(), at)]))),
        }
    }
    assert_eq!(subject.positions().await, [(0, 1)]);
    subject.execute("UPDATE readcast.checkpoints SET hold_at = NULL").await;
    assert!(matches!(lane.commit(counted(&["a"])).await, Ok(CommitOutcome::Applied(_))));
    assert_counts(subject.rows(&counters()[0]).await, &[("a", 2)]);
}

#[tokio::test]
async fn who_holds_the_oldest_snapshot_is_told_with_what_to_do() {
    let subject = Subject::postgres().await;
    let database = subject.database();
    let held = async |seconds| {
        let held = subject.store.oldest_snapshot(Duration::from_secs(seconds)).await.expect("it can be asked");
        held.map(|held| held.to_string())
    };
    let mut reader = database.connect().await;
    reader.execute("SET application_name = 'weekly report'").await.expect("a name");
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.expect("a snapshot");
    let process = database.value("SELECT pid FROM pg_stat_activity WHERE application_name = 'weekly report'").await;
    // Younger ones, of all kinds, that hold nothing more back.
    let mut writer = database.connect().await;
    writer.execute("BEGIN; CREATE TABLE somebodys (id int)").await.expect("a transaction that writes");
    let told = held(0).await.expect("somebody holds");
    assert!(
        told.contains("by `weekly report` (user \"") && told.contains(&format!("process {process}, from")),
        "{told}"
    );
    assert!(told.ends_with("ends such sessions automatically") && told.contains("pg_terminate_backend"), "{told}");
    assert_eq!(held(3600).await, None, "it is not that old");
    reader.execute("COMMIT").await.expect("an end");
    let told = held(0).await.expect("the one that writes is left");
    assert!(told.contains("by a session without a name") && told.contains("whose transaction is open"), "{told}");
    writer.execute("SET application_name = 'readcast'").await.expect("a name");
    let told = held(0).await.expect("it is ours");
    assert!(told.contains("by readcast itself") && told.ends_with("wait until that work ends"), "{told}");
    writer.execute("ROLLBACK").await.expect("an end");
    assert_eq!(held(0).await, None);
}

/// The store as the command line makes it of a URL.
fn store_of(url: &str) -> Postgres {
    let flags = Overrides { store: Some(url.to_owned()), ..Overrides::default() };
    let config = Config::load(&flags, &Environment::default(), &[]).expect("a URL that is taken");
    match config.store() {
        Ok(StoreOptions::Postgres { url, schema, .. }) => Postgres::of_url(url.clone(), schema),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_url_names_the_sessions_and_sets_what_its_options_say() {
    let database = Database::create().await;
    let server = database.options();
    let (name, port) = (server.get_database().expect("a name"), server.get_port());
    let parameters =
        "sslmode=disable&application_name=shop%20projector&options=-c%20work_mem%3D3MB%20-c%20my.note%3Da%5C%20b";
    let (user, host) = (server.get_username(), server.get_host());
    let store = store_of(&format!("postgres:///?host={host}&port={port}&user={user}&dbname={name}&{parameters}"));
    store.migrate().await.expect("tables of ours");
    store.generations().await.expect("an answer");
    let sessions = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database()
                    AND application_name <> ''";
    assert_eq!(database.rows(sessions).await, ["shop projector"]);
}

/// However a value is written: a comparison is one of values, as Postgres takes them for equal or not.
#[tokio::test]
async fn rows_compare_by_what_their_values_mean() {
    let table = TableSpec::new("meant")
        .key("id", ColumnType::I32)
        .nullable("double", ColumnType::F64)
        .nullable("json", ColumnType::Json)
        .nullable("long", ColumnType::Text);
    let tables = [table.clone()];
    let definition = definition(tables.clone());
    let subject = Subject::postgres().await;
    let mut lane = Lane::claim(&subject, &definition).await;
    let json = Json::parse(r#"{"a":1.0,"b":[0]}"#).expect("JSON");
    let rows = changes(&tables, |changes| {
        changes.upsert("meant", [1]).set("double", 0.0).set("json", json.clone()).set("long", "x".repeat(100_000));
        changes.upsert("meant", [2]).set("double", 0.0);
        changes.upsert("meant", [3]).set("json", Json::parse("[]").expect("JSON"));
    });
    assert!(matches!(lane.commit(rows).await, Ok(CommitOutcome::Applied(_))));
    let mut begun = begin(&subject, &definition, &copied(&[])).await;
    let other = subject.physical_of(&table, begun.generation);
    subject
        .execute(&format!("UPDATE {other} SET double = '-0', json = '{{\"b\":[0.00],\"a\":1.00}}' WHERE id = 1"))
        .await;
    let same = only(compare(&subject, &mut begun).await);
    assert_ne!(same.live_digest, same.other_digest, "they are not written alike");
    assert_eq!((same.changed, same.samples.len()), (0, 0));
    subject.execute(&format!("UPDATE {other} SET long = long || 'y', double = NULL WHERE id = 1")).await;
    // Postgres hashes these alike, and none is equal to another.
    subject.execute(&format!("UPDATE {other} SET json = '[]' WHERE id = 2")).await;
    subject.execute(&format!("UPDATE {other} SET json = '[[]]' WHERE id = 3")).await;
    let differs = only(compare(&subject, &mut begun).await);
    let changed = |names: &[&str]| Difference::Changed(names.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(
        differs.samples,
        [sample("1", changed(&["double", "long"])), sample("2", changed(&["json"])), sample("3", changed(&["json"]))]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_on_a_view_survive_a_swap() {
    super::views::grants_on_a_view_survive_a_swap(&Subject::postgres().await).await;
}
