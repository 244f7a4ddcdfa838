//! The laws of the change algebra, checked with random changes: the result of a batch never depends on how the log is
//! cut.
//!
//! One law covers numbers that leave their range. If every number stays in its range when the changes are applied one
//! by one, every fold of these changes succeeds with the same rows. The reverse does not hold: a sum that leaves its
//! range and returns within one batch is exact, because the fold adds the numbers before it reads the row.

mod steps;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;
use readcast_core::{Cell, Change, ChangeSet, Changes, Key, Model, OutOfRange, RowChange, RowWriter, Segment};
use steps::{Numbers, Step, TABLES, changes, commuting_steps, composable_steps, steps, time};

/// Enough for every law to fail within two seconds if the fold is broken, and fast enough for every run.
const CASES: u32 = 2_000;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: CASES,
        // A failure prints its smallest case. That case belongs in a test of its own, not in a file of seeds.
        failure_persistence: None,
        // The default is a million, with which shrinking a failure takes minutes.
        max_flat_map_regens: 100,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_folded_batch_equals_its_changes_one_by_one(log in steps(Numbers::Small, 24), start: Index) {
        let (before, batch) = split(&log, start);
        let start = filled(&before);
        prop_assert_eq!(shown(&in_batches(&start, [&batch[..]])), shown(&one_by_one(&start, &batch)));
    }

    #[test]
    fn no_cut_of_the_log_changes_the_tables(log in steps(Numbers::Small, 24), start: Index, cuts in cuts()) {
        let (before, log) = split(&log, start);
        let start = filled(&before);
        prop_assert_eq!(shown(&in_batches(&start, cut(&log, &cuts))), shown(&in_batches(&start, [&log[..]])));
    }

    #[test]
    fn folding_is_associative(log in steps(Numbers::Small, 24), start: Index, second: Index, third: Index) {
        let (before, log) = split(&log, start);
        let start = filled(&before);
        let [a, b, c] = cut(&log, &[second, third]).try_into().expect("two cuts make three parts");
        let join = |x: &[Change], y: &[Change]| folded(&[x, y].concat());
        let left = join(&unfolded(join(a, b)), c);
        let right = join(a, &unfolded(join(b, c)));
        prop_assert_eq!(shown(&applied(&start, &left)), shown(&applied(&start, &right)));
        prop_assert_eq!(shown(&applied(&start, &left)), shown(&one_by_one(&start, &log)));
    }

    #[test]
    fn composable_changes_fold_into_one_segment_with_each_row_once(steps in composable_steps(30)) {
        let changes = changes(&steps);
        let keys: BTreeSet<&Key> = changes.iter().filter_map(key).collect();
        let segments = (0..TABLES.len()).flat_map(|table| folded(&changes).segments(table).to_vec());
        prop_assert_eq!(segments.map(|segment| rows(&segment).len()).collect::<Vec<_>>(), [keys.len()]);
    }

    #[test]
    fn sums_extrema_and_newer_commute((one, other) in commuting_steps(12).prop_flat_map(shuffled)) {
        let empty = Model::new(TABLES.clone());
        let (one, other) = (changes(&one), changes(&other));
        prop_assert_eq!(shown(&one_by_one(&empty, &one)), shown(&in_batches(&empty, [&other[..]])));
    }

    #[test]
    fn no_change_below_a_cleared_key_depends_on_the_stored_row(log in steps(Numbers::Small, 24)) {
        for segment in (0..TABLES.len()).flat_map(|table| folded(&changes(&log)).segments(table).to_vec()) {
            let Segment::Rows { cleared, rows } = segment else { continue };
            let below = rows.iter().filter(|(key, _)| cleared.iter().any(|parent| key.starts_with(parent)));
            prop_assert_eq!(below.filter(|(_, change)| !is_absolute(change)).collect::<Vec<_>>(), []);
        }
    }

    #[test]
    fn a_fold_stays_in_range_if_its_changes_do(log in steps(Numbers::Extreme, 24), start: Index, cuts in cuts()) {
        let (before, log) = split(&log, start);
        let start = filled(&before);
        let (log, expected) = in_range(&start, &log);
        prop_assert_eq!(shown(&in_batches(&start, [&log[..]])), shown(&Ok(expected.clone())));
        prop_assert_eq!(shown(&in_batches(&start, cut(&log, &cuts))), shown(&Ok(expected)));
    }

    #[test]
    fn a_batch_out_of_range_leaves_the_tables_unchanged(log in steps(Numbers::Extreme, 12), start: Index) {
        let (before, batch) = split(&log, start);
        let mut model = filled(&before);
        let untouched = model.clone();
        if model.apply(&folded(&batch)).is_err() {
            prop_assert_eq!(model, untouched);
        }
    }
}

