//! The life of a generation: begun beside the live one and held behind it, shown to readers, put back, dropped.

use std::time::Duration;

use readcast::source::Extent;
use readcast::store::{
    Advance, BuildOptions, Command, Commit, CommitOutcome, DropOutcome, Generation, GenerationState, Leadership,
    OperationState, Phase, Priority, StoreError, Swap, SwapOutcome,
};
use readcast_core::{ColumnType, Definition, TableSpec, TopicPartition};

use super::commits::{assert_counts, counted, counters};
use super::lane::{Lane, PROJECTION, changes, definition, versioned};
use super::operations::rebuild;
use super::subject::Subject;
use crate::support::eventually::{PATIENCE, eventually};

/// A generation that was begun, and who leads.
pub(super) struct Begun {
    pub(super) lead: Box<dyn Leadership>,
    pub(super) operation: i64,
    pub(super) generation: Generation,
}

/// A build from the start of the log.
pub(super) fn empty() -> BuildOptions {
    BuildOptions::default()
}

/// A build that begins as a copy, at these offsets of the partitions with these numbers.
pub(super) fn copied(offsets: &[(i32, i64)]) -> BuildOptions {
    let offsets = offsets.iter().map(|(number, offset)| (TopicPartition::new("log", *number), *offset));
    BuildOptions { copy_from: Some(offsets.collect()), ..BuildOptions::default() }
}

/// Begins to build a generation.
pub(super) async fn begin(subject: &Subject, definition: &Definition, build: &BuildOptions) -> Begun {
    try_begin(subject, definition, build).await.expect("it can be begun")
}

/// The lead, of which a server may notice a moment later that whoever had it is gone.
pub(super) async fn try_lead(subject: &Subject) -> Box<dyn Leadership> {
    let lead = async || {
        let lead = subject.store.try_lead(PROJECTION).await.map_err(|error| error.to_string())?;
        lead.ok_or_else(|| "somebody else leads".to_owned())
    };
    eventually("nobody else leads", PATIENCE, lead).await
}

async fn try_begin(subject: &Subject, definition: &Definition, build: &BuildOptions) -> Result<Begun, StoreError> {
    let operation = subject.store.request(PROJECTION, &rebuild(definition), "me").await?;
    let mut lead = try_lead(subject).await;
    let generation = lead.begin(operation, definition, build, &Default::default()).await?;
    Ok(Begun { lead, operation, generation })
}

impl Begun {
    /// Finishes the operation with the generation ready.
    pub(super) async fn ready(&mut self) {
        self.lead.proven(self.generation, &Default::default()).await.expect("it can be ready");
        self.lead.finish(self.operation, OperationState::Done, "built").await.expect("an end");
    }

    pub(super) async fn swap(
        &mut self,
        subject: &Subject,
        live: Generation,
        next: Generation,
    ) -> Result<SwapOutcome, StoreError> {
        let (live, next) = (subject.generation(live).await, subject.generation(next).await);
        let operation = subject.store.request(PROJECTION, &Command::Rollback, "me").await?;
        let swap = Swap {
            live: &live,
            next: &next,
            standby_for: Duration::from_secs(3600),
            lock_timeout: Duration::from_secs(1),
            operation,
            outcome: "swapped",
        };
        self.lead.swap(&swap).await
    }
}

fn is_applied(committed: &Result<CommitOutcome, StoreError>) -> bool {
    matches!(committed, Ok(CommitOutcome::Applied(_)))
}

fn held_at(lane: &Lane, offset: i64) -> Result<CommitOutcome, StoreError> {
    Ok(CommitOutcome::Held(vec![(lane.partition.clone(), offset)]))
}

