//! The fold: the changes of a whole batch, composed into one change a row.
//!
//! A [`ChangeSet`] keeps, for each table, a list of [`Segment`]s that a store applies in order. Nearly always there is
//! one. A new one begins only where two changes do not compose into one (a fan-out with [`Segment::Where`] after keyed
//! changes, an `add` after a `max` on the same cell): what does not compose is done one after the other, so the result
//! never depends on how the log was cut into batches.
//!
//! Numbers that leave their range: where the changes one by one all stay in range, so does every fold of them, with the
//! same rows. The reverse does not hold. A sum that leaves its range and comes back within one batch is exact, because
//! the fold adds before it looks at the row; and a number that is deleted or overwritten is not looked at.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::change::Change;
use crate::{Column, Json, TableSpec, Value};

/// The values of a row's key columns, or of the first of them.
pub type Key = Vec<Value>;

/// The values of a row's data columns.
pub type Row = Vec<Value>;

/// What happens to one cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// It becomes this value.
    Set(Value),
    /// This number is added; a missing or NULL cell counts as its default, or as 0.
    Add(Value),
    /// It becomes this value when that is greater than its value or default, or when there is none.
    Max(Value),
    /// It becomes this value when that is less than its value or default, or when there is none.
    Min(Value),
    /// These items go to the end of the JSON array.
    Append(Vec<Json>),
    /// It becomes this value when the row's `newer_by` columns, `Newer` themselves, move forward.
    Newer(Value),
}

impl Cell {
    /// The value of an operation that has one.
    pub fn value(&self) -> Option<&Value> {
        match self {
            Cell::Set(value) | Cell::Add(value) | Cell::Max(value) | Cell::Min(value) | Cell::Newer(value) => {
                Some(value)
            }
            Cell::Append(_) => None,
        }
    }

    /// The one operation that does what this one and then `next` do, if there is one.
    fn then(&self, next: &Cell) -> Option<Cell> {
        use Cell::{Add, Append, Max, Min, Newer, Set};
        Some(match (self, next) {
            // Whether the group of this cell is newer is not known yet, and may hang on the very value it would lose.
            (Newer(_), _) => return None,
            (_, Set(value)) => Set(value.clone()),
            (Set(value), Add(number)) => Set(value.plus(number)?),
            (Set(value), Max(other)) => Set(value.or_later(other)),
            (Set(value), Min(other)) => Set(value.or_earlier(other)),
            (Set(Value::Json(array)), Append(items)) => Set(Value::Json(array.extended(items))),
            (Set(Value::Null), Append(items)) => Set(Value::Json(Json::empty_array().extended(items))),
            (Add(a), Add(b)) => Add(a.plus(b)?),
            (Max(a), Max(b)) => Max(a.or_later(b)),
            (Min(a), Min(b)) => Min(a.or_earlier(b)),
            (Append(a), Append(b)) => Append([a.as_slice(), b.as_slice()].concat()),
            _ => return None,
        })
    }

    /// Whether this operation leaves no trace behind `next`.
    fn is_settled_by(&self, next: &Cell) -> bool {
        matches!(next, Cell::Set(_)) && !matches!(self, Cell::Newer(_))
    }

    /// Whether there is one operation that does what this one and then `next` do.
    fn composes(&self, next: &Cell) -> bool {
        let appends = matches!((self, next), (Cell::Append(_), Cell::Append(_)));
        appends || self.is_settled_by(next) || self.then(next).is_some()
    }

    /// What the cell holds after this change. `None` when a number is out of range.
    fn modify(self, held: Value) -> Option<Value> {
        match self {
            // Whether the change is newer was decided for the whole row.
            Cell::Set(value) | Cell::Newer(value) => Some(value),
            change => match Cell::Set(held).then(&change)? {
                Cell::Set(value) => Some(value),
                _ => None,
            },
        }
    }
}

/// What happens to the data columns of one row; a column without an operation keeps its value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cells(Vec<Option<Cell>>);

impl Cells {
    /// No operation on any of `width` data columns.
    pub(crate) fn none(width: usize) -> Self {
        Self(vec![None; width])
    }

    /// Every cell set to the values of `row`.
    pub(crate) fn image(row: Row) -> Self {
        Self(row.into_iter().map(|value| Some(Cell::Set(value))).collect())
    }

    /// These operations, one place a data column of the table: what [`as_slice`](Self::as_slice) gave.
    pub fn from_places(cells: Vec<Option<Cell>>) -> Self {
        Self(cells)
    }

    /// The operations, one place a data column of the table.
    pub fn as_slice(&self) -> &[Option<Cell>] {
        &self.0
    }

    /// The values of a whole row, when every cell is set to one.
    pub fn whole(&self) -> Option<impl Iterator<Item = &Value>> {
        let set = |cell: &Option<Cell>| matches!(cell, Some(Cell::Set(_)));
        self.0.iter().all(set).then(|| self.0.iter().filter_map(|cell| cell.as_ref()?.value()))
    }

