//! Tables as wide as they can be declared, with names as long as they can be: every statement has a place for each
//! column.

use std::sync::LazyLock;

use readcast::store::{
    BuildOptions, Commit, CommitOutcome, Comparison, Difference, DropOutcome, Generation, Load, Phase, Sample,
    SwapOutcome, row_stream,
};
use readcast_core::{Changes, Column, ColumnType, Json, Model, RowWriter, TableSpec, Timestamp, Uuid, Value};

use super::comparisons::{compare, only, sample};
use super::lane::{Lane, changes, definition, versioned};
use super::lifecycle::{begin, copied, empty};
use super::subject::{Subject, expected};
use super::values::Both;

/// How many columns of a table stand behind the first of its key, at most.
const REST: usize = TableSpec::MAX_COLUMNS - 1;

/// Column names of the greatest length.
static NAMES: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..REST).map(|place| padded(&format!("c{place}_"), 63)).collect());

fn padded(begin: &str, length: usize) -> String {
    format!("{begin}{}", "x".repeat(length - begin.len()))
}

fn name(place: usize) -> &'static str {
    &NAMES[place]
}

/// A table of the greatest width, its name of the greatest length; `declare` adds the columns behind its key.
fn widest(declare: impl Fn(TableSpec, usize) -> TableSpec) -> TableSpec {
    let table = TableSpec::new(padded("wide", TableSpec::MAX_NAME_BYTES)).key("id", ColumnType::Text);
    let table = (0..REST).fold(table, declare);
    assert_eq!(table.columns().len(), TableSpec::MAX_COLUMNS);
    table
}

/// A table of flags.
fn flags() -> TableSpec {
    widest(|table, place| table.nullable(name(place), ColumnType::Bool))
}

/// Numbers that are NULL at first, and numbers that are not, after the two columns that `newer` compares.
fn numbers() -> TableSpec {
    widest(|table, place| match place {
        0 => table.nullable(name(0), ColumnType::Timestamp),
        1 => table.nullable(name(1), ColumnType::I64),
        place if place % 2 == 0 => table.nullable(name(place), ColumnType::I32),
        place => table.with_default(name(place), ColumnType::I32, 5),
    })
    .newer_by(name(0), name(1))
    .index(NAMES[..TableSpec::MAX_INDEX_COLUMNS].iter().map(String::as_str))
    .index([name(REST - 1)])
}

fn time(second: u32) -> Value {
    format!("2024-05-20T14:30:{second:02}Z").parse::<Timestamp>().expect("a time").into()
}

/// A value for every column of [`numbers`] behind its key.
fn every_number(number: i32) -> impl Iterator<Item = (&'static str, Value)> {
    (0..REST).map(move |place| match place {
        0 => (name(0), time(1)),
        1 => (name(1), i64::from(number).into()),
        place => (name(place), (number + place as i32).into()),
    })
}

