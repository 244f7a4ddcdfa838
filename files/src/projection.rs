//! A projection that is written as a file.

mod explain;
mod lint;
mod load;
mod rules;
mod run;
mod tables;
#[cfg(test)]
mod tests;
mod wasm;

use std::collections::BTreeMap;
use std::sync::Arc;

use readcast_core::{AffectedRow, Changes, Envelope, Projection, ProjectionError, SourceFile, TableSpec, Upcasters};

use self::rules::Rule;
pub(crate) use self::rules::{ACTIONS, OPERATIONS};
pub(crate) use self::tables::TYPES;
use self::wasm::Wasm;
use crate::datum::Shape;
use crate::document::{Document, Loader, Problem};

/// A projection that is written as a file.
///
/// ```
/// use readcast_core::testing::{event, given};
/// use readcast_files::FileProjection;
///
/// let text = r#"
///     topics = "site"
///
///     [tables.visits]
///     key = "page"
///     columns.page = "text"
///     columns.count = "i64 default 0"
///
///     [[on]]
///     event = "VISITED"
///     upsert = "visits"
///     key = "data.page"
///     add.count = "1"
/// "#;
/// let visits = FileProjection::load("visits.toml", text).expect("a projection");
/// let visited = event("VISITED", r#"{"page":"/home"}"#);
/// given(visits, [visited.clone(), visited]).then("visits", "page | count\n /home | 2");
/// ```
#[derive(Clone, Debug)]
pub struct FileProjection {
    name: String,
    version: u32,
    document: Document,
    canonical: String,
    topics: Vec<&'static str>,
    event_types: Vec<&'static str>,
    ignored: Vec<&'static str>,
    tables: Vec<TableSpec>,
    upcasters: Upcasters,
    /// What projects in place of rules, if the file names it.
    wasm: Option<Wasm>,
    rules: Vec<Rule>,
    /// For each event type, what its rules read of the data, and their places among the rules.
    events: BTreeMap<String, Subscribed>,
}

/// An event type to which a projection subscribes.
#[derive(Clone, Debug, Default)]
struct Subscribed {
    shape: Shape,
    rules: Vec<usize>,
}

impl FileProjection {
    /// The projection that the file `path` with this text declares. Its name is that of the file, without folders and without
    /// `.toml`. It can't name other files: see [`load_beside`](Self::load_beside).
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &str, text: &str) -> Result<Self, Vec<Problem>> {
        Self::load_beside(path, text, &|_| Err(std::io::Error::other("there are no files beside this one")))
    }

    /// The same where the file may name others, such as a WebAssembly component: `read` returns the bytes of the one with this
    /// name, which is relative to the folder of `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load_beside(
        path: &str,
        text: &str,
        read: &dyn Fn(&str) -> std::io::Result<Vec<u8>>,
    ) -> Result<Self, Vec<Problem>> {
        let mut loader = Loader::new(Document::new(path, text));
        let loaded = load::load(&mut loader, text, read);
        match loaded {
            Some(projection) if loader.problems.is_empty() => Ok(projection),
            _ => Err(loader.problems),
        }
    }

    /// The same projection in this version. The version of a file counts how often its content changed.
    #[must_use]
    pub fn with_version(self, version: u32) -> Self {
        Self { version, ..self }
    }

    /// The same projection where no event can leave something behind for the next one. `None` for rules, which keep nothing.
    pub(crate) fn without_memory(&self) -> Option<Self> {
        let wasm = self.wasm.as_ref()?.apart();
        Some(Self { wasm: Some(wasm), ..self.clone() })
    }
}

impl Projection for FileProjection {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn topics(&self) -> &[&str] {
        &self.topics
    }

    fn event_types(&self) -> &[&str] {
        &self.event_types
    }

    fn ignored_types(&self) -> &[&str] {
        &self.ignored
    }

    fn upcasters(&self) -> Upcasters {
        self.upcasters.clone()
    }

    fn source(&self) -> Option<SourceFile<'_>> {
        Some(SourceFile {
            path: &self.document.name,
            text: &self.document.text,
            declared: &self.canonical,
            component: self.wasm.as_ref().map(|wasm| &*wasm.bytes),
        })
    }

    fn remade(&self, version: u32, text: &str, component: Option<&[u8]>) -> Option<Arc<dyn Projection>> {
        let read = |_: &str| component.map(<[u8]>::to_vec).ok_or(std::io::ErrorKind::NotFound.into());
        let remade = Self::load_beside(&self.document.name, text, &read).ok()?;
        Some(Arc::new(remade.with_version(version)))
    }

    fn tables(&self) -> Vec<TableSpec> {
        self.tables.clone()
    }

    fn affected(&self, event: &Envelope<'_>) -> Vec<AffectedRow> {
        self.affected_rows(event)
    }

    fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        self.run(event, changes)
    }
}
