//! The log in a folder: `<dir>/<topic>/<partition>.ndjson`, one record a line. The offset is the number of the line,
//! from 0.
//!
//! This file owns the subscription: the list of partitions, the order in which they are read, and the polling interval.
//! `lines` and `form` know the format of a line, `tail` follows one file, and `folder` lists the folder. Files have no
//! consumer groups: every subscription gets every partition, and only the store's fence separates two members of a
//! group.
//!
//! While it runs, a subscription detects that a file is shorter than the part that was read, was removed, or was
//! replaced by another file, even by a longer one with the same beginning. It does not detect bytes that were
//! overwritten in place before the reader's position, if the file is no shorter and a line still begins at that
//! position. At the start, only the first line and the number of lines identify a log.

mod append;
mod folder;
mod form;
mod lines;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use readcast_core::{Timestamp, TopicPartition};
use tokio::time::Instant;

pub use self::append::Appender;
use self::folder::Folder;
use self::tail::Tail;
use super::{Assignment, Extents, Source, SourceError, SourceEvent, Start, Subscription};

/// The shortest polling interval. Files are polled, not watched: a poll is one `stat` a partition, works on every file
/// system including network mounts, and is needed anyway to detect a file that shrank.
const MIN_PAUSE: Duration = Duration::from_millis(20);
/// The longest polling interval: the delay after which a record or a new partition is noticed.
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// A folder of files as a log.
#[derive(Clone, Debug)]
pub struct FileSource {
    folder: Arc<Folder>,
}

impl FileSource {
    /// The log in the folder `dir`. The folder may be created later.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { folder: Arc::new(Folder::new(dir.into())) }
    }
}

#[async_trait]
impl Source for FileSource {
    async fn extents(&self, topics: &[&str]) -> Result<Extents, SourceError> {
        let folder = Arc::clone(&self.folder);
        let topics = owned(topics);
        blocking("counting the lines of the log", move || folder.extents(&topics)).await
    }

    async fn offsets_at(&self, _topics: &[&str], at: Timestamp) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
        let reason = "a folder of files stores no times".to_owned();
        Err(SourceError::Refused { doing: format!("finding the records that were written at {at}"), reason })
    }

    async fn forms(&self, topics: &[&str]) -> Result<Vec<String>, SourceError> {
        let folder = Arc::clone(&self.folder);
        let topics = owned(topics);
        blocking("reading the first lines of the log", move || folder.forms(&topics)).await
    }

    async fn subscribe(&self, _group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>, SourceError> {
        Ok(Box::new(FileSubscription {
            folder: Arc::clone(&self.folder),
            topics: owned(topics),
            tails: Vec::new(),
            last_polled: 0,
            assignment: Arc::default(),
            listed_at: None,
            pause: MIN_PAUSE,
        }))
    }
}

struct FileSubscription {
    folder: Arc<Folder>,
    topics: Vec<String>,
    tails: Vec<Tail>,
    /// The index of the tail that was polled last. The next poll begins after it, so that all partitions make progress.
    last_polled: usize,
    assignment: Arc<Assignment>,
    /// When the folder was last searched for partitions.
    listed_at: Option<Instant>,
    pause: Duration,
}

#[async_trait]
impl Subscription for FileSubscription {
    /// Reads blocks on the task's own thread: reading 256 KiB is cheaper than the switch to another thread. There is no
    /// await between the read and the return, so cancellation loses no record.
    async fn next(&mut self) -> Result<SourceEvent, SourceError> {
        // A backlog is always ready: without this yield, its reader would monopolize the thread.
        tokio::task::yield_now().await;
        loop {
            if self.listed_at.is_none_or(|at| at.elapsed() >= MAX_PAUSE)
                && let Some(event) = self.find_new_partitions()?
            {
                return Ok(event);
            }
            if let Some(event) = self.poll()? {
                self.pause = MIN_PAUSE;
                return Ok(event);
            }
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(MAX_PAUSE);
        }
    }

    /// Finding a line requires reading all lines before it, so this runs on a blocking thread.
    async fn start(&mut self, starts: &[Start]) -> Result<(), SourceError> {
        for start in starts {
            if let Some(tail) = self.tails.iter_mut().find(|tail| *tail.partition() == start.partition) {
                let seek = tail.seek(start.next_offset);
                tail.start(blocking("finding the line of an offset", seek).await?)?;
                self.folder.log_form(tail.partition(), tail.form());
            }
        }
        Ok(())
    }

    fn assignment(&self) -> Arc<Assignment> {
        Arc::clone(&self.assignment)
    }

    async fn close(self: Box<Self>) {}
}

impl FileSubscription {
    /// Assigns the partitions that have appeared. The first call gives an event even if there are none.
    fn find_new_partitions(&mut self) -> Result<Option<SourceEvent>, SourceError> {
        let mut tails = Vec::new();
        for (partition, path) in self.folder.partitions(&self.topics)? {
            if !self.tails.iter().any(|tail| *tail.partition() == partition) {
                tails.push(Tail::open(partition, path)?);
            }
        }
        let first = self.listed_at.replace(Instant::now()).is_none();
        if tails.is_empty() && !first {
            return Ok(None);
        }
        let partitions: Vec<TopicPartition> = tails.iter().map(|tail| tail.partition().clone()).collect();
        let epoch = self.assignment.add(&partitions);
        self.tails.extend(tails.into_iter().map(|tail| tail.assigned(epoch)));
        Ok(Some(SourceEvent::Assigned(partitions)))
    }

    fn poll(&mut self) -> Result<Option<SourceEvent>, SourceError> {
        for _ in 0..self.tails.len() {
            self.last_polled = (self.last_polled + 1) % self.tails.len();
            let tail = &mut self.tails[self.last_polled];
            if let Some(event) = tail.poll()? {
                if matches!(event, SourceEvent::Batch(_)) {
                    self.folder.log_form(tail.partition(), tail.form());
                }
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}

fn owned(topics: &[&str]) -> Vec<String> {
    topics.iter().map(|&topic| topic.to_owned()).collect()
}

/// Runs `work`, which may read a whole file, on a blocking thread.
async fn blocking<T: Send + 'static>(
    doing: &str,
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let failed =
        |error: tokio::task::JoinError| SourceError::Unavailable { doing: doing.to_owned(), reason: error.to_string() };
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}
