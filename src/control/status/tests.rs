//! The remarks and totals of projections in each state.

use readcast_core::{Registry, TopicPartition};

use super::*;
use crate::control::tests::Minimal;
use crate::source::Extent;
use crate::store::{
    Command, Generation, NoticeKind, OperationProgress, OperationState, ParkedCounts, Phase, RecordedError,
};

/// An instance with this code.
fn attended((hash, present): &(&str, bool)) -> InstanceHeartbeat {
    let registry = Registry::new().register(Minimal);
    let definition = &registry.definitions()[0];
    InstanceHeartbeat {
        projection: "p".into(),
        definition_hash: if *hash == "code" { definition.hash().into() } else { (*hash).into() },
        present: *present,
        last_seen: "then".into(),
    }
}

/// The remarks with this code, these generations, this operation and instances with these definitions.
fn remarked(
    generations: Vec<GenerationStatus>,
    operation: Option<Operation>,
    heartbeats: &[(&str, bool)],
) -> Vec<String> {
    let registry = Registry::new().register(Minimal);
    let heartbeats: Vec<InstanceHeartbeat> = heartbeats.iter().map(attended).collect();
    let operations = operation.into_iter().collect();
    let remarks = remarks_of(&Observed { operations, ..observed(&registry, generations, &heartbeats) });
    remarks.iter().map(ToString::to_string).collect()
}

fn observed<'a>(
    registry: &'a Registry,
    generations: Vec<GenerationStatus>,
    heartbeats: &'a [InstanceHeartbeat],
) -> Observed<'a> {
    let definition = &registry.definitions()[0];
    Observed {
        definition,
        hashes: vec![definition.hash()],
        extents: Extents::new(),
        generations,
        operations: Vec::new(),
        notices: Vec::new(),
        heartbeats,
    }
}

fn live() -> GenerationStatus {
    let registry = Registry::new().register(Minimal);
    let definition = &registry.definitions()[0];
    GenerationStatus {
        definition_hash: definition.hash().into(),
        tables: definition.tables().to_vec(),
        ..GenerationStatus::live_at(&[(0, 40)])
    }
}

fn building() -> GenerationStatus {
    let state = GenerationState::Building;
    GenerationStatus { generation: Generation(2), state, phase: Some(Phase::Replay), ..live() }
}

fn verifying(state: OperationState) -> Operation {
    let registry = Registry::new().register(Minimal);
    let progress = OperationProgress { phase: "replay".into(), done: 1, total: 4, per_second: None };
    Operation {
        id: 7,
        projection: "p".into(),
        command: Command::Verify { definition_hash: registry.definitions()[0].hash().into() },
        requested_by: "ann@db1".into(),
        requested_at: "noon".into(),
        state,
        generation: Some(Generation(2)),
        progress: Some(progress),
        outcome: Some("all rows are the same".into()),
        finished_at: Some("one".into()),
    }
}

#[test]
fn a_healthy_projection_has_no_remarks() {
    assert!(remarked(vec![live()], None, &[("code", true)]).is_empty());
    assert!(remarked(vec![live()], None, &[]).is_empty(), "no instance ever ran");
    assert!(remarked(Vec::new(), None, &[]).is_empty());
}

#[test]
fn an_open_operation_is_shown_with_the_command_to_type() {
    let open = || Some(verifying(OperationState::Running));
    let with = |building, heartbeats: &[_]| remarked(vec![live(), building], open(), heartbeats)[0].clone();
    let running = with(building(), &[("code", true)]);
    let expected = "p: operation 7 (`verify`, requested by ann@db1 at noon): replay, 1 of 4 (25 %). Next: wait, or `readcast cancel p`";
    assert_eq!(running, expected);
    assert!(
        with(building(), &[("old", true)])
            .ends_with("no instance with its definition runs: start one, or `readcast verify p`")
    );
    let paused = GenerationStatus { paused_since: Some("noon".into()), ..building() };
    assert!(with(paused, &[("code", true)]).ends_with("Next: `readcast resume p --rebuild`"));
    let last_error = Some(RecordedError {
        text: "poison at orders/0@3".into(),
        since: "noon".into(),
        attempt: None,
        ..RecordedError::default()
    });
    let halted = remarked(vec![live(), GenerationStatus { last_error, ..building() }], open(), &[("code", true)]);
    assert!(halted[0].ends_with("Next: correct the error of generation 2, or `readcast cancel p`"), "{halted:?}");
    assert_eq!(halted[1], "p: generation 2 (building) is halted since noon: poison at orders/0@3");
}

#[test]
fn an_error_that_may_pass_is_no_halt() {
    let error = RecordedError {
        text: "the log does not answer".into(),
        since: "noon".into(),
        attempt: Some(3),
        ..RecordedError::default()
    };
    let away = GenerationStatus { last_error: Some(error), ..building() };
    let remarked = remarked(vec![live(), away], Some(verifying(OperationState::Running)), &[("code", true)]);
    assert!(remarked[0].ends_with("Next: wait, or `readcast cancel p`"), "{remarked:?}");
    assert_eq!(
        remarked[1..],
        ["p: generation 2 (building) is retrying since noon, attempt 3: the log does not answer"]
    );
}

