//! What is suspicious in a valid file.

mod sampled;

use readcast_core::TableSpec;

use super::FileProjection;
use super::rules::{Action, Cell, Operation, Rule, Target};

impl FileProjection {
    /// Sentences about what is allowed and probably not meant, each with its place.
    pub fn lint(&self) -> Vec<String> {
        let file = &self.document.name;
        // Nobody knows what a component sets.
        let tables = if self.wasm.is_some() { &[][..] } else { &self.tables };
        let unset = tables.iter().flat_map(|table| self.never_set(table));
        let unset = unset.map(|(table, column)| {
            format!(
                "{file}: column `{column}` of `{table}` is set by no rule: it holds its default or NULL in every row"
            )
        });
        let of_rules = self.rules.iter().flat_map(|rule| rule.doubts(&self.tables));
        unset.chain(of_rules).collect()
    }

    fn never_set<'t>(&self, table: &'t TableSpec) -> Vec<(&'t str, &'t str)> {
        let rules: Vec<&Rule> = self.rules.iter().filter(|rule| rule.table == table.name()).collect();
        let is_set = |name: &str| {
            let row = |rule: &&Rule| match &rule.action {
                Action::ReplaceChildren { row, .. } => row.iter().any(|target| target.column == name),
                _ => false,
            };
            rules.iter().any(row) || rules.iter().any(|rule| rule.cells().iter().any(|cell| cell.target.column == name))
        };
        let columns = table.data_columns().iter().enumerate();
        let unset = columns.filter(|(place, column)| table.copied_by(*place).is_none() && !is_set(column.name()));
        unset.map(|(_, column)| (table.name(), column.name())).collect()
    }
}

impl Rule {
    pub(super) fn cells(&self) -> &[Cell] {
        match &self.action {
            Action::Upsert { cells, .. } | Action::Update { cells, .. } | Action::UpdateWhere { cells, .. } => cells,
            Action::Delete { .. } | Action::ReplaceChildren { .. } => &[],
        }
    }

    fn doubts(&self, tables: &[TableSpec]) -> Vec<String> {
        let Some(table) = tables.iter().find(|table| table.name() == self.table) else { return Vec::new() };
        let mut doubts = Vec::new();
        if let Action::UpdateWhere { selected, .. } = &self.action {
            let column = &selected.column;
            if !table.indexes().iter().any(|index| index.first() == Some(column)) {
                doubts.push(format!(
                    "{}: `update_where` scans `{}` for each event, because `{column}` has no index: write indexes = [{column:?}]",
                    self.place, self.table
                ));
            }
        }
        let overwritten = self.cells().iter().find(|cell| matches!(cell.operation, Operation::Set | Operation::Append));
        if let (Some(key), Some(cell)) = (self.key_of_items(), overwritten) {
            doubts.push(format!(
                "{}: rows of `{}` have a key from the items of a list, `{}`, so events of several partitions may change one row: \
                 the result of a `{}` of `{}` depends on their order, which no log keeps. Use `add`, `max`, `min` or `newer`",
                self.place,
                self.table,
                key.value.text(),
                if cell.operation == Operation::Set { "set" } else { "append" },
                cell.target.column
            ));
        }
        doubts
    }

    /// A part of the key that comes from an item of a list, unless another part comes from the event itself.
    fn key_of_items(&self) -> Option<&Target> {
        let (Action::Upsert { key, .. } | Action::Update { key, .. }) = &self.action else { return None };
        let of_items = key.iter().all(|target| target.value.text().starts_with("item"));
        if self.foreach.is_some() && of_items { key.first() } else { None }
    }
}
