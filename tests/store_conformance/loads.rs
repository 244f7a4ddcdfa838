//! A generation that is built outside of the store, and written at once.

use readcast::store::{
    BuildOptions, Commit, CommitOutcome, Generation, Load, ParkingLimits, Phase, RowStream, StoreError, SwapOutcome,
    row_stream,
};
use readcast_core::{ChangeSet, Changes, Definition, Key, Model, Row, TableSpec, Value};

use super::commits::{assert_counts, counted, counters};
use super::dead_letters::{keyed, poison};
use super::lane::{Lane, changes, definition};
use super::lifecycle::{Begun, begin};
use super::subject::{Subject, expected};
use super::values::extremes;

/// The rows of the first table, as a thread that ends well sends them.
fn streamed(rows: Vec<(Key, Row)>) -> RowStream {
    let (sink, stream) = row_stream();
    std::thread::spawn(move || {
        for piece in rows.chunks(3) {
            assert!(sink.send((0, piece.to_vec())), "they are wanted");
        }
        sink.end(Ok(()));
    });
    stream
}

fn counts(counts: &[(&str, i64)]) -> Vec<(Key, Row)> {
    counts.iter().map(|(id, count)| (vec![Value::from(*id)], vec![Value::from(*count)])).collect()
}

/// A live generation that has come to offset 5, one that is to be loaded, and the owner of its partition.
async fn begun(subject: &Subject, definition: &Definition) -> (Begun, Lane) {
    let mut live = Lane::claim(subject, definition).await;
    live.step(5, Commit::default()).await.expect("a step");
    let begun = begin(subject, definition, &BuildOptions { load: true, ..BuildOptions::default() }).await;
    let lane = Lane::feed(subject, definition, begun.generation, 0).await;
    (begun, lane)
}

async fn load(
    begun: &mut Begun,
    definition: &Definition,
    commit: Commit,
    rows: RowStream,
) -> Result<CommitOutcome, StoreError> {
    begun.lead.load(Load { definition, generation: begun.generation, commit: &commit, rows }).await
}

/// A step of five offsets.
fn step(lane: &Lane) -> Commit {
    let mut advance = lane.advance();
    advance.to = advance.from + 5;
    Commit { advances: vec![advance], ..Commit::default() }
}

pub(super) async fn a_load_brings_rows_checkpoints_and_dead_letters_together(subject: &Subject) {
    let definition = definition(counters());
    let (mut begun, mut lane) = begun(subject, &definition).await;
    assert_eq!(subject.generation(Generation(2)).await.phase, Some(Phase::Load));
    let parked = vec![poison(&lane, keyed(3, "torn"))];
    let commit = Commit { dead_letters: parked, ..step(&lane) };
    let rows = counts(&[("a", 1), ("b", 2), ("c", 3), ("d", 4)]);
    let loaded = load(&mut begun, &definition, commit, streamed(rows)).await;
    assert!(matches!(&loaded, Ok(CommitOutcome::Applied(written)) if written.rows == 4), "{loaded:?}");
    assert_eq!(subject.positions_of(Generation(2)).await, [(0, 5)]);
    assert_eq!(lane.load_state(0).await.parked.len(), 1);
    // It goes on like any other.
    lane.next_offset = 5;
    begun.lead.index(&definition, Generation(2)).await.expect("indexes");
    begun.ready().await;
    lane.commit(counted(&["a"])).await.expect("one more");
    assert_eq!(begun.swap(subject, Generation(1), Generation(2)).await, Ok(SwapOutcome::Done));
    assert_counts(subject.rows(&counters()[0]).await, &[("a", 2), ("b", 2), ("c", 3), ("d", 4)]);
}

pub(super) async fn a_load_takes_the_place_of_what_an_earlier_one_left(subject: &Subject) {
    let definition = definition(counters());
    let (mut begun, lane) = begun(subject, &definition).await;
    let first = load(&mut begun, &definition, step(&lane), streamed(counts(&[("a", 1), ("old", 2)]))).await;
    assert!(matches!(first, Ok(CommitOutcome::Applied(_))), "{first:?}");
    // Nothing of it counts while the checkpoint is put back, as no operator would.
    let table = subject.own("checkpoints");
    subject.execute(&format!("UPDATE {table} SET next_offset = 0 WHERE generation = 2")).await;
    let second = load(&mut begun, &definition, step(&lane), streamed(counts(&[("a", 9)]))).await;
    assert!(matches!(second, Ok(CommitOutcome::Applied(_))), "{second:?}");
    assert_eq!(subject.count_of(&counters()[0], Generation(2)).await, 1);
}

