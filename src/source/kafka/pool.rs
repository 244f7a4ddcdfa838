//! Copies the bytes of many records into one allocation.

use bytes::{Bytes, BytesMut};

/// The size of one allocation in bytes. It lives as long as the last record in it. Its records are polled one after the
/// other, so they are also dropped at nearly the same time.
const BLOCK_BYTES: usize = 64 << 10;
/// Values of this size or more get their own allocation, so that a short value never keeps a long one alive.
const LONG_BYTES: usize = BLOCK_BYTES / 16;

/// Copies of bytes that share allocations.
#[derive(Debug, Default)]
pub(super) struct Pool(BytesMut);

impl Pool {
    pub(super) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.len() >= LONG_BYTES {
            return Bytes::copy_from_slice(bytes);
        }
        if self.0.capacity() < bytes.len() {
            self.0 = BytesMut::with_capacity(BLOCK_BYTES);
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_copies_do_not_change_earlier_ones() {
        let mut pool = Pool::default();
        let lengths = [0, 1, 300, LONG_BYTES - 1, LONG_BYTES, BLOCK_BYTES + 1];
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