pub(super) async fn a_generation_is_built_beside_the_live_one_and_shown_in_its_place(subject: &Subject) {
    let definition = definition(counters());
    let table = &counters()[0];
    let mut live = Lane::claim(subject, &definition).await;
    live.commit(counted(&["a"])).await.expect("a row");
    let mut begun = begin(subject, &definition, &empty()).await;
    let again = begun.lead.begin(begun.operation, &definition, &empty(), &Default::default()).await;
    assert_eq!(again, Ok(begun.generation), "an operation begins one generation");
    assert_eq!(begun.generation, Generation(2));
    let status = subject.generation(Generation(2)).await;
    assert_eq!((status.state, status.phase), (GenerationState::Building, Some(Phase::Replay)));
    begun.lead.enter(Generation(2), Phase::CatchUp).await.expect("a phase");
    assert_eq!(subject.generation(Generation(2)).await.phase, Some(Phase::CatchUp));
    let mut built = Lane::feed(subject, &definition, Generation(2), 0).await;
    assert!(is_applied(&built.commit(counted(&["b"])).await));
    assert_counts(subject.rows(table).await, &[("a", 1)]);
    assert!(begun.swap(subject, Generation(1), Generation(2)).await.is_err(), "it is not ready");
    begun.ready().await;
    assert!(is_applied(&built.commit(counted(&["b"])).await), "what is ready goes on freely");
    begun.lead.hold(Generation(2)).await.expect("a hold");
    for _ in 0..2 {
        assert_eq!(begun.swap(subject, Generation(1), Generation(2)).await, Ok(SwapOutcome::Done));
        assert_counts(subject.rows(table).await, &[("b", 2)]);
    }
    let [old, new] = [subject.generation(Generation(1)).await, subject.generation(Generation(2)).await];
    assert_eq!((old.state, new.state), (GenerationState::Standby, GenerationState::Live));
    assert!(old.standby_until.is_some() && !old.standby_is_over && new.activated_at.is_some(), "{old:?}");
    assert_eq!(subject.store.alterations(&definition, Generation(2)).await, Ok(vec![]));
    assert_eq!(subject.store.alterations(&definition, Generation(1)).await, Ok(vec![]), "it has no view to lose");
    assert!(is_applied(&built.commit(counted(&["b"])).await), "a swap ends every hold");
    for _ in 0..2 {
        assert!(is_applied(&live.commit(counted(&["a"])).await), "the standby is fed");
    }
    assert_eq!(
        begun.swap(subject, Generation(2), Generation(1)).await,
        Ok(SwapOutcome::Done),
        "and readers can go back"
    );
    assert_counts(subject.rows(table).await, &[("a", 3)]);
    assert_eq!(subject.generation(Generation(1)).await.standby_until, None);
}

pub(super) async fn what_is_building_never_runs_ahead_of_the_live_generation(subject: &Subject) {
    let definition = definition(counters());
    let mut live = Lane::claim(subject, &definition).await;
    live.commit(counted(&["a"])).await.expect("a row");
    let mut begun = begin(subject, &definition, &empty()).await;
    let mut built = Lane::feed(subject, &definition, begun.generation, 0).await;
    assert!(is_applied(&built.commit(counted(&["a"])).await));
    let beyond = built.commit(counted(&["a"])).await;
    assert_eq!(beyond, held_at(&built, 1));
    // What happened is known to have happened, hold or not.
    let first = Advance { from: 0, to: 1, ..built.advance() };
    let repeated = Commit { advances: vec![first], changes: counted(&["a"]), ..Commit::default() };
    assert!(is_applied(&built.try_commit(&repeated).await));
    live.commit(counted(&["a"])).await.expect("a row");
    assert_eq!(built.commit(counted(&["a"])).await, held_at(&built, 1), "the hold stays where it was");
    begun.lead.follow(begun.generation).await.expect("it may go on");
    assert!(is_applied(&built.commit(counted(&["a"])).await));
    assert_eq!(built.commit(counted(&["a"])).await, held_at(&built, 2));
    begun.lead.follow(Generation(1)).await.expect("there is nothing to do");
    assert!(is_applied(&live.commit(counted(&["a"])).await), "only what is building follows");
    // In a partition that the live generation has not seen, there is nothing to follow yet.
    let mut unseen = Lane::feed(subject, &definition, begun.generation, 1).await;
    assert_eq!(unseen.commit(counted(&["b"])).await.map(|held| matches!(held, CommitOutcome::Held(_))), Ok(true));
    assert_eq!(subject.positions_of(begun.generation).await, [(0, 2), (1, 0)]);
}

