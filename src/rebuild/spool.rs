//! The spool: changes to tables that are empty, folded outside of memory, so that each row is written once.
//!
//! It owns sorted runs of changes: segments of change sets, as they came, and the files into which these are merged when
//! they outgrow memory. At the end all runs are merged, and what they make of nothing are the rows. It knows no store, no
//! task and no clock.
//!
//! Nothing is ever left behind: each file is without a name from its first byte on, so its place is free again when the
//! process ends, however it ends. What a file holds is checked as it is read: a wrong byte is an error, never a wrong row.

mod codec;
mod merge;
mod rows;
mod run;
mod weight;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use readcast_core::{ChangeSet, Composition, Segment, TableSpec};

use self::merge::{Entry, Merge, Source, What};
pub(crate) use self::rows::Tables;
use self::run::{Run, RunWriter};

/// How many files a table has at most. Each takes a descriptor, and a block of memory while it is merged.
const MOST_FILES: usize = 64;

/// Why changes can't be spooled, or rows can't be made of them. The spool is of no use afterwards.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    /// Which rows a fan-out meets can't be told without the table.
    #[error("table `{table}` is changed by a column outside of its key, so its rows can't be told without the table")]
    FanOut {
        /// The table's name.
        table: String,
    },
    /// A number went out of the range of its column.
    #[error("table `{table}`: a number is out of its column's range")]
    OutOfRange {
        /// The table's name.
        table: String,
    },
    /// A file does not hold what was written to it.
    #[error("a spooled file in {folder} does not hold what was written to it: {found}")]
    Corrupted {
        /// Where the file is.
        folder: PathBuf,
        /// What was found.
        found: &'static str,
    },
    /// The disk is full, or fails.
    #[error("{doing} a spooled file in {folder}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Where the file is, or was to be.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// How much is spooled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Bytes of memory, estimated.
    pub(crate) memory_bytes: usize,
    /// Bytes of disk.
    pub(crate) file_bytes: u64,
    /// Sorted runs, in memory and on disk.
    pub(crate) runs: usize,
}

/// Changes to tables that are empty, folded outside of memory.
pub(crate) struct Spool {
    tables: Vec<Table>,
    disk: Disk,
    /// How many bytes of changes may stay in memory. The rest of the budget is for the blocks of files that are merged.
    most_bytes: usize,
    memory_bytes: usize,
    missed: u64,
}

/// The runs of one table, the oldest first; those in memory are younger than those on disk.
struct Table {
    spec: TableSpec,
    files: Vec<Run>,
    memory: Vec<Segment>,
}

/// Where files go, and how they are cut.
#[derive(Clone)]
struct Disk {
    folder: Arc<Path>,
    block_bytes: usize,
}

impl Spool {
    /// Nothing yet. `budget` is how many bytes may be in memory, beside the change set that is being added; a budget of
    /// less than 256 KiB is exceeded by the blocks of many files. What is beyond it goes to files in `folder`, which is
    /// not looked at before.
    pub(crate) fn new(tables: &[TableSpec], folder: &Path, budget: usize) -> Self {
        let for_blocks = budget / 4;
        let block_bytes = (for_blocks / (MOST_FILES + 1)).clamp(run::LEAST_BLOCK_BYTES, run::MOST_BLOCK_BYTES);
        let table = |spec: &TableSpec| Table { spec: spec.clone(), files: Vec::new(), memory: Vec::new() };
        Self {
            tables: tables.iter().map(table).collect(),
            disk: Disk { folder: folder.into(), block_bytes },
            most_bytes: budget - for_blocks,
            memory_bytes: 0,
            missed: 0,
        }
    }

    /// Puts `changes` behind all that is here. They must be of the projection whose tables these are.
    pub(crate) fn add(&mut self, changes: ChangeSet) -> Result<(), SpoolError> {
        let missed = changes.missed();
        let added = changes.into_tables();
        self.refuse_fan_outs(&added)?;
        let added_bytes: usize = added.iter().flatten().map(weight::of_segment).sum();
        for (table, segments) in self.tables.iter_mut().zip(added) {
            table.memory.extend(segments);
        }
        self.memory_bytes += added_bytes;
        self.missed += missed;
        if self.memory_bytes > self.most_bytes { self.spill() } else { Ok(()) }
    }

