//! The rules of the code base, as tests: which module may use which, who alone knows a library, how large a file and a
//! function may be, and which words are not used.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::root;

/// Folders with the code that is shipped.
const SHIPPED: [&str; 5] = ["src", "core/src", "files/src", "projections/src", "service/src"];
/// The most lines of a file.
const FILE_LINES: usize = 400;
/// The most lines of a function, from its signature to its closing brace.
const FUNCTION_LINES: usize = 60;

/// The modules of `src` from the lowest layer to the highest. A module may use those of its own layer and of lower ones.
const LAYERS: [&[&str]; 11] = [
    &["failpoint", "retry", "text", "files"],
    &["config"],
    &["registry", "source", "telemetry"],
    &["store", "decode"],
    &["plan"],
    &["error", "metrics", "health"],
    &["worker"],
    &["operations"],
    &["supervisor"],
    &["control"],
    &["admin", "app", "cli", "schemes", "reference"],
];

/// Libraries, each with the one module that may use it.
const MONOPOLIES: [(&str, &str); 15] = [
    ("rdkafka", "src/source/kafka"),
    ("sqlx", "src/store"),
    ("axum", "src/admin"),
    ("clap", "src/cli"),
    ("quick_junit", "src/cli"),
    ("indicatif", "src/cli"),
    ("prometheus_client", "src/metrics"),
    ("reqwest", "src/registry"),
    ("cel", "files/src/expression/parse"),
    ("annotate_snippets", "files/src/document"),
    ("wasmtime", "files/src/component"),
    ("wit_component", "files/src/component"),
    ("readcast_files", "src/files"),
    ("tracing_subscriber", "src/telemetry"),
    ("readcast_projections", "service/src/main"),
];

/// What a module must not mention beyond what its layer forbids.
const FORBIDDEN: [(&str, &[&str]); 8] = [
    ("files/src", &["tokio::", "std::env", "std::time", "std::fs", "SystemTime"]),
    ("core/src", &["tokio::", "sqlx::", "rdkafka::", "std::env", "std::time", "SystemTime"]),
    ("src/plan", &["tokio::", "std::time", "SystemTime"]),
    ("src/store", &["crate::config::Config"]),
    ("src/operations", &["source::kafka", "source::file", "crate::config"]),
    ("src/supervisor", &["source::kafka", "source::file", "crate::config"]),
    ("src/control", &["clap", "axum", "indicatif", "println!", "ExitCode", "crate::config"]),
    // Commands compute nothing: they parse, call `control` and render.
    ("src/cli", &["println!", "has_running_instance", "declaration_changes", "unreadable_checkpoints"]),
];

/// Phrases that describe the program as people, or that say in a riddle what has a term in this field.
const BANNED_PHRASES: &[&str] = &[
    "whoever",
    "goes on",
    "gave us partitions",
    "took partitions from us",
    "behind us",
    "fares",
    "gives way",
    "told of",
    "nobody wants",
    "what keeps",
    "not noted in time",
    "for good",
    "lets go of",
    "is away",
    "comes to stand",
    "takes back",
    "free again",
    "anew",
    "all the same",
    "in hand",
];

struct File {
    path: PathBuf,
    text: String,
}

impl File {
    fn is_at(&self, home: &str) -> bool {
        self.path.starts_with(home) || self.path == Path::new(&format!("{home}.rs"))
    }

    fn is_test(&self) -> bool {
        self.path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests"))
    }

    /// The file without its comments.
    fn code(&self) -> String {
        let lines = self.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The module of `src` that the file belongs to.
    fn module(&self) -> Option<String> {
        let first = self.path.strip_prefix("src").ok()?.components().next()?;
        Some(first.as_os_str().to_str()?.trim_end_matches(".rs").to_owned())
    }
}

fn files(folder: &str, extension: &str) -> Vec<File> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|other| other == extension) {
                let text = fs::read_to_string(&path).unwrap();
                found.push(File { path: path.strip_prefix(root()).unwrap().to_owned(), text });
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has no files");
    found
}

fn shipped() -> Vec<File> {
    SHIPPED.iter().flat_map(|folder| files(folder, "rs")).collect()
}