pub(super) async fn a_hold_stops_the_live_generation_until_it_is_released(subject: &Subject) {
    let definition = definition(counters());
    let mut live = Lane::claim(subject, &definition).await;
    let mut other = Lane::claim_partition(subject, &definition, 1).await;
    live.commit(counted(&["a"])).await.expect("a row");
    let mut begun = begin(subject, &definition, &empty()).await;
    let mut built = Lane::feed(subject, &definition, begun.generation, 0).await;
    begun.lead.hold(begun.generation).await.expect("a hold");
    assert_eq!(live.commit(counted(&["a"])).await.map(|held| matches!(held, CommitOutcome::Held(_))), Ok(true));
    assert!(!is_applied(&other.commit(counted(&["a"])).await), "nor where the other has no checkpoint");
    assert!(is_applied(&built.commit(counted(&["a"])).await), "the other comes to the same place");
    assert!(!is_applied(&built.commit(counted(&["a"])).await));
    let claimed = Lane::claim(subject, &definition).await;
    live.owner_epoch = claimed.owner_epoch;
    assert!(!is_applied(&live.commit(counted(&["a"])).await), "a claim ends no hold");
    begun.lead.release_holds().await.expect("an end");
    assert!(is_applied(&live.commit(counted(&["a"])).await));
    assert!(is_applied(&other.commit(counted(&["a"])).await));
    assert!(!is_applied(&built.commit(counted(&["a"])).await), "what is building stays held");
}

pub(super) async fn a_hold_that_nobody_takes_back_ends_by_itself(subject: &Subject) {
    let definition = definition(counters());
    let mut live = Lane::claim(subject, &definition).await;
    let mut begun = begin(subject, &definition, &empty()).await;
    begun.lead.hold(begun.generation).await.expect("a hold");
    assert!(!is_applied(&live.commit(counted(&["a"])).await));
    let over = format!("UPDATE {} SET hold_until = '2001-01-01T00:00:00.000Z'", subject.own("checkpoints"));
    subject.execute(&over).await;
    assert!(is_applied(&live.commit(counted(&["a"])).await));
}

pub(super) async fn two_generations_are_held_where_the_one_stands_that_is_further(subject: &Subject) {
    let definition = definition(counters());
    let mut live = Lane::claim(subject, &definition).await;
    let mut begun = begin(subject, &definition, &empty()).await;
    let mut ready = Lane::feed(subject, &definition, begun.generation, 0).await;
    begun.ready().await;
    for _ in 0..2 {
        assert!(is_applied(&ready.commit(counted(&["a"])).await));
    }
    let mut alone = Lane::feed(subject, &definition, begun.generation, 1).await;
    begun.lead.hold(begun.generation).await.expect("a hold");
    assert!(is_applied(&alone.commit(counted(&["a"])).await), "where the live one has no checkpoint, nothing is held");
    assert_eq!(ready.commit(counted(&["a"])).await, held_at(&ready, 2));
    assert!(is_applied(&live.commit(counted(&["a"])).await));
    assert!(is_applied(&live.commit(counted(&["a"])).await));
    assert_eq!(live.commit(counted(&["a"])).await, held_at(&live, 2));
    begun.lead.release_holds().await.expect("an end");
    assert!(is_applied(&ready.commit(counted(&["a"])).await));
}

