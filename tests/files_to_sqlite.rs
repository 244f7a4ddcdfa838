//! The embedded default end to end: files in, SQLite out.

use std::fmt::Write as _;
use std::time::Duration;

use crate::oracle::assert_same;
use crate::shop::{FileShop, append, events, expected};
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::process::Readcast;

const A_MILLION: usize = 1_000_000;

#[tokio::test]
async fn a_million_events_give_the_rows_of_an_independent_fold_after_20_kills() {
    let shop = FileShop::new();
    shop.write(4, events(A_MILLION));
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let goal = 3 * i64::try_from(A_MILLION).unwrap();
    let mut kills: Vec<i64> = (0..20).map(|_| random.i64(0..goal * 9 / 10)).collect();
    kills.sort_unstable();
    for kill in kills {
        let mut instance = shop.start(&["run", "--until-end"], &[]);
        eventually(&format!("{kill} events are projected (seed {seed})"), 2 * PATIENCE, async || {
            let progress = shop.progress().await;
            if progress >= kill { Ok(()) } else { Err(progress) }
        })
        .await;
        instance.kill9();
    }
    let finished = shop.run(&["run", "--until-end"]).await;
    assert!(finished.status.success(), "{}", finished.stderr);
    assert_same(&shop.tables().await, &expected(A_MILLION));
    assert_eq!(shop.progress().await, goal);
}

#[tokio::test]
async fn a_kill_at_any_failpoint_neither_loses_nor_duplicates_an_event() {
    for failpoint in ["after_poll", "after_begin", "after_checkpoint", "after_rows", "after_commit"] {
        let shop = FileShop::new();
        shop.write(2, events(5_000));
        for count in ["1", "3"] {
            let armed = format!("{failpoint}:{count}");
            let envs = [("READCAST_FAILPOINT", armed.as_str()), ("READCAST_BATCH_RECORDS", "500")];
            let mut instance = shop.start(&["run", "--until-end"], &envs);
            instance.dies_at(failpoint).await;
        }
        let finished = shop.run(&["run", "--until-end"]).await;
        assert!(finished.status.success(), "{failpoint}: {}", finished.stderr);
        assert_same(&shop.tables().await, &expected(5_000));
    }
}

#[tokio::test]
async fn events_are_projected_as_they_are_appended_and_an_incomplete_line_is_not_an_event() {
    let shop = FileShop::new();
    shop.write(1, events(100));
    let mut instance = shop.start(&["run"], &[]);
    let reaches = async |goal: i64| {
        eventually(&format!("{goal} events are projected"), PATIENCE, async || {
            let progress = shop.progress().await;
            if progress == goal { Ok(()) } else { Err(progress) }
        })
        .await;
    };
    reaches(300).await;
    let (key, event) = events(101).last().unwrap();
    let (half, rest) = event.split_at(event.len() / 2);
    append(&shop.partition(0), &format!("{key}\t{half}"));
    // Another partition shows that the source has looked again, and taken nothing of the unfinished line.
    append(
        &shop.partition(1),
        "{\"event_id\":\"e\",\"type\":\"OTHER\",\"timestamp\":\"2024-05-20T00:00:00Z\",\"data\":1}\n",
    );
    reaches(303).await;
    append(&shop.partition(0), &format!("{rest}\n"));
    reaches(306).await;
    instance.terminate();
    assert!(instance.wait().await.success(), "{}", instance.stderr());
    assert_same(&shop.tables().await, &expected(101));
}

/// A shop in which the 51st of 100 events has no e-mail address: `order_summary` must have one, the other projections do
/// not look at it.
fn shop_with_poison() -> FileShop {
    let shop = FileShop::new();
    shop.write(1, events(50));
    let (key, poison) = events(51).last().unwrap();
    append(&shop.partition(0), &format!("{key}\t{}\n", poison.replace("\"email\"", "\"e-mail\"")));
    shop.write(1, events(100).skip(51));
    shop
}

#[tokio::test]
async fn poison_parks_its_key_and_everything_else_continues() {
    let shop = shop_with_poison();
    let finished = shop.run(&["run", "--until-end"]).await;
    assert!(finished.status.success(), "{}", finished.stderr);
    assert!(finished.stderr.contains("parked") && finished.stderr.contains("orders/0@50"), "{}", finished.stderr);
    let (key, _) = events(51).last().unwrap();
    let behind = events(100).skip(51).filter(|(other, _)| *other == key).count();
    let quarantine =
        "SELECT projection, CAST(key AS TEXT), first_offset, reason, records_behind FROM readcast_quarantine";
    assert_eq!(shop.rows(quarantine).await.unwrap(), [format!("order_summary|{key}|50|unprojectable|{behind}")]);
    let offsets = shop.rows("SELECT DISTINCT next_offset FROM readcast_checkpoints").await.unwrap();
    assert_eq!(offsets, ["100"]);
    let (mut found, mut wanted) = (shop.tables().await, expected(100));
    // Only the rows of that key are behind.
    for table in ["order_summary", "order_lines"] {
        let others = |rows: &mut Vec<String>| rows.retain(|row| !row.starts_with(&format!("{key}|")));
        found.get_mut(table).map(others);
        wanted.get_mut(table).map(others);
    }
    assert_same(&found, &wanted);
}

