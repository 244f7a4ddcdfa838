//! The stored form of a page.
//!
//! A page is a tag and its entries. An entry is the number of offsets that lie between it and the one before it, in LEB128
//! (<https://en.wikipedia.org/wiki/LEB128>), then the digest of its id and its content, big-endian. Earlier versions wrote
//! no tag, and each offset in eight bytes; such a page begins with a zero.

use super::LedgerEntry;

/// The first byte of a page.
const TAG: u8 = 2;
/// The size of a digest of an id with a content.
const DIGESTS: usize = 24;
/// The size of an entry in a page without a tag.
const UNTAGGED: usize = 32;

pub(super) fn pack(entries: &[LedgerEntry]) -> Vec<u8> {
    let mut page = Vec::with_capacity(1 + entries.len() * (1 + DIGESTS));
    page.push(TAG);
    let mut next = 0;
    for entry in entries {
        put_number(&mut page, entry.offset.abs_diff(next));
        page.extend_from_slice(&entry.id);
        page.extend_from_slice(&entry.content.to_be_bytes());
        next = entry.offset.wrapping_add(1);
    }
    page
}

/// The entries of a page. Of a page that was cut off, those that are complete.
pub(super) fn unpack(page: &[u8]) -> Vec<LedgerEntry> {
    match page.split_first() {
        Some((&TAG, page)) => unpack_tagged(page),
        _ => page.as_chunks::<UNTAGGED>().0.iter().map(untagged).collect(),
    }
}

fn unpack_tagged(mut page: &[u8]) -> Vec<LedgerEntry> {
    let mut entries = Vec::with_capacity(page.len() / (1 + DIGESTS));
    let mut next = 0_i64;
    while let Some((gap, rest)) = take_number(page)
        && let Some((digests, rest)) = rest.split_first_chunk::<DIGESTS>()
    {
        let offset = next.wrapping_add_unsigned(gap);
        entries.push(entry(offset, digests));
        (next, page) = (offset.wrapping_add(1), rest);
    }
    entries
}

fn untagged(bytes: &[u8; UNTAGGED]) -> LedgerEntry {
    let (offset, digests) = bytes.split_at(UNTAGGED - DIGESTS);
    entry(number(offset).cast_signed(), digests)
}

fn entry(offset: i64, digests: &[u8]) -> LedgerEntry {
    let (id, content) = digests.split_at(16);
    LedgerEntry { offset, id: id.try_into().unwrap_or_default(), content: number(content) }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().unwrap_or_default())
}

fn put_number(page: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        page.push(0x80 | (number & 0x7f) as u8);
        number >>= 7;
    }
    page.push(number as u8);
}

fn take_number(page: &[u8]) -> Option<(u64, &[u8])> {
    let length = 1 + page.iter().take_while(|byte| **byte > 0x7f).count();
    let (bytes, rest) = page.split_at_checked(length)?;
    let number = bytes.iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f));
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Vec<LedgerEntry> {
        let event = |offset| LedgerEntry::of_event(offset, &offset.to_be_bytes(), b"content");
        [7, 8, 9, 136, 137, 1 << 40].map(event).into_iter().chain([LedgerEntry::numbered(i64::MAX, b"k", 3)]).collect()
    }

    #[test]
    fn a_page_is_read_as_it_was_written() {
        for length in 0..=written().len() {
            assert_eq!(unpack(&pack(&written()[..length])), written()[..length]);
        }
        assert_eq!(pack(&written()[1..4]).len(), 1 + 3 * 25, "an entry takes a byte beside its digests");
    }

    #[test]
    fn a_page_of_an_earlier_version_is_read_as_it_was_written() {
        let bytes =
            |entry: &LedgerEntry| [&entry.offset.to_be_bytes()[..], &entry.id, &entry.content.to_be_bytes()].concat();
        let page: Vec<u8> = written().iter().flat_map(bytes).collect();
        assert_eq!(unpack(&page), written());
        assert_eq!(unpack(&page[..63]), written()[..1]);
    }

    #[test]
    fn a_page_that_was_cut_off_is_read_as_far_as_it_goes() {
        let page = pack(&written());
        for length in 0..page.len() {
            let entries = unpack(&page[..length]);
            assert_eq!(entries, written()[..entries.len()], "{length} bytes");
        }
        assert_eq!(unpack(&page[..1 + 2 * 25]), written()[..2]);
        assert_eq!(unpack(&[]), []);
    }
}
