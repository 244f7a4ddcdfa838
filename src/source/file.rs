//! The log in a folder: `<dir>/<topic>/<partition>.ndjson`, one record a line, the offset being the line's number from 0.
//!
//! This file owns the subscription: which partitions there are, whose turn it is, and when to look again. How a line is
//! written is known to `lines` and `form`, how one file is followed to `tail`, what a folder holds to `folder`. There are no groups
//! in files: every subscription gets every partition, and only the store's fence keeps two of one group apart.
//!
//! What is noticed while running: a file that became shorter than what was read of it, was removed, or was replaced by
//! another under the same name, even by a longer one with the same beginning (a rename gives no sign of what else
//! changed). What is not: bytes overwritten in place before the place where we stand, as long as the file is no shorter
//! and a line still begins there. At start, only the first line and the number of lines tell one log from another.

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

/// Files are polled rather than watched: a poll is one `stat` a partition, works on every file system, network mounts
/// included, and has to be made anyway to notice a file that shrank.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
/// How late a record, or a new partition, is noticed at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// A folder of files, read as a log.
#[derive(Clone, Debug)]
pub struct FileSource {
    folder: Arc<Folder>,
}

impl FileSource {
    /// The log in the folder `dir`, which need not exist yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { folder: Arc::new(Folder::new(dir.into())) }
    }
}

#[async_trait]
impl Source for FileSource {
    async fn extents(&self, topics: &[&str]) -> Result<Extents, SourceError> {
        let folder = Arc::clone(&self.folder);
        let topics = owned(topics);
        blocking("counting lines", move || folder.extents(&topics)).await
    }

    async fn offsets_at(&self, _topics: &[&str], at: Timestamp) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
        let reason = "a folder of files keeps no times".to_owned();
        Err(SourceError::Refused { doing: format!("looking for what was written at {at}"), reason })
    }

    async fn forms(&self, topics: &[&str]) -> Result<Vec<String>, SourceError> {
        let folder = Arc::clone(&self.folder);
        let topics = owned(topics);
        blocking("reading first lines", move || folder.forms(&topics)).await
    }

    async fn subscribe(&self, _group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>, SourceError> {
        Ok(Box::new(FileSubscription {
            folder: Arc::clone(&self.folder),
            topics: owned(topics),
            tails: Vec::new(),
            turn: 0,
            assignment: Arc::default(),
            looked_at: None,
            pause: SHORTEST_PAUSE,
        }))
    }
}

struct FileSubscription {
    folder: Arc<Folder>,
    topics: Vec<String>,
    tails: Vec<Tail>,
    /// The partition that was asked last: the next one goes first, so that a long one keeps no other waiting.
    turn: usize,
    assignment: Arc<Assignment>,
    /// When the folder was last searched for partitions.
    looked_at: Option<Instant>,
    pause: Duration,
}

#[async_trait]
impl Subscription for FileSubscription {
    /// Blocks are read in place: a quarter of a megabyte takes less than handing it to another thread and back would
    /// gain, and without a wait between the read and the return nothing can be lost by cancellation.
    async fn next(&mut self) -> Result<SourceEvent, SourceError> {
        // A backlog is always ready: without this a reader of it would keep its thread to itself.
        tokio::task::yield_now().await;
        loop {
            if self.looked_at.is_none_or(|at| at.elapsed() >= LONGEST_PAUSE)
                && let Some(event) = self.look()?
            {
                return Ok(event);
            }
            if let Some(event) = self.poll()? {
                self.pause = SHORTEST_PAUSE;
                return Ok(event);
            }
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Finding a line means reading all before it, so this happens on a thread that may block.
    async fn start(&mut self, starts: &[Start]) -> Result<(), SourceError> {
        for start in starts {
            if let Some(tail) = self.tails.iter_mut().find(|tail| *tail.partition() == start.partition) {
                let seek = tail.seek(start.next_offset);
                tail.start(blocking("looking for a line", seek).await?)?;
                self.folder.tell(tail.partition(), tail.form());
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
    /// Takes the partitions that have appeared. The first time this is told even when there are none.
    fn look(&mut self) -> Result<Option<SourceEvent>, SourceError> {
        let mut tails = Vec::new();
        for (partition, path) in self.folder.partitions(&self.topics)? {
            if !self.tails.iter().any(|tail| *tail.partition() == partition) {
                tails.push(Tail::open(partition, path)?);
            }
        }
        let first = self.looked_at.replace(Instant::now()).is_none();
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
            self.turn = (self.turn + 1) % self.tails.len();
            let tail = &mut self.tails[self.turn];
            if let Some(event) = tail.poll()? {
                if matches!(event, SourceEvent::Batch(_)) {
                    self.folder.tell(tail.partition(), tail.form());
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

/// Does on a thread of its own what reads a whole file.
async fn blocking<T: Send + 'static>(
    doing: &str,
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let stopped =
        |error: tokio::task::JoinError| SourceError::Unavailable { doing: doing.to_owned(), reason: error.to_string() };
    tokio::task::spawn_blocking(work).await.map_err(stopped)?
}