/// Fails with every violation at once: a report of one at a time costs a run each.
#[track_caller]
fn none(violations: Vec<String>) {
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

#[test]
fn each_library_is_known_to_one_module() {
    let knows = |file: &File, library: &str| file.code().contains(&format!("{library}::"));
    let mut violations = Vec::new();
    for (library, home) in MONOPOLIES {
        let others = shipped().into_iter().filter(|file| !file.is_at(home) && !file.path.starts_with("projections"));
        violations.extend(
            others.filter(|file| knows(file, library)).map(|file| format!("{} uses {library}", file.path.display())),
        );
    }
    none(violations);
}

#[test]
fn a_module_uses_its_own_layer_and_lower_ones() {
    let layer = |module: &str| LAYERS.iter().position(|modules| modules.contains(&module));
    let mut violations = Vec::new();
    for file in files("src", "rs").into_iter().filter(|file| !file.path.ends_with("src/lib.rs")) {
        let module = file.module().unwrap();
        let Some(own) = layer(&module) else {
            violations.push(format!("{module} has no place in LAYERS"));
            continue;
        };
        let code = file.code();
        for used in code.split("crate::").skip(1) {
            let used: String = used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if layer(&used).is_some_and(|used| used > own) {
                violations.push(format!("{} uses {used}, which is above {module}", file.path.display()));
            }
        }
    }
    none(violations);
}

#[test]
fn modules_mention_nothing_that_is_forbidden_to_them() {
    let mut violations = Vec::new();
    for (home, names) in FORBIDDEN {
        for file in shipped().into_iter().filter(|file| file.is_at(home) && !file.is_test()) {
            let code = file.code();
            let found = names.iter().filter(|name| code.contains(**name));
            violations.extend(found.map(|name| format!("{} mentions {name}", file.path.display())));
        }
    }
    none(violations);
}

#[test]
fn the_command_line_leaves_the_store_to_control() {
    let mut violations = Vec::new();
    for file in files("src/cli", "rs").into_iter().filter(|file| !file.is_test()) {
        // Commands open a store and pass it on.
        if file.code().replace("store.clone()", "").contains("store.") {
            violations.push(format!("{} calls a store", file.path.display()));
        }
    }
    none(violations);
}

#[test]
fn files_and_functions_stay_within_their_budgets() {
    let mut violations = Vec::new();
    for file in shipped() {
        let lines: Vec<&str> = file.text.lines().collect();
        if lines.len() > FILE_LINES {
            violations.push(format!("{} has {} lines, more than {FILE_LINES}", file.path.display(), lines.len()));
        }
        for at in (0..lines.len()).filter(|at| begins_function(lines[*at])) {
            let length = function_lines(&lines[at..]);
            if length > FUNCTION_LINES {
                violations.push(format!("{}:{} is a function of {length} lines", file.path.display(), at + 1));
            }
        }
    }
    none(violations);
}

/// The number of lines from a function's signature, which `lines` begin with, to its closing brace. A declaration without a
/// body ends with its semicolon.
fn function_lines(lines: &[&str]) -> usize {
    let indent = lines[0].len() - lines[0].trim_start().len();
    let at_indent = |line: &str| !line.is_empty() && line.len() - line.trim_start().len() == indent;
    let is_end = |line: &str| at_indent(line) && line.ends_with(['}', ';']);
    lines.iter().position(|line| is_end(line)).map_or(lines.len(), |end| end + 1)
}

/// Whether a line, as rustfmt writes it, begins a function.
fn begins_function(line: &str) -> bool {
    let words = line.trim_start().split(' ');
    let mut words = words.skip_while(|word| word.starts_with("pub") || ["const", "async", "unsafe"].contains(word));
    words.next() == Some("fn")
}

#[test]
fn nothing_is_left_for_later_in_the_sources() {
    let mut violations = Vec::new();
    let tests = files("tests", "rs").into_iter().filter(|file| !file.path.ends_with("tidy.rs"));
    for file in shipped().into_iter().chain(tests) {
        let found = ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("].into_iter();
        violations.extend(
            found.filter(|word| file.text.contains(word)).map(|word| format!("{} says {word}", file.path.display())),
        );
    }
    none(violations);
}

#[test]
fn every_file_says_what_it_owns() {
    let silent = shipped().into_iter().filter(|file| !file.is_test() && !file.text.starts_with("//!"));
    none(silent.map(|file| format!("{} has no header", file.path.display())).collect());
}

#[test]
fn no_documentation_repeats_a_name_and_nothing_else() {
    let doc = |line: Option<&&str>| line.is_some_and(|line| line.trim_start().starts_with("///"));
    let mut violations = Vec::new();
    for file in shipped() {
        let lines: Vec<&str> = file.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let Some(text) = line.trim_start().strip_prefix("/// ") else { continue };
            let alone = !doc(at.checked_sub(1).and_then(|before| lines.get(before))) && !doc(lines.get(at + 1));
            if alone && text.split(' ').count() <= 2 {
                violations.push(format!("{}:{} documents nothing: {text}", file.path.display(), at + 1));
            }
        }
    }
    none(violations);
}

#[test]
fn texts_use_the_terms_of_the_field() {
    let documents = files("docs/src", "md").into_iter();
    let readme = ["README.md", "ARCHITECTURE.md"].map(|name| {
        let text = fs::read_to_string(root().join(name)).unwrap();
        File { path: name.into(), text }
    });
    let mut violations = Vec::new();
    for file in shipped().into_iter().chain(documents).chain(readme) {
        for (at, line) in file.text.lines().enumerate() {
            let line = line.to_lowercase();
            let found = BANNED_PHRASES.iter().filter(|phrase| contains_words(&line, phrase));
            violations.extend(found.map(|phrase| format!("{}:{} says `{phrase}`", file.path.display(), at + 1)));
        }
    }
    none(violations);
}

/// Whether `line` has `phrase` at word boundaries.
fn contains_words(line: &str, phrase: &str) -> bool {
    let is_inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    line.match_indices(phrase).any(|(at, _)| {
        !is_inside(line[..at].chars().next_back()) && !is_inside(line[at + phrase.len()..].chars().next())
    })
}
