//! A definition changes, operators rebuild, activate, roll back and verify: what they see and get, on both stores.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use readcast::internals::operations::Policy;
use readcast::internals::source::memory::MemorySource;
use readcast::source::{Assignment, Extents, Source, SourceError, SourceEvent, Start, Subscription};
use readcast::store::{Command, GenerationState, OperationState, Rebuild, RebuildStart};
use readcast_core::{Changes, ColumnType, Envelope, Registry, TableSpec, Timestamp, TopicPartition};
use tokio::sync::watch;

use super::scene::{Instance, NAME, Scene, Seen, count, order_id, rebuild, seen};
use crate::support::eventually::{PATIENCE, eventually};

macro_rules! on_both_stores {
    ($($test:ident),* $(,)?) => {
        mod on_postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Scene::on_postgres().await).await;
            })*
        }

        mod on_sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Scene::on_sqlite().await).await;
            })*
        }
    };
}

on_both_stores!(
    a_rebuild_of_the_same_definition_swaps_to_the_same_rows,
    a_changed_column_type_halts_until_it_is_rebuilt,
    a_new_table_and_a_dropped_column_come_with_the_swap,
    on_change_rebuild_activates_what_the_new_code_builds_while_the_old_code_feeds_readers,
    a_rollback_returns_to_tables_that_are_current,
    a_renamed_projection_is_told_from_a_new_one_and_keeps_its_tables,
    a_row_edited_by_hand_is_found_by_verify_and_repaired_by_its_key,
    a_table_of_the_greatest_width_is_verified_repaired_and_rebuilt,
    a_key_whose_rows_others_share_is_not_folded_again,
    a_rebuild_that_comes_out_empty_is_not_activated,
    a_log_that_forgot_its_beginning_refuses_a_rebuild_with_the_counts,
    a_rebuild_that_is_to_keep_indexes_is_not_activated_without_them,
    indexes_that_users_made_are_kept_by_a_copy_too,
    a_copy_replays_what_can_be_repeated_and_refuses_the_rest,
    pause_resume_and_cancel_work_in_the_middle_of_a_rebuild,
    a_standby_whose_time_is_over_is_dropped,
    what_cannot_be_folded_outside_of_the_tables_is_replayed_into_them,
    a_log_that_does_not_say_how_far_it_reaches_is_loaded_all_the_same,
    live_tables_that_nobody_can_feed_are_told_of,
);

/// As [`Seen::first`], but the count is a decimal.
fn decimal_counts() -> Seen {
    let table = TableSpec::new("seen").key("order_id", ColumnType::Text).with_default(
        "events",
        ColumnType::Decimal { scale: 2 },
        0,
    );
    Seen::next(2, vec![table], count)
}

/// As [`Seen::first`], with one more column.
fn with_note() -> Seen {
    Seen::next(2, vec![seen().nullable("note", ColumnType::Text)], count)
}

fn set_status(event: &Envelope<'_>, changes: &mut Changes<'_>) {
    changes.upsert("seen", [order_id(event)]).set("status", event.event_type.to_string());
}

fn with_status() -> TableSpec {
    TableSpec::new("seen").key("order_id", ColumnType::Text).nullable("status", ColumnType::Text)
}

async fn a_rebuild_of_the_same_definition_swaps_to_the_same_rows(mut scene: Scene) {
    scene.write(2_000);
    let instance = scene.start([Seen::first()]);
    scene.projects_all(1).await;
    let operation = scene.does(&Command::Rebuild(rebuild(&Seen::first().definition()))).await;
    assert_eq!(operation.outcome.as_deref(), Some("generation 2 is live; generation 1 is the standby"));
    let counted = instance.metrics.encode();
    // What was live has projected them once, and what is live now too.
    let records = "readcast_records_total{projection=\"seen\",outcome=\"applied\"} 4000";
    assert!(counted.lines().any(|line| line == records), "{counted}");
    let live = scene.live().await;
    assert_eq!(live.generation.0, 2);
    let proof = live.proof.expect("it was compared");
    assert!(proof.is_equal() && proof.tables[0].live_rows == Some(scene.expected().len() as u64), "{proof:?}");
    scene.write(1_000);
    scene.projects_all(2).await;
    scene.shows_every_count().await;
    assert!(instance.stop().await.iter().all(|(_, ending)| ending.is_ok()));
}

