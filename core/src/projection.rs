//! The read model that a team writes.

mod definition;
mod registry;
mod stored;
#[cfg(test)]
mod tests;
mod upcasters;

pub use definition::{Definition, ProjectionFailure};
pub use registry::{DefinitionError, Registry};
pub use stored::StoredSource;
pub use upcasters::Upcasters;

use std::sync::Arc;

use crate::{Changes, Envelope, TableSpec, Value};

/// Why a projection refuses an event. The record is poison for that projection.
pub type ProjectionError = Box<dyn std::error::Error + Send + Sync>;

/// A read model: the events it subscribes to, the tables it owns, and the changes that each event makes to them.
///
/// `project` is a pure function of the event. It reads no clock, no environment and no random number, and keeps no
/// state between events. Therefore a rebuild gives the same rows as the live run, however the log is cut into batches.
///
/// ```
/// use readcast_core::testing::{event, given};
/// use readcast_core::{Changes, ColumnType, Envelope, Projection, ProjectionError, TableSpec};
///
/// /// Counts the visits of each page.
/// struct Visits;
///
/// impl Projection for Visits {
///     fn name(&self) -> &str {
///         "visits"
///     }
///
///     fn topics(&self) -> &[&str] {
///         &["site"]
///     }
///
///     fn event_types(&self) -> &[&str] {
///         &["VISITED"]
///     }
///
///     fn tables(&self) -> Vec<TableSpec> {
///         vec![TableSpec::new("visits").key("page", ColumnType::Text).with_default("count", ColumnType::I64, 0)]
///     }
///
///     fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
///         let page: String = event.data()?;
///         changes.upsert("visits", [page]).add("count", 1);
///         Ok(())
///     }
/// }
///
/// given(Visits, [event("VISITED", r#""/home""#)]).then("visits", "page | count\n /home | 1");
/// ```
pub trait Projection: Send + Sync + 'static {
    /// The name that operators use, of the form `[a-z_][a-z0-9_]*` and at most
    /// [`MAX_NAME_BYTES`](TableSpec::MAX_NAME_BYTES) long.
    fn name(&self) -> &str;

    /// The version of the projection's code. Raise it when `project` changes in a way that the tables do not show: a
    /// higher version asks for a rebuild.
    fn version(&self) -> u32 {
        1
    }

    /// The topics that the projection reads, at least one. `*` stands for any text: `orders-*` means all topics whose names
    /// begin with `orders-`, also later ones.
    fn topics(&self) -> &[&str];

    /// The event types that the projection subscribes to, at least one. Events of other types are counted as not
    /// subscribed and never reach `project`.
    fn event_types(&self) -> &[&str];

    /// Event types of its topics that the projection knows and leaves out on purpose, or `*` for all others. Types that no
    /// projection of a service subscribes to or ignores are counted and reported, because one of them may be misspelt in
    /// [`event_types`](Self::event_types).
    fn ignored_types(&self) -> &[&str] {
        &[]
    }

    /// What brings events of earlier versions to the current one. `project` and `affected` see no earlier version that has
    /// an upcaster. Projections of the same events share a function that returns them.
    fn upcasters(&self) -> Upcasters {
        Upcasters::new()
    }

    /// The file from which the projection is made, if it is not code. A generation is stored with the file that built it, so
    /// that a program which has another one can still feed its tables.
    fn source(&self) -> Option<SourceFile<'_>> {
        None
    }

    /// The projection of this name that a file with this text and component declares, in this version. `None` if projections are
    /// code, or the text declares none.
    fn remade(&self, _version: u32, _text: &str, _component: Option<&[u8]>) -> Option<Arc<dyn Projection>> {
        None
    }

    /// The tables that the projection owns, at least one. No other projection writes them.
    fn tables(&self) -> Vec<TableSpec>;

    /// The rows that `event` would have changed, which is asked when its record is parked: readers are told that these rows
    /// are older than the log. Without an answer they are told the record's key alone.
    fn affected(&self, _event: &Envelope<'_>) -> Vec<AffectedRow> {
        Vec::new()
    }

    /// Records in `changes` what `event` changes. The event is of a subscribed type.
    ///
    /// # Errors
    /// Any error makes the record poison, for example a missing field. The projection's changes are then not applied. A
    /// panic has the same effect.
    fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError>;
}

/// The file from which a projection is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceFile<'a> {
    /// Where it was read from.
    pub path: &'a str,
    /// What it holds.
    pub text: &'a str,
    /// What the text declares, without comments and layout, and a digest of the component. It is a part of the declaration's
    /// hash.
    pub declared: &'a str,
    /// The WebAssembly component that projects events, if the file names one.
    pub component: Option<&'a [u8]>,
}

/// A row that a parked record would have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffectedRow {
    /// The stable name of the table.
    pub table: String,
    /// The key: the text of its value, or a JSON array of texts where the key has several columns.
    pub key: String,
}

impl AffectedRow {
    /// The row of `table` with this key.
    pub fn new<V: Into<Value>>(table: impl Into<String>, key: impl IntoIterator<Item = V>) -> Self {
        let mut key: Vec<String> = key.into_iter().map(|value| value.into().to_string()).collect();
        let key = match key.len() {
            1 => key.remove(0),
            _ => serde_json::to_string(&key).expect("texts are serializable"),
        };
        Self { table: table.into(), key }
    }
}
