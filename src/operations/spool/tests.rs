use std::fs;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use readcast_core::{
    Cell, Cells, Change, Changes, ColumnType, Date, Decimal, Json, Key, Model, Row, RowChange, Timestamp, Uuid, Value,
};

use self::steps::{Numbers, Step, TABLES, changes, steps};
use super::merge::What;
use super::*;

/// The changes with which the laws of the fold are tested.
#[path = "../../../core/tests/steps/mod.rs"]
#[allow(dead_code, unused_imports)]
mod steps;

mod errors;

/// More than any test adds.
const UNLIMITED: usize = usize::MAX;

fn config() -> ProptestConfig {
    ProptestConfig { cases: 1_000, failure_persistence: None, max_flat_map_regens: 100, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_rows_are_those_that_the_batches_make_one_after_the_other(
        log in log(Numbers::Small), cuts in cuts(), budget in budget()
    ) {
        let batches = batches(&log, &cuts);
        let expected = applied(&batches).expect("small numbers");
        let (rows, missed) = spooled(batches, budget).expect("a disk with room");
        prop_assert_eq!(rows, shown(&expected));
        // An update that was composed with another, or cleared, is not counted.
        prop_assert!(missed <= expected.missed());
    }

    #[test]
    fn what_stays_in_range_batch_by_batch_stays_in_range(
        log in log(Numbers::Extreme), cuts in cuts(), budget in budget()
    ) {
        let mut model = Model::new(TABLES.clone());
        let kept: Vec<_> = batches(&log, &cuts).into_iter().filter(|batch| model.apply(batch).is_ok()).collect();
        prop_assert_eq!(spooled(kept, budget).expect("numbers in range").0, shown(&model));
    }

    #[test]
    fn in_memory_every_update_that_met_no_row_is_counted(log in log(Numbers::Small), cuts in cuts()) {
        let clears = |change: &Change| matches!(change, Change::ReplaceChildren { .. });
        let log: Vec<_> = log.into_iter().filter(|change| !clears(change)).collect();
        let batches = batches(&log, &cuts);
        let expected = applied(&batches).expect("small numbers").missed();
        prop_assert_eq!(spooled(batches, UNLIMITED).expect("no disk is needed").1, expected);
    }

    #[test]
    fn entries_are_read_as_they_were_written(key in vec(any_value(), 0..4), change in any_change()) {
        let mut bytes = Vec::new();
        codec::put_row(&mut bytes, &key, &change);
        codec::put_cleared(&mut bytes, &key);
        let mut rest = &bytes[..];
        let row = codec::take_entry(&mut rest).expect("a row was put");
        // As text: two values that compare as equal, such as 0.0 and 0.00, must look equal too.
        prop_assert_eq!(format!("{:?} {:?}", row.key, row.what), format!("{:?} {:?}", key, What::Row(change)));
        let cleared = codec::take_entry(&mut rest).expect("a cleared key was put");
        prop_assert_eq!((cleared.key, cleared.what, rest), (key, What::Cleared, &[][..]));
    }

    #[test]
    fn bytes_of_no_form_are_no_entry_and_no_panic(bytes in vec(any::<u8>(), 0..64)) {
        let _ = codec::take_entry(&mut &bytes[..]);
    }

    #[test]
    fn what_is_merged_doubles(sizes in vec(1_u64..1_000, 1..9), count in 1..20_000_usize) {
        let (mut files, mut written, mut all) = (vec![], 0, 0);
        for spill in sizes.into_iter().cycle().take(count) {
            files.push(spill);
            all += spill;
            if files.len() >= MOST_FILES {
                let merged: u64 = files.drain(first_to_merge(&files)..).sum();
                files.push(merged);
                written += merged;
            }
        }
        prop_assert!(files.len() < MOST_FILES);
        prop_assert!(written <= all * u64::from(all.ilog2() + 1), "{written} for {all}");
    }
}

#[test]
fn entries_of_every_width_are_read_as_they_were_written() {
    let key: Vec<Value> = (0..32).map(|place| Value::from("k".repeat(place * 1_000))).collect();
    for width in [0, 1, 127, 128, 1_599] {
        let cells = (0..width).map(|place| (place % 3 > 0).then(|| Cell::Add(place.into())));
        let change = RowChange::Upsert(Cells::from_places(cells.collect()));
        let mut bytes = Vec::new();
        codec::put_row(&mut bytes, &key, &change);
        let mut rest = &bytes[..];
        let row = codec::take_entry(&mut rest).expect("a row was put");
        assert_eq!((row.key, row.what, rest), (key.clone(), What::Row(change), &[][..]), "{width} columns");
    }
}

/// Changes to several tables, in one order.
fn log(numbers: Numbers) -> impl Strategy<Value = Vec<Change>> {
    let keyed = |step: &Step| !matches!(step, Step::UpdateWhere(..));
    let scenes = vec(steps(numbers, 24), 1..4).prop_map(|scenes| scenes.concat());
    let keyed = scenes.prop_map(move |steps| steps.into_iter().filter(keyed).collect::<Vec<_>>());
    keyed.prop_shuffle().prop_map(|steps| changes(&steps))
}

fn cuts() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 0..12)
}

