//! What operators ask for is asked for once, kept, and done or taken back.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use readcast::store::{
    Command, Commit, CommitOutcome, Generation, GenerationError, GenerationState, Notice, NoticeKind, Operation,
    OperationProgress, OperationState, Rebuild,
};
use readcast_core::Definition;

use super::commits::{counted, counters};
use super::lane::{Lane, PROJECTION, definition};
use super::lifecycle::{begin, empty};
use super::subject::{Subject, instance};

pub(super) fn rebuild(definition: &Definition) -> Command {
    Command::Rebuild(Rebuild::of(definition.hash()))
}

async fn operations(subject: &Subject, finished: usize) -> Vec<Operation> {
    subject.store.operations(PROJECTION, finished).await.expect("operations can be read")
}

async fn request(subject: &Subject, command: &Command) -> i64 {
    subject.store.request(PROJECTION, command, "me").await.expect("it can be asked for")
}

pub(super) async fn the_same_operation_is_open_once(subject: &Subject) {
    let first = request(subject, &Command::Rollback).await;
    assert_eq!(request(subject, &Command::Rollback).await, first);
    let other = request(subject, &rebuild(&definition(counters()))).await;
    assert!(other > first);
    let elsewhere = subject.store.request("elsewhere", &Command::Rollback, "me").await.expect("another's operation");
    assert!(elsewhere > other);
    let open = operations(subject, 0).await;
    assert_eq!(open.iter().map(|operation| operation.id).collect::<Vec<_>>(), [first, other]);
    assert_eq!((&open[0].command, open[0].requested_by.as_str()), (&Command::Rollback, "me"));
    assert_eq!((open[0].state, open[0].generation, &open[0].finished_at), (OperationState::Requested, None, &None));
    assert!(open[0].requested_at.parse::<readcast_core::Timestamp>().is_ok(), "{open:?}");
    let mut lead = subject.store.try_lead(PROJECTION).await.expect("a lead").expect("nobody has it");
    lead.finish(first, OperationState::Done, "done").await.expect("an end");
    assert!(request(subject, &Command::Rollback).await > first, "what is finished can be asked for again");
}

pub(super) async fn an_operation_ends_once_and_the_last_are_kept(subject: &Subject) {
    let mut lead = subject.store.try_lead(PROJECTION).await.expect("a lead").expect("nobody has it");
    let mut asked = Vec::new();
    for command in
        [Command::Rollback, Command::Retire, Command::Activate { accept_difference: true, accept_type_change: false }]
    {
        asked.push(request(subject, &command).await);
    }
    let progress = OperationProgress { phase: "replay".into(), done: 3, total: 9, per_second: Some(1.5) };
    lead.progress(asked[0], &progress).await.expect("progress");
    assert_eq!(operations(subject, 0).await[0].progress, Some(progress));
    for id in &asked[..2] {
        lead.finish(*id, OperationState::Refused, "there is nothing to do").await.expect("an end");
        lead.finish(*id, OperationState::Done, "changed its mind").await.expect("it is over");
        lead.progress(*id, &OperationProgress::default()).await.expect("it is over");
    }
    let kept = operations(subject, 1).await;
    assert_eq!(kept.iter().map(|operation| operation.id).collect::<Vec<_>>(), asked[1..]);
    assert_eq!((kept[0].state, kept[0].outcome.as_deref()), (OperationState::Refused, Some("there is nothing to do")));
    assert!(kept[0].finished_at.is_some() && kept[0].progress.is_none() && kept[1].finished_at.is_none(), "{kept:?}");
}

