//! Two generations compare as their rows do, at equal checkpoints and in one state of both.

use readcast::store::{
    BuildOptions, CommitOutcome, Comparison, Difference, Generation, GenerationState, Sample, TableComparison,
};
use readcast_core::{ColumnType, TableSpec, Value};

use super::commits::{counted, counters};
use super::lane::{Lane, changes, definition, versioned};
use super::lifecycle::{Begun, begin, copied, empty};
use super::subject::Subject;
use super::values::extremes;

/// Compares the first generation with the one that was begun.
pub(super) async fn compare(subject: &Subject, begun: &mut Begun) -> Option<Comparison> {
    let live = subject.generation(Generation(1)).await;
    let other = subject.generation(begun.generation).await;
    begun.lead.compare(&live, &other).await.expect("they can be compared")
}

/// The only table of a comparison.
pub(super) fn only(comparison: Option<Comparison>) -> TableComparison {
    let mut tables = comparison.expect("both are at the same place").tables;
    assert_eq!(tables.len(), 1, "{tables:#?}");
    tables.remove(0)
}

pub(super) fn sample(key: &str, difference: Difference) -> Sample {
    Sample { key: vec![key.into()], difference }
}

pub(super) async fn generations_compare_at_equal_checkpoints_alone(subject: &Subject) {
    let definition = definition(counters());
    let mut lane = Lane::claim(subject, &definition).await;
    lane.commit(counted(&["a"])).await.expect("a row");
    let mut begun = begin(subject, &definition, &empty()).await;
    assert_eq!(compare(subject, &mut begun).await, None, "one has no checkpoints");
    let mut built = Lane::feed(subject, &definition, begun.generation, 0).await;
    assert_eq!(compare(subject, &mut begun).await, None, "one is behind");
    built.commit(counted(&["a"])).await.expect("a row");
    begun.lead.hold(begun.generation).await.expect("a hold");
    let equal = compare(subject, &mut begun).await.expect("both are at the same place");
    assert_eq!(equal.at.iter().map(|place| (place.partition, place.next_offset)).collect::<Vec<_>>(), [(0, 1)]);
    assert!(equal.is_equal(), "{equal:#?}");
    assert!(
        matches!(lane.commit(counted(&["b"])).await, Ok(CommitOutcome::Applied(_))),
        "the comparison ends the hold"
    );
}

pub(super) async fn a_comparison_sees_one_state_while_rows_go_on(subject: &Subject) {
    let definition = definition(counters());
    let mut lane = Lane::claim(subject, &definition).await;
    let mut begun = begin(subject, &definition, &copied(&[])).await;
    begun.lead.proven(begun.generation, &Comparison::default()).await.expect("it is ready");
    let mut ready = Lane::feed(subject, &definition, begun.generation, 0).await;
    for _ in 0..10 {
        assert!(matches!(ready.commit(counted(&["a", "b"])).await, Ok(CommitOutcome::Applied(_))));
        begun.lead.hold(begun.generation).await.expect("a hold");
        assert!(matches!(lane.commit(counted(&["a", "b"])).await, Ok(CommitOutcome::Applied(_))));
        let go_on = async {
            while matches!(lane.commit(counted(&["c"])).await, Ok(CommitOutcome::Held(_))) {
                tokio::task::yield_now().await;
            }
        };
        let (compared, ()) = tokio::join!(compare(subject, &mut begun), go_on);
        let compared = compared.expect("both were at the same place");
        assert!(compared.is_equal(), "{compared:#?}");
        assert!(matches!(ready.commit(counted(&["c"])).await, Ok(CommitOutcome::Applied(_))));
    }
}

pub(super) async fn every_kind_of_difference_is_named(subject: &Subject) {
    let definition = definition(counters());
    let mut lane = Lane::claim(subject, &definition).await;
    lane.commit(counted(&["b", "c", "d"])).await.expect("rows");
    let mut begun = begin(subject, &definition, &copied(&[])).await;
    let same = only(compare(subject, &mut begun).await);
    assert_eq!((same.live_rows, same.other_rows, same.differences()), (Some(3), Some(3), 0));
    assert_eq!(same.compared, ["id", "count"]);
    assert!(same.live_digest.is_some() && same.live_digest == same.other_digest, "{same:?}");
    let other = subject.physical_of(&counters()[0], begun.generation);
    for change in [
        format!("DELETE FROM {other} WHERE id = 'b'"),
        format!("UPDATE {other} SET count = 7 WHERE id = 'c'"),
        format!("INSERT INTO {other} (id, count) VALUES ('a', 1)"),
    ] {
        subject.execute(&change).await;
    }
    let differs = only(compare(subject, &mut begun).await);
    assert_eq!((differs.only_live, differs.only_other, differs.changed), (1, 1, 1));
    assert_ne!(differs.live_digest, differs.other_digest);
    let changed = Difference::Changed(vec!["count".into()]);
    assert_eq!(
        differs.samples,
        [sample("a", Difference::OnlyOther), sample("b", Difference::OnlyLive), sample("c", changed)]
    );
}

