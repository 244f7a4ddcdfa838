//! Projections that are files, and the files with which generations are stored.

use super::{Definition, Registry};

/// A generation that exists, and the file that built it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredSource<'a> {
    /// The projection's name.
    pub projection: &'a str,
    /// The version that the generation's definition has.
    pub version: u32,
    /// The text of the file. `None` if code built the generation.
    pub text: Option<&'a str>,
    /// The WebAssembly component that the file names, if it names one.
    pub component: Option<&'a [u8]>,
}

impl Registry {
    /// The registry with the versions that projections from files have beside the generations that exist.
    ///
    /// Each stored file is a version of its projection. A registered file that declares what a stored one declares is that
    /// version. Any other has the version after the highest one: its tables are to be built. A file that is deployed
    /// again by mistake, while tables that it has built are still there, is not taken for a newer one.
    #[must_use]
    pub fn with_stored(&self, stored: &[StoredSource<'_>]) -> Self {
        let code = self.earlier.iter().filter(|definition| definition.source().is_none());
        let mut registry = Self { definitions: Vec::new(), earlier: code.cloned().collect() };
        for definition in &self.definitions {
            let of_this: Vec<_> = stored.iter().filter(|stored| stored.projection == definition.name()).collect();
            let mut versions = versions(definition, &of_this).into_iter();
            registry.definitions.extend(versions.next());
            registry.earlier.extend(versions);
        }
        registry
    }
}

/// The versions of a projection, the highest first.
fn versions(registered: &Definition, stored: &[&StoredSource<'_>]) -> Vec<Definition> {
    let Some(file) = registered.source() else { return vec![registered.clone()] };
    let highest = stored.iter().map(|stored| stored.version).max().unwrap_or(0);
    let mut versions: Vec<Definition> = Vec::new();
    for stored in stored {
        let remade = stored.text.and_then(|text| registered.remade(stored.version, text, stored.component));
        versions.extend(remade.filter(|remade| !versions.iter().any(|other| other.hash() == remade.hash())));
    }
    if !versions.iter().any(|version| version.declares_like(registered)) {
        let next = registered.remade(highest.saturating_add(1), file.text, file.component);
        versions.push(next.unwrap_or_else(|| registered.clone()));
    }
    versions.sort_by_key(|definition| std::cmp::Reverse(definition.version()));
    versions
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Changes, ColumnType, Envelope, Projection, ProjectionError, SourceFile, TableSpec};

    /// A projection that is its text.
    struct File(u32, String);

    impl Projection for File {
        fn name(&self) -> &str {
            "visits"
        }

        fn version(&self) -> u32 {
            self.0
        }

        fn topics(&self) -> &[&str] {
            &["site"]
        }

        fn event_types(&self) -> &[&str] {
            &["VISITED"]
        }

        fn tables(&self) -> Vec<TableSpec> {
            vec![TableSpec::new("visits").key("page", ColumnType::Text)]
        }

        fn source(&self) -> Option<SourceFile<'_>> {
            Some(SourceFile { path: "visits.toml", text: &self.1, declared: self.1.trim(), component: None })
        }

        fn remade(&self, version: u32, text: &str, _: Option<&[u8]>) -> Option<Arc<dyn Projection>> {
            (text != "unreadable").then(|| Arc::new(File(version, text.to_owned())) as _)
        }

        fn project(&self, _: &Envelope<'_>, _: &mut Changes<'_>) -> Result<(), ProjectionError> {
            Ok(())
        }
    }

    /// The versions of the file `text` beside what is stored, and the texts of each.
    fn versions(text: &str, stored: &[(u32, Option<&str>)]) -> Vec<(u32, String)> {
        let stored: Vec<_> = stored
            .iter()
            .map(|(version, text)| StoredSource {
                projection: "visits",
                version: *version,
                text: *text,
                component: None,
            })
            .collect();
        let registry = Registry::new().register(File(1, text.to_owned())).with_stored(&stored);
        assert_eq!(registry.validate(), Ok(()));
        let version = |found: &Definition| (found.version(), found.source().map_or("", |file| file.text).to_owned());
        registry.versions("visits").map(version).collect()
    }

    #[test]
    fn a_file_is_the_stored_version_that_declares_the_same_or_a_new_one() {
        let of = |version, text: &str| (version, text.to_owned());
        assert_eq!(versions("a", &[]), [of(1, "a")]);
        assert_eq!(versions(" a ", &[(1, Some("a"))]), [of(1, "a")], "layout does not count");
        assert_eq!(versions("b", &[(1, Some("a"))]), [of(2, "b"), of(1, "a")]);
        assert_eq!(versions("b", &[(7, None)]), [of(8, "b")], "code built what is there");
        assert_eq!(versions("b", &[(1, Some("unreadable"))]), [of(2, "b")]);
        assert_eq!(versions("a", &[(1, Some("a")), (2, Some("b"))]), [of(2, "b"), of(1, "a")], "an earlier file");
        assert_eq!(versions("a", &[(1, Some("a")), (1, Some("a"))]), [of(1, "a")], "rebuilt once");
    }

    #[test]
    fn a_version_keeps_its_hash() {
        let hash = |stored: &[StoredSource<'_>]| {
            let registry = Registry::new().register(File(1, "b".into())).with_stored(stored);
            registry.definitions()[0].hash().to_owned()
        };
        let stored = |version, text| StoredSource { projection: "visits", version, text: Some(text), component: None };
        let built = hash(&[stored(1, "a")]);
        assert_eq!(built, hash(&[stored(1, "a"), stored(2, "b")]));
        assert_ne!(built, hash(&[]));
    }
}
