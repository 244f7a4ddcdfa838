//! What changed between two declarations.

use super::TableSpec;

/// What changed from the tables `old` to the tables `new`, a sentence each: removed tables first, then each new table
/// in order. Empty if the declarations are equal.
pub fn differences(old: &[TableSpec], new: &[TableSpec]) -> Vec<String> {
    let mut sentences = Vec::new();
    let named = |tables: &[TableSpec], name: &str| tables.iter().find(|table| table.name == name).cloned();
    for table in old.iter().filter(|table| named(new, &table.name).is_none()) {
        sentences.push(format!("table `{}` was removed", table.name));
    }
    for table in new {
        match named(old, &table.name) {
            None => sentences.push(format!("table `{}` was added", table.name)),
            Some(before) => sentences.extend(table_differences(&before, table)),
        }
    }
    sentences
}

/// The columns of tables that both have, and that have another type in `new`, a sentence each.
pub fn type_changes(old: &[TableSpec], new: &[TableSpec]) -> Vec<String> {
    let mut sentences = Vec::new();
    for table in new {
        let Some(before) = old.iter().find(|before| before.name == table.name) else { continue };
        for now in &table.columns {
            let same_name = before.columns.iter().find(|column| column.name == now.name);
            if let Some(column) = same_name.filter(|column| column.column_type != now.column_type) {
                let (name, old, new) = (&now.name, column.column_type, now.column_type);
                sentences.push(format!("column `{name}` of table `{}` changes from {old} to {new}", table.name));
            }
        }
    }
    sentences
}

fn table_differences(old: &TableSpec, new: &TableSpec) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut add = |sentence: String| sentences.push(format!("table `{}`: {sentence}", new.name));
    let column = |table: &TableSpec, name: &str| table.columns.iter().find(|column| column.name == name).cloned();
    for removed in old.columns.iter().filter(|old| column(new, &old.name).is_none()) {
        add(format!("column `{}` was removed", removed.name));
    }
    for now in &new.columns {
        match column(old, &now.name) {
            None => add(format!("column `{}` was added", now.name)),
            Some(before) if before.column_type != now.column_type => {
                add(format!("column `{}` changed from {} to {}", now.name, before.column_type, now.column_type));
            }
            Some(before) if before.presence != now.presence => {
                add(format!("column `{}` changed from {:?} to {:?}", now.name, before.presence, now.presence));
            }
            Some(_) => {}
        }
    }
    let key = |table: &TableSpec| table.key_columns().iter().map(|column| column.name.clone()).collect::<Vec<_>>();
    if key(old) != key(new) {
        add(format!("the key changed from ({}) to ({})", key(old).join(", "), key(new).join(", ")));
    }
    if old.indexes != new.indexes {
        add("its indexes changed".into());
    }
    if old.storage != new.storage {
        add("its storage parameters changed".into());
    }
    if old.references != new.references {
        add("its references changed".into());
    }
    if old.views != new.views {
        add("its views changed".into());
    }
    if old.newer_by != new.newer_by {
        add("the columns that `newer` compares changed".into());
    }
    sentences
}
