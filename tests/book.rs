//! README, ARCHITECTURE.md and the book are true: links resolve, configurations are read, commands exist, and examples run
//! against the program under test. Rust blocks are doctests of the library.

mod commands;
mod links;
mod markdown;

use std::path::{Path, PathBuf};

/// A document in Markdown.
pub(crate) struct Page {
    /// Its path below the root of the repository.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// The root of the repository: the package of the tests may be below it.
fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().find(|folder| folder.join("docs/book.toml").is_file()).expect("the repository has a book")
}

fn page(path: impl Into<PathBuf>) -> Page {
    let path = path.into();
    let text =
        std::fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Page { path, text }
}

/// The chapters of the book, its summary among them.
fn chapters() -> Vec<Page> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::from("docs/src")]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if root().join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(page(path));
            }
        }
    }
    found
}

/// All that is checked.
fn pages() -> Vec<Page> {
    [page("README.md"), page("ARCHITECTURE.md")].into_iter().chain(chapters()).collect()
}

#[test]
fn the_readme_has_at_most_8_kb() {
    assert!(page("README.md").text.len() <= 8 * 1024);
}

#[test]
fn the_rust_of_every_page_is_a_doctest() {
    let library = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for page in
        pages().iter().filter(|page| markdown::blocks(&page.text).iter().any(|block| block.language() == "rust"))
    {
        assert!(library.contains(&format!("\"../{}\"", page.path.display())), "{} is no doctest", page.path.display());
    }
}
