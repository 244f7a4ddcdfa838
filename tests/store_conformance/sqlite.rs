//! What only a file has to promise: one process that writes, readers beside it, and turns with one connection.

use std::path::Path;
use std::task::Poll;

use readcast::internals::store::sqlite::Sqlite;
use readcast::store::{
    Command, Commit, CommitOutcome, CommitStore, Generation, OperationStore, Priority, SchemaStore, StatusStore,
    StoreError,
};
use readcast_core::{ColumnType, Decimal, Definition, TableSpec};
use sqlx::{Connection, Row};

use super::lane::{Lane, PROJECTION, changes, definition};
use super::lifecycle::{begin, copied};
use super::subject::{Subject, instance};

fn counters() -> Vec<TableSpec> {
    vec![TableSpec::new("counters").key("id", ColumnType::Text).with_default("count", ColumnType::I64, 0)]
}

async fn refusal<T>(opened: impl Future<Output = Result<T, StoreError>>) -> String {
    match opened.await {
        Err(error @ StoreError::Refused { .. }) => error.to_string(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it should be refused"),
    }
}

#[tokio::test]
async fn a_second_writing_process_is_refused_in_one_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("read.db");
    let store = Sqlite::open(&path).await.expect("a new file");
    let line = refusal(Sqlite::open(&path)).await;
    let pid = format!("(pid {})", std::process::id());
    assert!(line.contains("read.db is in use by another readcast process") && line.contains(&pid), "{line}");
    assert!(line.contains("one process at a time") && !line.contains('\n'), "{line}");
    let link = dir.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    refusal(Sqlite::open(&link)).await;
    drop(store);
    Sqlite::open(&path).await.expect("the lock goes with the store");
}

#[tokio::test]
async fn a_writer_keeps_the_lock_of_its_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("read.db");
    let store = Sqlite::open(&path).await.expect("a new file");
    store.migrate().await.expect("tables of ours");
    let definition = definition(counters());
    store.prepare(&definition).await.expect("tables");
    let writer = store.writer(&definition, Generation(1), Priority::Live.into()).await.expect("a writer");
    drop(store);
    refusal(Sqlite::open(&path)).await;
    drop(writer);
    Sqlite::open(&path).await.expect("nobody writes any more");
}

#[tokio::test]
async fn a_file_opened_for_reading_can_be_looked_at_beside_its_writer_and_not_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("read.db");
    let missing = refusal(Sqlite::open_read_only(&path)).await;
    assert!(missing.contains("there is no file") && missing.contains("read.db"), "{missing}");
    assert!(!path.exists(), "looking must not create it");
    let writing = Sqlite::open(&path).await.expect("a new file");
    let definition = definition(counters());
    let reading = Sqlite::open_read_only(&path).await.expect("a second look");
    assert_eq!(reading.generations().await, Ok(vec![]), "nothing is ours yet");
    assert_eq!(reading.name_conflicts(&definition).await, Ok(vec![]));
    writing.migrate().await.expect("tables of ours");
    writing.prepare(&definition).await.expect("tables");
    assert_eq!(reading.generations().await.expect("statuses").len(), 1);
    assert_eq!(reading.alterations(&definition, Generation(1)).await, Ok(vec![]));
    refuses_what_writers_do(&reading, &definition, "for reading only").await;
    for refused in [
        refusal(reading.request(PROJECTION, &Command::Retire, "me")).await,
        refusal(reading.cancel(PROJECTION, "me")).await,
    ] {
        assert!(refused.contains("for reading only"), "{refused}");
    }
    drop(writing);
    let after = Sqlite::open_read_only(&path).await.expect("a look at a file that nobody has open");
    assert_eq!(after.generations().await.expect("statuses").len(), 1);
}

async fn refuses_what_writers_do(store: &Sqlite, definition: &Definition, why: &str) {
    let refusals = [
        refusal(store.migrate()).await,
        refusal(store.prepare(definition)).await,
        refusal(store.writer(definition, Generation(1), Priority::Live.into())).await,
        refusal(store.try_lead(PROJECTION)).await,
        refusal(store.clear_error(PROJECTION, Generation(1), "me")).await,
    ];
    assert!(refusals.iter().all(|refusal| refusal.contains(why)), "{refusals:#?}");
}

