//! Events of types that no projection takes: they are counted, and operators are told.

use readcast::store::{NoticeKind, RecordedNotice};
use readcast_core::{Changes, Envelope, Projection, ProjectionError, Registry, TableSpec};

use super::diary::{Desk, Diary, event};
use super::on_both_stores;
use crate::support::eventually::{PATIENCE, eventually};

on_both_stores!(events_of_types_that_no_projection_takes_are_counted_until_one_does);

/// Reads the diary's topic, and ignores a type of events.
struct Indifferent(&'static [&'static str]);

impl Projection for Indifferent {
    fn name(&self) -> &str {
        "indifferent"
    }

    fn topics(&self) -> &[&str] {
        &["orders"]
    }

    fn event_types(&self) -> &[&str] {
        &["OTHER"]
    }

    fn ignored_types(&self) -> &[&str] {
        self.0
    }

    fn tables(&self) -> Vec<TableSpec> {
        vec![TableSpec::new("indifferent").key("id", readcast_core::ColumnType::I64)]
    }

    fn project(&self, _event: &Envelope<'_>, _changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        Ok(())
    }
}

async fn told(desk: &Desk) -> Vec<RecordedNotice> {
    let mut notices = desk.scene.store.notices().await.unwrap();
    notices.retain(|notice| notice.kind == NoticeKind::UnhandledEventType);
    notices
}

async fn come_to_be_told(desk: &Desk, expected: &[(&str, u64)]) -> Vec<RecordedNotice> {
    eventually("the types are told", PATIENCE, async || {
        let told = told(desk).await;
        let found: Vec<_> = told.iter().map(|notice| (&*notice.subject, notice.count)).collect();
        if found == expected { Ok(told) } else { Err(format!("{told:?}")) }
    })
    .await
}

fn of_type(event_type: &str, n: u64) -> String {
    event(&format!("{event_type}-{n}"), n, "note").replace("WRITTEN", event_type)
}

async fn events_of_types_that_no_projection_takes_are_counted_until_one_does(mut desk: Desk) {
    desk.record_policy.registry = Registry::new().register(Diary::flawed()).register(Indifferent(&["NOISE"]));
    let instance = desk.opens();
    desk.scene.append("k", of_type("WRITEN", 1));
    desk.write("k", 1, "note");
    desk.scene.append("k", of_type("WRITEN", 2));
    for handled in ["NOISE", "OTHER"] {
        desk.scene.append("k", of_type(handled, 1));
    }
    desk.comes_to_the_end().await;
    assert_eq!(desk.notes().await["k"], [1]);
    let told = come_to_be_told(&desk, &[("orders/WRITEN", 2)]).await;
    assert!(told[0].text.contains("the first is at orders/") && told[0].text.ends_with("@0"), "{told:?}");
    assert!(told[0].next.contains("`ignored_types`"), "{told:?}");
    instance.stop().await;
    // Whichever instance sees more of them adds to the count, and keeps the first position.
    let instance = desk.opens();
    desk.scene.append("k", of_type("WRITEN", 3));
    let again = come_to_be_told(&desk, &[("orders/WRITEN", 3)]).await;
    assert_eq!(again[0].text, told[0].text);
    // A rebuild reads them all once more, and counts none of them twice.
    desk.survives_a_rebuild(&Diary::flawed()).await;
    instance.stop().await;
    // The notice goes when a projection handles the type.
    desk.record_policy.registry = Registry::new().register(Diary::flawed()).register(Indifferent(&["*"]));
    let instance = desk.opens();
    come_to_be_told(&desk, &[]).await;
    instance.stop().await;
}
