//! Locks the rows of a table in the order of their keys, before several statements write them.

use std::collections::BTreeSet;

use readcast_core::{Key, TableSpec};
use sqlx::PgConnection;

use super::target::{NewRow, Target};
use super::{Part, Rows};
use crate::store::postgres::sql::{column_list, quoted};
use crate::store::postgres::statement::{Array, Statement, held_key, incoming_from, key_arrays, key_order, matches};
use crate::store::postgres::tables::Table;
use crate::store::references::Changed;
use crate::store::{StoreError, Written};

/// The keys of the rows that a commit has locked, and of those that it creates later.
pub(super) type Reserved = BTreeSet<Key>;

/// Locks every row that the parts and the copies of `referenced` rows change, and creates the missing rows of the first
/// part. Rows that this creates are complete, and are removed from the part. So are changes of rows that do not exist: if
/// another transaction creates them from now on, that comes after this one.
///
/// One INSERT does both in the order of the keys. A row that exists is a conflict, which locks it and, because the
/// condition is false, leaves it as it is.
pub(super) async fn reserve(
    connection: &mut PgConnection,
    table: &Table,
    parts: &mut [Part<'_>],
    referenced: &[Changed],
    written: &mut Written,
) -> Result<Reserved, StoreError> {
    let spec = &table.spec;
    let creatable = creatable(table, parts);
    let creatable_keys: BTreeSet<&Key> = creatable.iter().map(|(key, _)| *key).collect();
    let (mut selects, mut arrays) = (Vec::new(), Vec::new());
    if !creatable.is_empty() {
        let (select, of_rows) = Target::of(table).new_rows(&creatable);
        selects.push(format!("SELECT *, 0 FROM ({select}) AS created"));
        arrays = of_rows;
    }
    let existing = existing(table, parts, referenced, &creatable_keys);
    for FoundBy { values, joins, condition } in existing.into_iter().filter(|found_by| !found_by.values.is_empty()) {
        let (new, found) = (incoming_from(arrays.len(), &values), matches(&values));
        let columns = spec.columns().iter().map(|column| format!("held.{}", quoted(column.name())));
        let columns = columns.collect::<Vec<_>>().join(", ");
        let held = &table.physical;
        selects.push(format!("SELECT {columns}, 1 FROM {new}{joins}, {held} AS held WHERE {found}{condition}"));
        arrays.extend(values);
    }
    let text = statement(table, &selects.join(" UNION ALL "));
    let keys = Statement { text, arrays }.run_for_flagged_keys(connection, spec).await?;
    let (inserted, reserved): (Vec<_>, Vec<_>) = keys.into_iter().partition(|(_, is_inserted)| *is_inserted);
    let (created, revived): (Reserved, Reserved) =
        inserted.into_iter().map(|(key, _)| key).partition(|key| creatable_keys.contains(key));
    let mut reserved: Reserved = reserved.into_iter().map(|(key, _)| key).collect();
    reserved.retain(|key| !revived.contains(key));
    written.rows += created.len() as u64;
    delete_revived(connection, table, &revived).await?;
    if let Some(Part::Rows(rows)) = parts.first_mut() {
        written.missed += rows.keep(&reserved, &created);
    }
    reserved.extend(parts.iter().flat_map(created_later).cloned());
    Ok(reserved)
}

/// The INSERT of the rows that `selects` returns. It returns each key, and once more with `true` if it was inserted.
fn statement(table: &Table, selects: &str) -> String {
    let spec = &table.spec;
    let (columns, key) = (column_list(spec.columns()), column_list(spec.key_columns()));
    // No column has a name like this one. A row to create comes before the same row as it is.
    const RANK: &str = "\"0\"";
    let order = key_order(spec, "found");
    let first_key = quoted(spec.key_columns()[0].name());
    format!(
        "WITH reserved AS MATERIALIZED (
             SELECT DISTINCT ON ({order}) {columns} FROM ({selects}) AS found({columns}, {RANK})
             ORDER BY {order}, found.{RANK}),
         inserted AS (
             INSERT INTO {} AS held ({columns}) SELECT {columns} FROM reserved
             ON CONFLICT ({key}) DO UPDATE SET {first_key} = held.{first_key} WHERE false RETURNING {})
         SELECT {key}, false FROM reserved UNION ALL SELECT {key}, true FROM inserted",
        table.physical,
        held_key(spec),
    )
}

