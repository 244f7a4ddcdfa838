//! What a read model is, and the registry of those that a projector runs.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::change::{Change, Changes, Exhausted};
use crate::table::{is_identifier, names};
use crate::{Envelope, TableSpec};

/// Why a projection could not make changes of an event. The record is poison for that projection.
pub type ProjectionError = Box<dyn std::error::Error + Send + Sync>;

/// Why an event did not become changes. It is poison for that projection.
#[derive(Debug, thiserror::Error)]
pub enum Unprojectable {
    /// The projection refused it, or made a change that its tables can't take.
    #[error("{0}")]
    Refused(ProjectionError),
    /// The projection panicked.
    #[error("the projection panicked: {0}")]
    Panicked(String),
    /// The projection did not come to an end.
    #[error("the projection made more than {} operations of one event", Changes::MOST_OPERATIONS)]
    Exhausted,
}

/// A read model: which events it takes, which tables it owns, and what an event changes in them.
///
/// `project` is a pure function of the event: it reads no clock, no environment and no random number, and keeps no
/// state between events. Then a rebuild gives the same rows as the live run, however the log was cut into batches.
pub trait Projection: Send + Sync + 'static {
    /// The name that operators use, of the form `[a-z_][a-z0-9_]*`.
    fn name(&self) -> &str;

    /// Raised by hand whenever `project` changes in a way that the tables do not show.
    fn version(&self) -> u32 {
        1
    }

    /// The topics it reads.
    fn topics(&self) -> &[&str];

    /// The event types it takes. Others are counted as not subscribed.
    fn event_types(&self) -> &[&str];

    /// The tables it owns.
    fn tables(&self) -> Vec<TableSpec>;

    /// What `event`, of one of the subscribed types, changes.
    ///
    /// # Errors
    /// Whatever makes the event impossible to project, such as a missing field. The record is then poison.
    fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError>;
}

/// A registered projection with what it declared, checked and hashed.
#[derive(Clone)]
pub struct Definition {
    projection: Arc<dyn Projection>,
    tables: Arc<[TableSpec]>,
    hash: String,
}

impl Definition {
    fn new(projection: Arc<dyn Projection>) -> Self {
        let tables: Arc<[TableSpec]> = projection.tables().into();
        let topics = projection.topics().join(",");
        let event_types = projection.event_types().join(",");
        // The name has no part in it: a projection that is renamed is still the one that built its tables.
        let text = [projection.version().to_string(), topics, event_types, to_json(&tables)];
        let hash = Sha256::digest(text.join("\n")).iter().take(16).fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        Self { projection, tables, hash }
    }

    /// The projection's name.
    pub fn name(&self) -> &str {
        self.projection.name()
    }

    /// The version that it declares.
    pub fn version(&self) -> u32 {
        self.projection.version()
    }

    /// The topics it reads.
    pub fn topics(&self) -> &[&str] {
        self.projection.topics()
    }

    /// The tables it owns.
    pub fn tables(&self) -> &[TableSpec] {
        &self.tables
    }

    /// The tables as JSON text, from which [`differences`](crate::differences) can later tell what changed.
    pub fn tables_json(&self) -> String {
        to_json(&self.tables)
    }

    /// A digest of all that it declares but its name, in hexadecimal: it changes whenever the declaration does.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Whether events of this type are projected.
    pub fn subscribes(&self, event_type: &str) -> bool {
        self.projection.event_types().contains(&event_type)
    }

    /// What `event` changes. A panic of the projection's is an error like any other.
    pub fn project(&self, event: &Envelope<'_>) -> Result<Vec<Change>, Unprojectable> {
        // Nothing that a panic could leave half done outlives this call: a projection keeps no state.
        let projected = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let mut changes = Changes::new(&self.tables);
            self.projection.project(event, &mut changes)?;
            Ok(changes.finish()?)
        }));
        match projected {
            Ok(projected) => projected.map_err(Unprojectable::Refused),
            Err(thrown) if thrown.is::<Exhausted>() => Err(Unprojectable::Exhausted),
            Err(thrown) => Err(Unprojectable::Panicked(words(&*thrown))),
        }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let name = self.name();
        if !is_identifier(name) || name.len() > TableSpec::MAX_NAME_BYTES {
            faults.push(format!(
                "projection `{name}`: the name is not of the form [a-z_][a-z0-9_]* with at most {} bytes",
                TableSpec::MAX_NAME_BYTES
            ));
        }
        for (what, declared) in [
            ("topic", self.topics().is_empty()),
            ("event type", self.projection.event_types().is_empty()),
            ("table", self.tables.is_empty()),
        ] {
            if declared {
                faults.push(format!("projection `{name}`: it declares no {what}"));
            }
        }
        let names = || self.tables.iter().map(TableSpec::name);
        let twice = names().enumerate().filter(|(place, table)| names().take(*place).any(|other| other == *table));
        faults.extend(twice.map(|(_, table)| format!("projection `{name}`: table `{table}` is declared twice")));
        faults.extend(self.tables.iter().filter_map(|table| table.validate().err()).flatten());
        faults
    }
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Definition").field("name", &self.name()).field("hash", &self.hash).finish_non_exhaustive()
    }
}

