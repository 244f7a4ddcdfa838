//! Estimates how many bytes of memory changes take.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::size_of;

use readcast_core::{Cell, Json, Key, RowChange, Segment, Value};

/// What an allocator adds to each allocation, about.
const ALLOCATION_BYTES: usize = 16;
/// How many entries a node of a B-tree map has room for. A map that is not empty has at least one node.
const NODE_ENTRIES: usize = 11;

/// The bytes of a segment.
pub(super) fn of_segment(segment: &Segment) -> usize {
    let Segment::Rows { cleared, rows } = segment else { return size_of::<Segment>() };
    size_of::<Segment>() + of_cleared(cleared) + of_rows(rows)
}

fn of_cleared(cleared: &BTreeSet<Key>) -> usize {
    nodes(cleared.len(), size_of::<Key>()) + cleared.iter().map(of_key).sum::<usize>()
}

fn of_rows(rows: &BTreeMap<Key, RowChange>) -> usize {
    let entries = rows.iter().map(|(key, change)| of_key(key) + of_change(change));
    nodes(rows.len(), size_of::<(Key, RowChange)>()) + entries.sum::<usize>()
}

/// The bytes of a map's nodes, which are at least half full.
fn nodes(entries: usize, entry_bytes: usize) -> usize {
    match entries {
        0 => 0,
        _ => (2 * entries).max(NODE_ENTRIES) * entry_bytes,
    }
}

fn of_key(key: &Key) -> usize {
    allocated(key.capacity() * size_of::<Value>()) + key.iter().map(of_value).sum::<usize>()
}

fn of_change(change: &RowChange) -> usize {
    match change {
        RowChange::Upsert(cells) | RowChange::Update(cells) => {
            let cells = cells.as_slice();
            allocated(size_of_val(cells)) + cells.iter().flatten().map(of_cell).sum::<usize>()
        }
        RowChange::Delete => 0,
    }
}

fn of_cell(cell: &Cell) -> usize {
    match cell {
        Cell::Append(items) => {
            allocated(items.capacity() * size_of::<Json>()) + items.iter().map(of_json).sum::<usize>()
        }
        cell => cell.value().map_or(0, of_value),
    }
}

/// The bytes that a value takes on the heap.
fn of_value(value: &Value) -> usize {
    match value {
        Value::Text(text) => allocated(text.capacity()),
        Value::Bytes(bytes) => allocated(bytes.capacity()),
        Value::Json(json) => of_json(json),
        _ => 0,
    }
}

fn of_json(json: &Json) -> usize {
    allocated(json.as_str().len() + 2 * size_of::<usize>())
}

fn allocated(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { bytes + ALLOCATION_BYTES }
}
