//! Ensures that only one process writes a SQLite file. Two services would take over each other's partitions again and
//! again. Readers do not need the lock.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// The right to write a database as long as this value lives. The kernel releases it when the process dies.
///
/// The lock file stays after the lock is released: removing it could remove the lock file of the next owner.
#[derive(Debug)]
pub(super) struct WriteLock {
    _held: File,
}

impl WriteLock {
    pub(super) fn take(database: &Path) -> Result<Self, StoreError> {
        let path = beside(database);
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(|error| refused(format!("can't open {}: {error}", path.display())))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(refused(in_use(database, &mut file))),
            Err(TryLockError::Error(error)) => {
                return Err(refused(format!("can't lock {}: {error}", path.display())));
            }
        }
        // The process id is for people only, so errors are ignored.
        let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Self { _held: file })
    }
}

fn beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn in_use(database: &Path, file: &mut File) -> String {
    let mut pid = String::new();
    // The owner may not have written its id yet.
    let known = file.read_to_string(&mut pid).is_ok_and(|length| length > 0);
    let pid = if known { format!(" (pid {pid})") } else { String::new() };
    let database = database.display();
    format!("{database} is in use by another readcast process{pid}: one process at a time writes a SQLite file")
}

fn refused(reason: String) -> StoreError {
    StoreError::Refused { doing: "opening the store".into(), reason }
}