/// The changes of the steps before `start`, which fill the tables, and of the steps from there on.
fn split(steps: &[Step], start: Index) -> (Vec<Change>, Vec<Change>) {
    let (before, log) = steps.split_at(start.index(steps.len() + 1));
    (changes(before), changes(log))
}

/// The tables after those changes of `before` that stay in range.
fn filled(before: &[Change]) -> Model {
    in_range(&Model::new(TABLES.clone()), before).1
}

/// The changes that keep every number in its range when applied one by one, and the tables after the last of them.
fn in_range(start: &Model, changes: &[Change]) -> (Vec<Change>, Model) {
    let mut model = start.clone();
    let stays = |change: &&Change| {
        let next = one_by_one(&model, std::slice::from_ref(*change));
        next.map(|next| model = next).is_ok()
    };
    let kept = changes.iter().filter(stays).cloned().collect();
    (kept, model)
}

fn one_by_one(start: &Model, changes: &[Change]) -> Result<Model, OutOfRange> {
    let mut model = start.clone();
    changes.iter().try_for_each(|change| model.apply_change(change)).map(|()| model)
}

fn in_batches<'a>(start: &Model, batches: impl IntoIterator<Item = &'a [Change]>) -> Result<Model, OutOfRange> {
    let mut model = start.clone();
    batches.into_iter().try_for_each(|batch| model.apply(&folded(batch))).map(|()| model)
}

fn applied(start: &Model, set: &ChangeSet) -> Result<Model, OutOfRange> {
    let mut model = start.clone();
    model.apply(set).map(|()| model)
}

fn folded(changes: &[Change]) -> ChangeSet {
    let mut set = ChangeSet::new();
    changes.iter().for_each(|change| set.push(change.clone(), &TABLES));
    set
}

/// A folded batch as a list of changes.
fn unfolded(set: ChangeSet) -> Vec<Change> {
    let of_table = |table| set.segments(table).iter().flat_map(move |segment| of_segment(table, segment.clone()));
    (0..TABLES.len()).flat_map(of_table).collect()
}

fn of_segment(table: usize, segment: Segment) -> Vec<Change> {
    match segment {
        Segment::Where { column, value, cells } => vec![Change::Where { table, column, value, cells }],
        Segment::Rows { cleared, rows } => {
            let cleared = cleared.into_iter().map(|parent| Change::ReplaceChildren { table, parent, rows: vec![] });
            cleared.chain(rows.into_iter().map(|(key, change)| Change::Row { table, key, change })).collect()
        }
    }
}

/// The steps in their order and in a random order.
fn shuffled(steps: Vec<Step>) -> impl Strategy<Value = (Vec<Step>, Vec<Step>)> {
    (Just(steps.clone()), Just(steps).prop_shuffle())
}

fn cuts() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 0..4)
}

fn cut<'a>(log: &'a [Change], cuts: &[Index]) -> Vec<&'a [Change]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(log.len() + 1)).chain([0, log.len()]).collect();
    places.sort_unstable();
    places.windows(2).map(|pair| &log[pair[0]..pair[1]]).collect()
}

