//! Locks on the keys of referenced tables.
//!
//! A commit that names a referenced row reads it, and a commit that changes the row writes to all rows that name it.
//! Without a lock that both take, each could overlook the other, because it sees only what is committed. So the one takes
//! a shared lock on the key, and the other an exclusive lock, before either reads or writes a row.
//!
//! The row itself can't be the lock, because it may not exist yet. Each key has a row of its own in a table of locks,
//! which is created by the first commit that changes or names the key. No reader sees that table.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use readcast_core::{ChangeSet, Column, ColumnType, Key, Link, TableSpec, Value};
use sqlx::PgConnection;

use super::super::sql;
use super::super::statement::{Array, Statement, incoming, key_arrays, matches};
use super::Table;
use crate::store::references::{Changed, Referenced};
use crate::store::{Generation, StoreError};

/// The locks on the keys of a referenced table.
pub(super) struct KeyLocks {
    /// The name of the table of locks in SQL.
    physical: String,
    pub(super) of: Referenced,
}

impl KeyLocks {
    /// The locks of the table at `place`, if another table refers to it.
    pub(super) fn new(place: usize, specs: &[TableSpec], links: &[Link], generation: Generation) -> Option<Self> {
        let of = Referenced::new(place, specs, links)?;
        Some(Self { physical: sql::key_locks(&specs[place], generation), of })
    }

    /// Takes the locks of one commit, in the order of the keys.
    async fn lock(
        &self,
        connection: &mut PgConnection,
        table: &TableSpec,
        changed: &Changed,
        named: &BTreeSet<Key>,
    ) -> Result<(), StoreError> {
        if changed.unknown {
            // It conflicts with every lock on a key.
            let text = format!("LOCK TABLE {} IN EXCLUSIVE MODE", self.physical);
            return Statement { text, arrays: Vec::new() }.run(connection, table).await.map(drop);
        }
        let shared = named.iter().map(|key| (key, false));
        let keys: BTreeMap<&Key, bool> = shared.chain(changed.keys.iter().map(|key| (key, true))).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let exclusive = keys.values().map(|exclusive| Cow::Owned(Value::from(*exclusive))).collect();
        let keys: Vec<&Key> = keys.into_keys().collect();
        let arrays = key_arrays(table, &keys);
        let columns = sql::column_list(table.key_columns());
        let given = (0..arrays.len()).map(|place| format!("new.i{place}")).collect::<Vec<_>>().join(", ");
        let (physical, new) = (&self.physical, incoming(&arrays));
        let text = format!("INSERT INTO {physical} ({columns}) SELECT {given} FROM {new} ON CONFLICT DO NOTHING");
        Statement { text, arrays }.run(connection, table).await?;
        let mut arrays = key_arrays(table, &keys);
        let found = matches(&arrays);
        arrays.push(Array { column: &EXCLUSIVE, values: exclusive });
        let is_exclusive = format!("new.i{}", arrays.len() - 1);
        // A subquery for each key: the locks are taken in the order of the keys, which a join need not keep.
        let text = format!(
            "SELECT count(shared.locked) + count(exclusive.locked) FROM {}
             LEFT JOIN LATERAL (SELECT true AS locked FROM {physical} AS held WHERE NOT {is_exclusive} AND {found}
                                FOR SHARE) AS shared ON true
             LEFT JOIN LATERAL (SELECT true AS locked FROM {physical} AS held WHERE {is_exclusive} AND {found}
                                FOR NO KEY UPDATE) AS exclusive ON true",
            incoming(&arrays),
        );
        Statement { text, arrays }.run(connection, table).await.map(drop)
    }
}

/// Whether a lock is exclusive, as the column of an [`Array`].
static EXCLUSIVE: LazyLock<Column> = LazyLock::new(|| {
    let flags = TableSpec::new("locks").nullable("exclusive", ColumnType::Bool);
    flags.data_columns()[0].clone()
});

/// Takes the locks of a commit: exclusive ones for the rows whose copies may change, shared ones for the rows that other
/// rows name. Returns the former, for each table.
pub(super) async fn take(
    connection: &mut PgConnection,
    tables: &[Table],
    changes: &ChangeSet,
) -> Result<Vec<Changed>, StoreError> {
    let mut changed: Vec<Changed> = Vec::with_capacity(tables.len());
    for (index, table) in tables.iter().enumerate() {
        let mut of_table = Changed::default();
        if let Some(locks) = &table.key_locks {
            of_table = locks.of.changed(changes.segments(index));
            for source in table.sources.iter().filter(|source| source.copies_any(locks.of.sources())) {
                // The locks on the referenced rows are held, so no other row comes to name them.
                let referenced = &changed[source.referenced()];
                of_table.unknown |= referenced.unknown;
                of_table.keys.extend(source.referring(connection, table, referenced).await?);
            }
            locks.lock(connection, &table.spec, &of_table, &locks.of.named(changes)).await?;
        }
        changed.push(of_table);
    }
    Ok(changed)
}
