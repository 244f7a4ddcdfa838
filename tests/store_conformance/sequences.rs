//! Changes of every kind in any order, cut into batches at any place: the tables end as core's model says.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use readcast::store::{CommitOutcome, StoreError, Written};
use readcast_core::{Change, ChangeSet, Json, Model, OutOfRange, Value};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::block_in_place;

use self::steps::{Numbers, Step, TABLES, time};
use super::lane::{Lane, changes, definition};
use super::subject::{Subject, expected};

/// The changes on which core tries its laws.
#[allow(dead_code, unused_imports, reason = "not all of it is needed here")]
#[path = "../../core/tests/steps/mod.rs"]
mod steps;

/// A commit waits for the disk: fewer cases than core tries, on a file or a server that stays the same.
const CASES: u32 = 64;

pub(super) async fn random_batches_do_what_the_model_does(subject: &Subject) {
    random_batches(subject, Numbers::Small).await;
}

pub(super) async fn random_batches_of_extreme_numbers_equal_the_model(subject: &Subject) {
    random_batches(subject, Numbers::Extreme).await;
}

async fn random_batches(subject: &Subject, numbers: Numbers) {
    let lane = Mutex::new(Lane::claim(subject, &definition(TABLES.clone())).await);
    let config = ProptestConfig {
        cases: CASES,
        max_shrink_time: 30_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let log = (steps::steps(numbers, 24), prop::collection::vec(any::<prop::sample::Index>(), 0..4));
    let case = |(steps, cuts): (Vec<Step>, Vec<prop::sample::Index>)| {
        let changes = steps::changes(&steps);
        let run = async { try_log(subject, &mut *lane.lock().await, &changes, &cuts).await };
        block_in_place(|| Handle::current().block_on(run))
    };
    TestRunner::new(config).run(&log, case).unwrap_or_else(|error| panic!("{error}"));
}

async fn try_log(
    subject: &Subject,
    lane: &mut Lane,
    log: &[Change],
    cuts: &[prop::sample::Index],
) -> Result<(), TestCaseError> {
    for table in TABLES.iter() {
        subject.execute(&format!("DELETE FROM {}", subject.physical(table))).await;
    }
    let mut model = Model::new(TABLES.clone());
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(log.len() + 1)).chain([0, log.len()]).collect();
    places.sort_unstable();
    for pair in places.windows(2) {
        let mut set = ChangeSet::new();
        log[pair[0]..pair[1]].iter().for_each(|change| set.push(change.clone(), &TABLES));
        let missed_before = model.missed();
        let applied = model.apply(&set);
        let committed = lane.commit(set).await;
        let missed = model.missed() - missed_before;
        prop_assert!(agree(&applied, &committed, missed), "{applied:?} and {missed} missed, but {committed:?}");
        for (index, table) in TABLES.iter().enumerate() {
            prop_assert_eq!(subject.rows(table).await, expected(&model, index, table), "{}", table.name());
        }
    }
    Ok(())
}

fn agree(applied: &Result<(), OutOfRange>, committed: &Result<CommitOutcome, StoreError>, meant: u64) -> bool {
    match (applied, committed) {
        (Ok(()), Ok(CommitOutcome::Applied(Written { missed, .. }))) => *missed == meant,
        (Err(_), Err(StoreError::Unstorable { .. })) => true,
        _ => false,
    }
}

pub(super) async fn the_operations_do_what_they_say(subject: &Subject) {
    let tables = &*TABLES;
    let mut lane = Lane::claim(subject, &definition(tables.clone())).await;
    let json = |text| Json::parse(text).expect("JSON");
    let batch = changes(tables, |changes| {
        changes.upsert("wide", ["a"]).set("label", "old").add("count", 4).append("log", json("1"));
        changes.delete("wide", ["a"]);
        changes.upsert("wide", ["a"]).set("label", "new").add("count", 2).append("log", json("2"));
        changes.upsert("wide", ["b"]).set("label", "new").newer(time(5), 1, [("small", 5.into())]);
        changes.update("wide", ["nobody"]).add("count", 1);
        changes.update_where("wide", "label", "new").add("count", 10).append("log", json("3"));
        changes.upsert("wide", ["c"]).set("label", "new").min("paid", 7);
        changes.replace_children(
            "lines",
            ["p"],
            [vec![1.into(), 5.into(), 1.into()], vec![2.into(), 6.into(), 2.into()]],
        );
        changes.upsert("lines", ["q".into(), Value::I32(1)]).set("price", 1);
    });
    let committed = lane.commit(batch).await.expect("a commit");
    assert!(matches!(committed, CommitOutcome::Applied(Written { missed: 1, .. })), "{committed:?}");
    let batch = changes(tables, |changes| {
        changes.upsert("wide", ["b"]).set("label", "b").newer(time(4), 9, [("small", 4.into())]);
        changes.upsert("wide", ["c"]).set("label", "c").min("paid", 8).max("seen", time(1));
        changes.replace_children("lines", ["p"], [vec![2.into(), 9.into(), Value::Null]]);
        changes.update_where("wide", "small", Value::Null).add("count", 100);
    });
    assert!(matches!(lane.commit(batch).await, Ok(CommitOutcome::Applied(_))));
    let column = async |table: usize, place: usize| {
        let rows = subject.rows(&tables[table]).await;
        let cell = |(key, row): (String, String)| (key, row.split(" | ").nth(place).expect("a cell").to_owned());
        rows.into_iter().map(cell).map(|(key, cell)| format!("{key}: {cell}")).collect::<Vec<_>>()
    };
    assert_eq!(column(0, 2).await, ["a: 113", "b: 11", "c: 101"], "add, after delete and by update_where");
    assert_eq!(column(0, 7).await, ["a: [2,3]", "b: [3]", "c: []"], "append");
    assert_eq!(column(0, 1).await, ["a: NULL", "b: 5", "c: NULL"], "newer");
    assert_eq!(column(0, 3).await, ["a: NULL", "b: NULL", "c: 7.00"], "min");
    assert_eq!(column(2, 0).await, ["p | 2: 9.00", "q | 1: 1.00"], "replace_children");
}