/// What a panic said.
fn words(thrown: &(dyn Any + Send)) -> String {
    let text = thrown.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| thrown.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it did not say why".into())
}

fn to_json(tables: &[TableSpec]) -> String {
    serde_json::to_string(tables).expect("a table is made of texts and numbers")
}

/// Everything that is wrong with the registered projections, a sentence each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct DefinitionError(pub Vec<String>);

/// The projections that a projector runs.
///
/// One projection may be registered in several versions: the highest is the one that tables are built by, and the
/// earlier ones go on feeding the tables that they built, until those are replaced.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    definitions: Vec<Definition>,
    earlier: Vec<Definition>,
}

impl Registry {
    /// A registry without projections.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a projection, or a version of one.
    #[must_use]
    pub fn register(mut self, projection: impl Projection) -> Self {
        let mut added = Definition::new(Arc::new(projection));
        let same_name = self.definitions.iter_mut().find(|other| other.name() == added.name());
        match same_name {
            Some(other) if other.version() != added.version() => {
                if other.version() < added.version() {
                    std::mem::swap(other, &mut added);
                }
                self.earlier.push(added);
            }
            _ => self.definitions.push(added),
        }
        self
    }

    /// The registered projections, each in its highest version, in the order of registration.
    pub fn definitions(&self) -> &[Definition] {
        &self.definitions
    }

    /// The highest version of the projection with this name.
    pub fn get(&self, name: &str) -> Option<&Definition> {
        self.definitions.iter().find(|definition| definition.name() == name)
    }

    /// All versions of the projection with this name, the highest first.
    pub fn versions<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Definition> {
        self.definitions.iter().chain(&self.earlier).filter(move |definition| definition.name() == name)
    }

    /// The registry with the projections named in `names` alone.
    pub fn only(&self, names: &[String]) -> Self {
        let meant = |definition: &&Definition| names.iter().any(|name| name == definition.name());
        let only = |definitions: &[Definition]| definitions.iter().filter(meant).cloned().collect();
        Self { definitions: only(&self.definitions), earlier: only(&self.earlier) }
    }

