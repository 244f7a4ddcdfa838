//! A reference of a physical table, and the statements that keep the copies equal to the referenced rows.

use std::borrow::Cow;

use readcast_core::{Column, Key, Link, TableSpec, Value};
use sqlx::PgConnection;

use super::super::sql::{self, quoted};
use super::super::statement::{Array, Statement, held_key, incoming, matches};
use super::Table;
use crate::store::references::Changed;
use crate::store::{Generation, StoreError};

/// A reference of a physical table.
pub(in super::super) struct Source {
    spec: TableSpec,
    /// The name of the referenced table in SQL.
    physical: String,
    link: Link,
}

impl Source {
    pub(super) fn new(link: &Link, specs: &[TableSpec], generation: Generation) -> Self {
        let spec = specs[link.referenced].clone();
        Self { physical: sql::physical(&spec, generation), spec, link: link.clone() }
    }

    /// The index of the referenced table among the projection's tables.
    pub(in super::super) fn referenced(&self) -> usize {
        self.link.referenced
    }

    /// The indexes of the referencing columns among all columns, in the order of the referenced table's key.
    pub(in super::super) fn columns(&self) -> &[usize] {
        &self.link.columns
    }

    /// SQL that joins the referenced row as `alias`. `operands` are the SQL of the referencing columns' values.
    pub(in super::super) fn join(&self, alias: &str, operands: &[String]) -> String {
        let key = self.spec.key_columns().iter().zip(operands);
        let on: Vec<_> =
            key.map(|(column, operand)| format!("{alias}.{} = {operand}", quoted(column.name()))).collect();
        format!(" LEFT JOIN {} AS {alias} ON {}", self.physical, on.join(" AND "))
    }

    /// Each copied column of `table`, with the SQL of its value in the joined row `alias`.
    pub(in super::super) fn copies<'a>(
        &'a self,
        table: &'a TableSpec,
        alias: &str,
    ) -> impl Iterator<Item = (&'a Column, String)> {
        self.link.copies.iter().map(move |(source, own)| {
            let source = quoted(self.spec.data_columns()[*source].name());
            (&table.data_columns()[*own], format!("{alias}.{source}"))
        })
    }

    /// Whether one of the copied columns is among these data columns.
    pub(super) fn copies_any(&self, columns: &[bool]) -> bool {
        self.link.copies.iter().any(|(_, own)| columns[*own])
    }

    /// The keys of the rows that name one of the changed rows.
    pub(super) async fn referring(
        &self,
        connection: &mut PgConnection,
        table: &Table,
        changed: &Changed,
    ) -> Result<Vec<Key>, StoreError> {
        let Some((arrays, found)) = self.naming(&table.spec, changed) else { return Ok(Vec::new()) };
        let key = held_key(&table.spec);
        let text = format!("SELECT {key} FROM {}, {} AS held WHERE {found}", incoming(&arrays), table.physical);
        Statement { text, arrays }.run_for_keys(connection, &table.spec).await
    }

    /// Copies the values of the changed rows to all rows that name them. Returns the keys of the rows that this changed.
    pub(super) async fn refresh(
        &self,
        connection: &mut PgConnection,
        table: &Table,
        changed: &Changed,
    ) -> Result<Vec<Key>, StoreError> {
        let Some((arrays, found)) = self.naming(&table.spec, changed) else { return Ok(Vec::new()) };
        let (sets, _) = self.copying(&table.spec);
        let (joins, differ) = self.refreshing(&table.spec);
        let text = format!(
            "UPDATE {} AS held SET {sets} FROM {}{joins} WHERE {found} AND ({differ}) RETURNING {}",
            table.physical,
            incoming(&arrays),
            held_key(&table.spec),
        );
        Statement { text, arrays }.run_for_keys(connection, &table.spec).await
    }

    /// SQL that joins the referenced rows whose keys are `new`, and the condition that a row `held` differs from its own.
    pub(in super::super) fn refreshing(&self, table: &TableSpec) -> (String, String) {
        let operands: Vec<String> = (0..self.link.columns.len()).map(|place| format!("new.i{place}")).collect();
        let (_, differ) = self.copying(table);
        (self.join("source", &operands), differ)
    }

    /// Makes the copies in all rows equal to the referenced rows.
    pub(super) async fn fill(&self, connection: &mut PgConnection, table: &Table) -> Result<(), StoreError> {
        let named = |place: &usize| format!("own.{}", quoted(table.spec.columns()[*place].name()));
        let operands: Vec<String> = self.columns().iter().map(named).collect();
        let (sets, differ) = self.copying(&table.spec);
        let text = format!(
            "UPDATE {physical} AS held SET {sets} FROM {physical} AS own{} WHERE own.ctid = held.ctid AND ({differ})",
            self.join("source", &operands),
            physical = table.physical,
        );
        Statement { text, arrays: Vec::new() }.run(connection, &table.spec).await.map(drop)
    }

    /// SQL that copies the values of the joined row `source`, and the condition that this changes something.
    fn copying(&self, table: &TableSpec) -> (String, String) {
        let copies = self.copies(table, "source").map(|(column, value)| {
            let name = quoted(column.name());
            (format!("{name} = {value}"), format!("held.{name} IS DISTINCT FROM {value}"))
        });
        let (sets, differ): (Vec<_>, Vec<_>) = copies.unzip();
        (sets.join(", "), differ.join(" OR "))
    }

    /// The changed keys as values of the referencing columns, with the condition that a row `held` names one of them. `None`
    /// if no row changes.
    fn naming<'a>(&self, table: &'a TableSpec, changed: &'a Changed) -> Option<(Vec<Array<'a>>, String)> {
        let arrays = (!changed.keys.is_empty()).then(|| self.named(table, changed))?;
        let found = matches(&arrays);
        Some((arrays, found))
    }

    /// The changed keys as values of the referencing columns.
    pub(in super::super) fn named<'a>(&self, table: &'a TableSpec, changed: &'a Changed) -> Vec<Array<'a>> {
        let keys: Vec<&Key> = changed.keys.iter().collect();
        let columns = self.link.columns.iter().enumerate();
        let array = |(place, column): (usize, &usize)| Array {
            column: &table.columns()[*column],
            values: keys.iter().map(|key| Cow::Borrowed(&key[place])).collect::<Vec<Cow<'a, Value>>>(),
        };
        columns.map(array).collect()
    }
}
