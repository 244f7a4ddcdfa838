//! Chores: what can't be done holds up no operation, and is told with what to type.

use std::time::Duration;

use readcast::internals::operations::Policy;
use readcast::store::{Command, GenerationState, GenerationStatus, NoticeKind, OperationState, RecordedNotice};

use super::scene::{ComparedPlace, Scene, Seen, rebuild};
use crate::support::eventually::{PATIENCE, eventually};

async fn notices(scene: &Scene) -> Vec<RecordedNotice> {
    scene.store.notices().await.unwrap()
}

/// Waits for a notice of this kind, and returns it.
async fn is_told(scene: &Scene, kind: NoticeKind) -> RecordedNotice {
    eventually(&format!("{kind} is told"), PATIENCE, async || {
        let notices = notices(scene).await;
        notices.iter().find(|notice| notice.kind == kind).cloned().ok_or_else(|| format!("{notices:?}"))
    })
    .await
}

async fn is_told_no_longer(scene: &Scene) {
    eventually("nothing is told", PATIENCE, async || {
        let notices = notices(scene).await;
        if notices.is_empty() { Ok(()) } else { Err(format!("{notices:?}")) }
    })
    .await;
}

/// A view, a function, a foreign key and a chain of materialized views, made of the physical table of generation 1.
const OBJECTS: &str = "
    CREATE SCHEMA reports;
    CREATE MATERIALIZED VIEW reports.first AS SELECT order_id FROM readcast_tables.seen_g1;
    CREATE MATERIALIZED VIEW reports.second AS SELECT count(*) AS orders FROM reports.first;
    CREATE FUNCTION reports.takes(seen readcast_tables.seen_g1) RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE TABLE reports.refers (order_id text REFERENCES readcast_tables.seen_g1)";
const NAMES: [&str; 4] = ["reports.first", "reports.second", "reports.takes", "refers_order_id_fkey"];

#[tokio::test]
async fn tables_that_users_have_built_on_hold_up_no_operation_and_are_retired_when_they_are_gone() {
    let mut scene = Scene::on_postgres().await;
    scene.write(500);
    // The standby is over as soon as there is one.
    let policy = Policy { standby_for: Duration::ZERO, ..Policy::default() };
    let instance = scene.start_with([Seen::first()], policy);
    scene.projects_all(1).await;
    scene.execute(OBJECTS).await;
    let definition = Seen::first().definition();
    let before = scene.store.dependents(&scene.live().await).await.unwrap();
    assert_eq!(before.len(), NAMES.len(), "they are named beforehand: {before:?}");
    scene.does(&Command::Rebuild(rebuild(&definition))).await;
    scene.reaches(1, GenerationState::Retired).await;
    let told = is_told(&scene, NoticeKind::TablesNotDropped).await;
    for name in NAMES {
        assert!(told.text.contains(name) && told.next.contains(name), "{name}: {told:?}");
    }
    assert!(told.next.contains("readcast retire seen"), "{told:?}");
    let metric = "readcast_notices{projection=\"seen\",kind=\"tables_not_dropped\"} 1";
    eventually("the metric shows it", PATIENCE, async || {
        let shown = instance.metrics.encode();
        if shown.contains(metric) { Ok(()) } else { Err(shown) }
    })
    .await;
    // Whatever is asked for is done meanwhile.
    let verify = Command::Verify { definition_hash: definition.hash().into() };
    scene.does(&verify).await;
    scene.does(&Command::Rebuild(rebuild(&definition))).await;
    let why = scene.is_refused(&Command::Retire).await;
    for name in NAMES {
        assert!(why.contains(name), "{name}: {why}");
    }
    assert!(why.contains("generation 1") && why.contains("DROP MATERIALIZED VIEW reports.second"), "{why}");
    assert!(scene.statuses().await[0].has_tables);
    // What was to be typed works as it stands.
    let typed = told.next.split('`').nth(1).unwrap();
    scene.execute(typed).await;
    scene.does(&Command::Retire).await;
    let is_live = |status: &GenerationStatus| status.state == GenerationState::Live;
    let statuses = scene.statuses().await;
    assert!(statuses.iter().all(|status| status.has_tables == is_live(status)), "{statuses:?}");
    is_told_no_longer(&scene).await;
    scene.shows_every_count().await;
    instance.stop().await;
}

#[tokio::test]
async fn tables_in_use_are_told_of_with_who_uses_them() {
    let mut scene = Scene::on_postgres().await;
    scene.write(100);
    let instance = scene.start([Seen::first()]);
    scene.projects_all(1).await;
    scene.does(&Command::Rebuild(rebuild(&Seen::first().definition()))).await;
    let ComparedPlace::Postgres(database) = &scene.place else { unreachable!("it is on Postgres") };
    let mut reader = database.connect().await;
    for statement in ["SET application_name = 'a long report'", "BEGIN", "SELECT FROM readcast_tables.seen_g1"] {
        sqlx::query(statement).execute(&mut reader).await.unwrap();
    }
    let why = scene.is_refused(&Command::Retire).await;
    assert!(why.contains("in use by process") && why.contains("a long report"), "{why}");
    let told = is_told(&scene, NoticeKind::TablesNotDropped).await;
    assert!(told.text.contains("a long report"), "{told:?}");
    sqlx::query("COMMIT").execute(&mut reader).await.unwrap();
    scene.does(&Command::Retire).await;
    is_told_no_longer(&scene).await;
    instance.stop().await;
}

#[tokio::test]
async fn in_a_file_tables_go_and_what_is_broken_by_that_is_named_until_it_is_gone() {
    let mut scene = Scene::on_sqlite().await;
    scene.write(100);
    let instance = scene.start([Seen::first()]);
    scene.projects_all(1).await;
    scene.execute("CREATE VIEW report AS SELECT count(*) FROM seen_g1").await;
    let before = scene.store.dependents(&scene.live().await).await.unwrap();
    assert_eq!(before.iter().map(|found| found.what.as_str()).collect::<Vec<_>>(), ["view report"]);
    scene.does(&Command::Rebuild(rebuild(&Seen::first().definition()))).await;
    scene.does(&Command::Retire).await;
    let statuses = scene.statuses().await;
    assert_eq!((statuses[0].state, statuses[0].has_tables), (GenerationState::Retired, false));
    let told = is_told(&scene, NoticeKind::BrokenDependents).await;
    assert!(told.text.contains("view report") && told.next.contains("DROP VIEW \"report\""), "{told:?}");
    scene.execute("DROP VIEW report").await;
    is_told_no_longer(&scene).await;
    instance.stop().await;
}

#[tokio::test]
async fn in_a_file_rows_that_refer_to_a_table_keep_it_until_they_are_gone() {
    let mut scene = Scene::on_sqlite().await;
    scene.write(100);
    let instance = scene.start([Seen::first()]);
    scene.projects_all(1).await;
    scene.execute("CREATE TABLE refers (order_id TEXT REFERENCES seen_g1)").await;
    scene.execute("INSERT INTO refers SELECT order_id FROM seen_g1").await;
    let definition = Seen::first().definition();
    scene.does(&Command::Rebuild(rebuild(&definition))).await;
    let why = scene.is_refused(&Command::Retire).await;
    assert!(why.contains("table refers"), "{why}");
    scene.does(&Command::Verify { definition_hash: definition.hash().into() }).await;
    scene.execute("DROP TABLE refers").await;
    let retired = scene.does(&Command::Retire).await;
    assert_eq!(retired.state, OperationState::Done);
    is_told_no_longer(&scene).await;
    instance.stop().await;
}
