//! Retries while records come in, partitions move and other operators do the same.

use readcast::store::{Selection, SettleAction};

use super::diary::{Desk, Notes, of_key};
use crate::files_to_sqlite::seed;
use crate::support::eventually::{PATIENCE, eventually};

super::on_both_stores!(retries_that_race_new_records_rebalances_and_each_other_keep_every_key_in_order);

const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

async fn retries_that_race_new_records_rebalances_and_each_other_keep_every_key_in_order(mut desk: Desk) {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    desk.record_policy.parking.of_one_key = 100_000;
    desk.scene.log.cut_batches(5);
    let (one, other) = (desk.opens_mended(), desk.opens());
    desk.comes_to_the_end().await;
    let mut expected = Notes::new();
    let mut retries = 0;
    for n in 0..400 {
        for key in KEYS {
            let ask = if random.u8(..) < 8 { "refuse" } else { "note" };
            desk.write(key, n, ask);
            expected.entry(key.to_owned()).or_default().push(n);
        }
        if n % 20 == 19 {
            desk.scene.log.rebalance("desk.diary");
            // Two operators at once; what neither settles waits for the end.
            let key = KEYS[random.usize(..KEYS.len())];
            let all = Selection::default();
            let (first, second) = tokio::join!(desk.retry(of_key(key)), desk.retry(all));
            retries += [first, second].iter().filter(|operation| operation.outcome.is_some()).count();
        }
    }
    other.stop().await;
    desk.comes_to_the_end().await;
    eventually("nothing is parked any more", 2 * PATIENCE, async || {
        desk.resolve(Selection::default(), SettleAction::Retry { edited: None }).await;
        let parked = desk.parked_keys().await;
        if parked.is_empty() { Ok(()) } else { Err(format!("{parked:?}")) }
    })
    .await;
    one.stop().await;
    println!("seed {seed}: {} events, {retries} retries", KEYS.len() * 400);
    assert_eq!(desk.notes().await, expected);
}