pub(super) async fn a_swap_never_takes_readers_back(subject: &Subject) {
    let definition = definition(counters());
    let mut live = Lane::claim(subject, &definition).await;
    live.commit(counted(&["a"])).await.expect("a row");
    let mut begun = begin(subject, &definition, &empty()).await;
    begun.ready().await;
    let next = begun.generation;
    assert_eq!(begun.swap(subject, Generation(1), next).await, Ok(SwapOutcome::Behind), "it has no checkpoint");
    let mut ready = Lane::feed(subject, &definition, next, 0).await;
    assert_eq!(begun.swap(subject, Generation(1), next).await, Ok(SwapOutcome::Behind), "its checkpoint is behind");
    assert_counts(subject.rows(&counters()[0]).await, &[("a", 1)]);
    assert_eq!(subject.generation(Generation(1)).await.state, GenerationState::Live);
    ready.commit(counted(&["b"])).await.expect("a row");
    ready.commit(counted(&["b"])).await.expect("a row");
    assert_eq!(begun.swap(subject, Generation(1), next).await, Ok(SwapOutcome::Done), "it may be ahead");
}

pub(super) async fn a_swap_brings_and_takes_tables_and_columns(subject: &Subject) {
    let gone = TableSpec::new("gone").key("id", ColumnType::I64);
    let came = TableSpec::new("came").key("id", ColumnType::I64);
    let wider = || counters().remove(0).nullable("note", ColumnType::Text).index(["note"]);
    let before = versioned(1, [counters().remove(0), gone.clone()]);
    let after = versioned(2, [came.clone(), wider()]);
    subject.store.prepare(&before).await.expect("tables");
    let mut begun = begin(subject, &after, &empty()).await;
    begun.lead.index(&after, begun.generation).await.expect("indexes");
    begun.lead.index(&after, begun.generation).await.expect("they are there");
    begun.ready().await;
    assert_eq!(begun.swap(subject, Generation(1), begun.generation).await, Ok(SwapOutcome::Done));
    assert!(subject.rows(&came).await.is_empty() && subject.rows(&wider()).await.is_empty());
    subject.execute("CREATE TABLE gone (id TEXT)").await;
    assert_eq!(subject.store.alterations(&after, begun.generation).await, Ok(vec![]));
    let error = begun.swap(subject, begun.generation, Generation(1)).await.expect_err("a name is taken");
    assert!(matches!(error, StoreError::Refused { .. }) && error.to_string().contains("gone"), "{error:?}");
    assert_eq!(subject.generation(begun.generation).await.state, GenerationState::Live);
    assert!(subject.rows(&came).await.is_empty(), "and nothing changed");
}

pub(super) async fn a_copy_begins_where_the_live_generation_stands(subject: &Subject) {
    let definition = definition(counters());
    let mut lanes = Vec::new();
    for partition in [0, 1] {
        let mut lane = Lane::claim_partition(subject, &definition, partition).await;
        for _ in 0..3 {
            lane.commit(counted(&["a"])).await.expect("a row");
        }
        lanes.push(lane);
    }
    for beyond in [copied(&[(0, 4)]), copied(&[(7, 0)])] {
        let refused = try_begin(subject, &definition, &beyond).await.err().expect("the live one is not there");
        assert!(matches!(refused, StoreError::Refused { .. }), "{refused:?}");
    }
    let begun = begin(subject, &definition, &copied(&[(1, 1)])).await;
    let status = subject.generation(begun.generation).await;
    assert!(status.repeats && !status.scratch, "{status:?}");
    assert_eq!(subject.positions_of(begun.generation).await, [(0, 3), (1, 1)]);
    assert!(status.checkpoints.iter().all(|held| held.start_offset == Some(0)), "{status:?}");
    let mut copy = Lane::feed(subject, &definition, begun.generation, 0).await;
    assert_eq!(copy.next_offset, 3);
    assert_eq!(copy.commit(counted(&["a"])).await, held_at_in(&copy, &[(0, 3), (1, 3)]));
    let mut copy = Lane::feed(subject, &definition, begun.generation, 1).await;
    assert!(is_applied(&copy.commit(counted(&["a"])).await));
    assert_eq!(subject.count_of(&counters()[0], begun.generation).await, 1, "the rows were copied");
}