    /// Checks every declaration, that no two projections share a name and a version or own one table, and that no table
    /// has the name that a generation of another one gets.
    pub fn validate(&self) -> Result<(), DefinitionError> {
        let all = || self.definitions.iter().chain(&self.earlier);
        let mut faults: Vec<String> = all().flat_map(Definition::faults).collect();
        let mut versions = BTreeMap::<(&str, u32), u32>::new();
        let mut owners = BTreeMap::<&str, Vec<&str>>::new();
        for definition in all() {
            *versions.entry((definition.name(), definition.version())).or_default() += 1;
            for table in definition.tables() {
                let owners = owners.entry(table.name()).or_default();
                if !owners.contains(&definition.name()) {
                    owners.push(definition.name());
                }
            }
        }
        for ((name, version), _) in versions.iter().filter(|(_, count)| **count > 1) {
            faults.push(format!(
                "two projections are named `{name}` and have version {version}: rename one, or raise its version"
            ));
        }
        for (table, owners) in owners.iter().filter(|(_, owners)| owners.len() > 1) {
            faults.push(format!("table `{table}` is owned by more than one projection: {}", owners.join(", ")));
        }
        for table in owners.keys() {
            if let Some(other) = names::built_for(table).filter(|other| owners.contains_key(other)) {
                faults.push(format!(
                    "table `{table}` has a name that generations of table `{other}` and their indexes get: rename one of \
                     them"
                ));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(DefinitionError(faults)) }
    }
}

#[cfg(test)]
mod tests {
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
    fn a_table_has_one_owner_and_a_name_is_given_once() {
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
    fn no_table_has_the_name_that_a_generation_of_another_gets() {
        for (table, clashing) in [("clash", "clash_g1"), ("clash", "clash_g7_ix12"), ("clash_g1", "clash_g1_g2")] {
            let error = format!(
                "table `{clashing}` has a name that generations of table `{table}` and their indexes get: rename one of \
                 them"
            );
            let leaked = |name: &str| -> &'static str { String::from(name).leak() };
            let of_two = Registry::new().register(of("one", leaked(table))).register(of("two", leaked(clashing)));
            assert_eq!(of_two.validate().expect_err("two projections").to_string(), error);
            // What an earlier version built may still be there.
            let versions = [version("one", leaked(clashing), 1), version("one", leaked(table), 2)];
            let of_versions = versions.into_iter().fold(Registry::new(), Registry::register);
            assert_eq!(of_versions.validate().expect_err("two versions").to_string(), error);
        }
        let apart = Registry::new().register(of("one", "clash_g1")).register(of("two", "clash_gold"));
        assert_eq!(apart.validate(), Ok(()));
    }

    #[test]
    fn the_hash_changes_with_the_declaration_alone() {
        let hash = |table| Registry::new().register(of("one", table)).definitions()[0].hash().to_owned();
        assert_eq!(hash("first"), hash("first"));
        assert_ne!(hash("first"), hash("second"));
        let renamed = Registry::new().register(version("other", "first", 1));
        assert_eq!(hash("first"), renamed.definitions()[0].hash());
    }

    /// A projection of one table with all that a table can declare, as databases have it since before storage parameters.
    struct Whole(TableSpec);

    impl Whole {
        fn table() -> TableSpec {
            TableSpec::new("t")
                .key("id", ColumnType::Text)
                .column("a", ColumnType::Decimal { scale: 2 })
                .nullable("at", ColumnType::Timestamp)
                .with_default("tie", ColumnType::I64, 0)
                .index(["a", "at"])
                .newer_by("at", "tie")
        }
    }

    impl Projection for Whole {
        fn name(&self) -> &str {
            "whole"
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
    fn a_declaration_keeps_the_hash_that_databases_have_of_it() {
        let hash = |table| Registry::new().register(Whole(table)).definitions()[0].hash().to_owned();
        assert_eq!(hash(Whole::table()), "d0a5c82ccf6119e70897c5872523adc2");
        assert_ne!(hash(Whole::table()), hash(Whole::table().storage("fillfactor", 70)));
    }

    #[test]
    fn the_highest_version_is_the_current_one_and_the_others_are_there() {
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

    /// A projection that does what the event type says.
    struct Unruly;

    impl Projection for Unruly {
        fn name(&self) -> &str {
            "unruly"
        }

        fn topics(&self) -> &[&str] {
            &["log"]
        }

        fn event_types(&self) -> &[&str] {
            &["PANIC", "FLOOD", "CHILDREN", "APPENDS", "REFUSE"]
        }

        fn tables(&self) -> Vec<TableSpec> {
            vec![
                TableSpec::new("t")
                    .key("id", ColumnType::I64)
                    .key("n", ColumnType::I64)
                    .nullable("a", ColumnType::Json),
            ]
        }

        fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
            match &*event.event_type {
                "PANIC" => panic!("over {}", event.event_id),
                "FLOOD" => loop {
                    // Refused, and counted all the same.
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
    fn fault_35_whatever_a_projection_does_ends_in_an_error() {
        let registry = Registry::new().register(Unruly);
        let project = |event_type: &str| {
            let json =
                format!(r#"{{"event_id":"e7","type":"{event_type}","timestamp":"2024-05-20T14:30:00Z","data":null}}"#);
            let position = crate::TopicPartition::new("log", 0).at(0);
            let event = Envelope::from_plain_json(position, None, json.as_bytes()).expect("an event");
            registry.definitions()[0].project(&event).expect_err("it can't be projected")
        };
        assert!(matches!(project("PANIC"), Unprojectable::Panicked(said) if said == "over e7"));
        for endless in ["FLOOD", "CHILDREN", "APPENDS"] {
            assert!(matches!(project(endless), Unprojectable::Exhausted), "{endless}");
        }
        assert!(matches!(project("REFUSE"), Unprojectable::Refused(_)));
    }
}
