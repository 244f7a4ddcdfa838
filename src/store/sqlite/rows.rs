//! Writes rows. The new rows are computed in Rust, by the code of the reference model, because SQLite can't add
//! decimals. One statement reads the rows that a segment changes, and one writes them back.

use std::collections::{BTreeMap, BTreeSet};

use readcast_core::{Cells, ChangeSet, Key, Link, Row, RowChange, Segment, TableSpec};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::connection::at_rows;
use super::sql::{self, Refreshed, Statements};
use super::values;
use crate::store::references::{Changed, Referenced};
use crate::store::{Generation, StoreError, Written};

/// The physical tables of a generation, in the order of their declaration. A referenced table precedes those that refer
/// to it. One commit writes at a time, so references need no locks.
pub(super) struct Tables(Vec<Table>);

/// Writes one physical table. Its methods run in a transaction.
pub(super) struct Table {
    spec: TableSpec,
    statements: Statements,
    /// What other tables depend on. `None` if no table refers to this one.
    referenced: Option<Referenced>,
    refreshes: Vec<Refresh>,
}

/// Makes the copies of one reference equal to the referenced rows.
struct Refresh {
    /// The index of the referenced table.
    referenced: usize,
    /// The statement that reads the rows which name one of the given keys.
    referring: String,
    /// The statement that refreshes these rows.
    of_keys: String,
    /// The statement that refreshes all rows.
    of_all: String,
}

impl Tables {
    pub(super) fn new(specs: &[TableSpec], generation: Generation) -> Self {
        let links = Link::between(specs);
        let table = |place: usize| {
            let own: Vec<&Link> = links.iter().filter(|link| link.table == place).collect();
            let refresh = |link: &&Link| Refresh {
                referenced: link.referenced,
                referring: sql::referring(specs, link, generation),
                of_keys: sql::refresh(specs, link, generation, Refreshed::Named),
                of_all: sql::refresh(specs, link, generation, Refreshed::All),
            };
            Table {
                spec: specs[place].clone(),
                statements: Statements::new(specs, place, &own, generation),
                referenced: Referenced::new(place, specs, &links),
                refreshes: own.iter().map(refresh).collect(),
            }
        };
        Self((0..specs.len()).map(table).collect())
    }

    pub(super) fn as_slice(&self) -> &[Table] {
        &self.0
    }

    /// Writes the rows of a commit.
    pub(super) async fn write(
        &self,
        connection: &mut SqliteConnection,
        changes: &ChangeSet,
    ) -> Result<Written, StoreError> {
        let mut written = Written { rows: 0, missed: changes.missed() };
        let mut changed: Vec<Changed> = Vec::with_capacity(self.0.len());
        for (index, table) in self.0.iter().enumerate() {
            let segments = changes.segments(index);
            let mut own = Changed::default();
            if let Some(referenced) = &table.referenced {
                own = referenced.changed(segments);
                own.keys.extend(table.referring(connection, &changed).await?);
            }
            for segment in segments {
                table.write(connection, segment, &mut own, &mut written).await?;
            }
            for refresh in &table.refreshes {
                let keys = &changed[refresh.referenced].keys;
                if !keys.is_empty() {
                    written.rows += table.execute(connection, refresh.of_keys.clone(), values::rows(keys)).await?;
                }
            }
            changed.push(own);
        }
        Ok(written)
    }

    /// Fills the copies in all rows, where something else than a commit has written the rows.
    pub(super) async fn fill_copies(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        for table in &self.0 {
            for refresh in &table.refreshes {
                table.run(connection, refresh.of_all.clone()).await?;
            }
        }
        Ok(())
    }
}

impl Table {
    /// The keys of the rows that name a changed row of another table.
    async fn referring(&self, connection: &mut SqliteConnection, changed: &[Changed]) -> Result<Vec<Key>, StoreError> {
        let mut referring = Vec::new();
        for refresh in &self.refreshes {
            let keys = &changed[refresh.referenced].keys;
            if !keys.is_empty() {
                referring
                    .extend(self.read(connection, refresh.referring.clone(), values::rows(keys)).await?.into_keys());
            }
        }
        Ok(referring)
    }

    /// Writes one segment, and adds the numbers of rows to `written`. The changed rows on which other tables depend are
    /// added to `own`, unless they are known already.
    async fn write(
        &self,
        connection: &mut SqliteConnection,
        segment: &Segment,
        own: &mut Changed,
        written: &mut Written,
    ) -> Result<(), StoreError> {
        match segment {
            Segment::Rows { cleared, rows } => {
                self.clear(connection, cleared, own, written).await?;
                self.change(connection, rows, written).await
            }
            Segment::Where { column, value, cells } => {
                let find = self.statements.find(&self.spec, &self.spec.data_columns()[*column]);
                let found = self.read(connection, find, values::one(value)).await?;
                let changed = found.into_iter().map(|(key, row)| Ok((key, self.modified(cells, &row)?)));
                let changed: Vec<(Key, Row)> = changed.collect::<Result<_, StoreError>>()?;
                self.put(connection, changed.iter().map(|(key, row)| (key, row)), written).await?;
                if own.unknown {
                    own.keys.extend(changed.into_iter().map(|(key, _)| key));
                }
                Ok(())
            }
        }
    }