pub(super) async fn a_row_of_the_greatest_width_takes_every_operation(subject: &Subject) {
    let table = numbers();
    let of = table.name().to_owned();
    let mut both = Both::new(subject, table).await;
    both.write(|changes| {
        for id in ["a", "b"] {
            every_number(1).fold(changes.upsert(&of, [id]), |row, (column, value)| row.set(column, value));
        }
    })
    .await;
    // In rows that are there, and in one that is not.
    let every = |changes: &mut Changes<'_>, each: for<'r> fn(RowWriter<'r>, usize) -> RowWriter<'r>| {
        for id in ["a", "new"] {
            (2..REST).fold(changes.upsert(&of, [id]), each);
        }
        (2..REST).fold(changes.update(&of, ["b"]), each);
    };
    both.write(|changes| every(changes, |row, place| row.add(name(place), 3))).await;
    both.write(|changes| every(changes, |row, place| row.max(name(place), 800))).await;
    both.write(|changes| every(changes, |row, place| row.min(name(place), 400))).await;
    let newer = || (2..REST).map(|place| (name(place), Value::from(7)));
    both.write(|changes| {
        changes.upsert(&of, ["a"]).newer(time(2), 1_i64, newer());
        changes.upsert(&of, ["newer"]).newer(time(2), 1_i64, newer());
        changes.update(&of, ["b"]).newer(time(1), 0_i64, newer());
    })
    .await;
    both.write(|changes| {
        let row = changes.update_where(&of, name(REST - 1), 7);
        (2..REST).fold(row, |row, place| row.add(name(place), place as i32));
    })
    .await;
    both.write(|changes| {
        let row = changes.update_where(&of, name(REST - 1), REST as i32 + 6);
        every_number(9).fold(row, |row, (column, value)| row.set(column, value));
        changes.delete(&of, ["a"]);
    })
    .await;
    assert_eq!(both.model.rows(0).len(), 3);
}

pub(super) async fn a_row_of_the_greatest_width_takes_items(subject: &Subject) {
    // As many arrays as a row of Postgres's has room for.
    let table = widest(|table, place| match place % 6 {
        0 => table.nullable(name(place), ColumnType::Json),
        _ => table.nullable(name(place), ColumnType::Bool),
    });
    let of = table.name().to_owned();
    let mut both = Both::new(subject, table).await;
    for item in ["1", "{}"] {
        both.write(|changes| {
            for id in ["a", item] {
                let item = Json::parse(item).expect("JSON");
                let row = changes.upsert(&of, [id]).set(name(1), true);
                (0..REST).step_by(6).fold(row, |row, place| row.append(name(place), item.clone()));
            }
        })
        .await;
    }
}

pub(super) async fn children_of_the_greatest_width_are_replaced(subject: &Subject) {
    let table = widest(|table, place| match place {
        0 => table.key(name(0), ColumnType::I32),
        place => table.nullable(name(place), ColumnType::I32),
    });
    let of = table.name().to_owned();
    let mut both = Both::new(subject, table).await;
    let child = |line: i32| (0..REST).map(|place| (line + place as i32).into()).collect::<Vec<Value>>();
    for lines in [0..3, 2..5] {
        both.write(|changes| changes.replace_children(&of, ["parent"], lines.map(child))).await;
    }
    assert_eq!(both.model.rows(0).len(), 3);
}

pub(super) async fn rows_have_keys_of_the_greatest_width(subject: &Subject) {
    let key = |table: TableSpec, place: usize| table.key(name(place), ColumnType::Uuid);
    let keyed = (0..TableSpec::MAX_INDEX_COLUMNS).fold(TableSpec::new(padded("keyed", 48)), key);
    let table =
        (TableSpec::MAX_INDEX_COLUMNS..450).fold(keyed, |table, place| table.nullable(name(place), ColumnType::Text));
    let of = table.name().to_owned();
    let mut both = Both::new(subject, table).await;
    let key =
        |last: u128| (1..TableSpec::MAX_INDEX_COLUMNS as u128).chain([last]).map(Uuid::from_u128).collect::<Vec<_>>();
    for text in ["one", "other"] {
        both.write(|changes| {
            for last in 0..3 {
                let row = changes.upsert(&of, key(last));
                (TableSpec::MAX_INDEX_COLUMNS..450).fold(row, |row, place| row.set(name(place), text));
            }
            changes.delete(&of, key(1));
        })
        .await;
    }
}

pub(super) async fn a_generation_of_the_greatest_width_is_loaded_and_shown(subject: &Subject) {
    let table = numbers();
    let tables = [table.clone()];
    let definition = definition(tables.clone());
    let mut live = Lane::claim(subject, &definition).await;
    let rows = changes(&tables, |changes| {
        for id in ["a", "b"] {
            every_number(1).fold(changes.upsert(table.name(), [id]), |row, (column, value)| row.set(column, value));
        }
    });
    let mut model = Model::new(tables.to_vec());
    model.apply(&rows).expect("numbers in range");
    live.commit(rows).await.expect("rows");
    let mut begun = begin(subject, &definition, &BuildOptions { load: true, ..BuildOptions::default() }).await;
    let lane = Lane::feed(subject, &definition, begun.generation, 0).await;
    let (sink, rows) = row_stream();
    let sent: Vec<_> = model.rows(0).iter().map(|(key, row)| (key.clone(), row.clone())).collect();
    std::thread::spawn(move || {
        assert!(sink.send((0, sent)), "they are wanted");
        sink.end(Ok(()));
    });
    let commit = Commit { advances: vec![lane.advance()], ..Commit::default() };
    let load = Load { definition: &definition, generation: begun.generation, commit: &commit, rows };
    let loaded = begun.lead.load(load).await;
    assert!(matches!(&loaded, Ok(CommitOutcome::Applied(written)) if written.rows == 2), "{loaded:?}");
    begun.lead.enter(begun.generation, Phase::Index).await.expect("a phase");
    begun.lead.index(&definition, begun.generation).await.expect("indexes");
    let proof = compare(subject, &mut begun).await.expect("both are at the same place");
    assert!(proof.is_equal(), "{}", told(&proof));
    begun.lead.proven(begun.generation, &proof).await.expect("it is recorded");
    let swap_impact = subject.store.swap_impact(&subject.generation(Generation(1)).await, &definition).await;
    assert!(swap_impact.expect("a look around").incompatible.is_empty());
    assert_eq!(begun.swap(subject, Generation(1), begun.generation).await, Ok(SwapOutcome::Done));
    assert_eq!(subject.store.alterations(&definition, begun.generation).await, Ok(vec![]));
    assert_eq!(subject.rows(&table).await, expected(&model, 0, &table));
    let peek = subject.store.peek(&table, 1).await.expect("a look");
    assert_eq!((peek.count, peek.rows[0].len()), (2, TableSpec::MAX_COLUMNS));
    let old = subject.generation(Generation(1)).await;
    begun.lead.end(old.generation, None).await.expect("an end");
    assert_eq!(
        begun.lead.drop_tables(&subject.generation(Generation(1)).await).await,
        Ok(DropOutcome::Done(Vec::new()))
    );
}

fn told(comparison: &Comparison) -> String {
    comparison.tables.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Two rows of flags in the live generation, and a copy of them.
async fn copy_of_flags(subject: &Subject, next: TableSpec) -> super::lifecycle::Begun {
    let tables = [flags()];
    let mut lane = Lane::claim(subject, &definition(tables.clone())).await;
    let rows = changes(&tables, |changes| {
        for id in ["a", "b", "c"] {
            let row = changes.upsert(tables[0].name(), [id]);
            (0..REST).fold(row, |row, place| row.set(name(place), place % 3 == 0));
        }
    });
    assert!(matches!(lane.commit(rows).await, Ok(CommitOutcome::Applied(_))));
    begin(subject, &versioned(if next == tables[0] { 1 } else { 2 }, [next]), &copied(&[])).await
}

pub(super) async fn rows_of_the_greatest_width_that_differ_are_named(subject: &Subject) {
    let mut begun = copy_of_flags(subject, flags()).await;
    let same = only(compare(subject, &mut begun).await);
    assert_eq!((same.differences(), same.compared.len()), (0, TableSpec::MAX_COLUMNS));
    let (live, other) = (subject.physical(&flags()), subject.physical_of(&flags(), begun.generation));
    let (first, last) = (name(0), name(REST - 1));
    let all: Vec<_> = NAMES.iter().map(|column| format!("{column} = NULL")).collect();
    for change in [
        format!("UPDATE {live} SET {first} = NULL, {last} = NULL WHERE id = 'a'"),
        format!("UPDATE {other} SET {} WHERE id = 'b'", all.join(", ")),
        format!("DELETE FROM {live} WHERE id = 'c'"),
        format!("INSERT INTO {live} (id) VALUES ('d')"),
        format!("INSERT INTO {live} (id) VALUES ('e')"),
        format!("INSERT INTO {other} (id) VALUES ('e')"),
    ] {
        subject.execute(&change).await;
    }
    let differs = only(compare(subject, &mut begun).await);
    assert_eq!((differs.only_live, differs.only_other, differs.changed), (1, 1, 2));
    let changed = |names: &[&str]| Difference::Changed(names.iter().map(|name| (*name).to_owned()).collect());
    let everything: Vec<&str> = NAMES.iter().map(String::as_str).collect();
    assert_eq!(
        differs.samples,
        [
            sample("a", changed(&[first, last])),
            sample("b", changed(&everything)),
            sample("c", Difference::OnlyOther),
            sample("d", Difference::OnlyLive),
        ]
    );
    let objections = Comparison { at: Vec::new(), tables: vec![differs] }.objections(true, 0);
    assert_eq!(objections.len(), 1, "{objections:?}");
}

pub(super) async fn columns_of_wide_tables_that_came_or_went_are_not_compared(subject: &Subject) {
    // Of the columns that both have, one stands elsewhere and one has another type.
    let table = TableSpec::new(flags().name()).key("id", ColumnType::Text).nullable("came", ColumnType::I32);
    let kept = |column: &&Column| column.name() != name(7);
    let next = flags().data_columns().iter().filter(kept).fold(table, |table, column| match column.name() {
        retyped if retyped == name(9) => table.nullable(retyped, ColumnType::I32),
        name => table.nullable(name, ColumnType::Bool),
    });
    let tables = [flags()];
    let mut lane = Lane::claim(subject, &definition(tables.clone())).await;
    let row = |value: bool, id: &'static str| {
        changes(&tables, |changes| {
            let row = changes.upsert(tables[0].name(), [id]);
            (0..REST).fold(row, |row, place| row.set(name(place), value));
        })
    };
    lane.commit(row(true, "a")).await.expect("a row");
    let definition = versioned(2, [next.clone()]);
    let mut begun = begin(subject, &definition, &empty()).await;
    let mut built = Lane::feed(subject, &definition, begun.generation, 0).await;
    let same = changes(std::slice::from_ref(&next), |changes| {
        let row = changes.upsert(next.name(), ["a"]);
        (0..REST).filter(|place| ![7, 9].contains(place)).fold(row, |row, place| row.set(name(place), true));
    });
    built.commit(same).await.expect("a row");
    let same = only(compare(subject, &mut begun).await);
    assert_eq!((same.differences(), same.compared.len()), (0, TableSpec::MAX_COLUMNS - 2));
    let other = subject.physical_of(&next, begun.generation);
    subject.execute(&format!("UPDATE {other} SET {} = NULL", name(1000))).await;
    let differs = only(compare(subject, &mut begun).await);
    assert_eq!(differs.samples, [sample("a", Difference::Changed(vec![name(1000).into()]))]);
}

pub(super) async fn a_copy_of_the_greatest_width_goes_on(subject: &Subject) {
    // The copy has an index more, and one column in the place of another.
    let mut next = TableSpec::new(flags().name()).key("id", ColumnType::Text);
    for place in 0..REST {
        next = match place {
            3 => next.with_default("came", ColumnType::I32, 1),
            place => next.nullable(name(place), ColumnType::Bool),
        };
    }
    let next = next.index([name(0)]);
    let mut begun = copy_of_flags(subject, next.clone()).await;
    begun.lead.index(&versioned(2, [next.clone()]), begun.generation).await.expect("indexes");
    let same = only(compare(subject, &mut begun).await);
    assert_eq!((same.changed, same.live_rows, same.other_rows), (0, Some(3), Some(3)));
    begun.ready().await;
    assert_eq!(begun.swap(subject, Generation(1), begun.generation).await, Ok(SwapOutcome::Done));
    assert_eq!(subject.rows(&next).await.len(), 3);
}

pub(super) async fn a_sample_names_keys_of_every_length(subject: &Subject) {
    let table = TableSpec::new("keyed")
        .key("id", ColumnType::Text)
        .key("at", ColumnType::Timestamp)
        .nullable("n", ColumnType::I32);
    let tables = [table.clone()];
    let definition = definition(tables.clone());
    let mut lane = Lane::claim(subject, &definition).await;
    let long = "ключ'\\".repeat(200);
    let rows = changes(&tables, |changes| {
        changes.upsert("keyed", [long.as_str().into(), time(1)]).set("n", 1);
        changes.upsert("keyed", ["".into(), time(1)]).set("n", 1);
    });
    lane.commit(rows).await.expect("rows");
    let mut begun = begin(subject, &definition, &copied(&[])).await;
    subject.execute(&format!("UPDATE {} SET n = NULL", subject.physical(&table))).await;
    let differs = only(compare(subject, &mut begun).await);
    let of = |key: &str| Sample {
        key: vec![key.into(), time(1).to_string()],
        difference: Difference::Changed(vec!["n".into()]),
    };
    assert_eq!(differs.samples, [of(""), of(&long)]);
}

pub(super) async fn the_largest_row_that_can_be_declared_is_stored(subject: &Subject) {
    let column_type = |place: usize| if place.is_multiple_of(2) { ColumnType::I64 } else { ColumnType::Bool };
    let value = |place: usize| if place.is_multiple_of(2) { Value::I64(-1) } else { Value::Bool(true) };
    let required = |columns: usize| {
        let key = TableSpec::new("required").key("id", ColumnType::I64);
        (1..columns).fold(key, |table, place| table.column(name(place), column_type(place)))
    };
    let nullable = |columns: usize| {
        let key = TableSpec::new("nullable").key("id", ColumnType::I64);
        (1..columns).fold(key, |table, place| table.nullable(name(place), column_type(place)))
    };
    let largest = |table: &dyn Fn(usize) -> TableSpec| {
        let columns = (1..REST).take_while(|columns| table(*columns).validate().is_ok()).last();
        table(columns.expect("a table of one column can be declared"))
    };
    let tables = [largest(&required), largest(&nullable)];
    let mut lane = Lane::claim(subject, &definition(tables.clone())).await;
    let rows = changes(&tables, |changes| {
        for (table, id) in [("required", 1_i64), ("nullable", 1), ("nullable", 2)] {
            let columns = tables.iter().find(|other| other.name() == table).expect("it is there").columns().len();
            let row = (1..columns).fold(changes.upsert(table, [id]), |row, place| row.set(name(place), value(place)));
            // One NULL in it makes a row larger: it has a bit for each column then.
            if id == 2 {
                row.set(name(1), Value::Null);
            }
        }
    });
    let mut model = Model::new(tables.to_vec());
    model.apply(&rows).expect("numbers in range");
    let committed = lane.commit(rows).await;
    assert!(matches!(committed, Ok(CommitOutcome::Applied(_))), "{committed:?}");
    for (index, table) in tables.iter().enumerate() {
        assert_eq!(subject.rows(table).await, expected(&model, index, table));
    }
}

pub(super) async fn a_row_of_as_many_doubles_as_fit_is_kept(subject: &Subject) {
    const DOUBLES: usize = 900;
    let key = TableSpec::new("doubles").key("id", ColumnType::I32);
    let table = (0..DOUBLES).fold(key, |table, place| table.nullable(name(place), ColumnType::F64));
    let mut both = Both::new(subject, table).await;
    for number in [0.1, -5e-324] {
        both.write(|changes| {
            let row = changes.upsert("doubles", [1]);
            (0..DOUBLES).fold(row, |row, place| row.set(name(place), number * (place + 1) as f64));
        })
        .await;
    }
    both.write(|changes| {
        let row = changes.update("doubles", [1]);
        (0..DOUBLES).fold(row, |row, place| row.max(name(place), 0.5));
    })
    .await;
}
