//! What a projection does with one event, expression by expression.

use readcast_core::Envelope;

use super::rules::{Action, OPERATIONS, Rule, Target};
use super::{FileProjection, Subscribed};
use crate::datum::{Datum, to_json};
use crate::expression::{Expression, Scope};

impl FileProjection {
    /// Each rule for events of this type with the value of each of its expressions, in lines of text.
    ///
    /// # Errors
    /// Why the event has no current version, or why its data can't be read.
    pub fn explain(&self, event: &Envelope<'_>) -> Result<Vec<String>, String> {
        if let Some(wasm) = &self.wasm {
            return Ok(vec![format!("component {}", wasm.name)]);
        }
        let upcast = self.upcasters.apply(event).map_err(|error| error.to_string())?;
        let event = upcast.as_ref().unwrap_or(event);
        let Some(Subscribed { shape, rules }) = self.events.get(&*event.event_type) else {
            return Ok(vec![format!("no rule is for events of type `{}`", event.event_type)]);
        };
        let mut scope = Scope::new(event, shape).map_err(|error| error.to_string())?;
        let mut lines = Vec::new();
        if upcast.is_some() {
            lines.push(format!("as version {}: {}", event.version, event.payload));
        }
        rules.iter().for_each(|place| self.rules[*place].explain(&mut scope, &mut lines));
        Ok(lines)
    }
}

impl Rule {
    fn explain<'e>(&'e self, scope: &mut Scope<'e>, lines: &mut Vec<String>) {
        lines.push(format!("{}: {} {}", self.place, self.action.name(), self.table));
        if let Some(when) = &self.when {
            let holds = valued(when, scope);
            lines.push(line("when", when, &holds));
            if !matches!(holds, Ok(Datum::Bool(true))) {
                return;
            }
        }
        let Some(foreach) = &self.foreach else { return self.explain_once(scope, lines) };
        let items = valued(foreach, scope);
        lines.push(line("foreach", foreach, &items));
        let Ok(Datum::List(items)) = items else { return };
        for (item, index) in items.iter().zip(0..) {
            lines.push(format!("  item {index}"));
            scope.with_item(item.clone(), index, |scope| self.explain_once(scope, lines));
        }
    }

    fn explain_once<'e>(&'e self, scope: &mut Scope<'e>, lines: &mut Vec<String>) {
        for (what, target) in self.action.targets() {
            lines.push(line(&what, &target.value, &valued(&target.value, scope)));
        }
    }
}

fn valued<'e>(expression: &'e Expression, scope: &mut Scope<'e>) -> Result<Datum<'e>, String> {
    expression.evaluate(scope).map_err(|error| error.to_string())
}

fn line(what: &str, expression: &Expression, value: &Result<Datum<'_>, String>) -> String {
    const MOST_CHARACTERS: usize = 120;
    let value = match value {
        Ok(value) => to_json(value).unwrap_or_else(|error| error),
        Err(error) => format!("error: {error}"),
    };
    let cut: String = value.chars().take(MOST_CHARACTERS).collect();
    let dots = if cut.len() < value.len() { "…" } else { "" };
    format!("  {what:<24} {} → {cut}{dots}", expression.text())
}

impl Action {
    fn name(&self) -> &'static str {
        match self {
            Self::Upsert { .. } => "upsert",
            Self::Update { .. } => "update",
            Self::Delete { .. } => "delete",
            Self::UpdateWhere { .. } => "update_where",
            Self::ReplaceChildren { .. } => "replace_children",
        }
    }

    /// Every expression with what it is for, such as `key order_id` and `set.status`.
    fn targets(&self) -> Vec<(String, &Target)> {
        let (first, cells): (Vec<_>, _) = match self {
            Self::Upsert { key, cells } | Self::Update { key, cells } => {
                (key.iter().map(|target| target.named("key ")).collect(), &cells[..])
            }
            Self::Delete { key } => (key.iter().map(|target| target.named("key ")).collect(), &[][..]),
            Self::UpdateWhere { selected, cells } => (vec![selected.named("where.")], &cells[..]),
            Self::ReplaceChildren { parent, row } => {
                let parent = parent.iter().map(|target| target.named("key "));
                (parent.chain(row.iter().map(|target| target.named("set."))).collect(), &[][..])
            }
        };
        let cells = cells.iter().map(|cell| {
            let operation = OPERATIONS.iter().find(|(_, operation)| *operation == cell.operation);
            cell.target.named(&format!("{}.", operation.map_or("", |(name, _)| name)))
        });
        first.into_iter().chain(cells).collect()
    }
}

impl Target {
    fn named(&self, purpose: &str) -> (String, &Self) {
        (format!("{purpose}{}", self.column), self)
    }
}