pub(super) async fn a_pause_is_recorded_and_counts_what_it_changed(subject: &Subject) {
    let definition = definition(counters());
    subject.store.prepare(&definition).await.expect("tables");
    let begun = begin(subject, &definition, &empty()).await;
    let pause =
        async |paused, building| subject.store.pause(PROJECTION, paused, building, "me").await.expect("a pause");
    let is_paused = async |generation| subject.generation(generation).await.paused_since.is_some();
    assert_eq!(pause(true, true).await, 1);
    assert!(is_paused(begun.generation).await && !is_paused(Generation(1)).await);
    assert_eq!(pause(true, false).await, 1);
    assert_eq!(pause(true, false).await, 0);
    assert!(is_paused(begun.generation).await && is_paused(Generation(1)).await);
    assert_eq!(pause(false, false).await, 2);
    assert!(!is_paused(begun.generation).await && !is_paused(Generation(1)).await);
    let done: Vec<_> = operations(subject, 9).await.into_iter().filter(|other| other.id != begun.operation).collect();
    let commands: Vec<_> = done.iter().map(|operation| operation.command.name()).collect();
    assert_eq!(commands, ["pause", "pause", "pause", "resume"]);
    assert!(done.iter().all(|operation| operation.state == OperationState::Done && operation.finished_at.is_some()));
    assert_eq!(done[3].outcome.as_deref(), Some("2 generations resumed"));
}

pub(super) async fn a_cancellation_gives_up_what_is_built_and_nothing_else(subject: &Subject) {
    let definition = definition(counters());
    let mut lane = Lane::claim(subject, &definition).await;
    let mut begun = begin(subject, &definition, &empty()).await;
    assert_eq!(subject.store.cancel(PROJECTION, "me").await, Ok(2));
    assert_eq!(subject.store.cancel(PROJECTION, "me").await, Ok(0));
    let given_up = subject.generation(begun.generation).await;
    assert_eq!((given_up.state, given_up.phase), (GenerationState::Failed, None));
    assert_eq!(given_up.last_error.expect("a reason").text, "cancelled by me");
    assert_eq!(subject.generation(Generation(1)).await.state, GenerationState::Live);
    let kept = operations(subject, 9).await;
    assert_eq!((kept[0].state, kept[0].outcome.as_deref()), (OperationState::Cancelled, Some("cancelled by me")));
    assert_eq!(kept[1..].iter().map(|kept| &kept.command).collect::<Vec<_>>(), [&Command::Cancel, &Command::Cancel]);
    // Whoever was at it comes too late.
    begun.lead.proven(begun.generation, &Default::default()).await.expect("nothing to prove");
    begun.lead.finish(begun.operation, OperationState::Done, "done").await.expect("it is over");
    assert_eq!(subject.generation(begun.generation).await.state, GenerationState::Failed);
    assert_eq!(operations(subject, 9).await, kept);
    assert!(begun.lead.begin(begun.operation, &definition, &empty(), &Default::default()).await.is_err());
    lane.commit(counted(&["a"])).await.expect("the live generation goes on");
}

pub(super) async fn a_renamed_projection_keeps_all_that_it_has(subject: &Subject) {
    let definition = definition(counters());
    let mut lane = Lane::claim(subject, &definition).await;
    lane.commit(counted(&["a"])).await.expect("a row");
    let asked = request(subject, &Command::Retire).await;
    assert!(subject.store.rename("nobody", "other", "me").await.is_err());
    assert!(subject.store.rename(PROJECTION, PROJECTION, "me").await.is_err());
    subject.store.heartbeat(&instance("instance"), PROJECTION, &["hash"], true).await.expect("it is noted");
    subject.store.rename(PROJECTION, "other", "me").await.expect("another name");
    let renamed = subject.status().await;
    assert_eq!((renamed.projection.as_str(), renamed.generation), ("other", Generation(1)));
    assert_eq!(subject.positions().await, [(0, 1)]);
    assert_eq!(subject.rows(&counters()[0]).await.len(), 1);
    assert_eq!(subject.store.operations(PROJECTION, 9).await, Ok(vec![]));
    assert_eq!(subject.store.heartbeats().await, Ok(vec![]));
    let kept = subject.store.operations("other", 9).await.expect("operations");
    assert_eq!((kept[0].id, kept[0].state), (asked, OperationState::Requested));
    assert_eq!((&kept[1].command, kept[1].state), (&Command::Rename { from: PROJECTION.into() }, OperationState::Done));
    let late = lane.commit(counted(&["a"])).await;
    assert!(!matches!(late, Ok(CommitOutcome::Applied(_))), "{late:?}");
}

