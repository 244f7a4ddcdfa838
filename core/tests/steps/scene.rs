//! Random steps. One scene has one table and few of its columns, so that many changes affect the same cell.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use readcast_core::{Column, ColumnType, Presence, TableSpec, Value};

use super::values::{Numbers, json, key_values, present, value};
use super::{Step, TABLES, Write};

/// At most `most` steps of every kind.
pub(crate) fn steps(numbers: Numbers, most: usize) -> impl Strategy<Value = Vec<Step>> {
    let scene = any_table().prop_flat_map(move |table| {
        let columns =
            subsequence(table.data_columns().iter().collect::<Vec<_>>(), 1..=table.data_columns().len().min(3));
        columns.prop_map(move |columns| Scene { table, columns, numbers })
    });
    scene.prop_flat_map(move |scene| vec(scene.step(), 0..=most))
}

/// At most `most` steps that always compose: each column has one kind of operation, and no step is an update.
pub(crate) fn composable_steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    any_table().prop_flat_map(move |table| {
        let scene = Scene { table, columns: table.data_columns().iter().collect(), numbers: Numbers::Small };
        let required = scene.required_newer().unwrap_or_else(|| scene.required_set());
        let upsert = scene.upsert(required, own_operation(scene.columns.clone()));
        vec(prop_oneof![6 => upsert, 1 => scene.delete()], 1..=most)
    })
}

/// At most `most` steps in any order: sums, extrema, and `newer` with values that depend only on its time.
pub(crate) fn commuting_steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let table = &TABLES[0];
    let columns: Vec<_> = table.data_columns().iter().filter(|column| column.name() != "label").collect();
    let plain = columns.iter().copied().filter(|column| column.column_type() != ColumnType::Json).collect();
    let newer = (0..5_u8, 0..3_u8).prop_map(|(at, tie)| {
        let cells = vec![("blob", vec![at, tie].into())];
        Write::Newer(super::time(at.into()).into(), i32::from(tie).into(), cells)
    });
    let scene = Scene { table, columns, numbers: Numbers::Small };
    let label = Just(vec![Write::Set("label", "a".into())]).boxed();
    vec(scene.upsert(label, prop_oneof![3 => own_operation(plain), 1 => newer].boxed()), 1..=most)
}

fn any_table() -> impl Strategy<Value = &'static TableSpec> {
    select(TABLES.iter().collect::<Vec<_>>())
}

#[derive(Clone, Debug)]
struct Scene {
    table: &'static TableSpec,
    /// The data columns to write besides the required ones.
    columns: Vec<&'static Column>,
    numbers: Numbers,
}

impl Scene {
    fn step(&self) -> BoxedStrategy<Step> {
        let keyed = prop_oneof![
            6 => self.upsert(self.required(), self.write()),
            3 => self.update(),
            2 => self.delete(),
            1 => self.update_where(),
        ];
        match self.table.key_columns().len() {
            1 => keyed.boxed(),
            _ => prop_oneof![4 => keyed, 1 => self.replace_children()].boxed(),
        }
    }

    fn upsert(
        &self,
        required: BoxedStrategy<Vec<Write>>,
        write: BoxedStrategy<Write>,
    ) -> impl Strategy<Value = Step> + use<> {
        let table = self.table.name();
        (self.key(), required, vec(write, 0..4))
            .prop_map(move |(key, required, writes)| Step::Upsert(table, key, [required, writes].concat()))
    }

    fn update(&self) -> impl Strategy<Value = Step> + use<> {
        let table = self.table.name();
        (self.key(), vec(self.write(), 0..4)).prop_map(move |(key, writes)| Step::Update(table, key, writes))
    }

    fn delete(&self) -> impl Strategy<Value = Step> + use<> {
        let table = self.table.name();
        self.key().prop_map(move |key| Step::Delete(table, key))
    }

    fn update_where(&self) -> impl Strategy<Value = Step> + use<> {
        let (table, numbers) = (self.table.name(), self.numbers);
        // JSON columns can't select rows.
        let columns: Vec<_> =
            self.table.data_columns().iter().filter(|column| column.column_type() != ColumnType::Json).collect();
        let found_by = select(columns).prop_flat_map(move |column| (Just(column.name()), value(column, numbers)));
        (found_by, vec(self.write(), 0..4))
            .prop_map(move |((column, value), writes)| Step::UpdateWhere(table, column, value, writes))
    }

