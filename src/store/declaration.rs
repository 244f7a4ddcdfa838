//! The differences between declared tables, the definition that built a generation, and the tables in the database.

use readcast_core::{Definition, Registry, StoredSource};

use super::{GenerationStatus, StatusStore, StoreError};

/// The differences between a definition and the one that built a generation, a sentence each. Empty if the hashes are
/// equal.
pub fn declaration_changes(definition: &Definition, built: &GenerationStatus) -> Vec<String> {
    if built.definition_hash == definition.hash() {
        return Vec::new();
    }
    let mut changes = readcast_core::differences(&built.tables, definition.tables());
    if i64::from(built.version) != i64::from(definition.version()) {
        changes.insert(0, format!("its version changed from {} to {}", built.version, definition.version()));
    }
    if changes.is_empty() {
        changes.push("its topics, its event types or the order of its columns changed".into());
    }
    changes
}

/// The registry with the versions that projections from files have beside these generations of `store`.
///
/// # Errors
/// When the store does not answer. It is asked for the components of generations only.
pub async fn with_stored(
    registry: &Registry,
    generations: &[GenerationStatus],
    store: &(impl StatusStore + ?Sized),
) -> Result<Registry, StoreError> {
    let mut components = Vec::with_capacity(generations.len());
    for found in generations {
        components.push(match found.has_component {
            true => store.component(&found.projection, found.generation).await?,
            false => None,
        });
    }
    let stored = generations.iter().zip(&components).map(|(found, component)| StoredSource {
        projection: &found.projection,
        version: found.version.cast_unsigned(),
        text: found.source.as_deref(),
        component: component.as_deref(),
    });
    Ok(registry.with_stored(&stored.collect::<Vec<_>>()))
}

/// Whether a projection is a file, so that its versions follow from the generations in the store.
pub fn has_files(registry: &Registry) -> bool {
    registry.definitions().iter().any(|definition| definition.source().is_some())
}

/// A sentence about a file that declares what an earlier version did, which is not taken for a change. `registry` has the
/// versions of the projection.
pub fn superseded_file(file: &Definition, registry: &Registry) -> Option<String> {
    let name = file.name();
    let current = registry.get(name).filter(|current| !current.declares_like(file))?;
    let earlier = registry.versions(name).find(|version| version.declares_like(file))?;
    Some(format!(
        "{} declares what version {} did; version {} built the tables, and they stay. Next: deploy the later file again, type \
         `readcast rollback {name}`, or write another `revision` into the file to build its tables",
        file.source().map_or(name, |source| source.path),
        earlier.version(),
        current.version()
    ))
}

/// The differences between a physical table and its declaration. Each column is given by its name and its shape.
pub(super) fn altered(physical: &str, declared: &[(String, String)], found: &[(String, String)]) -> Vec<String> {
    if found.is_empty() {
        return vec![format!("table {physical} does not exist: it was dropped")];
    }
    let shape = |columns: &[(String, String)], name: &str| {
        columns.iter().find(|(column, _)| column == name).map(|(_, shape)| shape.clone())
    };
    let missing = declared.iter().filter_map(|(name, wanted)| match shape(found, name) {
        Some(shape) if shape == *wanted => None,
        Some(shape) => Some(format!("column `{name}` is {shape}, not {wanted}")),
        None => Some(format!("column `{name}` is gone")),
    });
    let extra = found.iter().filter(|(name, _)| shape(declared, name).is_none());
    let extra = extra.map(|(name, _)| format!("column `{name}` was added"));
    missing.chain(extra).map(|what| format!("table {physical} was altered: {what}")).collect()
}

/// The message that another projection's live generation has a table with this name.
pub(super) fn owned(table: &str, owner: &str, projection: &str) -> String {
    format!(
        "table `{table}` belongs to projection `{owner}`: if that is the earlier name of `{projection}`, type \
         `readcast rename {owner} {projection}`"
    )
}
