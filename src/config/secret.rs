//! Secrets: texts that no output shows, given directly or in a file.

use std::fmt;
use std::path::{Path, PathBuf};

/// A password or token. It has no `Display`, and its `Debug` shows three asterisks.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret with the content `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// A secret, or the file that holds it. A file is read each time, because rotating credentials overwrites it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// The secret itself.
    Fixed(Secret),
    /// A file that holds the secret. Line ends after it do not count.
    File(PathBuf),
}

impl SecretSource {
    /// The secret at this moment. The error names the file and shows nothing of its content. It can be temporary: a
    /// file that is missing, empty or half written may be complete a moment later.
    pub fn current(&self) -> Result<Secret, String> {
        match self {
            Self::Fixed(secret) => Ok(secret.clone()),
            Self::File(path) => read(path).map(Secret),
        }
    }
}

/// The text of the file `path` that holds a secret.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let name = path.display();
    let bytes = std::fs::read(path).map_err(|error| format!("can't read `{name}`: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("`{name}` is not UTF-8"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(format!("`{name}` is empty")),
        secret => Ok(secret.to_owned()),
    }
}

/// The text that replaces a secret in output.
pub(super) const MASK: &str = "***";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_and_never_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let source = SecretSource::File(file.path().into());
        let current = |bytes: &[u8]| {
            std::fs::write(file.path(), bytes).unwrap();
            source.current().map(|secret| secret.expose().to_owned())
        };
        assert_eq!(current(b"old\n").as_deref(), Ok("old"));
        assert_eq!(current(b" new \r\n").as_deref(), Ok(" new "));
        let path = file.path().display().to_string();
        assert_eq!(current(b"\n"), Err(format!("`{path}` is empty")));
        assert_eq!(current(b"hunter2\xff"), Err(format!("`{path}` is not UTF-8")));
        std::fs::remove_file(file.path()).unwrap();
        assert!(source.current().unwrap_err().starts_with(&format!("can't read `{path}`: ")));
        assert!(!format!("{:?}", SecretSource::Fixed(Secret::new("hunter2"))).contains("hunter2"));
    }
}
