//! Events that producers wrote twice.

use readcast::store::{Command, NoticeKind, OperationState, WindowSize};
use readcast_core::TopicPartition;

use super::diary::{Desk, Diary, Notes, event, of_key, partition_of};
use crate::support::eventually::{PATIENCE, eventually};

super::on_both_stores!(
    an_event_written_twice_is_projected_once,
    a_key_is_folded_again_without_its_duplicates,
    a_generation_keeps_the_window_that_it_began_with,
    without_a_window_every_record_is_an_event,
    events_without_an_identity_are_projected_counted_and_told_of,
);

const WINDOW: i64 = 100;

fn notes(of: impl IntoIterator<Item = (&'static str, Vec<u64>)>) -> Notes {
    of.into_iter().map(|(key, notes)| (key.to_owned(), notes)).collect()
}

async fn an_event_written_twice_is_projected_once(mut desk: Desk) {
    desk.record_policy.duplicate_window = WindowSize::Offsets(WINDOW);
    let append = |key: &str, id: &str, n: u64, ask: &str| desk.scene.append(key, event(id, n, ask));
    // In one batch, and of a record that is parked.
    append("twice", "t", 1, "note");
    append("twice", "t", 1, "note");
    append("poison", "p", 1, "refuse");
    append("poison", "p", 1, "refuse");
    append("poison", "q", 2, "note");
    // The same id with another content.
    append("conflict", "c", 1, "note");
    append("conflict", "c", 2, "note");
    append("conflict", "d", 3, "note");
    // In two partitions: no order is known between them, so both are events.
    let (here, there) = (partition_of("twice"), (partition_of("twice") + 1) % 4);
    desk.scene.log.append("orders", here, Some("here"), event("both", 1, "note"));
    desk.scene.log.append("orders", there, Some("there"), event("both", 1, "note"));
    let instance = desk.opens();
    desk.comes_to_the_end().await;
    // In a later batch, after a restart that has only the ledger to know it from.
    instance.stop().await;
    let instance = desk.opens();
    desk.write("later", 0, "note");
    desk.scene.append("twice", event("t", 1, "note"));
    desk.comes_to_the_end().await;
    let expected =
        notes([("twice", vec![1]), ("conflict", vec![1]), ("here", vec![1]), ("there", vec![1]), ("later", vec![0])]);
    assert_eq!(desk.notes().await, expected);
    let parked = desk.parked_keys().await;
    assert_eq!(parked["poison"], ("unprojectable".to_owned(), 2), "its duplicate is none of them");
    assert_eq!(parked["conflict"], ("conflicting_duplicate".to_owned(), 2));
    desk.survives_a_rebuild(&Diary::flawed()).await;
    // An operator takes the other content as well. A rebuild does too.
    let retried = desk.retry(of_key("conflict")).await;
    assert_eq!(retried.state, OperationState::Done, "{retried:?}");
    assert_eq!(desk.notes().await["conflict"], [1, 2, 3]);
    desk.survives_a_rebuild(&Diary::flawed()).await;
    // Behind the window it is an event again, for the live generation and for a rebuild.
    for n in 0..=WINDOW as u64 {
        desk.scene.log.append("orders", here, Some("filler"), event(&format!("filler-{n}"), n, "note"));
    }
    desk.scene.append("twice", event("t", 9, "note"));
    desk.comes_to_the_end().await;
    assert_eq!(desk.notes().await["twice"], [1, 9]);
    desk.survives_a_rebuild(&Diary::flawed()).await;
    assert!(desk.live().await.checkpoints.iter().any(|held| held.partition == TopicPartition::new("orders", here)));
    instance.stop().await;
}

async fn a_key_is_folded_again_without_its_duplicates(mut desk: Desk) {
    desk.record_policy.duplicate_window = WindowSize::Offsets(WINDOW);
    let append = |key: &str, id: &str, n: u64| desk.scene.append(key, event(id, n, "note"));
    append("a", "a1", 1);
    append("a", "a1", 1);
    // A copy under another key is a copy as well; the same id with another content waits for an operator.
    let here = partition_of("a");
    desk.scene.log.append("orders", here, Some("b"), event("a1", 1, "note"));
    append("a", "a2", 2);
    append("a", "a2", 3);
    let instance = desk.opens();
    desk.comes_to_the_end().await;
    let definition_hash = Diary::flawed().definition().hash().to_owned();
    let fold = Command::RefoldKey { key: "a".into(), definition_hash };
    let refused = desk.does(&fold).await;
    assert!(refused.outcome.as_ref().is_some_and(|reason| reason.contains("are parked")), "{refused:?}");
    assert_eq!(desk.retry(of_key("a")).await.state, OperationState::Done);
    // The first of them is out of reach by now, and therefore an event again.
    for n in 0..=WINDOW as u64 {
        desk.scene.log.append("orders", here, Some("filler"), event(&format!("filler-{n}"), n, "note"));
    }
    append("a", "a1", 1);
    append("a", "a1", 1);
    desk.comes_to_the_end().await;
    let expected = [1, 2, 3, 1];
    assert_eq!(desk.notes().await["a"], expected);
    let physical = desk.scene.physical("diary", 1);
    desk.scene.execute(&format!("UPDATE {physical} SET notes = '[]' WHERE key = 'a'")).await;
    let folded = desk.does(&fold).await;
    assert_eq!(folded.state, OperationState::Done, "{folded:?}");
    assert!(folded.outcome.as_ref().is_some_and(|told| told.contains("folded 4 records")), "{folded:?}");
    assert_eq!(desk.notes().await["a"], expected);
    desk.survives_a_rebuild(&Diary::flawed()).await;
    instance.stop().await;
}

async fn a_generation_keeps_the_window_that_it_began_with(mut desk: Desk) {
    const KIB: u64 = 1 << 10;
    desk.write("a", 1, "note");
    let window = async |desk: &Desk| {
        desk.comes_to_the_end().await;
        desk.live().await.duplicate_window
    };
    // So many bytes for four partitions.
    desk.record_policy.duplicate_window = WindowSize::Bytes(42 * KIB);
    let instance = desk.opens();
    assert_eq!(window(&desk).await, Some(256));
    instance.stop().await;
    desk.record_policy.duplicate_window = WindowSize::Bytes(420 * KIB);
    let instance = desk.opens();
    desk.write("a", 2, "note");
    assert_eq!(window(&desk).await, Some(256), "its rows were made by one rule");
    let definition_hash = Diary::flawed().definition().hash().to_owned();
    let verified = desk.does(&Command::Verify { definition_hash }).await;
    let scratch = desk.scene.statuses().await.into_iter().find(|found| Some(found.generation) == verified.generation);
    assert_eq!(scratch.expect("it is recorded").duplicate_window, Some(256), "it is compared with the live one");
    desk.survives_a_rebuild(&Diary::flawed()).await;
    assert_eq!(window(&desk).await, Some(2_048), "a rebuild takes the settings as they are now");
    instance.stop().await;
    desk.record_policy.duplicate_window = WindowSize::Offsets(10);
    let instance = desk.opens();
    desk.write("a", 3, "note");
    assert_eq!(window(&desk).await, Some(10), "a window in offsets replaces it at once");
    instance.stop().await;
}

async fn without_a_window_every_record_is_an_event(mut desk: Desk) {
    desk.record_policy.duplicate_window = WindowSize::Offsets(0);
    desk.scene.append("twice", event("t", 1, "note"));
    desk.scene.append("twice", event("t", 1, "note"));
    let instance = desk.opens();
    desk.comes_to_the_end().await;
    assert_eq!(desk.notes().await, notes([("twice", vec![1, 1])]));
    instance.stop().await;
}

async fn events_without_an_identity_are_projected_counted_and_told_of(mut desk: Desk) {
    desk.record_policy.duplicate_window = WindowSize::Offsets(WINDOW);
    let instance = desk.opens();
    // Where nobody says what is missing, every duplicate is one more event.
    desk.scene.append("nameless", event("", 1, "note"));
    desk.scene.append("nameless", event("", 1, "note"));
    desk.scene.append("nameless", event("", 2, "note"));
    desk.scene.append("named", event("n", 1, "note"));
    desk.scene.append("named", event("n", 1, "note"));
    desk.comes_to_the_end().await;
    assert_eq!(desk.notes().await, notes([("nameless", vec![1, 1, 2]), ("named", vec![1])]));
    let counted = "readcast_events_without_identity_total{projection=\"diary\"} 3";
    assert!(instance.metrics.encode().contains(counted), "{}", instance.metrics.encode());
    let told = async |generation, count| {
        eventually(&format!("{count} events are told of"), PATIENCE, async || {
            let notices = desk.scene.store.notices().await.unwrap();
            let told = |notice: &&readcast::store::RecordedNotice| {
                notice.kind == NoticeKind::EventsWithoutIdentity && notice.generation.0 == generation
            };
            match notices.iter().find(told) {
                Some(notice) if notice.count == count && notice.text.contains("`event_id` is empty") => Ok(()),
                _ => Err(format!("{notices:?}")),
            }
        })
        .await;
    };
    told(1, 3).await;
    // Later ones are added, by whichever instance.
    instance.stop().await;
    let instance = desk.opens();
    desk.scene.append("nameless", event("", 3, "note"));
    desk.comes_to_the_end().await;
    told(1, 4).await;
    // A load counts them too.
    desk.survives_a_rebuild(&Diary::flawed()).await;
    told(2, 4).await;
    instance.stop().await;
    // It is over when nobody looks for duplicates any more.
    desk.record_policy.duplicate_window = WindowSize::Offsets(0);
    let instance = desk.opens();
    eventually("nothing is told", PATIENCE, async || {
        let notices = desk.scene.store.notices().await.unwrap();
        if notices.is_empty() { Ok(()) } else { Err(format!("{notices:?}")) }
    })
    .await;
    instance.stop().await;
}
