//! Reports a large write-ahead log. SQLite resets the log when no reader uses an older part of it.

use std::path::Path;

use crate::store::OldestSnapshot;

/// The size in bytes from which the log is reported. SQLite normally resets it after 4 MB.
const LARGE_BYTES: u64 = 64 << 20;

/// The warning about the write-ahead log of the database at `path`. `None` if the log is small or missing.
pub(super) fn oldest_snapshot(path: &Path) -> Option<OldestSnapshot> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let bytes = std::fs::metadata(&log).ok()?.len();
    (bytes >= LARGE_BYTES).then(|| OldestSnapshot {
        what: format!(
            "The write-ahead log {} has {} MiB, because a reader keeps a transaction open or a large transaction was written. \
             Every read searches the whole log",
            log.display(),
            bytes >> 20
        ),
        next: "end readers with long transactions; without such readers do nothing: SQLite resets the log when the database \
               is opened without other readers"
            .to_owned(),
        seconds: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_write_ahead_log_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("read.db");
        assert_eq!(oldest_snapshot(&path), None, "there is no log");
        let log = std::fs::File::create(dir.path().join("read.db-wal")).unwrap();
        log.set_len(LARGE_BYTES - 1).unwrap();
        assert_eq!(oldest_snapshot(&path), None);
        log.set_len(LARGE_BYTES).unwrap();
        let warning = oldest_snapshot(&path).unwrap().to_string();
        assert!(warning.contains("read.db-wal has 64 MiB, because a reader"), "{warning}");
    }
}