pub(super) async fn tables_and_columns_that_came_or_went_are_not_compared(subject: &Subject) {
    let kept = || TableSpec::new("kept").key("id", ColumnType::I64);
    let before = [
        kept().nullable("same", ColumnType::Text).nullable("retyped", ColumnType::Text),
        TableSpec::new("gone").key("id", ColumnType::I64),
        TableSpec::new("rekeyed").key("id", ColumnType::I64),
    ];
    let after = [
        TableSpec::new("rekeyed").key("number", ColumnType::I64),
        kept()
            .nullable("retyped", ColumnType::I32)
            .nullable("same", ColumnType::Text)
            .nullable("more", ColumnType::I32),
        TableSpec::new("came").key("id", ColumnType::I64),
    ];
    subject.store.prepare(&versioned(1, before)).await.expect("tables");
    let mut begun = begin(subject, &versioned(2, after), &empty()).await;
    let comparison = compare(subject, &mut begun).await.expect("both are at no place");
    let found = |name: &str| comparison.tables.iter().find(|table| table.table == name).expect("it is named");
    assert_eq!((found("gone").live_rows, found("gone").other_rows), (Some(0), None));
    assert_eq!((found("came").live_rows, found("came").other_rows), (None, Some(0)));
    assert!(found("rekeyed").compared.is_empty());
    assert_eq!(found("kept").compared, ["id", "same"]);
}

pub(super) async fn only_the_first_rows_that_differ_are_named(subject: &Subject) {
    let definition = definition(counters());
    let mut lane = Lane::claim(subject, &definition).await;
    let ids: Vec<_> = (0..25).map(|number| format!("id{number:02}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    lane.commit(counted(&ids)).await.expect("rows");
    let mut begun = begin(subject, &definition, &copied(&[])).await;
    subject.execute(&format!("UPDATE {} SET count = 2", subject.physical(&counters()[0]))).await;
    let differs = only(compare(subject, &mut begun).await);
    assert_eq!((differs.changed, differs.samples.len()), (25, 10));
    assert_eq!((differs.samples[0].key[0].as_str(), differs.samples[9].key[0].as_str()), ("id00", "id09"));
}

pub(super) async fn values_of_every_type_compare(subject: &Subject) {
    let key = TableSpec::new("every_type").key("row", ColumnType::I32);
    let table = extremes().iter().fold(key, |table, (name, column_type, _)| table.nullable(*name, *column_type));
    let keyable = |column_type: &ColumnType| !matches!(column_type, ColumnType::F64 | ColumnType::Json);
    let keyed: Vec<_> = extremes().into_iter().filter(|(_, column_type, _)| keyable(column_type)).collect();
    let keys =
        keyed.iter().fold(TableSpec::new("keys"), |table, (name, column_type, _)| table.key(*name, *column_type));
    let tables = [table, keys];
    let definition = definition(tables.clone());
    let mut lane = Lane::claim(subject, &definition).await;
    let rows = changes(&tables, |changes| {
        let values =
            extremes().into_iter().flat_map(|(name, _, values)| values.into_iter().map(move |value| (name, value)));
        for (row, (name, value)) in (0..).zip(values) {
            changes.upsert("every_type", [row]).set(name, value);
        }
        changes.upsert("keys", keyed.iter().map(|(_, _, values)| values[0].clone()).collect::<Vec<Value>>());
    });
    assert!(matches!(lane.commit(rows).await, Ok(CommitOutcome::Applied(_))));
    let mut begun = begin(subject, &definition, &copied(&[])).await;
    let equal = compare(subject, &mut begun).await.expect("both are at the same place");
    assert!(equal.is_equal(), "{equal:#?}");
    subject.execute(&format!("DELETE FROM {}", subject.physical(&tables[1]))).await;
    let differs = compare(subject, &mut begun).await.expect("both are at the same place");
    let expected: Vec<_> = keyed.iter().map(|(_, _, values)| values[0].to_string()).collect();
    assert_eq!(differs.tables[1].samples, [Sample { key: expected, difference: Difference::OnlyOther }]);
    for (name, ..) in extremes() {
        let table = subject.physical_of(&tables[0], begun.generation);
        subject.execute(&format!("UPDATE {table} SET {name} = NULL WHERE {name} IS NOT NULL")).await;
    }
    let differs = compare(subject, &mut begun).await.expect("both are at the same place");
    let (first, last) = (extremes()[0].0, differs.tables[0].samples[0].difference.clone());
    assert_eq!(last, Difference::Changed(vec![first.into()]));
    let values: usize = extremes().iter().map(|(_, _, values)| values.len()).sum();
    assert_eq!(differs.tables[0].changed, values as u64);
}

pub(super) async fn a_scratch_generation_is_retired_once_it_is_compared(subject: &Subject) {
    let definition = definition(counters());
    subject.store.prepare(&definition).await.expect("tables");
    let mut begun = begin(subject, &definition, &BuildOptions { scratch: true, ..BuildOptions::default() }).await;
    assert!(subject.generation(begun.generation).await.scratch);
    let proof = compare(subject, &mut begun).await.expect("both are at no place");
    for _ in 0..2 {
        begun.lead.proven(begun.generation, &proof).await.expect("it is recorded");
        let status = subject.generation(begun.generation).await;
        assert_eq!((status.state, status.phase), (GenerationState::Retired, None));
        assert_eq!(status.proof.as_ref(), Some(&proof));
    }
}
