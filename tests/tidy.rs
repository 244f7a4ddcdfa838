//! The rules of the house, held by a test: who may know what, and that the documents are true.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::root;

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has sources");
    found
}

/// What a text says outside of its comments.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn each_library_is_known_to_one_module() {
    let monopolies = [
        ("rdkafka", "src/source/kafka"),
        ("sqlx", "src/store"),
        ("axum", "src/admin"),
        ("clap", "src/cli"),
        ("indicatif", "src/cli"),
        ("prometheus_client", "src/metrics"),
        ("tracing_subscriber", "src/telemetry"),
        ("readcast_projections", "service/src/main.rs"),
    ];
    for (library, home) in monopolies {
        for (path, text) in sources("src") {
            let knows = code(&text).contains(&format!("{library}::"));
            assert!(
                !knows || path.starts_with(home) || path == Path::new(&format!("{home}.rs")),
                "{} knows {library}",
                path.display()
            );
        }
    }
}

#[test]
fn control_knows_no_interface_and_the_command_line_leaves_the_store_to_it() {
    let is_in = |home: &str, path: &Path| path.starts_with(home) || path == Path::new(&format!("{home}.rs"));
    let interfaces =
        ["clap", "axum", "indicatif", "println!", "ExitCode", "crate::cli", "crate::admin", "crate::config"];
    let computing = ["losses(", "has_running_instance", "declaration_changes", "println!", "stdout().lock"];
    for (path, text) in sources("src") {
        // Stores are opened there, and handed on.
        let code = code(&text).replace("store.clone()", "");
        let assert_without = |words: &[&str]| {
            words.iter().for_each(|word| assert!(!code.contains(word), "{} says {word}", path.display()));
        };
        if is_in("src/control", &path) {
            assert_without(&interfaces);
        }
        if is_in("src/cli", &path) && !path.ends_with("output.rs") {
            assert_without(&computing);
            assert_without(&["store."]);
        }
    }
}

#[test]
fn modules_depend_one_way() {
    let forbidden = [
        ("src/source", ["crate::store", "crate::worker", "crate::supervisor", "crate::plan"].as_slice()),
        ("src/store", &["crate::worker", "crate::supervisor", "crate::plan", "crate::decode"]),
        ("src/decode.rs", &["crate::store", "crate::worker", "crate::plan"]),
        ("src/plan.rs", &["crate::worker", "crate::supervisor", "tokio::", "std::time"]),
        ("src/worker.rs", &["crate::operations", "crate::supervisor", "crate::cli"]),
        ("src/operations", &["crate::supervisor", "crate::cli", "crate::config", "crate::admin", "source::kafka"]),
        ("src/supervisor", &["crate::cli", "crate::config", "crate::admin", "source::kafka"]),
        ("core/src", &["tokio::", "sqlx::", "rdkafka::", "std::env", "std::time", "SystemTime"]),
    ];
    let all = || sources("src").into_iter().chain(sources("core/src"));
    for (home, banned) in forbidden {
        let inside = |path: &Path| path.starts_with(home) || path == Path::new(&format!("{home}.rs"));
        for (path, text) in all().filter(|(path, _)| inside(path)) {
            for name in banned {
                assert!(!code(&text).contains(name), "{} knows {name}", path.display());
            }
        }
    }
}

#[test]
fn nothing_is_left_for_later_in_the_sources() {
    for folder in ["src", "core/src", "projections/src", "service/src", "tests"] {
        for (path, text) in sources(folder).into_iter().filter(|(path, _)| !path.ends_with("tidy.rs")) {
            for word in ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("] {
                assert!(!text.contains(word), "{} says {word}", path.display());
            }
        }
    }
}

#[test]
fn every_module_says_what_it_owns() {
    let all = sources("src")
        .into_iter()
        .chain(sources("core/src"))
        .chain(sources("projections/src"))
        .chain(sources("service/src"));
    for (path, text) in
        all.filter(|(path, _)| !path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests")))
    {
        assert!(text.starts_with("//!"), "{} has no header", path.display());
    }
}
