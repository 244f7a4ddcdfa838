//! Writes rows. The new rows are computed in Rust, by the code of the reference model, because SQLite can't add
//! decimals. One statement reads the rows that a segment changes, and one writes them back.

use std::collections::{BTreeMap, BTreeSet};

use readcast_core::{Cells, Key, Row, RowChange, Segment, TableSpec};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::connection::at_rows;
use super::sql::Statements;
use super::values;
use crate::store::{Generation, StoreError, Written};

/// Writes one physical table. Its methods run in a transaction.
pub(super) struct Table {
    spec: TableSpec,
    statements: Statements,
}

impl Table {
    pub(super) fn new(spec: &TableSpec, generation: Generation) -> Self {
        Self { spec: spec.clone(), statements: Statements::new(spec, generation) }
    }

    /// Writes one segment, and adds the numbers of rows to `written`.
    pub(super) async fn write(
        &self,
        connection: &mut SqliteConnection,
        segment: &Segment,
        written: &mut Written,
    ) -> Result<(), StoreError> {
        match segment {
            Segment::Rows { cleared, rows } => {
                self.clear(connection, cleared, written).await?;
                self.change(connection, rows, written).await
            }
            Segment::Where { column, value, cells } => {
                let find = self.statements.find(&self.spec, &self.spec.data_columns()[*column]);
                let found = self.read(connection, find, values::one(value)).await?;
                let changed = found.into_iter().map(|(key, row)| Ok((key, self.modified(cells, &row)?)));
                let changed: Vec<(Key, Row)> = changed.collect::<Result<_, StoreError>>()?;
                self.put(connection, changed.iter().map(|(key, row)| (key, row)), written).await
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
        let done = sqlx::query(AssertSqlSafe(self.statements.empty.clone())).execute(connection).await;
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
        written: &mut Written,
    ) -> Result<(), StoreError> {
        for length in 1..self.spec.key_columns().len() {
            let parents: Vec<&Key> = parents.iter().filter(|parent| parent.len() == length).collect();
            self.delete(connection, &parents, written).await?;
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
