//! Merges sorted runs of one table: the changes to each key that nothing younger has cleared, the oldest first, in the order
//! of the keys.

use std::cmp::Ordering;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, btree_map, btree_set};

use readcast_core::{Key, RowChange, Segment, Value};

use super::SpoolError;
use super::run::{Run, RunReader};

/// One entry of a run.
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) what: What,
}

/// What an entry does at its key.
#[derive(Debug, PartialEq)]
pub(super) enum What {
    /// Removes every row whose key begins with this one. A run has this entry before the rows that it adds there.
    Cleared,
    /// Changes one row.
    Row(RowChange),
}

/// A source of entries, in the order of their keys.
pub(super) enum Source {
    Cleared(btree_set::IntoIter<Key>),
    Rows(btree_map::IntoIter<Key, RowChange>),
    File(RunReader),
}

impl Source {
    /// What is cleared, which comes before the segment's rows, and then the rows. A row's key is longer than a cleared key, so
    /// the two are never equal.
    pub(super) fn of_segment(segment: Segment) -> Vec<Source> {
        match segment {
            Segment::Rows { cleared, rows } if cleared.is_empty() => vec![Source::Rows(rows.into_iter())],
            Segment::Rows { cleared, rows } => {
                vec![Source::Cleared(cleared.into_iter()), Source::Rows(rows.into_iter())]
            }
            Segment::Where { .. } => unreachable!("a spool takes no fan-out"),
        }
    }

    pub(super) fn of_file(run: Run) -> Result<Source, SpoolError> {
        RunReader::open(run).map(Source::File)
    }

    fn next(&mut self) -> Result<Option<Entry>, SpoolError> {
        Ok(match self {
            Source::Cleared(keys) => keys.next().map(|key| Entry { key, what: What::Cleared }),
            Source::Rows(rows) => rows.next().map(|(key, change)| Entry { key, what: What::Row(change) }),
            Source::File(run) => run.next()?,
        })
    }
}

/// The first entry of a source that is not merged yet.
///
/// Ordered by key, then by the age of the source, and reversed, because a [`BinaryHeap`] gives its greatest element first.
struct Head {
    entry: Entry,
    /// The index of its source. A greater index means younger.
    source: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        other.entry.key.cmp(&self.entry.key).then(other.source.cmp(&self.source))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

/// Merges sources, of which the oldest is the first.
#[derive(Default)]
pub(super) struct Merge {
    sources: Vec<Source>,
    heads: BinaryHeap<Head>,
    /// The cleared keys with which the merge's current key begins, each the beginning of the next. With each, the youngest
    /// source that cleared it or one before it: rows of older sources below it are removed.
    cleared: Vec<(Key, usize)>,
}

impl Merge {
    pub(super) fn new(mut sources: Vec<Source>) -> Result<Self, SpoolError> {
        let mut heads = Vec::with_capacity(sources.len());
        for (place, source) in sources.iter_mut().enumerate() {
            heads.extend(source.next()?.map(|entry| Head { entry, source: place }));
        }
        Ok(Self { sources, heads: heads.into(), cleared: Vec::new() })
    }

    /// The next entry that nothing younger has cleared: the first change to a row, or a key below which is cleared.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, SpoolError> {
        while let Some(Head { entry, source }) = self.pop()? {
            self.leave(&entry.key);
            let stays = match entry.what {
                What::Cleared => self.clear(&entry.key, source),
                What::Row(_) => self.cleared.last().is_none_or(|(_, youngest)| source >= *youngest),
            };
            if stays {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// The next change to the row of the last entry. Every clearing is older than that entry, so this change stays.
    pub(super) fn next_of(&mut self, key: &[Value]) -> Result<Option<RowChange>, SpoolError> {
        if self.heads.peek().is_none_or(|head| head.entry.key != key) {
            return Ok(None);
        }
        Ok(self.pop()?.and_then(|head| match head.entry.what {
            What::Row(change) => Some(change),
            What::Cleared => None,
        }))
    }

    fn pop(&mut self) -> Result<Option<Head>, SpoolError> {
        let Some(mut first) = self.heads.peek_mut() else { return Ok(None) };
        let source = first.source;
        Ok(Some(match self.sources[source].next()? {
            Some(next) => Head { entry: std::mem::replace(&mut first.entry, next), source },
            None => PeekMut::pop(first),
        }))
    }

    /// Removes the cleared keys with which `key` does not begin.
    fn leave(&mut self, key: &[Value]) {
        while self.cleared.last().is_some_and(|(parent, _)| !key.starts_with(parent)) {
            self.cleared.pop();
        }
    }

    /// Clears what is below `key`. Returns whether no source did so before.
    fn clear(&mut self, key: &Key, source: usize) -> bool {
        if let Some((parent, youngest)) = self.cleared.last_mut()
            && parent == key
        {
            *youngest = source.max(*youngest);
            return false;
        }
        let youngest = self.cleared.last().map_or(source, |(_, above)| source.max(*above));
        self.cleared.push((key.clone(), youngest));
        true
    }
}
