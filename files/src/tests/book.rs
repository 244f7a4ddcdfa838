//! The files in the book are valid, and their tests pass.

use std::path::Path;

use crate::{FileProjection, run_tests};

const PAGES: [&str; 4] = ["../../README.md", "tutorial-files.md", "reference/projection-files.md", "guides/ksqldb.md"];

/// The blocks of a page, each with what stands behind its fence.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut lines = page.lines();
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let text = lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
            blocks.push((info.to_owned(), text));
        }
    }
    blocks
}

#[test]
fn the_files_of_the_book_are_valid_and_their_tests_pass() {
    let (mut projections, mut tests) = (0, 0);
    for page in PAGES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src").join(page);
        let text = std::fs::read_to_string(&path).expect("a page");
        let mut last = None;
        for (info, block) in blocks(&text) {
            if let Some(name) = info.strip_prefix("toml,projection,") {
                let loaded = FileProjection::load(&format!("{name}.toml"), &block);
                last = Some(loaded.unwrap_or_else(|problems| panic!("{page}: {}", problems[0])));
                projections += 1;
            } else if info == "toml,test" {
                let projection = last.as_ref().expect("a projection before its tests");
                let outcomes = run_tests(projection, page, &block);
                for outcome in outcomes.unwrap_or_else(|problems| panic!("{page}: {}", problems[0])) {
                    assert_eq!(outcome.failure, None, "{page}: {}", outcome.name);
                    tests += 1;
                }
            }
        }
    }
    assert!(projections >= 10 && tests >= 8, "{projections} projections, {tests} tests");
}