/// Another transaction deleted these rows after the statement had read them, so the INSERT has brought them back.
async fn delete_revived(connection: &mut PgConnection, table: &Table, revived: &Reserved) -> Result<(), StoreError> {
    if revived.is_empty() {
        return Ok(());
    }
    let keys: Vec<&Key> = revived.iter().collect();
    Target::of(table).delete(&keys).run(connection, &table.spec).await.map(drop)
}

/// The rows that the first part creates where they are missing, in the order of their keys. Later parts may depend on the
/// ones before them. A change that can't create a row, because a number is out of range, may still apply to one.
fn creatable<'a>(table: &'a Table, parts: &[Part<'a>]) -> Vec<NewRow<'a>> {
    let Some(Part::Rows(rows)) = parts.first() else { return Vec::new() };
    let creating = rows.changed.iter().filter(|(shape, _)| !shape.existing_only);
    let target = Target::of(table);
    let mut creatable: Vec<NewRow<'a>> =
        creating.flat_map(|(_, rows)| rows.iter().filter_map(|row| target.created(*row))).collect();
    creatable.sort_by_key(|(key, _)| *key);
    creatable
}

/// What finds rows: values of columns that such a row has, and a condition on the row and on what is joined.
struct FoundBy<'a> {
    values: Vec<Array<'a>>,
    joins: String,
    condition: String,
}

impl<'a> FoundBy<'a> {
    fn values(values: Vec<Array<'a>>) -> Self {
        Self { values, joins: String::new(), condition: String::new() }
    }
}

/// What finds the other rows.
fn existing<'a>(
    table: &'a Table,
    parts: &[Part<'a>],
    referenced: &'a [Changed],
    created: &BTreeSet<&Key>,
) -> Vec<FoundBy<'a>> {
    let spec: &TableSpec = &table.spec;
    let mut found_by = Vec::new();
    let mut keys = BTreeSet::new();
    for part in parts {
        match part {
            Part::Rows(rows) => {
                keys.extend(keys_of(rows).filter(|key| !created.contains(key)));
                found_by.extend(rows.cleared.iter().map(|parents| FoundBy::values(key_arrays(spec, parents))));
            }
            Part::Where { column, value, .. } => {
                found_by.push(FoundBy::values(vec![Array::of_one(&spec.data_columns()[*column], value)]));
            }
        }
    }
    found_by.push(FoundBy::values(key_arrays(spec, &keys.into_iter().collect::<Vec<_>>())));
    let refreshing = table.sources.iter().map(|source| (source, &referenced[source.referenced()]));
    found_by.extend(refreshing.filter(|(_, changed)| !changed.keys.is_empty()).map(|(source, changed)| {
        let (joins, differ) = source.refreshing(spec);
        FoundBy { values: source.named(spec, changed), joins, condition: format!(" AND ({differ})") }
    }));
    found_by
}

/// The keys of the rows that a part may create after the locks were taken.
fn created_later<'a>(part: &Part<'a>) -> Vec<&'a Key> {
    let Part::Rows(rows) = part else { return Vec::new() };
    let creating = rows.changed.iter().filter(|(shape, _)| !shape.existing_only).flat_map(|(_, rows)| rows);
    rows.new.iter().chain(creating).map(|(key, _)| *key).collect()
}

fn keys_of<'a>(rows: &Rows<'a>) -> impl Iterator<Item = &'a Key> {
    let changed = rows.changed.values().flatten().map(|(key, _)| *key);
    rows.deleted.iter().copied().chain(changed).collect::<Vec<_>>().into_iter()
}
