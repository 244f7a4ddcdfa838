//! Records of any bytes: each is projected exactly or parked, and a rebuild agrees.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use readcast::store::{ParkedIn, WindowSize};
use serde::Deserialize;

use super::diary::{Desk, Diary, NAME, event};
use crate::rebuild::scene::PARTITIONS;

super::on_both_stores!(a_record_of_any_bytes_is_projected_exactly_or_parked_unchanged);

/// Texts that break parsers, columns and terminals.
const NAUGHTY: [&str; 18] = [
    "\u{0}",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "null",
    "NaN",
    "1e400",
    "9007199254740993",
    "-0",
    "[[[[[[[[",
    "{\"n\":1,\"n\":2}",
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "\u{1b}[31mred\u{1b}[0m",
    "294277-01-01T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "'; DROP TABLE diary; --",
    "\u{202e}evil",
];

fn naughty() -> impl Strategy<Value = String> {
    prop_oneof![prop::sample::select(NAUGHTY.as_slice()).prop_map(str::to_owned), ".{0,20}"]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let spliced = (naughty(), 0_usize..120).prop_map(|(text, at)| {
        let mut whole = event("id", 7, "note");
        let at = (0..=at.min(whole.len())).rev().find(|at| whole.is_char_boundary(*at)).unwrap_or(0);
        whole.insert_str(at, &text);
        whole.into_bytes()
    });
    let deep = (1_usize..20_000).prop_map(|depth| {
        let nested = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        event("id", 7, "note").replace("\"n\":7", &format!("\"n\":7,\"deep\":{nested}")).into_bytes()
    });
    let cut = (0_usize..120).prop_map(|at| event("id", 7, "note").into_bytes().into_iter().take(at).collect());
    prop_oneof![
        3 => naughty().prop_map(|text| event(&text.replace(['"', '\\'], ""), 7, "note").into_bytes()),
        3 => spliced,
        1 => prop::collection::vec(any::<u8>(), 0..60),
        1 => deep,
        1 => cut,
        2 => Just(event("id", 7, "note").into_bytes()),
    ]
}

/// The number in an event: what is spliced into it may well be digits.
fn number(value: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Event {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        n: u64,
    }
    serde_json::from_slice::<Event>(value).ok().map(|event| event.data.n)
}

async fn a_record_of_any_bytes_is_projected_exactly_or_parked_unchanged(mut desk: Desk) {
    // Many have one id.
    desk.record_policy.duplicate_window = WindowSize::Offsets(0);
    let records = prop::collection::vec((naughty(), value()), 400);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng());
    let records = records.new_tree(&mut runner).unwrap().current();
    let mut places = BTreeMap::new();
    for (key, value) in &records {
        // All of a key in one partition: a diary is in the order of the log.
        let partition = key.len() as i32 % PARTITIONS;
        let offset = desk.scene.log.append("orders", partition, Some(key), value.clone());
        places.insert((partition, offset), (key, value));
    }
    let instance = desk.opens();
    desk.comes_to_the_end().await;
    let notes = desk.notes().await;
    let applied: usize = notes.values().map(Vec::len).sum();
    let written: BTreeSet<(&str, u64)> =
        records.iter().filter_map(|(key, value)| Some((key.as_str(), number(value)?))).collect();
    let mut held = notes.iter().flat_map(|(key, numbers)| numbers.iter().map(|n| (key.as_str(), *n)));
    assert_eq!(held.find(|note| !written.contains(note)), None, "nobody wrote that");
    let mut parked = 0;
    for sequence in desk.parked().await {
        let of = ParkedIn { projection: NAME, generation: desk.live().await.generation };
        let waiting = desk.scene.store.waiting(of, &sequence.partition, &sequence.id, 0, 1_000).await.unwrap();
        for record in waiting.records {
            let record = record.letter.record;
            let (key, value) = places[&(sequence.partition.partition, record.offset)];
            assert_eq!(record.key.as_deref(), Some(key.as_bytes()));
            assert_eq!(record.value.as_deref(), Some(value.as_slice()), "byte for byte");
            parked += 1;
        }
    }
    let unsubscribed = records.len() - applied - parked;
    println!("{applied} applied, {parked} parked, {unsubscribed} of other types");
    assert!(applied > 50 && parked > 50, "{applied} applied, {parked} parked");
    desk.survives_a_rebuild(&Diary::flawed()).await;
    instance.stop().await;
}

/// Random numbers whose seed is printed, and replayed by READCAST_TEST_SEED.
fn rng() -> proptest::test_runner::TestRng {
    let seed = crate::files_to_sqlite::seed();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    proptest::test_runner::TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &bytes)
}
