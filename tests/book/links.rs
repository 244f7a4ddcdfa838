//! Links and anchors lead somewhere, every chapter is in the summary, and every name that operators read has a section in
//! the runbook.

use std::path::{Component, Path, PathBuf};

use super::markdown::{anchors, targets};
use super::{Page, chapters, page, pages, root};

/// The repository, as the book names it where a path would lead out of it.
const REPOSITORY: &str = "https://github.com/readcast/readcast/blob/main/";

/// What is wrong with the link `target` of `from`, if anything is.
fn fault(from: &Page, target: &str) -> Option<String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match file.strip_prefix(REPOSITORY) {
        Some(inside) => PathBuf::from(inside),
        None if file.contains("://") => return None,
        None if file.is_empty() => from.path.clone(),
        None => normal(&from.path.parent().unwrap_or(Path::new("")).join(file)),
    };
    if !root().join(&path).exists() {
        return Some(format!("{}: no file {target}", from.path.display()));
    }
    let found = anchor.is_empty() || anchors(&page(&path).text).iter().any(|known| known == anchor);
    (!found).then(|| format!("{}: no anchor {target}", from.path.display()))
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(normal.pop(), "{} leaves the repository", path.display()),
            part => normal.push(part),
        }
    }
    normal
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let faults: Vec<_> = pages
        .iter()
        .flat_map(|from| targets(&from.text).into_iter().filter_map(|target| fault(from, &target)))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_section_that_the_program_names_is_in_the_book() {
    let mut faults = Vec::new();
    for source in rust_files(Path::new("src")) {
        let text = page(&source).text;
        // A section is named as a path in the repository: `docs/src/runbook/failures.md#poison`.
        for (at, _) in text.match_indices("docs/src/") {
            let is_part = |c: char| c.is_ascii_alphanumeric() || "/._-#".contains(c);
            let target = text[at..].split(|c| !is_part(c)).next().unwrap_or_default().trim_end_matches('.');
            faults.extend(fault(&page("README.md"), target).map(|fault| format!("{}: {fault}", source.display())));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| folder.join(entry.unwrap().file_name()));
    let nested = entries.map(|path| match root().join(&path).is_dir() {
        true => rust_files(&path),
        false => vec![path],
    });
    nested.flatten().filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

#[test]
fn every_chapter_is_in_the_summary() {
    let summary = page("docs/src/SUMMARY.md");
    let listed: Vec<_> = targets(&summary.text).iter().map(|target| Path::new("docs/src").join(target)).collect();
    for chapter in chapters().iter().filter(|chapter| chapter.path != summary.path) {
        assert!(listed.contains(&chapter.path), "{} is not in the summary", chapter.path.display());
    }
}

/// The texts in quotes of the source file `path`, between the first `begin` and the `end` behind it.
fn names(path: &str, begin: &str, end: &str) -> Vec<String> {
    let source = std::fs::read_to_string(root().join(path)).unwrap();
    let (_, behind) = source.split_once(begin).unwrap_or_else(|| panic!("{path} has no `{begin}`"));
    let (list, _) = behind.split_once(end).unwrap();
    let names: Vec<_> = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(!names.is_empty());
    names
}

#[test]
fn the_runbook_has_a_section_for_every_name_that_operators_are_told() {
    let told = [
        ("states", names("src/health.rs", "const NAMES", "];")),
        ("verdicts", names("src/source/verdict.rs", "fn name(", "\n    }\n")),
        ("poison", names("src/store/dead_letter.rs", "pub const NAMES", "];")),
        ("notices", names("src/store/notice.rs", "pub const NAMES", "];")),
    ];
    for (chapter, names) in told {
        let sections = anchors(&page(format!("docs/src/runbook/{chapter}.md")).text);
        for name in names {
            assert!(sections.contains(&name), "docs/src/runbook/{chapter}.md has no section {name}");
        }
    }
}

#[test]
fn the_runbook_has_a_section_for_every_alert() {
    let monitoring = page("docs/src/guides/monitoring.md");
    let sections = anchors(&page("docs/src/runbook/alerts.md").text);
    let alerts: Vec<_> = monitoring.text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(!alerts.is_empty());
    for alert in alerts {
        assert!(sections.contains(&alert.to_lowercase()), "docs/src/runbook/alerts.md has no section {alert}");
    }
}

#[test]
fn the_book_names_no_metric_that_is_not_there() {
    let families = std::fs::read_to_string(root().join("src/metrics/families.rs")).unwrap();
    for page in chapters() {
        let names = page.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in names.filter_map(|word| word.strip_prefix("readcast_")).filter(|name| !NO_METRICS.contains(name)) {
            let name =
                ["_total", "_bucket", "_info"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
            let name = ["_seconds", "_bytes"].iter().find_map(|unit| name.strip_suffix(unit)).unwrap_or(name);
            assert!(families.contains(&format!("\"{name}\"")), "{}: no metric readcast_{name}", page.path.display());
        }
    }
}

/// What begins like a metric and is none: a schema, tables, packages, a prefix.
const NO_METRICS: [&str; 3] = ["", "tables", "quarantine"];
