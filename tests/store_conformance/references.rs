//! Columns that are copied from rows of another table: equal to the model's, whatever the order of the commits.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRng, TestRunner};
use readcast::store::{BuildOptions, Commit, CommitOutcome, Generation, Load, SwapOutcome, row_stream};
use readcast_core::{ChangeSet, Column, Key, Model, Presence, Row, TableSpec, Value};

use self::bank::{Event, TOPICS, applied, event, folded, tables};
use super::comparisons::compare;
use super::lane::{Lane, changes, definition, versioned};
use super::lifecycle::{begin, copied, empty};
use super::subject::{Subject, expected};

/// The scene on which core tries its laws.
#[path = "../../core/tests/bank/mod.rs"]
mod bank;

const SEED: u64 = 13;

/// Random events, always the same ones.
fn events(count: usize, seed: u64) -> Vec<Event> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let rng = TestRng::from_seed(prop::test_runner::RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    vec(event(), count).new_tree(&mut runner).expect("a strategy that always has a value").current()
}

/// Checks the tables that readers see.
async fn assert_equals(subject: &Subject, model: &Model, what: &str) {
    for (index, table) in tables().iter().enumerate() {
        assert_eq!(subject.rows(table).await, expected(model, index, table), "{what}: table {}", table.name());
    }
}

async fn commit(lane: &mut Lane, changes: ChangeSet) {
    let committed = lane.commit(changes).await;
    assert!(matches!(committed, Ok(CommitOutcome::Applied(_))), "{committed:?}");
}

pub(super) async fn copies_equal_the_model_after_every_batch(subject: &Subject) {
    let mut lane = Lane::claim(subject, &definition(tables())).await;
    let mut model = Model::new(tables());
    for (number, batch) in events(600, SEED).chunks(7).enumerate() {
        let changes = folded(batch, &tables());
        model.apply(&changes).expect("numbers in range");
        commit(&mut lane, changes).await;
        assert_equals(subject, &model, &format!("batch {number} of seed {SEED}: {batch:?}")).await;
    }
}

pub(super) async fn copies_equal_the_model_when_lanes_race(subject: &Subject) {
    const ROUNDS: u64 = 40;
    let definition = definition(tables());
    let mut lanes = Vec::new();
    for partition in 0..TOPICS as i32 {
        lanes.push(Lane::claim_partition(subject, &definition, partition).await);
    }
    let mut so_far: Vec<Event> = Vec::new();
    for round in 0..ROUNDS {
        let events = events(60, SEED + round);
        let of_topic = |topic: usize| events.iter().filter(|event| event.topic() == topic).cloned().collect::<Vec<_>>();
        let racing = lanes.iter_mut().enumerate().map(|(topic, lane)| {
            let events = of_topic(topic);
            async move {
                for batch in events.chunks(4) {
                    commit(lane, folded(batch, &tables())).await;
                }
            }
        });
        futures_util::future::join_all(racing).await;
        so_far.extend(events);
        let model =
            applied((0..TOPICS).map(|topic| folded(so_far.iter().filter(|event| event.topic() == topic), &tables())));
        assert_equals(subject, &model, &format!("round {round} of seed {SEED}")).await;
    }
}

/// The rows of the model without their copies, as a load makes them.
fn loaded(model: &Model) -> Vec<(usize, Vec<(Key, Row)>)> {
    let of_table = |(index, table): (usize, &TableSpec)| {
        let without_copies = |(key, row): (&Key, &Row)| {
            let cells = row.iter().enumerate().map(|(place, value)| match table.copied_by(place) {
                Some(_) => Value::Null,
                None => value.clone(),
            });
            (key.clone(), cells.collect())
        };
        (index, model.rows(index).iter().map(without_copies).collect())
    };
    tables().iter().enumerate().map(of_table).collect()
}

pub(super) async fn a_load_fills_the_copies_and_commits_keep_them(subject: &Subject) {
    let definition = definition(tables());
    let mut live = Lane::claim(subject, &definition).await;
    let events = events(80, SEED);
    let (before, after) = events.split_at(60);
    let model = applied([folded(before, &tables())]);
    commit(&mut live, folded(before, &tables())).await;
    let mut begun = begin(subject, &definition, &BuildOptions { load: true, ..empty() }).await;
    let mut next = Lane::feed(subject, &definition, begun.generation, 0).await;
    let (sink, rows) = row_stream();
    let pieces = loaded(&model);
    std::thread::spawn(move || {
        pieces.into_iter().for_each(|piece| assert!(sink.send(piece), "they are wanted"));
        sink.end(Ok(()));
    });
    let commits = Commit { advances: vec![next.advance()], ..Commit::default() };
    let load = Load { definition: &definition, generation: begun.generation, commit: &commits, rows };
    let committed = begun.lead.load(load).await;
    assert!(matches!(committed, Ok(CommitOutcome::Applied(_))), "{committed:?}");
    begun.lead.index(&definition, begun.generation).await.expect("indexes");
    let compared = compare(subject, &mut begun).await.expect("both are at the same place");
    assert!(compared.is_equal(), "{compared:#?}");
    next.next_offset = live.next_offset;
    begun.ready().await;
    for lane in [&mut live, &mut next] {
        commit(lane, folded(after, &tables())).await;
    }
    assert_eq!(begun.swap(subject, Generation(1), begun.generation).await, Ok(SwapOutcome::Done));
    let model = applied([folded(before, &tables()), folded(after, &tables())]);
    assert_equals(subject, &model, "after the swap").await;
}

/// The tables as they were before they had references: the copies are columns like others.
fn without_references() -> Vec<TableSpec> {
    let plain = |table: TableSpec| {
        let new = TableSpec::new(table.name());
        let keyed = table.key_columns().iter().fold(new, |plain, key| plain.key(key.name(), key.column_type()));
        let column = |plain: TableSpec, column: &Column| match column.presence() {
            Presence::Default(value) => plain.with_default(column.name(), column.column_type(), value.clone()),
            Presence::Nullable => plain.nullable(column.name(), column.column_type()),
            Presence::Required => plain.column(column.name(), column.column_type()),
        };
        table.data_columns().iter().fold(keyed, column)
    };
    tables().into_iter().map(plain).collect()
}

pub(super) async fn a_copy_of_the_live_rows_gets_the_copies_of_new_references(subject: &Subject) {
    let mut live = Lane::claim(subject, &versioned(1, without_references())).await;
    let model = applied([folded(&events(80, SEED), &tables())]);
    // What somebody once wrote there is not what the reference says.
    let written = changes(&without_references(), |changes| {
        for (index, table) in without_references().iter().enumerate() {
            for (key, row) in model.rows(index) {
                let cells = table.data_columns().iter().zip(row);
                cells.fold(changes.upsert(table.name(), key.clone()), |writer, (column, value)| match column.name() {
                    name @ ("owner_name" | "holder") => writer.set(name, "somebody else"),
                    name => writer.set(name, value.clone()),
                });
            }
        }
    });
    commit(&mut live, written).await;
    let mut begun = begin(subject, &versioned(2, tables()), &copied(&[])).await;
    begun.ready().await;
    assert_eq!(begun.swap(subject, Generation(1), begun.generation).await, Ok(SwapOutcome::Done));
    assert_equals(subject, &model, "after the swap").await;
}
