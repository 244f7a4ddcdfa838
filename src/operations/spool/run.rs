//! A run on disk: entries in blocks, each with its length and a checksum of its number and its bytes.

use std::fs::File;
use std::io::{self, Read, Seek, Write};

use readcast_core::{RowChange, Value};

use super::merge::Entry;
use super::{Disk, SpoolError, codec};

/// With smaller blocks, system calls take most of the time.
pub(super) const LEAST_BLOCK_BYTES: usize = 1 << 10;
/// Larger blocks are not read faster.
pub(super) const MOST_BLOCK_BYTES: usize = 256 << 10;
/// The length of the block's entries (u32) and their checksum (u64), both little-endian.
const HEADER_BYTES: usize = 12;

/// A file that is completely written. Its length is kept here, so that a missing end is noticed.
pub(super) struct Run {
    file: File,
    bytes: u64,
    disk: Disk,
}

impl Run {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), SpoolError> {
        self.file.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.disk.corrupted("it ends too early"),
            _ => self.disk.failed("reading")(error),
        })
    }

    #[cfg(test)]
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

/// Writes a run.
pub(super) struct RunWriter {
    run: Run,
    /// The block that is not full yet: room for its header, then its entries.
    block: Vec<u8>,
    /// The number of that block.
    number: u64,
}

impl RunWriter {
    pub(super) fn create(disk: &Disk) -> Result<Self, SpoolError> {
        let file = tempfile::tempfile_in(&disk.folder).map_err(disk.failed("creating"))?;
        let mut block = Vec::with_capacity(disk.block_bytes);
        block.resize(HEADER_BYTES, 0);
        Ok(Self { run: Run { file, bytes: 0, disk: disk.clone() }, block, number: 0 })
    }

    pub(super) fn push_cleared(&mut self, key: &[Value]) -> Result<(), SpoolError> {
        let start = self.block.len();
        codec::put_cleared(&mut self.block, key);
        self.end_entry(start)
    }

    pub(super) fn push_row(&mut self, key: &[Value], change: &RowChange) -> Result<(), SpoolError> {
        let start = self.block.len();
        codec::put_row(&mut self.block, key, change);
        self.end_entry(start)
    }

    /// Writes the last block.
    pub(super) fn finish(mut self) -> Result<Run, SpoolError> {
        if self.block.len() > HEADER_BYTES {
            self.write_block(self.block.len())?;
        }
        Ok(self.run)
    }

    /// Writes the block if the entry that begins at `start` does not fit into it. An entry that is larger than a block gets a
    /// block of its own.
    fn end_entry(&mut self, start: usize) -> Result<(), SpoolError> {
        if self.block.len() > self.run.disk.block_bytes && start > HEADER_BYTES {
            self.write_block(start)?;
        }
        if self.block.len() >= self.run.disk.block_bytes {
            self.write_block(self.block.len())?;
        }
        Ok(())
    }

    /// Writes the block up to `end`, and keeps the bytes behind it for the next block.
    fn write_block(&mut self, end: usize) -> Result<(), SpoolError> {
        let disk = &self.run.disk;
        let (header, entries) = self.block[..end].split_at_mut(HEADER_BYTES);
        let too_large = |_| disk.failed("writing")(io::Error::other("a change of more than 4 GiB"));
        let length = u32::try_from(entries.len()).map_err(too_large)?;
        header[..4].copy_from_slice(&length.to_le_bytes());
        header[4..].copy_from_slice(&checksum(self.number, entries).to_le_bytes());
        self.run.file.write_all(&self.block[..end]).map_err(disk.failed("writing"))?;
        self.run.bytes += end as u64;
        self.number += 1;
        self.block.drain(HEADER_BYTES..end);
        // A large entry makes the buffer grow. The buffer must not stay that large.
        self.block.shrink_to(2 * self.run.disk.block_bytes);
        Ok(())
    }
}

/// Reads a run from its beginning, a block at a time.
pub(super) struct RunReader {
    run: Run,
    /// How many bytes of the file are read.
    read_bytes: u64,
    /// The number of the next block.
    number: u64,
    block: Vec<u8>,
    /// The index in the block at which the next entry begins.
    at: usize,
}

impl RunReader {
    pub(super) fn open(mut run: Run) -> Result<Self, SpoolError> {
        run.file.rewind().map_err(run.disk.failed("reading"))?;
        Ok(Self { run, read_bytes: 0, number: 0, block: Vec::new(), at: 0 })
    }

    pub(super) fn next(&mut self) -> Result<Option<Entry>, SpoolError> {
        if self.at == self.block.len() {
            if self.read_bytes == self.run.bytes {
                return Ok(None);
            }
            self.read_block()?;
        }
        let mut entries = &self.block[self.at..];
        let entry =
            codec::take_entry(&mut entries).ok_or_else(|| self.run.disk.corrupted("an entry that can't be decoded"))?;
        self.at = self.block.len() - entries.len();
        Ok(Some(entry))
    }

    fn read_block(&mut self) -> Result<(), SpoolError> {
        let mut header = [0; HEADER_BYTES];
        self.run.fill(&mut header)?;
        let [l0, l1, l2, l3, sum @ ..] = header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        self.read_bytes += HEADER_BYTES as u64 + u64::from(length);
        if length == 0 || self.read_bytes > self.run.bytes {
            return Err(self.run.disk.corrupted("a block with a wrong length"));
        }
        self.block.truncate(length as usize);
        self.block.shrink_to(self.run.disk.block_bytes);
        self.block.resize(length as usize, 0);
        self.run.fill(&mut self.block)?;
        if checksum(self.number, &self.block) != u64::from_le_bytes(sum) {
            return Err(self.run.disk.corrupted("a block with a wrong checksum"));
        }
        self.number += 1;
        self.at = 0;
        Ok(())
    }
}

/// A checksum of a block. It changes with every change within one 8-byte word, and with others except for about one in
/// 2^64. It protects against errors, not against forgery.
fn checksum(number: u64, bytes: &[u8]) -> u64 {
    /// Any odd number works: multiplying by it loses no bit.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |sum: u64, word: u64| (sum.rotate_left(25) ^ word).wrapping_mul(FACTOR);
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let sum = words.iter().fold(mix(number, bytes.len() as u64), |sum, word| mix(sum, u64::from_le_bytes(*word)));
    mix(sum, u64::from_le_bytes(last))
}