#[test]
fn parked_records_are_counted_with_the_command_that_lists_them() {
    let parked = ParkedCounts { keys: 2, records: 5, oldest: Some("noon".into()), ..ParkedCounts::default() };
    let of = |generation| GenerationStatus { parked: parked.clone(), ..generation };
    let remarked = remarked(vec![of(live()), of(building())], None, &[("code", true)]);
    let expected = [
        "p: generation 1 (live) has 5 records of 2 keys parked, the oldest since noon. Next: `readcast dead-letters \
         list p`",
        "p: generation 2 (building) has 5 records of 2 keys parked, the oldest since noon. Next: `readcast \
         dead-letters list p --generation 2`",
    ];
    assert_eq!(remarked, expected);
}

#[test]
fn the_last_operation_that_ended_is_shown_with_its_outcome() {
    let ended = remarked(vec![live()], Some(verifying(OperationState::Done)), &[("code", true)]);
    assert_eq!(ended, ["p: operation 7 (`verify`) was done at one: all rows are the same"]);
}

#[test]
fn a_live_generation_that_no_instance_feeds_shows_its_age() {
    let stopped = remarked(vec![live()], None, &[("code", false)]);
    let expected = "p: readcast is not running for this projection; its rows are as of then. Next: `readcast run`";
    assert_eq!(stopped, [expected]);
    let replaced = remarked(vec![GenerationStatus::live_at(&[])], None, &[("code", true), ("h", false)]);
    let expected = "p: no running instance has the code that built the live generation (version 1); its rows are as of \
                    then. Next: start an instance with that code, or `readcast rebuild p --wait`";
    assert_eq!(replaced[0], expected);
    assert!(replaced[1].starts_with("p: the code defines `p` differently from its live generation: "), "{replaced:?}");
    assert!(replaced[1].ends_with("Next: `readcast rebuild p`"));
}

#[test]
fn a_ready_generation_waits_for_a_command() {
    let ready = GenerationStatus { state: GenerationState::Ready, phase: None, ..building() };
    let remarked = remarked(vec![live(), ready], None, &[("code", true)]);
    assert_eq!(
        remarked,
        ["p: generation 2 is ready to activate. Next: `readcast activate p`, or `readcast retire p` to drop it"]
    );
}

#[test]
fn one_parked_record_is_counted_in_the_singular() {
    let parked = ParkedCounts { keys: 1, records: 1, oldest: Some("noon".into()), ..ParkedCounts::default() };
    let remarked = remarked(vec![GenerationStatus { parked, ..live() }], None, &[("code", true)]);
    assert!(remarked[0].contains("has 1 record of 1 key parked"), "{remarked:?}");
}

#[test]
fn a_notice_is_a_remark_with_its_advice() {
    let notice = RecordedNotice {
        projection: "p".into(),
        generation: Generation(1),
        kind: NoticeKind::CopyingFails,
        subject: String::new(),
        text: "it is so".into(),
        next: "type this".into(),
        count: 0,
        since: "noon".into(),
        seen_at: "one".into(),
        is_old: false,
    };
    let registry = Registry::new().register(Minimal);
    let observed = Observed { notices: vec![notice], ..observed(&registry, Vec::new(), &[]) };
    let [remark] = &remarks_of(&observed)[..] else { panic!("there is one notice") };
    let expected = ("generation 1: it is so (since noon)", Some("type this"));
    assert_eq!((&*remark.text, remark.next.as_deref()), expected);
}

#[test]
fn totals_count_what_readers_see() {
    let parked = ParkedCounts { keys: 2, records: 5, ..ParkedCounts::default() };
    let live = GenerationStatus { parked, ..live() };
    let registry = Registry::new().register(Minimal);
    let extents = [(TopicPartition::new("orders", 0), Extent { start: 0, end: 47, log_id: None })];
    let behind = GenerationStatus { checkpoints: Vec::new(), ..building() };
    let observed = Observed { extents: extents.into(), ..observed(&registry, vec![live, behind], &[]) };
    let expected = StatusTotals { projections: 1, records_behind: Some(7), parked_keys: 2, parked_records: 5 };
    assert_eq!(totals(&[observed]), expected);
}

#[test]
fn the_lag_is_unknown_while_the_end_of_one_log_is() {
    let registry = Registry::new().register(Minimal);
    assert_eq!(totals(&[observed(&registry, vec![live()], &[])]).records_behind, None);
}

#[test]
fn a_projection_that_is_declared_nowhere_is_named_unless_an_instance_runs_it() {
    let generations = [live()];
    let named = |declared: &[&str], running: bool| {
        let heartbeats = if running { vec![attended(&("code", true))] } else { Vec::new() };
        not_declared(declared, &generations, &heartbeats).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(named(&["p"], false), Vec::<String>::new());
    assert_eq!(named(&["other"], true), Vec::<String>::new());
    let expected = "p: the database has its tables, and this program does not declare it: they stay, and are not fed. Next: put \
                    its file or its code back, or `readcast rename p NEW` if it has another name now";
    assert_eq!(named(&["other"], false), [expected]);
}