    /// Composes `next` behind what the cell at `place` already does. `false`, and nothing done, when that is not one
    /// operation.
    pub(crate) fn push(&mut self, place: usize, next: Cell) -> bool {
        let held = &mut self.0[place];
        match (held.as_mut(), next) {
            (None, next) => *held = Some(next),
            // In place: an array that grows item by item would be copied with each.
            (Some(Cell::Append(items)), Cell::Append(more)) => items.extend(more),
            (Some(cell), next) if cell.is_settled_by(&next) => *cell = next,
            (Some(cell), next) => match cell.then(&next) {
                Some(composed) => *cell = composed,
                None => return false,
            },
        }
        true
    }

    /// Composes `next` behind these operations, in place; gives it back, and does nothing, when that is not one operation
    /// a cell.
    fn absorb(&mut self, next: Cells, table: &TableSpec) -> Result<(), Cells> {
        let composes = |(place, cell): (usize, &Cell)| self.0[place].as_ref().is_none_or(|held| held.composes(cell));
        if !next.plain().all(composes) || self.then_newer(&next, table).is_none() {
            return Err(next);
        }
        for (place, cell) in next.0.into_iter().enumerate() {
            if let Some(cell) = cell.filter(|cell| !matches!(cell, Cell::Newer(_))) {
                self.push(place, cell);
            }
        }
        Ok(())
    }

    /// Composes the `newer` group of `next`, if it has one: onto untouched cells as it is; onto the same group, or onto
    /// known values, by comparing now. Anything else does not compose.
    fn then_newer(&mut self, next: &Cells, table: &TableSpec) -> Option<()> {
        let group: Vec<usize> = next.newer().collect();
        let all = |meant: fn(&Option<Cell>) -> bool| group.iter().all(|place| meant(&self.0[*place]));
        let untouched = all(Option::is_none);
        let known = all(|cell| matches!(cell, Some(Cell::Set(_))));
        if !(untouched || known || self.newer().eq(group.iter().copied())) {
            return None;
        }
        if untouched || moves_forward(table, |place| self.value(place), |place| next.value(place)) {
            for place in group {
                let value = next.value(place)?.clone();
                self.0[place] = Some(if known { Cell::Set(value) } else { Cell::Newer(value) });
            }
        }
        Some(())
    }

    /// The places of the cells that are set only when the row's `newer_by` columns move forward.
    fn newer(&self) -> impl Iterator<Item = usize> {
        self.present().filter(|(_, cell)| matches!(cell, Cell::Newer(_))).map(|(place, _)| place)
    }

    /// The row that these operations create, or `None` when a number is out of range. It is what they make of a row
    /// that holds the columns' initial values, so that creating a row first and changing it then comes to the same.
    pub fn create(&self, table: &TableSpec) -> Option<Row> {
        self.clone().into_row(table)
    }

    /// The row that these operations make of `row`, or `None` when a number is out of range.
    pub fn modify(&self, row: &Row, table: &TableSpec) -> Option<Row> {
        self.clone().onto(row.clone(), table)
    }

    /// As [`create`](Self::create), without a copy of any value.
    pub fn into_row(self, table: &TableSpec) -> Option<Row> {
        self.onto(table.data_columns().iter().map(Column::initial).collect(), table)
    }

    /// As [`modify`](Self::modify), without a copy of any value.
    pub fn onto(self, mut row: Row, table: &TableSpec) -> Option<Row> {
        let newer =
            self.newer().next().is_some() && moves_forward(table, |place| row.get(place), |place| self.value(place));
        for (held, cell) in row.iter_mut().zip(self.0) {
            match cell {
                None => {}
                Some(Cell::Newer(_)) if !newer => {}
                Some(cell) => *held = cell.modify(std::mem::replace(held, Value::Null))?,
            }
        }
        Some(row)
    }

    fn value(&self, place: usize) -> Option<&Value> {
        self.0[place].as_ref()?.value()
    }

    /// The operations but those that hang on whether the row's `newer_by` columns move forward.
    fn plain(&self) -> impl Iterator<Item = (usize, &Cell)> {
        self.present().filter(|(_, cell)| !matches!(cell, Cell::Newer(_)))
    }

    fn present(&self) -> impl Iterator<Item = (usize, &Cell)> {
        self.0.iter().enumerate().filter_map(|(place, cell)| Some((place, cell.as_ref()?)))
    }
}

/// Whether the `newer_by` columns of `next` are later than those of `held`, where NULL is before everything.
fn moves_forward<'a>(
    table: &TableSpec,
    held: impl Fn(usize) -> Option<&'a Value>,
    next: impl Fn(usize) -> Option<&'a Value>,
) -> bool {
    let Some((at, tie)) = table.newer_columns() else { return false };
    match (held(at).zip(held(tie)), next(at).zip(next(tie))) {
        (Some((Value::Null, _)), Some(_)) => true,
        (Some(held), Some(next)) => next > held,
        _ => false,
    }
}

