//! The command line: its output, its exit codes, and one clear line for every refusal.

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
async fn a_missing_store_setting_is_named() {
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
async fn a_bounded_run_gives_up_on_servers_that_do_not_answer_and_names_them() {
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
        assert!(
            finished.stderr.contains("failed; retrying in"),
            "the reason is visible meanwhile: {}",
            finished.stderr
        );
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
async fn check_changes_nothing() {
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
async fn an_altered_table_is_refused_by_name() {
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
    let commands = "demo run status check migrate rebuild verify activate rollback retire cancel pause resume rename \
                    accept-loss adopt generate completions dev lint new schema test try";
    let dead_letters = ["list", "show", "retry", "discard", "decisions", "revoke", "export"];
    let dead_letters = dead_letters.map(|command| vec!["dead-letters", command]);
    for command in commands.split(' ').filter(|name| !name.is_empty()).map(|name| vec![name]).chain(dead_letters) {
        let help = Readcast::run([command.as_slice(), &["--help"]].concat(), &[]).await;
        assert!(help.stdout.contains("Usage: readcast"), "{}", help.stdout);
        let example = format!("Example:\n  readcast {}", command.join(" "));
        assert!(help.stdout.contains(&example), "{command:?} has no example:\n{}", help.stdout);
    }
}

/// Runs a command whose reader closes the pipe before the first line. Returns its exit code and standard error.
fn run_for_nobody(shop: &FileShop, arguments: &[&str]) -> (Option<i32>, String) {
    let mut child = Readcast::command(Path::new(&shop.dir()), shop.arguments(arguments), &[]).spawn().unwrap();
    drop(child.stdout.take());
    let finished = child.wait_with_output().unwrap();
    (finished.status.code(), String::from_utf8(finished.stderr).unwrap())
}

#[tokio::test]
async fn a_closed_pipe_is_a_quiet_end_with_the_exit_code_of_the_command() {
    let shop = shop_that_ran().await;
    for arguments in [
        &["status"] as &[&str],
        &["status", "--output", "json"],
        &["check"],
        &["completions", "bash"],
        &["migrate"],
        &["rebuild", "order_summary", "--plan"],
        &["pause", "order_summary"],
        &["dead-letters", "list"],
    ] {
        assert_eq!(run_for_nobody(&shop, arguments), (Some(0), String::new()), "{arguments:?}");
    }
    shop.rows("ALTER TABLE product_sales_g1 ADD COLUMN surprise TEXT").await.unwrap();
    assert_eq!(run_for_nobody(&shop, &["check"]), (Some(1), String::new()), "a problem is a problem");
}

#[tokio::test]
async fn status_shows_the_named_projections_and_their_totals() {
    let shop = shop_that_ran().await;
    let all = shop.run(&["status"]).await;
    let totals = "3 projections, 0 records behind, nothing parked";
    assert!(all.stdout.lines().any(|line| line == totals), "{}", all.stdout);
    let named = shop.run(&["status", "order_summary", "product_sales"]).await.stdout;
    assert!(named.contains("2 projections, 0 records behind") && !named.contains("customer_orders"), "{named}");
    shop.write(1, events(12).skip(10));
    let json = json(&shop, &["status", "order_summary", "--output", "json"]).await;
    assert_eq!(json["partitions"].as_array().map(Vec::len), Some(1));
    let totals = serde_json::json!({"projections": 1, "records_behind": 2, "parked_keys": 0, "parked_records": 0});
    assert_eq!(json["totals"], totals);
}

#[tokio::test]
async fn a_status_of_an_unknown_projection_names_those_there_are() {
    let shop = shop_that_ran().await;
    let finished = shop.run(&["status", "order_summary", "nothing"]).await;
    let (code, line) = refusal(&finished);
    assert_eq!(code, Some(1));
    let expected = "there is no projection `nothing`; there are: customer_orders, order_summary, product_sales";
    assert!(line.contains(expected), "{line}");
}

#[tokio::test]
async fn a_bounded_run_shows_how_many_events_were_new() {
    let shop = shop_that_ran().await;
    for (new, caught_up) in [(0, "caught up: 0 new events in "), (1, "caught up: 1 new event in ")] {
        shop.write(1, events(10 + new).skip(10));
        let finished = shop.run(&["run", "--until-end", "--only", "order_summary"]).await;
        assert!(finished.stdout.starts_with(&format!("order_summary: {caught_up}")), "{finished:?}");
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
async fn a_command_about_an_unknown_projection_names_those_there_are() {
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
async fn a_projection_that_never_ran_can_not_be_rebuilt() {
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
        assert!(line.contains("order_summary has no live generation yet. Next: `readcast run`"), "{line}");
    }
}

#[tokio::test]
async fn a_plan_shows_what_a_rebuild_takes_and_requests_nothing() {
    let shop = shop_that_ran().await;
    let finished = shop.run(&["rebuild", "order_summary", "--plan"]).await;
    assert!(finished.status.success(), "{}", finished.stderr);
    for part in [
        "no: the code has the definition that built",
        "orders/0: [0, 10)",
        "10 offsets in all",
        "no rebuild has run yet",
    ] {
        assert!(finished.stdout.contains(part), "{part}: {}", finished.stdout);
    }
    let plan = json(&shop, &["rebuild", "order_summary", "--plan", "--from", "live", "--output", "json"]).await;
    assert_eq!((&plan["records"], &plan["need"]["kind"]), (&0.into(), &"nothing".into()));
    assert_eq!(shop.rows("SELECT count(*) FROM readcast_operations").await.unwrap(), ["0"]);
}

#[tokio::test]
async fn additions_of_users_are_named_before_they_are_lost_and_indexes_are_kept_on_request() {
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
async fn a_rebuild_without_an_instance_is_requested_once_shown_and_cancelled() {
    let shop = shop_that_ran().await;
    for _ in 0..2 {
        let requested = shop.run(&["rebuild", "order_summary"]).await;
        assert!(requested.status.success(), "{}", requested.stderr);
        assert!(requested.stdout.contains("with `--wait`, this command does the work"), "{}", requested.stdout);
    }
    const OPEN: &str = "SELECT count(*) FROM readcast_operations WHERE finished_at IS NULL";
    assert_eq!(shop.rows(OPEN).await.unwrap(), ["1"]);
    let status = shop.run(&["status"]).await;
    assert!(status.stdout.contains("order_summary: operation 1 (`rebuild`, requested by "), "{}", status.stdout);
    assert!(status.stdout.contains("readcast rebuild order_summary --wait"), "{}", status.stdout);
    assert!(shop.run(&["cancel", "order_summary"]).await.status.success());
    assert_eq!(shop.rows(OPEN).await.unwrap(), ["0"]);
}

#[tokio::test]
async fn a_start_position_that_is_invalid_or_skips_records_is_refused() {
    let shop = shop_that_ran().await;
    let refusals = [
        ("yesterday", 2, "2024-05-20T14:30:00Z"),
        ("2024-05-20T14:30:00Z", 1, "a folder of files stores no times"),
        ("orders/0=11", 1, "would be skipped"),
        ("orders/7=0", 1, "it reads orders/0"),
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
        let status = json(&shop, &["status", "--output", "json", "product_sales"]).await;
        let line = &status["partitions"][0];
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
    assert!(different.stdout.contains(&format!("{}: units differs", sku[0])), "{}", different.stdout);
    let rebuilt = shop.run(&["rebuild", "product_sales", "--wait", "--accept-difference"]).await;
    assert!(rebuilt.status.success(), "{}", rebuilt.stderr);
    assert_eq!(shop.tables().await, whole);
    assert!(shop.run(&["verify", "product_sales"]).await.status.success());
}

#[tokio::test]
async fn before_a_rebuild_there_is_nothing_to_activate_or_to_roll_back_to() {
    let shop = shop_that_ran().await;
    for command in ["activate", "rollback"] {
        let finished = shop.run(&[command, "order_summary"]).await;
        assert_eq!(finished.status.code(), Some(1), "{command}: {}", finished.stdout);
    }
}

#[tokio::test]
async fn a_command_reaches_the_process_that_has_locked_the_file() {
    let shop = FileShop::new();
    shop.write(1, events(10));
    let mut instance = shop.start(&["run"], &[]);
    instance.wait_for_line(|line| line.contains("partition claimed") && line.contains("order_summary")).await;
    let rebuilt = shop.run(&["rebuild", "order_summary", "--wait"]).await;
    assert!(rebuilt.status.success(), "{}", rebuilt.stderr);
    let status = json(&shop, &["status", "--output", "json"]).await;
    let live = status["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|line| (&line["projection"], &line["state"]) == (&"order_summary".into(), &"live".into()));
    assert_eq!(live.unwrap()["generation"], 2);
    assert!(shop.run(&["rollback", "order_summary"]).await.status.success());
    instance.terminate();
    assert!(instance.wait().await.success());
}