/// The indexes that users made on what readers see.
async fn indexes(scene: &Scene, of: &Seen) -> Vec<String> {
    let additions = scene.store.additions(&scene.live().await, &of.definition()).await.unwrap();
    additions.into_iter().map(|added| added.what).collect()
}

async fn a_rebuild_that_is_to_keep_indexes_is_not_activated_without_them(mut scene: Scene) {
    scene.write(300);
    let next = Seen::next(2, vec![with_status()], set_status);
    let instance = scene.continues([Seen::first(), next.clone()]).await;
    let physical = scene.physical("seen", 1);
    scene.execute(&format!("CREATE INDEX by_length ON {physical} (length(order_id))")).await;
    scene.execute(&format!("CREATE INDEX by_both ON {physical} (order_id, events)")).await;
    let keeping = Rebuild { keep_indexes: true, ..rebuild(&next.definition()) };
    let refused = scene.is_refused(&Command::Rebuild(keeping.clone())).await;
    assert!(refused.contains("by_both") && refused.contains("events") && !refused.contains("by_length"), "{refused}");
    assert!(refused.contains("`readcast activate seen`"), "{refused}");
    assert_eq!((scene.live().await.generation.0, scene.state(2).await), (1, Some(GenerationState::Ready)));
    scene.does(&Command::Activate { accept_difference: false, accept_type_change: false }).await;
    assert_eq!(indexes(&scene, &next).await, [r#"index "by_length_g2""#], "an operator did without the other");
    instance.stop().await;
}

async fn indexes_that_users_made_are_kept_by_a_copy_too(mut scene: Scene) {
    scene.write(300);
    let instance = scene.start([Seen::first()]);
    scene.projects_all(1).await;
    let physical = scene.physical("seen", 1);
    let condition = format!("order_id <> '{physical}'");
    scene
        .execute(&format!("CREATE UNIQUE INDEX \"by \"\"id\"\"\" ON {physical} (lower(order_id)) WHERE {condition}"))
        .await;
    let copy = Rebuild { begin: RebuildStart::Live, keep_indexes: true, ..rebuild(&Seen::first().definition()) };
    scene.does(&Command::Rebuild(copy)).await;
    assert_eq!(indexes(&scene, &Seen::first()).await, [r#"index "by ""id""_g2""#]);
    scene.does(&Command::Rollback).await;
    assert_eq!(indexes(&scene, &Seen::first()).await, [r#"index "by ""id""""#], "it has its own");
    scene.does(&Command::Rebuild(rebuild(&Seen::first().definition()))).await;
    assert_eq!(indexes(&scene, &Seen::first()).await, [""; 0], "nobody asked to keep it");
    instance.stop().await;
}

async fn what_cannot_be_folded_outside_of_the_tables_is_replayed_into_them(mut scene: Scene) {
    fn fan_out(event: &Envelope<'_>, changes: &mut Changes<'_>) {
        changes.upsert("seen", [order_id(event)]).add("events", 1);
        // Which rows these are only a table can tell.
        changes.update_where("seen", "events", 1_000_000).set("events", 0);
    }
    fn too_much(event: &Envelope<'_>, changes: &mut Changes<'_>) {
        // Two of these do not fit into a column together; what the second would be is parked.
        changes.upsert("seen", [order_id(event)]).add("events", i64::MAX);
    }
    let [fanning, overflowing] = [(2, fan_out as fn(&Envelope<'_>, &mut Changes<'_>)), (3, too_much)]
        .map(|(version, project)| Seen::next(version, vec![seen()], project));
    scene.write(300);
    let instance = scene.continues([Seen::first(), fanning.clone(), overflowing.clone()]).await;
    scene.does(&Command::Rebuild(rebuild(&fanning.definition()))).await;
    scene.projects_all(2).await;
    scene.shows_every_count().await;
    scene.does(&Command::Rebuild(Rebuild { accept_difference: true, ..rebuild(&overflowing.definition()) })).await;
    scene.projects_all(3).await;
    let rows = scene.rows(&seen()).await;
    assert!(rows.len() == scene.expected().len() && rows.iter().all(|row| row[1] == i64::MAX.to_string()), "{rows:?}");
    let live = scene.live().await;
    let expected = scene.expected().values().filter(|count| **count > 1).count() as u64;
    assert_eq!(live.parked.keys, expected, "{:?}", live.parked);
    instance.stop().await;
}

/// A log that leaves the first question unanswered after a load has begun to read it, and gives it no record before.
struct Mute {
    log: MemorySource,
    is_asked: watch::Sender<bool>,
}

#[async_trait]
impl Source for Mute {
    async fn extents(&self, topics: &[&str]) -> Result<Extents, SourceError> {
        if !self.is_asked.send_replace(true) {
            return Err(SourceError::Unavailable { doing: "asking".into(), reason: "it is mute".into() });
        }
        self.log.extents(topics).await
    }

    async fn offsets_at(&self, topics: &[&str], at: Timestamp) -> Result<BTreeMap<TopicPartition, i64>, SourceError> {
        self.log.offsets_at(topics, at).await
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>, SourceError> {
        let read = self.log.subscribe(group, topics).await?;
        if !group.contains(".reading.") {
            return Ok(read);
        }
        self.is_asked.send_replace(false);
        Ok(Box::new(Waiting { read, is_asked: self.is_asked.subscribe() }))
    }
}

struct Waiting {
    read: Box<dyn Subscription>,
    is_asked: watch::Receiver<bool>,
}

#[async_trait]
impl Subscription for Waiting {
    async fn next(&mut self) -> Result<SourceEvent, SourceError> {
        self.is_asked.wait_for(|is_asked| *is_asked).await.expect("the log is there");
        self.read.next().await
    }

    async fn start(&mut self, starts: &[Start]) -> Result<(), SourceError> {
        self.read.start(starts).await
    }

    fn assignment(&self) -> Arc<Assignment> {
        self.read.assignment()
    }

    async fn close(self: Box<Self>) {
        self.read.close().await;
    }
}

async fn a_log_that_does_not_say_how_far_it_reaches_is_loaded_all_the_same(mut scene: Scene) {
    scene.write(2_000);
    let registry = Registry::new().register(Seen::first());
    let log = Arc::new(Mute { log: scene.log.clone(), is_asked: watch::Sender::new(true) });
    let instance = Instance::start(log, scene.store.clone(), "scene", registry, Policy::default());
    scene.projects_all(1).await;
    let commits = || {
        let counted = instance.metrics.encode();
        let sum = counted.lines().find_map(|line| line.strip_prefix("readcast_batches_total{projection=\"seen\"} "));
        sum.unwrap().parse::<u64>().unwrap()
    };
    let first = commits();
    assert!(first > 10, "{first} commits made the first generation");
    scene.does(&Command::Rebuild(Rebuild { max_live_lag: 1, ..rebuild(&Seen::first().definition()) })).await;
    let second = commits() - first;
    assert!(second < 5, "{second} commits: it was replayed");
    scene.shows_every_count().await;
    instance.stop().await;
}

async fn a_changed_column_type_halts_until_it_is_rebuilt(mut scene: Scene) {
    scene.write(500);
    let first = scene.start([Seen::first()]);
    scene.projects_all(1).await;
    first.stop().await;
    let second = scene.start([decimal_counts()]);
    eventually("the change is told", PATIENCE, async || {
        let told = second.verbose();
        let all = ["halted", "column `events` changed from i64 to decimal(2)", "readcast rebuild"];
        if all.iter().all(|part| told.contains(part)) { Ok(()) } else { Err(told) }
    })
    .await;
    scene.shows_every_count().await;
    let types = "column `events` of table `seen` changes from i64 to decimal(2)";
    let plain = rebuild(&decimal_counts().definition());
    let refused = scene.is_refused(&Command::Rebuild(plain.clone())).await;
    assert!(refused.contains(types) && refused.contains("--accept-type-change"), "{refused}");
    assert_eq!(scene.statuses().await.len(), 1, "nothing is built in vain");
    scene.does(&Command::Rebuild(Rebuild { no_activate: true, ..plain })).await;
    let activate = |accept_type_change| Command::Activate { accept_difference: false, accept_type_change };
    let refused = scene.is_refused(&activate(false)).await;
    assert!(refused.contains(types) && refused.contains("--accept-type-change"), "{refused}");
    scene.does(&activate(true)).await;
    scene.projects_all(2).await;
    let rows = scene.rows(&decimal_counts().tables[0]).await;
    let expected: Vec<Vec<String>> =
        scene.expected().into_iter().map(|(order, count)| vec![order, format!("{count}.00")]).collect();
    assert_eq!(rows, expected);
    eventually("it is ready", PATIENCE, async || {
        let told = second.verbose();
        if told.starts_with("ready\n") { Ok(()) } else { Err(told) }
    })
    .await;
    second.stop().await;
}

async fn a_new_table_and_a_dropped_column_come_with_the_swap(mut scene: Scene) {
    fn project(event: &Envelope<'_>, changes: &mut Changes<'_>) {
        set_status(event, changes);
        changes.upsert("seen_types", [event.event_type.to_string()]).add("events", 1);
    }
    let types = TableSpec::new("seen_types").key("type", ColumnType::Text).with_default("events", ColumnType::I64, 0);
    let next = Seen::next(2, vec![with_status(), types.clone()], project);
    scene.write(500);
    // Both versions in one process: the old one feeds what it built.
    let instance = scene.continues([Seen::first(), next.clone()]).await;
    scene.does(&Command::Rebuild(rebuild(&next.definition()))).await;
    scene.write(500);
    scene.projects_all(2).await;
    let counted: i64 = scene.rows(&types).await.iter().map(|row| row[1].parse::<i64>().unwrap()).sum();
    assert_eq!(counted, 1_000);
    let rows = scene.rows(&with_status()).await;
    assert!(rows.len() == scene.expected().len() && rows.iter().all(|row| row[1].starts_with("ORDER_")), "{rows:?}");
    // And back: the column is there again, the table is gone, and nothing is missing.
    scene.does(&Command::Rollback).await;
    scene.projects_all(1).await;
    scene.shows_every_count().await;
    assert!(scene.store.peek(&types, 1).await.is_err(), "generation 1 has no such table");
    instance.stop().await;
}

async fn on_change_rebuild_activates_what_the_new_code_builds_while_the_old_code_feeds_readers(mut scene: Scene) {
    scene.write(1_000);
    // With the same policy as the new code: it must not take its own definition for the newer one.
    let old = scene.start_rebuilding([Seen::first()]);
    scene.projects_all(1).await;
    let new = scene.start_rebuilding([with_note()]);
    scene.write(500);
    scene.reaches(2, GenerationState::Live).await;
    assert!(new.verbose().contains(NAME));
    scene.write(500);
    scene.projects_all(2).await;
    // The old code goes on feeding what it built, so that a rollback would be current.
    scene.projects_all(1).await;
    assert_eq!(scene.state(1).await, Some(GenerationState::Standby));
    eventually("the old code knows that it is superseded", PATIENCE, async || {
        let told = old.verbose();
        if told.contains("superseded") && told.starts_with("ready\n") { Ok(()) } else { Err(told) }
    })
    .await;
    // A rollback stands: the new code does not begin again.
    scene.does(&Command::Rollback).await;
    scene.write(500);
    scene.projects_all(1).await;
    scene.shows_every_count().await;
    assert_eq!(scene.statuses().await.len(), 2);
    let operations = scene.store.operations(NAME, 100).await.unwrap();
    let rebuilds = operations.iter().filter(|operation| matches!(operation.command, Command::Rebuild(_)));
    assert_eq!(rebuilds.count(), 1, "each code took its own definition for the newer one: {operations:?}");
    old.stop().await;
    new.stop().await;
}

async fn a_rollback_returns_to_tables_that_are_current(mut scene: Scene) {
    scene.write(1_000);
    let instance = scene.start([Seen::first()]);
    scene.projects_all(1).await;
    let command = Command::Rebuild(rebuild(&Seen::first().definition()));
    assert_eq!(scene.is_refused(&Command::Rollback).await, "the projection has no standby generation");
    scene.does(&command).await;
    scene.write(1_000);
    for generation in [1, 2, 1] {
        scene.does(&Command::Rollback).await;
        assert_eq!(scene.live().await.generation.0, generation);
        scene.write(100);
        scene.projects_all(generation).await;
        scene.shows_every_count().await;
    }
    instance.stop().await;
}

async fn a_renamed_projection_is_told_from_a_new_one_and_keeps_its_tables(mut scene: Scene) {
    let renamed = || Seen { name: "order_counts", ..Seen::first() };
    scene.write(500);
    let old = scene.start([Seen::first()]);
    scene.projects_all(1).await;
    old.stop().await;
    let new = scene.start([renamed()]);
    eventually("the owner of the table is told", PATIENCE, async || {
        let told = new.verbose();
        if told.contains("readcast rename seen order_counts") { Ok(()) } else { Err(told) }
    })
    .await;
    scene.shows_every_count().await;
    scene.store.rename(NAME, "order_counts", "a test").await.unwrap();
    scene.write(500);
    // The same tables, from the same checkpoints: nothing is built again.
    scene.projects_all(1).await;
    scene.shows_every_count().await;
    assert_eq!(scene.live().await.projection, "order_counts");
    new.stop().await;
}

async fn a_row_edited_by_hand_is_found_by_verify_and_repaired_by_its_key(mut scene: Scene) {
    scene.write(1_000);
    let instance = scene.start([Seen::first()]);
    scene.projects_all(1).await;
    let definition_hash = Seen::first().definition().hash().to_owned();
    let verify = Command::Verify { definition_hash: definition_hash.clone() };
    let equal = scene.does(&verify).await.outcome.unwrap();
    assert!(equal.contains("exactly what the log makes of them"), "{equal}");
    let key = scene.expected().keys().nth(7).unwrap().clone();
    let table = scene.physical("seen", 1);
    scene.execute(&format!("UPDATE {table} SET events = events + 5 WHERE order_id = '{key}'")).await;
    let operation = scene.does(&verify).await;
    assert!(operation.outcome.unwrap().contains("differs in 1 row"));
    let statuses = scene.statuses().await;
    let scratch = statuses.iter().find(|status| Some(status.generation) == operation.generation).unwrap();
    let proof = scratch.proof.as_ref().unwrap();
    assert_eq!(proof.tables[0].samples[0].to_string(), format!("{key}: events differs"));
    let repaired = scene.does(&Command::RefoldKey { key: key.clone(), definition_hash }).await.outcome.unwrap();
    assert!(repaired.contains(&format!("with the key `{key}` again: ")), "{repaired}");
    scene.shows_every_count().await;
    assert!(scene.does(&verify).await.outcome.unwrap().contains("exactly"));
    scene.write(500);
    scene.projects_all(1).await;
    scene.shows_every_count().await;
    instance.stop().await;
}

async fn a_table_of_the_greatest_width_is_verified_repaired_and_rebuilt(mut scene: Scene) {
    const COUNTERS: usize = TableSpec::MAX_COLUMNS - 2;
    fn count_widely(event: &Envelope<'_>, changes: &mut Changes<'_>) {
        let row = changes.upsert("seen", [order_id(event)]).add("events", 1);
        (0..COUNTERS).fold(row, |row, place| row.add(&format!("c{place}"), 1));
    }
    let narrow = TableSpec::new("seen").key("order_id", ColumnType::Text).with_default("events", ColumnType::I64, 0);
    let wide = (0..COUNTERS).fold(narrow, |table, place| table.nullable(format!("c{place}"), ColumnType::I32));
    let widely = Seen { tables: vec![wide.clone()], project: count_widely, ..Seen::first() };
    scene.write(100);
    let instance = scene.start([widely.clone()]);
    scene.projects_all(1).await;
    let definition_hash = widely.definition().hash().to_owned();
    let key = scene.expected().keys().next().unwrap().clone();
    let edit = format!("UPDATE {} SET c7 = NULL WHERE order_id = '{key}'", scene.physical("seen", 1));
    scene.execute(&edit).await;
    let verify = Command::Verify { definition_hash: definition_hash.clone() };
    let operation = scene.does(&verify).await;
    assert!(operation.outcome.unwrap().contains("differs in 1 row"));
    let statuses = scene.statuses().await;
    let scratch = statuses.iter().find(|status| Some(status.generation) == operation.generation).unwrap();
    let proof = scratch.proof.as_ref().unwrap();
    assert_eq!(proof.tables[0].samples[0].to_string(), format!("{key}: c7 differs"));
    scene.does(&Command::RefoldKey { key, definition_hash }).await;
    assert!(scene.does(&verify).await.outcome.unwrap().contains("exactly"));
    scene.execute(&edit).await;
    scene.does(&Command::Rebuild(Rebuild { accept_difference: true, ..rebuild(&widely.definition()) })).await;
    scene.write(50);
    scene.projects_all(scene.live().await.generation.0).await;
    let rows = scene.rows(&wide).await;
    assert_eq!(rows.len(), scene.expected().len());
    for row in rows {
        let events = scene.expected()[&row[0]].to_string();
        assert!(row[1..].iter().all(|cell| *cell == events), "{row:?}");
    }
    instance.stop().await;
}

async fn a_key_whose_rows_others_share_is_not_folded_again(mut scene: Scene) {
    fn by_type(event: &Envelope<'_>, changes: &mut Changes<'_>) {
        changes.upsert("seen", [event.event_type.to_string()]).add("events", 1);
    }
    let shared = || Seen { project: by_type, ..Seen::first() };
    scene.write(200);
    let instance = scene.start([shared()]);
    scene.projects_all(1).await;
    let before = scene.rows(&seen()).await;
    let key = scene.expected().keys().next().unwrap().clone();
    let definition_hash = shared().definition().hash().to_owned();
    let refused = scene.is_refused(&Command::RefoldKey { key, definition_hash }).await;
    assert!(refused.contains("their parts can't be told apart"), "{refused}");
    assert_eq!(scene.rows(&seen()).await, before);
    instance.stop().await;
}

#[tokio::test]
async fn grants_survive_a_view_that_is_made_anew_and_views_of_users_are_not_dropped() {
    let mut scene = Scene::on_postgres().await;
    let next = Seen::next(2, vec![with_status()], set_status);
    scene.write(300);
    let instance = scene.continues([Seen::first(), next.clone()]).await;
    let role = format!("reader_{:016x}", fastrand::u64(..));
    scene.execute(&format!("CREATE ROLE {role}; GRANT SELECT ON public.seen TO {role}")).await;
    scene.execute("CREATE VIEW of_users AS SELECT order_id, events FROM public.seen").await;
    // The column that it needs goes.
    let refused = scene.is_refused(&Command::Rebuild(rebuild(&next.definition()))).await;
    assert!(refused.contains("other objects depend on it"), "{refused}");
    assert_eq!(scene.state(2).await, Some(GenerationState::Ready));
    scene.shows_every_count().await;
    scene.execute("DROP VIEW of_users").await;
    scene.does(&Command::Activate { accept_difference: false, accept_type_change: false }).await;
    let super::scene::ComparedPlace::Postgres(database) = &scene.place else { unreachable!("it is on Postgres") };
    let granted = format!("SELECT has_table_privilege('{role}', 'public.seen', 'SELECT')");
    assert_eq!(database.value(&granted).await, "t");
    scene.does(&Command::Rollback).await;
    assert_eq!(database.value(&granted).await, "t");
    scene.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    instance.stop().await;
}

async fn a_rebuild_that_comes_out_empty_is_not_activated(mut scene: Scene) {
    let forgetful = Seen::next(2, vec![seen()], |_, _| {});
    scene.write(500);
    let instance = scene.continues([Seen::first(), forgetful.clone()]).await;
    let refused = scene.is_refused(&Command::Rebuild(rebuild(&forgetful.definition()))).await;
    assert!(refused.contains("came out empty") && refused.contains("--accept-difference"), "{refused}");
    assert_eq!(scene.state(2).await, Some(GenerationState::Ready));
    scene.shows_every_count().await;
    let refused = scene.is_refused(&Command::Activate { accept_difference: false, accept_type_change: false }).await;
    assert!(refused.contains("came out empty"), "{refused}");
    scene.does(&Command::Activate { accept_difference: true, accept_type_change: false }).await;
    assert!(scene.rows(&seen()).await.is_empty());
    scene.does(&Command::Rollback).await;
    scene.shows_every_count().await;
    instance.stop().await;
}

async fn a_log_that_forgot_its_beginning_refuses_a_rebuild_with_the_counts(mut scene: Scene) {
    scene.write(1_000);
    let instance = scene.start([Seen::first()]);
    scene.projects_all(1).await;
    scene.log.trim("orders", 2, 40);
    let command = rebuild(&Seen::first().definition());
    let refused = scene.is_refused(&Command::Rebuild(command.clone())).await;
    assert!(refused.contains("orders/2: [0, 40) is gone, 40 offsets"), "{refused}");
    assert!(refused.contains("--accept-truncated"), "{refused}");
    // What is gone is missing in the new tables, and that is refused too.
    let truncated = Rebuild { accept_truncated: true, ..command };
    let refused = scene.is_refused(&Command::Rebuild(truncated.clone())).await;
    assert!(refused.contains("that is a fault"), "{refused}");
    scene.shows_every_count().await;
    scene.does(&Command::Rebuild(Rebuild { accept_difference: true, ..truncated })).await;
    assert!(scene.rows(&seen()).await.len() <= scene.expected().len());
    instance.stop().await;
}

async fn a_copy_replays_what_can_be_repeated_and_refuses_the_rest(mut scene: Scene) {
    let versioned = |version, project| Seen::next(version, vec![seen().nullable("status", ColumnType::Text)], project);
    let sets = versioned(2, |event, changes| {
        changes.upsert("seen", [order_id(event)]).set("status", event.event_type.to_string());
    });
    let counts = versioned(3, |event, changes| {
        changes.upsert("seen", [order_id(event)]).set("status", event.event_type.to_string()).add("events", 1);
    });
    scene.write(1_000);
    let instance = scene.continues([Seen::first(), sets.clone(), counts.clone()]).await;
    let offsets = [("orders/0".to_owned(), 0), ("orders/1".to_owned(), 10)].into();
    let replay = |of: &Seen| Rebuild { begin: RebuildStart::Offsets(offsets), ..rebuild(&of.definition()) };
    let refused = scene.is_refused(&Command::Rebuild(replay.clone()(&counts))).await;
    assert!(refused.contains("can't be repeated"), "{refused}");
    scene.shows_every_count().await;
    scene.does(&Command::Rebuild(replay(&sets))).await;
    // Counts as copied, the status of what was replayed beside them.
    let rows = scene.rows(&sets.tables[0]).await;
    let expected = scene.expected();
    assert!(rows.iter().all(|row| row[1] == expected[&row[0]].to_string()), "{rows:?}");
    assert!(rows.iter().any(|row| row[2].starts_with("ORDER_")) && rows.iter().any(|row| row[2] == "null"), "{rows:?}");
    // From where the live tables stand, nothing is replayed, so whatever the projection does is right.
    let live = Rebuild { begin: RebuildStart::Live, ..rebuild(&counts.definition()) };
    scene.does(&Command::Rebuild(live)).await;
    assert_eq!(scene.rows(&counts.tables[0]).await, rows);
    let beyond = [("orders/0".to_owned(), 1_000_000)].into();
    let refused = Rebuild { begin: RebuildStart::Offsets(beyond), ..rebuild(&sets.definition()) };
    let refused = scene.is_refused(&Command::Rebuild(refused)).await;
    assert!(refused.contains("has not reached offset 1000000 of orders/0"), "{refused}");
    instance.stop().await;
}

async fn pause_resume_and_cancel_work_in_the_middle_of_a_rebuild(mut scene: Scene) {
    scene.write(1_000);
    let instance = scene.start([Seen::first()]);
    scene.projects_all(1).await;
    // While the log does not answer, a rebuild can't end.
    scene.log.fail_next(usize::MAX);
    scene.write(200);
    let command = Command::Rebuild(Rebuild { no_activate: true, ..rebuild(&Seen::first().definition()) });
    let id = scene.ask(&command).await;
    scene.reaches(2, GenerationState::Building).await;
    assert_eq!(scene.store.pause(NAME, true, true, "a test").await, Ok(1));
    assert_eq!(scene.ask(&command).await, id, "what is asked for twice is one operation");
    scene.store.cancel(NAME, "a test").await.unwrap();
    let cancelled = scene.finished(id).await;
    assert_eq!(cancelled.state, OperationState::Cancelled);
    assert_eq!(scene.state(2).await, Some(GenerationState::Failed));
    eventually("its tables are dropped", PATIENCE, async || {
        let statuses = scene.statuses().await;
        if statuses[1].has_tables { Err("it has tables") } else { Ok(()) }
    })
    .await;
    scene.log.fail_next(0);
    scene.projects_all(1).await;
    scene.shows_every_count().await;
    scene.does(&command).await;
    assert_eq!(scene.state(3).await, Some(GenerationState::Ready));
    scene.does(&Command::Activate { accept_difference: false, accept_type_change: false }).await;
    scene.shows_every_count().await;
    instance.stop().await;
}

async fn a_standby_whose_time_is_over_is_dropped(mut scene: Scene) {
    scene.write(300);
    let policy = Policy { standby_for: std::time::Duration::ZERO, ..Policy::default() };
    let instance = scene.start_with([Seen::first()], policy);
    scene.projects_all(1).await;
    scene.does(&Command::Rebuild(rebuild(&Seen::first().definition()))).await;
    eventually("its tables are dropped", PATIENCE, async || {
        let statuses = scene.statuses().await;
        let first = &statuses[0];
        if first.state == GenerationState::Retired && !first.has_tables { Ok(()) } else { Err(format!("{first:?}")) }
    })
    .await;
    scene.write(300);
    scene.projects_all(2).await;
    scene.shows_every_count().await;
    instance.stop().await;
}

async fn live_tables_that_nobody_can_feed_are_told_of(mut scene: Scene) {
    scene.write(300);
    let first = scene.start([Seen::first()]);
    scene.projects_all(1).await;
    first.stop().await;
    // The new code can't build its tables, because the log does not hold what it needs.
    scene.log.trim("orders", 0, 5);
    let second = scene.start_rebuilding([decimal_counts()]);
    eventually("that nobody feeds them is told", PATIENCE, async || {
        let told = second.verbose();
        let all = [
            "not ready",
            "orphaned",
            "readcast is not running for generation 1 (version 1), which readers see; its rows are as of 2",
        ];
        if all.iter().all(|part| told.contains(part)) { Ok(()) } else { Err(told) }
    })
    .await;
    second.stop().await;
}