/// What happens to one row.
#[derive(Clone, Debug, PartialEq)]
pub enum RowChange {
    /// The operations are applied to the row, which is created when it is missing.
    Upsert(Cells),
    /// The operations are applied to the row if there is one.
    Update(Cells),
    /// The row is gone afterwards.
    Delete,
}

/// What became of a change that was to be composed behind another.
#[derive(Clone, Debug, PartialEq)]
pub enum Absorbed {
    /// The other does both now.
    Both,
    /// It changed nothing: it updates a row that the other removed.
    Missed,
    /// No single change does both.
    Apart(RowChange),
}

impl RowChange {
    /// Composes `next` behind this change, in place.
    pub fn absorb(&mut self, next: RowChange, table: &TableSpec) -> Absorbed {
        use RowChange::{Delete, Update, Upsert};
        let apart = match (&mut *self, next) {
            (held, Delete) => {
                *held = Delete;
                None
            }
            (Delete, Update(_)) => return Absorbed::Missed,
            // What follows a removal starts afresh: the whole row is known.
            (held @ Delete, Upsert(cells)) => match cells.create(table) {
                Some(row) => {
                    *held = Upsert(Cells::image(row));
                    None
                }
                None => Some(Upsert(cells)),
            },
            (Upsert(first), Upsert(second)) => first.absorb(second, table).err().map(Upsert),
            (Upsert(first) | Update(first), Update(second)) => first.absorb(second, table).err().map(Update),
            // With the row there, both apply; without it, only the second: two outcomes, so two changes.
            (Update(_), next @ Upsert(_)) => Some(next),
        };
        apart.map_or(Absorbed::Both, Absorbed::Apart)
    }
}

/// Changes of one table that may be applied in any order among themselves.
#[derive(Clone, Debug, PartialEq)]
pub enum Segment {
    /// Keyed changes, at most one a row. The rows below the `cleared` keys are removed first; no change below one of them
    /// depends on what the removed row held.
    Rows {
        /// First columns of keys: every stored row that begins with one of them is removed.
        cleared: BTreeSet<Key>,
        /// What happens to each row then.
        rows: BTreeMap<Key, RowChange>,
    },
    /// The operations on every row whose data column `column` equals `value`.
    Where {
        /// The place of the column among the data columns.
        column: usize,
        /// The value it has in the rows that are meant.
        value: Value,
        /// What happens to each of them.
        cells: Cells,
    },
}

/// What a batch changes, table by table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChangeSet {
    tables: Vec<Vec<Segment>>,
    missed: u64,
}

impl ChangeSet {
    /// No change.
    pub fn new() -> Self {
        Self::default()
    }

    /// The segments of the table at `index`, in the order in which they must be applied.
    pub fn segments(&self, index: usize) -> &[Segment] {
        self.tables.get(index).map_or(&[], Vec::as_slice)
    }

    /// The segments of every table, those of the table at `index` at that place; tables behind the last that changes
    /// have no place.
    pub fn into_tables(self) -> Vec<Vec<Segment>> {
        self.tables
    }

    /// How many updates met a row that an earlier change of the batch had removed.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(Vec::is_empty)
    }

    /// Composes `change` behind all that is here. `tables` are those of the projection that made it.
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
                pending.extend(rows.into_iter().map(|(key, row)| (key, RowChange::Upsert(Cells::image(row)))));
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
        match held.get_mut().absorb(next, table) {
            Absorbed::Both => {}
            Absorbed::Missed => self.missed += 1,
            Absorbed::Apart(next) => {
                let rows = BTreeMap::from([(held.key().clone(), next)]);
                segments.push(Segment::Rows { cleared: BTreeSet::new(), rows });
            }
        }
    }
}

/// Removes every row whose key begins with `parent`. Such keys stand together, so the other rows are not looked at.
pub(crate) fn remove_below<T>(rows: &mut BTreeMap<Key, T>, parent: &[Value]) {
    let from_parent = rows.range::<[Value], _>((Bound::Included(parent), Bound::Unbounded));
    let below = from_parent.map(|(key, _)| key).take_while(|key| key.starts_with(parent));
    for key in below.cloned().collect::<Vec<Key>>() {
        rows.remove(&key);
    }
}

/// The segment that takes keyed changes: the last one, or a new one behind a fan-out.
fn open_segment(segments: &mut Vec<Segment>) -> (&mut BTreeSet<Key>, &mut BTreeMap<Key, RowChange>) {
    if !matches!(segments.last(), Some(Segment::Rows { .. })) {
        segments.push(Segment::Rows { cleared: BTreeSet::new(), rows: BTreeMap::new() });
    }
    match segments.last_mut() {
        Some(Segment::Rows { cleared, rows }) => (cleared, rows),
        _ => unreachable!("a segment of rows was just made sure of"),
    }
}