/// From 0, which makes a file of each batch, to more than is needed.
fn budget() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), 0..20_000_usize, Just(UNLIMITED)]
}

fn any_value() -> impl Strategy<Value = Value> {
    let instant = |micros| Timestamp::from_micros(micros).expect("a year that can be written");
    let day = |day| Date::from_num_days_from_ce_opt(day).expect("a day of the calendar");
    prop_oneof![
        Just(Value::Null),
        "\\PC{0,200}".prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (any::<i64>(), 0..=28_u32).prop_map(|(digits, scale)| Decimal::new(digits, scale).into()),
        Just("-9999999999999999999999999999".parse::<Decimal>().expect("28 digits").into()),
        (-62_167_219_200_000_000..=253_402_300_799_999_999_i64).prop_map(move |micros| instant(micros).into()),
        (-300_000..3_000_000).prop_map(move |number| day(number).into()),
        any::<u128>().prop_map(|number| Uuid::from_u128(number).into()),
        any_json().prop_map(Value::from),
        vec(any::<u8>(), 0..300).prop_map(Value::from),
    ]
}

fn any_json() -> impl Strategy<Value = Json> {
    "[a-zé\"]{0,9}".prop_map(|text| Json::of(&[text]).expect("a text"))
}

fn any_change() -> impl Strategy<Value = RowChange> {
    let cell = prop_oneof![
        any_value().prop_map(Cell::Set),
        any_value().prop_map(Cell::Add),
        any_value().prop_map(Cell::Max),
        any_value().prop_map(Cell::Min),
        any_value().prop_map(Cell::Newer),
        vec(any_json(), 0..4).prop_map(Cell::Append),
    ];
    let cells = || vec(prop::option::of(cell.clone()), 0..6).prop_map(Cells::from_places);
    prop_oneof![cells().prop_map(RowChange::Upsert), cells().prop_map(RowChange::Update), Just(RowChange::Delete),]
}

fn batches(log: &[Change], cuts: &[Index]) -> Vec<ChangeSet> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(log.len() + 1)).chain([0, log.len()]).collect();
    places.sort_unstable();
    places.windows(2).map(|pair| folded(&log[pair[0]..pair[1]])).collect()
}

fn folded(changes: &[Change]) -> ChangeSet {
    let mut set = ChangeSet::new();
    changes.iter().for_each(|change| set.push(change.clone(), &TABLES));
    set
}

fn applied(batches: &[ChangeSet]) -> Result<Model, readcast_core::OutOfRange> {
    let mut model = Model::new(TABLES.clone());
    batches.iter().try_for_each(|batch| model.apply(batch)).map(|()| model)
}

fn spool(batches: impl IntoIterator<Item = ChangeSet>, budget: usize) -> Result<Spool, SpoolError> {
    let mut spool = Spool::new(&TABLES, &std::env::temp_dir(), budget);
    batches.into_iter().try_for_each(|batch| spool.add(batch)).map(|()| spool)
}

/// The rows as text, a line each, and how many updates met no row.
fn spooled(batches: Vec<ChangeSet>, budget: usize) -> Result<(Vec<String>, u64), SpoolError> {
    finished(spool(batches, budget)?)
}

