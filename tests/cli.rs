//! What the command line answers to bad input: one clear line, the right exit code, and nothing lost.

use std::path::Path;

use crate::shop::{FileShop, events};
use crate::support::process::{Finished, Readcast};

/// Exit code and the only line on standard error.
fn refusal(finished: &Finished) -> (Option<i32>, &str) {
    let line = finished.stderr.trim();
    assert_eq!(line.lines().count(), 1, "one clear line, not:\n{}", finished.stderr);
    (finished.status.code(), line)
}

async fn run_in(dir: &Path, arguments: &[&str]) -> Finished {
    let mut instance = Readcast::start_in(dir, arguments, &[]);
    let status = instance.wait().await;
    Finished { status, stdout: instance.stdout(), stderr: instance.stderr() }
}

#[tokio::test]
async fn an_unknown_configuration_key_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("readcast.toml"), "[source]\nkind = \"file\"\n\n[projector]\nlaness = 3\n").unwrap();
    let finished = run_in(dir.path(), &["status"]).await;
    let (code, line) = refusal(&finished);
    assert_eq!(code, Some(78));
    assert!(line.contains("readcast.toml:5:1") && line.contains("`laness`") && line.contains("`lanes`"), "{line}");
}

#[tokio::test]
async fn a_missing_store_is_asked_for() {
    let finished = Readcast::run(["run", "--source", "file:events"], &[]).await;
    let (code, line) = refusal(&finished);
    assert_eq!(code, Some(78));
    assert!(line.contains("READCAST_STORE_URL"), "{line}");
}

#[tokio::test]
async fn an_unknown_projection_is_refused_with_those_there_are() {
    let finished =
        Readcast::run(["run", "--only", "nothing", "--source", "file:e", "--store", "sqlite:r.db"], &[]).await;
    let (code, line) = refusal(&finished);
    assert_eq!(code, Some(1));
    assert!(line.contains("`nothing`") && line.contains("order_summary"), "{line}");
}

#[tokio::test]
async fn a_bounded_run_fails_with_the_reason_if_a_server_is_missing() {
    let unreachable = [
        ("kafka://127.0.0.1:1", "sqlite:read.db", "Kafka"),
        ("file:events", "postgres://nobody@127.0.0.1:1/nothing?sslmode=disable", "Postgres"),
    ];
    for (source, store, server) in unreachable {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("events/orders")).unwrap();
        let arguments = ["run", "--until-end", "--source", source, "--store", store];
        let finished = run_in(dir.path(), &arguments).await;
        assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
        assert!(finished.stderr.contains("retrying in"), "the reason is visible meanwhile: {}", finished.stderr);
        assert!(finished.stderr.lines().last().unwrap().contains(server), "{}", finished.stderr);
    }
}

#[tokio::test]
async fn a_missing_topic_is_named() {
    let shop = FileShop::new();
    std::fs::create_dir_all(shop.events_dir()).unwrap();
    let finished = shop.run(&["check"]).await;
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stdout.contains("topic `orders` does not exist"), "{}", finished.stdout);
}

