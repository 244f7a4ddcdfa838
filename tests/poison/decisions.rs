//! What operators decide holds in every generation that is fed, by whichever process.

use readcast::store::{
    Command, Generation, Operation, OperationState, ParkedIn, Selection, SettleAction, SettleRequest,
};

use super::diary::{Desk, Diary, NAME, event, of_key};
use super::on_both_stores;
use crate::rebuild::scene::{finished, rebuild};
use crate::support::eventually::{PATIENCE, eventually};

on_both_stores!(decisions_are_followed_in_a_standby_that_another_process_feeds);

/// The flawed code in its second version.
fn second() -> Diary {
    Diary { version: 2, ..Diary::flawed() }
}

async fn request(desk: &Desk, command: &Command) -> Operation {
    let id = desk.scene.store.request(NAME, command, "a test").await.unwrap();
    let operation = finished(&*desk.scene.store, NAME, id).await;
    assert_eq!(operation.state, OperationState::Done, "{operation:?}");
    operation
}

async fn decide(desk: &Desk, selection: Selection, resolution: SettleAction) {
    let definition_hash = second().definition().hash().to_owned();
    request(desk, &Command::DeadLetters(SettleRequest { selection, resolution, definition_hash, reason: None })).await;
}

async fn decisions_are_followed_in_a_standby_that_another_process_feeds(desk: Desk) {
    let standby = ParkedIn { projection: NAME, generation: Generation(1) };
    let earlier = desk.opens();
    desk.write("calm", 0, "note");
    desk.comes_to_the_end().await;
    // The tables of the first generation are those of the earlier code, which this one does not have.
    let later = desk.start(second());
    request(&desk, &Command::Rebuild(rebuild(&second().definition()))).await;
    assert_eq!(desk.live().await.generation, Generation(2));
    for n in 0..6 {
        for key in ["edited", "discarded", "whole", "open"] {
            // Behind the first poison there is another one.
            let is_poison = n == 1 || (n == 3 && key == "discarded");
            desk.write(key, n, if is_poison { "refuse" } else { "note" });
        }
    }
    desk.comes_to_the_end().await;
    eventually("the standby has parked the same", PATIENCE, async || {
        let parked = desk.scene.store.parked(standby).await.unwrap();
        let records: u64 = parked.iter().map(|sequence| sequence.records).sum();
        if parked.len() == 4 && records == 20 { Ok(()) } else { Err(format!("{parked:?}")) }
    })
    .await;
    decide(&desk, of_key("whole"), SettleAction::Discard { whole: true }).await;
    decide(&desk, of_key("discarded"), SettleAction::Discard { whole: true }).await;
    let edited = Some(event("edited-1", 111, "note"));
    decide(&desk, of_key("edited"), SettleAction::Retry { edited }).await;
    desk.write("edited", 6, "note");
    desk.comes_to_the_end().await;
    let (notes, parked) = (desk.notes().await, desk.parked_keys().await);
    assert_eq!(notes["edited"], [0, 111, 2, 3, 4, 5, 6]);
    assert_eq!(notes["whole"], [0]);
    eventually("the standby follows", PATIENCE, async || {
        let parked = desk.scene.store.parked(standby).await.unwrap();
        if parked.len() == 1 { Ok(()) } else { Err(format!("{parked:?}")) }
    })
    .await;
    assert_eq!(desk.scene.store.open_decisions(standby).await, Ok(Vec::new()));
    request(&desk, &Command::Rollback).await;
    assert_eq!(desk.live().await.generation, Generation(1));
    desk.comes_to_the_end().await;
    assert_eq!((desk.notes().await, desk.parked_keys().await), (notes, parked));
    earlier.stop().await;
    later.stop().await;
}
