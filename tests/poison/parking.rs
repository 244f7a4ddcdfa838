//! What is parked, what goes on, and what operators do about it.

use readcast::store::{OperationState, ParkingLimits, Selection, SettleAction};

use super::diary::{Desk, Diary, Notes, of_key};
use crate::support::eventually::{PATIENCE, eventually};

super::on_both_stores!(
    poison_of_every_kind_parks_its_own_key_and_nothing_else,
    a_record_with_refused_rows_is_found_among_many,
    a_projection_that_never_returns_is_abandoned,
    a_retry_after_a_correction_projects_what_waited_in_order_and_a_rebuild_agrees,
    a_retry_that_fails_again_keeps_the_order_and_counts_the_attempt,
    an_edited_record_stays_edited_in_a_rebuild,
    what_is_discarded_stays_out_of_a_rebuild,
    more_than_may_be_parked_halts_and_a_retry_lets_it_go_on,
    with_no_room_for_dead_letters_the_first_poison_halts_behind_all_before_it,
    records_without_a_key_wait_for_nobody,
);

fn notes(of: impl IntoIterator<Item = (&'static str, Vec<u64>)>) -> Notes {
    of.into_iter().map(|(key, notes)| (key.to_owned(), notes)).collect()
}

async fn poison_of_every_kind_parks_its_own_key_and_nothing_else(mut desk: Desk) {
    desk.record_policy.max_record_bytes = 10_000;
    let long = "x".repeat(20_000);
    let asks = ["refuse", "panic", "flood", "overflow"];
    for n in 0..3 {
        for key in ["good", "fine"].into_iter().chain(asks) {
            desk.write(key, n, if n == 1 && asks.contains(&key) { key } else { "note" });
        }
        for (key, value) in [("torn", "{\"event_id\":"), ("empty", ""), ("other", "[1,2]")] {
            if n == 1 { desk.scene.append(key, value.into()) } else { desk.write(key, n, "note") }
        }
        desk.write("large", n, if n == 1 { &long } else { "note" });
        let missing = super::diary::event("m", n, "note").replace("\"n\"", "\"m\"");
        if n == 1 { desk.scene.append("missing", missing) } else { desk.write("missing", n, "note") }
    }
    let partition = super::diary::partition_of("tombstone");
    desk.scene.log.append_tombstone("orders", partition, Some("tombstone"));
    let instance = desk.opens();
    desk.comes_to_the_end().await;
    let all = |key| (key, vec![0, 1, 2]);
    let first = |key| (key, vec![0]);
    let expected = [all("good"), all("fine")]
        .into_iter()
        .chain(["refuse", "panic", "flood", "overflow", "torn", "empty", "other", "large", "missing"].map(first));
    assert_eq!(desk.notes().await, notes(expected));
    let parked = desk.parked_keys().await;
    for (key, class) in [
        ("refuse", "unprojectable"),
        ("missing", "unprojectable"),
        ("panic", "panicked"),
        ("flood", "exhausted"),
        ("overflow", "unstorable"),
        ("torn", "undecodable"),
        ("empty", "undecodable"),
        ("other", "undecodable"),
        ("large", "oversized"),
    ] {
        assert_eq!(parked.get(key), Some(&(class.to_owned(), 2)), "{key}");
    }
    assert_eq!(parked.get("tombstone"), Some(&("undecodable".to_owned(), 1)));
    assert_eq!(parked.len(), 10, "{parked:?}");
    let live = desk.live().await;
    assert_eq!((live.parked.keys, live.parked.records), (10, 19));
    assert!(live.parked.oldest.is_some() && live.last_error.is_none());
    assert!(instance.verbose().starts_with("ready\n"), "{}", instance.verbose());
    desk.survives_a_rebuild(&Diary::flawed()).await;
    instance.stop().await;
}

async fn a_record_with_refused_rows_is_found_among_many(desk: Desk) {
    for n in 0..200 {
        for key in ["a", "b", "c", "d", "e"] {
            desk.write(key, n, if key == "c" && n == 77 { "overflow" } else { "note" });
        }
    }
    let instance = desk.opens();
    desk.comes_to_the_end().await;
    let mut expected: Notes = ["a", "b", "d", "e"].map(|key| (key.to_owned(), (0..200).collect())).into();
    expected.insert("c".into(), (0..77).collect());
    assert_eq!(desk.notes().await, expected);
    assert_eq!(desk.parked_keys().await.get("c"), Some(&("unstorable".to_owned(), 123)));
    instance.stop().await;
}

async fn a_projection_that_never_returns_is_abandoned(mut desk: Desk) {
    desk.record_policy.longest_projection_ms = 500;
    for n in 0..3 {
        desk.write("good", n, "note");
        desk.write("hangs", n, if n == 1 { "hang" } else { "note" });
    }
    let instance = desk.opens();
    desk.comes_to_the_end().await;
    assert_eq!(desk.notes().await, notes([("good", vec![0, 1, 2]), ("hangs", vec![0])]));
    assert_eq!(desk.parked_keys().await.get("hangs"), Some(&("exhausted".to_owned(), 2)));
    // Trying again is no way to hang the instance either.
    let retried = desk.retry(of_key("hangs")).await;
    assert_eq!(retried.state, OperationState::Refused, "{retried:?}");
    instance.stop().await;
    let mended = desk.opens_mended();
    let retried = desk.retry(of_key("hangs")).await;
    assert_eq!(retried.state, OperationState::Done, "{retried:?}");
    assert_eq!(desk.notes().await, notes([("good", vec![0, 1, 2]), ("hangs", vec![0, 1, 2])]));
    mended.stop().await;
}

async fn a_retry_after_a_correction_projects_what_waited_in_order_and_a_rebuild_agrees(desk: Desk) {
    for n in 0..1_200 {
        desk.write("held", n, if n == 10 { "refuse" } else { "note" });
    }
    desk.write("other", 0, "refuse");
    let (first, mut desk) = (desk.opens(), desk);
    // More than one key may hold, and more than one settlement takes.
    desk.record_policy.parking.of_one_key = 1_000;
    eventually("what may be parked of one key is exceeded", PATIENCE, async || {
        let told = first.verbose();
        if told.contains("max_parked_per_key") { Ok(()) } else { Err(told) }
    })
    .await;
    first.stop().await;
    desk.record_policy.parking.of_one_key = 5_000;
    let second = desk.opens();
    desk.comes_to_the_end().await;
    assert_eq!(desk.notes().await["held"], (0..10).collect::<Vec<_>>());
    assert_eq!(desk.parked_keys().await["held"], ("unprojectable".to_owned(), 1_190));
    second.stop().await;

    let mended = desk.opens_mended();
    let retried = desk.retry(of_key("held")).await;
    assert_eq!(retried.state, OperationState::Done, "{retried:?}");
    assert_eq!(retried.outcome.as_deref(), Some("projected 1,190 records; key held is free"));
    desk.write("held", 1_200, "note");
    desk.comes_to_the_end().await;
    assert_eq!(desk.notes().await["held"], (0..=1_200).collect::<Vec<_>>());
    assert_eq!(desk.parked_keys().await.keys().collect::<Vec<_>>(), ["other"], "nobody asked for that one");
    desk.retry(Selection::default()).await;
    desk.survives_a_rebuild(&Diary::mended()).await;
    mended.stop().await;
}

async fn a_retry_that_fails_again_keeps_the_order_and_counts_the_attempt(desk: Desk) {
    for n in 0..6 {
        desk.write("k", n, if n == 1 || n == 3 { "refuse" } else { "note" });
    }
    let instance = desk.opens();
    desk.comes_to_the_end().await;
    for attempt in 1..3 {
        let retried = desk.retry(of_key("k")).await;
        assert_eq!(retried.state, OperationState::Refused, "{retried:?}");
        assert!(
            retried.outcome.as_ref().is_some_and(|outcome| outcome.contains("1 key still fails: k at orders/")),
            "{retried:?}"
        );
        let parked = desk.parked().await;
        assert_eq!((parked[0].attempts, parked[0].records), (attempt, 5));
    }
    // The first is left out; those behind it go on, up to the next that can't.
    desk.resolve(of_key("k"), SettleAction::Discard { whole: false }).await;
    assert_eq!(desk.notes().await, notes([("k", vec![0, 2])]));
    assert_eq!(desk.parked_keys().await["k"], ("unprojectable".to_owned(), 3));
    instance.stop().await;
    let mended = desk.opens_mended();
    desk.retry(of_key("k")).await;
    assert_eq!(desk.notes().await, notes([("k", vec![0, 2, 3, 4, 5])]));
    desk.survives_a_rebuild(&Diary::mended()).await;
    mended.stop().await;
}

async fn an_edited_record_stays_edited_in_a_rebuild(desk: Desk) {
    for n in 0..4 {
        desk.write("k", n, if n == 1 { "refuse" } else { "note" });
    }
    let instance = desk.opens();
    desk.comes_to_the_end().await;
    let edited = Some(super::diary::event("k-1", 111, "note"));
    let retried = desk.resolve(of_key("k"), SettleAction::Retry { edited }).await;
    assert_eq!(retried.state, OperationState::Done, "{retried:?}");
    assert_eq!(desk.notes().await, notes([("k", vec![0, 111, 2, 3])]));
    desk.survives_a_rebuild(&Diary::flawed()).await;
    instance.stop().await;
}

async fn what_is_discarded_stays_out_of_a_rebuild(desk: Desk) {
    for n in 0..4 {
        desk.write("first", n, if n == 1 { "refuse" } else { "note" });
        desk.write("whole", n, if n == 1 { "refuse" } else { "note" });
    }
    let instance = desk.opens();
    desk.comes_to_the_end().await;
    desk.resolve(of_key("first"), SettleAction::Discard { whole: false }).await;
    desk.resolve(of_key("whole"), SettleAction::Discard { whole: true }).await;
    desk.write("first", 4, "note");
    desk.write("whole", 4, "note");
    desk.comes_to_the_end().await;
    assert_eq!(desk.notes().await, notes([("first", vec![0, 2, 3, 4]), ("whole", vec![0, 4])]));
    assert!(desk.parked().await.is_empty());
    desk.survives_a_rebuild(&Diary::flawed()).await;
    instance.stop().await;
}

async fn more_than_may_be_parked_halts_and_a_retry_lets_it_go_on(mut desk: Desk) {
    desk.record_policy.parking = ParkingLimits { records: 3, of_one_key: 100 };
    for n in 0..8 {
        desk.write("k", n, if n == 2 { "refuse" } else { "note" });
    }
    let instance = desk.opens();
    eventually("it halts, and says where and why", PATIENCE, async || {
        let told = instance.verbose();
        let all = ["halted", "poison at orders/", "`max_parked` is 3", "readcast dead-letters list"];
        if all.iter().all(|part| told.contains(part)) { Ok(()) } else { Err(told) }
    })
    .await;
    assert_eq!(desk.notes().await, notes([("k", vec![0, 1])]));
    let parked = desk.parked_keys().await;
    assert!(parked.is_empty() || parked["k"].1 <= 3, "{parked:?}");
    desk.resolve(of_key("k"), SettleAction::Discard { whole: true }).await;
    instance.stop().await;
    let mended = desk.opens_mended();
    desk.comes_to_the_end().await;
    desk.retry(of_key("k")).await;
    assert_eq!(desk.notes().await["k"].last(), Some(&7));
    mended.stop().await;
}

async fn with_no_room_for_dead_letters_the_first_poison_halts_behind_all_before_it(mut desk: Desk) {
    desk.record_policy.parking.records = 0;
    for n in 0..8 {
        desk.write("k", n, if n == 5 { "refuse" } else { "note" });
    }
    let instance = desk.opens();
    eventually("it halts", PATIENCE, async || {
        let told = instance.verbose();
        if told.contains("halted") && told.contains("it will not have it") { Ok(()) } else { Err(told) }
    })
    .await;
    assert_eq!(desk.notes().await, notes([("k", vec![0, 1, 2, 3, 4])]));
    assert!(desk.parked().await.is_empty());
    instance.stop().await;
    let mended = desk.opens_mended();
    desk.comes_to_the_end().await;
    assert_eq!(desk.notes().await, notes([("k", (0..8).collect())]));
    mended.stop().await;
}

async fn records_without_a_key_wait_for_nobody(desk: Desk) {
    for n in 0..4 {
        let ask = if n == 1 { "refuse" } else { "note" };
        desk.scene.log.append("orders", 0, None, super::diary::event(&n.to_string(), n, ask));
    }
    let instance = desk.opens();
    desk.comes_to_the_end().await;
    assert_eq!(desk.notes().await, notes([("", vec![0, 2, 3])]));
    assert_eq!(desk.parked_keys().await["-"], ("unprojectable".to_owned(), 1));
    instance.stop().await;
}
