//! Tables are created as they are declared, once, and whatever differs later is named.

use readcast::store::{Generation, GenerationError, GenerationState, StoreError, declaration_changes};
use readcast_core::{ColumnType, Definition, TableSpec};

use super::lane::{PROJECTION, definition, versioned};
use super::subject::Subject;

fn orders() -> TableSpec {
    TableSpec::new("orders")
        .key("id", ColumnType::Text)
        .key("line", ColumnType::I32)
        .column("status", ColumnType::Text)
        .nullable("paid_at", ColumnType::Timestamp)
        .with_default("total", ColumnType::Decimal { scale: 2 }, 0)
        .index(["status", "paid_at"])
        .index(["total"])
}

fn notes() -> TableSpec {
    TableSpec::new("notes").key("id", ColumnType::I64).column("text", ColumnType::Text)
}

/// What somebody altered of the first generation.
async fn alterations(subject: &Subject, definition: &Definition) -> String {
    let alterations = subject.store.alterations(definition, Generation(1)).await.expect("the tables can be looked at");
    alterations.join("; ")
}

pub(super) async fn tables_are_created_once_and_found_again(subject: &Subject) {
    let definition = definition([orders(), notes()]);
    for _ in 0..2 {
        assert_eq!(subject.store.prepare(&definition).await, Ok(()));
        assert_eq!(alterations(subject, &definition).await, "");
        assert!(subject.rows(&orders()).await.is_empty());
        assert!(subject.rows(&notes()).await.is_empty());
    }
    let status = subject.status().await;
    assert_eq!((status.projection.as_str(), status.generation), (PROJECTION, Generation(1)));
    assert_eq!((status.state, status.phase, status.has_tables), (GenerationState::Live, None, true));
    assert_eq!((status.definition_hash.as_str(), status.version), (definition.hash(), 1));
    assert_eq!(status.tables, definition.tables());
    assert!(status.activated_at.is_some() && !status.scratch && !status.repeats, "{status:?}");
    assert!(status.checkpoints.is_empty());
}

pub(super) async fn asking_for_taken_names_changes_nothing(subject: &Subject) {
    assert_eq!(subject.store.name_conflicts(&definition([orders(), notes()])).await, Ok(vec![]));
    assert_eq!(subject.store.generations().await, Ok(vec![]));
    subject.execute("CREATE TABLE orders (id TEXT)").await;
}

pub(super) async fn a_changed_declaration_is_named_and_leaves_the_tables(subject: &Subject) {
    let built = definition([orders()]);
    subject.store.prepare(&built).await.expect("tables");
    let changed = definition([orders().nullable("note", ColumnType::Text), notes()]);
    subject.store.prepare(&changed).await.expect("there is a live generation");
    let status = subject.status().await;
    let changes = declaration_changes(&changed, &status).join("; ");
    for part in ["`note` was added", "table `notes` was added"] {
        assert!(changes.contains(part), "nothing about {part} in {changes}");
    }
    assert!(declaration_changes(&built, &status).is_empty(), "as it was, it is the same");
}

pub(super) async fn a_raised_version_is_named(subject: &Subject) {
    subject.store.prepare(&versioned(1, [orders()])).await.expect("tables");
    let changes = declaration_changes(&versioned(2, [orders()]), &subject.status().await).join("; ");
    assert!(changes.contains("version") && changes.contains("from 1 to 2"), "{changes}");
}

pub(super) async fn an_altered_table_is_named(subject: &Subject) {
    let definition = definition([notes(), orders()]);
    subject.store.prepare(&definition).await.expect("tables");
    subject.execute(&format!("ALTER TABLE {} ADD COLUMN extra TEXT", subject.physical(&orders()))).await;
    let altered = alterations(subject, &definition).await;
    assert!(altered.contains("orders_g1") && altered.contains("`extra`"), "{altered}");
    assert!(!altered.contains("notes"), "{altered}");
}

pub(super) async fn a_lost_view_is_named(subject: &Subject) {
    let definition = definition([orders()]);
    subject.store.prepare(&definition).await.expect("tables");
    subject.execute("DROP VIEW orders").await;
    let lost = alterations(subject, &definition).await;
    assert!(lost.contains("orders") && lost.contains("view"), "{lost}");
    subject.execute(&format!("CREATE VIEW orders AS SELECT 1 AS id FROM {}", subject.physical(&orders()))).await;
    let other = alterations(subject, &definition).await;
    assert!(other.contains("orders"), "somebody else's view of our table was taken for ours");
}

pub(super) async fn a_taken_name_is_refused_and_nothing_is_created(subject: &Subject) {
    subject.execute("CREATE TABLE orders (id TEXT)").await;
    let definition = definition([notes(), orders()]);
    let error = subject.store.prepare(&definition).await.expect_err("the name is taken");
    let StoreError::Definition { reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains("orders") && reason.contains("table"), "{reason}");
    let taken = subject.store.name_conflicts(&definition).await.expect("the names can be looked at");
    assert_eq!(taken.join("; "), *reason);
    assert_eq!(subject.store.generations().await, Ok(vec![]));
    subject.execute("DROP TABLE orders").await;
    assert_eq!(subject.store.prepare(&definition).await, Ok(()), "nothing of the first attempt is left");
}

pub(super) async fn why_a_projection_stopped_is_kept_with_its_first_time(subject: &Subject) {
    subject.store.prepare(&definition([orders()])).await.expect("tables");
    let record = async |error: Option<&str>| {
        let trouble = error.map(|text| GenerationError { text: text.into(), attempt: None });
        let recorded = match &trouble {
            Some(trouble) => subject.store.record_error(PROJECTION, Generation(1), "me", trouble).await,
            None => subject.store.clear_error(PROJECTION, Generation(1), "me").await,
        };
        recorded.expect("it is recorded");
        subject.status().await.last_error
    };
    let first = record(Some("poison at log/0@7")).await.expect("an error");
    assert_eq!(first.text, "poison at log/0@7");
    assert!(first.since.parse::<readcast_core::Timestamp>().is_ok(), "{first:?}");
    // So long ago that no second record of it could come to the same time.
    let earlier = format!("UPDATE {} SET last_error_at = '2001-01-01T00:00:00Z'", subject.own("generations"));
    subject.execute(&earlier).await;
    let again = record(Some("poison at log/0@7")).await.expect("an error");
    assert!(again.since.starts_with("2001-01-01"), "{again:?}");
    let other = record(Some("fenced")).await.expect("an error");
    assert!(other.text == "fenced" && !other.since.starts_with("2001"), "{other:?}");
    assert_eq!(record(None).await, None);
}

pub(super) async fn names_that_the_projection_has_itself_are_no_conflict(subject: &Subject) {
    let definition = definition([orders(), notes()]);
    subject.store.prepare(&definition).await.expect("tables");
    assert_eq!(subject.store.name_conflicts(&definition).await, Ok(vec![]));
}
