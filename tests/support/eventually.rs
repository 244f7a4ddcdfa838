//! Polls a condition until it holds or a deadline passes. Nothing else in the tests polls.
//!
//! A test never sleeps. It waits for an event, or, where a server announces none, it calls [`eventually`].

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// How long a test waits for an expected event. Long enough for a busy machine, because only failures wait so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const INTERVAL: Duration = Duration::from_millis(20);

/// Calls `probe` until it returns `Ok`. After `patience` the test fails with the sentence `what` and the last `Err`.
///
/// `what` completes the sentence "it should be so that …".
pub(crate) async fn eventually<T, V: Display>(
    what: &str,
    patience: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, V>,
) -> T {
    let deadline = Instant::now() + patience;
    let mut last = None;
    loop {
        // The probe itself may hang, for example on a stopped server.
        match timeout_at(deadline, probe()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(seen)) => last = Some(seen.to_string()),
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            let last = last.as_deref().unwrap_or("nothing, no probe ever came back");
            panic!("after {patience:?} it should be so that {what}; last seen: {last}");
        }
        sleep(INTERVAL).await;
    }
}
