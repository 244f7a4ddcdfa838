//! The spool: folds changes to empty tables with an external merge sort, so that each row is written once.
//!
//! It owns sorted runs of changes: the segments of change sets in memory, and the files into which they are merged when
//! memory is full. At the end all runs are merged, and applied to empty tables they make the rows. It knows no store, no
//! task and no clock.
//!
//! No file survives the process: a file has no name in any directory from the beginning, so the system frees its space when
//! the process ends, however it ends. Every block is checked when it is read: a wrong byte is an error, never a wrong row.

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

/// How many files a table has at most. Each needs a file descriptor, and a block of memory while it is merged.
const MOST_FILES: usize = 64;

/// Why changes can't be spooled, or rows can't be made of them. The spool can't be used afterwards.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    /// A change selects rows by a column, which needs the table.
    #[error("a change selects rows of table `{table}` by column `{column}`, which needs the table's rows{advice}")]
    FanOut {
        /// The table's name.
        table: String,
        /// The column's name.
        column: String,
        /// What makes the replay faster, if anything does.
        advice: &'static str,
    },
    /// A number is out of the range of its column.
    #[error("table `{table}`: a number is out of its column's range")]
    OutOfRange {
        /// The table's name.
        table: String,
    },
    /// A file holds something else than was written to it.
    #[error("a spool file in {folder} is corrupted: {found}")]
    Corrupted {
        /// The file's directory.
        folder: PathBuf,
        /// What is wrong.
        found: &'static str,
    },
    /// The disk is full, or fails.
    #[error("{doing} a spool file in {folder}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file's directory.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The size of a spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// How many bytes of memory it uses, estimated.
    pub(crate) memory_bytes: usize,
    /// How many bytes of disk it uses.
    pub(crate) file_bytes: u64,
    /// How many sorted runs it has, in memory and on disk.
    pub(crate) runs: usize,
}

/// Changes to empty tables, in sorted runs.
pub(crate) struct Spool {
    tables: Vec<Table>,
    disk: Disk,
    /// How many bytes of changes may stay in memory. The rest of the budget is for blocks of the files that are merged.
    most_bytes: usize,
    memory_bytes: usize,
    missed: u64,
}

/// The runs of one table, the oldest first. Runs in memory are younger than runs on disk.
struct Table {
    spec: TableSpec,
    files: Vec<Run>,
    memory: Vec<Segment>,
}

/// The directory of the files, and the size of their blocks.
#[derive(Clone)]
struct Disk {
    folder: Arc<Path>,
    block_bytes: usize,
}

/// The error for a change that selects rows of `table` by `column`.
fn fan_out(table: &TableSpec, column: &str) -> SpoolError {
    let is_indexed = table.indexes().iter().any(|index| index[0] == column);
    let advice =
        if is_indexed { "" } else { ", and reads all of them: declare an index on the column (`TableSpec::index`)" };
    SpoolError::FanOut { table: table.name().to_owned(), column: column.to_owned(), advice }
}

impl Spool {
    /// An empty spool. It uses up to `budget` bytes of memory, beside the change set that is being added, and files in
    /// `folder` for the rest; the blocks of many files exceed a budget of less than 256 KiB. `folder` is not accessed
    /// before it is needed.
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

    /// Adds `changes`, which come after all that were added before. They must be of the projection of these tables.
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

    /// The sizes of the spool in memory and in files, and its number of runs.
    pub(crate) fn size(&self) -> Size {
        let files = || self.tables.iter().flat_map(|table| &table.files);
        Size {
            memory_bytes: self.memory_bytes,
            file_bytes: files().map(Run::bytes).sum(),
            runs: files().count() + self.tables.iter().map(|table| table.memory.len()).sum::<usize>(),
        }
    }

    /// How many updates are known to meet no row before the rows are made. [`Rows::missed`] counts the others.
    pub(crate) fn missed(&self) -> u64 {
        self.missed
    }

    /// The rows that the changes make of empty tables, table by table.
    pub(crate) fn into_rows(self) -> Tables {
        Tables::new(self.tables)
    }

    fn refuse_fan_outs(&self, added: &[Vec<Segment>]) -> Result<(), SpoolError> {
        for (table, segments) in self.tables.iter().zip(added) {
            let column = segments.iter().find_map(|segment| match segment {
                Segment::Where { column, .. } => Some(table.spec.data_columns()[*column].name()),
                Segment::Rows { .. } => None,
            });
            if let Some(column) = column {
                return Err(fan_out(&table.spec, column));
            }
        }
        Ok(())
    }

    /// Merges the runs in memory into one more file for each table.
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

/// The index of the oldest file that is no larger than all younger ones together. Merging from there on at least doubles
/// the size of the file that holds a change, so no change is written again more often than its table can double.
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

/// Writes the changes of each row, composed into one wherever they compose. Returns how many updates met no row.
fn write_merged(mut merge: Merge, table: &TableSpec, writer: &mut RunWriter) -> Result<u64, SpoolError> {
    let mut missed = 0;
    while let Some(Entry { key, what }) = merge.next()? {
        let What::Row(mut held) = what else {
            // Older files may hold rows below the key.
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
    /// The error for a system call that failed while `doing`.
    fn failed(&self, doing: &'static str) -> impl FnOnce(io::Error) -> SpoolError {
        move |source| SpoolError::Io { doing, folder: self.folder.to_path_buf(), source }
    }

    fn corrupted(&self, found: &'static str) -> SpoolError {
        SpoolError::Corrupted { folder: self.folder.to_path_buf(), found }
    }
}