#[tokio::test]
async fn operators_ask_beside_the_process_that_writes() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("read.db");
    refusal(Sqlite::open_to_control(&path)).await;
    assert!(!path.exists(), "asking must not create it");
    let writing = Sqlite::open(&path).await.expect("a new file");
    let nothing = refusal(Sqlite::open_to_control(&path)).await;
    assert!(nothing.contains("none of readcast's own tables"), "{nothing}");
    let definition = definition(counters());
    writing.migrate().await.expect("tables of ours");
    writing.prepare(&definition).await.expect("tables");
    let control = Sqlite::open_to_control(&path).await.expect("a file that somebody writes");
    refuses_what_writers_do(&control, &definition, "only for operators' requests").await;
    let id = control.request(PROJECTION, &Command::Retire, "me").await.expect("a request");
    let seen = writing.operations(PROJECTION, 0).await.expect("operations");
    assert_eq!(seen.iter().map(|operation| operation.id).collect::<Vec<_>>(), [id]);
    assert_eq!(control.pause(PROJECTION, true, false, "me").await, Ok(1));
    assert!(writing.generations().await.expect("statuses")[0].paused_since.is_some());
    assert_eq!(control.cancel(PROJECTION, "me").await, Ok(1));
    control.heartbeat(&instance("instance"), PROJECTION, &["hash"], true).await.expect("it is noted");
    control.rename(PROJECTION, "renamed", "me").await.expect("another name");
    assert_eq!(writing.generations().await.expect("statuses")[0].projection, "renamed");
}

#[tokio::test]
async fn secondary_indexes_and_statistics_come_after_the_rows() {
    let subject = Subject::sqlite().await;
    let indexed = definition([counters().remove(0).index(["count"])]);
    let mut lane = Lane::claim(&subject, &indexed).await;
    let row = changes(indexed.tables(), |changes| {
        changes.upsert("counters", ["a"]).add("count", 1);
    });
    lane.commit(row).await.expect("a row");
    let mut begun = begin(&subject, &indexed, &copied(&[])).await;
    let mut client = subject.sqlite_client().await;
    let indexes =
        "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'counters_g2' AND sql IS NOT NULL";
    let before: Vec<String> = sqlx::query_scalar(indexes).fetch_all(&mut client).await.expect("a list");
    assert!(before.is_empty(), "{before:?}");
    for _ in 0..2 {
        begun.lead.index(&indexed, begun.generation).await.expect("indexes");
        let after: Vec<String> = sqlx::query_scalar(indexes).fetch_all(&mut client).await.expect("a list");
        assert_eq!(after, ["counters_g2_ix1"]);
    }
    let known = "SELECT count(*) FROM sqlite_stat1 WHERE tbl = 'counters_g2'";
    let known: i64 = sqlx::query_scalar(known).fetch_one(&mut client).await.expect("statistics");
    assert!(known > 0);
}

#[tokio::test]
async fn what_an_earlier_version_made_is_refused_until_it_is_migrated() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("read.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut client = sqlx::SqliteConnection::connect_with(&options).await.expect("a new file");
    let earlier = "CREATE TABLE readcast_generations (projection TEXT); INSERT INTO readcast_generations VALUES ('a')";
    sqlx::raw_sql(earlier).execute(&mut client).await.expect("tables");
    let store = Sqlite::open_read_only(&path).await.expect("a look");
    let line = refusal(store.generations()).await;
    assert!(line.contains("readcast migrate"), "{line}");
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("read.db");
    std::fs::write(&path, "x".repeat(5_000)).expect("a file");
    let line = refusal(Sqlite::open(&path)).await;
    assert!(line.contains("not a database"), "{line}");
    let nowhere = refusal(Sqlite::open(Path::new("/nowhere/read.db"))).await;
    assert!(nowhere.contains("/nowhere/read.db"), "{nowhere}");
}

