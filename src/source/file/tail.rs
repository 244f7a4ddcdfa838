//! Follows the file of one partition as it grows, and detects that the file was truncated or replaced.
//!
//! It owns the position up to which records were delivered. It knows nothing of other partitions or of time.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use readcast_core::TopicPartition;

use super::folder::{Inode, open, read_error, refuse_foreign, refused};
use super::form::Form;
use super::lines::{self, BLOCK_BYTES, LinePosition};
use crate::source::{AssignmentEpoch, Batch, Record, SourceError, SourceEvent, Verdict};

/// The length limit of a line: a line must fit into memory.
const MAX_LINE_BYTES: usize = 64 * 1024 * 1024;

/// The file of one partition.
#[derive(Debug)]
pub(super) struct Tail {
    partition: TopicPartition,
    path: PathBuf,
    /// Open since the assignment, so that no new file can get its inode.
    file: Arc<File>,
    inode: Inode,
    epoch: AssignmentEpoch,
    /// `None` before the start.
    progress: Option<Progress>,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    /// The first line that was not delivered.
    position: LinePosition,
    /// The form of the file, inferred from the lines before `position`.
    form: Form,
    /// The length up to which the file was searched for complete lines.
    searched: u64,
    /// Whether the end was reported since the last record.
    end_reported: bool,
}

impl Tail {
    /// Opens the file. From now on this file, under whatever name, is the partition.
    pub(super) fn open(partition: TopicPartition, path: PathBuf) -> Result<Self, SourceError> {
        let (file, metadata) = open(&path)?;
        let inode = Inode::of(&metadata);
        Ok(Self { partition, path, file: Arc::new(file), inode, epoch: 0, progress: None })
    }

    /// The same file with batches of the assignment `epoch`.
    pub(super) fn assigned(self, epoch: AssignmentEpoch) -> Self {
        Self { epoch, ..self }
    }

    pub(super) fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The form of the file, inferred from the lines that were read so far.
    pub(super) fn form(&self) -> Form {
        self.progress.map(|progress| progress.form).unwrap_or_default()
    }

    /// A function that finds the line `next_offset` and the form of the file. It may read for a long time, so run it on
    /// a blocking thread.
    pub(super) fn seek(
        &self,
        next_offset: i64,
    ) -> impl FnOnce() -> Result<(LinePosition, Form), SourceError> + Send + use<> {
        let (file, path, partition) = (Arc::clone(&self.file), self.path.clone(), self.partition.clone());
        move || {
            let failed = |error| read_error(&path, &error);
            let position = LinePosition::default().seek(&file, next_offset).map_err(failed)?;
            if position.next_offset < next_offset {
                let verdict = Verdict::Truncated { next_offset, end: position.next_offset };
                return Err(SourceError::Verdict { partition, verdict });
            }
            Ok((position, lines::form_before(&file, position).map_err(failed)?))
        }
    }

    /// Starts the delivery at `position`, in a file of the form `form`.
    pub(super) fn start(&mut self, (position, form): (LinePosition, Form)) -> Result<(), SourceError> {
        self.verified_length(position)?;
        self.progress = Some(Progress { position, form, searched: position.byte, end_reported: false });
        Ok(())
    }

    /// The next event of the partition. `None` if there is nothing new.
    pub(super) fn poll(&mut self) -> Result<Option<SourceEvent>, SourceError> {
        let Some(mut progress) = self.progress else { return Ok(None) };
        let length = self.verified_length(progress.position)?;
        let from = progress.position.next_offset;
        let mut records = Vec::new();
        if length > progress.searched {
            records = self.read(&mut progress, length)?;
        }
        let event = if !records.is_empty() {
            progress.end_reported = false;
            let (partition, assignment) = (self.partition.clone(), self.epoch);
            let to = progress.position.next_offset;
            Some(SourceEvent::Batch(Batch { partition, assignment, from, to, records, leader_epoch: None }))
        } else if !progress.end_reported {
            progress.end_reported = true;
            Some(SourceEvent::AtEnd(self.partition.clone()))
        } else {
            None
        };
        self.progress = Some(progress);
        Ok(event)
    }

    /// The records of the next block of a file of `length` bytes. A block without a newline is read again with twice
    /// the size.
    ///
    /// An incomplete line at the end of a block is read again with the next block. That needs no state between blocks.
    fn read(&self, progress: &mut Progress, length: u64) -> Result<Vec<Record>, SourceError> {
        if progress.position.byte == 0 {
            refuse_foreign(&self.path, &self.file)?;
        }
        let left = length - progress.position.byte;
        let mut size = BLOCK_BYTES;
        loop {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(size);
            let block = lines::read(&self.file, progress.position.byte, wanted).map_err(|error| self.failed(&error))?;
            let (full, read_to) = (block.len() == size, progress.position.byte + block.len() as u64);
            let records = lines::records(&Bytes::from(block), &mut progress.position, &mut progress.form);
            if !records.is_empty() {
                progress.searched = progress.position.byte;
                return Ok(records);
            }
            if !full || read_to >= length {
                progress.searched = read_to;
                return Ok(records);
            }
            if size >= MAX_LINE_BYTES {
                let line = progress.position.next_offset;
                let reason = format!("the line at offset {line} is longer than {MAX_LINE_BYTES} bytes");
                return Err(refused(&self.path, reason));
            }
            size *= 2;
        }
    }

    /// The length of the file in bytes, after a check that it is still the file that was read up to `position`.
    fn verified_length(&self, position: LinePosition) -> Result<u64, SourceError> {
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(self.removed()),
            Err(error) => return Err(self.failed(&error)),
        };
        let inode = Inode::of(&metadata);
        if inode != self.inode {
            let is = File::open(&self.path).map_or_else(|error| error.to_string(), |file| inode.describe(&file));
            return Err(self.recreated(is));
        }
        if metadata.len() < position.byte {
            let end =
                LinePosition::default().seek(&self.file, i64::MAX).map_err(|error| self.failed(&error))?.next_offset;
            return Err(self.verdict(Verdict::Truncated { next_offset: position.next_offset, end }));
        }
        if !position.begins_line(&self.file).map_err(|error| self.failed(&error))? {
            return Err(self.recreated("rewritten in place".to_owned()));
        }
        Ok(metadata.len())
    }

    /// A removed file may be replaced next, so both give the same verdict. If the folder is missing too, a volume may
    /// not be mounted, which is a temporary failure.
    fn removed(&self) -> SourceError {
        if self.path.parent().is_some_and(Path::is_dir) {
            self.recreated("removed".to_owned())
        } else {
            SourceError::NoTopic(self.partition.topic.to_string())
        }
    }

    fn recreated(&self, is: String) -> SourceError {
        self.verdict(Verdict::Recreated { was: self.inode.describe(&self.file), is })
    }

    fn verdict(&self, verdict: Verdict) -> SourceError {
        SourceError::Verdict { partition: self.partition.clone(), verdict }
    }

    fn failed(&self, error: &io::Error) -> SourceError {
        read_error(&self.path, error)
    }
}
