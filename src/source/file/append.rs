//! Writes sample events to files. The service itself never writes to the log.

use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Appends records to the partitions of one topic. Writes are buffered until [`flush`](Self::flush).
#[derive(Debug)]
pub struct Appender {
    partitions: Vec<BufWriter<File>>,
}

impl Appender {
    /// Opens or creates the files of the partitions 0 to `partitions` - 1 of `topic` in the folder `dir`.
    pub fn open(dir: &Path, topic: &str, partitions: i32) -> io::Result<Self> {
        let folder = dir.join(topic);
        std::fs::create_dir_all(&folder)?;
        let open = |number| {
            let path = folder.join(format!("{number}.ndjson"));
            OpenOptions::new().create(true).append(true).open(path).map(BufWriter::new)
        };
        Ok(Self { partitions: (0..partitions).map(open).collect::<io::Result<_>>()? })
    }

    /// Appends one record. All records of a key go to one partition, in order.
    pub fn append(&mut self, key: &str, value: &str) -> io::Result<()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let index = hasher.finish() % self.partitions.len() as u64;
        let partition = &mut self.partitions[usize::try_from(index).unwrap_or(0)];
        writeln!(partition, "{key}\t{value}")
    }

    /// Makes the appended records visible to readers.
    pub fn flush(&mut self) -> io::Result<()> {
        self.partitions.iter_mut().try_for_each(Write::flush)
    }
}