fn finished(spool: Spool) -> Result<(Vec<String>, u64), SpoolError> {
    let (mut lines, mut missed) = (vec![], spool.missed());
    for (table, rows) in spool.into_rows().enumerate() {
        let mut rows = rows?;
        for row in &mut rows {
            let (key, row) = row?;
            lines.push(line(table, &key, &row));
        }
        missed += rows.missed();
    }
    Ok((lines, missed))
}

fn shown(model: &Model) -> Vec<String> {
    let of_table = |table| model.rows(table).iter().map(move |(key, row)| line(table, key, row));
    (0..TABLES.len()).flat_map(of_table).collect()
}

fn line(table: usize, key: &Key, row: &Row) -> String {
    format!("{} {key:?} {row:?}", TABLES[table].name())
}

/// One batch of the changes that `say` adds.
fn batch(say: impl FnOnce(&mut Changes<'_>)) -> ChangeSet {
    let mut changes = Changes::new(&TABLES);
    say(&mut changes);
    folded(&changes.finish().expect("changes that fit"))
}

fn add(id: &str, number: i64) -> ChangeSet {
    batch(|changes| {
        changes.upsert("wide", [id]).set("label", "a").add("count", number);
    })
}

fn leaf(tree: &str, branch: i32, leaf: i32) -> ChangeSet {
    batch(|changes| {
        changes.upsert("leaves", leaf_key(tree, branch, leaf)).set("size", branch);
    })
}

fn leaf_key(tree: &str, branch: i32, leaf: i32) -> Vec<Value> {
    vec![tree.into(), branch.into(), leaf.into()]
}

fn clear(parent: Vec<Value>) -> ChangeSet {
    batch(|changes| changes.replace_children("leaves", parent, []))
}

/// Asserts that the batches make the same rows spooled as applied one after the other, however much fits into memory.
#[track_caller]
fn assert_spools(batches: &[ChangeSet]) {
    let expected = shown(&applied(batches).expect("small numbers"));
    for budget in [0, 1_000, 2_000, 5_000, UNLIMITED] {
        let (rows, _) = spooled(batches.to_vec(), budget).expect("a disk with room");
        assert_eq!(rows, expected, "with {budget} bytes");
    }
}

#[test]
fn an_empty_spool_makes_no_rows_of_any_table() {
    let tables: Vec<_> = spool([], 0).expect("nothing").into_rows().collect();
    assert_eq!(tables.len(), TABLES.len());
    assert!(tables.into_iter().all(|rows| rows.is_ok_and(|mut rows| rows.next().is_none())));
}

#[test]
fn a_fan_out_is_refused_and_nothing_of_its_batch_is_kept() {
    let mut spool = spool([add("a", 1)], UNLIMITED).expect("memory");
    let before = spool.size();
    let fan_out = batch(|changes| {
        changes.upsert("wide", ["b"]).set("label", "b");
        changes.update_where("lines", "units", 1).set("units", 2);
    });
    assert!(matches!(spool.add(fan_out), Err(SpoolError::FanOut { table, .. }) if table == "lines"));
    assert_eq!(spool.size(), before);
}

#[test]
fn cleared_rows_are_removed_from_every_run_and_later_rows_stay() {
    assert_spools(&[leaf("a", 1, 1), leaf("a", 2, 1), leaf("b", 1, 1), clear(vec!["a".into()]), leaf("a", 2, 2)]);
    // One clearing within another, in both orders.
    let (tree, branch) = (clear(vec!["a".into()]), clear(vec!["a".into(), 1.into()]));
    let leaves = [leaf("a", 1, 1), leaf("a", 2, 1)];
    assert_spools(&[&leaves[..], std::slice::from_ref(&tree), &leaves, std::slice::from_ref(&branch)].concat());
    assert_spools(&[&leaves[..], std::slice::from_ref(&branch), &leaves, std::slice::from_ref(&tree)].concat());
    assert_spools(&[&leaves[..], &[tree.clone(), leaf("a", 2, 3), branch, tree, leaf("a", 1, 1)]].concat());
}

#[test]
fn a_row_below_a_cleared_key_begins_again() {
    let grow = || {
        batch(|changes| {
            changes.upsert("leaves", leaf_key("a", 1, 1)).add("size", 1);
        })
    };
    let update = batch(|changes| {
        changes.update("leaves", leaf_key("a", 1, 1)).add("size", 5);
    });
    assert_spools(&[grow(), grow(), clear(vec!["a".into()]), update, grow()]);
}

#[test]
fn more_runs_than_a_table_may_have_files_are_merged() {
    let set = |(id, number): (&&str, i32)| {
        batch(|changes| {
            changes.upsert("wide", [*id]).set("label", number.to_string()).add("count", number);
        })
    };
    let batches: Vec<_> = ["a", "b", "c"].iter().cycle().zip(0..500).map(set).collect();
    let mut spool = spool([], 0).expect("nothing");
    for batch in &batches {
        spool.add(batch.clone()).expect("a disk with room");
        assert!(spool.tables[0].files.len() < MOST_FILES);
    }
    assert_eq!(finished(spool).expect("a disk with room").0, shown(&applied(&batches).expect("small numbers")));
}

#[test]
fn memory_stays_within_its_budget_and_no_file_has_a_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let budget = 100_000;
    let mut spool = Spool::new(&TABLES, folder.path(), budget);
    let mut most = 0;
    for batch in (0..1_000).map(|number| add(&format!("{number}"), number)) {
        spool.add(batch).expect("a disk with room");
        most = most.max(spool.size().memory_bytes);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
    assert!((budget / 2..=budget).contains(&most), "{most} bytes in memory");
    assert!(spool.size().file_bytes > 0);
    assert_eq!(finished(spool).expect("a disk with room").0.len(), 1_000);
}

#[test]
fn every_kind_of_value_counts_as_memory() {
    let text = "x".repeat(10_000);
    let json = Json::of(&text).expect("a text");
    let set = |column: &'static str, value: Value| {
        batch(|changes| {
            changes.upsert("wide", ["a"]).set("label", "a").set(column, value);
        })
    };
    let append = batch(|changes| {
        changes.upsert("wide", ["a"]).set("label", "a").append("log", json.clone());
    });
    let large = [
        add(&text, 1),
        set("label", (&text).into()),
        set("blob", text.clone().into_bytes().into()),
        set("notes", json.clone().into()),
        append,
        leaf(&text, 1, 1),
        clear(vec![text.as_str().into()]),
    ];
    for (place, changes) in large.into_iter().enumerate() {
        let bytes = spool([changes], UNLIMITED).expect("memory").size().memory_bytes;
        assert!((10_000..12_500).contains(&bytes), "{bytes} bytes for the change at {place}");
    }
}

