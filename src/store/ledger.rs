//! The ledger of event ids, which detects events that a producer wrote twice.
//!
//! The owner of a partition keeps the last entries in memory: see [`DuplicateWindow`]. Each commit writes one page of the
//! ledger in its transaction.

mod page;
mod window;

use readcast_core::TopicPartition;
use sha2::{Digest, Sha256};
use twox_hash::XxHash3_64;

pub use self::window::{DuplicateWindow, WindowSize};

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
    /// The entry of an event with this id and content.
    pub fn of_event(offset: i64, id: &[u8], content: &[u8]) -> Self {
        Self { offset, id: digest(id), content: XxHash3_64::oneshot(content) }
    }

    /// The entry of an event with this number among the events of its key.
    pub fn numbered(offset: i64, key: &[u8], number: u64) -> Self {
        Self { offset, id: digest(key), content: number }
    }

    /// Whether `digest`, which an earlier entry holds, is one of the `content` of this entry's event.
    pub fn has_content(&self, digest: u64, content: &[u8]) -> bool {
        // Earlier versions made the digests of contents like those of ids.
        digest == self.content || digest == u64::from_be_bytes(self::digest(content))
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
    /// The entries in their stored form.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        page::pack(&self.entries)
    }
}

/// The entries in this stored form.
pub(super) fn entries(page: &[u8]) -> Vec<LedgerEntry> {
    page::unpack(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart_by_their_ids_and_by_their_contents() {
        let event = |id: &[u8], content: &[u8]| LedgerEntry::of_event(7, id, content);
        assert_eq!(event(b"a", b"x"), event(b"a", b"x"));
        assert_ne!(event(b"a", b"x").id, event(b"b", b"x").id);
        assert_ne!(event(b"a", b"x").content, event(b"a", b"y").content);
        assert_eq!(LedgerEntry::numbered(7, b"k", 3).content, 3);
    }

    #[test]
    fn a_content_is_recognised_by_its_digest_of_this_and_of_earlier_versions() {
        let event = LedgerEntry::of_event(7, b"a", b"x");
        for digest in [event.content, u64::from_be_bytes(digest(b"x"))] {
            assert!(event.has_content(digest, b"x"));
            assert!(!LedgerEntry::of_event(8, b"a", b"y").has_content(digest, b"y"));
        }
    }
}
