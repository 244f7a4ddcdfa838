//! Configurations are read, commands exist with their flags, and examples run.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::process::Command;

use super::markdown::{Block, blocks, spans};
use super::{Page, chapters, page, pages};
use crate::support::process::{Finished, Readcast, configuration};

/// Why an example is not run.
const REASONS: [&str; 7] = ["cargo", "containers", "endless", "example", "halted", "servers", "tools"];

/// The configuration that the examples of the book assume, as its introduction says.
const FILES_TO_SQLITE: &str = "[source]\nkind = \"file\"\npath = \"events\"\n\n[store]\nurl = \"sqlite:read.db\"\n\n[projections]\n\
                               path = \"projections\"\n";

/// The chapters that begin with nothing in the folder but, perhaps, the configuration.
const FROM_NOTHING: [&str; 3] = ["introduction.md", "tutorial.md", "tutorial-files.md"];

/// The chapter whose examples write the files of projections.
const OF_FILES: &str = "docs/src/tutorial-files.md";

/// How long the examples of a chapter may take.
const PATIENCE: Duration = Duration::from_secs(240);

fn place(page: &Page, line: usize) -> String {
    format!("{}:{line}", page.path.display())
}

#[test]
fn examples_are_run_or_say_why_not() {
    for page in pages() {
        for block in blocks(&page.text).iter().filter(|block| block.language() == "sh") {
            let known = match block.info[1..] {
                [] => true,
                ["no-run", reason] => REASONS.contains(&reason),
                _ => false,
            };
            assert!(known, "{}: {:?}", place(&page, block.line), block.info);
        }
    }
}

async fn configured(text: &str) -> Finished {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("readcast.toml");
    std::fs::write(&file, text).unwrap();
    // Every command reads the whole configuration first; this one does nothing with it.
    Readcast::run(["completions", "bash", "--config", file.to_str().unwrap()], &[]).await
}

#[tokio::test]
async fn every_configuration_is_read() {
    assert_eq!(
        configured("[store]\nurrl = \"sqlite:read.db\"\n").await.status.code(),
        Some(78),
        "a faulty one is refused"
    );
    for page in pages() {
        // What is none, or of another program, is marked as such.
        for block in blocks(&page.text).iter().filter(|block| block.info == ["toml"]) {
            let finished = configured(&block.text).await;
            assert!(finished.status.success(), "{}: {}", place(&page, block.line), finished.stderr);
        }
    }
    assert!(page("docs/src/introduction.md").text.contains(FILES_TO_SQLITE), "the examples assume what it says");
}

/// What is typed behind the program's name in `line`, if it is a command of ours.
fn arguments(line: &str) -> Option<Vec<String>> {
    let line = line.trim();
    let (program, rest) = line.split_once(' ').unwrap_or((line, ""));
    let typed = match program {
        "readcast" if !rest.starts_with('=') => rest,
        "cargo" if rest.starts_with("run") => rest.split_once("-- ")?.1,
        _ => return None,
    };
    let words = typed.split_whitespace().take_while(|word| !matches!(*word, "|" | ">" | ">>" | "&&"));
    Some(words.map(|word| stands_for(word.trim_matches(['"', '\'']))).collect())
}

/// A value for a word that stands for one, where not every text will do.
fn stands_for(word: &str) -> String {
    match word {
        "POSITION" | "$first" => "orders/3@17",
        "PLACE" => "live",
        "TIME" => "2024-05-20T14:30:00Z",
        "CLASS" => "panicked",
        "COMMAND" => "run",
        "RECORDS" => "1",
        other => other,
    }
    .to_owned()
}

/// The commands that are typed in `block`, each on one line.
fn typed(block: &Block<'_>) -> Vec<String> {
    block.text.replace("\\\n", " ").lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn every_command_exists_with_its_flags() {
    let mut found = Vec::new();
    for page in pages() {
        let blocks = blocks(&page.text);
        let in_blocks = blocks.iter().filter(|block| block.language() == "sh").flat_map(typed);
        for line in in_blocks.chain(spans(&page.text)) {
            found.extend(arguments(&line).map(|arguments| (page.path.clone(), line, arguments)));
        }
    }
    assert!(found.len() > 50, "they are found");
    let mut faults = Vec::new();
    for (path, line, mut arguments) in found {
        if arguments.first().is_none_or(|command| command != "help") {
            arguments.push("--help".to_owned());
        }
        let finished = Readcast::run(&arguments, &[]).await;
        let why = finished.stderr.lines().next().map(|why| format!("{}: {line}: {why}", path.display()));
        faults.extend(why.filter(|_| !finished.status.success()));
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// A folder with the configuration of the examples and the shop's projections, and where `readcast` is the released program.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("projections")).unwrap();
    for (name, text) in readcast_projections::FILES {
        std::fs::write(dir.path().join("projections").join(name), text).unwrap();
    }
    std::fs::write(dir.path().join("readcast.toml"), FILES_TO_SQLITE).unwrap();
    std::fs::create_dir(dir.path().join(".bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_readcast"), dir.path().join(".bin/readcast")).unwrap();
    dir
}

/// The script that writes the files of projections and of their tests, and types the commands, in the order of the chapter.
fn script_with_files(blocks: &[Block<'_>]) -> String {
    let (mut script, mut last) = (String::new(), "");
    for block in blocks {
        let file = match block.info.as_slice() {
            ["sh"] => {
                script += &block.text;
                continue;
            }
            ["toml", "projection", name] => {
                last = name;
                format!("{name}.toml")
            }
            ["toml", "test"] => format!("{last}.test.toml"),
            _ => continue,
        };
        script += &format!("cat > projections/{file} <<'END_OF_BLOCK'\n{}END_OF_BLOCK\n", block.text);
    }
    script
}

/// Runs the examples of a chapter, one after the other, as one script.
async fn run(chapter: &Page) -> Result<(), String> {
    const SHOP: &str = "readcast generate --events 1000 --rate 0 --partitions 4\nreadcast run --until-end\n";
    let blocks = blocks(&chapter.text);
    let examples: Vec<&str> = blocks.iter().filter(|block| block.info == ["sh"]).map(|block| &*block.text).collect();
    if examples.is_empty() {
        return Ok(());
    }
    let from_nothing = FROM_NOTHING.iter().any(|name| chapter.path == Path::new("docs/src").join(name));
    let before = if from_nothing { "" } else { SHOP };
    let is_of_files = chapter.path == Path::new(OF_FILES);
    let script = if is_of_files { script_with_files(&blocks) } else { examples.concat() };
    let dir = folder();
    let mut command = Command::new("bash");
    for name in configuration() {
        command.env_remove(name);
    }
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", dir.path().join(".bin").display())).env("NO_COLOR", "1");
    command.args(["-euo", "pipefail", "-x", "-c", &format!("{before}{script}")]);
    let output = command.current_dir(dir.path()).kill_on_drop(true).output();
    let told = match tokio::time::timeout(PATIENCE, output).await {
        Ok(Ok(output)) if output.status.success() => return Ok(()),
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it does not end".to_owned(),
    };
    Err(format!("{}:\n{told}", chapter.path.display()))
}

#[tokio::test]
async fn every_example_runs() {
    let chapters = chapters();
    let failed: Vec<String> = join_all(chapters.iter().map(run)).await.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
