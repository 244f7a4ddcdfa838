//! How long the write-ahead log has become: it is emptied whenever nobody reads from before its end.

use std::path::Path;

use crate::store::OldestSnapshot;

/// From this length on somebody keeps it from being emptied, or did; SQLite does so after every 4 MB.
const LONG: u64 = 64 << 20;

/// What is to be said of the write-ahead log of the file at `path`.
pub(super) fn oldest_snapshot(path: &Path) -> Option<OldestSnapshot> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let bytes = std::fs::metadata(&log).ok()?.len();
    (bytes >= LONG).then(|| OldestSnapshot {
        what: format!(
            "The write-ahead log {} has {} MiB: a reader that leaves its transaction open keeps it from being emptied, or a \
             large transaction was written, and every read searches all of it",
            log.display(),
            bytes >> 20
        ),
        next: "end readers that have been at it for long; if there is none, nothing: the next one to open it alone empties it"
            .to_owned(),
        seconds: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_write_ahead_log_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("read.db");
        assert_eq!(oldest_snapshot(&path), None, "there is none");
        let log = std::fs::File::create(dir.path().join("read.db-wal")).unwrap();
        log.set_len(LONG - 1).unwrap();
        assert_eq!(oldest_snapshot(&path), None);
        log.set_len(LONG).unwrap();
        let told = oldest_snapshot(&path).unwrap().to_string();
        assert!(told.contains("read.db-wal has 64 MiB: a reader"), "{told}");
    }
}
