//! The composed changes of a batch.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::{Cells, Composition, Key, RowChange};
use crate::change::Change;
use crate::{TableSpec, Value};

/// Changes of one table that may be applied in any order among themselves.
#[derive(Clone, Debug, PartialEq)]
pub enum Segment {
    /// Keyed changes, at most one for each row. The rows below the `cleared` keys are deleted first. No change below a
    /// cleared key depends on the values of the deleted row.
    Rows {
        /// First columns of keys. Every stored row whose key begins with one of them is deleted.
        cleared: BTreeSet<Key>,
        /// The change of each row, applied after the deletions.
        rows: BTreeMap<Key, RowChange>,
    },
    /// The operations on every row whose data column `column` equals `value`.
    Where {
        /// The column's index among the data columns.
        column: usize,
        /// The value that selects the rows.
        value: Value,
        /// The operations on each of these rows.
        cells: Cells,
    },
}

/// The composed changes of a batch, by table.
///
/// ```
/// use readcast_core::{ChangeSet, Changes, ColumnType, Segment, TableSpec};
///
/// let tables = [TableSpec::new("visits").key("page", ColumnType::Text).with_default("count", ColumnType::I64, 0)];
/// let mut batch = ChangeSet::new();
/// for _event in 0..3 {
///     let mut changes = Changes::new(&tables);
///     changes.upsert("visits", ["/home"]).add("count", 1);
///     changes.finish().expect("valid changes").into_iter().for_each(|change| batch.push(change, &tables));
/// }
/// let [Segment::Rows { rows, .. }] = batch.segments(0) else { panic!("three additions compose") };
/// assert_eq!(rows.len(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChangeSet {
    /// The segments of each table, at the table's index.
    tables: Vec<Vec<Segment>>,
    missed: u64,
}

impl ChangeSet {
    /// A batch without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The segments of the table at `index`, in the order in which they must be applied. Empty if nothing changes.
    pub fn segments(&self, index: usize) -> &[Segment] {
        self.tables.get(index).map_or(&[], Vec::as_slice)
    }

    /// The segments of each table, at the table's index. The list ends with the last table that changes.
    pub fn into_tables(self) -> Vec<Vec<Segment>> {
        self.tables
    }

    /// The number of updates of rows that an earlier change of the batch deletes.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(Vec::is_empty)
    }

    /// Composes `change` after the changes of this batch. `tables` are those of the projection that made it.
    pub fn push(&mut self, change: Change, tables: &[TableSpec]) {
        let index = change.table();
        if self.tables.len() <= index {
            self.tables.resize_with(index + 1, Vec::new);
        }
        let table = &tables[index];
        match change {
            Change::Row { key, change, .. } => self.push_row(index, key, change, table),
            Change::ReplaceChildren { parent, rows, .. } => {
                let (cleared, pending) = open_segment(&mut self.tables[index]);
                remove_below(pending, &parent);
                pending.extend(rows.into_iter().map(|(key, row)| (key, RowChange::Upsert(Cells::full(row)))));
                cleared.insert(parent);
            }
            Change::Where { column, value, cells, .. } => {
                self.tables[index].push(Segment::Where { column, value, cells });
            }
        }
    }

    fn push_row(&mut self, index: usize, key: Key, next: RowChange, table: &TableSpec) {
        let segments = &mut self.tables[index];
        let (cleared, rows) = open_segment(segments);
        let below_cleared =
            |key: &Key| !cleared.is_empty() && (1..key.len()).any(|length| cleared.contains(&key[..length]));
        let mut held = match rows.entry(key) {
            Entry::Vacant(free) if below_cleared(free.key()) => free.insert_entry(RowChange::Delete),
            Entry::Vacant(free) => {
                free.insert(next);
                return;
            }
            Entry::Occupied(held) => held,
        };
        match held.get_mut().compose(next, table) {
            Composition::Composed => {}
            Composition::MissedUpdate => self.missed += 1,
            Composition::Separate(next) => {
                let rows = BTreeMap::from([(held.key().clone(), next)]);
                segments.push(Segment::Rows { cleared: BTreeSet::new(), rows });
            }
        }
    }
}

/// Removes every row whose key begins with `parent`. These keys are adjacent, so no other row is visited.
pub(crate) fn remove_below<T>(rows: &mut BTreeMap<Key, T>, parent: &[Value]) {
    let from_parent = rows.range::<[Value], _>((Bound::Included(parent), Bound::Unbounded));
    let below = from_parent.map(|(key, _)| key).take_while(|key| key.starts_with(parent));
    for key in below.cloned().collect::<Vec<Key>>() {
        rows.remove(&key);
    }
}

/// The segment for keyed changes: the last one, or a new one after a fan-out.
fn open_segment(segments: &mut Vec<Segment>) -> (&mut BTreeSet<Key>, &mut BTreeMap<Key, RowChange>) {
    if !matches!(segments.last(), Some(Segment::Rows { .. })) {
        segments.push(Segment::Rows { cleared: BTreeSet::new(), rows: BTreeMap::new() });
    }
    match segments.last_mut() {
        Some(Segment::Rows { cleared, rows }) => (cleared, rows),
        _ => unreachable!("the last segment holds rows: one was added above"),
    }
}
