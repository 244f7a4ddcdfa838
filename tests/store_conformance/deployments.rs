//! Whose database it is.

use readcast::internals::store::postgres::Postgres;
use readcast::store::{Deployment, Generation, SchemaStore, StoreError};

use super::commits::{counted, counters};
use super::lane::{Lane, PROJECTION, definition};
use super::subject::{Subject, instance};
use crate::support::postgres::Database;

fn deployment(app: &str, prefix: &str) -> Deployment {
    Deployment { app: app.into(), topic_prefix: prefix.into(), ..Deployment::default() }
}

async fn refusal(subject: &Subject, ours: &Deployment, adopt: bool) -> String {
    match subject.store.deploy(ours, adopt).await {
        Err(error @ StoreError::Deployment { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

pub(super) async fn a_database_belongs_to_the_first_deployment(subject: &Subject) {
    assert_eq!(subject.store.deployment().await, Ok(None));
    let first = deployment("shop", "eu.");
    subject.store.deploy(&first, false).await.expect("it is nobody's yet");
    subject.store.deploy(&first, false).await.expect("it is ours");
    let told = refusal(subject, &deployment("shop", "us."), false).await;
    assert!(told.contains("topic prefix is `eu.`, and here it is `us.`"), "{told}");
    let recorded = subject.store.deployment().await.expect("it can be read").expect("it is recorded");
    assert_eq!((recorded.app.as_str(), recorded.topic_prefix.as_str()), ("shop", "eu."));
}

pub(super) async fn a_cluster_is_learnt_and_another_one_refused(subject: &Subject) {
    let unknown = deployment("shop", "");
    subject.store.deploy(&unknown, false).await.expect("it is nobody's yet");
    let known = Deployment { cluster_id: Some("c1".into()), ..unknown.clone() };
    subject.store.deploy(&known, false).await.expect("now it is known");
    subject.store.deploy(&unknown, false).await.expect("the log is away, which says nothing");
    let other = Deployment { cluster_id: Some("c2".into()), ..unknown };
    assert!(refusal(subject, &other, false).await.contains("cluster is `c1`, and here it is `c2`"));
    subject.store.deploy(&other, true).await.expect("an operator said so");
    assert!(refusal(subject, &known, false).await.contains("cluster is `c2`"));
}

/// A database in which generation 1 is live, with a reader who may read it.
async fn with_readers() -> Subject {
    let subject = Subject::postgres().await;
    let mut lane = Lane::claim(&subject, &definition(counters())).await;
    lane.commit(counted(&["a"])).await.expect("a row");
    subject.execute("GRANT SELECT ON public.counters TO PUBLIC; CREATE VIEW public.of_users AS SELECT * FROM public.counters; CREATE SCHEMA api").await;
    subject
}

fn in_schema(database: &Database, schema: &str) -> (Postgres, Deployment) {
    let deployment = Deployment { schema: Some(schema.into()), ..deployment("shop", "") };
    (Postgres::new(database.options(), schema), deployment)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_views_move_when_the_schema_is_changed() {
    let subject = with_readers().await;
    // As an earlier version left it: nothing is recorded, and the views stand where they stand.
    let (store, ours) = in_schema(subject.database(), "api");
    store.deploy(&ours, false).await.expect("nobody runs");
    let found = "SELECT string_agg(schemaname || '.' || viewname, ',') FROM pg_views WHERE viewname = 'counters'";
    assert_eq!(subject.database().value(found).await, "api.counters");
    assert_eq!(
        subject.database().value("SELECT count FROM public.of_users").await,
        "1",
        "what users built of it goes on"
    );
    let granted = "SELECT has_table_privilege('public', 'api.counters', 'SELECT')";
    let granted = subject.database().try_rows(granted).await;
    assert!(granted.is_err() || granted.is_ok_and(|rows| rows == ["t"]));
    assert_eq!(store.alterations(&definition(counters()), Generation(1)).await, Ok(Vec::new()));
    let (back, ours) = in_schema(subject.database(), "public");
    back.deploy(&ours, false).await.expect("and back");
    assert_eq!(subject.database().value(found).await, "public.counters");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_moves_while_an_instance_runs_and_a_rival_is_named() {
    let subject = with_readers().await;
    let (_, first) = in_schema(subject.database(), "public");
    subject.store.deploy(&first, false).await.expect("it is nobody's yet");
    subject.store.heartbeat(&instance("one"), PROJECTION, &["hash"], true).await.expect("it is noted");
    let (moved, ours) = in_schema(subject.database(), "api");
    let refused = moved.deploy(&ours, false).await.expect_err("an instance runs").to_string();
    assert!(refused.starts_with("projection `tested` is also run by app `shop` on host db1"), "{refused}");
    let rival = Deployment { app: "other".into(), ..first.clone() };
    let refused = refusal(&subject, &rival, false).await;
    assert!(refused.contains("app `shop` on host db1") && refused.contains("app is `shop`, and here it is `other`"));
    refusal(&subject, &rival, true).await;
    subject.store.heartbeat(&instance("one"), PROJECTION, &["hash"], false).await.expect("it stops");
    subject.store.deploy(&rival, false).await.expect("it has another name now");
}
