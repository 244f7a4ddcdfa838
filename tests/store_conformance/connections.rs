//! What connections to a server have to promise, whoever else has configured it.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use readcast::internals::store::postgres::{Postgres, Route};
use readcast::store::{Command, Commit, ParkedIn, Selection, SettleAction, SettleRequest};
use readcast::store::{
    CommitOutcome, DeadLetter, GenerationError, PoisonCause, PoisonClass, SchemaStore, SequenceId, StatusStore,
    StoreError,
};
use readcast_core::{ColumnType, TableSpec};
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::commits::{counted, counters};
use super::lane::{Lane, PROJECTION, changes, definition};
use super::subject::Subject;
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::postgres::Database;
use crate::support::servers::local_pgbouncer::LocalPgBouncer;
use crate::support::servers::own_postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_connections_are_open_than_an_operator_allows_and_operations_find_room() {
    const MOST: usize = 6;
    let database = Database::create().await;
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                    AND application_name = 'readcast'";
    let store = Postgres::new(database.options(), "public").with_most_connections(MOST);
    let subject = Subject::of(Arc::new(store), database).await;
    let definition = definition(counters());
    subject.store.prepare(&definition).await.expect("tables");
    let (most_seen, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let watching = async {
        while !done.load(Ordering::Relaxed) {
            let open = subject.database().value(sessions).await.parse().expect("a number");
            most_seen.fetch_max(open, Ordering::Relaxed);
        }
    };
    let working = async {
        let mut claimed = Vec::new();
        for partition in 0..24 {
            claimed.push((partition, Lane::claim_partition(&subject, &definition, partition).await));
        }
        let mut lanes = JoinSet::new();
        for (partition, mut lane) in claimed {
            lanes.spawn(async move {
                for _ in 0..40 {
                    let committed = lane.commit(counted(&[&format!("{partition}")])).await;
                    assert!(matches!(committed, Ok(CommitOutcome::Applied(_))), "{committed:?}");
                }
            });
        }
        // While all of them are at work.
        for _ in 0..5 {
            let mut lead = subject.store.try_lead(PROJECTION).await.expect("an answer").expect("nobody has it");
            lead.release_holds().await.expect("nothing is held");
            lead.resign().await.expect("it is given back");
            subject.store.generations().await.expect("a question");
        }
        while let Some(lane) = lanes.join_next().await {
            lane.expect("no lane fails");
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(watching, working);
    let most_seen = most_seen.load(Ordering::Relaxed);
    assert!((2..=MOST).contains(&most_seen), "{most_seen} connections were open");
    let total = subject.database().value("SELECT sum(count) FROM counters").await;
    assert_eq!(total, "960");
}

/// Each of these changes what some statement of ours would mean or come to.
const HOSTILE: &[&str] = &[
    "search_path = evil",
    "quote_all_identifiers = on",
    "DateStyle = 'SQL, DMY'",
    "IntervalStyle = 'sql_standard'",
    "TimeZone = 'Asia/Tokyo'",
    "default_transaction_isolation = 'serializable'",
    "standard_conforming_strings = off",
    "bytea_output = 'escape'",
    "extra_float_digits = -5",
    "transform_null_equals = on",
    "array_nulls = off",
    "jit = on",
    "session_replication_role = 'replica'",
    "statement_timeout = '1ms'",
    "idle_session_timeout = '100ms'",
    "row_security = on",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_the_database_change_nothing_that_we_say_or_read() {
    let database = Database::create().await;
    database.execute("CREATE SCHEMA evil; CREATE FUNCTION evil.hashtextextended(text, integer) RETURNS bigint LANGUAGE sql AS 'SELECT 1/0::bigint'; CREATE FUNCTION evil.to_char(timestamp, text) RETURNS text LANGUAGE sql AS $$SELECT 'x'$$").await;
    for setting in HOSTILE {
        database.execute_outside(&format!("ALTER DATABASE {{name}} SET {setting}")).await;
    }
    let subject = Subject::on(database).await;
    let table = TableSpec::new("readings")
        .key("id", ColumnType::Text)
        .column("at", ColumnType::Timestamp)
        .column("value", ColumnType::F64)
        .column("raw", ColumnType::Bytes)
        .nullable("note", ColumnType::Text)
        .with_default("path", ColumnType::Text, r"a\b'c");
    let tables = [table.clone()];
    let definition = definition(tables.clone());
    let mut lane = Lane::claim(&subject, &definition).await;
    let third = 1.0 / 3.0;
    let written = changes(&tables, |changes| {
        let at = readcast_core::Timestamp::from_micros(1_716_215_400_000_001).expect("a time");
        changes.upsert("readings", ["a"]).set("at", at).set("value", third).set("raw", b"\\\x00".to_vec());
    });
    assert!(matches!(lane.commit(written).await, Ok(CommitOutcome::Applied(_))));
    let altered = subject.store.alterations(&definition, readcast::store::Generation(1)).await;
    assert_eq!(altered, Ok(Vec::new()), "types are compared by what they are");
    let shown = subject.store.peek(&table, 1).await.expect("readers see it").rows.remove(0);
    let expected = ["a", "2024-05-20 14:30:00.000001+00", &third.to_string(), r"\x5c00"];
    assert_eq!(shown[..4], expected.map(|text| Some(text.to_owned())));
    assert_eq!(shown[5].as_deref(), Some(r"a\b'c"));
    let status = subject.status().await;
    assert!(status.created_at.ends_with('Z') && status.created_at.len() == 24, "{}", status.created_at);
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(
        matches!(lane.commit(counted_nothing()).await, Ok(CommitOutcome::Applied(_))),
        "no session is ended for resting"
    );
}

fn counted_nothing() -> readcast_core::ChangeSet {
    readcast_core::ChangeSet::new()
}

async fn latin1() -> Subject {
    let options = "TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'";
    Subject::on(Database::create_with(options).await).await
}

fn letter(lane: &Lane, reason: &str) -> Commit {
    let offset = lane.next_offset;
    let record = readcast::source::Record { offset, value: Some("nonsense".into()), ..Default::default() };
    let letter = DeadLetter {
        partition: lane.partition.clone(),
        sequence: SequenceId::of(&record),
        record,
        cause: Some(PoisonCause::new(PoisonClass::Undecodable, reason)),
        affected: Vec::new(),
    };
    Commit { dead_letters: vec![letter], ..Commit::default() }
}

async fn reasons(subject: &Subject) -> Vec<String> {
    let of = ParkedIn { projection: PROJECTION, generation: readcast::store::Generation(1) };
    let parked = subject.store.parked(of).await.expect("it is listed");
    parked.into_iter().map(|sequence| sequence.cause.expect("it has one").reason).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reason_that_the_encoding_lacks_is_spelled_out_and_the_record_parked() {
    let subject = latin1().await;
    let mut lane = Lane::claim(&subject, &definition(counters())).await;
    for reason in ["二〇二四 is no number", "an emoji: 🦀, and U+0000: \0", &"é".repeat(20_000)] {
        let commit = letter(&lane, reason);
        let parked = lane.step(1, commit).await;
        assert!(matches!(parked, Ok(CommitOutcome::Applied(_))), "{parked:?}");
    }
    let reasons = reasons(&subject).await;
    assert_eq!(reasons[0], r"\u{4e8c}\u{3007}\u{4e8c}\u{56db} is no number");
    assert_eq!(reasons[1], r"an emoji: \u{1f980}, and U+0000: \u{0}");
    assert!(reasons[2].len() < 10_000 && reasons[2].starts_with(r"\u{e9}\u{e9}"), "{}", reasons[2].len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_operators_and_errors_say_comes_through_any_encoding() {
    let subject = latin1().await;
    subject.store.prepare(&definition(counters())).await.expect("tables");
    let trouble = GenerationError { text: "halted over 二".into(), attempt: None };
    let generation = readcast::store::Generation(1);
    subject.store.record_error(PROJECTION, generation, "one", &trouble).await.expect("it is recorded");
    assert_eq!(subject.status().await.last_error.expect("it is there").text, r"halted over \u{4e8c}");
    let edited = r#"{"name":"二 \" \\u{41} é"}"#;
    let resolution = SettleAction::Retry { edited: Some(edited.into()) };
    let selection = Selection { key: Some("schlüssel 🦀".into()), ..Selection::default() };
    let command =
        Command::DeadLetters(SettleRequest { selection, resolution, definition_hash: "hash".into(), reason: None });
    let id = subject.store.request(PROJECTION, &command, "jürgen@二").await.expect("it is noted");
    assert_eq!(subject.store.request(PROJECTION, &command, "jürgen@二").await, Ok(id), "it is known again");
    let open = subject.store.operations(PROJECTION, 0).await.expect("they are read").remove(0);
    assert_eq!(open.command, command, "what was asked for is carried out to the letter");
    assert_eq!(open.requested_by, r"j\u{fc}rgen@\u{4e8c}");
    let mut lead = subject.store.try_lead(PROJECTION).await.expect("an answer").expect("nobody has it");
    let outcome = "still waiting: 二";
    lead.finish(id, readcast::store::OperationState::Refused, outcome).await.expect("it ends");
    subject.store.pause(PROJECTION, true, false, "二").await.expect("it is paused");
    subject.store.cancel(PROJECTION, "二").await.expect("there is nothing to cancel");
}

/// Whatever else may be wrong with a reason: here, somebody's trigger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reason_that_the_database_refuses_is_withheld_and_the_record_parked() {
    let subject = Subject::postgres().await;
    let mut lane = Lane::claim(&subject, &definition(counters())).await;
    subject
        .execute(
            "CREATE FUNCTION picky() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF NEW.reason LIKE '%bad%' THEN RAISE 'not this' USING ERRCODE = '22021'; END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER picky BEFORE INSERT ON readcast.dead_letters FOR EACH ROW EXECUTE FUNCTION public.picky()",
        )
        .await;
    let commit = letter(&lane, "a bad reason");
    let parked = lane.step(1, commit).await;
    assert!(matches!(parked, Ok(CommitOutcome::Applied(_))), "{parked:?}");
    assert!(reasons(&subject).await[0].starts_with("the reason can't be stored"));
    assert!(matches!(lane.commit(counted(&["a"])).await, Ok(CommitOutcome::Applied(_))), "and it goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_may_pass() {
    let database = Database::create().await;
    let role = format!("role_{:016x}", fastrand::u64(..));
    database.execute_outside(&format!("CREATE ROLE {role} NOLOGIN")).await;
    database.execute(&format!("GRANT ALL ON DATABASE {} TO {role}", database.options().get_database().unwrap())).await;
    let store = Postgres::new(database.options().username(&role), "public");
    let denied = store.generations().await.expect_err("it may not log in");
    assert!(matches!(denied, StoreError::Denied { .. }) && denied.may_pass(), "{denied:?}");
    assert!(denied.to_string().contains("28000"), "{denied}");
    database.execute_outside(&format!("ALTER ROLE {role} LOGIN")).await;
    assert_eq!(store.generations().await, Ok(Vec::new()));
    drop(store);
    database.execute(&format!("DROP OWNED BY {role}")).await;
    eventually("the role can go", PATIENCE, async || {
        database.try_rows(&format!("DROP ROLE {role}")).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_is_given_up_and_another_one_taken() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = silent.local_addr().expect("an address").port();
    let database = Database::create().await;
    let to_silence = database.options().host("127.0.0.1").port(port);
    let route = |endpoints| Route { endpoints, connect_timeout: Duration::from_millis(1_500), writable: true };
    let store = |route: Route| Postgres::by(Arc::new(move || Ok(route.clone())), "public");
    let alone = store(route(vec![to_silence.clone()]));
    let failed = alone.generations().await.expect_err("it says nothing");
    assert_eq!(failed.to_string(), "connecting to Postgres: no answer within 1.5 s");
    // Whoever asks next is told at once, and not after another wait.
    let begun = tokio::time::Instant::now();
    assert!(alone.migrate().await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let both = store(route(vec![to_silence, database.options()]));
    assert_eq!(both.generations().await, Ok(Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_servers_the_one_is_taken_that_can_be_written_to() {
    let mut standby = own_postgres().await;
    standby.become_standby().await;
    let database = Database::create().await;
    let to_standby = PgConnectOptions::from_str(&standby.url()).expect("a URL");
    let store = |endpoints: Vec<PgConnectOptions>, writable| {
        let route = Route { endpoints, connect_timeout: Duration::from_secs(5), writable };
        Postgres::by(Arc::new(move || Ok(route.clone())), "public")
    };
    store(vec![to_standby.clone(), database.options()], true).migrate().await.expect("the second one takes writes");
    let refused = store(vec![to_standby.clone()], true).migrate().await.expect_err("it takes none");
    assert!(refused.to_string().contains("is read-only"), "{refused}");
    assert_eq!(store(vec![to_standby], false).generations().await, Ok(Vec::new()), "whoever only reads is let in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_transaction_mode_is_named_and_one_in_session_mode_will_do() {
    let database = Database::create().await;
    for (mode, named) in [("transaction", true), ("statement", true), ("session", false)] {
        let pooler = LocalPgBouncer::start(&database.options(), mode).await;
        let store = Postgres::new(pooler.through(&database.options()), "public");
        // What `check` asks, and what a start does.
        let asked = store.capacity().await.map(drop);
        let begun = store.migrate().await;
        if named {
            let told = asked.expect_err(mode).to_string();
            assert!(told.contains("a pooler in transaction or statement mode is between"), "{mode}: {told}");
        } else {
            asked.and(begun).unwrap_or_else(|error| panic!("{mode}: {error}"));
            store.prepare(&definition(counters())).await.expect("tables");
        }
    }
}

/// A report of somebody's own that hides rows from whoever writes them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_would_hide_rows_from_us_is_an_error_and_hides_none() {
    let database = Database::create().await;
    let role = format!("writer_{:016x}", fastrand::u64(..));
    database.execute_outside(&format!("CREATE ROLE {role} LOGIN; ALTER DATABASE {{name}} OWNER TO {role}")).await;
    database.execute(&format!("ALTER SCHEMA public OWNER TO {role}")).await;
    let store = Postgres::new(database.options().username(&role), "public");
    let subject = Subject::of(Arc::new(store), database).await;
    let mut lane = Lane::claim(&subject, &definition(counters())).await;
    assert!(matches!(lane.commit(counted(&["a"])).await, Ok(CommitOutcome::Applied(_))));
    let table = subject.physical(&counters()[0]);
    let policy = format!(
        "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
         CREATE POLICY none ON {table} USING (false) WITH CHECK (true)"
    );
    subject.execute(&policy).await;
    let refused = lane.commit(counted(&["a"])).await.expect_err("the row that is there would not be seen");
    assert!(refused.to_string().contains("row-level security"), "{refused}");
    subject.execute(&format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")).await;
    assert!(matches!(lane.commit(counted(&["a"])).await, Ok(CommitOutcome::Applied(_))));
    assert_eq!(subject.database().value("SELECT count FROM counters").await, "2");
    subject.database().execute(&format!("REASSIGN OWNED BY {role} TO postgres")).await;
    drop(lane);
    drop(subject.store);
}