pub(super) async fn a_load_that_does_not_succeed_leaves_nothing(subject: &Subject) {
    let definition = definition(counters());
    let (mut begun, mut lane) = begun(subject, &definition).await;
    let rows = || streamed(counts(&[("a", 1)]));
    // It begins where the checkpoint does not stand.
    let mut stale = step(&lane);
    (stale.advances[0].from, stale.advances[0].to) = (2, 4);
    assert_eq!(load(&mut begun, &definition, stale, rows()).await, Ok(CommitOutcome::Fenced));
    // Of an owner that is no longer.
    let earlier = step(&lane);
    lane.claim_again().await;
    assert_eq!(load(&mut begun, &definition, earlier, rows()).await, Ok(CommitOutcome::Fenced));
    // Ahead of the live generation.
    let mut ahead = step(&lane);
    ahead.advances[0].to = 6;
    assert!(matches!(load(&mut begun, &definition, ahead, rows()).await, Ok(CommitOutcome::Held(_))));
    // With more than may be parked.
    let parked = vec![poison(&lane, keyed(1, "a")), poison(&lane, keyed(2, "b"))];
    let parking_limits = ParkingLimits { records: 1, ..ParkingLimits::default() };
    let full = Commit { dead_letters: parked, parking_limits, ..step(&lane) };
    assert!(matches!(load(&mut begun, &definition, full, rows()).await, Ok(CommitOutcome::Full(_))));
    // Without a guard.
    assert!(load(&mut begun, &definition, Commit::default(), rows()).await.is_err());
    // Of a log that could not be folded to its end.
    for end in [Some(Err("the disk is full".to_owned())), None] {
        let (sink, stream) = row_stream();
        std::thread::spawn(move || {
            sink.send((0, counts(&[("a", 1)])));
            if let Some(end) = end {
                sink.end(end);
            }
        });
        let refused = load(&mut begun, &definition, step(&lane), stream).await.expect_err("it did not end");
        assert!(matches!(refused, StoreError::Refused { .. }), "{refused:?}");
    }
    assert_eq!(subject.count_of(&counters()[0], Generation(2)).await, 0);
    assert_eq!(subject.positions_of(Generation(2)).await, [(0, 0)]);
    assert!(lane.load_state(0).await.parked.is_empty());
    // And whoever leads goes on.
    let loaded = load(&mut begun, &definition, step(&lane), rows()).await;
    assert!(matches!(loaded, Ok(CommitOutcome::Applied(_))), "{loaded:?}");
}

pub(super) async fn a_load_keeps_every_type_exactly(subject: &Subject) {
    let nullable =
        |table: TableSpec, (name, column_type, _): &(&str, _, Vec<Value>)| table.nullable(*name, *column_type);
    let table =
        extremes().iter().fold(TableSpec::new("every_type").key("row", readcast_core::ColumnType::I32), nullable);
    let definition = definition([table.clone()]);
    let (mut begun, lane) = begun(subject, &definition).await;
    let all: ChangeSet = changes(std::slice::from_ref(&table), |changes: &mut Changes<'_>| {
        let mut number = 0;
        for (name, _, values) in extremes() {
            for value in values.into_iter().chain([Value::Null]) {
                changes.upsert("every_type", [number]).set(name, value);
                number += 1;
            }
        }
    });
    let mut model = Model::new(vec![table.clone()]);
    model.apply(&all).expect("values that fit");
    let rows = model.rows(0).iter().map(|(key, row)| (key.clone(), row.clone())).collect();
    let loaded = load(&mut begun, &definition, step(&lane), streamed(rows)).await;
    assert!(matches!(loaded, Ok(CommitOutcome::Applied(_))), "{loaded:?}");
    begun.ready().await;
    assert_eq!(begun.swap(subject, Generation(1), Generation(2)).await, Ok(SwapOutcome::Done));
    assert_eq!(subject.rows(&table).await, expected(&model, 0, &table));
}
