//! What a declaration may be, how it is hashed, and how a projection fails.

use super::*;
use crate::ColumnType;

/// A projection of this name with one table of that name, in this version.
struct Version(&'static str, &'static str, u32);

fn version(name: &'static str, table: &'static str, number: u32) -> Version {
    Version(name, table, number)
}

fn of(name: &'static str, table: &'static str) -> Version {
    version(name, table, 1)
}

impl Projection for Version {
    fn name(&self) -> &str {
        self.0
    }

    fn version(&self) -> u32 {
        self.2
    }

    fn topics(&self) -> &[&str] {
        &["log"]
    }

    fn event_types(&self) -> &[&str] {
        &["HAPPENED"]
    }

    fn tables(&self) -> Vec<TableSpec> {
        vec![TableSpec::new(self.1).key("id", ColumnType::Text)]
    }

    fn project(&self, _event: &Envelope<'_>, _changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        Ok(())
    }
}

#[test]
fn a_table_has_one_owner_and_a_name_one_projection() {
    let registry = Registry::new().register(of("one", "shared")).register(of("two", "shared"));
    let error = registry.validate().expect_err("two owners").to_string();
    assert_eq!(error, "table `shared` is owned by more than one projection: one, two");
    let registry = Registry::new().register(of("one", "first")).register(of("one", "second"));
    assert_eq!(
        registry.validate().expect_err("one name").to_string(),
        "two projections are named `one` and have version 1: rename one, or raise its version"
    );
}

#[test]
fn no_table_is_named_like_a_generation_of_another() {
    for (table, clashing) in [("clash", "clash_g1"), ("clash", "clash_g7_ix12"), ("clash_g1", "clash_g1_g2")] {
        let error = format!(
            "table `{clashing}` has a name that generations of table `{table}` and their indexes get: rename one of \
             them"
        );
        let leaked = |name: &str| -> &'static str { String::from(name).leak() };
        let of_two = Registry::new().register(of("one", leaked(table))).register(of("two", leaked(clashing)));
        assert_eq!(of_two.validate().expect_err("two projections").to_string(), error);
        // The tables of an earlier version may still exist.
        let versions = [version("one", leaked(clashing), 1), version("one", leaked(table), 2)];
        let of_versions = versions.into_iter().fold(Registry::new(), Registry::register);
        assert_eq!(of_versions.validate().expect_err("two versions").to_string(), error);
    }
    let apart = Registry::new().register(of("one", "clash_g1")).register(of("two", "clash_gold"));
    assert_eq!(apart.validate(), Ok(()));
}

#[test]
fn the_hash_changes_only_with_the_declaration() {
    let hash = |table| Registry::new().register(of("one", table)).definitions()[0].hash().to_owned();
    assert_eq!(hash("first"), hash("first"));
    assert_ne!(hash("first"), hash("second"));
    let renamed = Registry::new().register(version("other", "first", 1));
    assert_eq!(hash("first"), renamed.definitions()[0].hash());
}

/// A projection of one table.
struct SingleTable(TableSpec);

impl SingleTable {
    /// A table with everything that a table could declare before storage parameters existed.
    fn full_table() -> TableSpec {
        TableSpec::new("t")
            .key("id", ColumnType::Text)
            .column("a", ColumnType::Decimal { scale: 2 })
            .nullable("at", ColumnType::Timestamp)
            .with_default("tie", ColumnType::I64, 0)
            .index(["a", "at"])
            .newer_by("at", "tie")
    }
}

impl Projection for SingleTable {
    fn name(&self) -> &str {
        "single_table"
    }

    fn topics(&self) -> &[&str] {
        &["log"]
    }

    fn event_types(&self) -> &[&str] {
        &["HAPPENED"]
    }

    fn tables(&self) -> Vec<TableSpec> {
        vec![self.0.clone()]
    }

    fn project(&self, _event: &Envelope<'_>, _changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        Ok(())
    }
}

#[test]
fn a_declaration_keeps_the_hash_that_databases_have_recorded() {
    let hash = |table| Registry::new().register(SingleTable(table)).definitions()[0].hash().to_owned();
    assert_eq!(hash(SingleTable::full_table()), "d0a5c82ccf6119e70897c5872523adc2");
    assert_ne!(hash(SingleTable::full_table()), hash(SingleTable::full_table().storage("fillfactor", 70)));
}

#[test]
fn the_highest_version_is_current_and_the_others_are_kept() {
    let registry = [2, 3, 1].into_iter().fold(Registry::new(), |registry, number| {
        registry.register(version("one", "first", number)).register(version(
            ["a", "b", "c"][number as usize - 1],
            "x",
            1,
        ))
    });
    let registry = registry.only(&["one".into()]);
    assert_eq!(registry.validate(), Ok(()));
    assert_eq!(registry.get("one").map(Definition::version), Some(3));
    let mut versions: Vec<_> = registry.versions("one").map(Definition::version).collect();
    assert_eq!(versions[0], 3);
    versions.sort_unstable();
    assert_eq!(versions, [1, 2, 3]);
}

/// A projection that fails in the way that the event type names.
struct Misbehaving;

impl Projection for Misbehaving {
    fn name(&self) -> &str {
        "misbehaving"
    }

    fn topics(&self) -> &[&str] {
        &["log"]
    }

    fn event_types(&self) -> &[&str] {
        &["PANIC", "FLOOD", "CHILDREN", "APPENDS", "REFUSE"]
    }

    fn tables(&self) -> Vec<TableSpec> {
        vec![TableSpec::new("t").key("id", ColumnType::I64).key("n", ColumnType::I64).nullable("a", ColumnType::Json)]
    }

    fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        match &*event.event_type {
            "PANIC" => panic!("over {}", event.event_id),
            "FLOOD" => loop {
                // Refused, but counted.
                changes.upsert("none", [1]).set("none", 1);
            },
            "CHILDREN" => {
                changes.replace_children("t", [1], std::iter::repeat_with(|| vec![1.into(), crate::Value::Null]))
            }
            "APPENDS" => {
                let mut row = changes.upsert("t", [1, 1]);
                loop {
                    row = row.append("a", crate::Json::parse("1")?);
                }
            }
            _ => return Err("no".into()),
        }
        Ok(())
    }
}

#[test]
fn every_failure_of_a_projection_is_an_error() {
    let registry = Registry::new().register(Misbehaving);
    let project = |event_type: &str| {
        let json =
            format!(r#"{{"event_id":"e7","type":"{event_type}","timestamp":"2024-05-20T14:30:00Z","data":null}}"#);
        let position = crate::TopicPartition::new("log", 0).at(0);
        let event = Envelope::from_plain_json(position, None, json.as_bytes()).expect("an event");
        registry.definitions()[0].project(&event).expect_err("it can't be projected")
    };
    assert!(matches!(project("PANIC"), ProjectionFailure::Panicked(message) if message == "over e7"));
    for endless in ["FLOOD", "CHILDREN", "APPENDS"] {
        assert!(matches!(project(endless), ProjectionFailure::TooManyOperations), "{endless}");
    }
    assert!(matches!(project("REFUSE"), ProjectionFailure::Refused(_)));
}

#[test]
fn the_key_of_an_affected_row_is_a_text() {
    use crate::{AffectedRow, Value};
    assert_eq!(AffectedRow::new("t", [7_i64]).key, "7");
    assert_eq!(AffectedRow::new("t", [Value::from("a\"b"), Value::from(1_i64)]).key, r#"["a\"b","1"]"#);
}