#[tokio::test]
async fn poison_halts_only_its_projection_if_nothing_may_be_parked() {
    let shop = shop_with_poison();
    let halts = Readcast::run(shop.arguments(&["run", "--until-end"]), &[("READCAST_MAX_PARKED", "0")]).await;
    assert_eq!(halts.status.code(), Some(1), "{}", halts.stderr);
    assert!(halts.stderr.contains("orders/0@50"), "{}", halts.stderr);
    let offsets = shop.rows(
        "SELECT projection, next_offset, (SELECT last_error IS NOT NULL FROM readcast_generations g
        WHERE g.projection = c.projection) FROM readcast_checkpoints c ORDER BY projection",
    );
    assert_eq!(offsets.await.unwrap(), ["customer_orders|100|0", "order_summary|50|1", "product_sales|100|0"]);
    let status = shop.run(&["status", "--output", "json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    let halted =
        status["partitions"].as_array().unwrap().iter().find(|line| line["projection"] == "order_summary").unwrap();
    assert_eq!(halted["state"], "halted");
    assert_eq!(halted["lag"], 50);
    let error = halted["last_error"].as_str().unwrap();
    assert!(error.contains("orders/0@50") && error.contains("email"), "{error}");
}

#[tokio::test]
async fn the_content_of_records_is_in_no_log_and_no_metric() {
    const CANARY: &str = "canary-7f3a";
    let (_, event) = events(1).last().unwrap();
    // Torn, of another type, with a word where a number belongs, and with a number that no column holds.
    let poison = [
        format!("{{\"{CANARY}\""),
        event.replace("\"email\":", &format!("\"email\":{{\"{CANARY}\":1}},\"e\":")),
        event.replace("\"quantity\":", &format!("\"quantity\":\"{CANARY}\",\"q\":")),
        event.replace("\"total_amount\":", &format!("\"total_amount\":1e400,\"{CANARY}\":")),
    ];
    for (limit, end) in [("10000", "14"), ("0", "10")] {
        let shop = FileShop::new();
        shop.write(1, events(10));
        for (number, value) in poison.iter().enumerate() {
            append(&shop.partition(0), &format!("{CANARY}-{number}\t{value}\n"));
        }
        let envs = [("READCAST_MAX_PARKED", limit), ("RUST_LOG", "readcast=trace,warn")];
        let mut instance = shop.start(&["run"], &envs);
        eventually("every projection comes to the poison", PATIENCE, async || {
            let stand = shop.rows("SELECT DISTINCT next_offset FROM readcast_checkpoints").await.unwrap_or_default();
            if stand == [end] { Ok(()) } else { Err(stand.join(" ")) }
        })
        .await;
        let (metrics, ready) = (instance.get("/metrics").await, instance.get("/readyz").await);
        assert!(metrics.contains("readcast_parked_records"), "{metrics}");
        instance.terminate();
        instance.wait().await;
        for text in [instance.stderr(), metrics, ready] {
            assert!(!text.contains(CANARY), "{text}");
        }
    }
}

/// Runs over an event that order_summary can't project, and returns the first JSON log line that says `message`.
async fn logged_over_poison(max_parked: &str, message: &str) -> serde_json::Value {
    let (_, event) = events(1).last().unwrap();
    let shop = FileShop::new();
    shop.write(1, events(3));
    append(
        &shop.partition(0),
        &format!("poison\t{}\n", event.replace("\"quantity\":", "\"quantity\":\"many\",\"q\":")),
    );
    let envs = [("READCAST_MAX_PARKED", max_parked), ("LOG_FORMAT", "json"), ("RUST_LOG", "readcast=warn")];
    let mut instance = shop.start(&["run", "--only", "order_summary"], &envs);
    let line = instance.wait_for_line(|line| line.contains(message)).await;
    instance.kill9();
    serde_json::from_str(&line).unwrap()
}

#[tokio::test]
async fn a_log_line_about_a_record_has_its_projection_generation_lane_position_and_correlation_id() {
    let parked = logged_over_poison("10000", "record parked").await;
    assert_eq!(
        [&parked["projection"], &parked["generation"], &parked["position"], &parked["correlation_id"]],
        [
            &serde_json::json!("order_summary"),
            &serde_json::json!(1),
            &serde_json::json!("orders/0@3"),
            &serde_json::json!("c-1")
        ],
        "{parked}"
    );
    assert!(parked["lane"].is_u64(), "{parked}");
    let halted = logged_over_poison("0", "halted: ").await;
    assert_eq!(
        [&halted["projection"], &halted["generation"], &halted["correlation_id"]],
        [&"order_summary".into(), &serde_json::json!(1), &serde_json::Value::from("c-1")],
        "{halted}"
    );
    assert!(halted["message"].as_str().unwrap().contains("orders/0@3"), "{halted}");
}

#[tokio::test]
async fn a_log_that_shrank_or_was_replaced_stops_with_a_verdict() {
    let shop = FileShop::new();
    shop.write(1, events(50));
    assert!(shop.run(&["run", "--until-end"]).await.status.success());
    let whole = std::fs::read_to_string(shop.partition(0)).unwrap();

    let shorter: String = whole.lines().take(40).fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    });
    std::fs::write(shop.partition(0), shorter).unwrap();
    let finished = shop.run(&["run", "--until-end"]).await;
    assert_eq!(finished.status.code(), Some(1));
    assert!(
        finished.stderr.contains("truncated: [40, 50) was read, and is no longer in the log"),
        "{}",
        finished.stderr
    );

    let other: String = whole.lines().skip(1).fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    });
    std::fs::write(shop.partition(0), other.clone() + &other).unwrap();
    let finished = shop.run(&["run", "--until-end"]).await;
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("recreated"), "{}", finished.stderr);
    assert_same(&shop.tables().await, &expected(50));
}

