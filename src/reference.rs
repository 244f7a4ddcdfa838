//! The chapters of the book's reference that are generated from the code. A test compares them with the committed files.

use std::fs;
use std::path::Path;

use crate::{cli, config, metrics};

/// With this variable, the test writes the chapters instead of comparing them.
const WRITE: &str = "READCAST_TEST_WRITE_REFERENCE";

#[test]
#[allow(clippy::disallowed_methods)]
fn the_reference_says_what_the_code_says() {
    let write = std::env::var_os(WRITE).is_some();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src/reference");
    let chapters = [
        ("settings.md", config::reference::chapter()),
        ("commands.md", cli::reference::chapter()),
        ("metrics.md", metrics::reference::chapter()),
    ];
    for (name, chapter) in chapters {
        let path = directory.join(name);
        if write {
            fs::write(&path, &chapter).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        let differs = committed.lines().zip(chapter.lines()).find(|(committed, generated)| committed != generated);
        assert!(
            committed == chapter,
            "docs/src/reference/{name} is out of date{}. Write it again: {WRITE}=1 cargo test --lib reference",
            differs.map(|(old, new)| format!(":\n- {old}\n+ {new}\n")).unwrap_or_default()
        );
    }
}