/// The rows as text, a line each: values that compare as equal, such as 0 and -0, must also look equal.
fn shown(model: &Result<Model, OutOfRange>) -> Result<Vec<String>, OutOfRange> {
    let model = model.as_ref().map_err(Clone::clone)?;
    let rows = (0..TABLES.len()).flat_map(|table| model.rows(table).iter().map(move |row| (table, row)));
    Ok(rows.map(|(table, (key, row))| format!("{} {key:?} {row:?}", TABLES[table].name())).collect())
}

fn key(change: &Change) -> Option<&Key> {
    match change {
        Change::Row { key, .. } => Some(key),
        Change::Where { .. } | Change::ReplaceChildren { .. } => None,
    }
}

fn rows(segment: &Segment) -> BTreeMap<Key, RowChange> {
    match segment {
        Segment::Rows { rows, .. } => rows.clone(),
        Segment::Where { .. } => BTreeMap::new(),
    }
}

/// Whether the result of the change does not depend on the row.
fn is_absolute(change: &RowChange) -> bool {
    match change {
        RowChange::Upsert(cells) => cells.as_slice().iter().all(|cell| matches!(cell, Some(Cell::Set(_)))),
        RowChange::Update(_) => false,
        RowChange::Delete => true,
    }
}

fn wide(id: &str, write: impl FnOnce(RowWriter<'_>) -> RowWriter<'_>) -> Vec<Change> {
    let mut changes = Changes::new(&TABLES);
    write(changes.upsert("wide", [id]).set("label", "a"));
    changes.finish().expect("changes that fit")
}

/// Checks that the fold of `batch` gives the same rows as its changes one by one, on the tables after `before`.
#[track_caller]
fn assert_folds(before: &[Change], batch: &[Change]) {
    let start = one_by_one(&Model::new(TABLES.clone()), before).expect("small numbers");
    assert_eq!(shown(&one_by_one(&start, batch)), shown(&in_batches(&start, [batch])));
}

#[test]
fn an_extremum_of_a_new_row_starts_at_the_default_whether_folded_or_not() {
    let created = wide("a", |row| row);
    let late = wide("a", |row| row.min("seen", time(4)));
    let early = wide("b", |row| row.max("seen", time(1)));
    assert_folds(&[], &[created.clone(), late.clone()].concat());
    assert_folds(&[], &[wide("b", |row| row), early].concat());
    let start = Model::new(TABLES.clone());
    let created_first = one_by_one(&start, &[created.clone(), late.clone()].concat());
    assert_eq!(created_first, one_by_one(&start, &[late, created].concat()), "min does not commute with creation");
}

#[test]
fn a_set_of_the_newer_columns_does_not_affect_an_earlier_newer() {
    let before = wide("a", |row| row.newer(time(3), 0, [("blob", vec![1].into())]));
    let late = wide("a", |row| row.newer(time(2), 0, [("blob", vec![2].into())]));
    let set = wide("a", |row| row.set("at", time(4)));
    assert_folds(&before, &[late, set].concat());
}

#[test]
fn a_sum_that_returns_into_its_range_within_a_batch_is_exact() {
    let add = |number: i64| wide("a", |row| row.add("count", number));
    let start = one_by_one(&Model::new(TABLES.clone()), &add(5)).expect("small numbers");
    let there_and_back = [add(i64::MAX), add(-i64::MAX)].concat();
    assert!(one_by_one(&start, &there_and_back).is_err());
    assert_eq!(in_batches(&start, [&there_and_back[..]]), Ok(start));
}

#[test]
fn additions_whose_sum_is_out_of_range_are_applied_one_by_one() {
    let add = wide("a", |row| row.add("count", i64::MAX));
    let lowest = wide("a", |row| row.set("count", i64::MIN));
    assert_folds(&lowest, &[add.clone(), add].concat());
}
