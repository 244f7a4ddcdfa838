//! The folder of the log: its topics, their partitions, and the extent of each.
//!
//! It interprets names and errors of the file system. It knows nothing of subscriptions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use readcast_core::{TopicPartition, is_topic_pattern, topic_matches};

use super::form::Form;
use super::lines::{self, LinePosition};
use crate::source::{Extent, Extents, SourceError};

/// The identity of a file under any name: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inode(u64, u64);

impl Inode {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }

    /// The id of the file's log and its inode, for operators.
    pub(super) fn describe(self, file: &File) -> String {
        let log_id = lines::log_id(file).ok().flatten();
        format!("{}, inode {}", log_id.as_deref().unwrap_or("without a line"), self.1)
    }
}

/// The folder of the whole log.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    /// The lines of each file, counted so far. A repeated question reads only what was appended.
    counts: Mutex<BTreeMap<PathBuf, LineCount>>,
    /// The forms of the partitions that were logged already.
    logged_forms: Mutex<BTreeMap<TopicPartition, Form>>,
}

#[derive(Debug)]
struct LineCount {
    inode: Inode,
    log_id: Option<String>,
    end: LinePosition,
}

impl Folder {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, counts: Mutex::default(), logged_forms: Mutex::default() }
    }

    /// The partitions of `topics` and their files, sorted. Files with other names are ignored.
    pub(super) fn partitions(&self, topics: &[String]) -> Result<BTreeMap<TopicPartition, PathBuf>, SourceError> {
        let mut partitions = BTreeMap::new();
        for topic in self.existing(topics)? {
            let folder = self.dir.join(&topic);
            let listing = |error| self.listing_error(&topic, &folder, &error);
            for entry in fs::read_dir(&folder).map_err(listing)? {
                let path = entry.map_err(listing)?.path();
                if let Some(number) = partition_number(&path) {
                    partitions.insert(TopicPartition::new(topic.as_str(), number), path);
                }
            }
        }
        Ok(partitions)
    }

    /// The topics that these names and patterns mean.
    fn existing(&self, topics: &[String]) -> Result<BTreeSet<String>, SourceError> {
        let mut existing = BTreeSet::new();
        for pattern in topics {
            if !is_topic_pattern(pattern) {
                existing.insert(pattern.clone());
                continue;
            }
            let before = existing.len();
            let listing = |error| self.listing_error(pattern, &self.dir, &error);
            for entry in fs::read_dir(&self.dir).map_err(listing)? {
                let entry = entry.map_err(listing)?;
                let name = entry.file_name().into_string().unwrap_or_default();
                if topic_matches(pattern, &name) && entry.path().is_dir() {
                    existing.insert(name);
                }
            }
            if existing.len() == before {
                return Err(SourceError::NoTopic(pattern.clone()));
            }
        }
        Ok(existing)
    }

    /// The extent of each partition of `topics`. Reads the lines that were not counted yet.
    pub(super) fn extents(&self, topics: &[String]) -> Result<Extents, SourceError> {
        let extent = |(partition, path)| Ok((partition, self.extent(path)?));
        self.partitions(topics)?.into_iter().map(extent).collect()
    }

    fn extent(&self, path: PathBuf) -> Result<Extent, SourceError> {
        let (file, metadata) = open(&path)?;
        refuse_foreign(&path, &file)?;
        let count = self.count(&path, &file, &metadata).map_err(|error| read_error(&path, &error))?;
        let extent = Extent { start: 0, end: count.end.next_offset, log_id: count.log_id.clone() };
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).insert(path, count);
        Ok(extent)
    }

    /// The form of the files of each topic, a line for operators each. Reads each file up to the line that decides.
    pub(super) fn forms(&self, topics: &[String]) -> Result<Vec<String>, SourceError> {
        let mut found = BTreeMap::<String, BTreeMap<Form, Vec<String>>>::new();
        for (partition, path) in self.partitions(topics)? {
            let (file, _) = open(&path)?;
            let form = lines::form_before(&file, LinePosition::END).map_err(|error| read_error(&path, &error))?;
            let forms = found.entry(partition.topic.to_string()).or_default();
            forms.entry(form).or_default().push(partition.partition.to_string());
        }
        Ok(found.into_iter().map(|(topic, forms)| self.describe(&topic, &forms)).collect())
    }

    /// `events/orders: key, tab, value`. Several forms are listed with their partitions.
    fn describe(&self, topic: &str, forms: &BTreeMap<Form, Vec<String>>) -> String {
        let of_partitions = |(form, partitions): (&Form, &Vec<String>)| match forms.len() {
            1 => form.to_string(),
            _ => format!("{form} in {}", partitions.join(", ")),
        };
        let forms: Vec<_> = forms.iter().map(of_partitions).collect();
        format!("{}: {}", self.dir.join(topic).display(), forms.join("; "))
    }

    /// Logs the form of a partition's file once it is decided, for the first file of each topic and for those that
    /// differ from it.
    pub(super) fn log_form(&self, partition: &TopicPartition, form: Form) {
        let mut logged = self.logged_forms.lock().unwrap_or_else(PoisonError::into_inner);
        if form == Form::Undecided || logged.contains_key(partition) {
            return;
        }
        let folder = self.dir.join(&*partition.topic);
        let first = logged.iter().find(|(other, _)| other.topic == partition.topic).map(|(_, form)| *form);
        match first {
            None => tracing::info!("the lines of {} have the form: {form}", folder.display()),
            Some(first) if first != form => {
                let file = folder.join(format!("{}.ndjson", partition.partition));
                tracing::warn!(
                    "the lines of {} have the form: {form}; those of the topic's other files: {first}",
                    file.display()
                );
            }
            Some(_) => {}
        }
        logged.insert(partition.clone(), form);
    }

    fn count(&self, path: &Path, file: &File, metadata: &Metadata) -> io::Result<LineCount> {
        let inode = Inode::of(metadata);
        let log_id = lines::log_id(file)?;
        let counted = {
            let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.get(path).filter(|count| count.inode == inode && count.log_id == log_id).map(|count| count.end)
        };
        let from = match counted {
            Some(end) if end.byte <= metadata.len() && end.begins_line(file)? => end,
            _ => LinePosition::default(),
        };
        Ok(LineCount { inode, log_id, end: from.seek(file, i64::MAX)? })
    }

    fn listing_error(&self, topic: &str, folder: &Path, error: &io::Error) -> SourceError {
        match error.kind() {
            ErrorKind::NotFound if self.dir.is_dir() => SourceError::NoTopic(topic.to_owned()),
            ErrorKind::NotFound => SourceError::Unavailable {
                doing: format!("listing the topics in {}", self.dir.display()),
                reason: "the folder does not exist".to_owned(),
            },
            _ => read_error(folder, error),
        }
    }
}

