//! What stops nothing and an operator must know, and what keeps a generation from going on.

use readcast::store::{Generation, GenerationError, Notice, NoticeKind, RecordedNotice};

use super::commits::counters;
use super::lane::{PROJECTION, definition};
use super::subject::Subject;

fn notice(kind: NoticeKind, text: &str, count: u64) -> Notice {
    Notice { kind, subject: String::new(), text: text.into(), next: "type this".into(), count }
}

async fn notices(subject: &Subject) -> Vec<RecordedNotice> {
    subject.store.notices().await.expect("notices can be read")
}

async fn note(subject: &Subject, notice: &Notice) {
    subject.store.record_notice(PROJECTION, Generation(1), "me", notice).await.expect("it is noted");
}

pub(super) async fn a_notice_keeps_its_beginning_and_goes_when_it_is_withdrawn(subject: &Subject) {
    let kind = NoticeKind::CopyingFails;
    note(subject, &notice(kind, "too early", 0)).await;
    assert_eq!(notices(subject).await, [], "there is no such generation");
    subject.store.prepare(&definition(counters())).await.expect("tables");
    note(subject, &notice(kind, "no broker", 0)).await;
    let past = format!("UPDATE {} SET since = '2001-01-01T00:00:00.000Z'", subject.own("notices"));
    subject.execute(&past).await;
    note(subject, &notice(kind, "no topic", 0)).await;
    let found = notices(subject).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let RecordedNotice { projection, generation, text, next, is_old, .. } = &found[0];
    assert_eq!((projection.as_str(), *generation), (PROJECTION, Generation(1)));
    assert_eq!((text.as_str(), next.as_str(), *is_old), ("no topic", "type this", false));
    assert!(found[0].since.starts_with("2001-01-01") && !found[0].seen_at.starts_with("2001"), "{found:?}");
    subject.execute(&past.replace("since", "seen_at")).await;
    assert!(notices(subject).await[0].is_old);
    subject
        .store
        .clear_notice(PROJECTION, Generation(1), NoticeKind::TablesNotDropped, "")
        .await
        .expect("there is none");
    assert_eq!(notices(subject).await.len(), 1);
    for _ in 0..2 {
        subject.store.clear_notice(PROJECTION, Generation(1), kind, "").await.expect("it is over");
    }
    assert_eq!(notices(subject).await, []);
}

pub(super) async fn counts_of_events_add_up_and_others_are_replaced(subject: &Subject) {
    subject.store.prepare(&definition(counters())).await.expect("tables");
    for count in [3, 4] {
        note(subject, &notice(NoticeKind::EventsWithoutIdentity, "", count)).await;
        note(subject, &notice(NoticeKind::DeadLettersNotCopied, "", count)).await;
    }
    let counts: Vec<_> = notices(subject).await.into_iter().map(|notice| (notice.kind, notice.count)).collect();
    assert_eq!(counts, [(NoticeKind::DeadLettersNotCopied, 4), (NoticeKind::EventsWithoutIdentity, 7)]);
}

pub(super) async fn notices_of_a_kind_are_told_apart_by_their_subjects(subject: &Subject) {
    subject.store.prepare(&definition(counters())).await.expect("tables");
    let kind = NoticeKind::UnhandledEventType;
    let about = |of: &str, text: &str| Notice { subject: of.into(), ..notice(kind, text, 2) };
    for (of, text) in [("a", "first"), ("b", "another"), ("a", "later")] {
        note(subject, &about(of, text)).await;
    }
    let found = notices(subject).await;
    let found: Vec<_> = found.iter().map(|notice| (&*notice.subject, &*notice.text, notice.count)).collect();
    assert_eq!(found, [("a", "first", 4), ("b", "another", 2)]);
    for n in 0..200 {
        note(subject, &about(&format!("s{n}"), "one of many")).await;
    }
    note(subject, &about("b", "one more")).await;
    let found = notices(subject).await;
    assert_eq!(found.len(), 100, "producers choose some subjects");
    assert!(found.iter().any(|notice| notice.subject == "b" && notice.count == 4));
    subject.store.clear_notice(PROJECTION, Generation(1), kind, "a").await.expect("it is over");
    assert!(notices(subject).await.iter().all(|notice| notice.subject != "a"));
}

