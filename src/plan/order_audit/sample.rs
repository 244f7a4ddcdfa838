//! A sample of keys that is the same in each part of a log.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use readcast_core::{Key, Value};

use super::touch::hash;

/// How many keys of a table are sampled.
const MOST_ROWS: usize = 5_000;

/// What is known of the keys with the least digests. Each reader of a part of the log samples the same keys, and
/// knows all that happened to them in that part: a key that is left out once is left out from then on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample<T>(pub(super) BTreeMap<(u64, Key), T>);

impl<T> Default for Sample<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Default> Sample<T> {
    /// What is known of the key. `None` if it is not in the sample.
    pub(super) fn entry(&mut self, key: &[Value]) -> Option<&mut T> {
        let digest = digest_of_key(key);
        if self.0.len() >= MOST_ROWS {
            let greatest = self.0.last_key_value().map(|((digest, _), _)| *digest);
            if greatest.is_some_and(|greatest| digest > greatest) {
                return None;
            }
            if !self.0.contains_key(&(digest, key.to_vec())) {
                self.0.pop_last();
            }
        }
        Some(self.0.entry((digest, key.to_vec())).or_default())
    }

    pub(super) fn get(&self, key: &[Value]) -> Option<&T> {
        self.0.get(&(digest_of_key(key), key.to_vec()))
    }
}

fn digest_of_key(key: &[Value]) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.iter().for_each(|value| hash(value, &mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: i64) -> Key {
        vec![Value::from(number)]
    }

    #[test]
    fn parts_of_a_log_sample_the_same_keys_and_miss_nothing_that_happened_to_them() {
        const KEYS: i64 = 4 * MOST_ROWS as i64;
        let counted = |keys: &mut dyn Iterator<Item = i64>| {
            let mut sample = Sample::<u32>::default();
            for number in keys {
                sample.entry(&key(number)).into_iter().for_each(|count| *count += 1);
            }
            sample
        };
        let forward = counted(&mut (0..KEYS).chain(0..KEYS));
        let backward = counted(&mut (0..KEYS).rev().chain(0..KEYS));
        assert_eq!(forward, backward);
        assert_eq!(forward.0.len(), MOST_ROWS);
        assert!(forward.0.values().all(|count| *count == 2));
        let sampled = (0..KEYS).filter(|number| forward.get(&key(*number)).is_some()).count();
        assert_eq!(sampled, MOST_ROWS);
    }
}
