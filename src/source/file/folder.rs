//! What the folder holds: topics, their partitions, and how far each reaches.
//!
//! It knows how names and failures of the file system are to be understood, and nothing of subscriptions.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use readcast_core::TopicPartition;

use super::form::Form;
use super::lines::{self, Place};
use crate::source::{Extent, Extents, SourceError};

/// Which file it is, under whatever name: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inode(u64, u64);

impl Inode {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }

    /// The file and what it begins with, for an operator.
    pub(super) fn describe(self, file: &File) -> String {
        let log_id = lines::log_id(file).ok().flatten();
        format!("{}, inode {}", log_id.as_deref().unwrap_or("without a line"), self.1)
    }
}

/// The folder of the whole log.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    /// How far each file was counted, so that asking again reads only what was added.
    counted: Mutex<BTreeMap<PathBuf, Counted>>,
    /// Of which partitions the form was told already.
    told: Mutex<BTreeMap<TopicPartition, Form>>,
}

#[derive(Debug)]
struct Counted {
    inode: Inode,
    log_id: Option<String>,
    end: Place,
}

impl Folder {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, counted: Mutex::default(), told: Mutex::default() }
    }

    /// The partitions of `topics` and their files, sorted. Files with other names are no business of ours.
    pub(super) fn partitions(&self, topics: &[String]) -> Result<BTreeMap<TopicPartition, PathBuf>, SourceError> {
        let mut partitions = BTreeMap::new();
        for topic in topics {
            let folder = self.dir.join(topic);
            let listing = |error| self.listing_error(topic, &folder, &error);
            for entry in fs::read_dir(&folder).map_err(listing)? {
                let path = entry.map_err(listing)?.path();
                if let Some(number) = partition_number(&path) {
                    partitions.insert(TopicPartition::new(topic.as_str(), number), path);
                }
            }
        }
        Ok(partitions)
    }

    /// How far each partition of `topics` reaches. Reads what was not counted yet.
    pub(super) fn extents(&self, topics: &[String]) -> Result<Extents, SourceError> {
        let extent = |(partition, path)| Ok((partition, self.extent(path)?));
        self.partitions(topics)?.into_iter().map(extent).collect()
    }

    fn extent(&self, path: PathBuf) -> Result<Extent, SourceError> {
        let (file, metadata) = open(&path)?;
        refuse_foreign(&path, &file)?;
        let counted = self.count(&path, &file, &metadata).map_err(|error| read_error(&path, &error))?;
        let extent = Extent { start: 0, end: counted.end.next_offset, log_id: counted.log_id.clone() };
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).insert(path, counted);
        Ok(extent)
    }

    /// Which form the files of each of `topics` have, for an operator. Reads each up to the line that tells.
    pub(super) fn forms(&self, topics: &[String]) -> Result<Vec<String>, SourceError> {
        let mut found = BTreeMap::<String, BTreeMap<Form, Vec<String>>>::new();
        for (partition, path) in self.partitions(topics)? {
            let (file, _) = open(&path)?;
            let form = lines::form_before(&file, Place::END).map_err(|error| read_error(&path, &error))?;
            let forms = found.entry(partition.topic.to_string()).or_default();
            forms.entry(form).or_default().push(partition.partition.to_string());
        }
        Ok(found.into_iter().map(|(topic, forms)| self.describe(&topic, &forms)).collect())
    }

    /// `events/orders: key, tab, value`, or each form with its partitions where there are several.
    fn describe(&self, topic: &str, forms: &BTreeMap<Form, Vec<String>>) -> String {
        let of_partitions = |(form, partitions): (&Form, &Vec<String>)| match forms.len() {
            1 => form.to_string(),
            _ => format!("{form} in {}", partitions.join(", ")),
        };
        let forms: Vec<_> = forms.iter().map(of_partitions).collect();
        format!("{}: {}", self.dir.join(topic).display(), forms.join("; "))
    }

    /// Logs the form of a partition's file once it is decided: of the first of each topic, and of those that differ from it.
    pub(super) fn tell(&self, partition: &TopicPartition, form: Form) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if form == Form::Undecided || told.contains_key(partition) {
            return;
        }
        let folder = self.dir.join(&*partition.topic);
        let first = told.iter().find(|(other, _)| other.topic == partition.topic).map(|(_, form)| *form);
        match first {
            None => tracing::info!("{}: {form}", folder.display()),
            Some(first) if first != form => {
                let file = folder.join(format!("{}.ndjson", partition.partition));
                tracing::warn!("{}: {form}, and other files of the topic: {first}", file.display());
            }
            Some(_) => {}
        }
        told.insert(partition.clone(), form);
    }

    fn count(&self, path: &Path, file: &File, metadata: &Metadata) -> io::Result<Counted> {
        let inode = Inode::of(metadata);
        let log_id = lines::log_id(file)?;
        let known = {
            let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            counted.get(path).filter(|known| known.inode == inode && known.log_id == log_id).map(|known| known.end)
        };
        let from = match known {
            Some(end) if end.byte <= metadata.len() && end.begins_line(file)? => end,
            _ => Place::default(),
        };
        Ok(Counted { inode, log_id, end: from.seek(file, i64::MAX)? })
    }

    fn listing_error(&self, topic: &str, folder: &Path, error: &io::Error) -> SourceError {
        match error.kind() {
            ErrorKind::NotFound if self.dir.is_dir() => SourceError::NoTopic(topic.to_owned()),
            ErrorKind::NotFound => SourceError::Unavailable {
                doing: format!("listing the topics in {}", self.dir.display()),
                reason: "there is no such folder, or not yet".to_owned(),
            },
            _ => read_error(folder, error),
        }
    }
}

/// The number in `<number>.ndjson`, in its one usual form: `07` beside `7` would be two files of one partition.
fn partition_number(path: &Path) -> Option<i32> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".ndjson")?;
    stem.parse().ok().filter(|number: &i32| *number >= 0 && number.to_string() == stem)
}

/// Opens the file of a partition.
pub(super) fn open(path: &Path) -> Result<(File, Metadata), SourceError> {
    let failed = |error| read_error(path, &error);
    // Asked before opening, because opening a pipe waits for its writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(refused(path, "it is not a regular file".to_owned()));
    }
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    Ok((file, metadata))
}

/// Refuses a file whose beginning says that it is not UTF-8: none of its lines could be read.
pub(super) fn refuse_foreign(path: &Path, file: &File) -> Result<(), SourceError> {
    match lines::foreign_encoding(file).map_err(|error| read_error(path, &error))? {
        Some(encoding) => {
            let reason = format!("it begins with the byte order mark of {encoding}; write it again as UTF-8");
            Err(refused(path, reason))
        }
        None => Ok(()),
    }
}

/// A failure to read `path` as an error of the source.
pub(super) fn read_error(path: &Path, error: &io::Error) -> SourceError {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::NotADirectory => refused(path, error.to_string()),
        _ => SourceError::Unavailable { doing: reading(path), reason: error.to_string() },
    }
}

/// What is in `path` can't be read as a log, now or later.
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
    fn counting_goes_on_where_it_ended() {
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
        assert_eq!(end("a\n"), 1, "it became shorter");
        assert_eq!(end("b\nc\nd\n"), 3, "another log");
        assert_eq!(end("b\ncdefg\nh\n"), 3, "no line begins where the count ended");
    }
}