    fn replace_children(&self) -> impl Strategy<Value = Step> + use<> {
        let (table, numbers) = (self.table, self.numbers);
        (1..table.key_columns().len()).prop_flat_map(move |parent_len| {
            let (parent, rest) = table.key_columns().split_at(parent_len);
            let data: Vec<_> = table.data_columns().iter().map(|column| value(column, numbers)).collect();
            let row = (key_values(rest), data).prop_map(|(key, data)| [key, data].concat());
            (key_values(parent), vec(row, 0..3))
                .prop_map(move |(parent, rows)| Step::ReplaceChildren(table.name(), parent, rows))
        })
    }

    fn key(&self) -> impl Strategy<Value = Vec<Value>> + use<> {
        key_values(self.table.key_columns())
    }

    fn write(&self) -> BoxedStrategy<Write> {
        let numbers = self.numbers;
        let one = select(self.columns.clone()).prop_flat_map(move |column| operation(column, numbers));
        let Some(by) = newer_by(self.table) else { return one.boxed() };
        let others: Vec<_> = self.columns.iter().copied().filter(|column| ![by.0, by.1].contains(column)).collect();
        let most = others.len().min(2);
        let some = subsequence(others, 0..=most).prop_flat_map(move |others| newer(by, others, numbers));
        prop_oneof![3 => one, 1 => some].boxed()
    }

    /// The writes that creating a row requires: plain, or as one `newer` group if its columns are required.
    fn required(&self) -> BoxedStrategy<Vec<Write>> {
        match self.required_newer() {
            Some(newer) => prop_oneof![self.required_set(), newer].boxed(),
            None => self.required_set(),
        }
    }

    fn required_set(&self) -> BoxedStrategy<Vec<Write>> {
        let numbers = self.numbers;
        let set = |column: &'static Column| value(column, numbers).prop_map(|value| Write::Set(column.name(), value));
        required_columns(self.table).map(set).collect::<Vec<_>>().boxed()
    }

    fn required_newer(&self) -> Option<BoxedStrategy<Vec<Write>>> {
        let by = newer_by(self.table).filter(|(at, _)| *at.presence() == Presence::Required)?;
        let others = required_columns(self.table).filter(|column| ![by.0, by.1].contains(column)).collect();
        Some(newer(by, others, self.numbers).prop_map(|newer| vec![newer]).boxed())
    }
}

fn required_columns(table: &'static TableSpec) -> impl Iterator<Item = &'static Column> {
    table.data_columns().iter().filter(|column| *column.presence() == Presence::Required)
}

fn newer_by(table: &'static TableSpec) -> Option<(&'static Column, &'static Column)> {
    table.newer_columns().map(|(at, tie)| (&table.data_columns()[at], &table.data_columns()[tie]))
}

fn newer(
    (at, tie): (&'static Column, &'static Column),
    others: Vec<&'static Column>,
    numbers: Numbers,
) -> impl Strategy<Value = Write> {
    let cells: Vec<_> = others.into_iter().map(|column| (Just(column.name()), value(column, numbers))).collect();
    (present(at, Numbers::Small), present(tie, Numbers::Small), cells)
        .prop_map(|(at, tie, cells)| Write::Newer(at, tie, cells))
}

fn operation(column: &'static Column, numbers: Numbers) -> BoxedStrategy<Write> {
    let name = column.name();
    let set = value(column, numbers).prop_map(move |value| Write::Set(name, value));
    let max = present(column, numbers).prop_map(move |value| Write::Max(name, value));
    let min = present(column, numbers).prop_map(move |value| Write::Min(name, value));
    let add = present(column, numbers).prop_map(move |value| Write::Add(name, value));
    match column.column_type() {
        ColumnType::Json => prop_oneof![set, json().prop_map(move |item| Write::Append(name, item))].boxed(),
        ColumnType::I32 | ColumnType::I64 | ColumnType::Decimal { .. } => {
            prop_oneof![1 => set, 1 => max, 1 => min, 3 => add].boxed()
        }
        _ => prop_oneof![set, max, min].boxed(),
    }
}

/// A write with the one kind of operation that its column has in a scene where all steps compose.
fn own_operation(columns: Vec<&'static Column>) -> BoxedStrategy<Write> {
    let owns = |column: &&Column| !["at", "tie", "state", "blob"].contains(&column.name());
    let write = |column: &'static Column| {
        let name = column.name();
        let write: fn(&'static str, Value) -> Write = match name {
            "label" | "price" => Write::Set,
            "small" | "seen" => Write::Max,
            "paid" => Write::Min,
            _ => Write::Add,
        };
        match column.column_type() {
            ColumnType::Json => json().prop_map(move |item| Write::Append(name, item)).boxed(),
            _ => present(column, Numbers::Small).prop_map(move |value| write(name, value)).boxed(),
        }
    };
    select(columns.into_iter().filter(owns).collect::<Vec<_>>()).prop_flat_map(write).boxed()
}