#[tokio::test]
async fn a_second_process_on_one_sqlite_file_is_refused_in_one_line() {
    let shop = FileShop::new();
    shop.write(1, events(10));
    let mut first = shop.start(&["run"], &[]);
    eventually("the first process is at work", PATIENCE, async || {
        let progress = shop.progress().await;
        if progress > 0 { Ok(()) } else { Err(progress) }
    })
    .await;
    let second = shop.run(&["run", "--until-end"]).await;
    assert_eq!(second.status.code(), Some(1));
    assert_eq!(second.stderr.trim().lines().count(), 1, "{}", second.stderr);
    assert!(second.stderr.contains(&first.pid().to_string()), "{}", second.stderr);
    let status = shop.run(&["status"]).await;
    assert!(status.status.success(), "looking is allowed: {}", status.stderr);
    first.terminate();
    assert!(first.wait().await.success());
}

#[tokio::test]
async fn the_demo_projects_its_events_and_continues_where_it_stopped() {
    let shop = FileShop::new();
    let dir = shop.dir();
    let demo = ["demo", "--events", "2000", "--rate", "0", "--dir", &dir, "--admin-listen", "127.0.0.1:0"];
    for _ in 0..2 {
        let finished = crate::support::process::Readcast::run(demo, &[]).await;
        assert!(finished.status.success(), "{}", finished.stderr);
        assert!(finished.stdout.contains("sqlite3 "), "{}", finished.stdout);
    }
    assert_same(&shop.tables().await, &expected(4_000));
}

/// Random tests are replayed with `READCAST_TEST_SEED`.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("READCAST_TEST_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    eprintln!("READCAST_TEST_SEED={seed}");
    seed
}

#[tokio::test]
async fn sigterm_drains_within_its_deadline() {
    let shop = FileShop::new();
    shop.write(4, events(200_000));
    let mut instance = shop.start(&["run"], &[]);
    eventually("it is in the middle of its work", PATIENCE, async || {
        let progress = shop.progress().await;
        if progress > 0 { Ok(()) } else { Err(progress) }
    })
    .await;
    instance.terminate();
    let status = tokio::time::timeout(Duration::from_secs(15), instance.wait()).await.expect("it ends in time");
    assert!(status.success(), "{}", instance.stderr());
    assert!(shop.run(&["run", "--until-end"]).await.status.success());
    assert_same(&shop.tables().await, &expected(200_000));
}

#[tokio::test]
async fn a_topic_of_kcat_with_json_keys_is_projected_and_a_line_of_another_form_is_reported() {
    let shop = FileShop::new();
    std::fs::create_dir_all(shop.events_dir().join("orders")).unwrap();
    for (key, event) in events(20) {
        append(&shop.partition(0), &format!("{{\"order_id\":\"{key}\"}}\t{event}\n"));
    }
    let marked = std::fs::read_to_string(shop.partition(0)).unwrap();
    std::fs::write(shop.partition(0), format!("\u{feff}{marked}")).unwrap();
    let finished = shop.run(&["run", "--until-end"]).await;
    assert!(finished.status.success(), "{}", finished.stderr);
    let folder = shop.events_dir().join("orders").display().to_string();
    assert!(
        finished.stderr.contains(&format!("the lines of {folder} have the form: key, tab, value")),
        "{}",
        finished.stderr
    );
    assert_same(&shop.tables().await, &expected(20));

    let odd = std::fs::read_to_string(shop.partition(0)).unwrap().lines().count();
    append(&shop.partition(0), "neither\n");
    let finished = shop.run(&["run", "--until-end"]).await;
    assert!(finished.status.success(), "{}", finished.stderr);
    let parked = shop.run(&["dead-letters", "show", "order_summary", &format!("orders/0@{odd}")]).await.stdout;
    assert!(parked.contains("the file's lines are key, tab, value, but this line has no tab"), "{parked}");
    let checked = shop.run(&["check", "--output", "json"]).await.stdout;
    assert!(checked.contains(&format!("{folder}: key, tab, value")), "{checked}");
}

