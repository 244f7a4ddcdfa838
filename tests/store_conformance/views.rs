//! Views for readers that join tables of a projection: they belong to a generation, as the tables do.

use readcast::store::{Generation, SwapOutcome};
use readcast_core::{ColumnType, Join, ReadView, TableSpec};

use super::lane::{Lane, changes, definition, versioned};
use super::lifecycle::{begin, copied};
use super::subject::Subject;

fn owners() -> TableSpec {
    TableSpec::new("owners").key("owner_id", ColumnType::I64).nullable("name", ColumnType::Text)
}

fn accounts() -> TableSpec {
    TableSpec::new("accounts")
        .key("account_id", ColumnType::I64)
        .nullable("owner_id", ColumnType::I64)
        .nullable("agent_id", ColumnType::I64)
}

/// An account with the name of its owner.
fn details() -> ReadView {
    ReadView::new("account_details")
        .column_as("account_id", "id")
        .join(Join::new(["owner_id"], "owners").column_as("name", "owner_name"))
}

/// The same with the name of its agent, who is in the same table.
fn details_with_agent() -> ReadView {
    details().join(Join::new(["agent_id"], "owners").column_as("name", "agent_name"))
}

/// What readers see of the view.
async fn shown(subject: &Subject, columns: &[&str]) -> Vec<String> {
    let names = columns.iter().fold(TableSpec::new("account_details").key("id", ColumnType::I64), |view, name| {
        view.nullable(*name, ColumnType::Text)
    });
    subject.rows(&names).await.into_iter().map(|(key, row)| format!("{key}: {row}")).collect()
}

async fn two_accounts(subject: &Subject, tables: &[TableSpec]) {
    let definition = definition(tables);
    let mut lane = Lane::claim(subject, &definition).await;
    let rows = changes(definition.tables(), |changes| {
        changes.upsert("owners", [1]).set("name", "ann");
        changes.upsert("owners", [2]).set("name", "ben");
        changes.upsert("accounts", [10]).set("owner_id", 1).set("agent_id", 2);
        changes.upsert("accounts", [11]).set("owner_id", 3);
    });
    lane.commit(rows).await.expect("rows");
}

pub(super) async fn a_view_joins_rows_by_key_and_swaps_with_its_generation(subject: &Subject) {
    let first = [owners(), accounts().view(details())];
    two_accounts(subject, &first).await;
    assert_eq!(shown(subject, &["owner_name"]).await, ["10: ann", "11: NULL"]);
    let built = definition(first.clone());
    assert_eq!(subject.store.alterations(&built, Generation(1)).await, Ok(vec![]));

    let second = [owners(), accounts().view(details_with_agent())];
    let mut begun = begin(subject, &versioned(2, second), &copied(&[])).await;
    assert_eq!(shown(subject, &["owner_name"]).await, ["10: ann", "11: NULL"], "until the swap");
    begun.ready().await;
    assert_eq!(begun.swap(subject, Generation(1), Generation(2)).await, Ok(SwapOutcome::Done));
    assert_eq!(shown(subject, &["owner_name", "agent_name"]).await, ["10: ann | ben", "11: NULL | NULL"]);
    subject.execute(&format!("DELETE FROM {} WHERE account_id = 11", subject.physical(&accounts()))).await;
    subject.execute(&format!("UPDATE {} SET name = 'eve'", subject.physical(&owners()))).await;
    assert_eq!(shown(subject, &["owner_name"]).await, ["10: ann", "11: NULL"], "it reads the second generation");

    assert_eq!(begun.swap(subject, Generation(2), Generation(1)).await, Ok(SwapOutcome::Done));
    assert_eq!(shown(subject, &["owner_name"]).await, ["10: eve"]);
    assert_eq!(subject.store.alterations(&built, Generation(1)).await, Ok(vec![]));
}

pub(super) async fn a_view_comes_and_goes_with_a_swap(subject: &Subject) {
    two_accounts(subject, &[owners(), accounts()]).await;
    let next = versioned(2, [owners(), accounts().view(details())]);
    subject.execute("CREATE VIEW account_details AS SELECT 1 AS id").await;
    let taken = subject.store.name_conflicts(&next).await.expect("an answer");
    assert!(taken.len() == 1 && taken[0].contains("account_details"), "{taken:?}");
    subject.execute("DROP VIEW account_details").await;
    assert_eq!(subject.store.name_conflicts(&next).await, Ok(vec![]));
    let mut begun = begin(subject, &next, &copied(&[])).await;
    begun.ready().await;
    assert_eq!(begun.swap(subject, Generation(1), Generation(2)).await, Ok(SwapOutcome::Done));
    assert_eq!(shown(subject, &["owner_name"]).await, ["10: ann", "11: NULL"]);
    let status = subject.generation(Generation(2)).await;
    assert_eq!(subject.store.dependents(&status).await, Ok(vec![]), "it is readcast's own");
    // Another projection can't take the name.
    let impact = subject.store.swap_impact(&status, &next).await.expect("a look around");
    assert!(impact.dependents.is_empty(), "{impact:?}");
    assert_eq!(begun.swap(subject, Generation(2), Generation(1)).await, Ok(SwapOutcome::Done));
    subject.execute("CREATE VIEW account_details AS SELECT 1 AS id").await;
}

pub(super) async fn a_view_that_somebody_replaced_is_reported(subject: &Subject) {
    let tables = [owners(), accounts().view(details())];
    two_accounts(subject, &tables).await;
    subject.execute("DROP VIEW account_details").await;
    let altered = subject.store.alterations(&definition(tables.clone()), Generation(1)).await.expect("an answer");
    assert!(altered.len() == 1 && altered[0].contains("account_details"), "{altered:?}");
    subject.execute("CREATE VIEW account_details AS SELECT 1 AS id").await;
    let altered = subject.store.alterations(&definition(tables), Generation(1)).await;
    assert!(matches!(altered, Ok(altered) if altered.len() == 1));
}

/// Privileges are of Postgres alone.
pub(super) async fn grants_on_a_view_survive_a_swap(subject: &Subject) {
    two_accounts(subject, &[owners(), accounts().view(details())]).await;
    subject.execute("GRANT SELECT ON account_details TO PUBLIC").await;
    let granted = "SELECT has_table_privilege('public', 'account_details', 'SELECT')::text";
    for (from, view) in [(1, details_with_agent()), (2, ReadView::new("account_details").column_as("owner_id", "id"))] {
        let version = u32::try_from(from + 1).expect("a small number");
        let mut begun = begin(subject, &versioned(version, [owners(), accounts().view(view)]), &copied(&[])).await;
        begun.ready().await;
        assert_eq!(begun.swap(subject, Generation(from), Generation(from + 1)).await, Ok(SwapOutcome::Done));
        assert_eq!(subject.database().rows(granted).await, ["true"], "generation {}", from + 1);
    }
}
