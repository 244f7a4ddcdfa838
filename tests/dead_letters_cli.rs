//! The commands `dead-letters` and `accept-loss`, against a real database with real dead letters in it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::shop::{FileShop, append, events};
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::postgres::Database;
use crate::support::process::{Finished, Readcast};

/// Stands in payloads, and must not stand in what masks them.
const CANARY: &str = "canary@example.com";

/// A folder of files as the log, and a Postgres that the program fills from it.
struct Clinic {
    log: FileShop,
    database: Database,
}

impl Clinic {
    /// Ten orders that are well, in one partition.
    async fn new() -> Self {
        let log = FileShop::new();
        log.write(1, events(10));
        Self { log, database: Database::create().await }
    }

    /// The same with two orders more, that can't be placed: `ord_a` with one event behind it, `ord_b` with two.
    /// `order_summary` must have an e-mail address; the other two projections do not look at it.
    async fn with_poison() -> Self {
        let clinic = Self::new().await;
        clinic.append("ord_a", &event("ORDER_PLACED", "ord_a", "e-mail"));
        clinic.append("ord_a", &event("ORDER_PAID", "ord_a", "email"));
        clinic.append("ord_b", &event("ORDER_PLACED", "ord_b", "e-mail"));
        clinic.append("ord_b", &event("ORDER_PAID", "ord_b", "email"));
        clinic.append("ord_b", &event("ORDER_SHIPPED", "ord_b", "email"));
        clinic.project().await;
        clinic
    }

    fn append(&self, key: &str, value: &str) {
        append(&self.log.partition(0), &format!("{key}\t{value}\n"));
    }

    /// Appends so many events of one order.
    fn append_many(&self, order: &str, count: usize) {
        let shipped = event("ORDER_SHIPPED", order, "email");
        let numbered = |n| shipped.replace(&format!("ORDER_SHIPPED-{order}"), &format!("{n}-{order}"));
        let lines: String = (0..count).map(|n| format!("{order}\t{}\n", numbered(n))).collect();
        append(&self.log.partition(0), &lines);
    }

    fn arguments(&self, arguments: &[&str]) -> Vec<String> {
        let source = format!("file:{}", self.log.events_dir().display());
        let urls = ["--source", &source, "--store", self.database.url(), "--admin-listen", "127.0.0.1:0"];
        arguments.iter().copied().chain(urls).map(str::to_owned).collect()
    }

    async fn project(&self) {
        let finished = self.run(&["run", "--until-end"]).await;
        assert!(finished.status.success(), "{}", finished.stderr);
    }

    async fn run(&self, arguments: &[&str]) -> Finished {
        Readcast::run(self.arguments(arguments), &[]).await
    }

    async fn dead_letters(&self, arguments: &[&str]) -> Finished {
        self.run(&[&["dead-letters"], arguments].concat()).await
    }

    /// What is parked of `order_summary`, by first positions, with how many records wait.
    async fn parked(&self) -> Vec<String> {
        const PARKED: &str = "
            SELECT min(record_offset), count(*) FROM readcast.dead_letters WHERE projection = 'order_summary'
            GROUP BY sequence ORDER BY 1";
        self.database.rows(PARKED).await
    }

    async fn statuses_of_orders(&self) -> Vec<String> {
        self.database
            .rows("SELECT order_id, status FROM order_summary WHERE order_id IN ('ord_a', 'ord_b') ORDER BY 1")
            .await
    }

    async fn operations(&self) -> String {
        self.database.value("SELECT count(*) FROM readcast.operations").await
    }
}

fn event(kind: &str, order: &str, email: &str) -> String {
    format!(
        r#"{{"event_id":"{kind}-{order}","type":"{kind}","timestamp":"2024-05-20T14:30:00Z","data":{{"order_id":"{order}","customer":{{"id":"c","{email}":"{CANARY}"}},"items":[],"total_amount":1.50}}}}"#
    )
}