    /// How much is here.
    pub(crate) fn size(&self) -> Size {
        let files = || self.tables.iter().flat_map(|table| &table.files);
        Size {
            memory_bytes: self.memory_bytes,
            file_bytes: files().map(Run::bytes).sum(),
            runs: files().count() + self.tables.iter().map(|table| table.memory.len()).sum::<usize>(),
        }
    }

    /// How many updates met no row as far as is known before the end; [`Rows::missed`] are the others.
    pub(crate) fn missed(&self) -> u64 {
        self.missed
    }

    /// Ends the collecting: the rows that the changes make of empty tables, table by table.
    pub(crate) fn into_rows(self) -> Tables {
        Tables::new(self.tables)
    }

    fn refuse_fan_outs(&self, added: &[Vec<Segment>]) -> Result<(), SpoolError> {
        let fans_out = |segments: &[Segment]| segments.iter().any(|segment| matches!(segment, Segment::Where { .. }));
        let mut tables = self.tables.iter().zip(added);
        match tables.find(|(_, segments)| fans_out(segments)) {
            Some((table, _)) => Err(SpoolError::FanOut { table: table.spec.name().to_owned() }),
            None => Ok(()),
        }
    }

    /// Merges what is in memory into one more file a table.
    fn spill(&mut self) -> Result<(), SpoolError> {
        for table in self.tables.iter_mut().filter(|table| !table.memory.is_empty()) {
            self.missed += table.spill(&self.disk)?;
            if table.files.len() >= MOST_FILES {
                self.missed += table.merge_files(&self.disk)?;
            }
        }
        self.memory_bytes = 0;
        Ok(())
    }
}

impl Table {
    fn spill(&mut self, disk: &Disk) -> Result<u64, SpoolError> {
        let sources = std::mem::take(&mut self.memory).into_iter().flat_map(Source::of_segment).collect();
        self.merge_into_file(sources, disk)
    }

    /// Merges the youngest files into one.
    fn merge_files(&mut self, disk: &Disk) -> Result<u64, SpoolError> {
        let sizes: Vec<u64> = self.files.iter().map(Run::bytes).collect();
        let sources = self.files.drain(first_to_merge(&sizes)..).map(Source::of_file).collect::<Result<_, _>>()?;
        self.merge_into_file(sources, disk)
    }

    /// Merges `sources` into a file, the youngest. Returns how many updates met no row.
    fn merge_into_file(&mut self, sources: Vec<Source>, disk: &Disk) -> Result<u64, SpoolError> {
        let mut writer = RunWriter::create(disk)?;
        let missed = write_merged(Merge::new(sources)?, &self.spec, &mut writer)?;
        self.files.push(writer.finish()?);
        Ok(missed)
    }
}

/// The place of the oldest file that is no larger than all younger ones together. Merging from there makes what is in
/// each of them at least twice as large, so nothing is written again more often than its table can double.
fn first_to_merge(sizes: &[u64]) -> usize {
    let mut younger = 0;
    let mut first = sizes.len().saturating_sub(2);
    for (place, size) in sizes.iter().enumerate().rev() {
        if *size <= younger {
            first = first.min(place);
        }
        younger += size;
    }
    first
}

/// Writes what is left of each row's changes: one, wherever they compose.
fn write_merged(mut merge: Merge, table: &TableSpec, writer: &mut RunWriter) -> Result<u64, SpoolError> {
    let mut missed = 0;
    while let Some(Entry { key, what }) = merge.next()? {
        let What::Row(mut held) = what else {
            // Older files may hold rows below it.
            writer.push_cleared(&key)?;
            continue;
        };
        while let Some(next) = merge.next_of(&key)? {
            match held.compose(next, table) {
                Composition::Composed => {}
                Composition::MissedUpdate => missed += 1,
                Composition::Separate(next) => {
                    writer.push_row(&key, &held)?;
                    held = next;
                }
            }
        }
        writer.push_row(&key, &held)?;
    }
    Ok(missed)
}

impl Disk {
    /// Says that the system refused `doing`.
    fn failed(&self, doing: &'static str) -> impl FnOnce(io::Error) -> SpoolError {
        move |source| SpoolError::Io { doing, folder: self.folder.to_path_buf(), source }
    }

    fn corrupted(&self, found: &'static str) -> SpoolError {
        SpoolError::Corrupted { folder: self.folder.to_path_buf(), found }
    }
}
