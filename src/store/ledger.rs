//! The ledger of event ids, which detects events that a producer wrote twice.
//!
//! The ledger covers a fixed number of offsets. A rebuild meets the same offsets, so it makes the same decisions as the
//! live generation, independent of batches and time. The owner of a partition keeps the ledger in memory. Each commit
//! writes one page of it in its transaction.

use std::collections::{HashMap, VecDeque};

use readcast_core::TopicPartition;
use sha2::{Digest, Sha256};

/// A digest of an event's id, or of its key if events are numbered by key.
pub type IdDigest = [u8; 16];

/// The ledger's entry for one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// The event's offset in its partition.
    pub offset: i64,
    /// The digest of the event's id.
    pub id: IdDigest,
    /// A digest of the event's content, or its number if events are numbered by key.
    pub content: u64,
}

impl LedgerEntry {
    const BYTES: usize = 32;

    /// The entry of an event with this id and content.
    pub fn of_event(offset: i64, id: &[u8], content: &[u8]) -> Self {
        let content = digest::<8>(content);
        Self { offset, id: digest(id), content: u64::from_be_bytes(content) }
    }

    /// The entry of an event with this number among the events of its key.
    pub fn numbered(offset: i64, key: &[u8], number: u64) -> Self {
        Self { offset, id: digest(key), content: number }
    }

    fn write(&self, page: &mut Vec<u8>) {
        page.extend_from_slice(&self.offset.to_be_bytes());
        page.extend_from_slice(&self.id);
        page.extend_from_slice(&self.content.to_be_bytes());
    }

    fn read(bytes: &[u8; Self::BYTES]) -> Self {
        let (offset, rest) = bytes.split_at(8);
        let (id, content) = rest.split_at(16);
        let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap_or_default());
        Self { offset: number(offset).cast_signed(), id: id.try_into().unwrap_or_default(), content: number(content) }
    }
}

fn digest<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let digest = Sha256::digest(bytes);
    std::array::from_fn(|place| digest[place])
}

/// The entries that one commit adds for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerPage {
    /// The partition of the events.
    pub partition: TopicPartition,
    /// The offset at which the commit ends.
    pub to: i64,
    /// The entries, ordered by offset.
    pub entries: Vec<LedgerEntry>,
    /// Pages that end at this offset or before are deleted.
    pub forget_to: i64,
}

impl LedgerPage {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * LedgerEntry::BYTES);
        self.entries.iter().for_each(|entry| entry.write(&mut bytes));
        bytes
    }
}

/// The entries of a page in its stored form.
pub(super) fn entries(page: &[u8]) -> impl Iterator<Item = LedgerEntry> {
    page.as_chunks::<{ LedgerEntry::BYTES }>().0.iter().map(LedgerEntry::read)
}

/// The entries of the last `offsets` offsets of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DuplicateWindow {
    offsets: i64,
    seen: HashMap<IdDigest, (i64, u64)>,
    order: VecDeque<(i64, IdDigest)>,
}

impl DuplicateWindow {
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
        let (seen_at, content) = self.seen.get(id)?;
        (*seen_at >= offset - self.offsets).then_some(*content)
    }

    /// Adds an entry, whose offset must be greater than those of all others, and removes the entries that leave the
    /// window.
    pub fn add(&mut self, entry: LedgerEntry) {
        if self.offsets == 0 {
            return;
        }
        self.seen.insert(entry.id, (entry.offset, entry.content));
        self.order.push_back((entry.offset, entry.id));
        while self.order.front().is_some_and(|(offset, _)| *offset < entry.offset - self.offsets) {
            let Some((offset, id)) = self.order.pop_front() else { break };
            // The id may have occurred again at a later offset.
            if self.seen.get(&id).is_some_and(|(seen_at, _)| *seen_at == offset) {
                self.seen.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_as_it_was_written() {
        let entries_written =
            vec![LedgerEntry::of_event(7, b"a", b"x"), LedgerEntry::numbered(i64::MAX, b"k", u64::MAX)];
        let partition = TopicPartition::new("orders", 0);
        let page = LedgerPage { partition, to: 8, entries: entries_written.clone(), forget_to: 0 };
        assert_eq!(entries(&page.to_bytes()).collect::<Vec<_>>(), entries_written);
    }

    #[test]
    fn a_page_that_was_cut_off_is_read_as_far_as_it_goes() {
        let written = vec![LedgerEntry::of_event(7, b"a", b"x"), LedgerEntry::of_event(8, b"b", b"y")];
        let page =
            LedgerPage { partition: TopicPartition::new("orders", 0), to: 9, entries: written.clone(), forget_to: 0 };
        assert_eq!(entries(&page.to_bytes()[..63]).collect::<Vec<_>>(), written[..1]);
        assert_eq!(entries(&[]).count(), 0);
    }

    #[test]
    fn events_are_told_apart_by_their_ids_and_by_their_contents() {
        let event = |id: &[u8], content: &[u8]| LedgerEntry::of_event(7, id, content);
        assert_eq!(event(b"a", b"x"), event(b"a", b"x"));
        assert_ne!(event(b"a", b"x").id, event(b"b", b"x").id);
        assert_ne!(event(b"a", b"x").content, event(b"a", b"y").content);
        assert_eq!(LedgerEntry::numbered(7, b"k", 3).content, 3);
    }

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
        assert_eq!((window.seen.len(), window.order.len()), (2, 2), "what is out of reach takes no memory");
        let mut off = DuplicateWindow::new(0);
        off.add(entry(0, "a"));
        assert_eq!(off, DuplicateWindow::new(0));
    }
}