fn succeeded(finished: Finished) -> String {
    assert!(finished.status.success(), "{}{}", finished.stdout, finished.stderr);
    finished.stdout
}

fn json(finished: Finished) -> Vec<serde_json::Value> {
    serde_json::from_str(&succeeded(finished)).unwrap()
}

/// The partitions of `status --output json`.
fn partitions(finished: Finished) -> Vec<serde_json::Value> {
    let mut status: serde_json::Value = serde_json::from_str(&succeeded(finished)).unwrap();
    serde_json::from_value(status["partitions"].take()).unwrap()
}

/// Exit code and standard error of what was refused.
fn refused(finished: &Finished) -> (Option<i32>, &str) {
    assert!(!finished.status.success(), "{}", finished.stdout);
    (finished.status.code(), &finished.stderr)
}

#[tokio::test]
async fn parked_keys_are_listed_and_status_shows_the_command_to_type() {
    let clinic = Clinic::with_poison().await;
    let listed = succeeded(clinic.dead_letters(&["list"]).await);
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 5, "a heading, two keys, a gap and the total:\n{listed}");
    for (line, first, key) in [(lines[1], "orders/0@10", "ord_a"), (lines[2], "orders/0@12", "ord_b")] {
        for part in ["order_summary", first, key, "unprojectable"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    assert!(lines[4].starts_with("2 keys, 5 records, ") && lines[4].contains("(unprojectable 2)"), "{listed}");
    assert!(lines[4].ends_with("Next: `readcast dead-letters show order_summary orders/0@10`"), "{listed}");
    let of_b = json(clinic.dead_letters(&["list", "order_summary", "--key", "ord_b", "--output", "json"]).await);
    assert_eq!(of_b.len(), 1);
    let expected = serde_json::json!({"projection": "order_summary", "generation": 1, "first": "orders/0@12",
        "topic": "orders", "partition": 0, "offset": 12, "key": "ord_b", "class": "unprojectable", "attempts": 0,
        "records": 3, "since": of_b[0]["since"], "bytes": of_b[0]["bytes"]});
    assert_eq!(of_b[0], expected);
    let status = succeeded(clinic.run(&["status"]).await);
    let remark = "order_summary: generation 1 (live) has 5 records of 2 keys parked, the oldest since ";
    assert!(status.contains(remark), "{status}");
    assert!(status.contains("Next: `readcast dead-letters list order_summary`"), "{status}");
    for line in partitions(clinic.run(&["status", "--output", "json"]).await) {
        let is_it = line["projection"] == "order_summary";
        let (keys, records) = if is_it { (2, 5) } else { (0, 0) };
        assert_eq!((line["parked_keys"].as_i64(), line["parked_records"].as_i64()), (Some(keys), Some(records)));
        assert_eq!(line["oldest_parked"].is_null(), !is_it);
        assert_eq!((&line["state"], &line["lag"]), (&"live".into(), &0.into()), "all else went on");
    }
    for text in [listed, status] {
        assert!(!text.contains(CANARY) && !text.contains("missing field"), "{text}");
    }
}

#[tokio::test]
async fn a_listing_shows_the_keys_that_match_every_flag() {
    let clinic = Clinic::with_poison().await;
    let firsts = async |flags: &[&str]| {
        let listed = json(clinic.dead_letters(&[&["list", "order_summary", "--output", "json"], flags].concat()).await);
        listed.iter().map(|line| line["offset"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    // As another clock writes it, an hour after and before.
    let hours = |hours: &str| {
        format!(
            "SELECT to_char(now() AT TIME ZONE 'UTC' + interval '{hours} hours', 'YYYY-MM-DD\"T\"HH24:MI:SS.US+00:00')"
        )
    };
    let (before, after) = (clinic.database.value(&hours("-1")).await, clinic.database.value(&hours("1")).await);
    assert_eq!(firsts(&["--since", &before, "--until", &after]).await, [10, 12]);
    assert_eq!(firsts(&["--since", &after]).await, [0_i64; 0]);
    assert_eq!(firsts(&["--until", &before]).await, [0_i64; 0]);
    assert_eq!(firsts(&["--class", "unprojectable", "--first", "orders/0@12"]).await, [12]);
    assert_eq!(firsts(&["--class", "undecodable"]).await, [0_i64; 0]);
    assert_eq!(firsts(&["--key", "ord_a", "--generation", "1"]).await, [10]);
    assert_eq!(succeeded(clinic.dead_letters(&["list", "product_sales"]).await), "nothing is parked\n");
}

#[tokio::test]
async fn a_payload_is_masked_unless_it_is_asked_for() {
    let clinic = Clinic::with_poison().await;
    clinic.append_many("ord_b", 20);
    clinic.project().await;
    let show = ["show", "order_summary", "orders/0@12"];
    let masked = succeeded(clinic.dead_letters(&show).await);
    let parts = [
        "unprojectable",
        "missing field `email`",
        "23 records",
        "orders/0@13",
        "orders/0@14",
        "and 2 more",
        "5 bytes; --payload",
    ];
    for part in parts {
        assert!(masked.contains(part), "{part}: {masked}");
    }
    assert!(masked.contains("`readcast dead-letters retry order_summary --first orders/0@12`"), "{masked}");
    assert!(!masked.contains(CANARY) && !masked.contains("ord_b"), "{masked}");
    let whole = succeeded(clinic.dead_letters(&[show.as_slice(), &["--payload"]].concat()).await);
    assert!(whole.contains(&event("ORDER_PLACED", "ord_b", "e-mail")), "{whole}");
}

#[tokio::test]
async fn records_are_printed_as_inert_text() {
    let clinic = Clinic::new().await;
    let key = "\u{1b}[31m=HYPERLINK(\"http://x\")<script>alert(1)</script>\u{9b}2J\u{202e}";
    let value = "\u{1b}]0;owned\u{7} @SUM(1+1) <script>";
    clinic.append(key, value);
    clinic.project().await;
    let export = clinic.dead_letters(&["export", "order_summary"]).await.stdout;
    let record: serde_json::Value = serde_json::from_str(&export).unwrap();
    assert_eq!((&record["key_text"], &record["value_text"]), (&key.into(), &value.into()), "nothing is lost");
    let show = ["dead-letters", "show", "order_summary", "orders/0@10", "--payload"];
    let shown = succeeded(clinic.run(&show).await);
    let inert = r#"\u{1b}[31m=HYPERLINK("http://x")<script>alert(1)</script>\u{9b}2J\u{202e}"#;
    assert!(shown.contains(inert) && shown.contains(r"\u{1b}]0;owned\u{7} @SUM(1+1) <script>"), "{shown}");
    let commands: [&[&str]; 7] = [
        &show,
        &show[..4],
        &["dead-letters", "list"],
        &["dead-letters", "list", "--output", "json"],
        &["dead-letters", "export", "order_summary"],
        &["dead-letters", "retry", "order_summary", "--all"],
        &["status"],
    ];
    for command in commands {
        let Finished { stdout, stderr, .. } = clinic.run(command).await;
        let printed = stdout + &stderr;
        let obeyed = printed.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        assert_eq!(obeyed, None, "{command:?}: {printed:?}");
        assert!(!printed.is_empty());
    }
}

#[tokio::test]
async fn a_retry_names_what_still_fails_until_an_edit_corrects_it_and_verify_knows_the_edit() {
    let clinic = Clinic::with_poison().await;
    let again = clinic.dead_letters(&["retry", "order_summary", "--key", "ord_a"]).await;
    let (code, told) = refused(&again);
    assert_eq!(code, Some(1));
    assert!(told.contains("orders/0@10 (unprojectable)"), "{told}");
    let listed = json(clinic.dead_letters(&["list", "--key", "ord_a", "--output", "json"]).await);
    assert_eq!((&listed[0]["attempts"], &listed[0]["records"]), (&1.into(), &2.into()));
    let file = clinic.log.dir() + "/corrected.json";
    std::fs::write(&file, event("ORDER_PLACED", "ord_a", "email") + "\n").unwrap();
    let edited = ["retry", "order_summary", "--first", "orders/0@10", "--edit", &file];
    assert!(succeeded(clinic.dead_letters(&edited).await).contains("projected 2 records; key ord_a is free"));
    assert_eq!(clinic.statuses_of_orders().await, ["ord_a|paid"]);
    assert_eq!(clinic.parked().await, ["12|3"], "the other key waits on");
    succeeded(clinic.run(&["verify", "order_summary"]).await);
    let settled = clinic.dead_letters(&edited).await;
    assert!(
        refused(&settled).1.contains("no parked key that matches has its first record at orders/0@10"),
        "{}",
        settled.stderr
    );
}

#[tokio::test]
async fn a_discard_leaves_out_the_first_record_or_all_of_them() {
    let clinic = Clinic::with_poison().await;
    succeeded(clinic.dead_letters(&["discard", "order_summary", "--key", "ord_a"]).await);
    assert_eq!(clinic.statuses_of_orders().await, ["ord_a|paid"], "what was behind it is projected");
    succeeded(clinic.dead_letters(&["discard", "order_summary", "--all", "--whole"]).await);
    assert_eq!(clinic.statuses_of_orders().await, ["ord_a|paid"]);
    assert_eq!(clinic.parked().await, [""; 0]);
    let nothing = succeeded(clinic.dead_letters(&["retry", "order_summary", "--all"]).await);
    assert_eq!(nothing, "order_summary: no parked key matches\n");
    succeeded(clinic.run(&["verify", "order_summary"]).await);
}

#[tokio::test]
async fn a_dry_run_shows_how_much_it_is_and_changes_nothing() {
    let clinic = Clinic::with_poison().await;
    let commands: [(&[&str], &str); 4] = [
        (&["retry", "order_summary", "--all"], "would retry 2 keys, 5 records, "),
        (&["retry", "order_summary", "--key", "ord_a"], "would retry 1 key, 2 records, "),
        (&["discard", "order_summary", "--all"], "would discard the first record of each key, and retry the rest, of "),
        (&["discard", "order_summary", "--key", "ord_b", "--whole"], "would discard 1 key, 3 records, "),
    ];
    for (command, said) in commands {
        let told = succeeded(clinic.dead_letters(&[command, &["--dry-run"]].concat()).await);
        assert!(told.contains(said) && told.contains("(unprojectable "), "{told}");
    }
    assert_eq!(clinic.parked().await, ["10|2", "12|3"]);
    assert_eq!(clinic.operations().await, "0");
}

#[tokio::test]
async fn an_export_has_every_parked_record_byte_for_byte_in_the_order_of_the_log() {
    let clinic = Clinic::with_poison().await;
    // More than are read at once.
    clinic.append_many("ord_b", 600);
    append(&clinic.log.partition(0), "no event, and no key\n");
    clinic.project().await;
    let lines =
        |text: String| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<serde_json::Value>>();
    let all = lines(succeeded(clinic.dead_letters(&["export", "order_summary"]).await));
    let offsets: Vec<i64> = all.iter().map(|line| line["offset"].as_i64().unwrap()).collect();
    assert_eq!(offsets, (10..=615).collect::<Vec<_>>());
    let bytes = |value: &serde_json::Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
    let written = std::fs::read_to_string(clinic.log.partition(0)).unwrap();
    for (line, written) in all[..605].iter().zip(written.lines().skip(10)) {
        let (key, value) = written.split_once('\t').unwrap();
        assert_eq!((bytes(&line["key"]), bytes(&line["value"])), (key.into(), value.into()));
        assert_eq!((&line["key_text"], &line["value_text"]), (&key.into(), &value.into()));
    }
    let classes = all.iter().filter_map(|line| Some((line["offset"].as_i64()?, line["class"].as_str()?)));
    let poison = [(10, "unprojectable"), (12, "unprojectable"), (615, "undecodable")];
    assert_eq!(classes.collect::<Vec<_>>(), poison, "the others only wait");
    assert!(all[605]["key"].is_null() && all[605].get("key_text").is_none(), "{}", all[605]);
    let one = lines(succeeded(clinic.dead_letters(&["export", "order_summary", "--class", "undecodable"]).await));
    assert_eq!(one, all[605..]);
}

#[tokio::test]
async fn a_running_instance_carries_out_a_retry_and_projects_the_key_again() {
    let clinic = Clinic::with_poison().await;
    let mut instance = Readcast::start(clinic.arguments(&["run"]), &[]);
    instance.wait_for_line(|line| line.contains("partition claimed") && line.contains("order_summary")).await;
    let file = clinic.log.dir() + "/corrected.json";
    std::fs::write(&file, event("ORDER_PLACED", "ord_b", "email")).unwrap();
    succeeded(clinic.dead_letters(&["retry", "order_summary", "--first", "orders/0@12", "--edit", &file]).await);
    clinic.append("ord_b", &event("ORDER_CANCELLED", "ord_b", "email"));
    eventually("what comes next of the key is projected", PATIENCE, async || {
        let orders = clinic.statuses_of_orders().await;
        if orders == ["ord_b|cancelled"] { Ok(()) } else { Err(format!("{orders:?}")) }
    })
    .await;
    assert_eq!(clinic.parked().await, ["10|2"]);
    instance.terminate();
    assert!(instance.wait().await.success());
}

#[tokio::test]
async fn invalid_input_is_refused_by_name_and_changes_nothing() {
    let clinic = Clinic::with_poison().await;
    let not_text = clinic.log.dir() + "/not-text";
    std::fs::write(&not_text, b"\xff").unwrap();
    let refusals: [(&[&str], i32, &str); 13] = [
        (&["list", "--class", "undecodabel"], 2, "a similar value exists: 'undecodable'"),
        (&["list", "--since", "yesterday"], 2, "such as 2024-05-20T14:30:00Z"),
        (&["list", "nothing"], 1, "there is no projection `nothing`; there are: customer_orders, order_summary"),
        (&["list", "order_summary", "--generation", "7"], 1, "no generation 7"),
        (&["show", "order_summary", "orders@10"], 2, "such as orders/3@17"),
        (
            &["show", "order_summary", "orders/0@11"],
            1,
            "no parked key that matches has its first record at orders/0@11",
        ),
        (&["retry", "order_summary"], 1, "or --all for all keys"),
        (&["discard", "order_summary", "--whole"], 1, "or --all for all keys"),
        (&["discard", "order_summary", "--all", "--key", "ord_a"], 2, "cannot be used with"),
        (&["retry", "order_summary", "--all", "--edit", &not_text], 2, "cannot be used with"),
        (&["retry", "order_summary", "--key", "ord_a", "--edit", &not_text], 1, "as UTF-8 text"),
        (&["retry", "order_summary", "--first", "orders/0@10", "--edit", &not_text], 1, "as UTF-8 text"),
        (&["discard", "nothing", "--all"], 1, "there is no projection `nothing`"),
    ];
    for (arguments, code, reason) in refusals {
        let finished = clinic.dead_letters(arguments).await;
        assert_eq!(finished.status.code(), Some(code), "{arguments:?}: {}{}", finished.stdout, finished.stderr);
        assert!(finished.stderr.contains(reason), "{arguments:?}: {}", finished.stderr);
    }
    assert_eq!(clinic.parked().await, ["10|2", "12|3"]);
    assert_eq!(clinic.operations().await, "0");
}

#[tokio::test]
async fn a_loss_of_the_log_is_shown_rehearsed_and_accepted() {
    let clinic = Clinic::new().await;
    clinic.project().await;
    let nothing_lost = succeeded(clinic.run(&["accept-loss", "order_summary", "--dry-run"]).await);
    assert_eq!(nothing_lost, "order_summary: the log has lost no record that was still to be read\n");
    assert_eq!(refused(&clinic.run(&["accept-loss", "order_summary"]).await).0, Some(1));
    let whole = std::fs::read_to_string(clinic.log.partition(0)).unwrap();
    std::fs::write(clinic.log.partition(0), whole.lines().take(7).collect::<Vec<_>>().join("\n") + "\n").unwrap();
    let only = ["run", "--until-end", "--only", "order_summary"];
    assert_eq!(refused(&clinic.run(&only).await).0, Some(1));
    let lost =
        "orders/0 of generation 1: the log was truncated at 7 and had been read up to 10; reading can resume at 7";
    let status = succeeded(clinic.run(&["status"]).await);
    let next = format!("order_summary: {lost}. Next: restore it, or `readcast accept-loss order_summary`");
    assert!(status.contains(&next), "{status}");
    let rehearsed = succeeded(clinic.run(&["accept-loss", "order_summary", "--dry-run"]).await);
    assert!(rehearsed.contains(lost) && rehearsed.contains("Nothing was changed"), "{rehearsed}");
    assert_eq!(refused(&clinic.run(&only).await).0, Some(1), "it was only a rehearsal");
    assert!(succeeded(clinic.run(&["accept-loss", "order_summary"]).await).contains(lost));
    clinic.append("ord_a", &event("ORDER_PLACED", "ord_a", "email"));
    succeeded(clinic.run(&only).await);
    assert_eq!(clinic.statuses_of_orders().await, ["ord_a|placed"]);
    let rebuild = ["rebuild", "order_summary", "--wait", "--accept-truncated", "--accept-difference"];
    succeeded(clinic.run(&rebuild).await);
    succeeded(clinic.run(&["verify", "order_summary"]).await);
}

#[tokio::test]
async fn check_shows_the_settings_for_poison_and_duplicates_and_warns_of_those_without_effect() {
    let clinic = Clinic::new().await;
    clinic.project().await;
    let plain = succeeded(clinic.run(&["check"]).await);
    assert!(!plain.contains("parking") && !plain.contains("WARNING"), "{plain}");
    assert!(plain.contains("an event is identified by the id in the event, over 131,072 offsets"), "{plain}");
    let status = partitions(clinic.run(&["status", "order_summary", "--output", "json"]).await);
    assert_eq!(status[0]["duplicate_window"], 131_072, "{status:?}");
    let later = succeeded(Readcast::run(clinic.arguments(&["check"]), &[("READCAST_DUPLICATE_MEMORY", "1 MiB")]).await);
    assert!(later.contains("over 131,072 offsets, and over 2,048 offsets after a rebuild"), "{later}");
    let shown = succeeded(Readcast::run(clinic.arguments(&["status"]), &[]).await);
    assert!(shown.contains("WINDOW") && shown.contains(" 131072 "), "{shown}");
    let checked = async |envs: &[(&str, &str)]| {
        let finished = Readcast::run(clinic.arguments(&["check"]), envs).await;
        succeeded(finished)
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
    };
    let without_window = checked(&[
        ("READCAST_DUPLICATE_ID", "header:id"),
        ("READCAST_DUPLICATE_WINDOW", "0"),
        ("READCAST_MAX_PARKED", "0"),
    ])
    .await;
    let parts = [
        "ok order_summary: parking no record is parked: the projection halts at the first record that can't be projected",
        "WARNING order_summary: duplicates `duplicate_id` has no effect, because `duplicate_window` is 0",
    ];
    for part in parts {
        assert!(without_window.iter().any(|line| line == part), "{part}: {without_window:?}");
    }
    let envs = [
        ("READCAST_DUPLICATE_ID", "header:id"),
        ("READCAST_DUPLICATE_WINDOW", "1000"),
        ("READCAST_MAX_RECORD_BYTES", "1 MiB"),
    ];
    let parts = [
        "ok order_summary: record size records of more than 1048576 bytes are parked unread",
        "ok order_summary: duplicates an event is identified by the header `id`, over 1,000 offsets",
    ];
    let with_window = checked(&envs).await;
    for part in parts {
        assert!(with_window.iter().any(|line| line == part), "{part}: {with_window:?}");
    }
}

/// The clinic with one record that no projection can decode, with an event of the same key behind it.
async fn with_one_record_parked_in_three_projections() -> Clinic {
    let clinic = Clinic::new().await;
    clinic.append("ord_a", r#"{"event_id":"broken"}"#);
    clinic.append("ord_a", &event("ORDER_PAID", "ord_a", "email"));
    clinic.project().await;
    clinic
}

async fn parked_in(clinic: &Clinic) -> String {
    clinic.database.value("SELECT string_agg(DISTINCT projection, ' ') FROM readcast.dead_letters").await
}

fn file_with(clinic: &Clinic, text: &str) -> String {
    let path = std::path::Path::new(&clinic.log.dir()).join("edited.json");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_record_that_several_projections_have_parked_is_listed_and_edited_once() {
    let clinic = with_one_record_parked_in_three_projections().await;
    let listed = succeeded(clinic.dead_letters(&["list"]).await);
    assert_eq!(listed.matches("orders/0@10").count(), 2, "one line, and what to type next:\n{listed}");
    assert!(listed.contains("customer_orders, order_summary, product_sales"), "{listed}");
    let file = file_with(&clinic, &event("ORDER_PLACED", "ord_a", "email"));
    let edit = ["retry", "--key", "ord_a", "--edit", &file, "--by", "ann", "--reason", "the producer crashed"];
    let rehearsed = succeeded(clinic.dead_letters(&[&edit[..], &["--dry-run"]].concat()).await);
    for part in [
        "order_summary: orders/0@10 as `ORDER_PLACED` would change:",
        "order_summary (ord_a): ",
        "set status placed",
        "customer_orders (c): add orders 1",
        "Nothing was changed",
    ] {
        assert!(rehearsed.contains(part), "{part}: {rehearsed}");
    }
    assert_eq!(parked_in(&clinic).await, "customer_orders order_summary product_sales");
    let edited = succeeded(clinic.dead_letters(&edit).await);
    assert_eq!(edited.matches("key ord_a is free").count(), 3, "{edited}");
    assert!(edited.contains("order_summary: projected 2 records"), "{edited}");
    assert_eq!(parked_in(&clinic).await, "null");
    assert_eq!(clinic.statuses_of_orders().await, ["ord_a|paid"]);
    let decisions = succeeded(clinic.dead_letters(&["decisions"]).await);
    for part in ["orders/0@10", "replace", "ann", "the producer crashed", "product_sales"] {
        assert!(decisions.contains(part), "{part}: {decisions}");
    }
    // And that the record behind it was projected: a rebuild does the same.
    assert_eq!((decisions.lines().count(), decisions.matches("accept").count()), (5, 1), "{decisions}");
}

#[tokio::test]
async fn an_edit_that_is_another_event_or_none_is_refused_before_anything_changes() {
    let clinic = Clinic::with_poison().await;
    let before = clinic.operations().await;
    let other = file_with(&clinic, &event("ORDER_PAID", "ord_b", "email"));
    let refusal = clinic.dead_letters(&["retry", "--first", "orders/0@10", "--edit", &other]).await;
    let (_, said) = refused(&refusal);
    assert!(said.contains("orders/0@10 is event `ORDER_PLACED-ord_a`"), "{said}");
    assert!(said.contains("the edited value is event `ORDER_PAID-ord_b`"), "{said}");
    let none = file_with(&clinic, r#"{"event_id":"ORDER_PLACED-ord_a"}"#);
    let refusal = clinic.dead_letters(&["retry", "--first", "orders/0@10", "--edit", &none]).await;
    assert!(refused(&refusal).1.contains("the edited value is no event: "), "{}", refusal.stderr);
    let unprojectable = file_with(&clinic, &event("ORDER_PLACED", "ord_a", "e-mail"));
    let refusal = clinic.dead_letters(&["retry", "--first", "orders/0@10", "--edit", &unprojectable]).await;
    assert!(refused(&refusal).1.contains("the edited value can't be projected: "), "{}", refusal.stderr);
    let right = file_with(&clinic, &event("ORDER_PLACED", "ord_a", "email"));
    let refusal = clinic.dead_letters(&["retry", "--class", "unprojectable", "--edit", &right]).await;
    assert!(refused(&refusal).1.contains("--edit replaces one record, and 2 keys match"), "{}", refusal.stderr);
    let nowhere = clinic.dead_letters(&["retry", "--first", "orders/0@999"]).await;
    assert!(refused(&nowhere).1.contains("no projection has parked a key that matches"), "{}", nowhere.stderr);
    assert_eq!(clinic.operations().await, before, "nothing was requested");
    succeeded(clinic.dead_letters(&["retry", "--key", "ord_a", "--edit", &right]).await);
    assert_eq!(clinic.statuses_of_orders().await, ["ord_a|paid"]);
}

#[tokio::test]
async fn a_decision_can_be_taken_back_and_a_rebuild_meets_the_record_again() {
    let clinic = Clinic::with_poison().await;
    let discard = ["discard", "--projection", "order_summary", "--key", "ord_a", "--whole", "--by", "ben"];
    succeeded(clinic.dead_letters(&discard).await);
    assert_eq!(clinic.parked().await, ["12|3"]);
    let nothing = clinic.dead_letters(&["revoke", "orders/0@12"]).await;
    assert!(refused(&nothing).1.contains("no operator has decided about orders/0@12"), "{}", nothing.stderr);
    let revoke = ["--reason", "it was right", "--by", "ann"];
    for first in ["orders/0@10", "orders/0@11"] {
        let revoked = succeeded(clinic.dead_letters(&[&["revoke", first], &revoke[..]].concat()).await);
        assert!(revoked.contains("`readcast rebuild order_summary --wait --accept-difference`"), "{revoked}");
    }
    let recorded = "SELECT requested_by, outcome FROM readcast.operations ORDER BY id DESC LIMIT 1";
    let recorded = clinic.database.rows(recorded).await;
    assert_eq!(recorded, ["ann|revoked the decision about orders/0@11: it was right"]);
    let again = clinic.dead_letters(&["revoke", "orders/0@10", "--projection", "order_summary"]).await;
    assert!(refused(&again).1.contains("no operator has decided about orders/0@10"), "{}", again.stderr);
    succeeded(clinic.run(&["rebuild", "order_summary", "--wait", "--accept-difference"]).await);
    let parked = "SELECT record_offset FROM readcast.dead_letters WHERE generation = 2 ORDER BY 1";
    assert_eq!(clinic.database.rows(parked).await, ["10", "11", "12", "13", "14"]);
}

#[tokio::test]
async fn a_rollback_that_would_undo_a_decision_says_so_before_it_happens() {
    let clinic = Clinic::with_poison().await;
    succeeded(clinic.run(&["rebuild", "order_summary", "--wait"]).await);
    // A decision that the standby could not follow: its code was gone when an operator made it.
    clinic
        .database
        .execute(
            "INSERT INTO readcast.amendments (projection, topic, partition, record_offset, action, made_by)
             VALUES ('order_summary', 'orders', 0, 10, 'discard', 'ann')",
        )
        .await;
    let refusal = clinic.run(&["rollback", "order_summary"]).await;
    let (code, said) = refused(&refusal);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("the standby generation 1 still has 1 record parked") && said.contains("orders/0@10"),
        "{said}"
    );
    assert!(said.contains("--undo-decisions"), "{said}");
    succeeded(clinic.run(&["rollback", "order_summary", "--undo-decisions"]).await);
    let live = clinic
        .database
        .value("SELECT generation FROM readcast.generations WHERE state = 'live' AND projection = 'order_summary'")
        .await;
    assert_eq!(live, "1");
}