fn held_at_in(lane: &Lane, holds: &[(i32, i64)]) -> Result<CommitOutcome, StoreError> {
    let partition = |number| TopicPartition::new(lane.partition.topic.clone(), number);
    Ok(CommitOutcome::Held(holds.iter().map(|(number, offset)| (partition(*number), *offset)).collect()))
}

pub(super) async fn a_copy_takes_what_both_declarations_have(subject: &Subject) {
    let before = TableSpec::new("t").key("id", ColumnType::I64).column("kept", ColumnType::Text);
    let before = before.nullable("gone", ColumnType::Text);
    let built = versioned(1, [before.clone()]);
    let mut lane = Lane::claim(subject, &built).await;
    let row = changes(built.tables(), |changes| {
        changes.upsert("t", [1]).set("kept", "text").set("gone", "5");
    });
    lane.commit(row).await.expect("a row");
    let other_key = TableSpec::new("t").key("number", ColumnType::I64).column("kept", ColumnType::Text);
    let lacking = before.clone().column("unknown", ColumnType::Text);
    let retyped = TableSpec::new("t").key("id", ColumnType::I64).column("kept", ColumnType::I32);
    for (impossible, why) in [(other_key, "key"), (lacking, "`unknown`"), (retyped, "the type of column `kept`")] {
        let refused = try_begin(subject, &versioned(2, [impossible]), &copied(&[])).await.err().expect("impossible");
        assert!(matches!(refused, StoreError::Refused { .. }) && refused.to_string().contains(why), "{refused:?}");
    }
    let after = TableSpec::new("t").key("id", ColumnType::I64).with_default("more", ColumnType::I32, 7);
    let after = after.nullable("new", ColumnType::I32).column("kept", ColumnType::Text);
    let new = TableSpec::new("new").key("id", ColumnType::I64);
    let next = versioned(3, [after.clone(), new]);
    let mut begun = begin(subject, &next, &copied(&[])).await;
    assert!(!subject.generation(begun.generation).await.repeats, "nothing is replayed");
    begun.ready().await;
    let swapped = begun.swap(subject, Generation(1), begun.generation).await;
    assert_eq!(swapped, Ok(SwapOutcome::Done));
    let rows: Vec<_> = subject.rows(&after).await.into_iter().collect();
    assert_eq!(rows, [("1".to_owned(), "7 | NULL | text".to_owned())]);
}

pub(super) async fn a_projection_has_one_leader_at_a_time(subject: &Subject) {
    let lead = subject.store.try_lead(PROJECTION).await.expect("an answer").expect("nobody has it");
    assert!(subject.store.try_lead(PROJECTION).await.expect("an answer").is_none());
    assert!(subject.store.try_lead("other").await.expect("an answer").is_some());
    drop(lead);
    self::try_lead(subject).await;
}

pub(super) async fn an_ended_generation_is_dropped_and_its_number_is_never_reused(subject: &Subject) {
    let definition = definition(counters());
    Lane::claim(subject, &definition).await;
    let mut begun = begin(subject, &definition, &empty()).await;
    Lane::feed(subject, &definition, begun.generation, 0).await;
    let building = subject.generation(begun.generation).await;
    assert!(begun.lead.drop_tables(&building).await.is_err(), "it has not ended");
    assert!(begun.lead.end(Generation(1), None).await.is_err(), "readers see it");
    begun.lead.end(begun.generation, Some("it went wrong")).await.expect("an end");
    begun.lead.end(begun.generation, None).await.expect("it has ended");
    let failed = subject.generation(begun.generation).await;
    assert_eq!((failed.state, failed.phase, failed.has_tables), (GenerationState::Failed, None, true));
    assert_eq!(failed.last_error.as_ref().expect("a reason").text, "it went wrong");
    for _ in 0..2 {
        assert_eq!(begun.lead.drop_tables(&failed).await, Ok(DropOutcome::Done(Vec::new())));
    }
    let dropped = subject.generation(begun.generation).await;
    assert!(!dropped.has_tables && dropped.checkpoints.is_empty(), "{dropped:?}");
    let mut writer =
        subject.store.writer(&definition, begun.generation, Priority::Live.into()).await.expect("a writer");
    let claimed = writer.claim(&[(TopicPartition::new("log", 0), Extent::default())]).await;
    assert!(matches!(claimed, Err(StoreError::Refused { .. })), "{claimed:?}");
    begun.lead.finish(begun.operation, OperationState::Refused, "failed").await.expect("an end");
    drop((writer, begun));
    let next = begin(subject, &definition, &empty()).await;
    assert_eq!(next.generation, Generation(3));
}

