//! Columns that are copied from a row of another table: what a change may do, and that the copies follow the tables
//! whatever the order.

mod bank;

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use readcast_core::{
    ChangeError, Changes, ColumnType, Envelope, Key, Model, Projection, ProjectionError, Reference, Registry, Row,
    TableSpec, Value,
};

use bank::{Event, TOPICS, applied, event, folded, tables};

/// The tables after these events, folded in batches of `size`.
fn in_batches<'a>(events: impl IntoIterator<Item = &'a Event>, size: usize) -> Model {
    let events: Vec<&Event> = events.into_iter().collect();
    applied(events.chunks(size).map(|batch| folded(batch.iter().copied(), &tables())))
}

fn rows(model: &Model) -> [BTreeMap<Key, Row>; TOPICS] {
    std::array::from_fn(|table| model.rows(table).clone())
}

/// Whether each copy is what the other tables say, looked up without the references.
fn is_consistent(model: &Model) -> bool {
    let [owners, accounts, cards] = [0, 1, 2].map(|table| model.rows(table));
    let owner = |id: &Value| owners.get(&vec![id.clone()]).cloned().unwrap_or(vec![Value::Null; 2]);
    let holder =
        |account: &Value| accounts.get(&vec![account.clone()]).map_or(Value::Null, |row| owner(&row[0])[0].clone());
    accounts.values().all(|row| row[1..3] == owner(&row[0])) && cards.iter().all(|(key, row)| row[0] == holder(&key[0]))
}

proptest! {
    #[test]
    fn copies_follow_their_source_whatever_the_batches(events in vec(event(), 0..30), size in 1..8_usize) {
        let model = in_batches(&events, size);
        prop_assert!(is_consistent(&model), "{model:#?}");
        prop_assert_eq!(rows(&model), rows(&in_batches(&events, 1)));
    }

    #[test]
    fn the_order_between_topics_does_not_matter(events in vec(event(), 0..30), size in 1..8_usize) {
        let mut by_topic: Vec<&Event> = events.iter().collect();
        by_topic.sort_by_key(|event| event.topic());
        let backwards = (0..TOPICS).rev().flat_map(|topic| events.iter().filter(move |event| event.topic() == topic));
        let expected = in_batches(&events, size);
        prop_assert_eq!(rows(&in_batches(by_topic, size)), rows(&expected));
        prop_assert_eq!(rows(&in_batches(backwards, size)), rows(&expected));
    }
}

#[test]
fn a_change_of_a_copied_column_is_refused() {
    let tables = tables();
    let mut changes = Changes::new(&tables);
    changes.upsert("accounts", [1_i64]).set("owner_name", "Ada");
    let error = changes.finish().expect_err("the column is copied");
    assert_eq!(
        error.to_string(),
        "table `accounts`: column `owner_name` is copied from table `owners`: change the row there"
    );
    let mut changes = Changes::new(&tables);
    changes.update_where("accounts", "owner_name", "Ada").set("balance", 0);
    let error = changes.finish().expect_err("copies select no rows");
    assert_eq!(error.to_string(), "table `accounts`: column `owner_name` does not support `update_where`");
}

#[test]
fn a_reference_is_set_as_a_whole_and_by_a_known_value() {
    let tables = [
        TableSpec::new("branches")
            .key("bank", ColumnType::I32)
            .key("branch", ColumnType::I32)
            .nullable("city", ColumnType::Text),
        TableSpec::new("desks")
            .key("desk", ColumnType::I32)
            .nullable("bank", ColumnType::I32)
            .nullable("branch", ColumnType::I32)
            .nullable("city", ColumnType::Text)
            .reference(Reference::new(["bank", "branch"], "branches").copy_as("city", "city")),
    ];
    let refused =
        ChangeError::Reference { table: "desks".into(), to: "branches".into(), columns: "`bank`, `branch`".into() };
    let mut changes = Changes::new(&tables);
    changes.upsert("desks", [1]).set("bank", 2);
    assert_eq!(changes.finish(), Err(refused.clone()));
    let mut changes = Changes::new(&tables);
    changes.upsert("desks", [1]).set("bank", 2).max("branch", 3);
    assert_eq!(changes.finish(), Err(refused));
    let mut changes = Changes::new(&tables);
    changes.upsert("desks", [1]).set("bank", 2).set("branch", 3);
    assert_eq!(changes.finish().map(|changes| changes.len()), Ok(1));
}

