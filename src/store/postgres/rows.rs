//! Writes rows: one statement for all rows of a table with the same operations.
//!
//! The values of each column are one array parameter. Thus the text of a statement depends on the operations and not on
//! the number of rows. The arrays are in the order of the keys, so that two lanes lock the same rows in the same order.
//! A commit that needs several statements for a table locks all its rows first ([`order`]).

mod order;
mod shape;
mod target;

use std::collections::{BTreeMap, BTreeSet};

use readcast_core::{Cells, Key, RowChange, Segment, Value};
use sqlx::PgConnection;

use self::order::Reserved;
use self::shape::{ChangedRow, Shape, by_shape, shape_of};
use self::target::{Found, Target};
use super::statement::{Array, Statement, held_key};
use super::tables::Table;
use crate::store::references::Changed;
use crate::store::{StoreError, Written};

/// Writes the segments of one table, in their order. `referenced` are the changes of the tables before it. The changed
/// rows on which other tables depend are added to `own`, unless they are known already.
pub(super) async fn write(
    connection: &mut PgConnection,
    table: &Table,
    segments: &[Segment],
    referenced: &[Changed],
    own: &mut Changed,
    written: &mut Written,
) -> Result<(), StoreError> {
    let mut parts: Vec<Part<'_>> = segments.iter().map(|segment| Part::of(segment, table)).collect();
    let one_statement = match parts.as_slice() {
        [] => true,
        [Part::Rows(rows)] => rows.statements() <= 1,
        _ => false,
    };
    let mut reserved = Reserved::new();
    if !one_statement || table.is_refreshed(referenced) {
        reserved = order::reserve(connection, table, &mut parts, referenced, written).await?;
    }
    let mut write = Write { connection, table, own, written };
    for part in parts {
        match part {
            Part::Rows(rows) => write.rows(rows).await?,
            Part::Where { .. } if reserved.is_empty() => {}
            Part::Where { column, value, cells } => write.search(column, value, cells, &reserved).await?,
        }
    }
    Ok(())
}

/// A segment, by the statements that write it.
enum Part<'a> {
    Rows(Rows<'a>),
    Where { column: usize, value: &'a Value, cells: &'a Cells },
}

/// The changes of rows by their keys.
struct Rows<'a> {
    /// The first columns of the keys of rows to delete, by their number.
    cleared: Vec<Vec<&'a Key>>,
    deleted: Vec<&'a Key>,
    /// Complete rows to insert below a cleared key, where none exists.
    new: Vec<ChangedRow<'a>>,
    /// All other changes.
    changed: BTreeMap<Shape, Vec<ChangedRow<'a>>>,
}

impl<'a> Part<'a> {
    fn of(segment: &'a Segment, table: &Table) -> Self {
        match segment {
            Segment::Rows { cleared, rows } => Part::Rows(Rows::of(cleared, rows, table)),
            Segment::Where { column, value, cells } => Part::Where { column: *column, value, cells },
        }
    }
}

impl<'a> Rows<'a> {
    fn of(cleared: &'a BTreeSet<Key>, rows: &'a BTreeMap<Key, RowChange>, table: &Table) -> Self {
        let (mut deleted, mut new, mut changed) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_below = below(cleared);
        for (key, change) in rows {
            match change {
                RowChange::Delete => deleted.push(key),
                RowChange::Upsert(cells) if cells.full_row().is_some() && is_below(key) => new.push((key, cells)),
                RowChange::Upsert(_) | RowChange::Update(_) => changed.push((key, change)),
            }
        }
        let changed = by_shape(&changed, &table.spec, &table.copied);
        Self { cleared: by_length(cleared), deleted, new, changed }
    }