    async fn change(
        &self,
        connection: &mut SqliteConnection,
        rows: &BTreeMap<Key, RowChange>,
        written: &mut Written,
    ) -> Result<(), StoreError> {
        let held = self.held(connection, rows).await?;
        let (mut changed, mut deleted) = (Vec::new(), Vec::new());
        for (key, change) in rows {
            match (change, held.get(key)) {
                (RowChange::Delete, _) => deleted.push(key),
                (RowChange::Update(_), None) => written.missed += 1,
                (RowChange::Upsert(cells), None) => changed.push((key, self.created(cells)?)),
                (RowChange::Upsert(cells) | RowChange::Update(cells), Some(row)) => {
                    changed.push((key, self.modified(cells, row)?));
                }
            }
        }
        self.delete(connection, &deleted, written).await?;
        self.put(connection, changed.iter().map(|(key, row)| (*key, row)), written).await
    }

    /// The stored rows on which the result of the changes depends.
    async fn held(
        &self,
        connection: &mut SqliteConnection,
        rows: &BTreeMap<Key, RowChange>,
    ) -> Result<BTreeMap<Key, Row>, StoreError> {
        let keys: Vec<&Key> = rows.iter().filter(|(_, change)| depends_on_row(change)).map(|(key, _)| key).collect();
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.read(connection, self.statements.read.clone(), values::rows(keys)).await
    }

    async fn read(
        &self,
        connection: &mut SqliteConnection,
        sql: String,
        given: String,
    ) -> Result<BTreeMap<Key, Row>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(given).fetch_all(connection).await;
        let rows = rows.and_then(|rows| rows.iter().map(|row| values::read(row, &self.spec)).collect());
        rows.map_err(at_rows(format!("reading table `{}`", self.spec.name())))
    }

    /// Deletes all rows.
    pub(super) async fn empty(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        self.run(connection, self.statements.empty.clone()).await
    }

    async fn run(&self, connection: &mut SqliteConnection, sql: String) -> Result<(), StoreError> {
        let done = sqlx::query(AssertSqlSafe(sql)).execute(connection).await;
        done.map(drop).map_err(at_rows(self.writing()))
    }

    /// Writes complete rows.
    pub(super) async fn put<'a>(
        &self,
        connection: &mut SqliteConnection,
        rows: impl ExactSizeIterator<Item = (&'a Key, &'a Row)>,
        written: &mut Written,
    ) -> Result<(), StoreError> {
        if rows.len() == 0 {
            return Ok(());
        }
        let given = values::rows(rows.map(|(key, row)| key.iter().chain(row)));
        written.rows += self.execute(connection, self.statements.write.clone(), given).await?;
        Ok(())
    }

    /// Deletes the rows whose keys begin with one of `parents`.
    async fn clear(
        &self,
        connection: &mut SqliteConnection,
        parents: &BTreeSet<Key>,
        own: &mut Changed,
        written: &mut Written,
    ) -> Result<(), StoreError> {
        for length in 1..self.spec.key_columns().len() {
            let parents: Vec<&Key> = parents.iter().filter(|parent| parent.len() == length).collect();
            if parents.is_empty() || self.referenced.is_none() {
                self.delete(connection, &parents, written).await?;
                continue;
            }
            let take = self.statements.take(&self.spec, &self.spec.key_columns()[..length]);
            let taken = self.read(connection, take, values::rows(parents)).await?;
            written.rows += taken.len() as u64;
            own.keys.extend(taken.into_keys());
        }
        Ok(())
    }

    /// Deletes the rows whose keys begin with one of `keys`, which all have the same length.
    async fn delete(
        &self,
        connection: &mut SqliteConnection,
        keys: &[&Key],
        written: &mut Written,
    ) -> Result<(), StoreError> {
        if let Some(first) = keys.first() {
            let delete = self.statements.delete(&self.spec.key_columns()[..first.len()]);
            written.rows += self.execute(connection, delete, values::rows(keys.iter().copied())).await?;
        }
        Ok(())
    }

    async fn execute(&self, connection: &mut SqliteConnection, sql: String, given: String) -> Result<u64, StoreError> {
        let done = sqlx::query(AssertSqlSafe(sql)).bind(given).execute(connection).await;
        Ok(done.map_err(at_rows(self.writing()))?.rows_affected())
    }

    fn created(&self, cells: &Cells) -> Result<Row, StoreError> {
        cells.create(&self.spec).ok_or_else(|| self.out_of_range())
    }

    fn modified(&self, cells: &Cells, row: &Row) -> Result<Row, StoreError> {
        cells.modify(row, &self.spec).ok_or_else(|| self.out_of_range())
    }

    fn out_of_range(&self) -> StoreError {
        StoreError::Unstorable { doing: self.writing(), reason: "a number is out of its column's range".into() }
    }

    fn writing(&self) -> String {
        format!("writing table `{}`", self.spec.name())
    }
}

/// Whether the result of a change depends on the stored row. A change that sets every cell does not.
fn depends_on_row(change: &RowChange) -> bool {
    match change {
        RowChange::Delete => false,
        RowChange::Update(_) => true,
        RowChange::Upsert(cells) => cells.full_row().is_none(),
    }
}
