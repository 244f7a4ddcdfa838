//! The physical tables of a generation, and the order in which a commit locks and writes their rows.
//!
//! Commits of several lanes may change the same rows. So that none waits for another in a circle, each takes its locks in
//! one order: the locks of referenced keys first ([`key_locks`]), then the rows of each table in the order of their keys.
//! Tables follow in the order of their declaration, in which a referenced table precedes those that refer to it.

mod key_locks;
mod source;

use readcast_core::{ChangeSet, Link, TableSpec};
use sqlx::PgConnection;

use self::key_locks::KeyLocks;
pub(super) use self::source::Source;
use super::{rows, sql};
use crate::store::references::Changed;
use crate::store::{Generation, StoreError, Written};

/// The physical tables of a generation, in the order of their declaration.
pub(super) struct Tables(Vec<Table>);

/// A physical table.
pub(super) struct Table {
    pub(super) spec: TableSpec,
    /// The name of the table in SQL.
    pub(super) physical: String,
    /// The references of its rows to other tables.
    pub(super) sources: Vec<Source>,
    /// Whether each data column is copied from another table.
    pub(super) copied: Vec<bool>,
    /// The locks of its keys. `None` if no table refers to it.
    key_locks: Option<KeyLocks>,
}

impl Table {
    /// Whether copies change because `referenced` rows do.
    pub(super) fn is_refreshed(&self, referenced: &[Changed]) -> bool {
        self.sources.iter().any(|source| !referenced[source.referenced()].keys.is_empty())
    }
}

impl Tables {
    pub(super) fn new(specs: &[TableSpec], generation: Generation) -> Self {
        let links = Link::between(specs);
        let table = |(place, spec): (usize, &TableSpec)| {
            let own = links.iter().filter(|link| link.table == place);
            let sources: Vec<_> = own.map(|link| Source::new(link, specs, generation)).collect();
            Table {
                physical: sql::physical(spec, generation),
                copied: (0..spec.data_columns().len()).map(|place| spec.copied_by(place).is_some()).collect(),
                sources,
                key_locks: KeyLocks::new(place, specs, &links, generation),
                spec: spec.clone(),
            }
        };
        Self(specs.iter().enumerate().map(table).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Table> {
        self.0.iter()
    }

    /// Fills the copies in all rows, where something else than a commit has written the rows.
    pub(super) async fn fill_copies(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        for table in &self.0 {
            for source in &table.sources {
                source.fill(connection, table).await?;
            }
        }
        Ok(())
    }

    /// Writes the rows of a commit, within its transaction.
    pub(super) async fn write(
        &self,
        connection: &mut PgConnection,
        changes: &ChangeSet,
    ) -> Result<Written, StoreError> {
        let mut written = Written { rows: 0, missed: changes.missed() };
        let mut changed = key_locks::take(connection, &self.0, changes).await?;
        for (index, table) in self.0.iter().enumerate() {
            let (referenced, later) = changed.split_at_mut(index);
            let own = &mut later[0];
            rows::write(connection, table, changes.segments(index), referenced, own, &mut written).await?;
            for source in &table.sources {
                let refreshed = source.refresh(connection, table, &referenced[source.referenced()]).await?;
                written.rows += refreshed.len() as u64;
                if own.unknown {
                    own.keys.extend(refreshed);
                }
            }
        }
        Ok(written)
    }
}
