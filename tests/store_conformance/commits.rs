//! Rows and checkpoints, together or not at all, and for one owner.

use readcast::source::Extent;
use readcast::store::{Commit, CommitOutcome, Generation, Priority, StoreError, Written};
use readcast_core::{ChangeSet, ColumnType, TableSpec, TopicPartition};

use super::lane::{Lane, changes, definition};
use super::subject::Subject;

pub(super) fn counters() -> Vec<TableSpec> {
    vec![TableSpec::new("counters").key("id", ColumnType::Text).with_default("count", ColumnType::I64, 0)]
}

/// One more for each of `ids`.
pub(super) fn counted(ids: &[&str]) -> ChangeSet {
    changes(&counters(), |changes| {
        for id in ids {
            changes.upsert("counters", [*id]).add("count", 1);
        }
    })
}

/// Checks every counter there is.
#[track_caller]
pub(super) fn assert_counts(rows: std::collections::BTreeMap<String, String>, expected: &[(&str, i64)]) {
    let expected = expected.iter().map(|(id, count)| ((*id).to_owned(), count.to_string())).collect();
    assert_eq!(rows, expected);
}

pub(super) async fn rows_and_checkpoints_commit_together(subject: &Subject) {
    let mut lane = Lane::claim(subject, &definition(counters())).await;
    assert_eq!(subject.positions().await, [(0, 0)]);
    let committed = lane.commit(counted(&["a", "b", "a"])).await;
    assert_eq!(committed, Ok(CommitOutcome::Applied(Written { rows: 2, missed: 0 })));
    assert_counts(subject.rows(&counters()[0]).await, &[("a", 2), ("b", 1)]);
    assert_eq!(subject.positions().await, [(0, 1)]);
}

pub(super) async fn a_number_out_of_range_rolls_the_whole_commit_back(subject: &Subject) {
    let mut lane = Lane::claim(subject, &definition(counters())).await;
    let most = changes(&counters(), |changes| {
        changes.upsert("counters", ["full"]).set("count", i64::MAX);
    });
    assert!(matches!(lane.commit(most).await, Ok(CommitOutcome::Applied(_))));
    let refused = lane.commit(counted(&["a", "full", "z"])).await.expect_err("one more does not fit");
    assert!(matches!(refused, StoreError::Unstorable { .. }), "{refused:?}");
    assert!(refused.to_string().contains("counters"), "{refused}");
    assert_counts(subject.rows(&counters()[0]).await, &[("full", i64::MAX)]);
    assert_eq!(subject.positions().await, [(0, 1)]);
    assert!(matches!(lane.commit(counted(&["a"])).await, Ok(CommitOutcome::Applied(_))), "the writer goes on");
}

pub(super) async fn a_commit_from_a_stale_position_is_fenced_and_writes_nothing(subject: &Subject) {
    let mut lane = Lane::claim(subject, &definition(counters())).await;
    for _ in 0..3 {
        assert!(matches!(lane.commit(counted(&["a"])).await, Ok(CommitOutcome::Applied(_))));
    }
    for from in [0, 1, 4] {
        let advance = readcast::store::Advance { from, to: from + 1, ..lane.advance() };
        let stale = Commit { advances: vec![advance], changes: counted(&["a", "b"]), ..Commit::default() };
        assert_eq!(lane.try_commit(&stale).await, Ok(CommitOutcome::Fenced), "from {from}");
    }
    assert_counts(subject.rows(&counters()[0]).await, &[("a", 3)]);
    assert_eq!(subject.positions().await, [(0, 3)]);
}