pub(super) async fn a_standby_is_over_by_the_clock_of_the_database(subject: &Subject) {
    let definition = definition(counters());
    subject.store.prepare(&definition).await.expect("tables");
    let mut begun = begin(subject, &definition, &empty()).await;
    begun.ready().await;
    assert_eq!(begun.swap(subject, Generation(1), begun.generation).await, Ok(SwapOutcome::Done));
    let past = format!("UPDATE {} SET standby_until = '2001-01-01T00:00:00.000Z'", subject.own("generations"));
    assert!(!subject.generation(Generation(1)).await.standby_is_over);
    subject.execute(&format!("{past} WHERE state = 'standby'")).await;
    assert!(subject.generation(Generation(1)).await.standby_is_over);
    begun.lead.end(Generation(1), None).await.expect("an end");
    let retired = subject.generation(Generation(1)).await;
    assert_eq!((retired.state, retired.standby_until.as_ref()), (GenerationState::Retired, None));
}

pub(super) async fn views_of_users_are_named_and_survive_a_swap(subject: &Subject) {
    let definition = definition(counters());
    subject.store.prepare(&definition).await.expect("tables");
    subject.execute("CREATE VIEW report AS SELECT count(*) AS n FROM counters").await;
    let live = subject.generation(Generation(1)).await;
    let swap_impact = subject.store.swap_impact(&live, &definition).await.expect("a look around");
    assert!(swap_impact.bytes > 0 && swap_impact.incompatible.is_empty(), "{swap_impact:?}");
    assert_eq!(swap_impact.dependents.len(), 1, "{swap_impact:?}");
    assert!(swap_impact.dependents[0].contains("report"), "{swap_impact:?}");
    let mut begun = begin(subject, &definition, &copied(&[])).await;
    begun.ready().await;
    assert_eq!(begun.swap(subject, Generation(1), begun.generation).await, Ok(SwapOutcome::Done));
    let report = TableSpec::new("report").key("n", ColumnType::I64);
    assert_eq!(subject.rows(&report).await.into_keys().collect::<Vec<_>>(), ["0"]);
    subject.execute("DROP VIEW report").await;
}

pub(super) async fn a_generation_whose_life_has_ended_is_claimed_by_nobody(subject: &Subject) {
    let definition = definition(counters());
    Lane::claim(subject, &definition).await;
    let mut begun = begin(subject, &definition, &empty()).await;
    begun.lead.end(begun.generation, None).await.expect("an end");
    assert!(subject.generation(begun.generation).await.has_tables, "its tables are dropped later");
    let mut writer =
        subject.store.writer(&definition, begun.generation, Priority::Live.into()).await.expect("a writer");
    let claimed = writer.claim(&[(TopicPartition::new("log", 0), Extent::default())]).await;
    assert!(matches!(claimed, Err(StoreError::Refused { .. })), "{claimed:?}");
}

pub(super) async fn a_generation_that_does_not_exist_is_neither_ended_nor_dropped(subject: &Subject) {
    let definition = definition(counters());
    Lane::claim(subject, &definition).await;
    let mut lead = self::try_lead(subject).await;
    let ended = lead.end(Generation(7), None).await;
    assert!(matches!(ended, Err(StoreError::Refused { .. })), "{ended:?}");
    let unknown =
        readcast::store::GenerationStatus { generation: Generation(7), ..subject.generation(Generation(1)).await };
    let dropped = lead.drop_tables(&unknown).await;
    assert!(matches!(dropped, Err(StoreError::Refused { .. })), "{dropped:?}");
}