#[tokio::test]
async fn check_tells_what_run_would_do_and_changes_nothing() {
    let shop = FileShop::new();
    shop.write(1, events(10));
    assert_eq!(shop.run(&["check"]).await.status.code(), Some(1), "there is no database yet, and check makes none");
    assert!(!shop.database().exists());
    let migrated = shop.run(&["migrate"]).await;
    assert!(migrated.status.success(), "{}", migrated.stderr);
    let checked = shop.run(&["check"]).await;
    assert!(checked.status.success(), "{}{}", checked.stdout, checked.stderr);
    assert_eq!(shop.rows("SELECT * FROM order_summary").await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_table_that_somebody_altered_is_refused_by_name() {
    let shop = FileShop::new();
    shop.write(1, events(10));
    assert!(shop.run(&["run", "--until-end"]).await.status.success());
    shop.rows("ALTER TABLE product_sales_g1 ADD COLUMN surprise TEXT").await.unwrap();
    let finished = shop.run(&["run", "--until-end"]).await;
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("product_sales") && finished.stderr.contains("`surprise`"), "{}", finished.stderr);
}

#[tokio::test]
async fn completions_and_help_are_printed() {
    let completions = Readcast::run(["completions", "bash"], &[]).await;
    assert!(completions.stdout.contains("readcast"), "{}", completions.stderr);
    let commands = "demo run status check migrate rebuild verify activate rollback retire cancel pause resume rename dead-letters \
         accept-loss generate";
    for command in commands.split_whitespace() {
        let help = Readcast::run([command, "--help"], &[]).await;
        assert!(help.stdout.contains("Usage: readcast"), "{}", help.stdout);
    }
}

/// A shop whose first ten events are projected.
async fn shop_that_ran() -> FileShop {
    let shop = FileShop::new();
    shop.write(1, events(10));
    assert!(shop.run(&["run", "--until-end"]).await.status.success());
    shop
}

async fn json(shop: &FileShop, arguments: &[&str]) -> serde_json::Value {
    let finished = shop.run(arguments).await;
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

#[tokio::test]
async fn commands_about_a_projection_that_is_not_there_name_those_there_are() {
    let shop = shop_that_ran().await;
    for command in ["rebuild", "verify", "activate", "rollback", "retire", "cancel", "pause", "resume"] {
        let finished = shop.run(&[command, "nothing"]).await;
        let (code, line) = refusal(&finished);
        assert_eq!(code, Some(1), "{command}");
        assert!(line.contains("`nothing`") && line.contains("order_summary"), "{command}: {line}");
    }
    let finished = shop.run(&["rename", "nothing", "something"]).await;
    assert_eq!(refusal(&finished).0, Some(1));
}

#[tokio::test]
async fn what_never_ran_has_nothing_to_rebuild() {
    let shop = FileShop::new();
    shop.write(1, events(10));
    let nowhere = shop.run(&["rebuild", "order_summary"]).await;
    assert_eq!(refusal(&nowhere).0, Some(1));
    assert!(!shop.database().exists(), "a command about tables makes no database");
    assert!(shop.run(&["run", "--until-end", "--only", "product_sales"]).await.status.success());
    for arguments in [["rebuild", "order_summary"].as_slice(), &["rebuild", "order_summary", "--plan"]] {
        let finished = shop.run(arguments).await;
        let (code, line) = refusal(&finished);
        assert_eq!(code, Some(1));
        assert!(line.contains("nothing to rebuild yet: `readcast run`"), "{line}");
    }
}

#[tokio::test]
async fn a_plan_says_what_a_rebuild_takes_and_asks_for_nothing() {
    let shop = shop_that_ran().await;
    let finished = shop.run(&["rebuild", "order_summary", "--plan"]).await;
    assert!(finished.status.success(), "{}", finished.stderr);
    for part in ["no: the code declares what built", "orders/0: [0, 10)", "10 offsets in all", "no rebuild has run yet"]
    {
        assert!(finished.stdout.contains(part), "{part}: {}", finished.stdout);
    }
    let plan = json(&shop, &["rebuild", "order_summary", "--plan", "--from", "live", "--output", "json"]).await;
    assert_eq!((&plan["records"], &plan["need"]["kind"]), (&0.into(), &"nothing".into()));
    assert_eq!(shop.rows("SELECT count(*) FROM readcast_operations").await.unwrap(), ["0"]);
}

#[tokio::test]
async fn what_users_added_is_named_before_it_is_lost_and_indexes_are_kept_on_demand() {
    let shop = shop_that_ran().await;
    for statement in [
        "CREATE INDEX by_email ON order_summary_g1 (lower(customer_email)) WHERE status <> 'order_summary_g1'",
        "CREATE TRIGGER tell AFTER INSERT ON order_summary_g1 BEGIN SELECT 1; END",
    ] {
        shop.rows(statement).await.unwrap();
    }
    let plan = shop.run(&["rebuild", "order_summary", "--plan"]).await;
    assert!(plan.status.success(), "{}", plan.stderr);
    let checked = shop.run(&["check"]).await;
    assert!(checked.status.success(), "what is lost later is no fault now: {}", checked.stdout);
    for told in [plan.stdout, checked.stdout] {
        for part in ["by_email", "--keep-indexes", "lower(customer_email)", "tell", "CREATE TRIGGER tell"] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
    let keeping = ["rebuild", "order_summary", "--keep-indexes"];
    let plan = json(&shop, &[keeping.as_slice(), &["--plan", "--output", "json"]].concat()).await;
    let fates = plan["additions"].as_array().unwrap().iter().map(|added| added["fate"].clone());
    assert_eq!(fates.collect::<Vec<_>>(), ["carried", "lost"]);
    let rebuilt = shop.run(&[keeping.as_slice(), &["--wait"]].concat()).await;
    assert!(rebuilt.status.success(), "{}", rebuilt.stderr);
    const INDEXES: &str = "SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = 'by_email_g2'";
    let kept = r#"CREATE INDEX "by_email_g2" ON "order_summary_g2" (lower(customer_email)) WHERE status <> 'order_summary_g1'"#;
    assert_eq!(shop.rows(INDEXES).await.unwrap(), [kept]);
}

#[tokio::test]
async fn a_rebuild_that_nobody_takes_yet_is_noted_once_shown_and_taken_back() {
    let shop = shop_that_ran().await;
    for _ in 0..2 {
        let noted = shop.run(&["rebuild", "order_summary"]).await;
        assert!(noted.status.success(), "{}", noted.stderr);
        assert!(noted.stdout.contains("`--wait` does it here"), "{}", noted.stdout);
    }
    const OPEN: &str = "SELECT count(*) FROM readcast_operations WHERE finished_at IS NULL";
    assert_eq!(shop.rows(OPEN).await.unwrap(), ["1"]);
    let status = shop.run(&["status"]).await;
    assert!(status.stdout.contains("order_summary: operation 1, `rebuild` by "), "{}", status.stdout);
    assert!(status.stdout.contains("readcast rebuild order_summary --wait"), "{}", status.stdout);
    assert!(shop.run(&["cancel", "order_summary"]).await.status.success());
    assert_eq!(shop.rows(OPEN).await.unwrap(), ["0"]);
}

#[tokio::test]
async fn a_place_to_begin_that_is_none_or_skips_records_is_refused() {
    let shop = shop_that_ran().await;
    let refusals = [
        ("yesterday", 2, "2024-05-20T14:30:00Z"),
        ("2024-05-20T14:30:00Z", 1, "a folder of files stores no times"),
        ("orders/0=11", 1, "would be skipped"),
        ("orders/7=0", 1, "there are: orders/0"),
    ];
    for (place, code, reason) in refusals {
        let finished = shop.run(&["rebuild", "order_summary", "--from", place]).await;
        assert_eq!(finished.status.code(), Some(code), "{place}: {}", finished.stderr);
        assert!(finished.stderr.contains(reason), "{place}: {}", finished.stderr);
    }
}

#[tokio::test]
async fn a_paused_projection_is_shown_as_such_until_it_is_resumed() {
    let shop = shop_that_ran().await;
    for (command, state) in [("pause", "paused"), ("resume", "live")] {
        assert!(shop.run(&[command, "product_sales"]).await.status.success());
        let lines = json(&shop, &["status", "--output", "json"]).await;
        let line = lines.as_array().unwrap().iter().find(|line| line["projection"] == "product_sales").unwrap();
        assert_eq!(line["state"], state);
        assert_eq!(line["paused_since"].is_null(), state == "live");
    }
}

#[tokio::test]
async fn a_rename_carries_tables_and_positions_over() {
    let shop = shop_that_ran().await;
    let before = shop.tables().await;
    let taken = shop.run(&["rename", "product_sales", "order_summary"]).await;
    assert_eq!(taken.status.code(), Some(1), "{}", taken.stdout);
    for names in [["product_sales", "sales"], ["sales", "product_sales"]] {
        let renamed = shop.run(&["rename", names[0], names[1]]).await;
        assert!(renamed.status.success(), "{}", renamed.stderr);
    }
    assert!(shop.run(&["run", "--until-end"]).await.status.success());
    assert_eq!(shop.tables().await, before);
    assert_eq!(shop.progress().await, 30);
}

#[tokio::test]
async fn verify_finds_a_row_that_somebody_changed_and_a_rebuild_repairs_it() {
    let shop = shop_that_ran().await;
    let whole = shop.tables().await;
    assert!(shop.run(&["verify", "product_sales"]).await.status.success());
    shop.rows("UPDATE product_sales_g1 SET units = units + 1 WHERE sku = (SELECT min(sku) FROM product_sales_g1)")
        .await
        .unwrap();
    let sku = shop.rows("SELECT min(sku) FROM product_sales").await.unwrap();
    let different = shop.run(&["verify", "product_sales"]).await;
    assert_eq!(different.status.code(), Some(1), "{}", different.stderr);
    assert!(different.stdout.contains(&format!("{}: units differ", sku[0])), "{}", different.stdout);
    let rebuilt = shop.run(&["rebuild", "product_sales", "--wait", "--accept-difference"]).await;
    assert!(rebuilt.status.success(), "{}", rebuilt.stderr);
    assert_eq!(shop.tables().await, whole);
    assert!(shop.run(&["verify", "product_sales"]).await.status.success());
}

#[tokio::test]
async fn there_is_nothing_to_activate_or_to_go_back_to_before_a_rebuild() {
    let shop = shop_that_ran().await;
    for command in ["activate", "rollback"] {
        let finished = shop.run(&[command, "order_summary"]).await;
        assert_eq!(finished.status.code(), Some(1), "{command}: {}", finished.stdout);
    }
}

#[tokio::test]
async fn a_command_reaches_the_process_that_has_the_file() {
    let shop = FileShop::new();
    shop.write(1, events(10));
    let mut instance = shop.start(&["run"], &[]);
    instance.wait_for_line(|line| line.contains("partition claimed") && line.contains("order_summary")).await;
    let rebuilt = shop.run(&["rebuild", "order_summary", "--wait"]).await;
    assert!(rebuilt.status.success(), "{}", rebuilt.stderr);
    let lines = json(&shop, &["status", "--output", "json"]).await;
    let live = lines
        .as_array()
        .unwrap()
        .iter()
        .find(|line| (&line["projection"], &line["state"]) == (&"order_summary".into(), &"live".into()));
    assert_eq!(live.unwrap()["generation"], 2);
    assert!(shop.run(&["rollback", "order_summary"]).await.status.success());
    instance.terminate();
    assert!(instance.wait().await.success());
}
