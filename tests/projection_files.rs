//! Projections that are files, in the released program.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::shop::{KafkaShop, events};
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::kafka::{Kafka, unique};
use crate::support::postgres::Database;
use crate::support::process::{Finished, Readcast};
use crate::support::root;

const VISITS: &str = r#"
topics = "site"

[tables.visits]
key = "page"
columns.page = "text"
columns.count = "i64 default 0"

[[on]]
event = "VISITED"
upsert = "visits"
key = "data.page"
add.count = "1"
"#;

fn shop_files() -> PathBuf {
    root().join("projections/shop")
}

/// A folder with the shop's files, of which `changed` has changed one.
fn changed(changed: impl FnOnce(&str) -> String) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(shop_files()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = folder.path().join("product_sales.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let after = changed(&text);
    assert_ne!(after, text);
    std::fs::write(path, after).unwrap();
    folder
}

/// Adds the number of orders to each product.
fn with_orders(text: &str) -> String {
    text.replace("revenue = \"decimal(2) default 0\"", "revenue = \"decimal(2) default 0\"\norders = \"i64 default 0\"")
        .replacen("add.units = \"item.quantity\"", "add.units = \"item.quantity\"\nadd.orders = \"1\"", 1)
}

#[tokio::test]
async fn files_survive_a_kill_at_every_failpoint_as_code_does() {
    for failpoint in ["after_begin", "after_rows", "after_commit"] {
        let shop = KafkaShop::journalled(3).await.with_files(shop_files());
        shop.survives_kills_at(failpoint).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_builds_its_tables_while_readers_read_and_any_instance_feeds_them() {
    const COUNT: usize = 20_000;
    let (shop, changed) = (KafkaShop::new(3).await.with_files(shop_files()), changed(with_orders));
    shop.produce(events(COUNT / 2));
    let mut with_old = shop.start(&["run"], &[]);
    shop.catches_up().await;
    let (reads, read) = (Arc::new(AtomicBool::new(true)), shop.database.connect().await);
    let reader = tokio::spawn(reads_more_and_more(read, reads.clone()));

    let shop = shop.with_files(changed.path().to_owned());
    let mut with_new = shop.start(&["run"], &[("READCAST_ON_CHANGE", "rebuild")]);
    shop.produce(events(COUNT).skip(COUNT / 2));
    // Either instance may make the swap, because the one with the old file learns the new one while it is built.
    eventually("generation 2 is live", PATIENCE, async || {
        let live =
            "SELECT max(generation) FROM readcast.generations WHERE projection = 'product_sales' AND state = 'live'";
        let generation = shop.database.value(live).await;
        if generation == "2" { Ok(()) } else { Err(generation) }
    })
    .await;
    // Of the instances, only the one with the old file is left. It has the new one from the database.
    with_new.ends_well().await;
    shop.produce(events(COUNT + 1_000).skip(COUNT));
    let orders = crate::shop::expected(COUNT + 1_000)["product_sales"].len().to_string();
    eventually("the instance with the old file feeds the new tables", PATIENCE, async || {
        let units =
            "SELECT sum(units) = (SELECT sum(quantity) FROM order_lines) AND max(orders) > 0 FROM product_sales";
        let found = [units, "SELECT count(*) FROM product_sales"];
        let found = [shop.database.value(found[0]).await, shop.database.value(found[1]).await];
        if found == ["t".to_owned(), orders.clone()] { Ok(()) } else { Err(found.join(", ")) }
    })
    .await;
    with_old.ends_well().await;
    reads.store(false, Ordering::Relaxed);
    assert!(reader.await.unwrap() > 0);

    // The old file again is no change: its tables are the standby, and only an operator returns to them.
    let shop = shop.with_files(shop_files());
    let again = shop.start(&["run", "--until-end"], &[("READCAST_ON_CHANGE", "rebuild")]).finish().await;
    assert!(again.status.success(), "{}", again.stderr);
    let check = shop.start(&["check"], &[]).finish().await;
    let warned = "declares what version 1 did; version 2 built the tables";
    assert!(check.status.success() && check.stdout.contains(warned), "{}{}", check.stdout, check.stderr);
    let rolled_back = shop.start(&["rollback", "product_sales"], &[]).finish().await;
    assert!(rolled_back.status.success(), "{}", rolled_back.stderr);
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'product_sales'";
    assert_eq!(shop.database.value(columns).await, "3");
}

/// Reads until `reads` ends, and checks that the tables are never empty or behind what was read before.
async fn reads_more_and_more(mut connection: sqlx::PgConnection, reads: Arc<AtomicBool>) -> u64 {
    let (mut last, mut times) = (0_i64, 0);
    while reads.load(Ordering::Relaxed) {
        let rows: i64 =
            sqlx::query_scalar("SELECT count(*) FROM product_sales").fetch_one(&mut connection).await.unwrap();
        assert!(rows > 0 && rows >= last, "{rows} rows after {last}");
        (last, times) = (rows, times + 1);
    }
    times
}

async fn refused(folder: &Path) -> String {
    let path = folder.display().to_string();
    let arguments = ["run", "--projections", &path, "--source", "file:events", "--store", "sqlite:r.db"];
    let finished = Readcast::run_released(arguments, &[]).await;
    assert_eq!(finished.status.code(), Some(78), "{}", finished.stderr);
    finished.stderr.replace(&format!("{path}/"), "")
}

#[tokio::test]
async fn a_saved_file_becomes_live_with_the_rows_that_differ_and_a_former_one_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(path("events/site")).unwrap();
    std::fs::create_dir(path("projections")).unwrap();
    let visited = |number: usize, page: &str| {
        let data = format!(r#"{{"page":"{page}"}}"#);
        format!(r#"{{"event_id":"{number}","type":"VISITED","timestamp":"2026-01-01T00:00:00Z","data":{data}}}"#) + "\n"
    };
    std::fs::write(path("events/site/0.ndjson"), visited(1, "/home") + &visited(2, "/home") + &visited(3, "/a"))
        .unwrap();
    let save = |text: &str| std::fs::write(path("projections/visits.toml"), text).unwrap();
    save(VISITS);
    std::fs::write(
        path("projections/visits.test.toml"),
        "[[test]]\nname = 'one'\ngiven = [{ event = 'VISITED', data = { page = '/' } }]\nthen.visits = \"page | count\\n / | 1\"",
    )
    .unwrap();
    let url = |name: &str, scheme: &str| format!("{scheme}:{}", path(name).display());
    let (source, store, files) = (url("events", "file"), url("read.db", "sqlite"), path("projections"));
    let arguments = ["dev", "--projections", files.to_str().unwrap(), "--source", &source, "--store", &store];
    let mut dev = Readcast::start_released(arguments, &[]);
    let database = sqlx::SqlitePool::connect_lazy(&store).unwrap();
    let home = async || {
        let count = "SELECT count FROM visits WHERE page = '/home'";
        sqlx::query_scalar::<_, i64>(count).fetch_optional(&database).await.ok().flatten().ok_or("no row")
    };
    assert_eq!(eventually("the first rows", PATIENCE, home).await, 2);

    // A count that begins elsewhere, in place of which the file is broken first.
    let mark = dev.mark();
    save(&VISITS.replace("add.count", "add.counts"));
    dev.wait_for_line_after(mark, |line| line.contains("table `visits` has no column `counts`")).await;
    save(&VISITS.replace("add.count = \"1\"", "add.count = \"10\""));
    dev.wait_for_line_after(mark, |line| line.starts_with("FAILED  visits: one")).await;
    dev.wait_for_line_after(mark, |line| line == "visits: generation 2 is live; generation 1 is the standby").await;
    dev.wait_for_line_after(mark, |line| line.starts_with("table `visits` differs in 2 rows")).await;
    dev.wait_for_line_after(mark, |line| line == "  /home: count differs").await;
    assert_eq!(home().await, Ok(20));

    // The first text again: its tables are still there.
    let mark = dev.mark();
    save(VISITS);
    dev.wait_for_line_after(mark, |line| line == "visits: generation 1 is live; generation 2 is the standby").await;
    assert_eq!(home().await, Ok(2));

    // One that is saved while the one before it may still be built, and that one again.
    for factor in [3, 4, 3] {
        let mark = dev.mark();
        save(&VISITS.replace("add.count = \"1\"", &format!("add.count = \"{factor}\"")));
        dev.wait_for_line_after(mark, |line| line.starts_with("FAILED  visits: one")).await;
    }
    eventually("the last text is live", PATIENCE, async || {
        let found = home().await;
        if found == Ok(6) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    dev.terminate();
    assert!(dev.wait().await.success(), "{}", dev.stderr());
}

#[tokio::test]
async fn a_faulty_file_is_refused_with_its_line_and_every_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("visits.toml", &VISITS.replace("add.count", "add.counts"));
    write("other.toml", "topics = ");
    // The tests of a projection, and files of other programs, are none.
    write("visits.test.toml", "not = [");
    write("notes.md", "about");
    assert_eq!(
        refused(folder.path()).await,
        r#"readcast: the files of projections are not valid

error: string values must be quoted, expected literal string
 --> other.toml:1:10
  |
1 | topics = 
  |          ^

error: table `visits` has no column `counts`
  --> visits.toml:13:5
   |
13 | add.counts = "1"
   |     ^^^^^^
   |
   = help: did you mean `count`?

"#
    );
    let empty = tempfile::tempdir().unwrap();
    assert!(refused(empty.path()).await.contains("has no file NAME.toml of a projection"));
    assert!(refused(Path::new("nowhere")).await.contains("nowhere can't be read"));
}

#[tokio::test]
async fn a_program_without_projections_says_where_they_come_from() {
    let finished = Readcast::run_released(["run", "--source", "file:events", "--store", "sqlite:r.db"], &[]).await;
    assert_eq!(finished.status.code(), Some(78));
    assert!(finished.stderr.contains("`path` in `[projections]`"), "{}", finished.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_becomes_a_table_by_new_test_and_run_alone() {
    let (kafka, database, folder) = (Kafka::shared().await, Database::create().await, tempfile::tempdir().unwrap());
    let (prefix, app, path) = (unique("library") + ".", unique("library"), folder.path().join("projections"));
    let topic = format!("{prefix}loans");
    kafka.create_topic(&topic, 2).await;
    let lent = |number: usize| {
        let (partition, book) = (i32::try_from(number % 2).unwrap(), format!("book-{number}"));
        let data =
            format!(r#"{{"isbn":"{book}","reader":{{"no":{}}},"due":"2026-02-0{}"}}"#, number % 3, 1 + number % 9);
        let event =
            format!(r#"{{"event_id":"{number}","type":"Lent","timestamp":"2026-01-01T00:00:00Z","data":{data}}}"#);
        (Some(partition), book, event)
    };
    kafka.produce(&topic, (0..20).map(lent));
    let path = path.display().to_string();
    let settings = [
        ("READCAST_KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap()),
        ("READCAST_SOURCE_TOPIC_PREFIX", &prefix),
        ("READCAST_APP", &app),
        ("READCAST_STORE_URL", database.url()),
        ("READCAST_PROJECTIONS_PATH", &path),
    ];
    let typed = async |line: &str| {
        let finished = Readcast::run_released(line.split(' '), &settings).await;
        assert!(finished.status.success(), "{line}: {}{}", finished.stdout, finished.stderr);
        finished.stdout
    };
    typed("new loans --from-topic loans").await;
    assert_eq!(typed("test").await, "ok      loans: the first events of the topic\n1 test, 0 failed\n");
    typed("run --until-end").await;
    assert_eq!(database.value("SELECT count(*) FROM loans WHERE reader_no = 1 AND due < '2026-02-09'").await, "7");
    let tried = typed("try loans --at loans/1@0").await;
    assert!(tried.contains("data.isbn → \"book-1\"") && tried.contains("  loans (book-1): set reader_no 1"), "{tried}");
    let recorded = typed("test loans --record loans --key book-7").await;
    assert!(recorded.starts_with("added test `key book-7 of topic loans` to "), "{recorded}");
    let tested = typed("test").await;
    assert!(tested.ends_with("ok      loans: key book-7 of topic loans\n2 tests, 0 failed\n"), "{tested}");
    assert_eq!(typed("lint --from-log").await, "0 doubts in 1 file\n");

    std::fs::rename(folder.path().join("projections/loans.toml"), folder.path().join("projections/other.toml"))
        .unwrap();
    let status = typed("status").await;
    assert!(status.contains("loans: the database has its tables, and this program does not declare it"), "{status}");
}

/// Loans in a folder of files, with a projection of them.
struct Library {
    folder: tempfile::TempDir,
}

const LOANS: &str = r#"
topics = "loans"

[tables.loans]
key = "loan"
columns.loan = "text"
columns.title = "text null"
columns.fee = "decimal(2) default 0"

[[on]]
event = "Lent"
upsert = "loans"
key = "data.loan"
set.title = "data.title"

[[on]]
event = "Returned"
update = "loans"
key = "data.loan"
add.fee = "data.?fee.orValue(0)"
"#;

impl Library {
    /// With these lines as the first partition of the topic `loans`, read as `settings` say.
    fn with(lines: &[String], settings: &str) -> Self {
        let library = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(library.path("events/loans")).unwrap();
        std::fs::create_dir(library.path("projections")).unwrap();
        std::fs::write(library.path("events/loans/0.ndjson"), lines.join("\n") + "\n").unwrap();
        std::fs::write(library.path("projections/loans.toml"), LOANS).unwrap();
        std::fs::write(library.path("readcast.toml"), settings).unwrap();
        library
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tests(&self) -> String {
        std::fs::read_to_string(self.path("projections/loans.test.toml")).unwrap_or_default()
    }

    async fn typed(&self, line: &str) -> Finished {
        let log = format!("file:{}", self.path("events").display());
        let [config, projections] = ["readcast.toml", "projections"].map(|name| self.path(name).display().to_string());
        let global = ["--config", &config, "--projections", &projections, "--source", &log];
        Readcast::run_released(line.split(' ').chain(global), &[]).await
    }
}

/// A line of the log: the key, and the event.
fn line(key: &str, id: usize, event_type: &str, data: &str) -> String {
    let fields = format!(r#""event_id":"{id}","type":"{event_type}","timestamp":"2026-01-05T10:00:00Z""#);
    format!("{key}\t{{{fields},\"data\":{data}}}")
}

#[tokio::test]
async fn the_records_of_a_key_become_a_test_that_passes() {
    let library = Library::with(
        &[
            line("l1", 1, "Lent", r#"{"loan":"l1","title":"The \"odd\" one's\u0001"}"#),
            line("l2", 2, "Lent", r#"{"loan":"l2","title":"Emma"}"#),
            line("l1", 3, "Returned", r#"{"loan":"l1","fee":12345678901234567.89}"#),
            line("l1", 3, "Returned", r#"{"loan":"l1","fee":12345678901234567.89}"#),
            "l1\tno event".to_owned(),
            line("l1", 4, "Returned", r#"{"loan":"l1","fee":"free"}"#),
            line("l1", 5, "Returned", r#"{"loan":"l1","fee":1}"#),
        ],
        "",
    );
    let before = "# By hand, without a line break at its end.\n[[test]]\nthen.loans = \"loan\"";
    std::fs::write(library.path("projections/loans.test.toml"), before).unwrap();
    let recorded = library.typed("test loans --record loans --key l1 --name odd").await;
    assert!(recorded.status.success(), "{}", recorded.stderr);
    assert!(recorded.stdout.contains("loans.test.toml: 4 events, of which 1 is a dead letter"), "{}", recorded.stdout);
    for left_out in ["loans/0@3, which repeats the id", "loans/0@4, which holds no event: "] {
        assert!(recorded.stderr.contains(&format!("left out: {left_out}")), "{}", recorded.stderr);
    }
    let tests = library.tests();
    assert!(tests.starts_with(before), "{tests}");
    assert!(!tests.contains("l2") && tests.contains("12345678901234567.89"), "{tests}");
    let tested = library.typed("test").await;
    assert!(tested.status.success() && tested.stdout.contains("ok      loans: odd\n2 tests"), "{}", tested.stdout);

    let again = library.typed("test loans --record loans --key l1 --name odd").await;
    assert!(again.stderr.contains("there is a test `odd` at "), "{}", again.stderr);
    assert_eq!(library.tests(), tests);
    let few = library.typed("test loans --record loans --key l1 --records 1").await;
    assert!(few.status.success() && few.stdout.contains(": 1 event\n"), "{}{}", few.stdout, few.stderr);
    assert!(few.stderr.contains("more records with this key: the test has the first 1 record\n"), "{}", few.stderr);
}

#[tokio::test]
async fn a_test_that_can_not_be_made_of_the_log_is_refused_and_nothing_is_written() {
    let library =
        Library::with(&[line("l1", 1, "Lent", r#"{"loan":"l1","title":null}"#), line("s1", 2, "Seen", "1")], "");
    // The key is in another partition as well, so no log keeps the order of its records.
    let renamed = line("l1", 3, "Lent", r#"{"loan":"l1","title":"Emma"}"#);
    std::fs::write(library.path("events/loans/1.ndjson"), renamed + "\n").unwrap();
    for (arguments, reason) in [
        ("test loans --record loans --key l9", "topic `loans` has no record with key `l9`"),
        ("test --record loans --key l1", "--record adds a test to one projection: name that one"),
        ("test loans --record books --key l1", "projection `loans` does not read topic `books`; it reads loans"),
        (
            "test loans --record loans --key s1",
            "the projection takes none of their events, which are of the types `Seen`",
        ),
        ("test loans --record loans --key l1", "the rows depend on the order of events in different partitions"),
    ] {
        let refused = library.typed(arguments).await;
        assert_eq!(refused.status.code(), Some(1), "{arguments}: {}", refused.stdout);
        assert!(refused.stderr.contains(reason), "{arguments}: {}", refused.stderr);
    }
    std::fs::write(library.path("projections/loans.test.toml"), "test = []\n").unwrap();
    let refused = library.typed("test loans --record loans --key l1 --records 1").await;
    assert_eq!(refused.status.code(), Some(78), "{}", refused.stderr);
    assert_eq!(library.tests(), "test = []\n");
    assert_eq!(std::fs::read_dir(library.path("projections")).unwrap().count(), 2, "no other file is left");
}

#[tokio::test]
async fn a_try_of_a_record_with_several_events_fails_if_one_of_them_is_a_dead_letter() {
    let settings = "[topics.loans]\nformat = \"json\"\nevents = \"body:/items\"\ntype = \"body:/type\"\ndata = \"body:/data\"\n\
                    event_id = \"position\"\ntimestamp = \"body:/at as seconds\"\n";
    let of = |first: &str, second: &str| {
        let item = |data: &str| format!(r#"{{"type":"Lent","at":1,"data":{{"loan":"l1",{data}}}}}"#);
        format!(r#"{{"items":[{},{}]}}"#, item(first), item(second))
    };
    let (good, bad) = (r#""title":"Emma""#, r#""name":"Emma""#);
    let library = Library::with(&[of(good, good), of(bad, good), of(good, bad)], settings);
    for (offset, code) in [(0, 0), (1, 1), (2, 1)] {
        let tried = library.typed(&format!("try loans --at loans/0@{offset}")).await;
        assert_eq!(tried.status.code(), Some(code), "{offset}: {}{}", tried.stdout, tried.stderr);
    }
}

#[tokio::test]
async fn lint_names_types_and_fields_that_no_event_of_the_log_has() {
    let library = Library::with(&[line("l1", 1, "Lent", r#"{"loan":"l1","titel":"Emma"}"#)], "");
    assert_eq!(library.typed("lint").await.stdout, "0 doubts in 1 file\n");
    let linted = library.typed("lint --from-log --strict").await;
    assert_eq!(linted.status.code(), Some(1), "{}", linted.stderr);
    let folder = format!("{}/", library.path("projections").display());
    assert_eq!(
        linted.stdout.replace(&folder, ""),
        "loans.toml:10: no event of type `Lent` among 1 has `data.title` (did you mean `data.titel`?)\n\
         loans.toml:16: no event is of type `Returned` among 1 that were read of loans; there are `Lent`\n\
         2 doubts in 1 file\n"
    );
}
