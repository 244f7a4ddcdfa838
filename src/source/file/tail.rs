//! One partition's file, followed as it grows, and what became of it since.
//!
//! It owns the place up to which records were delivered. It knows neither of the other partitions nor of time.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use readcast_core::TopicPartition;

use super::folder::{Inode, open, read_error, refuse_foreign, refused};
use super::form::Form;
use super::lines::{self, BLOCK_BYTES, Place};
use crate::source::{AssignmentEpoch, Batch, Record, SourceError, SourceEvent, Verdict};

/// A line must fit into memory, so there is an end to the patience with one that has no newline.
const LONGEST_LINE_BYTES: usize = 64 * 1024 * 1024;

/// The file of one partition.
#[derive(Debug)]
pub(super) struct Tail {
    partition: TopicPartition,
    path: PathBuf,
    /// Open from the assignment on: as long as it is, no new file can get its inode.
    file: Arc<File>,
    inode: Inode,
    epoch: AssignmentEpoch,
    /// None before the start.
    reading: Option<Reading>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Where the first line begins that was not delivered.
    place: Place,
    /// What the lines before it told of all that follow.
    form: Form,
    /// The bytes that were searched for a complete line and hold no further one.
    searched: u64,
    /// Whether the end was told since the last record.
    end_told: bool,
}

impl Tail {
    /// Opens the file, which from now on is the partition.
    pub(super) fn open(partition: TopicPartition, path: PathBuf) -> Result<Self, SourceError> {
        let (file, metadata) = open(&path)?;
        let inode = Inode::of(&metadata);
        Ok(Self { partition, path, file: Arc::new(file), inode, epoch: 0, reading: None })
    }

    /// The same, its batches marked with `epoch`.
    pub(super) fn assigned(self, epoch: AssignmentEpoch) -> Self {
        Self { epoch, ..self }
    }

    pub(super) fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// What the lines that were read so far tell of the file's form.
    pub(super) fn form(&self) -> Form {
        self.reading.map(|reading| reading.form).unwrap_or_default()
    }

    /// What finds the line `next_offset` and the form of the lines from there on, to be run where a long read does no harm.
    pub(super) fn seek(&self, next_offset: i64) -> impl FnOnce() -> Result<(Place, Form), SourceError> + Send + use<> {
        let (file, path, partition) = (Arc::clone(&self.file), self.path.clone(), self.partition.clone());
        move || {
            let failed = |error| read_error(&path, &error);
            let place = Place::default().seek(&file, next_offset).map_err(failed)?;
            if place.next_offset < next_offset {
                let verdict = Verdict::Truncated { next_offset, end: place.next_offset };
                return Err(SourceError::Verdict { partition, verdict });
            }
            Ok((place, lines::form_before(&file, place).map_err(failed)?))
        }
    }

    /// Begins the delivery at `place`, in a file of the form `form`.
    pub(super) fn start(&mut self, (place, form): (Place, Form)) -> Result<(), SourceError> {
        self.verified_length(place)?;
        self.reading = Some(Reading { place, form, searched: place.byte, end_told: false });
        Ok(())
    }

    /// What there is to tell of the partition now, if anything.
    pub(super) fn poll(&mut self) -> Result<Option<SourceEvent>, SourceError> {
        let Some(mut reading) = self.reading else { return Ok(None) };
        let length = self.verified_length(reading.place)?;
        let from = reading.place.next_offset;
        let mut records = Vec::new();
        if length > reading.searched {
            records = self.read(&mut reading, length)?;
        }
        let event = if !records.is_empty() {
            reading.end_told = false;
            let (partition, assignment) = (self.partition.clone(), self.epoch);
            let to = reading.place.next_offset;
            Some(SourceEvent::Batch(Batch { partition, assignment, from, to, records, leader_epoch: None }))
        } else if !reading.end_told {
            reading.end_told = true;
            Some(SourceEvent::AtEnd(self.partition.clone()))
        } else {
            None
        };
        self.reading = Some(reading);
        Ok(event)
    }

    /// The records of the next block of a file of `length` bytes. A block without a newline is read again twice as large.
    ///
    /// The part of a line at a block's end is read again with the next one: less to keep than to carry it over.
    fn read(&self, reading: &mut Reading, length: u64) -> Result<Vec<Record>, SourceError> {
        if reading.place.byte == 0 {
            refuse_foreign(&self.path, &self.file)?;
        }
        let left = length - reading.place.byte;
        let mut size = BLOCK_BYTES;
        loop {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(size);
            let block = lines::read(&self.file, reading.place.byte, wanted).map_err(|error| self.failed(&error))?;
            let (full, read_to) = (block.len() == size, reading.place.byte + block.len() as u64);
            let records = lines::records(&Bytes::from(block), &mut reading.place, &mut reading.form);
            if !records.is_empty() {
                reading.searched = reading.place.byte;
                return Ok(records);
            }
            if !full || read_to >= length {
                reading.searched = read_to;
                return Ok(records);
            }
            if size >= LONGEST_LINE_BYTES {
                let line = reading.place.next_offset;
                let reason = format!("the line at offset {line} is longer than {LONGEST_LINE_BYTES} bytes");
                return Err(refused(&self.path, reason));
            }
            size *= 2;
        }
    }

    /// How long the file is, after making sure that it still is the one of which we read what lies before `place`.
    fn verified_length(&self, place: Place) -> Result<u64, SourceError> {
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
        if metadata.len() < place.byte {
            let end = Place::default().seek(&self.file, i64::MAX).map_err(|error| self.failed(&error))?.next_offset;
            return Err(self.verdict(Verdict::Truncated { next_offset: place.next_offset, end }));
        }
        if !place.begins_line(&self.file).map_err(|error| self.failed(&error))? {
            return Err(self.recreated("rewritten in place".to_owned()));
        }
        Ok(metadata.len())
    }

    /// A removed file is half of a replaced one, so both give the same verdict. Without its folder it may be that a
    /// volume is not mounted, which passes.
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