#[test]
fn a_row_larger_than_a_block_is_spooled() {
    let label = |id: &str, length| {
        let text = "x".repeat(length);
        batch(|changes| {
            changes.upsert("wide", [id]).set("label", text);
        })
    };
    assert_spools(&[label("a", 10), label("b", 100_000), label("c", 900), label("d", 900), label("b", 70_000)]);
}

#[test]
fn values_of_the_other_column_types_are_spooled_too() {
    let table = TableSpec::new("t").key("id", ColumnType::Uuid).nullable("day", ColumnType::Date);
    let tables = [table.nullable("share", ColumnType::F64).nullable("on", ColumnType::Bool)];
    let mut spool = Spool::new(&tables, &std::env::temp_dir(), 0);
    for number in [2_u128, 1] {
        let mut changes = Changes::new(&tables);
        let row = changes.upsert("t", [Uuid::from_u128(number)]).set("day", Date::from_ymd_opt(2024, 2, 29));
        row.set("share", number as f64 / 3.0).set("on", number == 1);
        let mut set = ChangeSet::new();
        changes.finish().expect("changes that fit").into_iter().for_each(|change| set.push(change, &tables));
        spool.add(set).expect("a disk with room");
    }
    let rows = spool.into_rows().next().expect("a table").expect("a file").map(|row| row.expect("a row"));
    let shown: Vec<_> = rows.map(|(_, row)| row.iter().map(Value::to_string).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(shown, ["2024-02-29 0.3333333333333333 true", "2024-02-29 0.6666666666666666 false"]);
}
