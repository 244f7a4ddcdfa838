//! What a server with many writers has to promise.

use readcast::config::{Config, Environment, Overrides, StoreOptions};
use readcast::store::postgres::Postgres;
use readcast::store::{Commit, Committed, Generation, Store, StoreError};
use readcast_core::{ColumnType, TableSpec, TopicPartition};
use sqlx::{AssertSqlSafe, Executor};

use super::lane::{changes, definition};
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

/// The store as the command line makes it of a URL.
fn store_of(url: &str) -> Postgres {
    let flags = Overrides { store: Some(url.to_owned()), ..Overrides::default() };
    let config = Config::load(&flags, &Environment::default(), &[]).expect("a URL that is taken");
    match config.store() {
        Ok(StoreOptions::Postgres { url, schema }) => Postgres::of_url(url, schema).expect("a URL that can be read"),
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
