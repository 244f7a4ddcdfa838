//! The folder of projections that are written as files.

use std::fmt;
use std::path::Path;
#[cfg(feature = "files")]
use std::path::PathBuf;

use readcast_core::Registry;
#[cfg(feature = "files")]
pub use readcast_files::{FileProjection, Problem, upcasters};
#[cfg(feature = "files")]
pub(crate) use readcast_files::{RecordedTest, TestOutcome, WIT, draft, recorded_test, run_tests, schema};

/// Why the files of projections can't be used.
#[derive(Debug)]
pub(crate) enum FilesError {
    /// The folder, or a file in it, can't be read.
    Unreadable(String),
    /// What is wrong with the files, as it is shown.
    #[cfg(feature = "files")]
    Wrong(Vec<Problem>),
}

impl fmt::Display for FilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(reason) => f.write_str(&crate::text::escape(reason)),
            #[cfg(feature = "files")]
            Self::Wrong(problems) => {
                writeln!(f, "the files of projections are not valid")?;
                problems.iter().try_for_each(|problem| write!(f, "\n{problem}\n"))
            }
        }
    }
}

/// The projections of the files in a folder, each with the path of its file.
#[cfg(feature = "files")]
pub(crate) type Loaded = Vec<(PathBuf, FileProjection)>;

/// Nothing: the program can't read files of projections.
#[cfg(not(feature = "files"))]
pub(crate) type Loaded = Vec<std::convert::Infallible>;

/// Loads the files in `folder`, and adds their projections to the registry.
#[cfg(feature = "files")]
pub(crate) fn registered(registry: Registry, folder: &Path) -> Result<(Registry, Loaded), FilesError> {
    let loaded = load(folder)?;
    let registry = loaded.iter().fold(registry, |registry, (_, projection)| registry.register(projection.clone()));
    Ok((registry, loaded))
}

#[cfg(feature = "files")]
fn load(folder: &Path) -> Result<Loaded, FilesError> {
    let unreadable = |path: &Path, error: &dyn fmt::Display| {
        FilesError::Unreadable(format!("{} can't be read: {error}", path.display()))
    };
    let entries = std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|error| unreadable(folder, &error))?.path());
    }
    paths.retain(|path| is_projection(path));
    paths.sort();
    if paths.is_empty() {
        let reason = format!("{} has no file NAME.toml of a projection", folder.display());
        return Err(FilesError::Unreadable(reason));
    }
    let (mut projections, mut problems) = (Vec::new(), Vec::new());
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        let read = |name: &str| std::fs::read(folder.join(name));
        match FileProjection::load_beside(&path.display().to_string(), &text, &read) {
            Ok(projection) => projections.push((path, projection)),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(projections) } else { Err(FilesError::Wrong(problems)) }
}

/// Whether the file is that of a projection: `NAME.toml`, but not the tests of one, `NAME.test.toml`.
#[cfg(feature = "files")]
fn is_projection(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.ends_with(".toml") && !name.ends_with(".test.toml") && path.is_file()
}

#[cfg(not(feature = "files"))]
pub(crate) fn registered(_: Registry, folder: &Path) -> Result<(Registry, Loaded), FilesError> {
    let reason = format!("{}: this program was built without the cargo feature `files`", folder.display());
    Err(FilesError::Unreadable(reason))
}
