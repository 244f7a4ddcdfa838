//! The last event ids of a partition, in memory.

use std::collections::VecDeque;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::{IdDigest, LedgerEntry};

/// Over how many offsets of each partition duplicates are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowSize {
    /// So many; 0 to recognise none.
    Offsets(i64),
    /// As many as fit into so many bytes of memory, with all partitions of the projection.
    Bytes(u64),
}

impl WindowSize {
    /// Whether no duplicate is recognised.
    pub fn is_off(self) -> bool {
        matches!(self, WindowSize::Offsets(..=0) | WindowSize::Bytes(0))
    }

    /// The offsets that a window of each of `partitions` covers.
    ///
    /// Windows in bytes cover a power of two: their tables double when they grow, and the last doubling has to fit.
    pub fn offsets(self, partitions: usize) -> i64 {
        match self {
            WindowSize::Offsets(offsets) => offsets.max(0),
            WindowSize::Bytes(bytes) => {
                let events = bytes / (DuplicateWindow::BYTES_PER_EVENT * partitions.max(1) as u64);
                events.checked_ilog2().map_or(0, |exponent| 1 << exponent.min(62))
            }
        }
    }
}

/// The entries of the last `offsets` offsets of one partition.
///
/// The window covers a fixed number of offsets. A rebuild meets the same offsets, so it makes the same decisions as the
/// live generation, independent of batches and time.
#[derive(Clone, Debug, Default)]
pub struct DuplicateWindow {
    offsets: i64,
    /// Ordered by offset.
    entries: VecDeque<LedgerEntry>,
    /// The serial number of the first of `entries`. Serial numbers may wrap around.
    first: u32,
    /// The serial number of the last entry with each id.
    by_id: HashTable<u32>,
}

impl DuplicateWindow {
    /// The most that a full window takes in memory for each offset: an entry, and twice a serial number with its tag, because
    /// the table is at most seven eighths full.
    const BYTES_PER_EVENT: u64 = size_of::<LedgerEntry>() as u64 + 2 * (size_of::<u32>() as u64 + 1);

    /// An empty window of `offsets` offsets. With 0 it stays empty.
    pub fn new(offsets: i64) -> Self {
        Self { offsets, ..Self::default() }
    }

    /// The number of offsets that the window covers.
    pub fn offsets(&self) -> i64 {
        self.offsets
    }

    /// The content, or number, of the last event with this id in the window of the record at `offset`. `None` if there
    /// is none.
    pub fn last(&self, id: &IdDigest, offset: i64) -> Option<u64> {
        let entry = |serial: &u32| &self.entries[serial.wrapping_sub(self.first) as usize];
        let last = self.by_id.find(hash(id), |serial| entry(serial).id == *id).map(entry)?;
        (last.offset >= offset - self.offsets).then_some(last.content)
    }

    /// Adds an entry, whose offset must be greater than those of all others, and removes the entries that leave the
    /// window.
    pub fn add(&mut self, entry: LedgerEntry) {
        if self.offsets == 0 {
            return;
        }
        while self.entries.front().is_some_and(|first| first.offset <= entry.offset - self.offsets) {
            self.remove_first();
        }
        let serial = self.first.wrapping_add(self.entries.len() as u32);
        self.entries.push_back(entry);
        let id = |serial: &u32| &self.entries[serial.wrapping_sub(self.first) as usize].id;
        match self.by_id.entry(hash(&entry.id), |serial| *id(serial) == entry.id, |serial| hash(id(serial))) {
            Entry::Occupied(mut last) => *last.get_mut() = serial,
            Entry::Vacant(free) => drop(free.insert(serial)),
        }
    }

    fn remove_first(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        // The id may have occurred again at a later offset.
        if let Ok(last) = self.by_id.find_entry(hash(&entry.id), |serial| *serial == self.first) {
            last.remove();
        }
        self.first = self.first.wrapping_add(1);
    }
}

/// Windows are equal if they give the same answers.
impl PartialEq for DuplicateWindow {
    fn eq(&self, other: &Self) -> bool {
        self.offsets == other.offsets && self.entries == other.entries
    }
}

