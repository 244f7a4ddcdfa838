//! Reports in words, and their effect on liveness and readiness.

use super::*;

fn halted() -> State {
    let reason = "poison at orders/3@17: missing field `total_amount`".into();
    State::Halted { reason, advice: "fix the projection or the event, then restart".into() }
}

#[test]
fn a_report_is_a_sentence() {
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    let retrying = State::Retrying { attempt: 3, reason: "connecting:\nrefused.".into() };
    let say = |state| Report { state, since }.to_string();
    let halted_line = "halted since 2026-01-01T00:00:00Z: poison at orders/3@17: missing field `total_amount`. \
                       Next: fix the projection or the event, then restart";
    assert_eq!(say(State::Running), "running since 2026-01-01T00:00:00Z");
    assert_eq!(say(retrying), "retrying since 2026-01-01T00:00:00Z, attempt 3: connecting: refused");
    assert_eq!(say(halted()), halted_line);
}

#[test]
fn ready_means_that_every_projection_works() {
    let health = Health::new(&Metrics::new(), ["a", "b"]);
    health.set("a", State::Running);
    assert_eq!(health.readiness(Detail::Brief), Err("not ready\na: running\nb: starting\n".into()));
    health.set("b", State::Stopped);
    assert_eq!(health.readiness(Detail::Brief), Ok("ready\na: running\nb: stopped\n".into()));
    health.set("b", halted());
    let verbose = health.readiness(Detail::Verbose).unwrap_err();
    assert!(verbose.starts_with("not ready\na: running since 2") && verbose.contains("total_amount"), "{verbose}");
}

#[test]
fn a_state_that_lasts_keeps_its_beginning() {
    let health = Health::new(&Metrics::new(), ["a"]);
    let retry = |attempt| State::Retrying { attempt, reason: "refused".into() };
    health.set("a", retry(1));
    let since = health.reports()["a"].since;
    health.set("a", retry(2));
    assert_eq!(health.reports()["a"], Report { state: retry(2), since });
}

#[test]
fn a_failure_that_has_passed_is_not_reported_when_a_generation_is_no_longer_fed() {
    let health = Health::new(&Metrics::new(), ["a"]);
    for trouble in [halted(), State::Retrying { attempt: 2, reason: "53300".into() }] {
        health.set("a", trouble);
        health.serve("a", Generation(1));
        health.reporter("a", Generation(1)).set(State::Running);
        assert_eq!(health.reports()["a"].state, State::Running);
        health.forget("a", Generation(1));
        assert_eq!(health.reports()["a"].state, State::Starting);
    }
}

#[test]
fn only_silence_ends_liveness() {
    let health = Health::new(&Metrics::new(), ["a"]);
    health.set("a", halted());
    assert_eq!(health.liveness(), Ok("alive\n".into()));
    let later = Instant::now() + HEARTBEAT_LIMIT + Duration::from_secs(5);
    assert!(
        health.liveness_at(later).unwrap_err().starts_with("stuck: the supervisor has given no sign of life for 6")
    );
    health.beat();
    assert_eq!(health.liveness(), Ok("alive\n".into()));
}

#[test]
fn the_state_shows_in_the_metrics() {
    let metrics = Metrics::new();
    let health = Health::new(&metrics, ["a"]);
    health.set("a", State::Running);
    let encoded = metrics.encode();
    let shows = |state: &str, value| {
        encoded.contains(&format!("readcast_projection_state{{projection=\"a\",state=\"{state}\"}} {value}\n"))
    };
    assert!(shows("running", 1) && State::NAMES.iter().filter(|name| **name != "running").all(|name| shows(name, 0)));
}
