//! The program itself, over a folder of files into SQLite.

use std::path::Path;
use std::process::{Command, Output};

use sqlx::{Connection, Row, SqliteConnection};

fn library(arguments: &[&str]) -> Output {
    let program = Command::new(env!("CARGO_BIN_EXE_library")).args(arguments).current_dir(root()).output();
    let output = program.expect("cargo has built the program");
    assert!(output.status.success(), "{output:?}");
    output
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

async fn rows(database: &Path, query: &'static str) -> Vec<String> {
    let url = format!("sqlite:{}", database.display());
    let mut connection = SqliteConnection::connect(&url).await.expect("the program has made the database");
    let rows = sqlx::query(query).fetch_all(&mut connection).await.expect("the program has made the tables");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn messages_become_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("read.db");
    let store = format!("sqlite:{}", database.display());
    library(&["run", "--until-end", "--source", "file:tests/events", "--store", &store]);
    let loans = "SELECT book || ' ' || member || ' ' || due FROM loans ORDER BY book";
    assert_eq!(rows(&database, loans).await, ["Ulysses ben 2024-03-29", "Walden ana 2024-04-13"]);
    let members = "SELECT member || ' ' || borrowed || ' ' || returned FROM members ORDER BY member";
    assert_eq!(rows(&database, members).await, ["ana 2 1", "ben 1 0"]);
}

#[test]
fn the_program_has_a_name_of_its_own() {
    let version = library(&["--version"]);
    assert_eq!(String::from_utf8_lossy(&version.stdout), format!("library {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_program_without_a_sample_has_no_demo() {
    let help = library(&["--help"]);
    let help = String::from_utf8_lossy(&help.stdout);
    assert!(help.contains("dead-letters") && !help.contains("demo") && !help.contains("generate"), "{help}");
}
