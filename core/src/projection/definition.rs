//! A registered projection with its checked and hashed declaration.

use std::any::Any;
use std::fmt;
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{AffectedRow, Projection, ProjectionError, SourceFile, Upcasters};
use crate::change::{Change, Changes, OperationLimitExceeded};
use crate::table::{is_identifier, reference, view};
use crate::{Envelope, ReadView, TableSpec, topic_matches};

/// Why an event did not become changes. The record is poison for that projection.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionFailure {
    /// The projection returned an error, or made a change that does not fit its tables.
    #[error("{0}")]
    Refused(ProjectionError),
    /// The projection panicked with this message.
    #[error("the projection panicked: {0}")]
    Panicked(String),
    /// The projection made more than [`Changes::MAX_OPERATIONS`] operations.
    #[error("the projection made more than {} operations for one event", Changes::MAX_OPERATIONS)]
    TooManyOperations,
}

/// A registered projection with its tables and the hash of its declaration. Made by
/// [`Registry::register`](crate::Registry::register).
#[derive(Clone)]
pub struct Definition {
    projection: Arc<dyn Projection>,
    tables: Arc<[TableSpec]>,
    upcasters: Upcasters,
    hash: String,
}

impl Definition {
    pub(super) fn new(projection: Arc<dyn Projection>) -> Self {
        let tables: Arc<[TableSpec]> = projection.tables().into();
        let topics = projection.topics().join(",");
        let event_types = projection.event_types().join(",");
        // Without the name: a projection that is renamed is still the one that built its tables.
        let upcasters = projection.upcasters();
        let mut text =
            vec![projection.version().to_string(), topics, event_types, to_json(&tables) + &upcasters.described()];
        text.extend(projection.source().map(|source| source.declared.to_owned()));
        let hash = Sha256::digest(text.join("\n")).iter().take(16).fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        Self { projection, tables, upcasters, hash }
    }

    /// The projection's name.
    pub fn name(&self) -> &str {
        self.projection.name()
    }

    /// The version that the projection declares.
    pub fn version(&self) -> u32 {
        self.projection.version()
    }

    /// The topics that the projection reads.
    pub fn topics(&self) -> &[&str] {
        self.projection.topics()
    }

    /// Whether the projection reads the topic with this name.
    pub fn reads(&self, topic: &str) -> bool {
        self.topics().iter().any(|pattern| topic_matches(pattern, topic))
    }

    /// The tables that the projection owns.
    pub fn tables(&self) -> &[TableSpec] {
        &self.tables
    }

    /// The tables as JSON text. A store records it, and [`differences`](crate::differences) compares it with a later
    /// declaration.
    pub fn tables_json(&self) -> String {
        to_json(&self.tables)
    }

    /// The file from which the projection is made, if it is not code.
    pub fn source(&self) -> Option<SourceFile<'_>> {
        self.projection.source()
    }

    /// Whether the other definition is made from a file that says the same.
    pub fn declares_like(&self, other: &Definition) -> bool {
        let declared = |definition: &Definition| definition.source().map(|source| source.declared.to_owned());
        self.hash == other.hash || declared(self).is_some() && declared(self) == declared(other)
    }

    /// The definition of the same projection, in this version, that a file with this text and component makes.
    pub(super) fn remade(&self, version: u32, text: &str, component: Option<&[u8]>) -> Option<Self> {
        self.projection.remade(version, text, component).map(Self::new)
    }

    /// A digest of version, topics, event types, tables, upcasters and file as 32 hexadecimal digits. It changes whenever one of
    /// them does; the name has no part in it.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Whether the projection subscribes to events of this type.
    pub fn subscribes(&self, event_type: &str) -> bool {
        self.projection.event_types().contains(&event_type)
    }

    /// Whether the projection leaves out events of this type on purpose.
    pub fn ignores(&self, event_type: &str) -> bool {
        self.projection.ignored_types().iter().any(|ignored| *ignored == event_type || *ignored == "*")
    }

    /// The changes of `event`, in order.
    ///
    /// # Errors
    /// Everything that makes the record poison. A panic of the projection is an error like any other.
    pub fn project(&self, event: &Envelope<'_>) -> Result<Vec<Change>, ProjectionFailure> {
        // Unwind safe: a projection keeps no state that a panic could leave inconsistent.
        let projected = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let mut changes = Changes::new(&self.tables);
            let upcast = self.upcasters.apply(event)?;
            self.projection.project(upcast.as_ref().unwrap_or(event), &mut changes)?;
            Ok(changes.finish()?)
        }));
        match projected {
            Ok(projected) => projected.map_err(ProjectionFailure::Refused),
            Err(payload) if payload.is::<OperationLimitExceeded>() => Err(ProjectionFailure::TooManyOperations),
            Err(payload) => Err(ProjectionFailure::Panicked(panic_message(&*payload))),
        }
    }

    /// The names that readers use: those of tables and of views.
    pub(super) fn shown_names(&self) -> impl Iterator<Item = &str> {
        self.tables
            .iter()
            .flat_map(|table| std::iter::once(table.name()).chain(table.views().iter().map(ReadView::name)))
    }

    /// The rows that a parked event would have changed, as far as the projection knows them. None if it panics.
    pub fn affected(&self, event: &Envelope<'_>) -> Vec<AffectedRow> {
        // Unwind safe, as in `project`.
        let affected = AssertUnwindSafe(|| {
            let upcast = self.upcasters.apply(event).unwrap_or_default();
            self.projection.affected(upcast.as_ref().unwrap_or(event))
        });
        std::panic::catch_unwind(affected).unwrap_or_default()
    }

    /// Everything that is wrong with the declaration, a sentence each.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let name = self.name();
        if !is_identifier(name) || name.len() > TableSpec::MAX_NAME_BYTES {
            problems.push(format!(
                "projection `{name}`: the name is not of the form [a-z_][a-z0-9_]* with at most {} bytes",
                TableSpec::MAX_NAME_BYTES
            ));
        }
        for (what, missing) in [
            ("topic", self.topics().is_empty()),
            ("event type", self.projection.event_types().is_empty()),
            ("table", self.tables.is_empty()),
        ] {
            if missing {
                problems.push(format!("projection `{name}`: the projection declares no {what}"));
            }
        }
        let both = self.projection.ignored_types().iter().filter(|ignored| self.subscribes(ignored));
        problems.extend(both.map(|both| {
            format!("projection `{name}`: the event type `{both}` is in both `event_types` and `ignored_types`")
        }));
        let names = || self.shown_names();
        let twice = names().enumerate().filter(|(place, table)| names().take(*place).any(|other| other == *table));
        problems.extend(twice.map(|(_, table)| format!("projection `{name}`: table `{table}` is declared twice")));
        problems.extend(self.tables.iter().filter_map(|table| table.validate().err()).flatten());
        problems.extend(reference::problems_between(name, &self.tables));
        problems.extend(view::problems(name, &self.tables));
        let of_upcasters = self.upcasters.problems(|event_type| self.subscribes(event_type));
        problems.extend(of_upcasters.into_iter().map(|problem| format!("projection `{name}`: {problem}")));
        problems
    }
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Definition").field("name", &self.name()).field("hash", &self.hash).finish_non_exhaustive()
    }
}

/// The message of a panic.
fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "the panic has no message".into())
}

fn to_json(tables: &[TableSpec]) -> String {
    serde_json::to_string(tables).expect("texts and numbers are serializable")
}