/// The number in `<number>.ndjson`. Only in its canonical form: `07` beside `7` would be two files of one partition.
fn partition_number(path: &Path) -> Option<i32> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".ndjson")?;
    stem.parse().ok().filter(|number: &i32| *number >= 0 && number.to_string() == stem)
}

/// Opens the file of a partition for reading.
pub(super) fn open(path: &Path) -> Result<(File, Metadata), SourceError> {
    let failed = |error| read_error(path, &error);
    // Checked before opening, because opening a pipe waits for its writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(refused(path, "the path is not a regular file".to_owned()));
    }
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    Ok((file, metadata))
}

/// Refuses a file that begins with the byte order mark of an encoding other than UTF-8: none of its lines is readable.
pub(super) fn refuse_foreign(path: &Path, file: &File) -> Result<(), SourceError> {
    match lines::foreign_encoding(file).map_err(|error| read_error(path, &error))? {
        Some(encoding) => {
            let reason = format!("the file begins with the byte order mark of {encoding}: convert it to UTF-8");
            Err(refused(path, reason))
        }
        None => Ok(()),
    }
}

/// The source's error for a failure to read `path`.
pub(super) fn read_error(path: &Path, error: &io::Error) -> SourceError {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::NotADirectory => refused(path, error.to_string()),
        _ => SourceError::Unavailable { doing: reading(path), reason: error.to_string() },
    }
}

/// The source's error for a `path` that is not readable as a log, now or later.
pub(super) fn refused(path: &Path, reason: String) -> SourceError {
    SourceError::Refused { doing: reading(path), reason }
}

fn reading(path: &Path) -> String {
    format!("reading {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_number_is_a_partition() {
        let number = |name: &str| partition_number(&Path::new("topic").join(name));
        assert_eq!(number("0.ndjson"), Some(0));
        assert_eq!(number("12.ndjson"), Some(12));
        for other in ["00.ndjson", "+1.ndjson", "-1.ndjson", "1.ndjson.tmp", "1.json", ".ndjson", "9999999999.ndjson"] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn counting_continues_where_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.ndjson");
        let folder = Folder::new(dir.path().to_owned());
        let end = |text: &str| {
            fs::write(&path, text).unwrap();
            folder.extent(path.clone()).unwrap().end
        };
        assert_eq!(end(""), 0);
        assert_eq!(end("a\nb\nc"), 2);
        assert_eq!(end("a\nb\ncd\ne\n"), 4);
        assert_eq!(end("a\n"), 1, "the file became shorter");
        assert_eq!(end("b\nc\nd\n"), 3, "another log");
        assert_eq!(end("b\ncdefg\nh\n"), 3, "no line begins at the end of the count");
    }
}
