//! What a server with many writers has to promise.

use readcast::store::postgres::Postgres;
use readcast::store::{Commit, Committed, Difference, Generation, Store, StoreError};
use readcast_core::{ColumnType, Json, TableSpec, TopicPartition};
use sqlx::{AssertSqlSafe, Executor};

use super::comparisons::{compare, only, sample};
use super::lane::{Lane, changes, definition};
use super::lifecycle::{begin, copied};
use super::subject::Subject;
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::postgres::Database;

/// Rows that were not there when a commit looked, and are when it writes: it is tried again, and finds them then.
#[tokio::test]
async fn fault_10_a_row_that_another_writer_creates_at_the_same_moment_is_worth_another_try() {
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
    let mut writer = store.writer(&definition, Generation(1)).await.expect("a writer");
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
    assert!(matches!(again, Ok(Committed::Applied(_))), "{again:?}");
    let rows = database.rows("SELECT line, writer FROM lines ORDER BY line").await;
    assert_eq!(rows, ["0|1", "1|1", "2|1"]);
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
    assert!(matches!(lane.commit(rows).await, Ok(Committed::Applied(_))));
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