pub(super) async fn an_operation_of_another_projection_begins_nothing(subject: &Subject) {
    let definition = definition(counters());
    Lane::claim(subject, &definition).await;
    let elsewhere = subject.store.request("elsewhere", &rebuild(&definition), "me").await.expect("an operation");
    let mut lead = self::try_lead(subject).await;
    let begun = lead.begin(elsewhere, &definition, &empty(), &Default::default()).await;
    assert!(matches!(begun, Err(StoreError::Refused { .. })), "{begun:?}");
    assert_eq!(subject.status().await.generation, Generation(1));
}

pub(super) async fn a_proof_ends_no_hold_on_the_live_generation(subject: &Subject) {
    let definition = definition(counters());
    let mut live = Lane::claim(subject, &definition).await;
    let mut begun = begin(subject, &definition, &empty()).await;
    begun.lead.hold(begun.generation).await.expect("a hold");
    begun.ready().await;
    assert!(!is_applied(&live.commit(counted(&["a"])).await));
    begun.lead.release_holds().await.expect("an end");
    assert!(is_applied(&live.commit(counted(&["a"])).await));
}

pub(super) async fn a_swap_and_the_end_of_its_operation_are_one(subject: &Subject) {
    let definition = definition(counters());
    subject.store.prepare(&definition).await.expect("tables");
    let mut begun = begin(subject, &definition, &copied(&[])).await;
    begun.ready().await;
    let (first, second) = (Generation(1), begun.generation);
    assert_eq!(begun.swap(subject, first, second).await, Ok(SwapOutcome::Done));
    let operations = subject.store.operations(PROJECTION, 10).await.expect("operations can be read");
    let rollback = operations.iter().find(|operation| operation.command == Command::Rollback).expect("it is recorded");
    assert_eq!((rollback.state, rollback.outcome.as_deref()), (OperationState::Done, Some("swapped")));

    let operation = subject.store.request(PROJECTION, &Command::Rollback, "me").await.expect("a request");
    subject.store.cancel(PROJECTION, "me").await.expect("it is cancelled");
    let (live, next) = (subject.generation(second).await, subject.generation(first).await);
    let (standby_for, lock_timeout) = (Duration::from_secs(3600), Duration::from_secs(1));
    let swap = Swap { live: &live, next: &next, standby_for, lock_timeout, operation, outcome: "swapped" };
    assert!(matches!(begun.lead.swap(&swap).await, Err(StoreError::Refused { .. })), "a cancelled swap is not made");
    assert_eq!(subject.generation(second).await.state, GenerationState::Live);
}

pub(super) async fn a_swap_that_is_refused_names_the_state_that_prevents_it(subject: &Subject) {
    let definition = definition(counters());
    Lane::claim(subject, &definition).await;
    let mut begun = begin(subject, &definition, &empty()).await;
    let refused = begun.swap(subject, Generation(1), begun.generation).await.expect_err("it is building");
    assert_eq!(
        refused,
        StoreError::Refused {
            doing: "swapping generations".into(),
            reason: "generation 2 is building, not ready".into()
        }
    );
}

pub(super) async fn when_tables_were_dropped_is_recorded_once(subject: &Subject) {
    let definition = definition(counters());
    Lane::claim(subject, &definition).await;
    let mut begun = begin(subject, &definition, &empty()).await;
    begun.lead.end(begun.generation, None).await.expect("an end");
    let ended = subject.generation(begun.generation).await;
    begun.lead.drop_tables(&ended).await.expect("they can be dropped");
    let past = "SET dropped_at = '2001-01-01T00:00:00.000Z' WHERE dropped_at IS NOT NULL";
    subject.execute(&format!("UPDATE {} {past}", subject.own("generations"))).await;
    begun.lead.drop_tables(&ended).await.expect("they are gone");
    assert_eq!(subject.count_own("generations WHERE dropped_at < '2002-01-01T00:00:00.000Z'").await, 1);
}