/// A digest is a hash already.
fn hash(id: &IdDigest) -> u64 {
    let (hash, _) = id.split_at(8);
    u64::from_ne_bytes(hash.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_knows_the_last_content_of_an_id() {
        let mut window = DuplicateWindow::new(10);
        let entry = |offset, content: &str| LedgerEntry::of_event(offset, b"a", content.as_bytes());
        window.add(entry(1, "old"));
        window.add(entry(2, "new"));
        assert_eq!(window.last(&entry(2, "new").id, 3), Some(entry(2, "new").content));
        assert_eq!(window.last(&entry(2, "new").id, 13), None);
    }

    #[test]
    fn a_window_reaches_back_so_many_offsets_and_no_further() {
        let mut window = DuplicateWindow::new(10);
        let entry = |offset, id: &str| LedgerEntry::of_event(offset, id.as_bytes(), b"content");
        window.add(entry(0, "a"));
        window.add(entry(5, "b"));
        let a = entry(0, "a");
        assert_eq!(window.last(&a.id, 10), Some(a.content));
        assert_eq!(window.last(&a.id, 11), None);
        window.add(entry(12, "a"));
        window.add(entry(16, "c"));
        assert_eq!(window.last(&a.id, 22), Some(a.content), "it was seen again at 12");
        assert_eq!((window.entries.len(), window.by_id.len()), (2, 2), "what is out of reach takes no memory");
        let mut off = DuplicateWindow::new(0);
        off.add(entry(0, "a"));
        assert_eq!(off, DuplicateWindow::new(0));
    }

    #[test]
    fn a_window_answers_like_a_list_of_all_entries() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut window = DuplicateWindow::new(32);
        // The serial numbers wrap around on the way.
        window.first = u32::MAX - 500;
        let mut all = Vec::<LedgerEntry>::new();
        let mut offset = 0;
        for _ in 0..2_000 {
            offset += random.i64(1..4);
            let entry = LedgerEntry::numbered(offset, &[random.u8(..48)], random.u64(..));
            let in_window = all.iter().rev().find(|other| other.id == entry.id && other.offset >= offset - 32);
            assert_eq!(window.last(&entry.id, offset), in_window.map(|other| other.content));
            if random.bool() {
                window.add(entry);
                all.push(entry);
            }
        }
        assert!(window.entries.len() <= 32 && window.by_id.len() <= window.entries.len());
    }

    #[test]
    fn a_full_window_takes_no_more_than_its_bytes() {
        for (bytes, partitions) in [(16 << 20, 4), (16 << 20, 1), (1 << 20, 7), (4 << 10, 1)] {
            let offsets = WindowSize::Bytes(bytes).offsets(partitions);
            let mut window = DuplicateWindow::new(offsets);
            for offset in 0..offsets * 5 / 2 {
                window.add(LedgerEntry::numbered(offset, &offset.to_be_bytes(), 0));
            }
            let taken = window.entries.capacity() * size_of::<LedgerEntry>() + window.by_id.allocation_size();
            let allowed = bytes / partitions as u64;
            assert!(taken as u64 <= allowed, "{taken} bytes of {allowed}, for {offsets} offsets");
            assert!(taken as u64 * 3 > allowed, "{taken} bytes of {allowed}, for {offsets} offsets");
        }
    }

    #[test]
    fn the_size_of_a_window_is_given_in_offsets_or_in_bytes() {
        assert_eq!(WindowSize::Offsets(1_000).offsets(7), 1_000);
        assert_eq!(WindowSize::Bytes(42 << 10).offsets(1), 1_024);
        assert_eq!(WindowSize::Bytes(42 << 10).offsets(3), 256);
        assert_eq!(WindowSize::Bytes(41).offsets(1), 0);
        assert_eq!(WindowSize::Bytes(42 << 10).offsets(0), 1_024, "of a topic that does not exist yet");
        assert_eq!(WindowSize::Bytes(u64::MAX).offsets(1), 1 << 58);
        assert!(WindowSize::Offsets(0).is_off() && WindowSize::Bytes(0).is_off());
        assert!(!WindowSize::Offsets(1).is_off() && !WindowSize::Bytes(1).is_off());
    }
}
