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
async fn a_bounded_run_gives_up_on_servers_that_are_not_there_and_says_why() {
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
        assert!(finished.stderr.contains("starting again in"), "the reason is visible meanwhile: {}", finished.stderr);
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
    for command in ["demo", "run", "status", "check", "migrate", "generate"] {
        let help = Readcast::run([command, "--help"], &[]).await;
        assert!(help.stdout.contains("Usage: readcast"), "{}", help.stdout);
    }
}
