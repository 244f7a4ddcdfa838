//! WebAssembly components in place of rules, in the released program.

use std::path::Path;

use crate::oracle::assert_same;
use crate::shop::{FileShop, KafkaShop, events, expected};
use crate::support::component::order_summary;
use crate::support::process::{Finished, Readcast};
use crate::support::root;

const EVENTS: &str = r#"["ORDER_PLACED", "ORDER_PAID", "ORDER_SHIPPED", "ORDER_CANCELLED", "ORDER_REFUNDED"]"#;

/// Writes the shop's files into `folder`, in which a component makes the order summary.
fn write_with_component(folder: &Path) {
    write_rules(folder);
    let path = folder.join("order_summary.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (tables, _rules) = text.split_once("[[on]]").unwrap();
    std::fs::write(path, format!("events = {EVENTS}\nwasm = \"order_summary.wasm\"\n{tables}")).unwrap();
    std::fs::copy(order_summary(), folder.join("order_summary.wasm")).unwrap();
}

/// Writes the shop's files as they are.
fn write_rules(folder: &Path) {
    for entry in std::fs::read_dir(root().join("projections/shop")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn the_component_is_made_of_the_sources_that_there_are() {
    let mut check = std::process::Command::new("sha256sum");
    let checked =
        check.args(["--check", "--quiet", "tests/components/order_summary.sources"]).current_dir(root()).output();
    let checked = checked.expect("a program of every Linux");
    let differing = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "run scripts/component: {differing}");
}

#[tokio::test]
async fn a_component_survives_kills_as_rules_do() {
    let folder = tempfile::tempdir().unwrap();
    write_with_component(folder.path());
    let shop = KafkaShop::journalled(3).await.with_files(folder.path().to_owned());
    shop.survives_kills_at("after_rows").await;
}

#[tokio::test]
async fn a_component_passes_the_tests_of_the_rules_and_another_content_is_another_version() {
    let folder = tempfile::tempdir().unwrap();
    write_with_component(folder.path());
    let path = folder.path().to_str().unwrap();
    let test = async || Readcast::run_released(["test", "order_summary", "--projections", path], &[]).await;
    let tested = test().await;
    assert!(tested.status.success(), "{}{}", tested.stdout, tested.stderr);

    std::fs::write(folder.path().join("order_summary.wasm"), b"\0asm\x01\0\0\0").unwrap();
    let refused = test().await;
    assert_eq!(refused.status.code(), Some(78), "{}", refused.stdout);
    assert!(
        refused.stderr.contains("`order_summary.wasm`: the file is a WebAssembly module and not a component"),
        "{}",
        refused.stderr
    );
    std::fs::remove_file(folder.path().join("order_summary.wasm")).unwrap();
    let missing = test().await.stderr;
    assert!(
        missing.contains("order_summary.toml:2:8") && missing.contains("`order_summary.wasm` can't be read"),
        "{missing}"
    );
}

#[tokio::test]
async fn a_component_is_stored_with_its_generation_and_fed_where_there_is_no_file_of_it() {
    let (shop, folder) = (FileShop::new(), tempfile::tempdir().unwrap());
    let path = folder.path().to_str().unwrap();
    let run = async |arguments: &[&str]| {
        let arguments = shop.arguments(&[arguments, &["--projections", path]].concat());
        Readcast::run_released(arguments, &[]).await
    };
    let done = |finished: Finished| assert!(finished.status.success(), "{}{}", finished.stdout, finished.stderr);
    write_with_component(folder.path());
    shop.write(2, events(1_000));
    done(run(&["run", "--until-end"]).await);
    assert_same(&shop.tables().await, &expected(1_000));
    done(run(&["verify", "order_summary"]).await);

    // Rules that declare the same tables are another version. The component is in the store alone then.
    std::fs::remove_file(folder.path().join("order_summary.wasm")).unwrap();
    write_rules(folder.path());
    done(run(&["rebuild", "order_summary", "--wait"]).await);
    assert_same(&shop.tables().await, &expected(1_000));
    done(run(&["rollback", "order_summary"]).await);
    shop.write(2, events(2_000).skip(1_000));
    done(run(&["run", "--until-end"]).await);
    assert_same(&shop.tables().await, &expected(2_000));
    let kept = "SELECT generation FROM readcast_generations WHERE component IS NOT NULL";
    assert_eq!(shop.rows(kept).await.unwrap(), ["1"]);

    // It is gone with the tables that it built.
    std::fs::write(folder.path().join("order_summary.toml"), {
        let text = std::fs::read_to_string(folder.path().join("order_summary.toml")).unwrap();
        format!("revision = 2\n{text}")
    })
    .unwrap();
    done(run(&["rebuild", "order_summary", "--wait"]).await);
    done(run(&["retire", "order_summary"]).await);
    assert_eq!(shop.rows(kept).await.unwrap(), Vec::<String>::new());
    assert_same(&shop.tables().await, &expected(2_000));
}