    /// Removes the changes of rows that are complete, and changes of missing rows that create none. Returns the number of
    /// updates among the latter.
    fn keep(&mut self, existing: &BTreeSet<Key>, complete: &BTreeSet<Key>) -> u64 {
        self.deleted.retain(|key| existing.contains(*key));
        let mut missed = 0;
        for (shape, rows) in &mut self.changed {
            let before = rows.len();
            if shape.existing_only {
                rows.retain(|(key, _)| existing.contains(*key));
                missed += (before - rows.len()) as u64;
            } else {
                rows.retain(|(key, _)| !complete.contains(*key));
            }
        }
        self.changed.retain(|_, rows| !rows.is_empty());
        missed
    }

    /// The number of statements that write these rows.
    fn statements(&self) -> usize {
        let lists = [self.deleted.is_empty(), self.new.is_empty()];
        self.cleared.len() + lists.iter().filter(|is_empty| !**is_empty).count() + self.changed.len()
    }
}

/// The writing of one table by one commit.
struct Write<'c, 't> {
    connection: &'c mut PgConnection,
    table: &'t Table,
    own: &'c mut Changed,
    written: &'c mut Written,
}

impl Write<'_, '_> {
    async fn rows(&mut self, rows: Rows<'_>) -> Result<(), StoreError> {
        let target = Target::of(self.table);
        for parents in &rows.cleared {
            self.run(target.delete(parents)).await?;
        }
        if !rows.deleted.is_empty() {
            self.run(target.delete(&rows.deleted)).await?;
        }
        self.written.rows += target.insert(self.connection, &rows.new).await?;
        for (shape, rows) in &rows.changed {
            let changed = target.change(self.connection, shape, rows).await?;
            self.written.rows += changed;
            if shape.existing_only {
                self.written.missed += rows.len() as u64 - changed;
            }
        }
        Ok(())
    }

    /// Changes the rows whose `column` has the `value`, among those that are locked. Which these are is asked first: the keys
    /// of a commit may be thousands, and to send them all with each search takes longer than the search.
    async fn search(
        &mut self,
        column: usize,
        value: &Value,
        cells: &Cells,
        reserved: &Reserved,
    ) -> Result<(), StoreError> {
        let Table { spec, copied, .. } = self.table;
        let target = Target::of(self.table);
        let by_value = || Array::of_one(&spec.data_columns()[column], value);
        let mut keys = target.search(by_value()).run_for_keys(self.connection, spec).await?;
        keys.retain(|key| reserved.contains(key));
        keys.sort();
        if keys.is_empty() {
            return Ok(());
        }
        let keys: Vec<&Key> = keys.iter().collect();
        let found = Found::Where(by_value(), &keys);
        self.run(target.update(&shape_of(cells, &[], copied), found, &[cells])).await
    }

    /// Executes a statement on rows `held`, and notes which these are if other tables depend on them.
    async fn run(&mut self, statement: Statement<'_>) -> Result<(), StoreError> {
        let spec = &self.table.spec;
        if !self.own.unknown {
            self.written.rows += statement.run(self.connection, spec).await?;
            return Ok(());
        }
        let text = format!("{} RETURNING {}", statement.text, held_key(spec));
        let keys = Statement { text, ..statement }.run_for_keys(self.connection, spec).await?;
        self.written.rows += keys.len() as u64;
        self.own.keys.extend(keys);
        Ok(())
    }
}

/// A test whether a key is below one of the `cleared` keys, so that its row is deleted already. It expects keys in
/// order.
fn below<'a>(cleared: &'a BTreeSet<Key>) -> impl FnMut(&Key) -> bool + 'a {
    // Keys below one parent are adjacent.
    let mut parent: &[Value] = &[];
    move |key| {
        if parent.is_empty() || !key.starts_with(parent) {
            let above = (1..key.len()).find_map(|length| cleared.get(&key[..length]));
            parent = above.map(|above| &above[..]).unwrap_or_default();
        }
        !parent.is_empty()
    }
}

/// The keys grouped by length, each group in order.
fn by_length<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Vec<Vec<&'a Key>> {
    let mut groups = BTreeMap::<usize, Vec<&Key>>::new();
    keys.into_iter().for_each(|key| groups.entry(key.len()).or_default().push(key));
    groups.into_values().collect()
}
