//! What the changes of a batch mean for the columns that are copied from one table to another. No I/O.

use std::collections::BTreeSet;

use readcast_core::{Cells, ChangeSet, Key, Link, Presence, RowChange, Segment, TableSpec, Value};

/// The rows of one table on which other tables depend and which a commit changes.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Their keys, as far as they are known.
    pub(super) keys: BTreeSet<Key>,
    /// Whether the commit changes other rows as well, whose keys are known when they are written.
    pub(super) unknown: bool,
}

/// A table to which other tables of the projection refer.
pub(super) struct Referenced {
    /// Whether other tables depend on each data column: it is copied, or determines a column that is copied.
    sources: Vec<bool>,
    /// Whether a row without any change has a value in a column that is copied.
    matters_when_created: bool,
    /// The references to the table, each with the number of key columns of the table that refers.
    links: Vec<(Link, usize)>,
}

impl Referenced {
    /// The table at `place`, if another one refers to it.
    pub(super) fn new(place: usize, specs: &[TableSpec], links: &[Link]) -> Option<Self> {
        let spec = &specs[place];
        let to = links.iter().filter(|link| link.referenced == place);
        let to: Vec<_> = to.map(|link| (link.clone(), specs[link.table].key_columns().len())).collect();
        if to.is_empty() {
            return None;
        }
        let mut sources = vec![false; spec.data_columns().len()];
        to.iter().flat_map(|(link, _)| &link.copies).for_each(|(source, _)| sources[*source] = true);
        let has_default = |place: usize| matches!(spec.data_columns()[place].presence(), Presence::Default(_));
        let mut matters_when_created = (0..sources.len()).any(|place| sources[place] && has_default(place));
        // A copied column that others copy depends on the columns of its own reference.
        for link in links.iter().filter(|link| link.table == place) {
            if link.copies.iter().any(|(_, own)| sources[*own]) {
                let data = link.columns.iter().filter_map(|column| column.checked_sub(spec.key_columns().len()));
                let data: Vec<usize> = data.collect();
                matters_when_created |= data.is_empty();
                data.into_iter().for_each(|place| sources[place] = true);
            }
        }
        Some(Self { sources, matters_when_created, links: to })
    }

    /// Whether other tables depend on each data column.
    pub(super) fn sources(&self) -> &[bool] {
        &self.sources
    }

    /// The rows that the segments change, as far as other tables depend on them.
    pub(super) fn changed(&self, segments: &[Segment]) -> Changed {
        let mut changed = Changed::default();
        for segment in segments {
            match segment {
                Segment::Rows { cleared, rows } => {
                    changed.unknown |= !cleared.is_empty();
                    let mattering = rows.iter().filter(|(_, change)| self.matters(change));
                    changed.keys.extend(mattering.map(|(key, _)| key.clone()));
                }
                Segment::Where { cells, .. } => changed.unknown |= self.is_source(cells),
            }
        }
        changed
    }

    /// The keys of this table that the changes of other tables name.
    pub(super) fn named(&self, changes: &ChangeSet) -> BTreeSet<Key> {
        let mut named = BTreeSet::new();
        for (link, key_columns) in &self.links {
            for segment in changes.segments(link.table) {
                match segment {
                    Segment::Rows { rows, .. } => {
                        named.extend(rows.iter().filter_map(|(key, change)| named_by(link, key, change)));
                    }
                    Segment::Where { cells, .. } => named.extend(named_by_cells(link, &[], *key_columns, cells)),
                }
            }
        }
        named
    }

    /// Whether a change may change copies in other tables.
    fn matters(&self, change: &RowChange) -> bool {
        match change {
            RowChange::Delete => true,
            RowChange::Upsert(cells) => self.matters_when_created || self.is_source(cells),
            RowChange::Update(cells) => self.is_source(cells),
        }
    }

    fn is_source(&self, cells: &Cells) -> bool {
        cells.as_slice().iter().zip(&self.sources).any(|(cell, is_source)| *is_source && cell.is_some())
    }
}

/// The key that a row comes to name by `change`. `None` if it names no row, or the same as before.
fn named_by(link: &Link, key: &Key, change: &RowChange) -> Option<Key> {
    let is_key_alone = || link.columns.iter().all(|place| *place < key.len());
    match change {
        RowChange::Upsert(cells) => named_by_cells(link, key, key.len(), cells),
        RowChange::Update(cells) if !is_key_alone() => named_by_cells(link, key, key.len(), cells),
        RowChange::Update(_) | RowChange::Delete => None,
    }
}

fn named_by_cells(link: &Link, key: &[Value], key_columns: usize, cells: &Cells) -> Option<Key> {
    let value = |place: &usize| match key.get(*place) {
        Some(value) => Some(value.clone()),
        None => cells.as_slice().get(place.checked_sub(key_columns)?)?.as_ref()?.value().cloned(),
    };
    let named: Key = link.columns.iter().map(value).collect::<Option<_>>()?;
    (!named.iter().any(Value::is_null)).then_some(named)
}