pub(super) async fn who_runs_which_definition_is_known_while_it_does(subject: &Subject) {
    assert_eq!(subject.store.heartbeats().await, Ok(vec![]));
    let heartbeat = async |instance, hashes: &[&str], running| {
        subject
            .store
            .heartbeat(&super::subject::instance(instance), PROJECTION, hashes, running)
            .await
            .expect("it is noted");
        let attendance = subject.store.heartbeats().await.expect("it can be read");
        let present = attendance.iter().map(|seen| (seen.definition_hash.clone(), seen.present));
        present.collect::<Vec<_>>()
    };
    let seen = |old: bool, new: bool| [("new".to_owned(), new), ("old".to_owned(), old)];
    assert_eq!(heartbeat("one", &["old", "new"], true).await, seen(true, true));
    assert_eq!(heartbeat("two", &["new"], true).await, seen(true, true));
    assert_eq!(heartbeat("one", &["old", "new"], false).await, seen(false, true));
    assert_eq!(heartbeat("one", &["old"], true).await, seen(true, true));
    let past =
        |what: &str, time: &str| format!("UPDATE {} SET seen_at = '{time}' WHERE {what}", subject.own("instances"));
    let a_minute_ago: DateTime<Utc> = (SystemTime::now() - Duration::from_secs(60)).into();
    let a_minute_ago = a_minute_ago.to_rfc3339_opts(SecondsFormat::Millis, true);
    subject.execute(&past("instance = 'two'", &a_minute_ago)).await;
    assert_eq!(heartbeat("one", &["old"], true).await, seen(true, false), "a sign of life is good for seconds");
    subject.execute(&past("definition_hash = 'new'", "2001-01-01T00:00:00.000Z")).await;
    assert_eq!(
        heartbeat("one", &["old"], true).await,
        [("old".to_owned(), true)],
        "who was not seen for a day is forgotten"
    );
}

pub(super) async fn progress_marks_an_operation_as_running(subject: &Subject) {
    let asked = request(subject, &Command::Rollback).await;
    let mut lead = subject.store.try_lead(PROJECTION).await.expect("a lead").expect("nobody has it");
    lead.progress(asked, &OperationProgress::default()).await.expect("progress");
    assert_eq!(operations(subject, 0).await[0].state, OperationState::Running);
}

pub(super) async fn what_operators_do_at_once_is_recorded_in_the_same_words(subject: &Subject) {
    let definition = definition(counters());
    subject.store.prepare(&definition).await.expect("tables");
    let outcomes = async |projection| {
        let operations = subject.store.operations(projection, 9).await.expect("operations can be read");
        let outcomes = operations.into_iter().map(|operation| operation.outcome.unwrap_or_default());
        outcomes.collect::<Vec<_>>()
    };
    subject.store.pause(PROJECTION, true, false, "me").await.expect("a pause");
    begin(subject, &definition, &empty()).await;
    subject.store.cancel(PROJECTION, "me").await.expect("a cancellation");
    assert_eq!(
        outcomes(PROJECTION).await,
        ["1 generation paused", "cancelled by me", "1 operation cancelled, 1 generation given up"]
    );
    subject.store.rename(PROJECTION, "other", "me").await.expect("another name");
    assert_eq!(outcomes("other").await.last().expect("an operation"), "renamed `tested` to `other`");
}

pub(super) async fn an_instance_that_stops_has_none_of_its_definitions_any_more(subject: &Subject) {
    let one = instance("one");
    subject.store.heartbeat(&one, PROJECTION, &["old", "new"], true).await.expect("it is noted");
    subject.store.heartbeat(&one, PROJECTION, &["new"], false).await.expect("it is noted");
    subject.store.heartbeat(&instance("two"), PROJECTION, &["other"], false).await.expect("it is noted");
    let seen = subject.store.heartbeats().await.expect("it can be read");
    let seen: Vec<_> = seen.iter().map(|seen| (seen.definition_hash.as_str(), seen.present)).collect();
    assert_eq!(seen, [("new", false), ("old", false)]);
}

