//! Where the bytes of records are copied to: one allocation for many of them.

use bytes::{Bytes, BytesMut};

/// How much is allocated at once. A piece lives as long as the last record in it, and all records in it were polled one
/// after the other, so they go nearly together.
const PIECE: usize = 64 << 10;
/// What is as long as this is given an allocation of its own, so that a short record never keeps a long one alive.
const LONG: usize = PIECE / 16;

/// Copies of bytes that share allocations.
#[derive(Debug, Default)]
pub(super) struct Pool(BytesMut);

impl Pool {
    pub(super) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.len() >= LONG {
            return Bytes::copy_from_slice(bytes);
        }
        if self.0.capacity() < bytes.len() {
            self.0 = BytesMut::with_capacity(PIECE);
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_stays_as_it_was_whatever_comes_next() {
        let mut pool = Pool::default();
        let lengths = [0, 1, 300, LONG - 1, LONG, PIECE + 1];
        let given: Vec<Vec<u8>> = (0..=255)
            .cycle()
            .zip(lengths.iter().cycle())
            .take(2_000)
            .map(|(fill, length)| vec![fill; *length])
            .collect();
        let copied: Vec<Bytes> = given.iter().map(|bytes| pool.copy(bytes)).collect();
        assert_eq!(copied, given);
    }
}
