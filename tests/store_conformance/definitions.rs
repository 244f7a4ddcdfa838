//! Tables are created as they are declared, once, and whatever differs later is named.

use readcast::store::{Generation, StoreError};
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

/// The reason for which `definition` is refused, by [`check`](readcast::store::Store::check) too.
async fn refused(subject: &Subject, definition: &Definition) -> String {
    let error = subject.store.prepare(definition).await.expect_err("it should be refused");
    let StoreError::Definition { projection, reason } = error else { panic!("{error:?}") };
    assert_eq!(projection, PROJECTION);
    let findings = subject.store.check(definition).await.expect("a check");
    assert!(findings.iter().any(|finding| finding.refused), "{findings:?}");
    reason
}

pub(super) async fn tables_are_created_once_and_found_again(subject: &Subject) {
    let definition = definition([orders(), notes()]);
    for _ in 0..2 {
        assert_eq!(subject.store.prepare(&definition).await, Ok(Generation(1)));
        assert_eq!(subject.store.check(&definition).await, Ok(vec![]));
        assert!(subject.rows(&orders()).await.is_empty());
        assert!(subject.rows(&notes()).await.is_empty());
    }
    let status = subject.status().await;
    assert_eq!((status.projection.as_str(), status.state.as_str()), (PROJECTION, "live"));
    assert!(status.checkpoints.is_empty());
}

pub(super) async fn a_check_changes_nothing(subject: &Subject) {
    let findings = subject.store.check(&definition([orders(), notes()])).await.expect("a check");
    assert_eq!(findings.len(), 2, "{findings:?}");
    for (finding, table) in findings.iter().zip(["`orders`", "`notes`"]) {
        assert!(!finding.refused && finding.text.contains(table), "{finding:?}");
    }
    assert_eq!(subject.store.generations().await, Ok(vec![]));
    subject.execute("CREATE TABLE orders (id TEXT)").await;
}

pub(super) async fn a_changed_declaration_is_refused_and_named(subject: &Subject) {
    subject.store.prepare(&definition([orders()])).await.expect("tables");
    let changed = orders().nullable("note", ColumnType::Text);
    let reason = refused(subject, &definition([changed, notes()])).await;
    for part in ["`note` was added", "table `notes` was added", "rebuilt"] {
        assert!(reason.contains(part), "nothing about {part} in {reason}");
    }
    assert_eq!(subject.store.prepare(&definition([orders()])).await, Ok(Generation(1)), "as it was, it is accepted");
}

pub(super) async fn a_raised_version_is_refused_and_named(subject: &Subject) {
    subject.store.prepare(&versioned(1, [orders()])).await.expect("tables");
    let reason = refused(subject, &versioned(2, [orders()])).await;
    assert!(reason.contains("version") && reason.contains("from 1 to 2"), "{reason}");
}

pub(super) async fn an_altered_table_is_refused_and_named(subject: &Subject) {
    let definition = definition([notes(), orders()]);
    subject.store.prepare(&definition).await.expect("tables");
    subject.execute(&format!("ALTER TABLE {} ADD COLUMN extra TEXT", subject.physical(&orders()))).await;
    let reason = refused(subject, &definition).await;
    assert!(reason.contains("orders_g1") && reason.contains("`extra`"), "{reason}");
    assert!(!reason.contains("notes"), "{reason}");
}

pub(super) async fn a_lost_view_is_refused_and_named(subject: &Subject) {
    let definition = definition([orders()]);
    subject.store.prepare(&definition).await.expect("tables");
    subject.execute("DROP VIEW orders").await;
    let reason = refused(subject, &definition).await;
    assert!(reason.contains("orders") && reason.contains("view"), "{reason}");
    subject.execute(&format!("CREATE VIEW orders AS SELECT 1 AS id FROM {}", subject.physical(&orders()))).await;
    let columns = subject.store.prepare(&definition).await;
    assert!(columns.is_err(), "somebody else's view of our table was taken for ours");
}

pub(super) async fn a_taken_name_is_refused_and_nothing_is_created(subject: &Subject) {
    subject.execute("CREATE TABLE orders (id TEXT)").await;
    let definition = definition([notes(), orders()]);
    let error = subject.store.prepare(&definition).await.expect_err("the name is taken");
    let StoreError::Definition { reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains("orders") && reason.contains("table"), "{reason}");
    assert_eq!(subject.store.generations().await, Ok(vec![]));
    subject.execute("DROP TABLE orders").await;
    assert_eq!(subject.store.prepare(&definition).await, Ok(Generation(1)), "nothing of the first attempt is left");
}

pub(super) async fn why_a_projection_stopped_is_kept_with_its_first_time(subject: &Subject) {
    subject.store.prepare(&definition([orders()])).await.expect("tables");
    let record = async |error: Option<&str>| {
        subject.store.record_error(PROJECTION, error).await.expect("it is recorded");
        subject.status().await.last_error
    };
    let first = record(Some("poison at log/0@7")).await.expect("an error");
    assert_eq!(first.text, "poison at log/0@7");
    assert!(first.since.parse::<readcast_core::Timestamp>().is_ok(), "{first:?}");
    // So long ago that no second record of it could come to the same time.
    let earlier = format!("UPDATE {} SET last_error_at = '2001-01-01T00:00:00Z'", generations(subject));
    subject.execute(&earlier).await;
    let again = record(Some("poison at log/0@7")).await.expect("an error");
    assert!(again.since.starts_with("2001-01-01"), "{again:?}");
    let other = record(Some("fenced")).await.expect("an error");
    assert!(other.text == "fenced" && !other.since.starts_with("2001"), "{other:?}");
    assert_eq!(record(None).await, None);
}

fn generations(subject: &Subject) -> &'static str {
    if subject.physical(&orders()).contains('.') { "readcast.generations" } else { "readcast_generations" }
}