/// Every text that a person or another system gave is stored alike: without U+0000, and cut to 8 KiB.
pub(super) async fn texts_are_stored_whatever_they_hold(subject: &Subject) {
    subject.store.prepare(&definition(counters())).await.expect("tables");
    let long = format!("nul \0 and {}", "long ".repeat(4_000));
    let is_fit = |text: &str| text.starts_with("nul \u{fffd} and long") && text.len() <= 8 * 1024;
    let store = &subject.store;
    let trouble = GenerationError { text: long.clone(), attempt: None };
    store.record_error(PROJECTION, Generation(1), "me", &trouble).await.expect("it is recorded");
    let notice = Notice {
        kind: NoticeKind::CopyingFails,
        subject: String::new(),
        text: long.clone(),
        next: long.clone(),
        count: 0,
    };
    store.record_notice(PROJECTION, Generation(1), "me", &notice).await.expect("it is noted");
    let asked = store.request(PROJECTION, &Command::Rollback, &long).await.expect("it can be asked for");
    let mut lead = store.try_lead(PROJECTION).await.expect("a lead").expect("nobody has it");
    lead.finish(asked, OperationState::Refused, &long).await.expect("an end");
    assert!(is_fit(&subject.status().await.last_error.expect("an error").text));
    let notice = store.notices().await.expect("notices can be read").remove(0);
    assert!(is_fit(&notice.text) && is_fit(&notice.next));
    let operation = operations(subject, 1).await.remove(0);
    assert!(is_fit(&operation.requested_by) && is_fit(&operation.outcome.expect("an outcome")));
}

/// Times are in RFC 3339, in UTC, to the millisecond.
pub(super) async fn times_are_to_the_millisecond(subject: &Subject) {
    let mut lane = Lane::claim(subject, &definition(counters())).await;
    let letter = super::dead_letters::poison(&lane, super::dead_letters::keyed(0, "key"));
    lane.step(1, Commit { dead_letters: vec![letter], ..Commit::default() }).await.expect("it is parked");
    let store = &subject.store;
    request(subject, &Command::Rollback).await;
    store.pause(PROJECTION, true, false, "me").await.expect("a pause");
    let trouble = GenerationError { text: "poison".into(), attempt: None };
    store.record_error(PROJECTION, Generation(1), "me", &trouble).await.expect("it is recorded");
    let notice = Notice {
        kind: NoticeKind::CopyingFails,
        subject: String::new(),
        text: String::new(),
        next: String::new(),
        count: 0,
    };
    store.record_notice(PROJECTION, Generation(1), "me", &notice).await.expect("it is noted");
    store.heartbeat(&instance("one"), PROJECTION, &["hash"], true).await.expect("it is noted");
    let status = subject.status().await;
    let notice = store.notices().await.expect("notices can be read").remove(0);
    let operations = operations(subject, 9).await;
    let parked = store.parked(super::dead_letters::of(Generation(1))).await.expect("it can be read").remove(0);
    let times = [
        status.created_at,
        status.activated_at.expect("it is live"),
        status.paused_since.expect("it is paused"),
        status.last_error.expect("an error").since,
        status.checkpoints[0].updated_at.clone(),
        status.parked.oldest.expect("one is parked"),
        parked.since,
        notice.since,
        notice.seen_at,
        operations[0].requested_at.clone(),
        operations[1].finished_at.clone().expect("a pause is done at once"),
        store.heartbeats().await.expect("it can be read").remove(0).last_seen,
    ];
    for (place, time) in times.iter().enumerate() {
        assert!(time.len() == "2024-05-20T14:30:00.123Z".len() && time.ends_with('Z'), "{place}: {time}");
        assert!(time.parse::<readcast_core::Timestamp>().is_ok(), "{place}: {time}");
    }
}