#[tokio::test]
async fn a_reader_in_a_transaction_neither_waits_nor_keeps_the_writer_waiting() {
    let subject = Subject::sqlite().await;
    let mut lane = Lane::claim(&subject, &definition(counters())).await;
    let add = || {
        changes(&counters(), |changes| {
            changes.upsert("counters", ["a"]).add("count", 1);
        })
    };
    assert!(matches!(lane.commit(add()).await, Ok(CommitOutcome::Applied(_))));
    let mut reader = subject.sqlite_client().await;
    let mut reading = reader.begin().await.expect("a transaction");
    let count = "SELECT count FROM counters";
    let before: i64 = sqlx::query_scalar(count).fetch_one(&mut *reading).await.expect("a row");
    assert!(matches!(lane.commit(add()).await, Ok(CommitOutcome::Applied(_))));
    let still: i64 = sqlx::query_scalar(count).fetch_one(&mut *reading).await.expect("a row");
    assert_eq!((before, still), (1, 1), "a transaction sees one state");
    reading.commit().await.expect("it only read");
    let after: i64 = sqlx::query_scalar(count).fetch_one(&mut reader).await.expect("a row");
    assert_eq!(after, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_cancelled_anywhere_leaves_nothing_open_and_can_be_repeated() {
    const COMMITS: i64 = 150;
    let subject = Subject::sqlite().await;
    let definition = definition(counters());
    let mut lane = Lane::claim_partition(&subject, &definition, 0).await;
    let mut other = Lane::claim_partition(&subject, &definition, 1).await;
    let add = |id: &str| {
        changes(&counters(), |changes| {
            changes.upsert("counters", [id]).add("count", 1);
        })
    };
    let mut cancelled = 0;
    for round in 0..COMMITS {
        let commit = Commit { advances: vec![lane.advance()], changes: add("a"), ..Commit::default() };
        if given_up_after(round, lane.try_commit(&commit)).await.is_none() {
            cancelled += 1;
        }
        // The other lane needs the connection at once, whatever state it was left in.
        assert!(matches!(other.commit(add("b")).await, Ok(CommitOutcome::Applied(_))));
        let repeated = lane.try_commit(&commit).await;
        assert!(matches!(repeated, Ok(CommitOutcome::Applied(_))), "round {round}: {repeated:?}");
        lane.next_offset += 1;
    }
    assert!(cancelled > 5, "only {cancelled} commits were given up");
    let counts: Vec<_> = subject.rows(&counters()[0]).await.into_values().collect();
    assert_eq!(counts, [COMMITS.to_string(), COMMITS.to_string()]);
}

/// Drops `future` when it has been polled `polls` times without coming to its end.
async fn given_up_after<T>(polls: i64, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

fn accounts() -> TableSpec {
    TableSpec::new("accounts")
        .key("id", ColumnType::I64)
        .column("balance", ColumnType::Decimal { scale: 2 })
        .nullable("limit", ColumnType::Decimal { scale: 0 })
        .index(["balance"])
}

/// A store with an account for each balance, numbered from 0, and a client of a reader.
async fn with_balances(balances: &[String]) -> (Subject, sqlx::SqliteConnection) {
    let subject = Subject::sqlite().await;
    let definition = definition([accounts()]);
    let mut lane = Lane::claim(&subject, &definition).await;
    let rows = changes(definition.tables(), |changes| {
        for (id, balance) in (0_i64..).zip(balances) {
            changes.upsert("accounts", [id]).set("balance", balance.parse::<Decimal>().unwrap());
        }
    });
    lane.commit(rows).await.expect("rows");
    let client = subject.sqlite_client().await;
    (subject, client)
}

async fn answer<T>(client: &mut sqlx::SqliteConnection, query: &'static str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite> + Send + Unpin,
    (T,): for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow>,
{
    sqlx::query_scalar(query).fetch_one(client).await.unwrap_or_else(|error| panic!("{query}: {error}"))
}

#[tokio::test]
async fn decimals_are_numbers_to_readers_and_exact_texts_underneath() {
    let balances = ["9", "10.5", "99.99", "1200", "-3.10", "0", "99999999999999999999999999.99"];
    let (subject, mut client) = with_balances(&balances.map(str::to_owned)).await;
    let all = "SELECT group_concat(id, ' ') FROM (SELECT id FROM accounts ORDER BY balance)";
    assert_eq!(answer::<String>(&mut client, all).await, "4 5 0 1 2 3 6");
    assert_eq!(answer::<i64>(&mut client, "SELECT count(*) FROM accounts WHERE balance > 50").await, 3);
    assert_eq!(answer::<i64>(&mut client, "SELECT count(*) FROM accounts WHERE balance = '10.50'").await, 1);
    assert_eq!(answer::<i64>(&mut client, "SELECT count(*) FROM accounts WHERE balance BETWEEN -4 AND 0").await, 2);
    let few = "SELECT max(balance) || '|' || sum(balance) FROM accounts WHERE id < 5";
    assert_eq!(answer::<String>(&mut client, few).await, "1200|1316.39");
    let exact = "SELECT balance FROM accounts_g1 WHERE id = 6";
    assert_eq!(answer::<String>(&mut client, exact).await, balances[6]);
    assert_eq!(subject.rows(&accounts()).await.len(), balances.len());
    let peek = subject.store.peek(&accounts(), 2).await.expect("rows");
    assert_eq!(peek.rows[1][1].as_deref(), Some("10.50"), "{peek:?}");
}

/// A reader who binds a float finds the row, so the number must be the float that is nearest to the decimal.
#[tokio::test]
async fn a_decimal_of_money_is_the_nearest_float() {
    let balances: Vec<String> =
        (0..20_000_i64).map(|n| format!("{}.{:02}", n * n * 7 / 100, n * n * 7 % 100)).collect();
    let (_subject, mut client) = with_balances(&balances).await;
    let numbers: Vec<f64> = sqlx::query_scalar("SELECT CAST(balance AS REAL) FROM accounts ORDER BY id")
        .fetch_all(&mut client)
        .await
        .expect("numbers");
    assert_eq!(numbers.len(), balances.len());
    for (number, balance) in numbers.iter().zip(&balances) {
        assert_eq!(*number, balance.parse::<f64>().unwrap(), "{balance}");
    }
}

#[tokio::test]
async fn an_index_on_a_decimal_serves_readers_and_a_fan_out() {
    let (_subject, mut client) = with_balances(&["1".to_owned(), "2".to_owned()]).await;
    for query in [
        "EXPLAIN QUERY PLAN SELECT id FROM accounts WHERE balance > 500",
        "EXPLAIN QUERY PLAN SELECT id FROM accounts_g1 WHERE balance IS '1.00' AND CAST(\"balance\" AS NUMERIC) IS CAST('1.00' AS NUMERIC)",
    ] {
        let plan: String = sqlx::query(query).fetch_one(&mut client).await.expect("a plan").get("detail");
        assert!(plan.contains("accounts_g1_ix1"), "{query}: {plan}");
    }
}

#[tokio::test]
async fn rows_are_found_by_a_decimal() {
    let (subject, _client) = with_balances(&["1".to_owned(), "2.5".to_owned(), "1".to_owned()]).await;
    let definition = definition([accounts()]);
    let mut lane = Lane::claim(&subject, &definition).await;
    let change = changes(definition.tables(), |changes| {
        let one: Decimal = "1".parse().unwrap();
        changes.update_where("accounts", "balance", one).set("limit", one);
    });
    lane.commit(change).await.expect("a change");
    let limited: i64 =
        answer(&mut subject.sqlite_client().await, "SELECT count(*) FROM accounts WHERE \"limit\" = 1").await;
    assert_eq!(limited, 2);
}

#[tokio::test]
async fn a_view_of_texts_of_an_earlier_version_is_replaced_when_a_writer_starts() {
    let (subject, mut client) = with_balances(&["9".to_owned(), "10".to_owned()]).await;
    for statement in [
        "DROP VIEW accounts",
        r#"CREATE VIEW "accounts" ("id", "balance", "limit") AS SELECT "id", "balance", "limit" FROM "accounts_g1""#,
        "DROP INDEX accounts_g1_ix1",
        r#"CREATE INDEX "accounts_g1_ix1" ON "accounts_g1" ("balance")"#,
        "CREATE TRIGGER of_users INSTEAD OF DELETE ON accounts BEGIN SELECT 1; END",
    ] {
        sqlx::query(statement).execute(&mut client).await.expect(statement);
    }
    let definition = definition([accounts()]);
    let found = subject.store.alterations(&definition, Generation(1)).await.expect("a comparison");
    assert_eq!(found, Vec::<String>::new(), "the view of texts is readcast's own");
    for _ in 0..2 {
        subject.store.prepare(&definition).await.expect("a start");
        assert_eq!(answer::<i64>(&mut client, "SELECT max(balance) FROM accounts").await, 10);
        let index = "SELECT sql FROM sqlite_schema WHERE name = 'accounts_g1_ix1'";
        assert!(answer::<String>(&mut client, index).await.contains("NUMERIC"));
        let triggers = "SELECT count(*) FROM sqlite_schema WHERE name = 'of_users'";
        assert_eq!(answer::<i64>(&mut client, triggers).await, 1);
    }
}
