//! The changes that the rules of a projection make for an event.

use readcast_core::{AffectedRow, Changes, Envelope, Json, ProjectionError, RowWriter, Value};

use super::rules::{Action, Cell, Operation, Rule, Target};
use super::{FileProjection, Subscribed};
use crate::datum::{Datum, to_column, to_json};
use crate::expression::{Expression, Scope};

type Outcome<T> = Result<T, String>;

impl FileProjection {
    pub(super) fn run(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        if let Some(wasm) = &self.wasm {
            return wasm.project(event, &self.tables, changes);
        }
        let Some(Subscribed { shape, rules }) = self.events.get(&*event.event_type) else {
            return Err(format!("there is no rule for events of type `{}`", event.event_type).into());
        };
        let mut scope = Scope::new(event, shape)?;
        for rule in rules.iter().map(|place| &self.rules[*place]) {
            rule.apply(&mut scope, changes).map_err(|error| format!("{}: {error}", rule.place))?;
        }
        Ok(())
    }

    /// The rows whose keys can be computed, even if the event can't be projected.
    pub(super) fn affected_rows(&self, event: &Envelope<'_>) -> Vec<AffectedRow> {
        let Some(Subscribed { shape, rules }) = self.events.get(&*event.event_type) else { return Vec::new() };
        let Ok(mut scope) = Scope::new(event, shape) else { return Vec::new() };
        let mut rows = Vec::new();
        for rule in rules.iter().map(|place| &self.rules[*place]) {
            // A condition that can't be computed may hold.
            let may_hold = rule.holds(&mut scope).unwrap_or(true);
            let keys = if may_hold { rule.keys(&mut scope).unwrap_or_default() } else { Vec::new() };
            rows.extend(keys.into_iter().map(|key| AffectedRow::new(&*rule.table, key)));
        }
        rows
    }
}

impl Rule {
    fn holds<'e>(&'e self, scope: &mut Scope<'e>) -> Outcome<bool> {
        match self.when.as_ref().map(|when| value(when, "when", scope)).transpose()? {
            None | Some(Datum::Bool(true)) => Ok(true),
            Some(Datum::Bool(false)) => Ok(false),
            Some(other) => Err(format!("when: {} is neither true nor false", other.type_name())),
        }
    }

    fn apply<'e>(&'e self, scope: &mut Scope<'e>, changes: &mut Changes<'_>) -> Outcome<()> {
        if !self.holds(scope)? {
            return Ok(());
        }
        if let Action::ReplaceChildren { parent, row } = &self.action {
            let parent = values(parent, scope)?;
            let rows = self.each(scope, |scope| values(row, scope))?;
            changes.replace_children(&self.table, parent, rows);
            return Ok(());
        }
        self.each(scope, |scope| self.change(scope, changes)).map(drop)
    }

    /// What `make` makes of each item, or once where there are none.
    fn each<'e, T>(
        &'e self,
        scope: &mut Scope<'e>,
        mut make: impl FnMut(&mut Scope<'e>) -> Outcome<T>,
    ) -> Outcome<Vec<T>> {
        let Some(foreach) = &self.foreach else { return Ok(vec![make(scope)?]) };
        let items = match value(foreach, "foreach", scope)? {
            Datum::List(items) => items,
            other => return Err(format!("foreach: {} is not a list", other.type_name())),
        };
        let mut made = Vec::with_capacity(items.len());
        for (item, index) in items.iter().zip(0..) {
            let result = scope.with_item(item.clone(), index, &mut make);
            made.push(result.map_err(|error| format!("item {index}: {error}"))?);
        }
        Ok(made)
    }

    fn change<'e>(&'e self, scope: &mut Scope<'e>, changes: &mut Changes<'_>) -> Outcome<()> {
        match &self.action {
            Action::Upsert { key, cells } => {
                let key = values(key, scope)?;
                write(changes.upsert(&self.table, key), cells, scope)
            }
            Action::Update { key, cells } => {
                let key = values(key, scope)?;
                write(changes.update(&self.table, key), cells, scope)
            }
            Action::Delete { key } => {
                changes.delete(&self.table, values(key, scope)?);
                Ok(())
            }
            Action::UpdateWhere { selected, cells } => {
                let value = selected.value(scope)?;
                write(changes.update_where(&self.table, &selected.column, value), cells, scope)
            }
            Action::ReplaceChildren { .. } => Ok(()),
        }
    }

    /// The keys of the rows that the rule names.
    fn keys<'e>(&'e self, scope: &mut Scope<'e>) -> Outcome<Vec<Vec<Value>>> {
        match &self.action {
            Action::Upsert { key, .. } | Action::Update { key, .. } | Action::Delete { key } => {
                self.each(scope, |scope| values(key, scope))
            }
            Action::UpdateWhere { .. } | Action::ReplaceChildren { .. } => Ok(Vec::new()),
        }
    }
}

impl Target {
    fn value<'e>(&'e self, scope: &mut Scope<'e>) -> Outcome<Value> {
        let value = value(&self.value, &self.column, scope)?;
        to_column(value, self.column_type).map_err(|error| format!("{}: {error}", self.column))
    }
}

fn value<'e>(expression: &'e Expression, of: &str, scope: &mut Scope<'e>) -> Outcome<Datum<'e>> {
    expression.evaluate(scope).map_err(|error| format!("{of}: {error}"))
}

fn values<'e>(targets: &'e [Target], scope: &mut Scope<'e>) -> Outcome<Vec<Value>> {
    targets.iter().map(|target| target.value(scope)).collect()
}

fn write<'e>(mut row: RowWriter<'_>, cells: &'e [Cell], scope: &mut Scope<'e>) -> Outcome<()> {
    let mut newer = Vec::new();
    for Cell { operation, target } in cells {
        let column = &*target.column;
        row = match operation {
            Operation::Set => row.set(column, target.value(scope)?),
            Operation::Add => row.add(column, target.value(scope)?),
            Operation::Max => row.max(column, target.value(scope)?),
            Operation::Min => row.min(column, target.value(scope)?),
            Operation::Newer => {
                newer.push((column, target.value(scope)?));
                row
            }
            Operation::Append => {
                let json = to_json(&value(&target.value, column, scope)?)?;
                row.append(column, Json::parse(&json).map_err(|error| format!("{column}: {error}"))?)
            }
        };
    }
    let mut newer = newer.into_iter();
    // The loader has put the two columns that are compared first.
    if let (Some((_, at)), Some((_, tie))) = (newer.next(), newer.next()) {
        row.newer(at, tie, newer);
    }
    Ok(())
}