/// Lines of another format than the configured one.
fn strangers(count: usize) -> String {
    (0..count).map(|n| format!("k{n}\t{{\"order\":{n}}}\n")).collect()
}

async fn parked(shop: &FileShop) -> String {
    shop.rows("SELECT count(*) FROM readcast_dead_letters WHERE projection = 'order_summary'").await.unwrap().remove(0)
}

#[tokio::test]
async fn a_topic_in_another_format_halts_before_anything_is_parked_and_check_says_why() {
    let shop = FileShop::new();
    shop.write(2, events(0));
    append(&shop.partition(0), &strangers(30));
    append(&shop.partition(1), &strangers(15));
    assert!(shop.run(&["migrate"]).await.status.success());
    let checked = shop.run(&["check"]).await;
    let finding = "records of `orders` are no events in the configured form";
    assert!(!checked.status.success() && checked.stdout.contains(finding), "{}", checked.stdout);
    assert!(checked.stdout.contains("missing field `event_id`"), "{}", checked.stdout);
    assert!(checked.stdout.contains("first at orders/0@0"), "{}", checked.stdout);
    assert_eq!(checked.stdout.matches(finding).count(), 1, "once for all projections: {}", checked.stdout);
    let halted = shop.run(&["run", "--until-end"]).await;
    assert!(!halted.status.success(), "{}", halted.stdout);
    let why = " records of topic `orders` can be projected, nothing was parked; the first is poison at orders/0@0";
    assert!(halted.stderr.contains(why) && halted.stderr.contains("set `format`"), "{}", halted.stderr);
    assert_eq!(parked(&shop).await, "0");
    let status = shop.run(&["status"]).await.stdout;
    assert!(status.contains(why) && status.contains("missing field `event_id`"), "{status}");
}

#[tokio::test]
async fn strangers_before_events_are_parked_and_so_are_a_few_of_them() {
    let shop = FileShop::new();
    shop.write(1, events(0));
    append(&shop.partition(0), &strangers(30));
    shop.write(1, events(10));
    assert!(shop.run(&["migrate"]).await.status.success());
    let checked = shop.run(&["check"]).await;
    assert!(checked.status.success(), "{}", checked.stdout);
    assert!(checked.stdout.contains("1 of 2 records read at both ends are no events"), "{}", checked.stdout);
    assert!(checked.stdout.contains("The others: `ORDER_"), "{}", checked.stdout);
    let finished = shop.run(&["run", "--until-end"]).await;
    assert!(finished.status.success(), "{}", finished.stderr);
    assert_eq!(parked(&shop).await, "30");
    assert_same(&shop.tables().await, &expected(10));
    // So few records may be an exception.
    let shop = FileShop::new();
    shop.write(1, events(0));
    append(&shop.partition(0), &strangers(5));
    let finished = shop.run(&["run", "--until-end"]).await;
    assert!(finished.status.success(), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("none of the 5 records of topic `orders` can be projected"),
        "{}",
        finished.stderr
    );
    assert_eq!(parked(&shop).await, "5");
}

#[tokio::test]
async fn a_type_that_no_projection_takes_is_warned_about_once_and_shown_by_status() {
    let shop = FileShop::new();
    shop.write(1, events(10));
    let misspelt = |n| {
        format!(
            "k\t{{\"event_id\":\"m{n}\",\"type\":\"ORDER_PAYED\",\"timestamp\":\"2024-05-20T14:30:00Z\",\"data\":{{}}}}\n"
        )
    };
    append(&shop.partition(0), &(0..3).map(misspelt).collect::<String>());
    let finished = shop.run(&["run", "--until-end"]).await;
    assert!(finished.status.success(), "{}", finished.stderr);
    let told = "no projection takes events of type `ORDER_PAYED` from topic `orders`; the first is at orders/0@10";
    assert_eq!(finished.stderr.matches(told).count(), 1, "by one of three projections: {}", finished.stderr);
    let status = shop.run(&["status"]).await.stdout;
    assert!(status.contains(told) && status.contains("(3 since"), "{status}");
}