pub(super) async fn notices_go_with_their_projection_to_another_name(subject: &Subject) {
    subject.store.prepare(&definition(counters())).await.expect("tables");
    note(subject, &notice(NoticeKind::CopyingFails, "no broker", 0)).await;
    subject.store.rename(PROJECTION, "renamed", "me").await.expect("another name");
    assert_eq!(notices(subject).await[0].projection, "renamed");
}

fn trouble(text: &str, attempt: Option<u32>) -> GenerationError {
    GenerationError { text: text.into(), attempt }
}

async fn has_running_instance(subject: &Subject, instance: &str, running: bool) {
    subject
        .store
        .heartbeat(&super::subject::instance(instance), PROJECTION, &["hash"], running)
        .await
        .expect("it is noted");
}

async fn recorded(subject: &Subject) -> Option<(String, bool)> {
    let error = subject.status().await.last_error;
    error.map(|error| (error.by.clone().expect("somebody"), error.is_for("me")))
}

pub(super) async fn what_an_instance_that_runs_has_recorded_is_for_that_one_to_take_back(subject: &Subject) {
    subject.store.prepare(&definition(counters())).await.expect("tables");
    let store = &subject.store;
    let forget = async |by| store.clear_error(PROJECTION, Generation(1), by).await.expect("an answer");
    has_running_instance(subject, "other", true).await;
    let away = trouble("no connection", Some(1));
    store.record_error(PROJECTION, Generation(1), "other", &away).await.expect("it is recorded");
    assert_eq!(recorded(subject).await, Some(("other".into(), false)));
    forget("me").await;
    store.record_error(PROJECTION, Generation(1), "me", &away).await.expect("an answer");
    assert_eq!(recorded(subject).await, Some(("other".into(), false)), "it stays");
    forget("other").await;
    assert_eq!(recorded(subject).await, None);
    // Whoever has gone takes nothing back: it stopped, or died.
    let died = format!("UPDATE {} SET seen_at = '2001-01-01T00:00:00.000Z'", subject.own("instances"));
    for gone in ["stopped", "died"] {
        has_running_instance(subject, "other", true).await;
        store.record_error(PROJECTION, Generation(1), "other", &away).await.expect("it is recorded");
        if gone == "stopped" {
            has_running_instance(subject, "other", false).await
        } else {
            subject.execute(&died).await
        }
        assert_eq!(recorded(subject).await, Some(("other".into(), true)), "{gone}");
        forget("me").await;
        assert_eq!(recorded(subject).await, None, "{gone}");
    }
    // Before there were names.
    store.record_error(PROJECTION, Generation(1), "me", &away).await.expect("it is recorded");
    subject.execute(&format!("UPDATE {} SET last_error_by = NULL", subject.own("generations"))).await;
    forget("me").await;
    assert_eq!(recorded(subject).await, None);
}

pub(super) async fn a_halt_outranks_what_another_instance_tries_again(subject: &Subject) {
    subject.store.prepare(&definition(counters())).await.expect("tables");
    for instance in ["me", "other"] {
        has_running_instance(subject, instance, true).await;
    }
    let record = async |by: &str, trouble: &GenerationError| {
        subject.store.record_error(PROJECTION, Generation(1), by, trouble).await.expect("an answer");
        recorded(subject).await.expect("trouble").0
    };
    assert_eq!(record("other", &trouble("no connection", Some(1))).await, "other");
    assert_eq!(record("me", &trouble("no answer", Some(3))).await, "other", "one of them is told");
    assert_eq!(record("me", &trouble("poison", None)).await, "me");
    assert_eq!(record("other", &trouble("no connection", Some(2))).await, "me");
    assert_eq!(record("other", &trouble("other poison", None)).await, "me");
}