pub(super) async fn a_commit_of_an_earlier_owner_is_fenced_and_writes_nothing(subject: &Subject) {
    let mut earlier = Lane::claim(subject, &definition(counters())).await;
    assert!(matches!(earlier.commit(counted(&["a"])).await, Ok(CommitOutcome::Applied(_))));
    let mut later = Lane::claim(subject, &definition(counters())).await;
    assert_eq!(earlier.commit(counted(&["b"])).await, Ok(CommitOutcome::Fenced));
    assert_counts(subject.rows(&counters()[0]).await, &[("a", 1)]);
    assert!(matches!(later.commit(counted(&["a"])).await, Ok(CommitOutcome::Applied(_))));
    // The earlier owner's step has been taken meanwhile, but not by it.
    assert_eq!(earlier.commit(counted(&["b"])).await, Ok(CommitOutcome::Fenced));
    assert_counts(subject.rows(&counters()[0]).await, &[("a", 2)]);
    assert_eq!(subject.positions().await, [(0, 2)]);
}

pub(super) async fn one_fenced_partition_keeps_the_others_where_they_are(subject: &Subject) {
    let mut lane = Lane::claim_partition(subject, &definition(counters()), 0).await;
    let other = Lane::claim_partition(subject, &definition(counters()), 1).await;
    let mut stale = other.advance();
    stale.owner_epoch -= 1;
    let commit = Commit { advances: vec![lane.advance(), stale], changes: counted(&["a"]), ..Commit::default() };
    assert_eq!(lane.try_commit(&commit).await, Ok(CommitOutcome::Fenced));
    assert_eq!(subject.positions().await, [(0, 0), (1, 0)]);
    let both =
        Commit { advances: vec![lane.advance(), other.advance()], changes: counted(&["a"]), ..Commit::default() };
    assert!(matches!(lane.try_commit(&both).await, Ok(CommitOutcome::Applied(_))));
    assert_eq!(subject.positions().await, [(0, 1), (1, 1)]);
    assert_counts(subject.rows(&counters()[0]).await, &[("a", 1)]);
}

pub(super) async fn a_completed_commit_is_not_repeated(subject: &Subject) {
    let mut lane = Lane::claim(subject, &definition(counters())).await;
    let commit = Commit { advances: vec![lane.advance()], changes: counted(&["a"]), ..Commit::default() };
    assert_eq!(lane.try_commit(&commit).await, Ok(CommitOutcome::Applied(Written { rows: 1, missed: 0 })));
    assert_eq!(lane.try_commit(&commit).await, Ok(CommitOutcome::Applied(Written::default())));
    assert_counts(subject.rows(&counters()[0]).await, &[("a", 1)]);
}

/// A hold, its release or another's repair rewrites a row without changing what the guard asks for.
pub(super) async fn a_commit_finds_checkpoints_that_somebody_else_has_rewritten_and_moves_each_once(subject: &Subject) {
    let mut lane = Lane::claim_partition(subject, &definition(counters()), 0).await;
    let mut other = Lane::claim_partition(subject, &definition(counters()), 1).await;
    let rewritten = ["", "partition = 1", "partition = 0", "partition IN (0, 1)", "partition = 7"];
    for (round, rewritten) in rewritten.iter().cycle().take(20).enumerate() {
        if !rewritten.is_empty() {
            let checkpoints = subject.own("checkpoints");
            subject.execute(&format!("UPDATE {checkpoints} SET hold_at = NULL WHERE {rewritten}")).await;
        }
        let advances = vec![lane.advance(), other.advance()];
        let commit = Commit { advances, changes: counted(&["a"]), ..Commit::default() };
        let committed = lane.try_commit(&commit).await;
        assert_eq!(committed, Ok(CommitOutcome::Applied(Written { rows: 1, missed: 0 })), "round {round}: {rewritten}");
        (lane.next_offset, other.next_offset) = (lane.next_offset + 1, other.next_offset + 1);
    }
    assert_eq!(subject.positions().await, [(0, 20), (1, 20)]);
    assert_counts(subject.rows(&counters()[0]).await, &[("a", 20)]);
}

