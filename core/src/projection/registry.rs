//! The projections that a service runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Definition, Projection};
use crate::table::names;

/// Everything that is wrong with the registered projections, a sentence each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct DefinitionError(pub Vec<String>);

/// The projections that a service runs.
///
/// A projection may be registered in several versions. The highest version builds new tables. An earlier version keeps
/// updating the tables that it built, until a rebuild replaces them.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// The highest version of each projection.
    pub(super) definitions: Vec<Definition>,
    pub(super) earlier: Vec<Definition>,
}

impl Registry {
    /// A registry without projections.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a projection, or another version of one.
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

    /// All versions of the projection with this name, the highest first, the others in no particular order.
    pub fn versions<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Definition> {
        self.all().filter(move |definition| definition.name() == name)
    }

    /// The registry restricted to the projections in `names`, in all their versions. Unknown names are ignored.
    pub fn only(&self, names: &[String]) -> Self {
        let selected = |definition: &&Definition| names.iter().any(|name| name == definition.name());
        let only = |definitions: &[Definition]| definitions.iter().filter(selected).cloned().collect();
        Self { definitions: only(&self.definitions), earlier: only(&self.earlier) }
    }

    /// The projections that read `topic`, in all their versions, the first registered first.
    pub fn readers<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a Definition> {
        self.all().filter(move |definition| definition.reads(topic))
    }

    /// Checks every declaration.
    ///
    /// # Errors
    /// A sentence for each problem: a faulty declaration, two projections with one name and version, a table with two
    /// owners, a table whose name collides with the physical names of another table.
    pub fn validate(&self) -> Result<(), DefinitionError> {
        let mut problems: Vec<String> = self.all().flat_map(Definition::problems).collect();
        problems.extend(self.repeated_versions());
        let owners = self.owners();
        for (table, owners) in owners.iter().filter(|(_, owners)| owners.len() > 1) {
            problems.push(format!("table `{table}` is owned by more than one projection: {}", owners.join(", ")));
        }
        for table in owners.keys() {
            if let Some(other) = names::built_for(table).filter(|other| owners.contains_key(other)) {
                problems.push(format!(
                    "table `{table}` has a name that generations of table `{other}` and their indexes get: rename one of \
                     them"
                ));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(DefinitionError(problems)) }
    }

    fn all(&self) -> impl Iterator<Item = &Definition> {
        self.definitions.iter().chain(&self.earlier)
    }

    fn repeated_versions(&self) -> Vec<String> {
        let mut counts = BTreeMap::<(&str, u32), u32>::new();
        for definition in self.all() {
            *counts.entry((definition.name(), definition.version())).or_default() += 1;
        }
        let repeated = counts.into_iter().filter(|(_, count)| *count > 1);
        repeated
            .map(|((name, version), _)| {
                format!(
                    "two projections are named `{name}` and have version {version}: rename one, or raise its version"
                )
            })
            .collect()
    }

    /// The projections that declare each table, in any version.
    fn owners(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut owners = BTreeMap::<&str, Vec<&str>>::new();
        for definition in self.all() {
            for table in definition.shown_names() {
                let owners = owners.entry(table).or_default();
                if !owners.contains(&definition.name()) {
                    owners.push(definition.name());
                }
            }
        }
        owners
    }
}