#[test]
fn a_fan_out_changes_no_reference_that_the_key_is_a_part_of() {
    let tables = [
        TableSpec::new("branches")
            .key("bank", ColumnType::I32)
            .key("branch", ColumnType::I32)
            .nullable("city", ColumnType::Text),
        TableSpec::new("desks")
            .key("bank", ColumnType::I32)
            .key("desk", ColumnType::I32)
            .nullable("branch", ColumnType::I32)
            .nullable("city", ColumnType::Text)
            .reference(Reference::new(["bank", "branch"], "branches").copy_as("city", "city")),
    ];
    let mut changes = Changes::new(&tables);
    changes.update_where("desks", "branch", 1).set("branch", 2);
    let refused = changes.finish().expect_err("each row would refer to another bank's branch");
    assert!(matches!(refused, ChangeError::Reference { .. }), "{refused}");
    let mut changes = Changes::new(&tables);
    changes.update("desks", [1, 1]).set("branch", 2);
    assert_eq!(changes.finish().map(|changes| changes.len()), Ok(1));
}

#[test]
fn a_reference_is_indexed_unless_the_key_begins_with_it() {
    let [_, accounts, cards] = tables().try_into().expect("three tables");
    assert_eq!(accounts.indexes(), [["owner_id"]]);
    assert!(cards.indexes().is_empty());
}

/// A projection of these tables that takes no notice of any event.
struct Declared(Vec<TableSpec>);

impl Projection for Declared {
    fn name(&self) -> &str {
        "bank"
    }

    fn topics(&self) -> &[&str] {
        &["bank"]
    }

    fn event_types(&self) -> &[&str] {
        &["Opened"]
    }

    fn tables(&self) -> Vec<TableSpec> {
        self.0.clone()
    }

    fn project(&self, _: &Envelope<'_>, _: &mut Changes<'_>) -> Result<(), ProjectionError> {
        Ok(())
    }
}

fn problems(tables: Vec<TableSpec>) -> Vec<String> {
    Registry::new().register(Declared(tables)).validate().err().map(|error| error.0).unwrap_or_default()
}

#[test]
fn a_faulty_reference_is_refused_with_its_reason() {
    let owners = || TableSpec::new("owners").key("id", ColumnType::I32).nullable("name", ColumnType::Text);
    let accounts = |reference: Reference| {
        TableSpec::new("accounts")
            .key("account", ColumnType::I32)
            .nullable("owner", ColumnType::I32)
            .with_default("opened_by", ColumnType::I32, 0)
            .nullable("owner_name", ColumnType::Text)
            .nullable("owner_number", ColumnType::I64)
            .reference(reference)
    };
    let to_owner = |source: &str, column: &str| Reference::new(["owner"], "owners").copy_as(source, column);
    assert_eq!(problems(vec![owners(), accounts(to_owner("name", "owner_name"))]), [""; 0]);
    for (tables, problem) in [
        (
            vec![accounts(to_owner("name", "owner_name"))],
            "names no table of projection `bank`. A reference holds within",
        ),
        (vec![accounts(to_owner("name", "owner_name")), owners()], "to be declared before this one"),
        (vec![owners(), accounts(to_owner("name", "owner_number"))], "`name` (text) to `owner_number` (i64)"),
        (vec![owners(), accounts(to_owner("id", "owner_name"))], "copies `id`, which is not a data column there"),
        (vec![owners(), accounts(to_owner("name", "opened_by"))], "`opened_by`, copied from `owners`, is not nullable"),
        (
            vec![owners(), accounts(to_owner("name", "owner"))],
            "`owner`, copied from `owners`, refers to a table itself",
        ),
        (
            vec![owners(), accounts(to_owner("name", "owner_name").copy_as("name", "owner_name"))],
            "`owner_name`, copied from `owners`, is copied twice",
        ),
        (
            vec![owners(), accounts(to_owner("name", "owner_name")).reference(to_owner("name", "owner_name"))],
            "is copied by another reference already",
        ),
        (
            vec![owners(), accounts(Reference::new(["account", "owner"], "owners").copy_as("name", "owner_name"))],
            "has 2 columns, but its key has 1",
        ),
        (
            vec![owners(), accounts(Reference::new(["owner_number"], "owners").copy_as("name", "owner_name"))],
            "compares `owner_number` (i64) with `id` (i32)",
        ),
        (
            vec![owners(), accounts(Reference::new(["opened_by"], "owners").copy_as("name", "owner_name"))],
            "column `opened_by`, which refers to `owners`, has a default",
        ),
        (
            vec![owners(), accounts(Reference::new(["nobody"], "owners").copy_as("name", "owner_name"))],
            "names column `nobody`",
        ),
        (vec![owners(), accounts(Reference::new(["owner"], "owners"))], "copies no column"),
    ] {
        let found = problems(tables);
        assert!(found.iter().any(|sentence| sentence.contains(problem)), "{problem}: {found:#?}");
    }
}