pub(super) async fn positions_are_those_of_one_generation(subject: &Subject) {
    let definition = definition(counters());
    let of = async |of| {
        let positions = subject.store.positions(definition.name(), of).await.expect("they can be read");
        positions.into_iter().map(|(at, next)| (at.partition, next)).collect::<Vec<_>>()
    };
    let mut lane = Lane::claim(subject, &definition).await;
    let mut other = Lane::claim_partition(subject, &definition, 1).await;
    for lane in [&mut lane, &mut other] {
        assert!(matches!(lane.commit(counted(&["a"])).await, Ok(CommitOutcome::Applied(_))));
    }
    assert!(matches!(lane.commit(counted(&["a"])).await, Ok(CommitOutcome::Applied(_))));
    assert_eq!(of(Some(Generation(1))).await, [(0, 2), (1, 1)]);
    assert_eq!(of(None).await, [(0, 2), (1, 1)], "it is the live one");
    assert_eq!(of(Some(Generation(2))).await, []);
    let mut all = subject.store.generations().await.expect("generations can be read");
    all.iter_mut().for_each(|status| status.checkpoints.clear());
    assert_eq!(subject.store.generations_of(definition.name()).await, Ok(all));
    assert_eq!(subject.store.generations_of("another").await, Ok(vec![]));
}

pub(super) async fn a_claim_raises_the_epoch_and_keeps_the_position(subject: &Subject) {
    let definition = definition(counters());
    let mut first = Lane::claim(subject, &definition).await;
    assert_eq!((first.next_offset, first.owner_epoch), (0, 1));
    assert!(matches!(first.commit(counted(&["a"])).await, Ok(CommitOutcome::Applied(_))));
    let second = Lane::claim(subject, &definition).await;
    assert_eq!((second.next_offset, second.owner_epoch), (1, 2));
    assert_eq!(subject.positions().await, [(0, 1)]);
}

pub(super) async fn a_checkpoint_keeps_the_first_known_log_id(subject: &Subject) {
    let definition = definition(counters());
    subject.store.prepare(&definition).await.expect("tables");
    let mut writer = subject.store.writer(&definition, Generation(1), Priority::Live.into()).await.expect("a writer");
    let partition = |number| TopicPartition::new("log", number);
    let extent = |log_id: Option<&str>| Extent { start: 5, end: 9, log_id: log_id.map(str::to_owned) };
    let mut found = Vec::new();
    for log_id in [None, Some("one"), Some("other"), None] {
        let extents = [(partition(0), extent(log_id)), (partition(1), extent(Some("same")))];
        let claimed = writer.claim(&extents).await.expect("a claim");
        assert_eq!(claimed.len(), 2);
        let [zero, one] = [0, 1].map(|number| {
            claimed.iter().find(|checkpoint| checkpoint.partition == partition(number)).expect("each is claimed")
        });
        assert_eq!((zero.next_offset, one.next_offset), (5, 5));
        assert_eq!(one.log_id.as_deref(), Some("same"));
        found.push(zero.log_id.clone());
    }
    assert_eq!(found, [None, Some("one".into()), Some("one".into()), Some("one".into())]);
}

pub(super) async fn two_writers_of_the_same_rows_in_opposite_order_both_succeed(subject: &Subject) {
    const ROUNDS: i64 = 30;
    let definition = definition(counters());
    let ids = ["a", "b", "c", "d", "e", "f"];
    let mut reversed = ids;
    reversed.reverse();
    let mut one = Lane::claim_partition(subject, &definition, 0).await;
    let mut other = Lane::claim_partition(subject, &definition, 1).await;
    let count = async |lane: &mut Lane, ids: &[&str]| {
        for _ in 0..ROUNDS {
            let committed = lane.commit(counted(ids)).await;
            assert!(matches!(committed, Ok(CommitOutcome::Applied(_))), "{committed:?}");
        }
    };
    tokio::join!(count(&mut one, &ids), count(&mut other, &reversed));
    assert_counts(subject.rows(&counters()[0]).await, &ids.map(|id| (id, 2 * ROUNDS)));
    assert_eq!(subject.positions().await, [(0, ROUNDS), (1, ROUNDS)]);
}

