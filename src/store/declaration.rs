//! How declared tables differ from what a generation was built with, and from what stands in the database.

use readcast_core::Definition;

use super::GenerationStatus;

/// How a definition differs from the one that built a generation, a sentence each: nothing while the hash is the same.
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

/// How a physical table differs from its declaration, given the name and the shape of each column.
pub(super) fn altered(physical: &str, declared: &[(String, String)], found: &[(String, String)]) -> Vec<String> {
    if found.is_empty() {
        return vec![format!("table {physical} is gone: somebody dropped it")];
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
    missing.chain(extra).map(|what| format!("somebody altered table {physical}: {what}")).collect()
}

/// What is to be said of a table name that another projection's live generation has.
pub(super) fn owned(table: &str, owner: &str, projection: &str) -> String {
    format!(
        "table `{table}` belongs to projection `{owner}`: if that is the earlier name of `{projection}`, type \
         `readcast rename {owner} {projection}`"
    )
}
