//! The password file, `~/.pgpass`: lines of `host:port:database:user:password` (PostgreSQL documentation 34.16).
//!
//! The driver does not read it, because the driver logs a line that it can't parse, including the password.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::parameters::Given;
use crate::config::environment::Environment;
use crate::config::secret::Secret;

/// The path of the file, which may not exist.
pub(super) fn path(given: &Given, environment: &Environment) -> Option<PathBuf> {
    let usual = || environment.get("HOME").map(|home| Path::new(home).join(".pgpass"));
    given.get("passfile").map(PathBuf::from).or_else(usual)
}

/// The password of the first line that matches. A file that other users may read is ignored with a warning, as in libpq.
pub(super) fn password(path: &Path, host: &str, port: u16, database: &str, user: &str) -> Option<Secret> {
    const OTHERS: u32 = 0o077;
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    if metadata.permissions().mode() & OTHERS != 0 {
        let path = path.display();
        tracing::warn!("the password file {path} is ignored, because other users may read it; run `chmod 600 {path}`");
        return None;
    }
    let text = std::fs::read_to_string(path).ok()?;
    let wanted = [host, &port.to_string(), database, user];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| of_line(line, &wanted))
}

fn of_line(line: &str, wanted: &[&str; 4]) -> Option<Secret> {
    let mut rest = line;
    for wanted in wanted {
        let (field, after) = field(rest)?;
        if field != "*" && unescape(field) != *wanted {
            return None;
        }
        rest = after;
    }
    let (password, _) = field(rest).unwrap_or((rest, ""));
    Some(unescape(password)).filter(|password| !password.is_empty()).map(Secret::new)
}

/// The text before the first colon that no backslash escapes, and the text after it.
fn field(text: &str) -> Option<(&str, &str)> {
    let mut hidden = false;
    let colon = text.bytes().position(|byte| {
        let ends = byte == b':' && !hidden;
        hidden = byte == b'\\' && !hidden;
        ends
    })?;
    Some((&text[..colon], &text[colon + 1..]))
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        plain.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn found(text: &str, mode: u32, host: &str, database: &str) -> Option<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
        password(file.path(), host, 5432, database, "app").map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn the_first_line_that_matches_counts() {
        let text = "# db:5432:shop:app:not this\nnonsense\ndb:5433:*:*:no\ndb:5432:shop:app:se\\:cr\\\\et\n*:*:*:app:other\r\n";
        assert_eq!(found(text, 0o600, "db", "shop").as_deref(), Some("se:cr\\et"));
        assert_eq!(found(text, 0o600, "db2", "shop").as_deref(), Some("other"));
        assert_eq!(found("\\:\\:1:5432:shop:app:six", 0o400, "::1", "shop").as_deref(), Some("six"));
        assert_eq!(found("db:5432:shop:someone:x", 0o600, "db", "shop"), None);
    }

    #[test]
    fn a_file_that_other_users_may_read_is_ignored() {
        assert_eq!(found("*:*:*:*:x", 0o644, "db", "shop"), None);
        assert_eq!(password(Path::new("/no/such/file"), "db", 5432, "shop", "app").map(|_| ()), None);
    }
}