/// Changes of the same rows that take several statements, others for each lane and round.
fn varied(tables: &[TableSpec], lane: usize, round: usize) -> ChangeSet {
    changes(tables, |changes| {
        for number in 0..8_i64 {
            match (number as usize + round + 3 * lane) % 5 {
                0 => drop(changes.upsert("pages", [number]).add("visits", 1)),
                1 => drop(changes.upsert("pages", [number]).set("note", "seen")),
                2 => drop(changes.update("pages", [number]).set("note", "known")),
                3 => changes.delete("pages", [number]),
                _ => drop(changes.upsert("pages", [number]).max("longest", number)),
            }
        }
        if round.is_multiple_of(3) {
            changes.update_where("pages", "note", "known").add("visits", 1);
        }
    })
}

pub(super) async fn writers_of_the_same_rows_in_several_statements_never_deadlock(subject: &Subject) {
    let tables = [TableSpec::new("pages")
        .key("id", ColumnType::I64)
        .with_default("visits", ColumnType::I64, 0)
        .with_default("longest", ColumnType::I64, 3)
        .nullable("note", ColumnType::Text)
        .index(["note"])];
    let definition = definition(tables.clone());
    let mut lanes = Vec::new();
    for partition in 0..4 {
        lanes.push(Lane::claim_partition(subject, &definition, partition).await);
    }
    let racing = lanes.iter_mut().enumerate().map(async |(number, lane)| {
        for round in 0..60 {
            let committed = lane.commit(varied(&tables, number, round)).await;
            assert!(matches!(committed, Ok(CommitOutcome::Applied(_))), "lane {number}, round {round}: {committed:?}");
        }
    });
    futures_util::future::join_all(racing).await;
}

pub(super) async fn a_row_that_exists_is_not_refused_for_what_a_new_one_would_hold(subject: &Subject) {
    let tables = [TableSpec::new("limits")
        .key("id", ColumnType::Text)
        .with_default("left", ColumnType::I64, i64::MAX)
        .with_default("most", ColumnType::I64, 3)];
    let mut lane = Lane::claim(subject, &definition(tables.clone())).await;
    let set = changes(&tables, |changes| {
        changes.upsert("limits", ["a"]).set("left", 1);
    });
    assert!(matches!(lane.commit(set).await, Ok(CommitOutcome::Applied(_))));
    let in_several_statements = |id| {
        changes(&tables, |changes| {
            changes.upsert("limits", [id]).add("left", 1);
            changes.upsert("limits", ["b"]).max("most", 9);
        })
    };
    let added = lane.commit(in_several_statements("a")).await;
    assert!(matches!(added, Ok(CommitOutcome::Applied(_))), "{added:?}");
    let rows: Vec<_> = subject.rows(&tables[0]).await.into_iter().collect();
    assert_eq!(rows, [("a".to_owned(), "2 | 3".to_owned()), ("b".to_owned(), format!("{} | 9", i64::MAX))]);
    let refused = lane.commit(in_several_statements("c")).await;
    assert!(matches!(refused, Err(StoreError::Unstorable { .. })), "{refused:?}");
}

pub(super) async fn two_owners_of_one_partition_never_both_write(subject: &Subject) {
    let definition = definition(counters());
    let mut lanes = [Lane::claim(subject, &definition).await, Lane::claim(subject, &definition).await];
    // Both believe that they own it, and both try the same steps at the same time.
    for round in 1..=10 {
        let [one, other] = &mut lanes;
        let (first, second) = tokio::join!(one.commit(counted(&["a"])), other.commit(counted(&["a"])));
        assert_eq!(first, Ok(CommitOutcome::Fenced));
        assert!(matches!(second, Ok(CommitOutcome::Applied(_))), "{second:?}");
        assert_counts(subject.rows(&counters()[0]).await, &[("a", round)]);
    }
    assert_eq!(subject.status().await.generation, Generation(1));
}
